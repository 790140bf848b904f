//! The primitives, from the crates that the library takes them from: by default, and with the feature `aws-lc-rs`.

use chacha20::{R20, hchacha};
use rand::{TryRng, rngs::SysRng};

#[cfg(not(feature = "aws-lc-rs"))]
pub(super) use pure::{Private, decapsulate, open, seal, verify};

#[cfg(feature = "aws-lc-rs")]
pub(super) use aws::{Private, decapsulate, open, seal, verify};

/// A new X25519 key, from the system's generator.
pub(super) fn new_key() -> (Private, [u8; 32]) {
    let mut seed = [0; 32];
    SysRng.try_fill_bytes(&mut seed).unwrap();
    let private = Private::from_seed(seed);
    let public = private.public();
    (private, public)
}

/// XChaCha20-Poly1305 in terms of ChaCha20-Poly1305.
pub(super) fn extended(key: &[u8; 32], nonce: &[u8; 24]) -> ([u8; 32], [u8; 12]) {
    let (first, last) = nonce.split_first_chunk::<16>().unwrap();
    let mut short = [0; 12];
    short[4..].copy_from_slice(last);
    (hchacha::<R20>(key.into(), first.into()).into(), short)
}

#[cfg(not(feature = "aws-lc-rs"))]
mod pure {
    use chacha20::{
        ChaCha20,
        cipher::{KeyIvInit, StreamCipher},
    };
    use chacha20poly1305::{ChaCha20Poly1305, KeyInit, aead::AeadInOut};
    use ed25519_dalek::{Signature, VerifyingKey};
    use libcrux_ml_kem::mlkem1024::{self, MlKem1024Ciphertext, MlKem1024PrivateKey};
    use x25519_dalek::{PublicKey, StaticSecret};

    /// The longest text that is faster without vector instructions, in bytes.
    const SHORT: usize = 3 * 1024;

    pub(crate) fn seal(key: &[u8; 32], nonce: &[u8; 12], ad: &[u8], text: &mut [u8]) -> [u8; 16] {
        if text.len() > SHORT {
            let cipher = ChaCha20Poly1305::new(key.into());
            return cipher.encrypt_inout_detached(nonce.into(), ad, text.into()).unwrap().into();
        }
        let (mut stream, mac_key) = stream(key, nonce);
        stream.apply_keystream(text);
        mac(&mac_key, ad, text)
    }

    pub(crate) fn open(key: &[u8; 32], nonce: &[u8; 12], ad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        if text.len() > SHORT {
            let cipher = ChaCha20Poly1305::new(key.into());
            return cipher.decrypt_inout_detached(nonce.into(), ad, text.into(), tag.into()).is_ok();
        }
        let (mut stream, mac_key) = stream(key, nonce);
        let genuine = mac(&mac_key, ad, text) == *tag;
        stream.apply_keystream(text);
        genuine
    }

    fn stream(key: &[u8; 32], nonce: &[u8; 12]) -> (ChaCha20, [u8; 32]) {
        let mut stream = ChaCha20::new(key.into(), nonce.into());
        let mut block = [0; 64];
        stream.apply_keystream(&mut block);
        (stream, *block.first_chunk().unwrap())
    }

    /// Of one piece, as the MAC takes it.
    fn mac(key: &[u8; 32], ad: &[u8], text: &[u8]) -> [u8; 16] {
        let mut whole = [0; SHORT + 128];
        let start = ad.len().next_multiple_of(16);
        let end = start + text.len().next_multiple_of(16) + 16;
        whole[..ad.len()].copy_from_slice(ad);
        whole[start..start + text.len()].copy_from_slice(text);
        whole[end - 16..end - 8].copy_from_slice(&(ad.len() as u64).to_le_bytes());
        whole[end - 8..end].copy_from_slice(&(text.len() as u64).to_le_bytes());
        let mut tag = [0; 16];
        assert!(libcrux_poly1305::mac(key, &whole[..end], &mut tag).is_ok());
        tag
    }

    pub(crate) struct Private(StaticSecret);

    impl Private {
        pub(crate) fn from_seed(seed: [u8; 32]) -> Self {
            Self(StaticSecret::from(seed))
        }

        pub(crate) fn public(&self) -> [u8; 32] {
            PublicKey::from(&self.0).to_bytes()
        }

        pub(crate) fn agree(&self, peer: &[u8; 32]) -> [u8; 32] {
            self.0.diffie_hellman(&PublicKey::from(*peer)).to_bytes()
        }
    }

    pub(crate) fn decapsulate(private: &MlKem1024PrivateKey, ciphertext: &MlKem1024Ciphertext) -> [u8; 32] {
        mlkem1024::decapsulate(private, ciphertext)
    }

    pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) {
        let key = VerifyingKey::from_bytes(key).unwrap();
        key.verify_strict(message, &Signature::from_bytes(signature)).unwrap();
    }
}

#[cfg(feature = "aws-lc-rs")]
mod aws {
    use aws_lc_rs::{
        aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey},
        agreement::{self, UnparsedPublicKey, X25519},
        kem::{DecapsulationKey, ML_KEM_1024},
        signature,
    };
    use ed25519_dalek::VerifyingKey;
    use libcrux_ml_kem::mlkem1024::{MlKem1024Ciphertext, MlKem1024PrivateKey};

    fn cipher(key: &[u8; 32]) -> LessSafeKey {
        LessSafeKey::new(UnboundKey::new(&CHACHA20_POLY1305, key).unwrap())
    }

    pub(crate) fn seal(key: &[u8; 32], nonce: &[u8; 12], ad: &[u8], text: &mut [u8]) -> [u8; 16] {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let tag = cipher(key).seal_in_place_separate_tag(nonce, Aad::from(ad), text).unwrap();
        tag.as_ref().try_into().unwrap()
    }

    pub(crate) fn open(key: &[u8; 32], nonce: &[u8; 12], ad: &[u8], text: &mut [u8], tag: &[u8; 16]) -> bool {
        let nonce = Nonce::assume_unique_for_key(*nonce);
        cipher(key).open_in_place_separate_tag(nonce, Aad::from(ad), tag, text).is_ok()
    }

    pub(crate) struct Private(agreement::PrivateKey);

    impl Private {
        pub(crate) fn from_seed(seed: [u8; 32]) -> Self {
            Self(agreement::PrivateKey::from_private_key(&X25519, &seed).unwrap())
        }

        pub(crate) fn public(&self) -> [u8; 32] {
            self.0.compute_public_key().unwrap().as_ref().try_into().unwrap()
        }

        pub(crate) fn agree(&self, peer: &[u8; 32]) -> [u8; 32] {
            let peer = UnparsedPublicKey::new(&X25519, peer);
            agreement::agree(&self.0, peer, (), |shared| Ok(shared.try_into().unwrap())).unwrap()
        }
    }

    pub(crate) fn decapsulate(private: &MlKem1024PrivateKey, ciphertext: &MlKem1024Ciphertext) -> [u8; 32] {
        let key = DecapsulationKey::new(&ML_KEM_1024, private.as_ref()).unwrap();
        let shared = key.decapsulate(ciphertext.as_ref().into()).unwrap();
        shared.as_ref().try_into().unwrap()
    }

    pub(crate) fn verify(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) {
        assert!(!VerifyingKey::from_bytes(key).unwrap().is_weak());
        signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(message, signature).unwrap();
    }
}
