//! Sections 4 and 5, with the randomness of section 15: identities, prekeys, bundles.

use super::{
    encoding::{Reader, kind},
    kem::{self, Seed},
    notes::note,
    primitives::{
        Key, Refusal, SUITE, Tape, cat, ed25519_is_valid, ed25519_public, hash, hkdf, label, sign, verify,
        x25519_is_valid, x25519_public,
    },
};

/// Public halves: Ed25519 32, X25519 32.
pub type IdentityKey = [u8; 64];

/// Whether both halves are valid.
pub fn identity_is_valid(ik: &[u8]) -> bool {
    ed25519_is_valid(&ik[..32]) && x25519_is_valid(&ik[32..])
}

/// The X25519 half.
pub fn x25519_half(ik: &IdentityKey) -> Key {
    ik[32..].try_into().unwrap()
}

/// An identity key pair.
#[derive(Clone)]
pub struct Identity {
    pub ed25519_seed: Key,
    pub x25519_private: Key,
    pub ik: IdentityKey,
    pub binding: [u8; 64],
    pub hedge_secret: Key,
}

impl Identity {
    pub fn generate(tape: &mut Tape) -> Self {
        let (ed25519_seed, x25519_private) = (tape.key(), tape.key());
        let ik = cat(&[&ed25519_public(&ed25519_seed), &x25519_public(&x25519_private)]);
        let binding = sign(&ed25519_seed, &cat(&[label::BINDING, &[SUITE], &ik]));
        let [hedge_secret] = hkdf(&ed25519_seed, &x25519_private, label::HEDGE_SECRET, b"");
        Self { ed25519_seed, x25519_private, ik: ik.try_into().unwrap(), binding, hedge_secret }
    }
}

/// Whether an identity key is bound by this signature.
pub fn is_bound(ik: &[u8], binding: &[u8]) -> bool {
    verify(&ik[..32], &cat(&[label::BINDING, &[SUITE], ik]), binding)
}

/// A prekey with its private half, signed or one-time.
#[derive(Clone)]
pub struct Prekey {
    pub x25519_private: Key,
    pub kem_seed: Seed,
    pub record: Vec<u8>,
    pub signature: [u8; 64],
}

impl Prekey {
    /// A signed prekey has a `not_after`.
    fn generate(identity: &Identity, not_after: Option<u64>, tape: &mut Tape) -> Self {
        let (kind, label, end) = match not_after {
            Some(time) => (kind::SIGNED_PREKEY, label::SIGNED_PREKEY, time.to_be_bytes().to_vec()),
            None => (kind::ONE_TIME_PREKEY, label::ONE_TIME_PREKEY, Vec::new()),
        };
        let context = cat(&[&[kind], &end]);
        let [x25519_private, d, z] =
            hkdf(&tape.key(), &identity.hedge_secret, label::HEDGED_PREKEY, &context);
        let kem_seed = cat(&[&d, &z]).try_into().unwrap();
        let record = cat(&[&[kind], &x25519_public(&x25519_private), &kem::public_1024(&kem_seed), &end]);
        let signature = sign(&identity.ed25519_seed, &signed_bytes(label, &record, &identity.ik));
        Self { x25519_private, kem_seed, record, signature }
    }

    fn public(&self) -> PublicPrekey {
        PublicPrekey { record: self.record.clone(), signature: self.signature }
    }
}

/// What the signature of a prekey is over.
pub fn signed_bytes(label: &[u8], record: &[u8], ik: &IdentityKey) -> Vec<u8> {
    cat(&[label, &[SUITE], record, ik])
}

/// `id`
pub fn prekey_id(record: &[u8]) -> [u8; 8] {
    hash(label::PREKEY_ID, record)[..8].try_into().unwrap()
}

/// Record and signature.
#[derive(Clone)]
pub struct PublicPrekey {
    pub record: Vec<u8>,
    pub signature: [u8; 64],
}

impl PublicPrekey {
    pub fn x25519(&self) -> Key {
        self.record[1..33].try_into().unwrap()
    }

    pub fn kem(&self) -> &[u8] {
        &self.record[33..1601]
    }

    fn not_after(&self) -> u64 {
        u64::from_be_bytes(self.record[1601..].try_into().unwrap())
    }

    fn read(reader: &mut Reader<'_>, kind: u8) -> Result<Self, Refusal> {
        let kind = [reader.kind(&[kind])?];
        let x25519 = reader.take(32)?;
        if !x25519_is_valid(x25519) {
            return Err(Refusal::InvalidKey);
        }
        let kem = reader.take(1568)?;
        if !kem::is_valid_1024(kem) {
            return Err(Refusal::InvalidKey);
        }
        let not_after = reader.take(if kind == [kind::SIGNED_PREKEY] { 8 } else { 0 })?;
        let record = cat(&[&kind, x25519, kem, not_after]);
        Ok(Self { record, signature: reader.take(64)?.try_into().unwrap() })
    }
}

/// What an initiator gets of a responder.
#[derive(Clone)]
pub struct Bundle {
    pub ik: IdentityKey,
    pub signed: PublicPrekey,
    pub one_time: Option<PublicPrekey>,
}

