//! Chunk by chunk, without input or output: for asynchronous code, and for the web.
//!
//! ```text
//! key 32 ── HKDF(size | chunk size) ──> chunk key 32 | nonce prefix 7 | commitment 32
//! nonce of a chunk = prefix 7 | number u32 | 1 if it is the last, else 0           (STREAM)
//! ```
//! A chunk of another place, another file or a longer or shorter one has another nonce or key. The commitment is
//! collision-resistant in key and size, which Poly1305 is not: without it, one file could be made to open under two keys.

use alloc::{boxed::Box, vec::Vec};
use core::{cmp::Ordering, fmt};

use rand::TryCryptoRng;
use zeroize::Zeroize;

use super::{
    AttachmentDescriptor, AttachmentError,
    layout::{CHUNK_LEN, COMMITMENT_LEN, Layout},
};
use crate::crypto::{
    aead::{self, TAG_LEN},
    digest::{BLOCK_LEN, Block, Tree},
    kdf::{self, Label},
    random,
    secret::{Secret, constant_time_eq, scrubbed_lightly},
    trace,
};

/// Length of the key commitment, in bytes.
const COMMITMENT: usize = COMMITMENT_LEN as usize;

/// What chunks are sealed and opened with.
pub(super) struct Keys {
    layout: Layout,
    // Boxed: what holds it is moved, and leaves no copy behind.
    chunk_key: Box<Secret<32>>,
    nonce_prefix: [u8; 7],
    commitment: [u8; COMMITMENT],
}

impl Keys {
    pub(super) fn new(key: &Secret<32>, layout: Layout) -> Self {
        scrubbed_lightly(|| Self::derive(key, layout))
    }

    fn derive(key: &Secret<32>, layout: Layout) -> Self {
        let size = layout.size().to_be_bytes();
        let info = [&size[..], &CHUNK_LEN.to_be_bytes()];
        let mut derived = kdf::derive::<71>(&[0; 32], key.as_bytes(), Label::ATTACHMENT, info);
        trace!("attachment keys", derived.as_bytes());
        let chunk_key = Box::new(Secret::zeroed());
        let mut keys = Self { layout, chunk_key, nonce_prefix: [0; 7], commitment: [0; COMMITMENT] };
        let (chunk_key, rest) = derived.as_mut().split_at(32);
        let (prefix, commitment) = rest.split_at(7);
        keys.chunk_key.as_mut().as_mut().copy_from_slice(chunk_key);
        keys.nonce_prefix.copy_from_slice(prefix);
        keys.commitment.copy_from_slice(commitment);
        keys
    }

    #[cfg(feature = "std")]
    pub(super) fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(super) fn commitment(&self) -> &[u8; COMMITMENT] {
        &self.commitment
    }

    pub(super) fn check(&self, commitment: &[u8]) -> Result<(), AttachmentError> {
        if constant_time_eq(commitment, &self.commitment) { Ok(()) } else { Err(AttachmentError::WrongKey) }
    }

    /// Seals a chunk in place: content and zeros, and room for the tag.
    pub(super) fn seal(&self, chunk: u64, file: &mut [u8]) {
        let Some((content, tag)) = file.split_last_chunk_mut::<TAG_LEN>() else { return };
        *tag = scrubbed_lightly(|| aead::seal(self.chunk_key.as_bytes(), &self.nonce(chunk), &[], content));
    }

    /// Opens a chunk in place; on failure it is unchanged.
    pub(super) fn open(&self, chunk: u64, file: &mut [u8]) -> Result<(), AttachmentError> {
        let altered = AttachmentError::Altered { chunk };
        self.check_len(chunk, file.len())?;
        let (content, tag) = file.split_last_chunk_mut::<TAG_LEN>().ok_or(altered)?;
        scrubbed_lightly(|| aead::open(self.chunk_key.as_bytes(), &self.nonce(chunk), &[], content, tag))
            .map_err(|_| altered)?;
        let padding = content.get(self.layout.content_len(chunk)..).unwrap_or_default();
        if padding.iter().all(|byte| *byte == 0) {
            return Ok(());
        }
        // Whoever has the key has made it, so that one file has two contents. Nothing of it is shown.
        file.zeroize();
        Err(altered)
    }

    /// Whether a chunk may be so long in the file.
    pub(super) fn check_len(&self, chunk: u64, len: usize) -> Result<(), AttachmentError> {
        match len.cmp(&self.layout.chunk_len(chunk)) {
            Ordering::Less => Err(AttachmentError::Truncated { chunk }),
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(AttachmentError::Altered { chunk }),
        }
    }

