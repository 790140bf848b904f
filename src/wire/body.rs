//! The plaintext of a message body: content, codewords of the PQ ratchet, padding.
//!
//! ```text
//! content length u32 | content | type+count u8 | count x (index u16 | codeword 32) | zeros
//! ```
//!
//! Under padding the length of the whole depends on the content's length alone: room for one codeword is always
//! reserved, and the others use what the padding leaves. Type and count share a byte, three bits and five.
//!
//! Not its concern: what codewords mean, and which ones are wanted.

use alloc::vec::Vec;

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::{codec::Reader, padme::padme};
use crate::Error;

/// The length field of the content.
const LENGTH_LEN: usize = 4;
/// The type and count of the codewords.
const CODEWORD_TAG_LEN: usize = 1;
/// What a codeword carries.
pub(crate) const CHUNK_LEN: usize = 32;
/// One codeword: its index and chunk.
const CODEWORD_LEN: usize = 2 + CHUNK_LEN;
/// As many as the count can say.
pub(crate) const MAX_CODEWORDS: usize = 31;

/// The shortest plaintext of a body, so that the last 24 bytes of a message (the nonce of its header) are all
/// ciphertext and tag of the body.
const MIN_LEN: usize = 16;

/// The longest plaintext of a body: 16 MiB.
pub(crate) const MAX_LEN: usize = 1 << 24;

/// The longest content of a message, in bytes: 16 MiB less the framing of a message body.
pub const MAX_CONTENT_LEN: usize = MAX_LEN - LENGTH_LEN - CODEWORD_TAG_LEN - CODEWORD_LEN;
const _: () = assert!(MAX_LEN == 16_777_216 && MAX_CONTENT_LEN == 16_777_177);

/// Which value of the PQ ratchet the codewords of a message are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CodewordKind {
    /// Header of a KEM key, and its MAC.
    Header = 1,
    /// Vector of a KEM key.
    Vector = 2,
    /// The same, and the first half of the ciphertext has been received.
    VectorAck = 3,
    /// First half of a ciphertext.
    Ct1 = 4,
    /// Second half of a ciphertext, and the MAC of both.
    Ct2 = 5,
}

/// A piece of a value under the erasure code: at most one of 65,536.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Codeword {
    pub(crate) index: u16,
    pub(crate) chunk: [u8; CHUNK_LEN],
}

/// The codewords of one message: 1 to 31 of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Codewords {
    pub(crate) kind: CodewordKind,
    pub(crate) words: ArrayVec<Codeword, MAX_CODEWORDS>,
}

/// Content shorter than this fits the first bucket, and so on.
const BUCKETS: [usize; 3] = [256, 512, 1024];

/// How the length of content is hidden. The receiver need not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Padding {
    /// To 256, 512 or 1,024 bytes; above that to the next length of at most four significant binary digits
    /// and some more (Padmé, <https://lbarman.ch/blog/padme/>), which adds at most 12 % and about 6 % on
    /// average. An observer learns the bucket, nothing finer. The PQ ratchet travels in this padding.
    #[default]
    Buckets,
    /// Not at all: an observer learns the exact length, and from 34 bytes more or less whether the PQ ratchet has
    /// something to say. It renews the session about six times more slowly than in padding. For content that the
    /// app has padded itself.
    None,
}

impl Padding {
    /// Length of the plaintext of a body with `content_len` bytes of content (at most [`MAX_CONTENT_LEN`]) and
    /// `codewords`, of which all but the first must fit the padding; which is to the bucket of `least` bytes at least.
    fn body_len(self, content_len: usize, codewords: usize, least: usize) -> usize {
        let framed = LENGTH_LEN + content_len + CODEWORD_TAG_LEN;
        match self {
            Self::None => (framed + codewords * CODEWORD_LEN).max(MIN_LEN),
            Self::Buckets => {
                let least = least.max(framed + CODEWORD_LEN);
                let bucket = BUCKETS.into_iter().find(|bucket| least <= *bucket);
                bucket.unwrap_or_else(|| padme(least as u64) as usize)
            }
        }
    }

