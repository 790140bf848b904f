//! What a recipient needs to read an attachment, and knows of it beforehand.
//!
//! ```text
//! descriptor = 0x71 | key 32 | size u64 | digest 32 | chunk size u32 = 65,536
//!            | media type: length u8 | ASCII | file name: length u8 | UTF-8 | thumbnail: length u32 | bytes
//! ```
//! Not its concern: where the file is; that is for the app to say in the message.

use alloc::{
    boxed::Box,
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, ops::Range};

use super::layout::{CHUNK_LEN, Layout};
use crate::{
    Error,
    crypto::secret::{Secret, constant_time_eq},
    wire::codec::{Kind, Reader, serde_by_bytes},
};

/// The longest file name, in bytes: what file systems take.
pub const MAX_FILE_NAME_LEN: usize = 255;

/// The longest thumbnail, in bytes.
pub const MAX_THUMBNAIL_LEN: usize = 64 * 1024;

/// The longest media type, in bytes.
const MAX_MEDIA_TYPE_LEN: usize = 127;

/// What a descriptor says unless it is told.
#[cfg(any(feature = "attachments", test))]
const ANY_MEDIA_TYPE: &str = "application/octet-stream";

/// What a recipient needs to read an attachment, and knows of it beforehand. It goes inside a message:
/// [`Draft::with_attachments`](crate::Draft::with_attachments), or [`to_bytes`](Self::to_bytes) in content of the app's own.
///
/// **Whoever has it can read the attachment**: keep it as you keep the text of messages. It names one file, by the digest
/// of its bytes, and does not say where that is: upload it under a random name, and send the name beside this.
///
/// Whoever sends it chooses what it says. The media type and the name are of legal form, no more: decide by the content
/// what to do with it.
pub struct AttachmentDescriptor {
    // Boxed: moving a descriptor leaves no copy of the key behind.
    key: Box<Secret<32>>,
    layout: Layout,
    digest: [u8; 32],
    media_type: String,
    file_name: Option<String>,
    thumbnail: Vec<u8>,
}

impl AttachmentDescriptor {
    #[cfg(feature = "attachments")]
    pub(super) fn new(key: Box<Secret<32>>, layout: Layout, digest: [u8; 32]) -> Self {
        let media_type = ANY_MEDIA_TYPE.to_string();
        Self { key, layout, digest, media_type, file_name: None, thumbnail: Vec::new() }
    }

    /// Says of what type the content is (RFC 6838), as `image/jpeg`. Unless it is said it is `application/octet-stream`.
    ///
    /// # Errors
    /// [`Error::Malformed`] unless it is 3 to 127 bytes of printable ASCII with a slash inside.
    pub fn with_media_type(self, media_type: &str) -> Result<Self, Error> {
        if is_media_type(media_type) {
            Ok(Self { media_type: media_type.to_string(), ..self })
        } else {
            Err(Error::Malformed)
        }
    }

    /// Names it. What must not be in the name of a file (separators, control characters, marks that turn the direction
    /// of text) becomes an underscore, and it is cut to 255 bytes, before its extension.
    #[must_use]
    pub fn with_file_name(self, name: &str) -> Self {
        let (name, extension) = match name.rsplit_once('.') {
            Some((stem, extension)) if !stem.is_empty() && extension.len() <= 16 => (stem, Some(extension)),
            _ => (name, None),
        };
        let room = MAX_FILE_NAME_LEN - extension.map_or(0, |extension| 1 + extension.len());
        let mut end = name.len().min(room);
        while !name.is_char_boundary(end) {
            end -= 1;
        }
        let stem = name.get(..end).unwrap_or_default();
        let whole =
            stem.chars().chain(extension.into_iter().flat_map(|text| ['.'].into_iter().chain(text.chars())));
        let name: String = whole.map(|c| if is_bad_in_names(c) { '_' } else { c }).collect();
        Self { file_name: is_file_name(&name).then_some(name), ..self }
    }

    /// A small picture to be shown before the attachment is there. It travels in the message and makes that longer.
    ///
    /// # Errors
    /// [`Error::ContentTooLong`] above 64 KiB.
    pub fn with_thumbnail(self, thumbnail: &[u8]) -> Result<Self, Error> {
        if thumbnail.len() <= MAX_THUMBNAIL_LEN {
            Ok(Self { thumbnail: thumbnail.to_vec(), ..self })
        } else {
            Err(Error::ContentTooLong)
        }
    }

