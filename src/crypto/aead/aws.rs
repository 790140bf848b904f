//! By aws-lc.

use alloc::vec::Vec;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use zeroize::Zeroize;

use super::TAG_LEN;
use crate::Error;

/// Up to this length, in bytes, a copy is made without an allocation: a header's.
const MAX_SHORT_LEN: usize = 64;

/// Encrypts `buffer` in place under a key that is used once, and returns the tag.
pub(crate) fn seal(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    buffer: &mut [u8],
) -> [u8; TAG_LEN] {
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let sealed = cipher(key).seal_in_place_separate_tag(nonce, Aad::from(associated_data), buffer);
    #[allow(clippy::expect_used, reason = "fails above 256 GiB only; content is limited to 16 MiB")]
    let tag = sealed.expect("far below the limit of the cipher");
    #[allow(clippy::expect_used, reason = "of this cipher every tag is")]
    tag.as_ref().try_into().expect("16 bytes")
}

/// Decrypts `buffer` in place; on failure it is unchanged.
pub(crate) fn open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Error> {
    // What is opened in place is overwritten on failure.
    let mut short = [0; MAX_SHORT_LEN];
    let long: Vec<u8>;
    let encrypted = match short.get_mut(..buffer.len()) {
        Some(copy) => {
            copy.copy_from_slice(buffer);
            copy
        }
        None => {
            long = buffer.to_vec();
            &long[..]
        }
    };
    let opened = open_into(key, nonce, associated_data, encrypted, tag, buffer);
    opened.inspect_err(|_| buffer.copy_from_slice(encrypted))
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
    let nonce = Nonce::assume_unique_for_key(*nonce);
    let opened = cipher(key).open_separate_gather(nonce, Aad::from(associated_data), encrypted, tag, out);
    // What is left there on failure is not specified.
    opened.map_err(|_| {
        out.zeroize();
        Error::Unauthentic
    })
}

fn cipher(key: &[u8; 32]) -> LessSafeKey {
    #[allow(clippy::expect_used, reason = "the length that the cipher has")]
    LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).expect("a key of 32 bytes"))
}
