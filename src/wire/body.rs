//! The plaintext of a message body: content, codewords of the PQ ratchet, padding.
//!
//! ```text
//! content length u32 | content | type+count u8 | count x (index u16 | codeword 32) | zeros
//! ```
//!
//! The length of the whole depends on the content's length alone. Codewords use what the padding leaves; this
//! release sends none, and refuses any.

use alloc::vec::Vec;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use super::codec::Reader;
use crate::Error;

/// The length field of the content.
const LENGTH_LEN: usize = 4;
/// The type and count of the codewords.
const CODEWORD_TAG_LEN: usize = 1;
/// One codeword: its index and 32 bytes.
const CODEWORD_LEN: usize = 2 + 32;

/// The shortest plaintext of a body, so that the last 24 bytes of a message (the nonce of its header) are all
/// ciphertext and tag of the body.
const MIN_LEN: usize = 16;

/// The longest plaintext of a body: 16 MiB.
pub(crate) const MAX_LEN: usize = 1 << 24;

/// The longest content of a message, in bytes: 16 MiB less the framing of a message body.
pub const MAX_CONTENT_LEN: usize = MAX_LEN - LENGTH_LEN - CODEWORD_TAG_LEN - CODEWORD_LEN;

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
    /// Not at all: an observer learns the exact length. For content that the app has padded itself.
    None,
}

impl Padding {
    /// Length of the plaintext of a body with `content_len` bytes of content (at most [`MAX_CONTENT_LEN`]).
    fn body_len(self, content_len: usize) -> usize {
        let framed = LENGTH_LEN + content_len + CODEWORD_TAG_LEN;
        match self {
            Self::None => framed.max(MIN_LEN),
            Self::Buckets => {
                let least = framed + CODEWORD_LEN;
                let bucket = BUCKETS.into_iter().find(|bucket| least <= *bucket);
                bucket.unwrap_or_else(|| padme(least))
            }
        }
    }
}

/// Padmé: rounds up so that the length has no more significant bits than its exponent has binary digits.
fn padme(len: usize) -> usize {
    let exponent = usize::BITS - 1 - len.leading_zeros();
    let significant = u32::BITS - exponent.leading_zeros();
    let granule = 1 << (exponent - significant);
    len.next_multiple_of(granule)
}

/// Appends the plaintext of a body with this content to `out`, and returns its length.
///
/// `out` should have room (see [`encoded_len`]): growing it would leave a copy of the content behind.
pub(crate) fn encode(content: &[u8], padding: Padding, out: &mut Vec<u8>) -> Result<usize, Error> {
    let len = encoded_len(content.len(), padding)?;
    let length = u32::try_from(content.len()).map_err(|_| Error::ContentTooLong)?;
    let end = out.len() + len;
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(content);
    out.resize(end, 0);
    Ok(len)
}

/// Length of the plaintext of a body with `content_len` bytes of content.
pub(crate) fn encoded_len(content_len: usize, padding: Padding) -> Result<usize, Error> {
    if content_len > MAX_CONTENT_LEN {
        return Err(Error::ContentTooLong);
    }
    Ok(padding.body_len(content_len))
}

/// Takes the content out of the plaintext of a body, checking every byte of the rest.
pub(crate) fn decode(mut body: Vec<u8>) -> Result<Vec<u8>, Error> {
    match content_len(&body) {
        Ok(len) => {
            // One allocation serves plaintext and content; what is cut off is wiped first.
            body.copy_within(LENGTH_LEN..LENGTH_LEN + len, 0);
            if let Some(tail) = body.get_mut(len..) {
                tail.zeroize();
            }
            body.truncate(len);
            Ok(body)
        }
        Err(error) => {
            body.zeroize();
            Err(error)
        }
    }
}

fn content_len(body: &[u8]) -> Result<usize, Error> {
    let mut reader = Reader::new(body);
    let len = usize::try_from(reader.u32()?).map_err(|_| Error::Malformed)?;
    if len > MAX_CONTENT_LEN || body.len() < MIN_LEN {
        return Err(Error::Malformed);
    }
    reader.slice(len)?;
    // No codewords in this release: type and count are zero, as is the padding.
    let tag_and_padding = reader.rest();
    if tag_and_padding.is_empty() || tag_and_padding.iter().any(|byte| *byte != 0) {
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
        let mut out = Vec::new();
        assert_eq!(encode(content, padding, &mut out), Ok(out.len()));
        out
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
            assert_eq!(Padding::Buckets.body_len(content), body, "{content}");
        }
        assert_eq!(Padding::None.body_len(0), 16);
        assert_eq!(Padding::None.body_len(11), 16);
        assert_eq!(Padding::None.body_len(12), 17);
        assert_eq!(Padding::None.body_len(256), 261);
    }

    #[test]
    fn padding_above_the_buckets_adds_at_most_12_percent() {
        let mut last = 0;
        for content in (986..200_000).chain((200_000..MAX_CONTENT_LEN).step_by(997)) {
            let least = content + 39;
            let padded = Padding::Buckets.body_len(content);
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
    fn too_long_content_is_refused() {
        let mut out = Vec::new();
        let long = vec![0; MAX_CONTENT_LEN + 1];
        assert_eq!(encode(&long, Padding::None, &mut out), Err(Error::ContentTooLong));
        assert!(out.is_empty());
        assert_eq!(encoded(&long[1..], Padding::None).len(), MAX_LEN - 34);
    }

    #[test]
    fn a25_refuses_what_an_encoder_would_not_write() {
        let good = encoded(b"content", Padding::Buckets);
        assert_eq!(decode(good.clone()), Ok(b"content".to_vec()));
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
        assert_eq!(decode(vec![0; 16]), Ok(vec![]));
    }

    proptest! {
        #[test]
        fn decodes_what_it_encodes(content in proptest::collection::vec(any::<u8>(), 0..3000), pad: bool) {
            let padding = if pad { Padding::Buckets } else { Padding::None };
            prop_assert_eq!(decode(encoded(&content, padding)), Ok(content));
        }
    }
}
