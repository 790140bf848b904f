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
