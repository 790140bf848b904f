//! The transcript of what is to be refused: `tests/vectors/forged.json`. Bundles, first messages and messages as only who breaks
//! the rules makes them, with the keys that it takes.

use super::*;
use crate::{
    Error, SignedPreKey, VerifiedBundle,
    crypto::{dh::AgreementKey, kem::KemSeed, secret::Secret},
    keys::DAY,
    session::{
        hostile::{forge, twin},
        impostor::forged_from,
    },
    wire::header::HEADER_LEN,
};

/// Where a header's fields are.
const PN: usize = 32;
const N: usize = 36;
const PQ_EPOCH: usize = 40;
const PQ_N: usize = 44;
const INCARNATION: usize = 48;
/// Where a bundle's fields are: SPEC section 5.
const SIGNED_PREKEY: usize = 1 + 64;
const SIGNED_AGREEMENT: usize = SIGNED_PREKEY + 1;
/// Where EK_A is in a first message that names a one-time prekey: SPEC section 7.
const EPHEMERAL: usize = 1 + 8 + 1 + 8;

type Field = (usize, u32);

fn set(header: &mut [u8; HEADER_LEN], fields: &[Field]) {
    for (at, value) in fields {
        header[*at..*at + 4].copy_from_slice(&value.to_be_bytes());
    }
}

fn get(header: &[u8; HEADER_LEN], at: usize) -> u32 {
    u32::from_be_bytes(header[at..at + 4].try_into().unwrap())
}

fn flipped(bytes: &[u8], at: usize) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at] ^= 1;
    bytes
}

/// The same bytes with others somewhere.
fn with(bytes: &[u8], at: usize, new: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    bytes[at..at + new.len()].copy_from_slice(new);
    bytes
}

/// What could be sent next in a session, and is not.
fn forged(
    session: &Session,
    alter: impl FnOnce(&mut [u8; HEADER_LEN]),
    alter_body: impl FnOnce(&mut [u8]),
) -> Vec<u8> {
    let rng = &mut ChaCha20Rng::seed_from_u64(1);
    forge(&mut twin(session), rng, |header, _| alter(header), alter_body)
}

impl Script {
    fn session(&self, who: &str) -> &Session {
        self.people[who].session.as_ref().unwrap()
    }

    /// What Alice could send next, and does not.
    fn honest(&self, content: &[u8]) -> Vec<u8> {
        let rng = &mut ChaCha20Rng::seed_from_u64(2);
        twin(self.session("alice")).encrypt_with_rng(content, rng).unwrap()
    }

    /// What Alice could send next, and nobody does who is honest.
    fn forged(
        &self,
        alter: impl FnOnce(&mut [u8; HEADER_LEN]),
        alter_body: impl FnOnce(&mut [u8]),
    ) -> Vec<u8> {
        forged(self.session("alice"), alter, alter_body)
    }

