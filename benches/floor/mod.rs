//! The floors: what the primitives of an operation cost, out of the crates that the library takes them from.
//!
//! Keys come fresh out of the derivations, bytes are worked on in place, and lengths are those of the real
//! thing. There is no framing, no state, no allocation, and no wiping but what the primitives do themselves.
#![allow(dead_code, reason = "each bench uses its part")]

use std::hint::black_box;

use ed25519_dalek::{Signer, SigningKey};
use hkdf::Hkdf;
use hmac::{Hmac, KeyInit, Mac};
use libcrux_ml_kem::{
    mlkem768,
    mlkem1024::{self, MlKem1024Ciphertext, MlKem1024PublicKey},
};
use rand::{TryRng, rngs::SysRng};
use sha2::{Digest, Sha256};

mod primitives;

use primitives::{Private, decapsulate, extended, new_key, open, seal, verify};

/// Length of a plain header.
const HEADER_LEN: usize = 52;
/// What a message has besides the plaintext of its body: kind, sealed header, tag of the body.
const OVERHEAD: usize = 1 + (HEADER_LEN + 16) + 16;

/// What a body key is derived of besides the message keys: label and header.
const MESSAGE_INFO: [u8; 18 + HEADER_LEN] = [1; _];
/// Info of other derivations: a label.
const LABEL: [u8; 18] = [2; _];
/// Associated data of a body: the session's, and the header.
const BODY_ASSOCIATED_DATA: [u8; 32 + HEADER_LEN] = [3; _];
/// Associated data of a header: suite and kind.
const HEADER_ASSOCIATED_DATA: [u8; 2] = [4; _];

/// What is encrypted of a message.
pub(crate) struct Message {
    header: [u8; HEADER_LEN],
    header_tag: [u8; 16],
    body: Vec<u8>,
    body_tag: [u8; 16],
}

impl Message {
    /// One with a body as long as that of a real message of this length.
    pub(crate) fn of_len(message_len: usize) -> Self {
        let body = vec![0; message_len - OVERHEAD];
        Self { header: [0; _], header_tag: [0; _], body, body_tag: [0; _] }
    }

    /// The last 24 bytes.
    fn header_nonce(&self) -> [u8; 24] {
        let mut nonce = [0; _];
        let (body, tag) = nonce.split_at_mut(8);
        body.copy_from_slice(&self.body[self.body.len() - 8..]);
        tag.copy_from_slice(&self.body_tag);
        nonce
    }
}

/// One end of one-way traffic: two chains and a header key.
#[derive(Clone, Default)]
pub(crate) struct Chains {
    ec: [u8; 32],
    pq: [u8; 32],
    header_key: [u8; 32],
    next: u32,
}

impl Chains {
    /// Two chain steps, the body key, ChaCha20-Poly1305 of the body, XChaCha20-Poly1305 of the header.
    pub(crate) fn seal(&mut self, message: &mut Message) {
        let key = self.step();
        message.body_tag = seal(&key, &[0; 12], &BODY_ASSOCIATED_DATA, &mut message.body);
        let (key, nonce) = extended(&self.header_key, &message.header_nonce());
        message.header_tag = seal(&key, &nonce, &HEADER_ASSOCIATED_DATA, &mut message.header);
    }

    /// The reverse, of the messages in the order in which they were sealed.
    pub(crate) fn open(&mut self, message: &mut Message) {
        let (key, nonce) = extended(&self.header_key, &message.header_nonce());
        assert!(open(&key, &nonce, &HEADER_ASSOCIATED_DATA, &mut message.header, &message.header_tag));
        let key = self.step();
        assert!(open(&key, &[0; 12], &BODY_ASSOCIATED_DATA, &mut message.body, &message.body_tag));
    }

    /// The body key of the next message.
    fn step(&mut self) -> [u8; 32] {
        let ec = chain_step(&mut self.ec, self.next);
        let pq = chain_step(&mut self.pq, self.next);
        self.next += 1;
        let mut mac = Hmac::<Sha256>::new_from_slice(&pq).unwrap();
        mac.update(&ec);
        mac.update(&MESSAGE_INFO);
        mac.finalize().into_bytes().into()
    }

    /// A root step: one X25519, and the keys of a new chain out of it.
    fn root_step(&mut self, own: &Private, peer: &[u8; 32]) {
        let agreement = own.agree(peer);
        let derived: [u8; 96] = derive(&self.header_key, &[&agreement], &[&LABEL]);
        self.ec.copy_from_slice(&derived[..32]);
        self.header_key.copy_from_slice(&derived[32..64]);
        self.next = 0;
    }
}

/// The message key; the chain moves on. Two HMACs, one key schedule.
fn chain_step(chain: &mut [u8; 32], number: u32) -> [u8; 32] {
    let keyed: Hmac<Sha256> = Hmac::new_from_slice(chain).unwrap();
    let [message_key, next] = [1, 2].map(|tag| {
        let mut mac = keyed.clone();
        mac.update(&[tag]);
        mac.update(&number.to_be_bytes());
        mac.finalize().into_bytes().into()
    });
    *chain = next;
    message_key
}

/// HKDF: extract and expand.
fn derive<const N: usize>(salt: &[u8; 32], ikm: &[&[u8]], info: &[&[u8]]) -> [u8; N] {
    let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(salt));
    ikm.iter().for_each(|part| extract.input_ikm(part));
    let (_, hkdf): (_, Hkdf<Sha256>) = extract.finalize();
    let mut derived = [0; N];
    hkdf.expand_multi_info(info, &mut derived).unwrap();
    derived
}

