//! What a chain remembers of the messages it has received, to tell a duplicate from a peer gone back in time.

use alloc::collections::VecDeque;

use serde::{Deserialize, Serialize};

use crate::Error;

/// How many incarnations of the peer a chain remembers: more than a few are of processes that take turns at one store, or of a
/// crash at every message. At up to 15 bytes each in the hot half, this is what a rollback is worth.
const MAX_INCARNATIONS: usize = 32;

/// The incarnations seen in a chain, the numbers received under each, and from where on nothing of the chain has been forgotten.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Receipts {
    /// Below this number keys were discarded: a message there was received, or lost its key.
    forgotten_below: u32,
    /// First seen longest ago first.
    runs: VecDeque<Run>,
}

/// What was received under an incarnation. A sender uses consecutive numbers under one: all between are its own, too.
#[derive(Serialize, Deserialize)]
struct Run {
    incarnation: u32,
    lowest: u32,
    highest: u32,
}

impl Receipts {
    /// Notes that a message with this number and incarnation has been received.
    pub(super) fn record(&mut self, number: u32, incarnation: u32) {
        if let Some(run) = self.runs.iter_mut().find(|run| run.incarnation == incarnation) {
            run.lowest = run.lowest.min(number);
            run.highest = run.highest.max(number);
            return;
        }
        if self.runs.len() == MAX_INCARNATIONS {
            self.runs.pop_front();
        }
        self.runs.push_back(Run { incarnation, lowest: number, highest: number });
    }

    pub(super) fn forget_below(&mut self, number: u32) {
        self.forgotten_below = self.forgotten_below.max(number);
    }

    /// Why there is no key for a message that is behind.
    ///
    /// A number among those of another incarnation is that one's: the peer has used it twice. What is received is in
    /// the run of its incarnation, unless that was forgotten.
    pub(super) fn judge(&self, number: u32, incarnation: u32) -> Error {
        let is_of = |run: &Run| (run.lowest..=run.highest).contains(&number);
        if self.runs.iter().any(|run| run.incarnation != incarnation && is_of(run)) {
            Error::PeerRolledBack
        } else if number < self.forgotten_below {
            Error::TooOld
        } else {
            Error::Duplicate
        }
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
        // 1 has sent up to 5, and was put back to before 3: as 2 it has sent 3 anew.
        for (number, incarnation) in [(1, 1), (5, 1), (3, 2), (7, 2)] {
            receipts.record(number, incarnation);
        }
        for number in [1, 2] {
            assert_eq!(receipts.judge(number, 1), Error::Duplicate);
            assert_eq!(receipts.judge(number, 2), Error::PeerRolledBack);
        }
        // Between what was received of either, whichever came.
        for number in 3..=5 {
            assert_eq!(receipts.judge(number, 1), Error::PeerRolledBack);
            assert_eq!(receipts.judge(number, 2), Error::PeerRolledBack);
        }
        assert_eq!(receipts.judge(6, 2), Error::Duplicate);
        assert_eq!(receipts.judge(6, 3), Error::PeerRolledBack);
        // What lost its key was sent all the same.
        receipts.forget_below(10);
        receipts.forget_below(2);
        assert_eq!(receipts.judge(7, 2), Error::TooOld);
        assert_eq!(receipts.judge(9, 3), Error::TooOld);
        assert_eq!(receipts.judge(10, 3), Error::Duplicate);
        assert_eq!(receipts.judge(7, 3), Error::PeerRolledBack);
    }

    #[test]
    fn thirty_two_incarnations_are_remembered() {
        let mut receipts = Receipts::default();
        for incarnation in 0..32 {
            receipts.record(incarnation, incarnation);
        }
        assert_eq!(receipts.judge(0, 99), Error::PeerRolledBack);
        receipts.record(32, 32);
        assert_eq!(receipts.judge(0, 99), Error::Duplicate, "it may have been its own");
        assert_eq!(receipts.judge(0, 0), Error::Duplicate);
        for number in 1..=32 {
            assert_eq!(receipts.judge(number, number), Error::Duplicate);
            assert_eq!(receipts.judge(number, 99), Error::PeerRolledBack);
        }
    }
}
