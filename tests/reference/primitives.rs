//! Sections 1 to 3, and the generator of section 15.

use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};
use hmac::{Hmac, Mac};
use sha2::{Digest, Sha256};

/// A key, a hash, a MAC, a chunk: most things are 32 bytes.
pub type Key = [u8; 32];

/// `SUITE`.
pub const SUITE: u8 = 0x01;

/// Why something is refused: names of section 13.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refusal {
    Malformed,
    UnsupportedVersion,
    InvalidKey,
    Unauthentic,
    InvalidSignature,
    Expired,
    NotYetValid,
    Duplicate,
    TooOld,
    TooFarAhead,
    UnknownSession,
    PeerRolledBack,
    UnknownPreKey,
    Replayed,
    ReplayRecordFull,
    ContentTooLong,
    PayloadTooLong,
    CounterExhausted,
}

/// Section 3. Each ends with a zero byte.
pub mod label {
    macro_rules! labels {
        ($($name:ident $text:literal)*) => { $(pub const $name: &[u8] = concat!("Subrosa/1 ", $text, "\0").as_bytes();)* };
    }
    labels! {
        BINDING "identity binding"
        SIGNED_PREKEY "signed prekey"
        ONE_TIME_PREKEY "one-time prekey"
        PREKEY_ID "prekey id"
        TRANSCRIPT_1 "handshake transcript 1"
        TRANSCRIPT_2 "handshake transcript 2"
        SEALED_IDENTITY "sealed identity"
        SESSION "session secrets"
        EC_ROOT "ec root"
        PQ_START "pq start"
        PQ_EPOCH "pq epoch"
        PQ_EPOCH_KEY "pq epoch key"
        AUTHENTICATOR "pq authenticator"
        KEM_HEADER "kem header"
        KEM_CIPHERTEXT "kem ciphertext"
        MESSAGE "message"
        HEDGE_SECRET "hedge secret"
        HEDGED_PREKEY "hedged prekey"
        HEDGED_HANDSHAKE "hedged handshake"
        HEDGED_RATCHET_KEY "hedged ratchet key"
        HEDGED_KEM "hedged kem"
    }
}

/// `a | b | ...`
pub fn cat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// `H(label, m)`
pub fn hash(label: &[u8], m: &[u8]) -> Key {
    Sha256::digest(cat(&[label, m])).into()
}

/// `HMAC(k, m)`
pub fn hmac(key: &[u8], m: &[u8]) -> Key {
    let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(key).unwrap();
    mac.update(m);
    mac.finalize().into_bytes().into()
}

/// `Extract(salt, ikm)`
pub fn extract(salt: &Key, ikm: &[u8]) -> Key {
    hmac(salt, ikm)
}

/// `Expand(prk, label, info, 32 N)`, cut into keys: T(1), T(2), ... of RFC 5869. Nothing that it is used for has another length.
pub fn expand<const N: usize>(prk: &Key, label: &[u8], info: &[u8]) -> [Key; N] {
    let mut keys = [Key::default(); N];
    let mut previous = Vec::new();
    for (i, key) in keys.iter_mut().enumerate() {
        *key = hmac(prk, &cat(&[&previous, label, info, &[i as u8 + 1]]));
        previous = key.to_vec();
    }
    keys
}

/// `HKDF(salt, ikm, label, info, 32 N)`
pub fn hkdf<const N: usize>(salt: &Key, ikm: &[u8], label: &[u8], info: &[u8]) -> [Key; N] {
    expand(&extract(salt, ikm), label, info)
}

/// The salt of 32 zero bytes.
pub const NO_SALT: Key = [0; 32];

/// `AEAD`, always with a nonce of zeros: each key seals once.
pub fn seal(key: &Key, ad: &[u8], plain: &[u8]) -> Vec<u8> {
    ChaCha20Poly1305::new(key.into()).encrypt(&Default::default(), Payload { msg: plain, aad: ad }).unwrap()
}

