//! In Rust alone.
//!
//! RustCrypto's Poly1305 has vector instructions, and takes 1.2 us to set them up, as compilers do not inline them
//! where the program is not built for that processor. HACL*'s has no set-up and half the speed. So short inputs,
//! which is what messages are, go through ChaCha20 and that one, put together here as RFC 8439 says (section 2.8).

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit, StreamCipher},
};
use chacha20poly1305::{
    ChaCha20Poly1305, KeyInit,
    aead::{AeadInOut, inout::InOutBuf},
};
use zeroize::{Zeroize, Zeroizing};

use super::TAG_LEN;
use crate::{Error, crypto::secret::constant_time_eq};

/// Up to this length of what is encrypted, in bytes, the set-up costs more than it saves.
const MAX_SHORT_LEN: usize = 3 * 1024;
/// The longest associated data of what is short, in bytes, filled up to a multiple of 16.
const MAX_SHORT_AD_LEN: usize = 96;
/// What a MAC is over at most: associated data, ciphertext, both lengths.
const MAX_MAC_LEN: usize = MAX_SHORT_AD_LEN + MAX_SHORT_LEN + LENGTHS_LEN;
const _: () = assert!(MAX_SHORT_LEN == 3_072 && MAX_MAC_LEN == 3_184);

const LENGTHS_LEN: usize = 16;
/// Poly1305 reads blocks of this length, in bytes.
const MAC_BLOCK_LEN: usize = 16;
/// ChaCha20 makes blocks of this length, in bytes: the first is for the MAC.
const STREAM_BLOCK_LEN: usize = 64;

/// Encrypts `buffer` in place under a key that is used once, and returns the tag.
pub(crate) fn seal(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    buffer: &mut [u8],
) -> [u8; TAG_LEN] {
    if is_short(associated_data, buffer) {
        let mut short = Short::new(key, nonce);
        short.stream.apply_keystream(buffer);
        return short.tag(associated_data, buffer);
    }
    #[allow(clippy::expect_used, reason = "fails above 256 GiB only; content is limited to 16 MiB")]
    ChaCha20Poly1305::new(key.into())
        .encrypt_inout_detached(nonce.into(), associated_data, buffer.into())
        .expect("far below the limit of the cipher")
        .into()
}

/// Decrypts `buffer` in place; on failure it is unchanged.
pub(crate) fn open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Error> {
    open_buffer(key, nonce, associated_data, buffer.into(), tag)
}

/// Decrypts `encrypted` into `out`, which has its length; on failure that has nothing of the plaintext.
pub(crate) fn open_into(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    encrypted: &[u8],
    tag: &[u8; TAG_LEN],
    out: &mut [u8],
) -> Result<(), Error> {
    let buffer = InOutBuf::new(encrypted, out).map_err(|_| Error::Unauthentic)?;
    open_buffer(key, nonce, associated_data, buffer, tag)
}

/// In place, or from one into another.
fn open_buffer(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    buffer: InOutBuf<'_, '_, u8>,
    tag: &[u8; TAG_LEN],
) -> Result<(), Error> {
    if is_short(associated_data, buffer.get_in()) {
        let mut short = Short::new(key, nonce);
        short.check(associated_data, buffer.get_in(), tag)?;
        short.stream.apply_keystream_inout(buffer);
        return Ok(());
    }
    ChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), associated_data, buffer, tag.into())
        .map_err(|_| Error::Unauthentic)
}

fn is_short(associated_data: &[u8], text: &[u8]) -> bool {
    text.len() <= MAX_SHORT_LEN && associated_data.len() <= MAX_SHORT_AD_LEN
}

/// A key and nonce, for what is short.
struct Short {
    mac_key: Zeroizing<[u8; 32]>,
    /// From the second block on.
    stream: ChaCha20,
}

impl Short {
    fn new(key: &[u8; 32], nonce: &[u8; 12]) -> Self {
        let mut stream = ChaCha20::new(key.into(), nonce.into());
        let mut block = Zeroizing::new([0; STREAM_BLOCK_LEN]);
        stream.apply_keystream(block.as_mut());
        let mut mac_key = Zeroizing::new([0; 32]);
        mac_key.iter_mut().zip(block.iter()).for_each(|(to, from)| *to = *from);
        Self { mac_key, stream }
    }

    fn check(&self, associated_data: &[u8], encrypted: &[u8], tag: &[u8; TAG_LEN]) -> Result<(), Error> {
        let genuine = constant_time_eq(&self.tag(associated_data, encrypted), tag);
        if genuine { Ok(()) } else { Err(Error::Unauthentic) }
    }

    /// Both are short.
    fn tag(&self, associated_data: &[u8], encrypted: &[u8]) -> [u8; TAG_LEN] {
        // To clear a larger buffer would cost as much as a header.
        if encrypted.len() <= 64 {
            self.tag_within::<{ MAX_SHORT_AD_LEN + 64 + LENGTHS_LEN }>(associated_data, encrypted)
        } else if encrypted.len() <= 1024 {
            self.tag_within::<{ MAX_SHORT_AD_LEN + 1024 + LENGTHS_LEN }>(associated_data, encrypted)
        } else {
            self.tag_within::<MAX_MAC_LEN>(associated_data, encrypted)
        }
    }

    /// Poly1305 of both and their lengths, which fit into `N` bytes. (Inlined, the largest would be in every frame.)
    #[inline(never)]
    fn tag_within<const N: usize>(&self, associated_data: &[u8], encrypted: &[u8]) -> [u8; TAG_LEN] {
        // What would not fit would not be authenticated.
        const { assert!(N.is_multiple_of(MAC_BLOCK_LEN) && MAX_SHORT_AD_LEN.is_multiple_of(MAC_BLOCK_LEN)) }
        let mut text = [0; N];
        let start = associated_data.len().next_multiple_of(MAC_BLOCK_LEN);
        let end = start + encrypted.len().next_multiple_of(MAC_BLOCK_LEN);
        let lengths = [associated_data.len() as u64, encrypted.len() as u64].map(u64::to_le_bytes);
        for (at, part) in [(0, associated_data), (start, encrypted), (end, lengths.as_flattened())] {
            #[allow(
                clippy::indexing_slicing,
                reason = "a part of the MAC that is left out must not go unnoticed"
            )]
            text[at..at + part.len()].copy_from_slice(part);
        }
        let mut tag = [0; TAG_LEN];
        #[allow(clippy::indexing_slicing, reason = "the lengths have just been written before this place")]
        let whole = &text[..end + LENGTHS_LEN];
        #[allow(clippy::expect_used, reason = "fails above 4 GiB only")]
        libcrux_poly1305::mac(&self.mac_key, whole, &mut tag).ok().expect("far below the limit of the MAC");
        // The header is in the associated data of a body.
        text.iter_mut().take(start).for_each(Zeroize::zeroize);
        tag
    }
}