    /// What a chunk, as it is in the file, adds to the digest.
    pub(super) fn hash(&self, chunk: u64, file: &[u8]) -> Block {
        const { assert!(CHUNK_LEN as u64 == BLOCK_LEN, "a chunk is a block of the digest") }
        let front: &[u8] = if chunk == 0 { &self.commitment } else { &[] };
        if self.layout.chunks() == 1 { Block::only([front, file]) } else { Block::new(chunk, [front, file]) }
    }

    /// Key and nonce of a chunk.
    #[cfg(all(test, feature = "std"))]
    pub(super) fn for_chunk(&self, chunk: u64) -> (&[u8; 32], [u8; 12]) {
        (self.chunk_key.as_bytes(), self.nonce(chunk))
    }

    fn nonce(&self, chunk: u64) -> [u8; 12] {
        // The layout has at most 2^32 chunks.
        let [_, _, _, _, a, b, c, d] = chunk.to_be_bytes();
        let [p, q, r, s, t, u, v] = self.nonce_prefix;
        [p, q, r, s, t, u, v, a, b, c, d, u8::from(self.layout.is_last(chunk))]
    }
}

/// Makes an attachment, chunk after chunk.
///
/// ```
/// use subrosa::{AttachmentOpener, AttachmentSealer};
///
/// let photo = vec![7; 100_000];
/// let mut sealer = AttachmentSealer::new(100_000)?;
/// let mut file = sealer.commitment().to_vec();
/// let mut rest = &photo[..];
/// while let Some(len) = sealer.next_len() {
///     let (content, behind) = rest.split_at(len);
///     rest = behind;
///     let mut chunk = content.to_vec();
///     sealer.seal(&mut chunk)?;
///     file.extend(chunk); // or send it: await, if you like
/// }
/// let descriptor = sealer.finish()?; // goes into a message
///
/// let (commitment, chunks) = file.split_at(32);
/// let mut opener = AttachmentOpener::new(&descriptor, commitment)?;
/// let mut read = Vec::new();
/// for number in 0..descriptor.chunks() {
///     let place = descriptor.file_range(number); // what to ask a server for
///     let mut chunk = file[place.start as usize..place.end as usize].to_vec();
///     opener.open(&mut chunk)?;
///     read.extend(chunk);
/// }
/// assert_eq!(read, photo);
/// # Ok::<(), subrosa::AttachmentError>(())
/// ```
pub struct AttachmentSealer {
    key: Box<Secret<32>>,
    keys: Keys,
    digest: Tree,
    next: u64,
}

impl AttachmentSealer {
    /// For content of `size` bytes, under a new key.
    ///
    /// # Errors
    /// [`AttachmentError::TooLarge`], [`AttachmentError::NoRandomness`].
    #[cfg(feature = "std")]
    pub fn new(size: u64) -> Result<Self, AttachmentError> {
        Self::new_with_rng(&mut rand::rngs::SysRng, size)
    }

    /// [`AttachmentSealer::new`](Self::new_with_rng) with a generator of the caller's. Of a generator that repeats
    /// its output two attachments of one size have the same key: **both are revealed**.
    ///
    /// # Errors
    /// [`AttachmentError::TooLarge`], [`AttachmentError::NoRandomness`].
    pub fn new_with_rng<R: TryCryptoRng>(rng: &mut R, size: u64) -> Result<Self, AttachmentError> {
        let layout = Layout::new(size).map_err(|_| AttachmentError::TooLarge)?;
        let key = random::fill_boxed(rng).map_err(|_| AttachmentError::NoRandomness)?;
        Ok(Self::with_key(key, layout))
    }

    pub(super) fn with_key(key: Box<Secret<32>>, layout: Layout) -> Self {
        let keys = Keys::new(&key, layout);
        Self { key, keys, digest: Tree::default(), next: 0 }
    }

    /// What the file begins with, 32 bytes, before the first chunk.
    #[must_use]
    pub fn commitment(&self) -> &[u8; 32] {
        self.keys.commitment()
    }

    /// How long the whole file will be, in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.keys.layout.file_len()
    }

    /// How many bytes of content the next chunk takes: 0 if it is of padding alone, none if there is no next.
    #[must_use]
    pub fn next_len(&self) -> Option<usize> {
        (self.next < self.keys.layout.chunks()).then(|| self.keys.layout.content_len(self.next))
    }

    /// Seals the next chunk: takes [`next_len`](Self::next_len) bytes of content, and leaves what comes next in the
    /// file, at most 65,536 bytes.
    ///
    /// # Errors
    /// [`AttachmentError::WrongSize`] if it is of another length, or there is no next; nothing has changed.
    pub fn seal(&mut self, chunk: &mut Vec<u8>) -> Result<(), AttachmentError> {
        if self.next_len() != Some(chunk.len()) {
            return Err(AttachmentError::WrongSize);
        }
        chunk.resize(self.keys.layout.chunk_len(self.next), 0);
        self.keys.seal(self.next, chunk);
        self.sealed(self.keys.hash(self.next, chunk));
        Ok(())
    }

    /// The next chunk was sealed.
    pub(super) fn sealed(&mut self, block: Block) {
        self.digest.push(block);
        self.next += 1;
    }

    #[cfg(feature = "std")]
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    #[cfg(feature = "std")]
    pub(super) fn next(&self) -> u64 {
        self.next
    }

    /// As if the chunks before had been sealed: their part of the digest is missing.
    #[cfg(feature = "std")]
    pub(super) fn skip_to(&mut self, chunk: u64) {
        self.next = chunk;
    }

    /// What recipients need.
    ///
    /// # Errors
    /// [`AttachmentError::WrongSize`] if chunks are missing.
    pub fn finish(self) -> Result<AttachmentDescriptor, AttachmentError> {
        if self.next < self.keys.layout.chunks() {
            return Err(AttachmentError::WrongSize);
        }
        Ok(AttachmentDescriptor::new(self.key, self.keys.layout, self.digest.finish()))
    }
}

