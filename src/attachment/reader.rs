//! An attachment is read: file in, content out.

use std::{
    fmt,
    io::{self, SeekFrom},
};

use zeroize::Zeroizing;

use super::{
    AttachmentDescriptor, AttachmentError, AttachmentOpener, AttachmentSealer, AttachmentWriter,
    batch::{BATCH, each_chunk},
    layout::{CHUNK_LEN, COMMITMENT_LEN, Layout},
    writer::Progress,
};
use crate::crypto::secret::Secret;

/// Decrypts the file of an attachment. Memory: 128 KiB, with the feature `rayon` 896 KiB. An example is at
/// [`AttachmentWriter`].
///
/// What it gives is authentic, chunk by chunk. Read from the beginning, the last chunk with content is given only after
/// the rest of the file has been read, nothing comes behind it, and its digest is that of the descriptor: so keep what was
/// read before only if reading ends without an error.
///
/// If the source is [`Seek`](io::Seek), so is this: a part of the content costs reading the chunks that it is in. The
/// digest of the file is not compared then, unless all is read again from the beginning: do that first
/// (`io::copy(&mut reader, &mut io::sink())`, then `reader.rewind()`) where it matters that all recipients of a descriptor
/// see the same, even if its sender wants something else.
///
/// After an error every further call fails, unless it is sought elsewhere. To go on with a download that was cut off,
/// [`resume`](Self::resume).
pub struct AttachmentReader<R> {
    source: R,
    opener: AttachmentOpener,
    /// Chunks from number `first`: as many as are `good` are opened, and shown.
    buffer: Zeroizing<Vec<u8>>,
    first: u64,
    good: u64,
    /// The chunk that comes next in the source, if it is where it should be.
    next: u64,
    /// How far the source is in the file, in bytes.
    offset: u64,
    /// Where the next read begins in the content.
    position: u64,
    /// Whether all chunks before `next` have been read in order.
    in_order: bool,
    failed: Option<Failure>,
    progress: Option<Progress>,
}

#[derive(Clone, Copy)]
enum Failure {
    Attachment(AttachmentError),
    Source,
}

impl From<Failure> for io::Error {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Attachment(error) => error.into(),
            Failure::Source => Self::other("an earlier part could not be read"),
        }
    }
}

impl<R: io::Read> AttachmentReader<R> {
    /// Reads the beginning of the file, and compares the key commitment there.
    ///
    /// # Errors
    /// [`AttachmentError::WrongKey`], [`AttachmentError::Truncated`]; those of the source.
    pub fn new(mut source: R, descriptor: &AttachmentDescriptor) -> io::Result<Self> {
        let mut commitment = [0; COMMITMENT_LEN as usize];
        if read_up_to(&mut source, &mut commitment, &mut 0)? < commitment.len() {
            return Err(AttachmentError::Truncated { chunk: 0 }.into());
        }
        Ok(Self::behind(source, AttachmentOpener::new(descriptor, &commitment)?, 0))
    }

    /// Goes on in a file of which the chunks before `chunk` were read, and their content is kept. `content` gives that
    /// from its beginning; `source` gives the file from [`file_range(chunk)`](AttachmentDescriptor::file_range) on. So the
    /// state of a download is the descriptor and a number:
    ///
    /// ```
    /// use std::io;
    /// use subrosa::{AttachmentDescriptor, AttachmentReader};
    ///
    /// /// `have` is what was written before the app was killed. `fetch` asks the server for the file from some byte on.
    /// fn go_on<S: io::Read>(
    ///     descriptor: &AttachmentDescriptor,
    ///     have: &mut Vec<u8>,
    ///     fetch: impl Fn(u64) -> S,
    /// ) -> io::Result<()> {
    ///     let chunk = descriptor.chunk_at(have.len() as u64);
    ///     have.truncate(descriptor.content_range(chunk).start as usize); // whole chunks
    ///     let source = fetch(descriptor.file_range(chunk).start);
    ///     let mut reader = AttachmentReader::resume(source, descriptor, chunk, &have[..])?;
    ///     io::copy(&mut reader, have)?;
    ///     Ok(())
    /// }
    /// ```
    /// What is kept is sealed again, for the digest: if it is not what was read, the end is
    /// [`AttachmentError::WrongDigest`].
    ///
    /// # Errors
    /// [`AttachmentError::WrongSize`] if there is no such chunk, or less content than was before it; those of `content`.
    pub fn resume(
        source: R,
        descriptor: &AttachmentDescriptor,
        chunk: u64,
        content: impl io::Read,
    ) -> io::Result<Self> {
        let mut opener = AttachmentOpener::unchecked(descriptor);
        if chunk >= descriptor.chunks() {
            return Err(AttachmentError::WrongSize.into());
        }
        let key = Secret::boxed(descriptor.key().as_bytes());
        let sealer = AttachmentSealer::with_key(key, descriptor.layout());
        let mut again = AttachmentWriter::resumed(io::sink(), sealer);
        io::copy(&mut content.take(descriptor.content_range(chunk).start), &mut again)?;
        again.fill_up_to(chunk)?;
        opener.resume(again.into_sealer());
        Ok(Self::behind(source, opener, chunk))
    }

