//! The cryptographic suite, and the only module that names a cryptography crate.
//!
//! Everything above deals in the role types defined here: an [`dh::AgreementKey`] cannot be passed for a
//! [`sign::SigningKey`], a chain key not for a message key. Secrets are wiped on drop, have no `Clone` and a
//! redacted `Debug`.
//!
//! | use | primitive | file |
//! |---|---|---|
//! | Diffie-Hellman | X25519 (RFC 7748) | [`dh`] |
//! | signatures | Ed25519 (RFC 8032), strict | [`sign`] |
//! | KEM of the handshake | ML-KEM-1024 (FIPS 203) | [`kem`] |
//! | KEM of the ratchet | ML-KEM-768 in halves (FIPS 203) | [`incremental`] |
//! | AEAD | ChaCha20-Poly1305 (RFC 8439), XChaCha20-Poly1305 | [`aead`] |
//! | KDF, MAC, hash | HKDF-, HMAC-SHA-256, SHA-256; SHA-512 in safety numbers | [`kdf`] |
//! | hash of files | BLAKE3 | `digest`, with `attachments` |
//! | passphrases | Argon2id (RFC 9106) | `passphrase`, under `std` |
//!
//! Under `aws-lc-rs`, AWS-LC agrees, signs, verifies, decapsulates and seals: the same bytes, faster. Seeds and coins for ML-KEM
//! cannot be given to it, and it is slower at hashing what is short; so the rest stays where it is.
//!
//! Not its concern: which keys meet which; that is the handshake's and the ratchet's.

pub(crate) mod aead;
pub(crate) mod dh;
#[cfg(feature = "attachments")]
pub(crate) mod digest;
pub(crate) mod incremental;
pub(crate) mod kdf;
pub(crate) mod kem;
#[cfg(feature = "std")]
pub(crate) mod passphrase;
pub(crate) mod random;
#[cfg(test)]
pub(crate) mod recorder;
pub(crate) mod secret;
pub(crate) mod sign;

/// The number of the one suite of this crate. It is signed in the prekeys, hashed into the handshake and
/// authenticated with every header; there is no negotiation.
pub(crate) const SUITE: u8 = 1;

/// Hands a named intermediate value to the recorder of the test vectors; nothing outside of tests.
macro_rules! trace {
    ($name:expr, $bytes:expr) => {
        #[cfg(test)]
        $crate::crypto::recorder::record($name, $bytes);
    };
}
pub(crate) use trace;