/// A conversation in which every message is a turn.
pub(crate) struct PingPong {
    sender: Chains,
    receiver: Chains,
    receiver_key: (Private, [u8; 32]),
    message: Message,
}

impl PingPong {
    pub(crate) fn new(message_len: usize) -> Self {
        Self {
            sender: Chains::default(),
            receiver: Chains::default(),
            receiver_key: new_key(),
            message: Message::of_len(message_len),
        }
    }

    /// One message: a new key and a root step to send it, another root step to receive it.
    pub(crate) fn turn(&mut self) {
        let (secret, public) = new_key();
        self.sender.root_step(&secret, &self.receiver_key.1);
        self.sender.seal(&mut self.message);
        self.receiver.root_step(&self.receiver_key.0, &public);
        self.receiver.open(&mut self.message);
        self.receiver_key = (secret, public);
    }
}

/// Length of what the signature of a signed prekey covers; that of a one-time prekey covers 6 less.
const SIGNED_LEN: usize = 1_698;
/// Length of the first transcript: label, suite, identity key, prekey records, ephemeral key, ciphertext.
const TRANSCRIPT_LEN: usize = 4_909;
/// Length of an identity key with its binding signature.
const IDENTITY_LEN: usize = 64 + 64;

/// Both sides of a handshake with a one-time prekey, first message included.
///
/// One key pair stands for all that were there before.
pub(crate) struct Handshake {
    verifying_key: [u8; 32],
    signed: Vec<u8>,
    signature: [u8; 64],
    identity_key: Vec<u8>,
    binding: [u8; 64],
    kem_seed: [u8; 64],
    kem_key: MlKem1024PublicKey,
    ciphertext: MlKem1024Ciphertext,
    transcript: Vec<u8>,
    key: (Private, [u8; 32]),
    chains: Chains,
    message: Message,
}

impl Handshake {
    pub(crate) fn new(message_len: usize) -> Self {
        let signing_key = SigningKey::from_bytes(&[1; 32]);
        let (signed, identity_key) = (vec![2; SIGNED_LEN], vec![3; 64 + LABEL.len()]);
        let kem_seed = [4; 64];
        let (_, kem_key) = mlkem1024::generate_key_pair(kem_seed).into_parts();
        let (ciphertext, _) = mlkem1024::encapsulate(&kem_key, [5; 32]);
        Self {
            verifying_key: signing_key.verifying_key().to_bytes(),
            signature: signing_key.sign(&signed).to_bytes(),
            signed,
            binding: signing_key.sign(&identity_key).to_bytes(),
            identity_key,
            kem_seed,
            kem_key,
            ciphertext,
            transcript: vec![6; TRANSCRIPT_LEN],
            key: new_key(),
            chains: Chains::default(),
            message: Message::of_len(message_len),
        }
    }

    /// Two signatures, ML-KEM encapsulation, a new key and four agreements; then a ratchet key, a KEM key and a message.
    pub(crate) fn initiate(&mut self) {
        for _prekey in 0..2 {
            verify(&self.verifying_key, &self.signed, &self.signature);
        }
        let (ephemeral, _) = new_key();
        let mut coins = [0; 32];
        SysRng.try_fill_bytes(&mut coins).unwrap();
        let (_, shared) = mlkem1024::encapsulate(&self.kem_key, coins);
        self.key_schedule([&ephemeral, &ephemeral, &ephemeral, &self.key.0], &self.key.1, &shared);
        // The first message carries the beginning of a key of the ratchet's KEM.
        let mut seed = [0; 64];
        SysRng.try_fill_bytes(&mut seed).unwrap();
        black_box(mlkem768::incremental::KeyPairCompressedBytes::from_seed(seed));
        let (ratchet_key, _) = new_key();
        self.chains.root_step(&ratchet_key, &self.key.1);
        self.chains.seal(&mut self.message);
    }

    /// ML-KEM key generation and decapsulation, four agreements, a signature; then a root step and a message.
    pub(crate) fn accept(&mut self) {
        let (private, _) = mlkem1024::generate_key_pair(self.kem_seed).into_parts();
        let shared = decapsulate(&private, &self.ciphertext);
        verify(&self.verifying_key, &self.identity_key, &self.binding);
        self.key_schedule([&self.key.0; 4], &self.key.1, &shared);
        self.chains.root_step(&self.key.0, &self.key.1);
        // Sealed, not opened: it costs the same, and no message has to be made ready.
        self.chains.seal(&mut self.message);
    }

    /// From the transcript to the keys of both ratchets, with the identity sealed on the way.
    fn key_schedule(&self, own: [&Private; 4], peer: &[u8; 32], shared: &[u8; 32]) {
        let [a, b, c, d] = own.map(|own| own.agree(peer));
        let h1: [u8; 32] = Sha256::digest(&self.transcript).into();
        let identity_key: [u8; 32] = derive(&h1, &[&a, &b, &c, shared], &[&LABEL]);
        let mut identity = [0; IDENTITY_LEN];
        let tag = seal(&identity_key, &[0; 12], &h1, &mut identity);
        let parts = [&LABEL[..], &h1, &identity, &tag, &self.identity_key];
        let h2 = parts.iter().fold(Sha256::new(), |hash, part| hash.chain_update(part)).finalize();
        let session: [u8; 160] = derive(&identity_key, &[&d], &[&LABEL, &h2]);
        let chains: [u8; 96] = derive(&[0; 32], &[&session[..32]], &[&LABEL]);
        black_box(chains);
    }
}
