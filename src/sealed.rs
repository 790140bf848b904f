//! Sealed state: what the library hands to the app for storage.
//!
//! ```text
//! sealed = kind+version u8 | nonce 24 | XChaCha20-Poly1305(state) | tag 16
//! nonce  = HMAC-SHA-256(nonce key, length of the context | associated data | state), first 24 bytes
//! ```
//!
//! The nonce is synthetic (as in RFC 5297), so sealing needs no randomness and a cloned machine cannot repeat
//! one for different states. The same state sealed twice gives the same bytes.
//!
//! Not its concern: where the bytes are kept, and whether they are the newest.

use alloc::{boxed::Box, vec, vec::Vec};
use core::fmt;

use rand::CryptoRng;
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

use crate::{
    Error,
    crypto::{
        aead::{self, TAG_LEN},
        kdf::{self, Label},
        secret::{Secret, scrub_stack, scrubbed_lightly},
    },
    wire::codec::{Kind, Reader},
};

const NONCE_LEN: usize = 24;

/// The key that a device's stored state is sealed under: 32 bytes out of the platform's keychain.
///
/// One may seal everything: identity, prekeys and all sessions. It seals this crate's state, nothing of the app's.
///
/// Wiped on drop. Losing it loses the state; leaking it together with the state loses the conversations.
pub struct StorageKey(Box<StorageSecrets>);

struct StorageSecrets {
    bytes: Secret<32>,
    encryption: Secret<32>,
    nonce: Secret<32>,
}

impl StorageKey {
    /// Makes a new key from the system's random generator.
    ///
    /// # Panics
    /// If the system's generator fails.
    #[cfg(feature = "std")]
    #[must_use]
    pub fn generate() -> Self {
        Self::generate_with_rng(&mut crate::system_rng())
    }

    /// Makes a new key from a generator of the caller's.
    #[must_use]
    pub fn generate_with_rng(rng: &mut impl CryptoRng) -> Self {
        scrubbed_lightly(|| Self::draw(rng))
    }

    fn draw(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Secret::zeroed();
        rng.fill_bytes(bytes.as_mut());
        Self::derive(bytes)
    }

    /// The key of these 32 bytes, which must be random: not a password, not a hash of one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 32]) -> Self {
        scrubbed_lightly(|| Self::copy(bytes))
    }

    /// The 32 bytes, for the platform's keychain and nowhere else. The array is the caller's to wipe.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        *self.0.bytes.as_bytes()
    }

    /// The same key once more, for an owner of its own.
    #[cfg(feature = "std")]
    pub(crate) fn duplicate(&self) -> Self {
        Self::from_bytes(self.0.bytes.as_bytes())
    }

    fn copy(bytes: &[u8; 32]) -> Self {
        let mut secret = Secret::zeroed();
        secret.as_mut().copy_from_slice(bytes);
        Self::derive(secret)
    }

    /// Another key of the same use, for what is not sealed.
    #[cfg(feature = "std")]
    pub(crate) fn derive_other(&self, label: Label) -> Box<Secret<32>> {
        // Boxed: a value that is moved leaves copies behind.
        scrubbed_lightly(|| Box::new(kdf::derive(&[0; 32], self.0.bytes.as_bytes(), label, [&[], &[]])))
    }

    #[inline(never)]
    fn derive(bytes: Secret<32>) -> Self {
        let derived: Secret<64> = kdf::derive(&[0; 32], bytes.as_bytes(), Label::STORAGE, [&[], &[]]);
        let [encryption, nonce] = kdf::split(&derived);
        Self(Box::new(StorageSecrets { bytes, encryption, nonce }))
    }
}

impl fmt::Debug for StorageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StorageKey([secret])")
    }
}

/// Encrypts state of a kind, bound to a context of the caller's.
pub(crate) fn seal<T: Serialize>(key: &StorageKey, kind: Kind, context: &[u8], state: &T) -> Vec<u8> {
    let sealed = seal_inner(key, kind, context, state);
    scrub_stack();
    sealed
}

#[inline(never)]
fn seal_inner<T: Serialize>(key: &StorageKey, kind: Kind, context: &[u8], state: &T) -> Vec<u8> {
    // Measured first: a buffer that grew would leave copies of the state behind.
    #[allow(clippy::expect_used, reason = "our own state serialises: no maps or strings of unknown length")]
    let len = postcard::experimental::serialized_size(state).expect("state that serialises");
    let mut out = vec![0; 1 + NONCE_LEN + len + TAG_LEN];
    let associated_data = associated_data(kind, context);
    if let [tag, rest @ ..] = out.as_mut_slice()
        && let Some((nonce, rest)) = rest.split_first_chunk_mut::<NONCE_LEN>()
        && let Some((plain, auth)) = rest.split_last_chunk_mut::<TAG_LEN>()
    {
        *tag = kind.tag();
        #[allow(clippy::expect_used, reason = "as above, into a buffer of the length measured")]
        postcard::to_slice(state, plain).expect("a buffer of the length measured");
        let mac = kdf::mac(key.0.nonce.as_bytes(), &[&context_len(context), &associated_data, plain]);
        let [synthetic @ .., _, _, _, _, _, _, _, _] = mac.as_bytes();
        *nonce = *synthetic;
        *auth = aead::seal_extended(key.0.encryption.as_bytes(), nonce, &associated_data, plain);
    }
    out
}

