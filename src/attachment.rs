//! Attachments: pictures, voice notes, documents of any size, encrypted once and stored anywhere.
//!
//! ```text
//! file  = key commitment 32 | chunk 0 | chunk 1 | ... | last chunk        (kept by whoever; looks random)
//! chunk = ChaCha20-Poly1305(content, zeros behind it up to a Padmé length), ends at a multiple of 65,536 bytes
//!
//! descriptor = key 32 | size | digest of the file | ...                   (inside a message)
//! ```
//! Nothing is released before its chunk is authenticated, at its place, in a file of this length (the STREAM
//! construction of Hoang, Reyhanitabar, Rogaway and Vizár, 2015). The descriptor names one file: the key by its
//! commitment, all bytes by their digest.
//!
//! Not its concern: how files travel; previews, formats. Nothing is ever compressed: lengths would tell what is inside.

#[cfg(all(feature = "attachments", feature = "std"))]
mod batch;
#[cfg(feature = "attachments")]
mod chunks;
mod descriptor;
#[cfg(feature = "attachments")]
mod error;
mod layout;
#[cfg(all(feature = "attachments", feature = "std"))]
mod reader;
#[cfg(all(feature = "attachments", feature = "std"))]
mod reseal;
#[cfg(all(test, feature = "attachments", feature = "std"))]
mod salamander;
#[cfg(all(test, feature = "attachments"))]
mod vectors;
#[cfg(all(feature = "attachments", feature = "std"))]
mod writer;

#[cfg(feature = "attachments")]
pub use chunks::{AttachmentOpener, AttachmentSealer};
pub use descriptor::{AttachmentDescriptor, MAX_FILE_NAME_LEN, MAX_THUMBNAIL_LEN};
#[cfg(feature = "attachments")]
pub use error::AttachmentError;
pub use layout::MAX_ATTACHMENT_LEN;
#[cfg(all(feature = "attachments", feature = "std"))]
pub use reader::AttachmentReader;
#[cfg(all(feature = "attachments", feature = "std"))]
pub use writer::AttachmentWriter;
