//! What the fuzz targets share: genuine values to begin with, and ways to spoil them.
//!
//! | target | input | must hold |
//! |---|---|---|
//! | `decode` | bytes | what decodes encodes to the same bytes |
//! | `decrypt` | a forgery for an established session | refused, nothing changed, the genuine message still opens |
//! | `accept` | a forgery of an initial message | refused, nothing changed, the genuine one is still accepted |
//! | `sealed` | forged storage | refused |
//! | `device` | bytes, for each of the calls of a device that take foreign ones | refused, nothing is sent in answer |
//! | `conversation` | a script over two peers and a hostile network | every message once, none that nobody sent |

mod fixture;
mod forgery;

pub use fixture::{FIXTURE, Fixture, Genuine, Initial, NOW, Scene, rng};
pub use forgery::{Edit, Forgery};
