//! What is fuzzed, and how: each target is a function of this library, so that the tests of the crate run it over the
//! inputs that are kept in `corpus`.
//!
//! | target | input | must hold |
//! |---|---|---|
//! | `decode` | bytes, for every public decoder | what decodes encodes to the same bytes; limits |
//! | `inside` | what stands behind a seal or a checksum, made by who has the key | as it was made, or refused whole |
//! | `decrypt` | a forgery for an established session | refused, nothing changed, the genuine message still opens |
//! | `accept` | a forgery of an initial message | refused, nothing changed, the genuine one is still accepted |
//! | `sealed` | forged storage: state of sessions, records of a device, files | refused |
//! | `conversation` | a script over two peers and a hostile network | every message once, none that nobody sent; no key twice |
//! | `device` | a script over devices, a server, a network and stores that fail | the same; in the end all hear all |
//! | `hostile` | a script for a peer that holds its own keys and keeps to no rule | refused and nothing changed, or read |
//! | `liar` | the same for a user who signs lists and certificates that contradict | refused, or shown under the right name |

mod fixture;
mod forgery;
mod mallory;
#[allow(dead_code, reason = "the tests use more of it")]
mod reference;
mod seeds;
mod targets;
mod town;
mod users;

use std::fmt::Debug;

use arbitrary::{Arbitrary, Unstructured};

pub use fixture::{FIXTURE, Fixture, Genuine, Initial, NOW, Scene, rng};
pub use forgery::{Edit, Forgery};
pub use seeds::Seeds;
pub use targets::*;

/// A target over bytes as libFuzzer hands them in.
pub type Target = fn(&[u8]);

/// Every target, by its name.
pub const TARGETS: [(&str, Target); 9] = [
    ("accept", |bytes| with(bytes, accept)),
    ("conversation", |bytes| with(bytes, conversation)),
    ("decode", decode),
    ("decrypt", |bytes| with(bytes, decrypt)),
    ("device", |bytes| with(bytes, device)),
    ("hostile", |bytes| with(bytes, hostile)),
    ("inside", |bytes| with(bytes, inside)),
    ("liar", |bytes| with(bytes, liar)),
    ("sealed", |bytes| with(bytes, sealed)),
];

/// Runs a target.
pub fn run(name: &str, bytes: &[u8]) {
    let (_, target) = TARGETS.iter().find(|(other, _)| *other == name).expect("a target");
    target(bytes);
}

/// Reads the input of a target out of bytes. With `SUBROSA_FUZZ_SHOW` set it is shown.
fn with<'a, T: Arbitrary<'a> + Debug>(bytes: &'a [u8], target: fn(T)) {
    if let Ok(input) = T::arbitrary_take_rest(Unstructured::new(bytes)) {
        if SHOW.with(|show| *show) {
            eprintln!("{input:#?}");
        }
        target(input);
    }
}

thread_local! {
    static SHOW: bool = std::env::var_os("SUBROSA_FUZZ_SHOW").is_some();
}