    /// [`Self::room`] of a body that is not padded to anything more.
    #[cfg(test)]
    pub(crate) fn codeword_room(self, content_len: usize) -> Result<usize, Error> {
        self.room(content_len, 0)
    }

    /// How many codewords a body with `content_len` bytes of content, padded to the bucket of `least` bytes at least, has
    /// room for: at least one.
    ///
    /// # Errors
    /// [`Error::ContentTooLong`].
    pub(crate) fn room(self, content_len: usize, least: usize) -> Result<usize, Error> {
        if content_len > MAX_CONTENT_LEN {
            return Err(Error::ContentTooLong);
        }
        let framed = LENGTH_LEN + content_len + CODEWORD_TAG_LEN;
        match self {
            Self::None => Ok(1),
            Self::Buckets => {
                Ok(((self.body_len(content_len, 0, least) - framed) / CODEWORD_LEN).clamp(1, MAX_CODEWORDS))
            }
        }
    }
}

impl CodewordKind {
    fn from_number(number: u8) -> Option<Self> {
        [Self::Header, Self::Vector, Self::VectorAck, Self::Ct1, Self::Ct2]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }
}

/// Appends the plaintext of a body with this content to `out`. Content and codewords are such that
/// [`Padding::room`] has said yes to them, and it is `len` bytes long, by [`encoded_len`].
///
/// `out` should have room: growing it would leave a copy of the content behind.
pub(crate) fn encode(content: &[u8], len: usize, codewords: Option<&Codewords>, out: &mut Vec<u8>) {
    let end = out.len() + len;
    // The content's length has been checked: it is below 2^24.
    out.extend_from_slice(&(content.len() as u32).to_be_bytes());
    out.extend_from_slice(content);
    if let Some(Codewords { kind, words }) = codewords {
        out.push((*kind as u8) << 5 | words.len() as u8);
        for word in words {
            out.extend_from_slice(&word.index.to_be_bytes());
            out.extend_from_slice(&word.chunk);
        }
    }
    debug_assert!(out.len() <= end);
    out.resize(end, 0);
}

/// Length of the plaintext of a body, padded to the bucket of `least` bytes at least.
pub(crate) fn encoded_len(
    content_len: usize,
    padding: Padding,
    least: usize,
    codewords: Option<&Codewords>,
) -> usize {
    padding.body_len(content_len, codewords.map_or(0, |codewords| codewords.words.len()), least)
}

/// Leaves of the plaintext of a body the content, checking every byte of the rest; and puts the codewords into their
/// place, where there are none. On failure nothing is left.
pub(crate) fn decode(body: &mut Vec<u8>, codewords: &mut Option<Codewords>) -> Result<(), Error> {
    match parse(body, codewords) {
        Ok(len) => {
            // One allocation serves plaintext and content; what is cut off is wiped first.
            body.copy_within(LENGTH_LEN..LENGTH_LEN + len, 0);
            if let Some(rest) = body.get_mut(len..) {
                // Behind them there are zeros.
                let taken = codewords.as_ref().map_or(0, |codewords| codewords.words.len() * CODEWORD_LEN);
                rest.iter_mut().take(LENGTH_LEN + CODEWORD_TAG_LEN + taken).for_each(Zeroize::zeroize);
            }
            body.truncate(len);
            Ok(())
        }
        Err(error) => {
            body.zeroize();
            Err(error)
        }
    }
}

