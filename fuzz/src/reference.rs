//! The reference implementation of the protocol, which the tests have: here it is the peer that keeps to no rule, since
//! every part of it can be had, and altered, before it is sealed.

#[path = "../../tests/reference/braid.rs"]
pub mod braid;
#[path = "../../tests/reference/chain.rs"]
pub mod chain;
#[path = "../../tests/reference/ec.rs"]
pub mod ec;
#[path = "../../tests/reference/encoding.rs"]
pub mod encoding;
#[path = "../../tests/reference/erasure.rs"]
pub mod erasure;
#[path = "../../tests/reference/handshake.rs"]
pub mod handshake;
#[path = "../../tests/reference/kem.rs"]
pub mod kem;
#[path = "../../tests/reference/notes.rs"]
pub mod notes;
#[path = "../../tests/reference/pq.rs"]
pub mod pq;
#[path = "../../tests/reference/prekeys.rs"]
pub mod prekeys;
#[path = "../../tests/reference/primitives.rs"]
pub mod primitives;
#[path = "../../tests/reference/session.rs"]
pub mod session;

use std::sync::LazyLock;

use chacha20::rand_core::Rng;
use primitives::Tape;

static RANDOMNESS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut bytes = vec![0; 1 << 15];
    super::rng(20).fill_bytes(&mut bytes);
    bytes
});

/// The same randomness in every run, from `at` on: enough for a script.
pub fn tape(at: u16) -> Tape {
    let mut bytes = RANDOMNESS.clone();
    let len = bytes.len();
    bytes.rotate_left(usize::from(at) % len);
    Tape::new(bytes)
}
