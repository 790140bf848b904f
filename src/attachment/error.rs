//! What is wrong with the file of an attachment, or with what is made one.

use core::fmt;

/// Why an attachment could not be read or made. Inside an [`io::Error`](std::io::Error) it is what
/// [`get_ref`](std::io::Error::get_ref) gives, or [`Self::of`].
///
/// Chunks are numbered from 0; those before were authentic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum AttachmentError {
    // ---- The file: fetch it again. If it stays so, whoever keeps it has altered it, or its sender lies.
    /// It was not made with the key of this descriptor, nor for its size.
    WrongKey,
    /// This chunk is not the one that belongs here: altered, from another place or another file.
    Altered {
        /// Its number.
        chunk: u64,
    },
    /// The file ends before or in this chunk.
    Truncated {
        /// Its number.
        chunk: u64,
    },
    /// The file goes on behind its last chunk.
    Extended {
        /// The number that the first chunk too many would have.
        chunk: u64,
    },
    /// Every chunk is authentic, and it is not the file that the descriptor names: who has the key has made two.
    WrongDigest,

    // ---- The caller.
    /// More or less content than the size that was said, or a chunk of another length than it has.
    WrongSize,
    /// More content than an attachment may have.
    TooLarge,
    /// The content is not what was sealed before: sealing it under the same key would reveal both.
    ContentChanged,

    // ---- This machine.
    /// The random generator failed.
    NoRandomness,
}

#[cfg(feature = "std")]
impl AttachmentError {
    /// What is inside an error of a reader or a writer; none if it is of the source or the destination.
    #[must_use]
    pub fn of(error: &std::io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().copied()
    }
}

impl fmt::Display for AttachmentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongKey => f.write_str("the file is not of this key and size"),
            Self::Altered { chunk } => write!(f, "chunk {chunk} of the file is not authentic"),
            Self::Truncated { chunk } => write!(f, "the file ends in chunk {chunk}"),
            Self::Extended { chunk } => write!(f, "the file goes on with a chunk {chunk}"),
            Self::WrongDigest => f.write_str("the file is not the one that the descriptor names"),
            Self::WrongSize => f.write_str("not as much content as was said"),
            Self::TooLarge => f.write_str("more content than an attachment may have"),
            Self::ContentChanged => f.write_str("the content is not what was sealed before"),
            Self::NoRandomness => f.write_str("random generator failed"),
        }
    }
}

impl core::error::Error for AttachmentError {}

#[cfg(feature = "std")]
impl From<AttachmentError> for std::io::Error {
    fn from(error: AttachmentError) -> Self {
        use std::io::ErrorKind;

        let kind = match error {
            AttachmentError::Truncated { .. } => ErrorKind::UnexpectedEof,
            AttachmentError::WrongSize | AttachmentError::TooLarge | AttachmentError::ContentChanged => {
                ErrorKind::InvalidInput
            }
            AttachmentError::NoRandomness => ErrorKind::Other,
            _ => ErrorKind::InvalidData,
        };
        Self::new(kind, error)
    }
}
