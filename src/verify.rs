//! Verification: that a user's key is the person's whom the app's user takes it for (`docs/SPEC.md`, section 24).
//!
//! | | the people | each attempt of an attacker succeeds with |
//! |---|---|---|
//! | [`SafetyNumber`], scanned | one scans the other's screen | nothing short of the key itself |
//! | [`SafetyNumber`], digits | compare sixty digits, at any time | 2^112 hashes of work beforehand, per side |
//! | [`SasCode`] | compare seven pictures, while both are there | chance 2^-42 |
//!
//! ```text
//!        SasInitiator                                    SasResponder
//!   begin     0x81 1  commitment  ------------------>  answer
//!   receive   <------------------  0x81 2  nonce_r
//!   SasCode   0x81 3  nonce_i     ------------------>  receive
//!                                                      SasCode
//!             both people compare: confirm(true) or confirm(false)
//! ```
//!
//! Not its concern: how the messages travel (any channel will do, an attacked one as well), and what is done with the
//! result: that is [`Device::set_trust`](crate::Device::set_trust).

mod emoji;
mod safety_number;
mod sas;

pub use emoji::Emoji;
pub use safety_number::{SafetyNumber, Scan};
pub use sas::{SasCode, SasInitiator, SasResponder, SasStep};