/// Decrypts state of a kind and context.
pub(crate) fn open<T: DeserializeOwned>(
    key: &StorageKey,
    kind: Kind,
    context: &[u8],
    sealed: &[u8],
) -> Result<T, Error> {
    let state = open_inner(key, kind, context, sealed);
    scrub_stack();
    state
}

#[inline(never)]
fn open_inner<T: DeserializeOwned>(
    key: &StorageKey,
    kind: Kind,
    context: &[u8],
    sealed: &[u8],
) -> Result<T, Error> {
    let mut reader = Reader::new(sealed);
    match kind.expect(reader.u8().map_err(|_| Error::SealBroken)?) {
        Err(Error::Malformed) => return Err(Error::SealBroken),
        checked => checked?,
    }
    let nonce = reader.array().map_err(|_| Error::SealBroken)?;
    let (encrypted, tag) = reader.rest().split_last_chunk().ok_or(Error::SealBroken)?;
    let mut plain = Zeroizing::new(encrypted.to_vec());
    let associated_data = associated_data(kind, context);
    aead::open_extended(key.0.encryption.as_bytes(), nonce, &associated_data, &mut plain, tag)
        .map_err(|_| Error::SealBroken)?;
    match postcard::take_from_bytes(&plain) {
        Ok((state, [])) => Ok(state),
        _ => Err(Error::SealBroken),
    }
}

/// In front of what the nonce is made from: so no state goes into it as the end of another one's context.
fn context_len(context: &[u8]) -> [u8; 8] {
    (context.len() as u64).to_be_bytes()
}

fn associated_data(kind: Kind, context: &[u8]) -> Vec<u8> {
    [Label::SEALED_STATE.as_bytes(), &[kind.tag()], context].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind::SealedSession;

    fn key(byte: u8) -> StorageKey {
        StorageKey::from_bytes(&[byte; 32])
    }

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let state = (7u32, Secret::new([9; 32]));
        let sealed = seal(&key(1), KIND, b"context", &state);
        assert_eq!(sealed.len(), 1 + 24 + 33 + 16);
        assert_eq!(sealed, seal(&key(1), KIND, b"context", &state), "nothing random in it");
        let open = |key: &StorageKey, kind, context: &[u8], bytes: &[u8]| {
            open::<(u32, Secret<32>)>(key, kind, context, bytes).map(|(number, _)| number)
        };
        assert_eq!(open(&key(1), KIND, b"context", &sealed), Ok(7));
        assert_eq!(open(&key(2), KIND, b"context", &sealed), Err(Error::SealBroken));
        assert_eq!(open(&key(1), KIND, b"contexu", &sealed), Err(Error::SealBroken));
        assert_eq!(open(&key(1), Kind::SealedPreKeys, b"context", &sealed), Err(Error::SealBroken));
        for position in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[position] ^= 1;
            let expected = if position == 0 { Error::UnsupportedVersion } else { Error::SealBroken };
            assert_eq!(open(&key(1), KIND, b"context", &altered), Err(expected), "{position}");
            assert!(open(&key(1), KIND, b"context", &sealed[..position]).is_err());
        }
        assert!(open(&key(1), KIND, b"context", &[&sealed[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a13_different_states_have_different_nonces() {
        let nonce = |state: u32| seal(&key(1), KIND, b"", &state)[1..25].to_vec();
        assert_ne!(nonce(1), nonce(2));
    }

    /// The end of one context is the beginning of another one's state: two states under one nonce would give both away.
    #[test]
    fn a13_contexts_and_states_do_not_run_together() {
        let nonce = |context: &[u8], state: &[u8]| {
            let len = u8::try_from(state.len()).unwrap();
            // As postcard has it, a byte for the length is the first of the state.
            let sealed = seal(&key(1), KIND, context, &state);
            assert_eq!(sealed.len(), 1 + 24 + 1 + usize::from(len) + 16);
            sealed[1..25].to_vec()
        };
        assert_ne!(nonce(b"context", b"\x01s"), nonce(b"context\x02", b"s"));
    }

    /// A state of another type under the right key: trailing bytes are refused.
    #[test]
    fn trailing_state_is_refused() {
        let sealed = seal(&key(1), KIND, b"", &(1u8, 2u8));
        assert_eq!(open::<u8>(&key(1), KIND, b"", &sealed), Err(Error::SealBroken));
    }
}
