//! The key that a user is.

use alloc::boxed::Box;
use core::fmt;

use rand::TryCryptoRng;

use super::UserId;
use crate::{
    Error,
    crypto::{
        random,
        secret::{Secret, scrub_stack},
        sign::{Signature, SigningKey},
    },
};

/// The private half of a [`UserId`]: says which devices are the user's. One device has it.
pub(crate) struct RootKey {
    // Boxed: moving a root key moves a pointer, and leaves no copies of it behind.
    private: Box<SigningKey>,
    user_id: UserId,
}

impl RootKey {
    /// # Errors
    /// [`Error::NoRandomness`].
    pub(crate) fn generate(rng: &mut impl TryCryptoRng) -> Result<Self, Error> {
        let key = random::fill(rng).map(|seed| Self::expand(&seed));
        scrub_stack();
        key
    }

    /// The key of 32 random bytes that [`Self::seed`] gave.
    pub(crate) fn from_seed(seed: &Secret<32>) -> Self {
        let key = Self::expand(seed);
        scrub_stack();
        key
    }

    #[inline(never)]
    fn expand(seed: &Secret<32>) -> Self {
        let private = Box::new(SigningKey::from_seed(seed));
        let user_id = UserId::of(private.public());
        Self { private, user_id }
    }

    /// What it was made from, to be sealed.
    pub(crate) fn seed(&self) -> Secret<32> {
        self.private.seed()
    }

    pub(crate) fn user_id(&self) -> &UserId {
        &self.user_id
    }

    pub(super) fn sign(&self, message: &[u8]) -> Signature {
        let signature = self.sign_inner(message);
        scrub_stack();
        signature
    }

    #[inline(never)]
    fn sign_inner(&self, message: &[u8]) -> Signature {
        self.private.sign(message)
    }
}

impl fmt::Debug for RootKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootKey({}, [secret])", self.user_id)
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use chacha20::ChaCha20Rng;
    use rand::SeedableRng;

    use super::*;

    struct Broken;

    impl rand::TryRng for Broken {
        type Error = core::fmt::Error;

        fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
            Err(core::fmt::Error)
        }

        fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
            Err(core::fmt::Error)
        }

        fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> {
            Err(core::fmt::Error)
        }
    }

    impl TryCryptoRng for Broken {}

    #[test]
    fn is_made_of_its_seed() {
        let drawn = RootKey::generate(&mut ChaCha20Rng::seed_from_u64(1)).unwrap();
        let again = RootKey::from_seed(&drawn.seed());
        assert_eq!(again.user_id(), drawn.user_id());
        assert_ne!(RootKey::generate(&mut ChaCha20Rng::seed_from_u64(2)).unwrap().user_id(), drawn.user_id());
        assert_eq!(drawn.user_id().verify(b"message", &again.sign(b"message")), Ok(()));
        assert_eq!(RootKey::generate(&mut Broken).err(), Some(Error::NoRandomness));
    }

    /// RFC 8032 section 7.1, test 1.
    #[test]
    fn user_id_is_the_public_key() {
        let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
        let root = RootKey::from_seed(&Secret::new(seed.try_into().unwrap()));
        let public = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";
        assert_eq!(hex::encode(root.user_id().to_bytes()), public);
    }

    #[test]
    fn a26_debug_shows_nothing_of_the_key() {
        let root = RootKey::from_seed(&Secret::new([0xab; 32]));
        assert_eq!(format!("{root:?}"), format!("RootKey({}, [secret])", root.user_id()));
    }
}