    /// How long the content is, in bytes: at most [`MAX_ATTACHMENT_LEN`](crate::MAX_ATTACHMENT_LEN).
    #[must_use]
    pub fn size(&self) -> u64 {
        self.layout.size()
    }

    /// BLAKE3 of the whole file, 32 bytes: what `b3sum` prints of it.
    #[must_use]
    pub fn digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// What the sender says the content is.
    #[must_use]
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// What the sender calls it: one component of a path, at most 255 bytes, without control characters.
    #[must_use]
    pub fn file_name(&self) -> Option<&str> {
        self.file_name.as_deref()
    }

    /// A small picture, at most 64 KiB of whatever bytes; empty if there is none.
    #[must_use]
    pub fn thumbnail(&self) -> &[u8] {
        &self.thumbnail
    }

    /// How long the file is, in bytes. Many sizes have files of the same length.
    #[must_use]
    pub fn file_len(&self) -> u64 {
        self.layout.file_len()
    }

    /// How many chunks the file has, at least 1.
    #[must_use]
    pub fn chunks(&self) -> u64 {
        self.layout.chunks()
    }

    /// Where in the file a chunk is: what to ask a server for. The first begins at 32, behind the key commitment. Empty
    /// beyond the last.
    #[must_use]
    pub fn file_range(&self, chunk: u64) -> Range<u64> {
        self.layout.file_range(chunk)
    }

    /// Which part of the content is in a chunk. The last ones may have padding alone, so an empty part.
    #[must_use]
    pub fn content_range(&self, chunk: u64) -> Range<u64> {
        self.layout.content_range(chunk)
    }

    /// The number of the chunk with a byte of the content, from 0.
    #[must_use]
    pub fn chunk_at(&self, position: u64) -> u64 {
        self.layout.chunk_at(position.min(self.size()))
    }

    /// The canonical encoding, versioned. It has the key in it.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let name = self.file_name.as_deref().unwrap_or_default();
        // Exact, so that the key is not left in a smaller buffer.
        let mut out = Vec::with_capacity(self.encoded_len());
        out.push(Kind::Attachment.tag());
        out.extend_from_slice(self.key.as_bytes());
        out.extend_from_slice(&self.size().to_be_bytes());
        out.extend_from_slice(&self.digest);
        out.extend_from_slice(&CHUNK_LEN.to_be_bytes());
        for text in [&self.media_type, name] {
            out.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            out.extend_from_slice(text.as_bytes());
        }
        out.extend_from_slice(&u32::try_from(self.thumbnail.len()).unwrap_or(u32::MAX).to_be_bytes());
        out.extend_from_slice(&self.thumbnail);
        out
    }

    /// How long [`Self::to_bytes`] is.
    pub(crate) fn encoded_len(&self) -> usize {
        let name = self.file_name.as_deref().unwrap_or_default();
        FIXED_LEN + self.media_type.len() + name.len() + self.thumbnail.len()
    }

    /// Reads [`Self::to_bytes`].
    ///
    /// # Errors
    /// [`Error::Malformed`], [`Error::UnsupportedVersion`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        let mut reader = Reader::new(bytes);
        Kind::Attachment.expect(reader.u8()?)?;
        let key = Secret::boxed(reader.array()?);
        let layout = Layout::new(reader.u64()?).map_err(|_| Error::Malformed)?;
        let digest = *reader.array()?;
        if reader.u32()? != CHUNK_LEN {
            return Err(Error::UnsupportedVersion);
        }
        let mut text = || {
            let len = reader.u8()?;
            core::str::from_utf8(reader.slice(len.into())?).map_err(|_| Error::Malformed)
        };
        let (media_type, name) = (text()?, text()?);
        if !is_media_type(media_type) || !(name.is_empty() || is_file_name(name)) {
            return Err(Error::Malformed);
        }
        let len = usize::try_from(reader.u32()?).map_err(|_| Error::Malformed)?;
        let thumbnail = reader.slice(len)?;
        reader.finish()?;
        if len > MAX_THUMBNAIL_LEN {
            return Err(Error::Malformed);
        }
        Ok(Self {
            key,
            layout,
            digest,
            media_type: media_type.to_string(),
            file_name: (!name.is_empty()).then(|| name.to_string()),
            thumbnail: thumbnail.to_vec(),
        })
    }

    #[cfg(feature = "attachments")]
    pub(super) fn key(&self) -> &Secret<32> {
        &self.key
    }

    #[cfg(feature = "attachments")]
    pub(super) fn layout(&self) -> Layout {
        self.layout
    }
}

