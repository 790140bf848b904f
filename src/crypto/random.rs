//! Randomness: from the caller's generator or the system's, and hedged with a secret of ours.

use alloc::boxed::Box;

use rand::TryCryptoRng;

use super::{
    kdf::{self, Label},
    secret::Secret,
};
use crate::Error;

/// `N` bytes of the generator, as they come.
pub(crate) fn fill<const N: usize>(rng: &mut impl TryCryptoRng) -> Result<Secret<N>, Error> {
    let mut bytes = Secret::zeroed();
    rng.try_fill_bytes(bytes.as_mut()).map_err(|_| Error::NoRandomness)?;
    Ok(bytes)
}

/// [`fill`], where they stay.
#[cfg_attr(
    not(any(feature = "std", feature = "attachments")),
    allow(dead_code, reason = "there are no backups, and no files are sealed")
)]
pub(crate) fn fill_boxed<const N: usize>(rng: &mut impl TryCryptoRng) -> Result<Box<Secret<N>>, Error> {
    let mut bytes = Box::new(Secret::zeroed());
    rng.try_fill_bytes(bytes.as_mut().as_mut()).map_err(|_| Error::NoRandomness)?;
    Ok(bytes)
}

/// `N` bytes out of 32 bytes of the generator *and* a secret of ours: HKDF(salt = random, ikm = secret).
///
/// A generator that is known to an attacker does not reveal the result as long as the secret is not; a secret that
/// leaked does not as long as the generator works. A generator that repeats its output repeats the result, for the same
/// secret, label and context.
pub(crate) fn hedged<const N: usize>(
    rng: &mut impl TryCryptoRng,
    secret: &[u8; 32],
    label: Label,
    context: &[u8],
) -> Result<Secret<N>, Error> {
    try_hedged(rng, secret, label, context).map_err(|_| Error::NoRandomness)
}

/// [`hedged`], with the generator's own error.
pub(crate) fn try_hedged<R: TryCryptoRng, const N: usize>(
    rng: &mut R,
    secret: &[u8; 32],
    label: Label,
    context: &[u8],
) -> Result<Secret<N>, R::Error> {
    let mut random = Secret::<32>::zeroed();
    rng.try_fill_bytes(random.as_mut())?;
    Ok(kdf::derive(random.as_bytes(), secret, label, [context, &[]]))
}