    fn behind(source: R, opener: AttachmentOpener, chunk: u64) -> Self {
        let layout = opener.keys().layout();
        let (offset, position) = (layout.file_range(chunk).start, layout.content_range(chunk).start);
        Self {
            source,
            opener,
            buffer: Zeroizing::new(Vec::new()),
            first: chunk,
            good: 0,
            next: chunk,
            offset,
            position,
            in_order: true,
            failed: None,
            progress: None,
        }
    }

    /// Calls `progress` with up to which byte of the content the file was read and is authentic, and how many there are;
    /// after every few chunks.
    #[must_use]
    pub fn on_progress(mut self, progress: impl FnMut(u64, u64) + Send + 'static) -> Self {
        self.progress = Some(Box::new(progress));
        self
    }

    fn layout(&self) -> &Layout {
        self.opener.keys().layout()
    }

    /// The last chunk that has content; the first if none has.
    fn last_with_content(&self) -> u64 {
        self.layout().chunk_at(self.layout().size().saturating_sub(1))
    }

    /// Reads and opens the next chunks. Those that are authentic are shown; what is wrong with the one behind them is for
    /// the next call.
    fn advance(&mut self) -> io::Result<()> {
        if let Some(failure) = self.failed {
            return Err(failure.into());
        }
        self.failed = Some(Failure::Source);
        self.first = self.next;
        self.good = 0;
        let end = (self.next + BATCH).min(self.last_with_content() + 1);
        let mut buffer = std::mem::take(&mut self.buffer);
        self.failed = self.open_chunks(&mut buffer, end)?;
        self.good = self.next - self.first;
        if self.failed.is_none() && self.in_order && self.next > self.last_with_content() {
            // The last content is held back until the end is seen to be right.
            self.failed = Some(Failure::Source);
            self.good -= 1;
            self.failed = self.finish()?;
            self.good += u64::from(self.failed.is_none());
        }
        self.buffer = buffer;
        let (done, size) = (self.layout().content_range(self.first + self.good).start, self.layout().size());
        if let Some(progress) = &mut self.progress
            && self.good > 0
        {
            progress(done, size);
        }
        match self.failed {
            Some(failure) if self.good == 0 => Err(failure.into()),
            _ => Ok(()),
        }
    }

    /// Reads and opens the chunks from the next one up to `end`. Returns what is wrong with the one that is next then.
    fn open_chunks(&mut self, buffer: &mut Vec<u8>, end: u64) -> io::Result<Option<Failure>> {
        let first = self.next;
        let len = self.layout().file_range(end - 1).end - self.layout().file_range(first).start;
        let len = usize::try_from(len).unwrap_or_default();
        if buffer.capacity() < len {
            // Once, so that content is not left behind in smaller buffers. The first chunk is shorter than others.
            buffer.reserve_exact(len.next_multiple_of(CHUNK_LEN as usize) - buffer.len());
        }
        buffer.resize(len, 0);
        let read = read_up_to(&mut self.source, buffer, &mut self.offset)?;
        let keys = self.opener.keys();
        let file = buffer.get_mut(..read).unwrap_or_default();
        let opened = each_chunk(keys, first, file, |chunk, file| {
            let block = keys.hash(chunk, file);
            keys.open(chunk, file).map(|()| block)
        });
        for block in opened {
            let checked =
                block.and_then(|block| if self.in_order { self.opener.opened(block) } else { Ok(()) });
            if let Err(error) = checked {
                return Ok(Some(Failure::Attachment(error)));
            }
            self.next += 1;
        }
        let truncated = AttachmentError::Truncated { chunk: self.next };
        Ok((self.next < end).then_some(Failure::Attachment(truncated)))
    }

