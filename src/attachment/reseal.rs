//! An upload is taken up again, though only the content was kept.

use std::io::{self, SeekFrom};

use super::{AttachmentDescriptor, AttachmentError, AttachmentSealer, AttachmentWriter};
use crate::crypto::secret::Secret;

impl AttachmentDescriptor {
    /// Writes the file from `chunk` on once more, as [`AttachmentWriter`] has written it: from
    /// [`file_range(chunk)`](Self::file_range), with chunk 0 from the beginning. So the state of an upload is the
    /// descriptor and a number. `content` begins where it is, and is read twice: before anything is written, all of it is
    /// compared with the digest. Other content under the same key would reveal both, so **it must not change meanwhile**.
    ///
    /// Whoever keeps the file does not need this.
    ///
    /// # Errors
    /// [`AttachmentError::ContentChanged`]: nothing was written, unless it has changed while it was read;
    /// [`AttachmentError::WrongSize`] if there is no such chunk; those of `content` and `destination`.
    pub fn reseal(
        &self,
        mut content: impl io::Read + io::Seek,
        chunk: u64,
        mut destination: impl io::Write,
    ) -> io::Result<()> {
        if chunk >= self.chunks() {
            return Err(AttachmentError::WrongSize.into());
        }
        let sealer = || AttachmentSealer::with_key(Secret::boxed(self.key().as_bytes()), self.layout());
        let begins = content.stream_position()?;
        let again = copy(&mut content, AttachmentWriter::resumed(io::sink(), sealer()))
            .and_then(|writer| writer.finish());
        match again {
            Ok(again) if again.digest() == self.digest() && content.read(&mut [0])? == 0 => {}
            Err(error) if AttachmentError::of(&error) != Some(AttachmentError::WrongSize) => {
                return Err(error);
            }
            _ => return Err(AttachmentError::ContentChanged.into()),
        }
        let before = self.content_range(chunk).start;
        content.seek(SeekFrom::Start(begins.saturating_add(before)))?;
        let mut sealer = sealer();
        if chunk == 0 {
            destination.write_all(sealer.commitment())?;
        }
        sealer.skip_to(chunk);
        let mut writer = copy(&mut content, AttachmentWriter::resumed(&mut destination, sealer))?;
        writer.fill_up_to(self.chunks())?;
        destination.flush()
    }
}

/// As much as the writer takes.
fn copy<W: io::Write>(
    content: &mut impl io::Read,
    mut writer: AttachmentWriter<W>,
) -> io::Result<AttachmentWriter<W>> {
    let missing = writer.content_left();
    io::copy(&mut io::Read::take(content, missing), &mut writer)?;
    Ok(writer)
}
