//! What a chain remembers of the messages it has received, to tell a duplicate from a peer gone back in time.

use alloc::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How many incarnations of the peer a chain remembers. Beyond that many restarts without an answer of ours, a
/// rollback in this chain looks like a duplicate.
const MAX_INCARNATIONS: usize = 16;

/// The incarnations seen in a chain, and from where on nothing of it has been forgotten.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Receipts {
    /// Below this number keys were discarded: a message there was received, or lost its key.
    forgotten_below: u32,
    incarnations: VecDeque<u32>,
    /// Whether an incarnation had to be forgotten.
    overflowed: bool,
}

impl Receipts {
    pub(super) fn record(&mut self, incarnation: u32) {
        if self.incarnations.contains(&incarnation) {
            return;
        }
        if self.incarnations.len() == MAX_INCARNATIONS {
            self.incarnations.pop_front();
            self.overflowed = true;
        }
        self.incarnations.push_back(incarnation);
    }

    pub(super) fn forget_below(&mut self, number: u32) {
        self.forgotten_below = self.forgotten_below.max(number);
    }

    /// Why there is no key for a message that is behind.
    ///
    /// A number that was certainly consumed, from an incarnation certainly never seen: the peer has used the
    /// number twice.
    pub(super) fn judge(&self, number: u32, incarnation: u32) -> Error {
        if number < self.forgotten_below {
            Error::TooOld
        } else if self.overflowed || self.incarnations.contains(&incarnation) {
            Error::Duplicate
        } else {
            Error::PeerRolledBack
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_what_is_behind() {
        let mut receipts = Receipts::default();
        receipts.record(1);
        receipts.record(2);
        receipts.record(1);
        assert_eq!(receipts.judge(5, 1), Error::Duplicate);
        assert_eq!(receipts.judge(5, 3), Error::PeerRolledBack);
        receipts.forget_below(6);
        receipts.forget_below(4);
        assert_eq!(receipts.judge(5, 3), Error::TooOld);
        assert_eq!(receipts.judge(6, 3), Error::PeerRolledBack);
        for incarnation in 3..=16 {
            receipts.record(incarnation);
        }
        assert_eq!(receipts.judge(6, 17), Error::PeerRolledBack);
        receipts.record(17);
        assert_eq!(receipts.judge(6, 18), Error::Duplicate, "1 may have been this one");
    }
}
