//! What users sign, and devices tell each other, made by hand: sections 17 to 20 of the specification. Nothing is checked,
//! so that whoever has the keys can lie.

use super::reference::{
    prekeys::Identity,
    primitives::{Key, SUITE, Tape, cat, ed25519_public, hash, hkdf, seal_x, sign},
};

const DEVICE_ID: &[u8] = b"Subrosa/1 device id\0";
const CLAIM: &[u8] = b"Subrosa/1 device claim\0";
const LIST: &[u8] = b"Subrosa/1 device list\0";
const LIST_HASH: &[u8] = b"Subrosa/1 device list hash\0";
const CERTIFICATE: &[u8] = b"Subrosa/1 device certificate\0";
const LINK: &[u8] = b"Subrosa/1 device link\0";
const BACKUP: &[u8] = b"Subrosa/1 backup\0";

/// A root key.
pub struct Root {
    seed: Key,
    pub user: Key,
}

/// A device list with its signature, or whatever was made of it.
#[derive(Clone, Debug)]
pub struct List {
    pub bytes: Vec<u8>,
    pub version: u32,
    pub hash: Key,
    pub expires: u64,
}

impl Root {
    pub fn new(seed: Key) -> Self {
        Self { seed, user: ed25519_public(&seed) }
    }

    /// Entries are IK | claim, 128 bytes each, in this order.
    pub fn list(
        &self,
        version: u32,
        previous: &Key,
        [issued, expires]: [u64; 2],
        entries: &[Vec<u8>],
    ) -> List {
        let mut signed = cat(&[&[0x61], &self.user, &version.to_be_bytes(), previous]);
        signed.extend(cat(&[&issued.to_be_bytes(), &expires.to_be_bytes(), &[entries.len() as u8]]));
        entries.iter().for_each(|entry| signed.extend(entry));
        let hash = hash(LIST_HASH, &signed);
        let signature = sign(&self.seed, &cat(&[LIST, &[SUITE], &signed]));
        signed.extend(signature);
        List { bytes: signed, version, hash, expires }
    }

    /// Of a device under a list, 204 bytes.
    pub fn certificate(&self, ik: &[u8; 64], claim: &[u8; 64], list: &List) -> Vec<u8> {
        let (version, expires) = (list.version.to_be_bytes(), list.expires.to_be_bytes());
        let message = cat(&[CERTIFICATE, &[SUITE], &self.user, ik, &version, &list.hash, &expires]);
        cat(&[&self.user, &version, &list.hash, &expires, claim, &sign(&self.seed, &message)])
    }

    /// What a backup of this user has inside.
    pub fn backup_contents(
        &self,
        device: &[u8; 16],
        list: &[u8],
        settings: [u8; 2],
        contacts: &[u8],
    ) -> Vec<u8> {
        let len = (list.len() as u16).to_be_bytes();
        cat(&[&self.seed, device, &len, list, &settings, contacts])
    }
}

pub fn device_id(ik: &[u8; 64]) -> [u8; 16] {
    hash(DEVICE_ID, ik).as_chunks().0[0]
}

/// The device's word that it is this user's.
pub fn claim(identity: &Identity, user: &Key) -> [u8; 64] {
    sign(&identity.ed25519_seed, &cat(&[CLAIM, &[SUITE], user, &identity.ik]))
}

/// An entry of a list.
pub fn entry(identity: &Identity, user: &Key) -> Vec<u8> {
    cat(&[&identity.ik, &claim(identity, user)])
}

/// The payload of a handshake.
pub fn payload(certificate: &[u8], recipient: &Key) -> Vec<u8> {
    cat(&[&[1], certificate, recipient, &[0; 19]])
}

/// `recovery key 32`: the backup that holds these contents.
pub fn backup(recovery_key: &Key, contents: &[u8]) -> Vec<u8> {
    let [key, commitment] = hkdf(&[0; 32], recovery_key, BACKUP, b"");
    let head = cat(&[&[0x91, 2], &commitment]);
    sealed(&key, &head, contents)
}

/// Offer, reply and grant key of a link.
pub fn link_keys(secret: &Key, shared: &Key, ik: &[u8; 64], ephemeral: &Key) -> [Key; 3] {
    hkdf(secret, shared, LINK, &cat(&[ik, ephemeral]))
}

/// `head | nonce | contents`, sealed.
pub fn sealed(key: &Key, head: &[u8], contents: &[u8]) -> Vec<u8> {
    let nonce = [0x33; 24];
    cat(&[head, &nonce, &seal_x(key, &nonce, head, contents)])
}

/// Identities that are the same in every run.
pub fn identity(number: u16) -> Identity {
    Identity::generate(&mut tape(number))
}

fn tape(number: u16) -> Tape {
    super::reference::tape(1_000 + 64 * number)
}
