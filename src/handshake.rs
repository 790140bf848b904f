//! The handshake: PQXDH with the initiator's identity sealed (`docs/SPEC.md`, section "Handshake").
//!
//! ```text
//! h1  = H(suite | IK_B | signed prekey record | flag | [one-time record] | EK_A | CT)
//! ck1 = Extract(h1, DH(EK_A, IK_B) | DH(EK_A, SPK_B) | [DH(EK_A, OPK_B)] | ss)
//! c   = AEAD(Expand(ck1, "sealed identity"), nonce 0, AD h1, IK_A | binding | payload)
//! h2  = H(h1 | c | IK_A)
//! ck2 = Extract(ck1, DH(IK_A, SPK_B))
//! EC root, PQ secret, header key A->B, header key B->A, session id = Expand(ck2, "session secrets" | h2)
//! ```
//!
//! Stage 1 hides who writes, also from a quantum recorder: its secret takes the KEM. Stage 2 says who writes:
//! its secret takes the initiator's identity key. Both functions are pure; what a handshake changes (a
//! one-time prekey deleted, a replay recorded) waits until the message that came with it has opened.
//!
//! Not its concern: messages, sessions, storage.

#[cfg(test)]
pub(crate) mod outsider;

use alloc::vec::Vec;

use rand::TryCryptoRng;
use zeroize::Zeroizing;

use crate::{
    Error,
    crypto::{
        SUITE,
        aead::{self, TAG_LEN},
        dh::{AgreementKey, AgreementPublic},
        kdf::{self, Label},
        kem,
        secret::Secret,
        sign::SIGNATURE_LEN,
        trace,
    },
    keys::{
        Fingerprint, IdentityKey, IdentityKeyPair, OneTimePreKey, PreKeyId, ResponderKeys, SignedPreKey,
        VerifiedBundle,
    },
    ratchet::{NextHeaderKey, PqSecret, RootKey},
    wire::{MAX_PAYLOAD_LEN, codec::Reader, message::HandshakePart},
};

/// What both sides hold after the handshake, and the ratchet starts from.
pub(crate) struct SessionSecrets {
    pub(crate) ec_root: RootKey,
    pub(crate) pq_secret: PqSecret,
    /// Header key of the initiator's first chain.
    pub(crate) initiator_header_key: NextHeaderKey,
    /// Header key of the responder's first chain.
    pub(crate) responder_header_key: NextHeaderKey,
    /// Names the session, on both sides alike; never on the wire.
    pub(crate) session_id: [u8; 32],
    /// h2, which every message of the session authenticates.
    pub(crate) associated_data: [u8; 32],
}

/// The initiator's side: the handshake part to send, and the session's secrets.
pub(crate) fn initiate(
    identity: &IdentityKeyPair,
    bundle: &VerifiedBundle,
    payload: &[u8],
    rng: &mut impl TryCryptoRng,
) -> Result<(Vec<u8>, SessionSecrets), Error> {
    if payload.len() > MAX_PAYLOAD_LEN {
        return Err(Error::PayloadTooLong);
    }
    let peer = bundle.identity_key();
    let (signed, one_time) = (bundle.signed_prekey(), bundle.one_time_prekey());
    let (signed_id, one_time_id) = (signed.id(), one_time.map(OneTimePreKey::id));

    let context = hedge_context(peer, &signed_id, one_time_id.as_ref(), payload);
    let drawn: Secret<64> =
        identity.hedged(rng, Label::HEDGED_HANDSHAKE, &context).map_err(|_| Error::NoRandomness)?;
    let [ephemeral_seed, coins] = kdf::split(&drawn);
    trace!("EK_A private", ephemeral_seed.as_bytes());
    trace!("KEM coins", coins.as_bytes());
    let ephemeral = AgreementKey::from_seed(&ephemeral_seed);
    let kem_key = one_time.map_or(signed.kem(), OneTimePreKey::kem);
    let (ciphertext, shared) = kem_key.encapsulate(&coins);

    let transcript = transcript_1(peer, signed, one_time, ephemeral.public(), &ciphertext);
    let agreements = Agreements {
        identity: ephemeral.agree(peer.agreement())?,
        signed: ephemeral.agree(signed.agreement())?,
        one_time: one_time.map(|prekey| ephemeral.agree(prekey.agreement())).transpose()?,
        kem: shared,
    };
    let stage1 = Stage1::new(&transcript, &agreements);
    let sealed_identity = stage1.seal_identity(identity, payload);
    let stage2 = identity.agreement().agree(signed.agreement())?;
    let secrets = stage1.finish(&sealed_identity, identity.identity_key(), &stage2);
    let part = HandshakePart {
        signed_prekey: signed_id,
        one_time_prekey: one_time_id,
        ephemeral_key: *ephemeral.public(),
        ciphertext: &ciphertext,
        sealed_identity: &sealed_identity,
    };
    Ok((part.to_bytes()?, secrets))
}

