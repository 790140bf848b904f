//! The store in memory against the contract, and keys of passphrases. `sqlite.rs` is about the store on a disk.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]
#![cfg(feature = "std")]

use subrosa::store::{MemoryStore, conformance};

#[test]
fn memory_store_conforms() {
    let store = MemoryStore::new();
    conformance::check(|| store.clone());
    let store = MemoryStore::new();
    conformance::check_race(|| store.clone());
}
