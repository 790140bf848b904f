//! What a chain remembers of the messages it has received, to tell a duplicate from a peer gone back in time.

use alloc::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How many incarnations of the peer a chain remembers. Beyond that many restarts without an answer of ours, a
/// rollback in this chain looks like a duplicate.
const MAX_INCARNATIONS: usize = 16;

/// The incarnations seen in a chain, the lowest number received under each, and from where on nothing of the chain has
/// been forgotten.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Receipts {
    /// Below this number keys were discarded: a message there was received, or lost its key.
    forgotten_below: u32,
    /// First seen longest ago first.
    incarnations: VecDeque<Incarnation>,
    /// Whether an incarnation had to be forgotten.
    overflowed: bool,
}

#[derive(Serialize, Deserialize)]
struct Incarnation {
    value: u32,
    /// The lowest number received under it.
    lowest: u32,
}

impl Receipts {
    /// Notes that a message with this number and incarnation has been received.
    pub(super) fn record(&mut self, number: u32, incarnation: u32) {
        if let Some(known) = self.incarnations.iter_mut().find(|known| known.value == incarnation) {
            known.lowest = known.lowest.min(number);
            return;
        }
        if self.incarnations.len() == MAX_INCARNATIONS {
            self.incarnations.pop_front();
            self.overflowed = true;
        }
        self.incarnations.push_back(Incarnation { value: incarnation, lowest: number });
    }

    pub(super) fn forget_below(&mut self, number: u32) {
        self.forgotten_below = self.forgotten_below.max(number);
    }

    /// Why there is no key for a message that is behind.
    ///
    /// A number that was certainly consumed, and certainly not by this incarnation, which has been seen never or only
    /// above the number: the peer has used the number twice.
    pub(super) fn judge(&self, number: u32, incarnation: u32) -> Error {
        if number < self.forgotten_below {
            Error::TooOld
        } else if self.overflowed || self.may_have_sent(number, incarnation) {
            Error::Duplicate
        } else {
            Error::PeerRolledBack
        }
    }

    fn may_have_sent(&self, number: u32, incarnation: u32) -> bool {
        self.incarnations.iter().any(|known| known.value == incarnation && known.lowest <= number)
    }
}

#[cfg(test)]
impl Receipts {
    /// The value that takes the most bytes.
    pub(super) fn largest() -> Self {
        let mut largest = Self { forgotten_below: u32::MAX, ..Self::default() };
        for i in 0..=MAX_INCARNATIONS as u32 {
            largest.record(u32::MAX, u32::MAX - i);
        }
        largest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn judges_what_is_behind() {
        let mut receipts = Receipts::default();
        receipts.record(4, 1);
        receipts.record(7, 2);
        receipts.record(5, 1);
        assert_eq!(receipts.judge(5, 1), Error::Duplicate);
        // 2 has been seen above 5 only, so that 5 was another's; when it comes from below, that is known no more.
        assert_eq!(receipts.judge(7, 2), Error::Duplicate);
        assert_eq!(receipts.judge(5, 2), Error::PeerRolledBack);
        receipts.record(3, 2);
        assert_eq!(receipts.judge(5, 2), Error::Duplicate);
        assert_eq!(receipts.judge(5, 3), Error::PeerRolledBack);
        receipts.forget_below(6);
        receipts.forget_below(4);
        assert_eq!(receipts.judge(5, 3), Error::TooOld);
        assert_eq!(receipts.judge(6, 3), Error::PeerRolledBack);
        for incarnation in 3..=16 {
            receipts.record(8, incarnation);
        }
        assert_eq!(receipts.judge(6, 16), Error::PeerRolledBack);
        assert_eq!(receipts.judge(6, 17), Error::PeerRolledBack);
        receipts.record(8, 17);
        assert_eq!(receipts.judge(6, 18), Error::Duplicate, "1 may have been this one");
        assert_eq!(receipts.judge(6, 17), Error::Duplicate, "17 may have been forgotten, and seen again");
        assert_eq!(receipts.judge(5, 17), Error::TooOld);
    }
}