/// What the responder learns from a handshake part. Nothing of it may take effect before the message that the
/// part came with has opened: until then anybody may have replayed it.
pub(crate) struct Responded {
    pub(crate) secrets: SessionSecrets,
    pub(crate) peer: IdentityKey,
    pub(crate) payload: Vec<u8>,
    pub(crate) fingerprint: Fingerprint,
}

/// The responder's side.
pub(crate) fn respond(
    identity: &IdentityKeyPair,
    keys: &ResponderKeys<'_>,
    part: &HandshakePart<'_>,
) -> Result<Responded, Error> {
    let (kem, one_time) = keys.expand();
    let transcript = transcript_1(
        identity.identity_key(),
        keys.signed(),
        one_time.as_ref(),
        &part.ephemeral_key,
        part.ciphertext,
    );
    let fingerprint = Fingerprint::of(&transcript);
    keys.check_replay(&fingerprint)?;

    let one_time_agreement = keys.one_time_agreement();
    let agreements = Agreements {
        identity: identity.agreement().agree(&part.ephemeral_key)?,
        signed: keys.signed_agreement().agree(&part.ephemeral_key)?,
        one_time: one_time_agreement.map(|key| key.agree(&part.ephemeral_key)).transpose()?,
        kem: kem.decapsulate(part.ciphertext),
    };
    let stage1 = Stage1::new(&transcript, &agreements);
    let (peer, payload) = stage1.open_identity(part.sealed_identity)?;
    let stage2 = keys.signed_agreement().agree(peer.agreement()).map_err(|_| Error::Unauthentic)?;
    let secrets = stage1.finish(part.sealed_identity, &peer, &stage2);
    Ok(Responded { secrets, peer, payload, fingerprint })
}

/// IK_B | signed prekey id | one-time prekey id or zeros | payload: keeps a generator that repeats from giving the
/// same ephemeral key to two peers, or to two payloads (which would be sealed under one key and nonce).
fn hedge_context(
    peer: &IdentityKey,
    signed: &PreKeyId,
    one_time: Option<&PreKeyId>,
    payload: &[u8],
) -> Zeroizing<Vec<u8>> {
    let one_time = one_time.map_or([0; PreKeyId::LEN], |id| *id.as_bytes());
    Zeroizing::new([&peer.to_bytes()[..], signed.as_bytes(), &one_time, payload].concat())
}

/// h1: everything that is public when the initiator's identity is sealed.
fn transcript_1(
    responder: &IdentityKey,
    signed: &SignedPreKey,
    one_time: Option<&OneTimePreKey>,
    ephemeral: &AgreementPublic,
    ciphertext: &[u8; kem::CIPHERTEXT_LEN],
) -> [u8; 32] {
    kdf::hash(
        Label::TRANSCRIPT_1,
        &[
            &[SUITE],
            &responder.to_bytes(),
            signed.record(),
            &[u8::from(one_time.is_some())],
            one_time.map_or(&[], OneTimePreKey::record),
            ephemeral.as_bytes(),
            ciphertext,
        ],
    )
}

/// The secrets of stage 1.
struct Agreements {
    /// DH(EK_A, IK_B).
    identity: Secret<32>,
    /// DH(EK_A, SPK_B).
    signed: Secret<32>,
    /// DH(EK_A, OPK_B).
    one_time: Option<Secret<32>>,
    /// ss.
    kem: Secret<32>,
}

/// After the ephemeral agreements and the KEM.
struct Stage1 {
    /// h1.
    transcript: [u8; 32],
    /// ck1.
    chaining_key: Secret<32>,
}

/// Nonce of the one encryption under its key.
const ZERO_NONCE: [u8; 12] = [0; 12];

impl Stage1 {
    fn new(transcript: &[u8; 32], agreements: &Agreements) -> Self {
        let Agreements { identity, signed, one_time, kem } = agreements;
        trace!("h1", transcript);
        trace!("DH(EK_A, IK_B)", identity.as_bytes());
        trace!("DH(EK_A, SPK_B)", signed.as_bytes());
        let one_time = one_time.as_ref().map_or(&[][..], |secret| secret.as_bytes());
        trace!("DH(EK_A, OPK_B)", one_time);
        trace!("ss", kem.as_bytes());
        let ikm = [&identity.as_bytes()[..], signed.as_bytes(), one_time, kem.as_bytes()];
        let chaining_key = kdf::extract(transcript, &ikm);
        trace!("ck1", chaining_key.as_bytes());
        Self { transcript: *transcript, chaining_key }
    }

    fn identity_key(&self) -> Secret<32> {
        let key = kdf::expand(self.chaining_key.as_bytes(), Label::SEALED_IDENTITY, [&[], &[]]);
        trace!("identity key", key.as_bytes());
        key
    }

    /// c.
    fn seal_identity(&self, identity: &IdentityKeyPair, payload: &[u8]) -> Vec<u8> {
        let len = IdentityKey::LEN + SIGNATURE_LEN + payload.len();
        let mut sealed = Vec::with_capacity(len + TAG_LEN);
        sealed.extend_from_slice(&identity.identity_key().to_bytes());
        sealed.extend_from_slice(identity.binding().as_bytes());
        sealed.extend_from_slice(payload);
        let tag = aead::seal(self.identity_key().as_bytes(), &ZERO_NONCE, &self.transcript, &mut sealed);
        sealed.extend_from_slice(&tag);
        sealed
    }