/// What is not text or a thumbnail, in bytes.
const FIXED_LEN: usize = 1 + 32 + 8 + 32 + 4 + 1 + 1 + 4;

fn is_media_type(text: &str) -> bool {
    let printable = text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let inside = text.find('/').is_some_and(|slash| 0 < slash && slash + 1 < text.len());
    printable && inside && text.len() <= MAX_MEDIA_TYPE_LEN
}

fn is_file_name(name: &str) -> bool {
    let special = ["", ".", ".."].contains(&name);
    !special && name.len() <= MAX_FILE_NAME_LEN && !name.contains(is_bad_in_names)
}

/// Separators of paths and streams anywhere; controls; and what makes `gpj.exe` read `exe.jpg`.
fn is_bad_in_names(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{061c}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let breaks = matches!(c, '\u{2028}' | '\u{2029}');
    matches!(c, '/' | '\\' | ':') || c.is_control() || turns || breaks
}

impl Clone for AttachmentDescriptor {
    fn clone(&self) -> Self {
        Self {
            key: Secret::boxed(self.key.as_bytes()),
            layout: self.layout,
            digest: self.digest,
            media_type: self.media_type.clone(),
            file_name: self.file_name.clone(),
            thumbnail: self.thumbnail.clone(),
        }
    }
}

impl PartialEq for AttachmentDescriptor {
    fn eq(&self, other: &Self) -> bool {
        constant_time_eq(self.key.as_bytes(), other.key.as_bytes())
            && (self.layout, &self.digest) == (other.layout, &other.digest)
            && (&self.media_type, &self.file_name) == (&other.media_type, &other.file_name)
            && self.thumbnail == other.thumbnail
    }
}

impl Eq for AttachmentDescriptor {}

impl fmt::Debug for AttachmentDescriptor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Neither the key nor what the sender calls it.
        write!(f, "AttachmentDescriptor {{ {} bytes }}", self.size())
    }
}