impl Bundle {
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = cat(&[&[kind::BUNDLE], &self.ik, &self.signed.record, &self.signed.signature]);
        bytes.push(u8::from(self.one_time.is_some()));
        if let Some(one_time) = &self.one_time {
            bytes.extend(cat(&[&one_time.record, &one_time.signature]));
        }
        bytes
    }

    /// Check 1.
    pub fn read(bytes: &[u8]) -> Result<Self, Refusal> {
        let mut reader = Reader::new(bytes);
        reader.kind(&[kind::BUNDLE])?;
        let ik: IdentityKey = reader.take(64)?.try_into().unwrap();
        if !identity_is_valid(&ik) {
            return Err(Refusal::InvalidKey);
        }
        let signed = PublicPrekey::read(&mut reader, kind::SIGNED_PREKEY)?;
        let one_time = match reader.flag()? {
            true => Some(PublicPrekey::read(&mut reader, kind::ONE_TIME_PREKEY)?),
            false => None,
        };
        reader.end()?;
        Ok(Self { ik, signed, one_time })
    }

    /// Checks 2 and 3.
    pub fn verify(&self, now: u64) -> Result<(), Refusal> {
        let good = |label, prekey: &PublicPrekey| {
            verify(&self.ik[..32], &signed_bytes(label, &prekey.record, &self.ik), &prekey.signature)
        };
        let one_time = self.one_time.as_ref();
        if !good(label::SIGNED_PREKEY, &self.signed)
            || !one_time.is_none_or(|prekey| good(label::ONE_TIME_PREKEY, prekey))
        {
            return Err(Refusal::InvalidSignature);
        }
        let not_after = self.signed.not_after();
        if now > not_after {
            Err(Refusal::Expired)
        } else if not_after.saturating_sub(now) > 37 * DAY {
            Err(Refusal::NotYetValid)
        } else {
            Ok(())
        }
    }
}

const DAY: u64 = 86_400;

/// A signed prekey of ours.
#[derive(Clone)]
pub struct SignedPrekey {
    pub prekey: Prekey,
    made: u64,
    /// `h1[0..16]` of what was accepted without a one-time prekey.
    pub replay_record: Vec<[u8; 16]>,
}

/// All prekeys of a responder.
#[derive(Clone)]
pub struct Prekeys {
    owner: IdentityKey,
    /// Oldest first.
    pub signed: Vec<SignedPrekey>,
    /// Oldest first; the first ones have been handed out.
    pub one_time: Vec<Prekey>,
    handed_out: usize,
}

impl Prekeys {
    pub const REPLAY_RECORD: usize = 16_384;

    pub fn generate(identity: &Identity, one_time: usize, now: u64, tape: &mut Tape) -> Self {
        let mut prekeys =
            Self { owner: identity.ik, signed: Vec::new(), one_time: Vec::new(), handed_out: 0 };
        prekeys.make_signed(identity, now, tape);
        prekeys.refill(identity, one_time, tape);
        prekeys
    }

    fn make_signed(&mut self, identity: &Identity, now: u64, tape: &mut Tape) {
        let prekey = Prekey::generate(identity, Some(now + 30 * DAY), tape);
        self.signed.push(SignedPrekey { prekey, made: now, replay_record: Vec::new() });
    }

    pub fn refill(&mut self, identity: &Identity, count: usize, tape: &mut Tape) {
        for _ in 0..count {
            self.one_time.push(Prekey::generate(identity, None, tape));
        }
        while self.one_time.len() > 4_096 {
            note("a one-time prekey is one too many");
            self.one_time.remove(0);
            self.handed_out = self.handed_out.saturating_sub(1);
        }
    }

    pub fn rotation_due(&self, now: u64) -> bool {
        let (newest, older) = self.signed.split_last().unwrap();
        newest.made + 7 * DAY <= now
            || newest.made > now
            || newest.replay_record.len() == Self::REPLAY_RECORD
            || older.iter().any(|signed| signed.made + 37 * DAY <= now)
    }

    pub fn rotate(&mut self, identity: &Identity, now: u64, tape: &mut Tape) {
        let before = self.signed.len();
        for signed in &mut self.signed {
            signed.made = signed.made.min(now);
        }
        self.signed.retain(|signed| signed.made + 37 * DAY > now);
        self.make_signed(identity, now, tape);
        while self.signed.len() > 16 {
            self.signed.remove(0);
        }
        if self.signed.len() <= before {
            note("a signed prekey is deleted");
        }
    }

    /// The next bundle, with a one-time prekey if there is one that was not handed out.
    pub fn bundle(&mut self) -> Bundle {
        let one_time = self.one_time.get(self.handed_out).map(Prekey::public);
        self.handed_out += usize::from(one_time.is_some());
        self.bundle_with(one_time)
    }

    /// A bundle with this one-time prekey.
    pub fn bundle_with(&self, one_time: Option<PublicPrekey>) -> Bundle {
        let signed = self.signed.last().unwrap().prekey.public();
        Bundle { ik: self.owner, signed, one_time }
    }

    pub fn not_handed_out(&self) -> usize {
        self.one_time.len() - self.handed_out
    }

    /// Deletes a one-time prekey that has served.
    pub fn delete(&mut self, id: &[u8]) {
        let at = self.one_time.iter().position(|prekey| prekey_id(&prekey.record) == id).unwrap();
        self.one_time.remove(at);
        if at < self.handed_out {
            self.handed_out -= 1;
        }
    }
}
