//! A file and a function each.

mod accept;
mod conversation;
mod decode;
mod decrypt;
mod device;
mod hostile;
mod inside;
mod liar;
mod sealed;

pub use accept::accept;
pub use conversation::conversation;
pub use decode::decode;
pub use decrypt::decrypt;
pub use device::device;
pub use hostile::hostile;
pub use inside::inside;
pub use liar::liar;
pub use sealed::sealed;
