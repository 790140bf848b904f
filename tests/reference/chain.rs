//! Section 8.1: the symmetric chain of both ratchets, and the store of skipped keys that both have (section 10).

use super::primitives::{Key, cat, hmac};

/// No chain gives this number.
pub const LAST: u32 = u32::MAX;
/// At most so many skipped keys of each kind are kept, and of one run only the newest so many.
pub const MAX_SKIPPED: usize = 2_000;

/// A chain key, and the number that it gives next.
#[derive(Clone)]
pub struct Chain {
    key: Key,
    pub position: u32,
}

impl Chain {
    pub fn new(key: Key) -> Self {
        Self { key, position: 0 }
    }

    /// mk of the position.
    pub fn step(&mut self) -> Key {
        let number = self.position.to_be_bytes();
        let mk = hmac(&self.key, &cat(&[&[0x01], &number]));
        self.key = hmac(&self.key, &cat(&[&[0x02], &number]));
        self.position += 1;
        mk
    }

    /// Steps over a run, up to `to` and without it: numbers and keys of the newest `keep` of it.
    pub fn run(&mut self, to: u32, keep: usize) -> Vec<(u32, Key)> {
        self.run_of(to, |number| ((to - number) as usize) <= keep)
    }

    /// The same, of those that are of use.
    pub fn run_of(&mut self, to: u32, of_use: impl Fn(u32) -> bool) -> Vec<(u32, Key)> {
        let mut keys = Vec::new();
        while self.position < to {
            let number = self.position;
            let mk = self.step();
            if of_use(number) {
                keys.push((number, mk));
            }
        }
        keys
    }
}
