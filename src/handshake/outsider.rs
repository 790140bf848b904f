//! A handshake, computed by somebody who is neither of its two, out of what has come into his hands: for the tests of what
//! a thief, a recorder and a recipient with a bad reputation can do.

use super::*;
use crate::crypto::sign::Signature;

/// The four or five secrets of a handshake.
pub(crate) struct Agreements {
    /// DH(EK_A, IK_B).
    pub(crate) identity: Secret<32>,
    /// DH(EK_A, SPK_B).
    pub(crate) signed: Secret<32>,
    /// DH(EK_A, OPK_B).
    pub(crate) one_time: Option<Secret<32>>,
    /// ss.
    pub(crate) kem: Secret<32>,
    /// DH(IK_A, SPK_B).
    pub(crate) initiator: Secret<32>,
}

/// What follows from a handshake part that was seen, and these secrets: whom it names, if the seal opens; and the session,
/// if it is by `initiator`.
pub(crate) fn compute(
    bundle: &VerifiedBundle,
    part: &HandshakePart<'_>,
    agreements: &Agreements,
    initiator: &IdentityKey,
) -> (Result<IdentityKey, Error>, SessionSecrets) {
    let transcript = transcript_1(
        bundle.identity_key(),
        bundle.signed_prekey(),
        bundle.one_time_prekey(),
        &part.ephemeral_key,
        part.ciphertext,
    );
    let Agreements { identity, signed, one_time, kem, initiator: stage2 } = agreements;
    let copy = |secret: &Secret<32>| Secret::new(*secret.as_bytes());
    let (one_time, kem) = (one_time.as_ref().map(copy), copy(kem));
    let first = super::Agreements { identity: copy(identity), signed: copy(signed), one_time, kem };
    let stage1 = Stage1::new(&transcript, &first);
    let named = stage1.open_identity(part.sealed_identity).map(|(named, _)| named);
    (named, stage1.finish(part.sealed_identity, initiator, stage2))
}

/// Initiates in the name of somebody whose public keys and binding are known, with `stage2` for the agreement of his
/// private key with the signed prekey.
pub(crate) fn initiate_as(
    name: &IdentityKey,
    binding: &Signature,
    stage2: &Secret<32>,
    bundle: &VerifiedBundle,
    payload: &[u8],
    rng: &mut impl TryCryptoRng,
) -> (Vec<u8>, SessionSecrets) {
    let ephemeral = AgreementKey::from_seed(&crate::crypto::random::fill(rng).unwrap());
    let coins = crate::crypto::random::fill(rng).unwrap();
    let (peer, signed, one_time) = (bundle.identity_key(), bundle.signed_prekey(), bundle.one_time_prekey());
    let (ciphertext, kem) = one_time.map_or(signed.kem(), OneTimePreKey::kem).encapsulate(&coins);
    let agreements = super::Agreements {
        identity: ephemeral.agree(peer.agreement()).unwrap(),
        signed: ephemeral.agree(signed.agreement()).unwrap(),
        one_time: one_time.map(|prekey| ephemeral.agree(prekey.agreement()).unwrap()),
        kem,
    };
    let transcript = transcript_1(peer, signed, one_time, ephemeral.public(), &ciphertext);
    let stage1 = Stage1::new(&transcript, &agreements);
    let mut sealed = [&name.to_bytes()[..], binding.as_bytes(), payload].concat();
    let key = stage1.identity_key();
    let tag = aead::seal(key.as_bytes(), &ZERO_NONCE, &stage1.transcript, &mut sealed);
    sealed.extend_from_slice(&tag);
    let part = HandshakePart {
        signed_prekey: signed.id(),
        one_time_prekey: one_time.map(OneTimePreKey::id),
        ephemeral_key: *ephemeral.public(),
        ciphertext: &ciphertext,
        sealed_identity: &sealed,
    };
    (part.to_bytes().unwrap(), stage1.finish(&sealed, name, stage2))
}
