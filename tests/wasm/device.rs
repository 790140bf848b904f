//! Of the tests of devices those of attacks.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test that panics is a test that fails"
)]

#[path = "../device/attacks.rs"]
mod attacks;
#[path = "../common/mod.rs"]
mod common;
