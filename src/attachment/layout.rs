//! Where what stands in the file of an attachment. Follows from the size of the content alone.

use core::ops::Range;

use crate::{Error, crypto::aead::TAG_LEN, wire::padme::padme};

/// The largest attachment, in bytes: 128 TiB, what the numbers of its chunks allow.
pub const MAX_ATTACHMENT_LEN: u64 = 1 << 47;

/// What a chunk ends at a multiple of, in bytes. Large enough that tags (0.02 %) and calls do not count, small enough
/// to be kept in memory anywhere. A power of two: chunks are then whole subtrees of BLAKE3.
pub(crate) const CHUNK_LEN: u32 = 64 * 1024;

/// The key commitment, in bytes.
pub(crate) const COMMITMENT_LEN: u64 = 32;

/// Content below this is padded to it: that it is short says much, and hiding it costs little.
const MIN_PADDED_LEN: u64 = 4096;

const CHUNK: u64 = CHUNK_LEN as u64;
const TAG: u64 = TAG_LEN as u64;

/// The lengths and places in the file of an attachment of some size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layout {
    size: u64,
    padded: u64,
    chunks: u64,
}

impl Layout {
    /// Of `size` bytes of content.
    pub(crate) fn new(size: u64) -> Result<Self, Error> {
        if size > MAX_ATTACHMENT_LEN {
            return Err(Error::ContentTooLong);
        }
        let padded = padme(size).max(MIN_PADDED_LEN);
        let chunks = (COMMITMENT_LEN + padded).div_ceil(CHUNK - TAG);
        Ok(Self { size, padded, chunks })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// At least 1.
    pub(crate) fn chunks(&self) -> u64 {
        self.chunks
    }

    pub(crate) fn file_len(&self) -> u64 {
        COMMITMENT_LEN + self.padded + self.chunks * TAG
    }

    #[cfg(any(feature = "attachments", test))]
    pub(crate) fn is_last(&self, chunk: u64) -> bool {
        chunk + 1 == self.chunks
    }

    /// Where in the file a chunk is, its tag included; empty beyond the last.
    pub(crate) fn file_range(&self, chunk: u64) -> Range<u64> {
        let end = |count: u64| count.saturating_mul(CHUNK).clamp(COMMITMENT_LEN, self.file_len());
        end(chunk)..end(chunk.saturating_add(1))
    }

    /// Of which part of the content a chunk is; empty if it is of padding alone.
    pub(crate) fn content_range(&self, chunk: u64) -> Range<u64> {
        let end =
            |count: u64| count.saturating_mul(CHUNK - TAG).saturating_sub(COMMITMENT_LEN).min(self.size);
        end(chunk)..end(chunk.saturating_add(1))
    }

    /// The chunk that a byte of the content is in.
    pub(crate) fn chunk_at(&self, position: u64) -> u64 {
        (COMMITMENT_LEN + position) / (CHUNK - TAG)
    }

    /// How long a chunk is in the file, its tag included.
    #[cfg(feature = "attachments")]
    pub(crate) fn chunk_len(&self, chunk: u64) -> usize {
        length(&self.file_range(chunk))
    }

    /// How many bytes of content a chunk has.
    #[cfg(feature = "attachments")]
    pub(crate) fn content_len(&self, chunk: u64) -> usize {
        length(&self.content_range(chunk))
    }
}

/// At most a chunk's length.
#[cfg(feature = "attachments")]
fn length(range: &Range<u64>) -> usize {
    usize::try_from(range.end - range.start).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn edges() {
        assert_eq!(Layout::new(MAX_ATTACHMENT_LEN + 1), Err(Error::ContentTooLong));
        let largest = Layout::new(MAX_ATTACHMENT_LEN).unwrap();
        assert!(largest.chunks() < 1 << 32);
        // 65,488 bytes of content fill the first chunk.
        for (size, chunks, len) in [
            (0, 1, 32 + 4096 + 16),
            (4096, 1, 32 + 4096 + 16),
            (4097, 1, 32 + 4352 + 16),
            (63_488, 1, 32 + 63_488 + 16),
            (65_536, 2, 32 + 65_536 + 32),
        ] {
            let layout = Layout::new(size).unwrap();
            assert_eq!((layout.chunks(), layout.file_len()), (chunks, len), "{size}");
        }
    }

    proptest! {
        #[test]
        fn padding_is_at_most_12_percent(size in prop_oneof![0..100_000_u64, 0..=MAX_ATTACHMENT_LEN]) {
            let padded = padme(size);
            prop_assert!(size <= padded && padded - size <= size * 12 / 100 + 1);
            prop_assert!(size <= MIN_PADDED_LEN || padded - size <= size / 16, "6.25 % of what is not padded to the least");
            prop_assert_eq!(padme(padded), padded);
        }

        /// Chunks follow each other without gaps, in the file and in the content.
        #[test]
        fn chunks_follow_each_other(size in prop_oneof![0..1_000_000_u64, 0..20_000_000_u64]) {
            let layout = Layout::new(size).unwrap();
            let (mut file, mut content) = (COMMITMENT_LEN, 0);
            for chunk in 0..layout.chunks() {
                let (here, of) = (layout.file_range(chunk), layout.content_range(chunk));
                prop_assert_eq!((here.start, of.start), (file, content));
                prop_assert!(here.end - here.start > TAG && here.end - here.start >= of.end - of.start + TAG);
                prop_assert_eq!(layout.is_last(chunk), here.end == layout.file_len());
                prop_assert!(layout.is_last(chunk) || here.end % CHUNK == 0);
                if !of.is_empty() {
                    prop_assert_eq!((layout.chunk_at(of.start), layout.chunk_at(of.end - 1)), (chunk, chunk));
                }
                (file, content) = (here.end, of.end);
            }
            prop_assert_eq!((file, content), (layout.file_len(), size));
            prop_assert!(layout.file_range(layout.chunks()).is_empty());
            prop_assert!(layout.content_range(u64::MAX).is_empty());
        }
    }
}
