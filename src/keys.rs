//! The keys that people know each other by, and those that a server hands out for them.
//!
//! ```text
//! IdentityKeyPair ──signs──> SignedPreKey, OneTimePreKey      (private halves: PreKeys)
//!       │ public half                 │
//!   IdentityKey ────────────> PreKeyBundle ──verify(now)──> VerifiedBundle ──> Session::initiate
//! ```
//!
//! Not its concern: when to rotate and upload; how keys meet in the handshake.

mod bundle;
mod identity;
mod prekey;
mod prekeys;
mod replay;
mod time;

pub use bundle::{PreKeyBundle, VerifiedBundle};
pub use identity::{IdentityKey, IdentityKeyPair};
pub use prekey::{OneTimePreKey, SignedPreKey};
pub use prekeys::PreKeys;
pub use time::UnixTime;

pub(crate) use identity::sealed_state as sealed_identity_key;
pub(crate) use prekey::PreKeyId;
pub(crate) use prekeys::ResponderKeys;
pub(crate) use replay::Fingerprint;
pub(crate) use time::DAY;
#[cfg(feature = "std")]
pub(crate) use time::HOUR;
