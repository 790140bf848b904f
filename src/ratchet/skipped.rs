//! Keys of messages that have not arrived, bounded, oldest out first.

use alloc::{boxed::Box, collections::VecDeque};

use serde::{Deserialize, Serialize};

use super::{
    MAX_SKIPPED_KEYS,
    chain::{MessageKey, SkippedRun},
};

/// Message keys by chain and number, ascending.
///
/// Chains are numbered in the order in which they began and a chain's runs come in ascending order, so the
/// first is the oldest. (A map would take twice as much memory beside the keys, and a peer can fill this with one message.)
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(crate) struct SkippedMessageKeys<R>(VecDeque<(Place, Box<MessageKey<R>>)>);

/// Chain and number.
type Place = (u32, u32);

impl<R> Default for SkippedMessageKeys<R> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<R> SkippedMessageKeys<R> {
    pub(crate) fn get(&self, chain: u32, number: u32) -> Option<&MessageKey<R>> {
        let (_, key) = self.0.get(self.find(chain, number)?)?;
        Some(key)
    }

    pub(crate) fn remove(&mut self, chain: u32, number: u32) {
        if let Some(index) = self.find(chain, number) {
            self.0.remove(index);
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The numbers of a chain that there are keys of, ascending.
    pub(crate) fn numbers(&self, chain: u32) -> impl Iterator<Item = u32> {
        self.0.range(self.begin(chain)..self.end(chain)).map(|((_, number), _)| *number)
    }

    /// Drops the oldest until so many are left. Whether there were more.
    pub(crate) fn truncate(&mut self, len: usize) -> bool {
        let excess = self.0.len().saturating_sub(len);
        self.0.drain(..excess);
        excess > 0
    }

    /// Whether any message of a chain is still missing.
    pub(crate) fn has(&self, chain: u32) -> bool {
        self.0.get(self.begin(chain)).is_some_and(|(place, _)| place.0 == chain)
    }

    pub(crate) fn remove_chain(&mut self, chain: u32) {
        self.0.drain(self.begin(chain)..self.end(chain));
    }

    /// Removes the keys of a chain below a number. The highest that was removed.
    pub(crate) fn remove_below(&mut self, chain: u32, number: u32) -> Option<u32> {
        let end = self.0.partition_point(|(place, _)| *place < (chain, number));
        self.0.drain(self.begin(chain)..end).next_back().map(|((_, number), _)| number)
    }

    /// Adds a run of a chain, and tells `evicted` of every (chain, number) that has to go for it.
    pub(crate) fn insert(&mut self, chain: u32, run: SkippedRun<R>, mut evicted: impl FnMut(u32, u32)) {
        let end = self.end(chain);
        let excess = (self.0.len() + run.keys.len()).saturating_sub(MAX_SKIPPED_KEYS);
        // First, so that there are never more.
        let old = excess.min(end);
        self.0.drain(..old).for_each(|((chain, number), _)| evicted(chain, number));
        let newer = self.0.split_off(end - old);
        for (index, (number, key)) in run.keys.into_iter().enumerate() {
            if index < excess - old {
                evicted(chain, number);
            } else {
                self.0.push_back(((chain, number), key));
            }
        }
        self.0.extend(newer);
    }

    fn find(&self, chain: u32, number: u32) -> Option<usize> {
        self.0.binary_search_by_key(&(chain, number), |(place, _)| *place).ok()
    }

    /// Where the keys of a chain begin.
    fn begin(&self, chain: u32) -> usize {
        self.0.partition_point(|(place, _)| place.0 < chain)
    }

    /// Where they end.
    fn end(&self, chain: u32) -> usize {
        self.0.partition_point(|(place, _)| place.0 <= chain)
    }
}

#[cfg(test)]
impl<R> SkippedMessageKeys<R> {
    /// The store that takes the most bytes.
    pub(crate) fn largest() -> Self {
        let key = |i| {
            ((u32::MAX, u32::MAX - i), Box::new(super::chain::Chain::at([0xff; 32], 0).advance().unwrap().1))
        };
        Self((0..MAX_SKIPPED_KEYS as u32).rev().map(key).collect())
    }
}

#[cfg(test)]
mod tests {
    use alloc::{collections::BTreeMap, vec::Vec};

    use rand::{RngExt, SeedableRng};

    use super::{
        super::chain::{Chain, Ec},
        *,
    };

    type Run = SkippedRun<Ec>;

    fn run(first: u32, count: u32) -> Run {
        let mut chain = Chain::at([7; 32], first);
        let key = |_| chain.advance().map(|(number, key)| (number, Box::new(key))).unwrap();
        Run { keys: (first..first + count).map(key).collect(), dropped_below: None }
    }

    /// As a map has it from which the first is taken while there are too many; also what is evicted, and the bytes.
    #[test]
    fn is_a_map_with_its_oldest_taken_out() {
        for seed in 0..20 {
            let mut rng = chacha20::ChaCha20Rng::seed_from_u64(seed);
            let (mut keys, mut map) = (SkippedMessageKeys::<Ec>::default(), BTreeMap::new());
            let (mut next, mut full) = ([0_u32; 5], false);
            for _ in 0..60 {
                let chain = rng.random_range(0..5_u32);
                let (first, count) =
                    (next[chain as usize], rng.random_range(0..[3, 2000][seed as usize % 2]));
                next[chain as usize] += count + 1;
                let (mut evicted, mut expected) = (Vec::new(), Vec::new());
                keys.insert(chain, run(first, count), |chain, number| evicted.push((chain, number)));
                map.extend(run(first, count).keys.into_iter().map(|(n, key)| ((chain, n), key)));
                while map.len() > MAX_SKIPPED_KEYS {
                    expected.extend(map.pop_first().map(|(place, _)| place));
                    full = true;
                }
                assert_eq!(evicted, expected, "seed {seed}");
                if rng.random() {
                    let (chain, number) = (rng.random_range(0..5), rng.random_range(0..next[0] + 2));
                    let kept = keys.get(chain, number).map(|key| *key.as_bytes());
                    assert_eq!(kept, map.get(&(chain, number)).map(|key| *key.as_bytes()), "seed {seed}");
                    keys.remove(chain, number);
                    map.remove(&(chain, number));
                }
                if rng.random_range(0..8) == 0 {
                    let chain = rng.random_range(0..5);
                    assert_eq!(keys.has(chain), map.keys().any(|place| place.0 == chain), "seed {seed}");
                    keys.remove_chain(chain);
                    map.retain(|place, _| place.0 != chain);
                    assert!(!keys.has(chain));
                }
                if rng.random_range(0..4) == 0 {
                    let (chain, number) = (rng.random_range(0..5), rng.random_range(0..next[0] + 2));
                    let below = |place: &(u32, u32)| place.0 == chain && place.1 < number;
                    let numbers = map.keys().filter(|place| place.0 == chain).map(|place| place.1);
                    assert!(keys.numbers(chain).eq(numbers), "seed {seed}");
                    let highest = map.keys().filter(|place| below(place)).map(|place| place.1).max();
                    assert_eq!(keys.remove_below(chain, number), highest, "seed {seed}");
                    map.retain(|place, _| !below(place));
                }
                if rng.random_range(0..8) == 0 {
                    let len = rng.random_range(0..MAX_SKIPPED_KEYS);
                    assert_eq!(keys.truncate(len), map.len() > len, "seed {seed}");
                    while map.len() > len {
                        map.pop_first();
                    }
                }
                assert_eq!((keys.len(), keys.is_empty()), (map.len(), map.is_empty()));
                // Stored as a map is.
                assert!(postcard::to_allocvec(&keys) == postcard::to_allocvec(&map), "seed {seed}");
            }
            assert_eq!(full, seed % 2 == 1);
        }
    }
}
