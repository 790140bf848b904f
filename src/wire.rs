//! Every byte that leaves the device: bounded, canonical, versioned (`docs/SPEC.md`, sections
//! 1, 5, 6).
//!
//! Each value begins with one byte, kind in the high and version in the low four bits. Integers are
//! big-endian. A decoder takes exactly one encoding of a value and no byte more.
//!
//! Not its concern: whether what was decoded is genuine.

pub(crate) mod body;
pub(crate) mod codec;
pub(crate) mod header;
pub(crate) mod message;
pub(crate) mod padme;
pub(crate) mod text;

pub use body::{MAX_CONTENT_LEN, Padding};
pub use message::{MAX_PAYLOAD_LEN, MessageKind};