/// Reads an attachment, chunk after chunk, or any of them. An example is at [`AttachmentSealer`].
pub struct AttachmentOpener {
    keys: Keys,
    digest: Tree,
    expected: [u8; 32],
    next: u64,
}

impl AttachmentOpener {
    /// `commitment` are the first 32 bytes of the file.
    ///
    /// # Errors
    /// [`AttachmentError::WrongKey`] if the file is not of the descriptor's key and size.
    pub fn new(descriptor: &AttachmentDescriptor, commitment: &[u8]) -> Result<Self, AttachmentError> {
        let opener = Self::unchecked(descriptor);
        opener.keys.check(commitment)?;
        Ok(opener)
    }

    pub(super) fn unchecked(descriptor: &AttachmentDescriptor) -> Self {
        let keys = Keys::new(descriptor.key(), descriptor.layout());
        Self { keys, digest: Tree::default(), expected: *descriptor.digest(), next: 0 }
    }

    /// Opens the next chunk: takes it as it is in the file, and leaves its content. After the last one the digest of all is
    /// compared: **only then it is certain that this is the file that the descriptor names**, though every chunk was made
    /// by who has its key.
    ///
    /// # Errors
    /// [`AttachmentError::Altered`], [`AttachmentError::Truncated`], [`AttachmentError::Extended`] if there is no next:
    /// nothing has changed. [`AttachmentError::WrongDigest`].
    pub fn open(&mut self, chunk: &mut Vec<u8>) -> Result<(), AttachmentError> {
        let number = self.next;
        if number == self.keys.layout.chunks() {
            return Err(AttachmentError::Extended { chunk: number });
        }
        self.keys.check_len(number, chunk.len())?;
        let block = self.keys.hash(number, chunk);
        self.open_at(number, chunk)?;
        self.opened(block).inspect_err(|_| chunk.zeroize())
    }

    /// The next chunk was opened; if it was the last, compares the digest.
    pub(super) fn opened(&mut self, block: Block) -> Result<(), AttachmentError> {
        self.digest.push(block);
        self.next += 1;
        let last = self.next == self.keys.layout.chunks();
        if last && core::mem::take(&mut self.digest).finish() != self.expected {
            return Err(AttachmentError::WrongDigest);
        }
        Ok(())
    }

    /// Opens the chunk with this number, whichever came before. The digest of the file is not looked at, nor is it by
    /// [`open`](Self::open) changed.
    ///
    /// # Errors
    /// [`AttachmentError::Altered`], [`AttachmentError::Truncated`], [`AttachmentError::Extended`]: the bytes are
    /// unchanged.
    pub fn open_at(&self, number: u64, chunk: &mut Vec<u8>) -> Result<(), AttachmentError> {
        if number >= self.keys.layout.chunks() {
            return Err(AttachmentError::Extended { chunk: number });
        }
        self.keys.open(number, chunk)?;
        chunk.truncate(self.keys.layout.content_len(number));
        Ok(())
    }

    #[cfg(feature = "std")]
    pub(super) fn keys(&self) -> &Keys {
        &self.keys
    }

    /// Behind the first chunks, which somebody has sealed again.
    #[cfg(feature = "std")]
    pub(super) fn resume(&mut self, behind: AttachmentSealer) {
        self.digest = behind.digest;
        self.next = behind.next;
    }

    /// From the first chunk.
    #[cfg(feature = "std")]
    pub(super) fn rewind(&mut self) {
        self.digest = Tree::default();
        self.next = 0;
    }
}

impl fmt::Debug for AttachmentSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttachmentSealer {{ chunk {} of {} }}", self.next, self.keys.layout.chunks())
    }
}

impl fmt::Debug for AttachmentOpener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AttachmentOpener {{ chunk {} of {} }}", self.next, self.keys.layout.chunks())
    }
}