pub fn open(key: &Key, ad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    ChaCha20Poly1305::new(key.into()).decrypt(&Default::default(), Payload { msg: sealed, aad: ad }).ok()
}

/// `XAEAD`
pub fn seal_x(key: &Key, nonce: &[u8], ad: &[u8], plain: &[u8]) -> Vec<u8> {
    let nonce = nonce.try_into().unwrap();
    XChaCha20Poly1305::new(key.into()).encrypt(nonce, Payload { msg: plain, aad: ad }).unwrap()
}

pub fn open_x(key: &Key, nonce: &[u8], ad: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
    let nonce = nonce.try_into().unwrap();
    XChaCha20Poly1305::new(key.into()).decrypt(nonce, Payload { msg: sealed, aad: ad }).ok()
}

/// Whether 255 bits, little-endian, are a number below 2^255 - 19.
fn is_below_p(bytes: &[u8]) -> bool {
    !(bytes[0] >= 0xed && bytes[1..31].iter().all(|byte| *byte == 0xff) && bytes[31] & 0x7f == 0x7f)
}

/// The u-coordinates of small order, little-endian, but 0 and 1.
const SMALL_ORDER: [&str; 3] = [
    "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
    "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
];

/// Whether an X25519 public key is valid: canonical, not of small order.
pub fn x25519_is_valid(public: &[u8]) -> bool {
    let is_0_or_1 = public[0] <= 1 && public[1..].iter().all(|byte| *byte == 0);
    let hex: String = public.iter().map(|byte| format!("{byte:02x}")).collect();
    let is_small = is_0_or_1 || SMALL_ORDER.contains(&hex.as_str());
    public[31] & 0x80 == 0 && is_below_p(public) && !is_small
}

/// Whether an Ed25519 public key is valid: a canonical point, not one of small order.
pub fn ed25519_is_valid(public: &[u8]) -> bool {
    let point = VerifyingKey::from_bytes(public.try_into().unwrap());
    is_below_p(public) && point.is_ok_and(|point| !point.is_weak())
}

pub fn x25519_public(private: &Key) -> Key {
    x25519_dalek::x25519(*private, x25519_dalek::X25519_BASEPOINT_BYTES)
}

/// `X25519(k, u)`, or none if it is all zeros.
pub fn x25519(private: &Key, public: &Key) -> Option<Key> {
    let secret = x25519_dalek::x25519(*private, *public);
    (secret != Key::default()).then_some(secret)
}

pub fn ed25519_public(seed: &Key) -> Key {
    SigningKey::from_bytes(seed).verifying_key().to_bytes()
}

/// `Ed25519-Sign`
pub fn sign(seed: &Key, m: &[u8]) -> [u8; 64] {
    SigningKey::from_bytes(seed).sign(m).to_bytes()
}

pub fn verify(public: &[u8], m: &[u8], signature: &[u8]) -> bool {
    let signature = Signature::from_bytes(signature.try_into().unwrap());
    let key = VerifyingKey::from_bytes(public.try_into().unwrap());
    key.is_ok_and(|key| key.verify_strict(m, &signature).is_ok())
}

/// What a generator returns, from now on: the same for everybody who has a copy.
#[derive(Clone)]
pub struct Tape {
    bytes: Vec<u8>,
    drawn: usize,
}

impl Tape {
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes, drawn: 0 }
    }

    /// How many bytes have been drawn.
    pub fn drawn(&self) -> usize {
        self.drawn
    }

    /// Draws.
    pub fn fill(&mut self, to: &mut [u8]) {
        let from = self.bytes.get(self.drawn..self.drawn + to.len());
        to.copy_from_slice(from.expect("more randomness is drawn than there should be"));
        self.drawn += to.len();
    }

    pub fn key(&mut self) -> Key {
        let mut key = Key::default();
        self.fill(&mut key);
        key
    }

    pub fn u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill(&mut bytes);
        u32::from_be_bytes(bytes)
    }
}
