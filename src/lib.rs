//! placeholder
#![forbid(unsafe_code)]
#![cfg_attr(not(any(feature = "std", test)), no_std)]
#![cfg_attr(
    test,
    allow(
        clippy::panic,
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        reason = "a test that panics is a test that fails"
    )
)]

extern crate alloc;

mod crypto;
mod error;
mod handshake;
mod keys;
mod ratchet;
mod sealed;
mod session;
#[cfg(test)]
mod vectors;
mod wire;

pub use error::Error;
pub use keys::{
    IdentityKey, IdentityKeyPair, OneTimePreKey, PreKeyBundle, PreKeys, SignedPreKey, UnixTime,
    VerifiedBundle,
};
pub use sealed::StorageKey;
pub use session::{Accepted, Session, SessionId};
pub use wire::{MAX_CONTENT_LEN, MAX_PAYLOAD_LEN, MessageKind, Padding};

/// The operating system's generator, for calls that cannot report that it failed.
#[cfg(feature = "std")]
fn system_rng() -> impl rand::CryptoRng {
    rand::rand_core::UnwrapErr(rand::rngs::SysRng)
}
