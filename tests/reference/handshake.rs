//! Section 7: PQXDH with the initiator's identity sealed.

use super::{
    encoding::{HandshakePart, MAX_PAYLOAD, Reader},
    kem,
    prekeys::{Bundle, Identity, IdentityKey, Prekeys, identity_is_valid, is_bound, prekey_id, x25519_half},
    primitives::{
        Key, Refusal, SUITE, Tape, cat, expand, extract, hash, hkdf, label, open, seal, x25519, x25519_public,
    },
};

/// What both sides have in the end.
pub struct Secrets {
    pub ec_root: Key,
    pub pq_secret: Key,
    pub hk_ab: Key,
    pub hk_ba: Key,
    pub session_id: Key,
    /// The session associated data, h2.
    pub ad: Key,
}

/// `h1`
pub fn first_transcript(
    ik_b: &IdentityKey,
    signed_record: &[u8],
    one_time_record: Option<&[u8]>,
    ek_a: &Key,
    ct: &[u8],
) -> Key {
    let flag = u8::from(one_time_record.is_some());
    let one_time_record = one_time_record.unwrap_or_default();
    hash(label::TRANSCRIPT_1, &cat(&[&[SUITE], ik_b, signed_record, &[flag], one_time_record, ek_a, ct]))
}

/// `k`
pub fn identity_key_key(ck1: &Key) -> Key {
    let [k] = expand(ck1, label::SEALED_IDENTITY, b"");
    k
}

/// From `h2` on.
pub fn second_stage(h1: &Key, ck1: &Key, c: &[u8], ik_a: &[u8], dh: &Key) -> Secrets {
    let h2 = hash(label::TRANSCRIPT_2, &cat(&[h1, c, ik_a]));
    let ck2 = extract(ck1, dh);
    let [ec_root, pq_secret, hk_ab, hk_ba, session_id] = expand(&ck2, label::SESSION, &h2);
    Secrets { ec_root, pq_secret, hk_ab, hk_ba, session_id, ad: h2 }
}

/// The initiator's: secrets, and the handshake part.
pub fn initiate(
    identity: &Identity,
    bundle: &Bundle,
    payload: &[u8],
    tape: &mut Tape,
) -> Result<(Secrets, Vec<u8>), Refusal> {
    if payload.len() > MAX_PAYLOAD {
        return Err(Refusal::PayloadTooLong);
    }
    let signed_prekey_id = prekey_id(&bundle.signed.record);
    let one_time_prekey_id = bundle.one_time.as_ref().map(|prekey| prekey_id(&prekey.record));
    let context = cat(&[&bundle.ik, &signed_prekey_id, &one_time_prekey_id.unwrap_or_default(), payload]);
    let [ek, m] = hkdf(&tape.key(), &identity.hedge_secret, label::HEDGED_HANDSHAKE, &context);
    let ek_a = x25519_public(&ek);
    let (ct, ss) = kem::encapsulate_1024(bundle.one_time.as_ref().unwrap_or(&bundle.signed).kem(), &m);

    let one_time_record = bundle.one_time.as_ref().map(|prekey| &prekey.record[..]);
    let h1 = first_transcript(&bundle.ik, &bundle.signed.record, one_time_record, &ek_a, &ct);
    let mut ikm = Vec::new();
    let one_time = bundle.one_time.iter().map(|prekey| prekey.x25519());
    for public in [x25519_half(&bundle.ik), bundle.signed.x25519()].into_iter().chain(one_time) {
        ikm.extend(x25519(&ek, &public).ok_or(Refusal::InvalidKey)?);
    }
    ikm.extend(ss);
    let ck1 = extract(&h1, &ikm);
    let c = seal(&identity_key_key(&ck1), &h1, &cat(&[&identity.ik, &identity.binding, payload]));
    let dh = x25519(&identity.x25519_private, &bundle.signed.x25519()).ok_or(Refusal::InvalidKey)?;
    let secrets = second_stage(&h1, &ck1, &c, &identity.ik, &dh);

    let part = HandshakePart {
        signed_prekey_id: &signed_prekey_id,
        one_time_prekey_id: one_time_prekey_id.as_ref().map(|id| &id[..]),
        ek_a,
        ct: &ct,
        c: &c,
    };
    Ok((secrets, part.to_bytes()))
}

