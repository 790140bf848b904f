//! KEM material: stored as seed, or as header and coins; expanded in memory when first needed after opening.

use alloc::{boxed::Box, vec::Vec};

use serde::{Deserialize, Serialize};

use super::BraidKem;
use crate::crypto::secret::Secret;

/// Our key pair.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Keys<K: BraidKem> {
    seed: Box<Secret<64>>,
    #[serde(skip)]
    expanded: Option<K::KeyPair>,
}

impl<K: BraidKem> Keys<K> {
    pub(super) fn new(seed: Secret<64>) -> Self {
        Self { seed: Box::new(seed), expanded: None }
    }

    pub(super) fn get(&mut self) -> &K::KeyPair {
        self.expanded.get_or_insert_with(|| K::key_pair(&self.seed))
    }
}

/// Our encapsulation to the peer's key, after its first step.
#[derive(Serialize, Deserialize)]
#[serde(bound = "")]
pub(super) struct Encapsulating<K: BraidKem> {
    header: Vec<u8>,
    coins: Box<Secret<32>>,
    #[serde(skip)]
    expanded: Option<K::Encapsulation>,
}

impl<K: BraidKem> Encapsulating<K> {
    /// The first step, and the shared secret. None if the header is not one.
    pub(super) fn new(header: Vec<u8>, coins: Secret<32>) -> Option<(Self, Secret<32>)> {
        let coins = Box::new(coins);
        let (first, shared) = K::encapsulate_first(&header, &coins).ok()?;
        Some((Self { header, coins, expanded: Some(first) }, shared))
    }

    fn get(&mut self) -> Option<&K::Encapsulation> {
        if self.expanded.is_none() {
            self.expanded = K::encapsulate_first(&self.header, &self.coins).ok().map(|(first, _)| first);
        }
        self.expanded.as_ref()
    }

    pub(super) fn ct1(&mut self) -> Option<&[u8]> {
        self.get().map(K::ct1)
    }

    /// The second step: both halves of the ciphertext. None if the vector is not the header's, or not a key.
    pub(super) fn finish(&mut self, vector: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
        self.get()?;
        let first = self.expanded.as_ref()?;
        let ct2 = K::encapsulate_second(first, &self.header, vector).ok()?;
        Some((K::ct1(first).to_vec(), ct2))
    }
}