/// The length of the content.
fn parse(body: &[u8], codewords: &mut Option<Codewords>) -> Result<usize, Error> {
    let mut reader = Reader::new(body);
    let len = usize::try_from(reader.u32()?).map_err(|_| Error::Malformed)?;
    if len > MAX_CONTENT_LEN || body.len() < MIN_LEN {
        return Err(Error::Malformed);
    }
    reader.slice(len)?;
    let tag = reader.u8()?;
    let (kind, count) = (CodewordKind::from_number(tag >> 5), usize::from(tag & 0x1f));
    match (kind, count) {
        (None, 0) if tag == 0 => {}
        (None, _) | (Some(_), 0) => return Err(Error::Malformed),
        (Some(kind), count) => {
            let words = &mut codewords.insert(Codewords { kind, words: ArrayVec::new() }).words;
            for _ in 0..count {
                let word = Codeword { index: u16::from_be_bytes(*reader.array()?), chunk: *reader.array()? };
                words.try_push(word).map_err(|_| Error::Malformed)?;
            }
        }
    }
    if reader.rest().iter().any(|byte| *byte != 0) {
        return Err(Error::Malformed);
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use alloc::vec;

    use proptest::prelude::*;

    use super::*;

    fn encoded(content: &[u8], padding: Padding) -> Vec<u8> {
        encoded_with(content, padding, None)
    }

    fn encoded_with(content: &[u8], padding: Padding, codewords: Option<&Codewords>) -> Vec<u8> {
        let mut out = Vec::new();
        let len = encoded_len(content.len(), padding, 0, codewords);
        encode(content, len, codewords, &mut out);
        assert_eq!(out.len(), len);
        out
    }

    fn decode(mut body: Vec<u8>) -> Result<(Vec<u8>, Option<Codewords>), Error> {
        let mut codewords = None;
        let result = super::decode(&mut body, &mut codewords);
        assert!(result.is_ok() || body.is_empty(), "nothing is left on failure");
        result.map(|()| (body, codewords))
    }

    fn codewords(kind: CodewordKind, count: u16) -> Codewords {
        let words = (0..count).map(|i| Codeword { index: i * 2_000, chunk: [i as u8 + 1; 32] });
        Codewords { kind, words: words.collect() }
    }

    #[test]
    fn buckets_as_documented() {
        for (content, body) in [
            (0, 256),
            (217, 256),
            (218, 512),
            (473, 512),
            (474, 1024),
            (985, 1024),
            (986, 1088),
            (16 * 1024, 17 * 1024),
            (MAX_CONTENT_LEN, MAX_LEN),
        ] {
            assert_eq!(Padding::Buckets.body_len(content, 0, 0), body, "{content}");
        }
        assert_eq!(Padding::None.body_len(0, 0, 0), 16);
        assert_eq!(Padding::None.body_len(11, 0, 0), 16);
        assert_eq!(Padding::None.body_len(12, 0, 0), 17);
        assert_eq!(Padding::None.body_len(256, 0, 0), 261);
    }

    #[test]
    fn padding_above_the_buckets_adds_at_most_12_percent() {
        let mut last = 0;
        for content in (986..200_000).chain((200_000..MAX_CONTENT_LEN).step_by(997)) {
            let least = content + 39;
            let padded = Padding::Buckets.body_len(content, 0, 0);
            assert!(padded >= least && padded >= last && padded <= MAX_LEN);
            assert!((padded - least) * 100 <= least * 12, "{content}");
            last = padded;
        }
    }

    #[test]
    fn a24_length_depends_on_nothing_but_the_content_length() {
        let plain = encoded(&[b'a'; 5000], Padding::Buckets);
        let random: Vec<u8> = (0..5000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        assert_eq!(plain.len(), encoded(&random, Padding::Buckets).len());
    }

    #[test]
    fn a_least_length_is_that_of_short_content_alone() {
        for (content, len) in [(0, 1024), (900, 1024), (985, 1024), (986, 1088), (5_000, 5_120)] {
            assert_eq!(Padding::Buckets.body_len(content, 0, 1024), len, "{content}");
            assert_eq!(Padding::None.body_len(content, 1, 1024), Padding::None.body_len(content, 1, 0));
        }
        // What is added has room for more codewords.
        assert_eq!(Padding::Buckets.room(0, 1024), Ok(29));
        assert_eq!(Padding::None.room(0, 1024), Ok(1));
    }

    #[test]
    fn too_long_content_is_refused() {
        for padding in [Padding::None, Padding::Buckets] {
            assert_eq!(padding.codeword_room(MAX_CONTENT_LEN + 1), Err(Error::ContentTooLong));
            assert_eq!(padding.codeword_room(MAX_CONTENT_LEN), Ok(1));
        }
        assert_eq!(Padding::None.body_len(MAX_CONTENT_LEN, 1, 0), MAX_LEN);
    }

    #[test]
    fn codewords_fit_what_the_padding_leaves() {
        for (content, room) in
            [(0, 7), (13, 7), (14, 6), (40, 6), (217, 1), (218, 8), (986, 2), (16 * 1024, 29)]
        {
            assert_eq!(Padding::Buckets.codeword_room(content), Ok(room), "{content}");
        }
        for content in (0..3_000).chain([100_000, 1_000_000, MAX_CONTENT_LEN]) {
            let room = Padding::Buckets.codeword_room(content).unwrap();
            assert!((1..=31).contains(&room));
            let words = codewords(CodewordKind::Ct1, room as u16);
            let content = vec![9; content];
            let with = encoded_with(&content, Padding::Buckets, Some(&words));
            assert_eq!(with.len(), encoded(&content, Padding::Buckets).len(), "codewords cost no byte");
            assert_eq!(decode(with), Ok((content, Some(words))));
        }
        let one = codewords(CodewordKind::Ct2, 1);
        assert_eq!(encoded_with(&[1; 100], Padding::None, Some(&one)).len(), 105 + 34);
    }

    #[test]
    fn every_kind_of_codewords_is_told_apart() {
        for (number, kind) in [
            (1, CodewordKind::Header),
            (2, CodewordKind::Vector),
            (3, CodewordKind::VectorAck),
            (4, CodewordKind::Ct1),
            (5, CodewordKind::Ct2),
        ] {
            let words = codewords(kind, 2);
            let bytes = encoded_with(b"hi", Padding::None, Some(&words));
            assert_eq!(bytes[6], number << 5 | 2);
            assert_eq!(bytes[7 + 34..7 + 36], 2_000u16.to_be_bytes());
            assert_eq!(decode(bytes), Ok((b"hi".to_vec(), Some(words))));
        }
    }

    #[test]
    fn a25_refuses_what_an_encoder_would_not_write() {
        let good = encoded(b"content", Padding::Buckets);
        assert_eq!(decode(good.clone()), Ok((b"content".to_vec(), None)));
        // A length that still fits reads as other content; a longer one does not.
        for position in (0..3).chain(11..good.len()) {
            let mut bad = good.clone();
            bad[position] ^= 0x40;
            assert_eq!(decode(bad), Err(Error::Malformed), "byte {position}");
        }
        // No room for the byte behind the content; a length beyond the end; less than the least.
        assert_eq!(decode([&12u32.to_be_bytes()[..], &[7; 12]].concat()), Err(Error::Malformed));
        assert_eq!(decode([&u32::MAX.to_be_bytes()[..], &[0; 60]].concat()), Err(Error::Malformed));
        assert_eq!(decode(vec![0; 15]), Err(Error::Malformed));
        assert_eq!(decode(vec![]), Err(Error::Malformed));
        assert_eq!(decode(vec![0; 16]), Ok((vec![], None)));
        // Codewords of a kind that does not exist, none of a kind that does, some of none, more than are there.
        let words = codewords(CodewordKind::Header, 3);
        let good = encoded_with(b"content", Padding::None, Some(&words));
        for tag in [0x20, 0x40, 0xa0, 0x03, 0xc3, 0xe3, 0x24, 0x3f, 0x22] {
            let mut bad = good.clone();
            bad[11] = tag;
            assert_eq!(decode(bad), Err(Error::Malformed), "{tag:x}");
        }
        assert_eq!(decode(good[..good.len() - 1].to_vec()), Err(Error::Malformed));
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(content in proptest::collection::vec(any::<u8>(), 0..3000), pad: bool) {
            let padding = if pad { Padding::Buckets } else { Padding::None };
            prop_assert_eq!(decode(encoded(&content, padding)), Ok((content, None)));
        }
    }
}
