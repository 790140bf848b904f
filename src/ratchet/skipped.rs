//! Keys of messages that have not arrived, bounded, oldest out first.

use alloc::{boxed::Box, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::{
    MAX_SKIPPED_KEYS,
    chain::{MessageKey, SkippedRun},
};

/// Message keys by chain and number.
///
/// Chains are numbered in the order in which they began and a chain's runs come in ascending order, so the
/// order of the map is the order of insertion, and its first entry is the oldest.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct SkippedMessageKeys<R>(BTreeMap<(u32, u32), Box<MessageKey<R>>>);

impl<R> Default for SkippedMessageKeys<R> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<R> SkippedMessageKeys<R> {
    pub(crate) fn get(&self, chain: u32, number: u32) -> Option<&MessageKey<R>> {
        self.0.get(&(chain, number)).map(|key| &**key)
    }

    pub(crate) fn remove(&mut self, chain: u32, number: u32) {
        self.0.remove(&(chain, number));
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers of a chain that there are keys of, ascending.
    pub(crate) fn numbers(&self, chain: u32) -> impl Iterator<Item = u32> {
        self.0.range((chain, 0)..=(chain, u32::MAX)).map(|((_, number), _)| *number)
    }

    /// Drops the oldest until so many are left. Whether there were more.
    pub(crate) fn truncate(&mut self, len: usize) -> bool {
        let more = self.0.len() > len;
        while self.0.len() > len {
            self.0.pop_first();
        }
        more
    }

    /// Whether any message of a chain is still missing.
    pub(crate) fn has(&self, chain: u32) -> bool {
        self.numbers(chain).next().is_some()
    }

    pub(crate) fn remove_chain(&mut self, chain: u32) {
        while let Some((&place, _)) = self.0.range((chain, 0)..=(chain, u32::MAX)).next() {
            self.0.remove(&place);
        }
    }

    /// Removes the keys of a chain below a number. The highest that was removed.
    pub(crate) fn remove_below(&mut self, chain: u32, number: u32) -> Option<u32> {
        let mut removed = None;
        while let Some((&place, _)) = self.0.range((chain, 0)..(chain, number)).next() {
            self.0.remove(&place);
            removed = Some(place.1);
        }
        removed
    }

    /// Adds a run of a chain, and tells `evicted` of every (chain, number) that has to go for it.
    pub(crate) fn insert(&mut self, chain: u32, run: SkippedRun<R>, mut evicted: impl FnMut(u32, u32)) {
        for (number, key) in run.keys {
            self.0.insert((chain, number), key);
        }
        while self.0.len() > MAX_SKIPPED_KEYS {
            if let Some(((chain, number), _)) = self.0.pop_first() {
                evicted(chain, number);
            }
        }
    }
}

#[cfg(test)]
impl<R> SkippedMessageKeys<R> {
    /// The store that takes the most bytes.
    pub(crate) fn largest() -> Self {
        let key = |i| {
            ((u32::MAX, u32::MAX - i), Box::new(super::chain::Chain::at([0xff; 32], 0).advance().unwrap().1))
        };
        Self((0..MAX_SKIPPED_KEYS as u32).map(key).collect())
    }
}
