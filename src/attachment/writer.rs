//! An attachment is written: content in, file out.

use std::{fmt, io};

use zeroize::Zeroizing;

use super::{
    AttachmentDescriptor, AttachmentError, AttachmentSealer,
    batch::{BATCH, each_chunk},
    layout::{CHUNK_LEN, Layout},
};

/// Is told how many bytes of content are done, and how many there are.
pub(super) type Progress = Box<dyn FnMut(u64, u64) + Send>;

/// Encrypts what is written to it, into the file of an attachment. Memory: 64 KiB, with the feature `rayon` 768 KiB.
///
/// ```
/// use std::io::{self, Write};
/// use subrosa::{AttachmentReader, AttachmentWriter};
///
/// let photo = vec![7; 100_000]; // a `File`, and its length
/// let mut file = Vec::new(); // another `File`; what goes to the server
/// let mut writer = AttachmentWriter::new(&mut file, 100_000)?.on_progress(|done, of| println!("{done} of {of}"));
/// io::copy(&mut &photo[..], &mut writer)?;
/// let descriptor = writer.finish()?.with_media_type("image/jpeg")?.with_file_name("rose.jpg"); // goes into a message
///
/// let mut read = Vec::new();
/// io::copy(&mut AttachmentReader::new(&file[..], &descriptor)?, &mut read)?;
/// assert_eq!(read, photo);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Keep the file until the server has it: an upload that was cut off is then taken up anywhere. If only the content is kept,
/// there is [`AttachmentDescriptor::reseal`].
///
/// After an error of the destination nothing more is written: begin anew, with a new writer.
pub struct AttachmentWriter<W> {
    destination: W,
    sealer: AttachmentSealer,
    /// Whole chunks as they will be in the file, then the content of the one that is being filled.
    buffer: Zeroizing<Vec<u8>>,
    /// The chunk that is being filled, and how much content it has.
    chunk: u64,
    filled: usize,
    failed: bool,
    progress: Option<Progress>,
}

impl<W: io::Write> AttachmentWriter<W> {
    /// For content of `size` bytes, under a new key. Writes the beginning of the file.
    ///
    /// # Errors
    /// [`AttachmentError::TooLarge`], [`AttachmentError::NoRandomness`]; those of the destination.
    pub fn new(mut destination: W, size: u64) -> io::Result<Self> {
        let sealer = AttachmentSealer::new(size)?;
        destination.write_all(sealer.commitment())?;
        Ok(Self::resumed(destination, sealer))
    }

    /// Behind what has been sealed.
    pub(super) fn resumed(destination: W, sealer: AttachmentSealer) -> Self {
        // Once, so that content is not left behind in smaller buffers.
        let capacity = BATCH.saturating_mul(CHUNK_LEN.into()).min(sealer.file_len());
        let buffer = Zeroizing::new(Vec::with_capacity(usize::try_from(capacity).unwrap_or_default()));
        let chunk = sealer.next();
        Self { destination, sealer, buffer, chunk, filled: 0, failed: false, progress: None }
    }

    /// Calls `progress` with how many bytes of content are sealed and written, and how many there will be; after every few
    /// chunks.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    /// How long the whole file will be, in bytes.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.sealer.file_len()
    }

    /// Writes the end of the file, and flushes it. Returns what recipients need.
    ///
    /// # Errors
    /// [`AttachmentError::WrongSize`] if less was written than was said; those of the destination.
    pub fn finish(mut self) -> io::Result<AttachmentDescriptor> {
        self.fill_up_to(self.layout().chunks())?;
        self.destination.flush()?;
        Ok(self.sealer.finish()?)
    }

    /// Seals and writes everything before a chunk. Its content must be there.
    pub(super) fn fill_up_to(&mut self, chunk: u64) -> io::Result<()> {
        while self.chunk < chunk {
            if self.missing() > 0 {
                return Err(AttachmentError::WrongSize.into());
            }
            self.close_chunk()?;
        }
        self.write_chunks()
    }

    /// The digest of what has been sealed so far.
    pub(super) fn into_sealer(self) -> AttachmentSealer {
        self.sealer
    }

    /// How much content is to come.
    pub(super) fn content_left(&self) -> u64 {
        self.layout().size() - self.layout().content_range(self.chunk).start
    }

    fn layout(&self) -> &Layout {
        self.sealer.keys().layout()
    }

    /// How much content the chunk that is being filled lacks.
    fn missing(&self) -> usize {
        self.layout().content_len(self.chunk) - self.filled
    }

    /// The chunk that is being filled has its content.
    fn close_chunk(&mut self) -> io::Result<()> {
        let len = self.buffer.len() - self.filled + self.layout().chunk_len(self.chunk);
        self.buffer.resize(len, 0);
        self.chunk += 1;
        self.filled = 0;
        if self.chunk - self.sealer.next() == BATCH { self.write_chunks() } else { Ok(()) }
    }

    /// Seals and writes what is in the buffer: whole chunks.
    fn write_chunks(&mut self) -> io::Result<()> {
        if self.failed {
            return Err(io::Error::other("an earlier part could not be written"));
        }
        self.failed = true;
        let keys = self.sealer.keys();
        let blocks = each_chunk(keys, self.sealer.next(), &mut self.buffer, |chunk, file| {
            keys.seal(chunk, file);
            keys.hash(chunk, file)
        });
        blocks.into_iter().for_each(|block| self.sealer.sealed(block));
        self.destination.write_all(&self.buffer)?;
        self.buffer.clear();
        self.failed = false;
        let (done, size) = (self.layout().content_range(self.chunk).start, self.layout().size());
        if let Some(progress) = &mut self.progress {
            progress(done, size);
        }
        Ok(())
    }
}

impl<W: io::Write> io::Write for AttachmentWriter<W> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        if self.failed {
            self.write_chunks()?;
        }
        let taken = content.get(..self.missing()).unwrap_or(content);
        if taken.is_empty() && !content.is_empty() {
            return Err(AttachmentError::WrongSize.into());
        }
        self.buffer.extend_from_slice(taken);
        self.filled += taken.len();
        // What is last is closed in `finish`: more content may come, which is an error.
        if self.missing() == 0 && self.layout().content_range(self.chunk).end < self.layout().size() {
            self.close_chunk()?;
        }
        Ok(taken.len())
    }

    /// Flushes the destination. The chunk that is being filled stays: it is sealed when it is full.
    fn flush(&mut self) -> io::Result<()> {
        self.destination.flush()
    }
}

impl<W> fmt::Debug for AttachmentWriter<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentWriter").field("sealer", &self.sealer).finish_non_exhaustive()
    }
}