serde_by_bytes!(AttachmentDescriptor);

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, option, prelude::*};

    use super::*;

    fn plain(size: u64) -> AttachmentDescriptor {
        AttachmentDescriptor {
            key: Secret::boxed(&[7; 32]),
            layout: Layout::new(size).unwrap(),
            digest: [8; 32],
            media_type: ANY_MEDIA_TYPE.to_string(),
            file_name: None,
            thumbnail: Vec::new(),
        }
    }

    fn full() -> AttachmentDescriptor {
        let typed = plain(1_000).with_media_type("image/jpeg").unwrap();
        typed.with_file_name("rose.jpg").with_thumbnail(&[1, 2, 3]).unwrap()
    }

    #[test]
    fn encoding() {
        let bytes = full().to_bytes();
        assert_eq!(bytes.len(), FIXED_LEN + 10 + 8 + 3);
        assert_eq!(bytes[0], 0x71);
        assert_eq!(bytes[33..41], 1_000_u64.to_be_bytes());
        assert_eq!(bytes[73..77], 65_536_u32.to_be_bytes());
        assert_eq!(&bytes[77..97], b"\x0aimage/jpeg\x08rose.jpg");
        assert_eq!(bytes[97..], [0, 0, 0, 3, 1, 2, 3]);
        let read = AttachmentDescriptor::from_bytes(&bytes).unwrap();
        assert!(read == full() && read.clone() == read && read != plain(1_000));
        assert_eq!(format!("{read:?}"), "AttachmentDescriptor { 1000 bytes }");
    }

    #[test]
    fn a25_hostile_encodings() {
        let bytes = full().to_bytes();
        let read = |bytes: &[u8]| AttachmentDescriptor::from_bytes(bytes).map(|_| ());
        for len in 0..bytes.len() {
            assert_eq!(read(&bytes[..len]), Err(Error::Malformed), "{len}");
        }
        assert_eq!(read(&[&bytes[..], &[0]].concat()), Err(Error::Malformed));
        let altered = |position: usize, new: &[u8]| {
            let mut altered = bytes.clone();
            altered[position..position + new.len()].copy_from_slice(new);
            read(&altered)
        };
        assert_eq!(altered(0, &[0x72]), Err(Error::UnsupportedVersion));
        assert_eq!(altered(0, &[0x61]), Err(Error::Malformed));
        assert_eq!(altered(33, &[0xff; 8]), Err(Error::Malformed));
        for chunk_size in [0_u32, 1, 65_535, 131_072, u32::MAX] {
            assert_eq!(altered(73, &chunk_size.to_be_bytes()), Err(Error::UnsupportedVersion));
        }
        for name in
            [b"../s.jpg", b"a/se.jpg", b"c:e.jpg\\", b"a\0se.jpg", b"\xff\xffse.jpg"].map(|name| &name[..8])
        {
            assert_eq!(altered(89, name), Err(Error::Malformed));
        }
        assert_eq!(altered(78, b"imagejpeg."), Err(Error::Malformed));
        // A length bomb.
        assert_eq!(altered(97, &[0xff; 4]), Err(Error::Malformed));
        let long = [&bytes[..97], &65_537_u32.to_be_bytes(), &[0; 65_537]].concat();
        assert_eq!(read(&long), Err(Error::Malformed));
    }

    #[test]
    fn names_are_names_of_files() {
        let named = |name: &str| plain(1).with_file_name(name).file_name().map(ToString::to_string);
        assert_eq!(named("rose.jpg").as_deref(), Some("rose.jpg"));
        assert_eq!(named("../../etc/passwd").as_deref(), Some(".._.._etc_passwd"));
        assert_eq!(named("C:\\evil\r\n.exe").as_deref(), Some("C__evil__.exe"));
        assert_eq!(named("exe.\u{202e}gpj").as_deref(), Some("exe._gpj"));
        assert_eq!(named("роза 🌹.png").as_deref(), Some("роза 🌹.png"));
        for nothing in ["", ".", ".."] {
            assert_eq!(named(nothing), None, "{nothing}");
        }
        let long = named(&format!("{}.jpeg", "🌹".repeat(100))).unwrap();
        assert!(long.ends_with("🌹.jpeg") && (252..=255).contains(&long.len()));
        assert!(named(&format!(".{}", "🌹".repeat(100))).unwrap().len() <= 255);
    }

    #[test]
    fn media_types_and_thumbnails() {
        for good in ["a/b", "text/plain; charset=utf-8", &format!("a/{}", "b".repeat(125))] {
            assert!(plain(1).with_media_type(good).is_ok(), "{good}");
        }
        for bad in ["", "/", "image", "image/", "/jpeg", "a/\n", "a/é", &format!("a/{}", "b".repeat(126))] {
            assert_eq!(plain(1).with_media_type(bad).unwrap_err(), Error::Malformed, "{bad}");
        }
        assert!(plain(1).with_thumbnail(&[0; MAX_THUMBNAIL_LEN]).is_ok());
        let long = plain(1).with_thumbnail(&[0; MAX_THUMBNAIL_LEN + 1]);
        assert_eq!(long.unwrap_err(), Error::ContentTooLong);
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(
            size in 0..=crate::MAX_ATTACHMENT_LEN,
            name in option::of(any::<String>()),
            thumbnail in vec(any::<u8>(), 0..100),
        ) {
            let mut descriptor = plain(size).with_thumbnail(&thumbnail).unwrap();
            if let Some(name) = name {
                descriptor = descriptor.with_file_name(&name);
            }
            let bytes = descriptor.to_bytes();
            let read = AttachmentDescriptor::from_bytes(&bytes).unwrap();
            prop_assert_eq!(read.to_bytes(), bytes);
            prop_assert_eq!(read, descriptor);
        }

        #[test]
        fn a25_altered_bytes(position in 0..120_usize, value in any::<u8>()) {
            let mut bytes = full().to_bytes();
            if let Some(byte) = bytes.get_mut(position) {
                *byte = value;
            }
            if let Ok(read) = AttachmentDescriptor::from_bytes(&bytes) {
                prop_assert_eq!(read.to_bytes(), bytes);
            }
        }
    }
}
