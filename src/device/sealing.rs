//! One-off encryption of what leaves the device outside of sessions: links, backups.
//!
//! ```text
//! head | nonce 24 | XChaCha20-Poly1305(plaintext) | tag 16
//! ```

use zeroize::Zeroizing;

use super::{DeviceError, vault::random_bytes};
use crate::{
    Error,
    crypto::{
        aead::{self, TAG_LEN},
        secret::Secret,
    },
    wire::codec::Reader,
};

/// Never used for two plaintexts.
pub(super) struct Nonce([u8; 24]);

impl Nonce {
    pub(super) fn random() -> Result<Self, DeviceError> {
        random_bytes().map(Self)
    }

    #[cfg(test)]
    pub(super) fn fixed(bytes: [u8; 24]) -> Self {
        Self(bytes)
    }
}

/// The head, which is authenticated, and behind it the sealed plaintext.
pub(super) fn seal(key: &Secret<32>, Nonce(nonce): Nonce, head: &[u8], plaintext: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(head.len() + nonce.len() + plaintext.len() + TAG_LEN);
    out.extend_from_slice(head);
    out.extend_from_slice(&nonce);
    let start = out.len();
    out.extend_from_slice(plaintext);
    if let Some(buffer) = out.get_mut(start..) {
        let tag = aead::seal_extended(key.as_bytes(), &nonce, head, buffer);
        out.extend_from_slice(&tag);
    }
    out
}

/// Opens all that the reader has left behind the head.
pub(super) fn open(
    key: &Secret<32>,
    head: &[u8],
    mut reader: Reader<'_>,
) -> Result<Zeroizing<Vec<u8>>, Error> {
    let nonce = reader.array()?;
    let (encrypted, tag) = reader.rest().split_last_chunk().ok_or(Error::Malformed)?;
    let mut plain = Zeroizing::new(encrypted.to_vec());
    aead::open_extended(key.as_bytes(), nonce, head, &mut plain, tag)?;
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &[u8] = b"head";

    fn sealed(plain: &[u8]) -> Vec<u8> {
        seal(&Secret::new([1; 32]), Nonce::fixed([2; 24]), HEAD, plain)
    }

    fn opened(key: u8, head: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Error> {
        let mut reader = Reader::new(sealed);
        reader.slice(HEAD.len())?;
        open(&Secret::new([key; 32]), head, reader).map(|plain| plain.to_vec())
    }

    #[test]
    fn opens_what_was_sealed() {
        for plain in [&b""[..], b"x", &[7; 300]] {
            let sealed = sealed(plain);
            assert_eq!(sealed.len(), HEAD.len() + 24 + plain.len() + 16);
            assert_eq!(sealed[..28], [HEAD, &[2; 24]].concat());
            assert_eq!(opened(1, HEAD, &sealed).as_deref(), Ok(plain));
        }
    }

    #[test]
    fn every_byte_counts() {
        let sealed = sealed(b"plaintext");
        for position in HEAD.len()..sealed.len() {
            let mut altered = sealed.clone();
            altered[position] ^= 1;
            assert_eq!(opened(1, HEAD, &altered), Err(Error::Unauthentic), "{position}");
        }
        assert_eq!(opened(2, HEAD, &sealed), Err(Error::Unauthentic));
        assert_eq!(opened(1, b"dead", &sealed), Err(Error::Unauthentic));
        assert_eq!(opened(1, HEAD, &[&sealed[..], &[0]].concat()), Err(Error::Unauthentic));
        for len in 0..sealed.len() {
            let expected = if len < HEAD.len() + 24 + 16 { Error::Malformed } else { Error::Unauthentic };
            assert_eq!(opened(1, HEAD, &sealed[..len]), Err(expected), "{len}");
        }
    }

    #[test]
    fn a13_nonces_are_random() {
        let [a, b] = [(); 2].map(|()| Nonce::random().unwrap().0);
        assert_ne!(a, b);
    }
}
