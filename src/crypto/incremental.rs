//! ML-KEM-768 in halves (FIPS 203), so that a key and a ciphertext can travel in pieces and in parallel.
//!
//! ```text
//! encapsulation key = vector 1,152 | rho 32          header = rho 32 | SHA3-256(encapsulation key) 32
//! ciphertext        = ct1 960 | ct2 128              ct1 needs the header alone, ct2 also the vector
//! ```
//! Both halves together are byte for byte what one-shot encapsulation gives. Key pairs are stored as the seed,
//! encapsulations as header and coins; what is expanded from them stays in memory.

use alloc::{boxed::Box, vec::Vec};

use libcrux_ml_kem::mlkem768::incremental;
use zeroize::Zeroizing;

use super::secret::{Secret, scrub_deep_stack};
use crate::Error;

/// Length of a header, in bytes.
const HEADER_LEN: usize = 64;
/// Length of a vector, in bytes.
const VECTOR_LEN: usize = 1152;
/// Length of the first half of a ciphertext, in bytes.
const CT1_LEN: usize = 960;

/// Length of a decapsulation key: dk 1152 | vector 1152 | rho 32 | hash 32 | z 32.
const PRIVATE_LEN: usize = 2400;
const STATE_LEN: usize = incremental::encaps_state_len();

/// A KEM with encapsulation in two steps.
pub(crate) trait IncrementalKem {
    /// In memory only.
    type KeyPair;
    /// The first step, in memory only.
    type Encapsulation;

    fn key_pair(seed: &Secret<64>) -> Self::KeyPair;
    fn header(keys: &Self::KeyPair) -> &[u8];
    fn vector(keys: &Self::KeyPair) -> &[u8];
    /// The shared secret; an unrelated one for a ciphertext that was not made for this key.
    fn decapsulate(keys: &Self::KeyPair, ct1: &[u8], ct2: &[u8]) -> Result<Secret<32>, Error>;

    /// First step: the shared secret, and the first half of the ciphertext.
    fn encapsulate_first(
        header: &[u8],
        coins: &Secret<32>,
    ) -> Result<(Self::Encapsulation, Secret<32>), Error>;
    fn ct1(encapsulation: &Self::Encapsulation) -> &[u8];
    /// Second step: the second half of the ciphertext.
    ///
    /// # Errors
    /// [`Error::InvalidKey`] if header and vector do not belong together or fail the modulus check.
    fn encapsulate_second(
        encapsulation: &Self::Encapsulation,
        header: &[u8],
        vector: &[u8],
    ) -> Result<Vec<u8>, Error>;
}

/// The KEM of the ratchet.
pub(crate) enum MlKem768 {}

/// An expanded key pair: wiped on drop.
pub(crate) struct KeyPair(Box<Zeroizing<[u8; PRIVATE_LEN]>>);

/// The first step of an encapsulation. The state is as sensitive as the shared secret: wiped on drop.
pub(crate) struct Encapsulation {
    state: Box<Zeroizing<[u8; STATE_LEN]>>,
    ct1: Box<[u8; CT1_LEN]>,
}

impl IncrementalKem for MlKem768 {
    type KeyPair = KeyPair;
    type Encapsulation = Encapsulation;

    fn key_pair(seed: &Secret<64>) -> KeyPair {
        let mut private = Box::new(Zeroizing::new([0; PRIVATE_LEN]));
        incremental::generate_key_pair_compressed(*seed.as_bytes(), &mut private);
        scrub_deep_stack();
        KeyPair(private)
    }

    fn header(keys: &KeyPair) -> &[u8] {
        keys.0.get(2 * VECTOR_LEN..2 * VECTOR_LEN + HEADER_LEN).unwrap_or_default()
    }

    fn vector(keys: &KeyPair) -> &[u8] {
        keys.0.get(VECTOR_LEN..2 * VECTOR_LEN).unwrap_or_default()
    }

    fn decapsulate(keys: &KeyPair, ct1: &[u8], ct2: &[u8]) -> Result<Secret<32>, Error> {
        let ct1 = incremental::Ciphertext1 { value: ct1.try_into().map_err(|_| Error::Malformed)? };
        let ct2 = incremental::Ciphertext2 { value: ct2.try_into().map_err(|_| Error::Malformed)? };
        let secret = Secret::new(incremental::decapsulate_compressed_key(&keys.0, &ct1, &ct2));
        scrub_deep_stack();
        Ok(secret)
    }

    fn encapsulate_first(header: &[u8], coins: &Secret<32>) -> Result<(Encapsulation, Secret<32>), Error> {
        let mut state = Box::new(Zeroizing::new([0; STATE_LEN]));
        let mut secret = Secret::zeroed();
        let ct1 = incremental::encapsulate1(header, *coins.as_bytes(), &mut state[..], secret.as_mut())
            .map_err(|_| Error::Malformed)?;
        scrub_deep_stack();
        Ok((Encapsulation { state, ct1: Box::new(ct1.value) }, secret))
    }

