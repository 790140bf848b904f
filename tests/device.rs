//! Devices, by what they are asked: in everyday use, by attackers, when stores and disks fail, in races, over weeks.
//!
//! One binary, since what takes long is to compile a device over the store of the tests.
#![cfg(feature = "std")]
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics is a test that fails"
)]

mod common;

#[path = "device/apart.rs"]
mod apart;
#[path = "device/attacks.rs"]
mod attacks;
#[path = "device/commits.rs"]
mod commits;
#[path = "device/damage.rs"]
mod damage;
#[path = "device/everyday.rs"]
mod everyday;
#[path = "device/faults.rs"]
mod faults;
#[path = "device/gone.rs"]
mod gone;
#[path = "device/kept.rs"]
mod kept;
#[path = "device/pairs.rs"]
mod pairs;
#[path = "device/races.rs"]
mod races;
#[path = "device/setbacks.rs"]
mod setbacks;
#[path = "device/simulation.rs"]
mod simulation;