/// What the responder learns of a handshake part. None of it is to take effect before a message has opened.
pub struct Answer {
    pub secrets: Secrets,
    pub ik_a: IdentityKey,
    pub payload: Vec<u8>,
    /// The signed prekey's private and public X25519 key: the first own ratchet key.
    pub ratchet_key: (Key, Key),
    /// Index of the signed prekey.
    pub signed_prekey: usize,
    pub one_time_prekey_id: Option<Vec<u8>>,
    /// `h1[0..16]`
    pub fingerprint: [u8; 16],
}

/// The responder's.
pub fn respond(identity: &Identity, prekeys: &Prekeys, part: &[u8]) -> Result<Answer, Refusal> {
    let part = HandshakePart::read(&mut Reader::new(part))?;
    if !super::primitives::x25519_is_valid(&part.ek_a) {
        return Err(Refusal::InvalidKey);
    }
    let signed = prekeys.signed.iter();
    let signed_prekey = signed
        .clone()
        .position(|signed| prekey_id(&signed.prekey.record) == part.signed_prekey_id)
        .ok_or(Refusal::UnknownPreKey)?;
    let signed = &prekeys.signed[signed_prekey];
    let one_time = match part.one_time_prekey_id {
        None => None,
        Some(id) => {
            let found = prekeys.one_time.iter().find(|prekey| prekey_id(&prekey.record) == id);
            Some(found.ok_or(Refusal::UnknownPreKey)?)
        }
    };

    let one_time_record = one_time.map(|prekey| &prekey.record[..]);
    let h1 = first_transcript(&identity.ik, &signed.prekey.record, one_time_record, &part.ek_a, part.ct);
    let fingerprint = h1[..16].try_into().unwrap();
    if one_time.is_none() {
        if signed.replay_record.contains(&fingerprint) {
            return Err(Refusal::Replayed);
        }
        if signed.replay_record.len() == Prekeys::REPLAY_RECORD {
            return Err(Refusal::ReplayRecordFull);
        }
    }

    let mut ikm = Vec::new();
    let one_time_private = one_time.iter().map(|prekey| prekey.x25519_private);
    for private in [identity.x25519_private, signed.prekey.x25519_private].into_iter().chain(one_time_private)
    {
        ikm.extend(x25519(&private, &part.ek_a).ok_or(Refusal::InvalidKey)?);
    }
    ikm.extend(kem::decapsulate_1024(&one_time.unwrap_or(&signed.prekey).kem_seed, part.ct));
    let ck1 = extract(&h1, &ikm);

    let opened = open(&identity_key_key(&ck1), &h1, part.c).ok_or(Refusal::Unauthentic)?;
    let (ik_a, binding, payload) = (&opened[..64], &opened[64..128], &opened[128..]);
    if !identity_is_valid(ik_a) || !is_bound(ik_a, binding) {
        return Err(Refusal::Unauthentic);
    }
    let ik_a: IdentityKey = ik_a.try_into().unwrap();
    let dh = x25519(&signed.prekey.x25519_private, &x25519_half(&ik_a)).ok_or(Refusal::Unauthentic)?;
    Ok(Answer {
        secrets: second_stage(&h1, &ck1, part.c, &ik_a, &dh),
        ik_a,
        payload: payload.to_vec(),
        ratchet_key: (signed.prekey.x25519_private, x25519_public(&signed.prekey.x25519_private)),
        signed_prekey,
        one_time_prekey_id: part.one_time_prekey_id.map(<[u8]>::to_vec),
        fingerprint,
    })
}