    /// The initiator's identity and payload out of c. Whatever is wrong with them is one error.
    fn open_identity(&self, sealed: &[u8]) -> Result<(IdentityKey, Vec<u8>), Error> {
        let (encrypted, tag) = sealed.split_last_chunk().ok_or(Error::Malformed)?;
        let mut plain = Zeroizing::new(encrypted.to_vec());
        aead::open(self.identity_key().as_bytes(), &ZERO_NONCE, &self.transcript, &mut plain, tag)?;
        let mut reader = Reader::new(&plain);
        let peer = IdentityKey::from_bytes(reader.array::<{ IdentityKey::LEN }>()?)
            .map_err(|_| Error::Unauthentic)?;
        peer.verify_binding(reader.array()?).map_err(|_| Error::Unauthentic)?;
        Ok((peer, reader.rest().to_vec()))
    }

    /// Stage 2.
    fn finish(
        self,
        sealed_identity: &[u8],
        initiator: &IdentityKey,
        agreement: &Secret<32>,
    ) -> SessionSecrets {
        let parts = [&self.transcript[..], sealed_identity, &initiator.to_bytes()];
        let associated_data = kdf::hash(Label::TRANSCRIPT_2, &parts);
        trace!("h2", &associated_data);
        trace!("DH(IK_A, SPK_B)", agreement.as_bytes());
        let chaining_key = kdf::extract(self.chaining_key.as_bytes(), &[agreement.as_bytes()]);
        trace!("ck2", chaining_key.as_bytes());
        let expanded: Secret<160> =
            kdf::expand(chaining_key.as_bytes(), Label::SESSION, [&associated_data, &[]]);
        let [ec_root, pq_secret, initiator_header_key, responder_header_key, session_id] =
            kdf::split(&expanded);
        trace!("EC root key", ec_root.as_bytes());
        trace!("PQ root secret", pq_secret.as_bytes());
        trace!("header key A->B", initiator_header_key.as_bytes());
        trace!("next header key B->A", responder_header_key.as_bytes());
        trace!("session id", session_id.as_bytes());
        SessionSecrets {
            ec_root: RootKey::new(ec_root),
            pq_secret: PqSecret::new(pq_secret),
            initiator_header_key: NextHeaderKey::new(initiator_header_key),
            responder_header_key: NextHeaderKey::new(responder_header_key),
            session_id: *session_id.as_bytes(),
            associated_data,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PreKeys, UnixTime};

    /// A KEM that binds nothing: the same shared secret out of another key and another ciphertext. The transcript
    /// tells the two apart, where the concatenation of secrets would not (KEM re-encapsulation).
    #[test]
    fn a03_the_kem_key_and_ciphertext_are_in_the_transcript() {
        let now = UnixTime::from_secs(0);
        let bob = IdentityKeyPair::generate();
        let bundle = || PreKeys::generate(&bob, 1, now).bundle().verify(now).unwrap();
        let (ours, theirs) = (bundle(), bundle());
        let ephemeral = AgreementKey::from_seed(&Secret::new([1; 32]));
        let secret = |byte| Secret::new([byte; 32]);
        let stage1 = |bundle: &VerifiedBundle, one_time, ciphertext: &[u8; kem::CIPHERTEXT_LEN]| {
            let one_time = bundle.one_time_prekey().filter(|_| one_time);
            let identity = bundle.identity_key();
            let signed = bundle.signed_prekey();
            let transcript = transcript_1(identity, signed, one_time, ephemeral.public(), ciphertext);
            let agreements = Agreements {
                identity: secret(1),
                signed: secret(2),
                one_time: Some(secret(3)),
                kem: secret(4),
            };
            Stage1::new(&transcript, &agreements)
        };
        let all = [
            stage1(&ours, true, &[5; _]),
            stage1(&ours, true, &[6; _]),
            stage1(&ours, false, &[5; _]),
            stage1(&theirs, true, &[5; _]),
        ];
        for (i, a) in all.iter().enumerate() {
            for b in all.iter().skip(i + 1) {
                assert_ne!(a.chaining_key.as_bytes(), b.chaining_key.as_bytes());
            }
        }
    }

    /// Who the initiator is enters every key: the same agreements under another name are another session.
    #[test]
    fn a04_the_initiator_is_in_the_transcript() {
        let stage1 = || Stage1 { transcript: [1; 32], chaining_key: Secret::new([2; 32]) };
        let names = [IdentityKeyPair::generate(), IdentityKeyPair::generate()];
        let [a, b] = names.map(|name| stage1().finish(b"c", name.identity_key(), &Secret::new([3; 32])));
        assert_ne!(a.session_id, b.session_id);
        assert_ne!(a.associated_data, b.associated_data);
        assert_ne!(a.ec_root.as_bytes(), b.ec_root.as_bytes());
    }
}