    /// Reads what comes behind the content: padding, then nothing.
    fn finish(&mut self) -> io::Result<Option<Failure>> {
        let chunks = self.layout().chunks();
        let mut padding = Vec::new();
        while self.next < chunks {
            let failure = self.open_chunks(&mut padding, (self.next + BATCH.min(2)).min(chunks))?;
            if failure.is_some() {
                return Ok(failure);
            }
        }
        let behind = read_up_to(&mut self.source, &mut [0], &mut self.offset)?;
        let extended = AttachmentError::Extended { chunk: chunks };
        Ok((behind > 0).then_some(Failure::Attachment(extended)))
    }

    /// The part of the content that is in the buffer from the next byte on, to the end of its chunk; none if it is not there.
    fn here(&self) -> Option<&[u8]> {
        let layout = self.layout();
        let chunk = layout.chunk_at(self.position);
        if self.position >= layout.size() || !(self.first..self.first + self.good).contains(&chunk) {
            return None;
        }
        let (file, content) = (layout.file_range(chunk), layout.content_range(chunk));
        let begins = file.start - layout.file_range(self.first).start;
        let within = |position: u64| usize::try_from(begins + position - content.start).ok();
        self.buffer.get(within(self.position)?..within(content.end)?)
    }
}

impl<R: io::Read> io::Read for AttachmentReader<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // Of an empty attachment, too, the file must be right.
        let unseen = self.layout().size() == 0 && self.next == 0;
        if out.is_empty() || (self.position >= self.layout().size() && !unseen) {
            return Ok(0);
        }
        if self.here().is_none() {
            self.advance()?;
        }
        let Some(here) = self.here() else { return Ok(0) };
        let len = here.len().min(out.len());
        if let (Some(out), Some(here)) = (out.get_mut(..len), here.get(..len)) {
            out.copy_from_slice(here);
        }
        self.position += u64::try_from(len).unwrap_or_default();
        Ok(len)
    }
}

impl<R: io::Read + io::Seek> io::Seek for AttachmentReader<R> {
    /// Within the content. The source is moved relative to where it is.
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let size = self.layout().size();
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(by) => size.checked_add_signed(by),
            SeekFrom::Current(by) => self.position.checked_add_signed(by),
        };
        let position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let before = std::mem::replace(&mut self.position, position);
        let chunk = self.layout().chunk_at(position.min(size));
        let is_next = chunk == self.next && self.failed.is_none();
        if position >= size || self.here().is_some() || is_next {
            return Ok(position);
        }
        let target = self.layout().file_range(chunk).start;
        let moved = i128::from(target) - i128::from(self.offset);
        let moved = i64::try_from(moved).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        self.source.seek(SeekFrom::Current(moved)).inspect_err(|_| self.position = before)?;
        self.offset = target;
        (self.first, self.good, self.next) = (chunk, 0, chunk);
        self.in_order = chunk == 0;
        self.opener.rewind();
        self.failed = None;
        Ok(position)
    }
}

impl<R> fmt::Debug for AttachmentReader<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachmentReader").field("opener", &self.opener).finish_non_exhaustive()
    }
}

/// Reads until the buffer is full or the source ends. Returns how much was read, and counts it in `offset`, if there is
/// an error as well.
fn read_up_to(source: &mut impl io::Read, buffer: &mut [u8], offset: &mut u64) -> io::Result<usize> {
    let mut read = 0;
    while let Some(rest) = buffer.get_mut(read..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(len) => {
                read += len;
                *offset += u64::try_from(len).unwrap_or_default();
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(read)
}
