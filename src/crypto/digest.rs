//! BLAKE3 of a file, block by block.
//!
//! BLAKE3 is a binary tree over chunks of 1,024 bytes, in which every left subtree is the largest power of two that
//! leaves something for the right one. So blocks of a power of two are subtrees of their own: each is hashed for itself,
//! on any core, and the tree above them is built here. The result is BLAKE3 of the whole.

use alloc::vec::Vec;

use blake3::{
    Hasher,
    hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

/// What every block but the last one is long, in bytes.
pub(crate) const BLOCK_LEN: u64 = 64 * 1024;

/// What a block adds to the digest: 32 bytes.
#[derive(Clone, Copy)]
pub(crate) struct Block(ChainingValue);

impl Block {
    /// Of the block with this number; in parts, if that is more convenient.
    pub(crate) fn new(number: u64, parts: [&[u8]; 2]) -> Self {
        Self(Self::hasher(number, parts).finalize_non_root())
    }

    /// Of the block of a file that has no other one: it is the root of the tree.
    pub(crate) fn only(parts: [&[u8]; 2]) -> Self {
        Self(Self::hasher(0, parts).finalize().into())
    }

    fn hasher(number: u64, parts: [&[u8]; 2]) -> Hasher {
        let mut hasher = Hasher::new();
        hasher.set_input_offset(number.saturating_mul(BLOCK_LEN));
        for part in parts {
            hasher.update(part);
        }
        hasher
    }
}

/// The tree over the blocks of a file: at most as many subtrees as the count of blocks has bits.
#[derive(Default)]
pub(crate) struct Tree {
    /// From left to right; of those that can be merged, the newest are not yet: they may be the last.
    subtrees: Vec<ChainingValue>,
    blocks: u64,
}

impl Tree {
    /// Adds the next block.
    pub(crate) fn push(&mut self, block: Block) {
        // Each zero bit at the end of the count closes a subtree, now that something comes behind it.
        let closed = if self.blocks == 0 { 0 } else { self.blocks.trailing_zeros() };
        for _ in 0..closed {
            if let (Some(right), Some(left)) = (self.subtrees.pop(), self.subtrees.pop()) {
                self.subtrees.push(merge_subtrees_non_root(&left, &right, Mode::Hash));
            }
        }
        self.subtrees.push(block.0);
        self.blocks += 1;
    }

    /// The digest of the file: at least one block has been added.
    pub(crate) fn finish(mut self) -> [u8; 32] {
        let mut right = self.subtrees.pop().unwrap_or_default();
        while let Some(left) = self.subtrees.pop() {
            right = if self.subtrees.is_empty() {
                merge_subtrees_root(&left, &right, Mode::Hash).into()
            } else {
                merge_subtrees_non_root(&left, &right, Mode::Hash)
            };
        }
        right
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The pattern of BLAKE3's own test vectors.
    fn input(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i % 251) as u8).collect()
    }

    #[test]
    fn is_blake3_of_the_whole() {
        let block = usize::try_from(BLOCK_LEN).unwrap();
        for blocks in 1..=20 {
            for rest in [1, 1023, 1024, 1025, block / 2, block - 1, block] {
                let bytes = input((blocks - 1) * block + rest);
                let mut tree = Tree::default();
                for (number, bytes) in (0..).zip(bytes.chunks(block)) {
                    let (a, b) = bytes.split_at(bytes.len() / 3);
                    tree.push(if blocks == 1 { Block::only([a, b]) } else { Block::new(number, [a, b]) });
                }
                assert_eq!(tree.finish(), *blake3::hash(&bytes).as_bytes(), "{blocks} {rest}");
            }
        }
    }

    /// From the test vectors of BLAKE3: that the crate is BLAKE3.
    #[test]
    fn published_vectors() {
        for (len, digest) in [
            (0, "af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262"),
            (1, "2d3adedff11b61f14c886e35afa036736dcd87a74d27b5c1510225d0f592e213"),
        ] {
            assert_eq!(hex::encode(Block::only([&input(len), &[]]).0), digest);
        }
    }
}