    fn ct1(encapsulation: &Encapsulation) -> &[u8] {
        &encapsulation.ct1[..]
    }

    fn encapsulate_second(
        encapsulation: &Encapsulation,
        header: &[u8],
        vector: &[u8],
    ) -> Result<Vec<u8>, Error> {
        // The library's second step takes any vector: checked here, hash and modulus.
        incremental::validate_pk_bytes(header, vector).map_err(|_| Error::InvalidKey)?;
        let vector = vector.try_into().map_err(|_| Error::Malformed)?;
        let ct2 = incremental::encapsulate2(&encapsulation.state, vector);
        scrub_deep_stack();
        Ok(ct2.value.to_vec())
    }
}

#[cfg(test)]
mod tests {
    use ml_kem::{B32, Decapsulate, DecapsulationKey, KeyExport, MlKem768 as Reference};
    use rand::Rng;
    use sha3::Digest;

    use super::*;

    /// Byte for byte what an independent implementation makes in one step: keys, ciphertexts, secrets, and the
    /// secrets of implicit rejection.
    #[test]
    fn a15_both_halves_agree_with_rustcrypto() {
        let mut rng = <chacha20::ChaCha20Rng as rand::SeedableRng>::seed_from_u64(16);
        for _ in 0..25 {
            let (mut seed, mut coins) = ([0; 64], [0; 32]);
            rng.fill_bytes(&mut seed);
            rng.fill_bytes(&mut coins);
            let ours = MlKem768::key_pair(&Secret::new(seed));
            let (header, vector) = (MlKem768::header(&ours), MlKem768::vector(&ours));
            assert_eq!((header.len(), vector.len()), (HEADER_LEN, VECTOR_LEN));
            let theirs = DecapsulationKey::<Reference>::from_seed(seed.into());
            let public = theirs.encapsulation_key();
            assert_eq!([vector, &header[..32]].concat(), public.to_bytes()[..]);

            let (first, secret) = MlKem768::encapsulate_first(header, &Secret::new(coins)).unwrap();
            let ct1 = MlKem768::ct1(&first);
            let ct2 = MlKem768::encapsulate_second(&first, header, vector).unwrap();
            let (ciphertext, shared) = public.encapsulate_deterministic(&B32::from(coins));
            assert_eq!([ct1, &ct2[..]].concat(), ciphertext[..]);
            assert_eq!(secret.as_bytes()[..], shared[..]);
            assert_eq!(MlKem768::decapsulate(&ours, ct1, &ct2).unwrap().as_bytes(), secret.as_bytes());

            let mut altered = ct1.to_vec();
            altered[usize::from(coins[0])] ^= 1;
            let rejected = MlKem768::decapsulate(&ours, &altered, &ct2).unwrap();
            let ciphertext: ml_kem::Ciphertext<Reference> = [altered, ct2].concat()[..].try_into().unwrap();
            assert_eq!(rejected.as_bytes()[..], theirs.decapsulate(&ciphertext)[..]);
            assert_ne!(rejected.as_bytes(), secret.as_bytes());
        }
    }

    /// The second half of a key is taken only with its own header, and only if it is one.
    #[test]
    fn a39_validates_the_vector_before_use() {
        let keys = [1, 2].map(|byte| MlKem768::key_pair(&Secret::new([byte; 64])));
        let header = MlKem768::header(&keys[0]);
        let (first, _) = MlKem768::encapsulate_first(header, &Secret::new([3; 32])).unwrap();
        let refused = |header: &[u8], vector: &[u8]| {
            MlKem768::encapsulate_second(&first, header, vector).err() == Some(Error::InvalidKey)
        };
        let vector = MlKem768::vector(&keys[0]);
        assert!(!refused(header, vector));
        assert!(refused(header, MlKem768::vector(&keys[1])));
        for position in [0, 1, 500, VECTOR_LEN - 1] {
            let mut altered = vector.to_vec();
            altered[position] ^= 1;
            assert!(refused(header, &altered));
        }
        // A coefficient that is not below q, under a hash that fits.
        let mut large = vector.to_vec();
        (large[0], large[1]) = (0xff, large[1] | 0x0f);
        let key = [&large[..], &header[..32]].concat();
        let hash = <[u8; 32]>::from(sha3::Sha3_256::digest(&key));
        assert!(refused(&[&header[..32], &hash].concat(), &large));
        assert!(refused(header, &vector[1..]));
        assert!(MlKem768::encapsulate_first(&header[1..], &Secret::new([3; 32])).is_err());
    }
}
