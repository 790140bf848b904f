//! Who a user is, and which devices are theirs (`docs/SPEC.md`, section "Users and devices").
//!
//! ```text
//! RootKey ──signs──> DeviceList (version, previous, expiry, devices)      travels in message content
//!    │ public half       │ one entry each: IdentityKey, claim ──────┐
//!  UserId <──claims── IdentityKeyPair of a device                   ▼
//!    └────────────signs──────────────────────────> Certificate of a device ──> Payload of a handshake
//! ```
//!
//! Both have to agree: the root key says which devices are the user's, and each device says, with a key of its own, whose
//! it is. Without the first a server could add a device; without the second a user could list somebody else's, and be
//! shown as the author of what that device writes.
//!
//! Nothing below this module knows it: for a session an [`IdentityKey`](crate::IdentityKey) is all that a peer is.
//!
//! Not its concern: which lists are known, what time it is, and what to do about a fork.

#![cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no devices"))]

mod address;
mod certificate;
mod claim;
mod device_id;
#[cfg(test)]
pub(crate) mod fixture;
mod known;
mod list;
mod payload;
mod root_key;
mod user_id;

pub use address::Address;
pub use device_id::DeviceId;
pub use list::DeviceList;
pub use user_id::UserId;

#[cfg_attr(not(feature = "std"), allow(unused_imports, reason = "there are no devices"))]
pub(crate) use {
    certificate::Certificate,
    claim::{claim, verify_claim},
    known::{KnownList, Succession},
    list::{LIFETIME_DAYS, MAX_DEVICES},
    payload::{PAYLOAD_LEN, Payload},
    root_key::RootKey,
    user_id::sealed_state as sealed_user_id,
};