    fn refuse(
        &mut self,
        op: &str,
        who: &'static str,
        what: &str,
        bytes: (&'static str, &[u8]),
        error: Error,
    ) {
        let name = alloc::format!("{error:?}");
        self.step(op, who, |_| {
            Vec::from([("what", json!(what)), (bytes.0, json!(hex::encode(bytes.1))), ("error", json!(name))])
        });
    }

    fn refuse_message(&mut self, who: &'static str, what: &str, message: &[u8], expected: Error) {
        let before = self.session(who).seal(&storage_key());
        let session = self.people.get_mut(who).unwrap().session.as_mut().unwrap();
        assert_eq!(session.decrypt(message), Err(expected), "{what}");
        assert_eq!(session.seal(&storage_key()), before, "{what}");
        self.refuse("decrypt_bytes", who, what, ("message", message), expected);
    }

    fn refuse_first(&mut self, who: &'static str, what: &str, message: &[u8], expected: Error) {
        let Person { identity, prekeys, .. } = self.people.get_mut(who).unwrap();
        let accepted = Session::accept(identity, prekeys.as_mut().unwrap(), message);
        assert_eq!(accepted.err(), Some(expected), "{what}");
        self.refuse("accept_bytes", who, what, ("message", message), expected);
    }

    fn refuse_bundle(&mut self, what: &str, bundle: &[u8], expected: Error) {
        let read = PreKeyBundle::from_bytes(bundle).and_then(|bundle| bundle.verify(self.now));
        assert_eq!(read.err(), Some(expected), "{what}");
        self.refuse("read_bundle", "alice", what, ("bundle", bundle), expected);
    }

    /// Messages of Alice's to Bob.
    fn refuse_headers(&mut self, cases: &[(&str, &[Field], Error)]) {
        for (what, fields, error) in cases {
            let message = self.forged(|header| set(header, fields), |_| {});
            self.refuse_message("bob", what, &message, *error);
        }
    }

    /// The same, with ratchet keys that are none.
    fn refuse_ratchet_keys(&mut self, of: &str) {
        for (name, bytes) in bad_x25519() {
            let message = self.forged(|header| header[..32].copy_from_slice(&bytes), |_| {});
            self.refuse_message("bob", &alloc::format!("{of}: {name}"), &message, Error::InvalidKey);
        }
    }
}

/// Of small order, or not reduced.
fn bad_x25519() -> [(&'static str, [u8; 32]); 4] {
    let mut one = [0; 32];
    one[0] = 1;
    let mut p = [0xff; 32];
    (p[0], p[31]) = (0xed, 0x7f);
    let mut high = *AgreementKey::from_seed(&Secret::new([3; 32])).public().as_bytes();
    high[31] |= 0x80;
    [("0", [0; 32]), ("1", one), ("p", p), ("with the high bit set", high)]
}

fn bundles(script: &mut Script) {
    let good = script.bundles["bob"].clone();
    let key = *script.people["bob"].identity.identity_key();
    for cut in [0, 1, 64, good.len() - 1] {
        script.refuse_bundle("cut short", &good[..cut], Error::Malformed);
    }
    script.refuse_bundle("a byte too long", &[&good[..], &[0]].concat(), Error::Malformed);
    script.refuse_bundle("version 2", &with(&good, 0, &[0x32]), Error::UnsupportedVersion);
    script.refuse_bundle("another kind", &with(&good, 0, &[0x41]), Error::Malformed);
    let other = *IdentityKeyPair::generate_with_rng(&mut script.rng).identity_key();
    script.refuse_bundle(
        "another's identity key",
        &with(&good, 1, &other.to_bytes()),
        Error::InvalidSignature,
    );
    let halves = [&key.to_bytes()[..32], &other.to_bytes()[32..]].concat();
    script.refuse_bundle("half of another's identity key", &with(&good, 1, &halves), Error::InvalidSignature);
    for (name, bytes) in bad_x25519() {
        let what = alloc::format!("X25519 half of the identity key: {name}");
        script.refuse_bundle(&what, &with(&good, 33, &bytes), Error::InvalidKey);
        let what = alloc::format!("X25519 key of the signed prekey: {name}");
        script.refuse_bundle(&what, &with(&good, SIGNED_AGREEMENT, &bytes), Error::InvalidKey);
    }
    let mut not_canonical = [0xff; 32];
    (not_canonical[0], not_canonical[31]) = (0xee, 0x7f);
    script.refuse_bundle(
        "Ed25519 half of the identity key: p + 1",
        &with(&good, 1, &not_canonical),
        Error::InvalidKey,
    );
    let mut identity = [0; 32];
    identity[0] = 1;
    script.refuse_bundle(
        "Ed25519 half of the identity key: the neutral point",
        &with(&good, 1, &identity),
        Error::InvalidKey,
    );
    // Two coefficients of the KEM key, behind the X25519 key, are 4,095.
    script.refuse_bundle(
        "KEM key of the signed prekey: not reduced",
        &with(&good, SIGNED_AGREEMENT + 32, &[0xff; 3]),
        Error::InvalidKey,
    );
    for at in (SIGNED_PREKEY..good.len()).step_by(331) {
        let error = if at == SIGNED_PREKEY { Error::UnsupportedVersion } else { Error::InvalidSignature };
        script.refuse_bundle(&alloc::format!("bit 0 of byte {at} flipped"), &flipped(&good, at), error);
    }
    let bob = &script.people["bob"].identity;
    let agreement = AgreementKey::from_seed(&Secret::new([4; 32]));
    let kem = KemSeed::new(Secret::new([5; 64])).expand();
    let until = |seconds: u64| {
        let not_after = UnixTime::from_secs(seconds);
        PreKeyBundle::new(key, SignedPreKey::sign(bob, agreement.public(), kem.public(), not_after), None)
            .to_bytes()
    };
    let now = script.now.as_secs();
    let [expired, early] = [until(now - 1), until(now + 37 * DAY + 1)];
    for bundle in [until(now), until(now + 37 * DAY)] {
        assert!(PreKeyBundle::from_bytes(&bundle).unwrap().verify(script.now).is_ok());
    }
    script.refuse_bundle("expired a second ago", &expired, Error::Expired);
    script.refuse_bundle("valid for 37 days and a second", &early, Error::NotYetValid);
}

/// First messages, for a responder that has none of them accepted yet.
fn first_messages(script: &mut Script, bundle: &VerifiedBundle) {
    let honest = script.honest(b"first");
    for cut in [0, 1, 17, 1_000, honest.len() - 400] {
        script.refuse_first("bob", "cut short", &honest[..cut], Error::Malformed);
    }
    script.refuse_first("bob", "version 2", &with(&honest, 0, &[0x12]), Error::UnsupportedVersion);
    script.refuse_first("bob", "a ratchet message", &with(&honest, 0, &[0x21]), Error::UnknownSession);
    script.refuse_first("bob", "another id of the signed prekey", &flipped(&honest, 1), Error::UnknownPreKey);
    for (name, bytes) in bad_x25519() {
        let what = alloc::format!("EK_A: {name}");
        script.refuse_first("bob", &what, &with(&honest, EPHEMERAL, &bytes), Error::InvalidKey);
    }
    for at in [EPHEMERAL, EPHEMERAL + 32, 1_000, honest.len() - 1] {
        let what = alloc::format!("bit 0 of byte {at} flipped");
        script.refuse_first("bob", &what, &flipped(&honest, at), Error::Unauthentic);
    }
    for (what, fields, error) in [
        ("PQ epoch 1", &[(PQ_EPOCH, 1)][..], Error::Malformed),
        ("PQ number other than n", &[(PQ_N, 1)], Error::Malformed),
        ("number 25,001", &[(N, 25_001), (PQ_N, 25_001)], Error::TooFarAhead),
    ] {
        let message = script.forged(|header| set(header, fields), |_| {});
        script.refuse_first("bob", what, &message, error);
    }
    // Mallory says that she is Alice: with her own binding, and with her own agreement for the one that only Alice knows.
    let mallory = IdentityKeyPair::generate_with_rng(&mut script.rng);
    let alice = *script.people["alice"].identity.identity_key();
    let hers = *script.people["alice"].identity.binding();
    let own = mallory.agreement().agree(bundle.signed_prekey().agreement()).unwrap();
    let rights =
        script.people["alice"].identity.agreement().agree(bundle.signed_prekey().agreement()).unwrap();
    for (what, binding, stage2) in
        [("another's binding", *mallory.binding(), &rights), ("another's agreement", hers, &own)]
    {
        let rng = &mut ChaCha20Rng::seed_from_u64(3);
        let mut session = forged_from(&alice, &binding, stage2, bundle, &[], rng);
        let message = session.encrypt_with_rng(b"it is me", rng).unwrap();
        let what = alloc::format!("in Alice's name, with {what}");
        script.refuse_first("bob", &what, &message, Error::Unauthentic);
    }
}

fn bodies(script: &mut Script) {
    // Length u32 | "hostile" | codewords' tag | codewords or padding.
    const TAG: usize = 4 + 7;
    type Change = (&'static str, fn(&mut [u8]));
    let changes: [Change; 9] = [
        ("padding that is not zero", |body| *body.last_mut().unwrap() = 1),
        ("a first byte of padding that is not zero", |body| {
            let count = usize::from(body[TAG] & 0x1f);
            body[TAG + 1 + 34 * count] = 1;
        }),
        ("codewords of type 6", |body| body[TAG] = body[TAG] & 0x1f | 6 << 5),
        ("codewords of type 7", |body| body[TAG] = body[TAG] & 0x1f | 7 << 5),
        ("no codewords of a type", |body| {
            body[TAG..].fill(0);
            body[TAG] = 1 << 5;
        }),
        ("codewords of no type", |body| {
            body[TAG..].fill(0);
            body[TAG] = 1;
        }),
        ("more codewords than there is room for", |body| body[TAG] |= 0x1f),
        ("content as long as the body", |body| {
            let len = u32::try_from(body.len() - 4).unwrap();
            body[..4].copy_from_slice(&len.to_be_bytes());
        }),
        ("content of 2^32 - 1 bytes", |body| body[..4].fill(0xff)),
    ];
    for (what, change) in changes {
        let message = script.forged(|_| {}, change);
        script.refuse_message("bob", what, &message, Error::Malformed);
    }
}

#[test]
fn what_is_refused() {
    let mut script = Script::new(8);
    script.identity("alice");
    script.identity("bob");
    script.prekeys("bob", 1);
    script.bundle("bob");
    bundles(&mut script);
    script.initiate("alice", "bob", b"");
    let bundle = PreKeyBundle::from_bytes(&script.bundles["bob"]).unwrap().verify(script.now).unwrap();
    first_messages(&mut script, &bundle);
    let first = script.encrypt("alice", b"first", PADDED);
    script.accept("bob", first);
    let honest = script.honest(b"next");
    let other_part = flipped(&honest, EPHEMERAL + 40);
    script.refuse_message("bob", "another handshake part", &other_part, Error::UnknownSession);
    script.refuse_message("alice", "one's own message", &honest, Error::UnknownSession);
    let reply = script.encrypt("bob", b"reply", PADDED);
    script.decrypt("alice", reply);
    // A chain of Alice's under HKr, of which 1 is missing.
    let chain: Vec<usize> = (0..4).map(|number| script.encrypt("alice", &[number], PADDED)).collect();
    for number in [0, 2, 3] {
        script.decrypt("bob", chain[number]);
    }
    let mut own = [0; HEADER_LEN];
    script.forged(|header| own = *header, |_| {});
    let (pq_n, incarnation) = (get(&own, PQ_N), get(&own, INCARNATION));
    script.refuse_headers(&[
        ("number 25,001 ahead", &[(N, 4 + 25_001)], Error::TooFarAhead),
        ("number 2^32 - 1", &[(N, u32::MAX)], Error::TooFarAhead),
        ("an epoch that there is not", &[(PQ_EPOCH, 2)], Error::TooFarAhead),
        ("PQ number 262,145 ahead", &[(PQ_N, pq_n + 262_145)], Error::TooFarAhead),
        ("PQ number 2^32 - 1", &[(PQ_N, u32::MAX)], Error::TooFarAhead),
        ("a PQ number that was used", &[(PQ_N, pq_n - 1)], Error::PeerRolledBack),
        ("a number that was used", &[(N, 3)], Error::Duplicate),
        ("in another incarnation", &[(N, 3), (INCARNATION, !incarnation)], Error::PeerRolledBack),
        ("between two of another incarnation", &[(N, 2), (INCARNATION, !incarnation)], Error::PeerRolledBack),
        ("a missing number with a PQ number that was used", &[(N, 1), (PQ_N, pq_n - 1)], Error::TooOld),
    ]);
    let another = *AgreementKey::from_seed(&Secret::new([6; 32])).public().as_bytes();
    let message = script.forged(|header| header[..32].copy_from_slice(&another), |_| {});
    script.refuse_message("bob", "another ratchet key in the chain", &message, Error::PeerRolledBack);
    script.refuse_ratchet_keys("ratchet key");
    bodies(&mut script);
    let honest = script.honest(b"next");
    for (at, error) in [
        (1, Error::UnknownSession),
        (honest.len() - 24, Error::UnknownSession),
        (honest.len() - 25, Error::Unauthentic),
    ] {
        let what = alloc::format!("bit 0 of byte {at} flipped");
        script.refuse_message("bob", &what, &flipped(&honest, at), error);
    }
    for cut in [0, 1, 68, 69, 69 + 31] {
        script.refuse_message("bob", "cut short", &honest[..cut], Error::Malformed);
    }
    script.refuse_message("bob", "cut short by one byte", &honest[..honest.len() - 1], Error::UnknownSession);
    script.refuse_message("bob", "version 2", &with(&honest, 0, &[0x22]), Error::UnsupportedVersion);
    // A turn: the chain of before is closed, with 1 missing.
    let answer = script.encrypt("bob", b"answer", PADDED);
    let closed = twin(script.session("alice"));
    script.decrypt("alice", answer);
    script.refuse_ratchet_keys("ratchet key of a turn");
    script.refuse_headers(&[("number 25,001 of a turn", &[(N, 25_001)], Error::TooFarAhead)]);
    let turned = script.encrypt("alice", b"turned", PADDED);
    script.decrypt("bob", turned);
    for (what, fields, error) in [
        ("a number above the length of a closed chain", &[(N, 4)][..], Error::PeerRolledBack),
        ("a number of a closed chain that was used", &[(N, 3)], Error::Duplicate),
        ("in another incarnation", &[(N, 3), (INCARNATION, !incarnation)], Error::PeerRolledBack),
    ] {
        let message = forged(&closed, |header| set(header, fields), |_| {});
        script.refuse_message("bob", what, &message, error);
    }
    // pn does not matter where there is nothing to skip.
    script.refuse_headers(&[(
        "a number that was used, with another pn",
        &[(PN, 3), (N, 0)],
        Error::Duplicate,
    )]);
    // And all is as it was.
    script.decrypt("bob", chain[1]);
    let last = script.encrypt("bob", b"last", PADDED);
    script.decrypt("alice", last);
    script.check(
        "forged",
        "What is to be refused, of whoever makes it: bundles, first messages, messages. It changes nothing.",
    );
}
