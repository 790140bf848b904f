//! Lists that were cut, altered, forged, misused or forked.

use alloc::{format, vec::Vec};

use proptest::prelude::*;

use super::*;
use crate::{
    IdentityKeyPair,
    crypto::sign::SIGNATURE_LEN,
    roster::fixture::{NOW, altered, bad_keys, device, entries, entry, list, root},
};

const VERSION: usize = 33;
const PREVIOUS: usize = 37;
const ISSUED: usize = 69;
const EXPIRES: usize = 77;
const COUNT: usize = 85;
const ENTRIES: usize = 86;
const ENTRY_LEN: usize = 128;

fn read(bytes: &[u8]) -> Result<DeviceList, Error> {
    DeviceList::from_bytes(bytes)
}

#[test]
fn a_list_says_what_was_signed_and_reads_back() {
    let root = root(1);
    for count in [1, 2, 32] {
        let mut devices = entries(&root, count);
        let signed = DeviceList::sign(&root, None, devices.clone(), NOW).unwrap();
        devices.reverse();
        assert_eq!(DeviceList::sign(&root, None, devices.clone(), NOW).as_ref(), Ok(&signed));

        let bytes = signed.to_bytes();
        assert_eq!(bytes.len(), ENTRIES + devices.len() * ENTRY_LEN + SIGNATURE_LEN);
        assert_eq!(read(&bytes).as_ref(), Ok(&signed));
        assert_eq!(DeviceList::from_sealed_state(&bytes).as_ref(), Ok(&signed));
        assert_eq!(read(&bytes).unwrap().as_bytes(), bytes);

        devices.sort_unstable_by_key(|(identity_key, _)| identity_key.to_bytes());
        assert!(signed.devices().eq(devices.iter().map(|(identity_key, _)| identity_key)));
        assert!(signed.entries().map(|(key, claim)| (*key, *claim)).eq(devices.iter().copied()));
        for (identity_key, _) in &devices {
            let id = DeviceId::of(identity_key);
            assert!(signed.contains(&id));
            assert_eq!(signed.identity_key(&id), Some(identity_key));
        }
        assert!(!signed.contains(&DeviceId::of(device(99).identity_key())));
        assert_eq!((signed.user_id(), signed.version()), (root.user_id(), 1));
        assert_eq!((signed.issued(), signed.expires()), (NOW, NOW.plus_days(90)));
        assert_eq!(
            format!("{signed:?}"),
            format!("DeviceList({}, version 1, devices: {count})", root.user_id())
        );
    }
}

#[test]
fn each_list_names_the_one_before() {
    let root = root(1);
    let first = list(&root, None, 1);
    let second = list(&root, Some(&first), 2);
    assert_eq!(second.version(), 2);
    assert_eq!(second.to_bytes()[PREVIOUS..ISSUED], first.hash()[..]);
    assert_eq!(first.to_bytes()[PREVIOUS..ISSUED], [0; 32]);
}

#[test]
fn a25_cut_or_extended_lists_are_refused() {
    let bytes = list(&root(1), None, 2).to_bytes();
    for len in 0..bytes.len() {
        assert_eq!(read(&bytes[..len]), Err(Error::Malformed), "{len}");
        assert_eq!(DeviceList::from_sealed_state(&bytes[..len]), Err(Error::Malformed), "{len}");
    }
    let longer = [&bytes[..], &[0]].concat();
    assert_eq!(read(&longer), Err(Error::Malformed));
    assert_eq!(DeviceList::from_sealed_state(&longer), Err(Error::Malformed));
    assert_eq!(read(&[bytes.clone(), bytes].concat()), Err(Error::Malformed));
}

#[test]
fn a19_a25_every_flipped_bit_is_noticed() {
    let bytes = list(&root(1), None, 2).to_bytes();
    for at in 0..bytes.len() {
        for bit in 0..8 {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << bit;
            let error = read(&flipped).unwrap_err();
            match at {
                0 if bit < 4 => assert_eq!(error, Error::UnsupportedVersion),
                0 | COUNT => assert_eq!(error, Error::Malformed),
                // No key, no order, no bound is in the claims and the signature: only signatures find these.
                _ if at >= bytes.len() - SIGNATURE_LEN || (ENTRIES + 64..ENTRIES + 128).contains(&at) => {
                    assert_eq!(error, Error::InvalidSignature, "{at}");
                }
                _ => {}
            }
        }
    }
}

/// A forged list, one whose claims alone are right, and the right bytes signed for another purpose or suite.
#[test]
fn a19_only_the_root_adds_a_device() {
    let (alice, server) = (root(1), root(2));
    let genuine = list(&alice, None, 1);
    let injected = device(7);
    // The server's own device, which claims to be Alice's, in Alice's list, signed by the server.
    let (identity_key, claim) = entry(&alice, &injected);
    let forged = altered(&server, &genuine, |bytes| {
        bytes[COUNT] = 2;
        let at = if genuine.devices().all(|key| *key < identity_key) { bytes.len() } else { ENTRIES };
        bytes.splice(at..at, [&identity_key.to_bytes()[..], claim.as_bytes()].concat());
    });
    assert_eq!(read(&forged), Err(Error::InvalidSignature));
    assert_eq!(DeviceList::from_sealed_state(&forged).unwrap().devices().count(), 2, "the encoding is right");

    let mut renamed = genuine.to_bytes();
    renamed[1..33].copy_from_slice(server.user_id().as_bytes());
    assert_eq!(read(&renamed), Err(Error::InvalidSignature));

    let whole = genuine.to_bytes();
    let signed = &whole[..whole.len() - SIGNATURE_LEN];
    let label = Label::DEVICE_LIST.as_bytes();
    for message in [
        [label, &[SUITE + 1], signed].concat(),
        [label, signed].concat(),
        [&[SUITE], signed].concat(),
        [Label::DEVICE_LIST_HASH.as_bytes(), &[SUITE], signed].concat(),
        [Label::CERTIFICATE.as_bytes(), &[SUITE], signed].concat(),
        [label, &[SUITE], &signed[1..]].concat(),
        [label, &[SUITE], &signed[..signed.len() - 64]].concat(),
    ] {
        let bytes = [signed, alice.sign(&message).as_bytes()].concat();
        assert_eq!(read(&bytes), Err(Error::InvalidSignature));
    }
}

#[test]
fn a19_one_order_no_device_twice_no_more_than_32() {
    let root = root(1);
    let two = list(&root, None, 2);
    let swapped = altered(&root, &two, |bytes| bytes[ENTRIES..].rotate_left(ENTRY_LEN));
    let twice = altered(&root, &two, |bytes| {
        bytes.copy_within(ENTRIES..ENTRIES + ENTRY_LEN, ENTRIES + ENTRY_LEN);
    });
    let none = altered(&root, &two, |bytes| {
        bytes[COUNT] = 0;
        bytes.truncate(ENTRIES);
    });
    let mut many = entries(&root, 33);
    many.sort_unstable_by_key(|(identity_key, _)| *identity_key);
    let many = altered(&root, &two, |bytes| {
        bytes[COUNT] = 33;
        bytes.truncate(ENTRIES);
        for (identity_key, claim) in many {
            bytes.extend_from_slice(&identity_key.to_bytes());
            bytes.extend_from_slice(claim.as_bytes());
        }
    });
    let fewer = altered(&root, &two, |bytes| bytes[COUNT] = 1);
    let more = altered(&root, &two, |bytes| bytes[COUNT] = 3);
    for bytes in [swapped, twice, none, many, fewer, more] {
        assert_eq!(read(&bytes), Err(Error::Malformed));
        assert_eq!(DeviceList::from_sealed_state(&bytes), Err(Error::Malformed));
    }
    assert!(read(&altered(&root, &two, |_| {})).is_ok(), "else nothing above shows anything");
}

#[test]
fn a_list_lives_for_at_most_90_days() {
    let root = root(1);
    let one = list(&root, None, 1);
    let with = |issued: u64, expires: u64| {
        read(&altered(&root, &one, |bytes| {
            bytes[ISSUED..EXPIRES].copy_from_slice(&issued.to_be_bytes());
            bytes[EXPIRES..COUNT].copy_from_slice(&expires.to_be_bytes());
        }))
        .map(|list| (list.issued().as_secs(), list.expires().as_secs()))
    };
    let days = 7_776_000;
    for (issued, expires) in [(0, 1), (5, 6), (0, days), (9, 9 + days), (u64::MAX - days, u64::MAX)] {
        assert_eq!(with(issued, expires), Ok((issued, expires)));
    }
    for (issued, expires) in
        [(0, 0), (5, 5), (6, 5), (0, days + 1), (9, 10 + days), (0, u64::MAX), (u64::MAX, 0)]
    {
        assert_eq!(with(issued, expires), Err(Error::Malformed), "{issued} {expires}");
    }
}

#[test]
fn the_first_list_and_no_other_follows_nothing() {
    let root = root(1);
    let one = list(&root, None, 1);
    let with = |version: u32, previous: [u8; 32]| {
        read(&altered(&root, &one, |bytes| {
            bytes[VERSION..PREVIOUS].copy_from_slice(&version.to_be_bytes());
            bytes[PREVIOUS..ISSUED].copy_from_slice(&previous);
        }))
        .map(|list| list.version())
    };
    let mut least = [0; 32];
    least[31] = 1;
    assert_eq!(with(1, [0; 32]), Ok(1));
    assert_eq!(with(2, least), Ok(2));
    assert_eq!(with(u32::MAX, [9; 32]), Ok(u32::MAX));
    for (version, previous) in [(0, [0; 32]), (0, [9; 32]), (1, least), (2, [0; 32]), (u32::MAX, [0; 32])] {
        assert_eq!(with(version, previous), Err(Error::Malformed), "{version}");
    }
}

#[test]
fn a14_kind_and_version_are_judged_first() {
    let bytes = list(&root(1), None, 1).to_bytes();
    for (tag, error) in [
        (0x60, Error::UnsupportedVersion),
        (0x62, Error::UnsupportedVersion),
        (0x51, Error::Malformed),
        (0x71, Error::Malformed),
    ] {
        assert_eq!(read(&[&[tag], &bytes[1..]].concat()), Err(error));
        assert_eq!(read(&[tag]), Err(error));
    }
}

#[test]
fn a29_weak_and_non_canonical_keys_are_refused() {
    let root = root(1);
    let one = list(&root, None, 1);
    for bad in bad_keys() {
        let user = altered(&root, &one, |bytes| bytes[1..33].copy_from_slice(&bad));
        assert_eq!(read(&user), Err(Error::InvalidKey));
        let signing = altered(&root, &one, |bytes| bytes[ENTRIES..ENTRIES + 32].copy_from_slice(&bad));
        assert_eq!(read(&signing), Err(Error::InvalidKey));
    }
    let agreement = altered(&root, &one, |bytes| bytes[ENTRIES + 63] |= 0x80);
    assert_eq!(read(&agreement), Err(Error::InvalidKey));
    assert_eq!(DeviceList::from_sealed_state(&agreement), Err(Error::InvalidKey), "costs nothing");
}

/// Mallory lists Alice's device, so that what Alice writes would be shown as Mallory's: with Alice's own claim, which
/// names Alice; with one that Mallory's device made; with none.
#[test]
fn a34_nobody_lists_a_device_that_does_not_say_so() {
    let (alice, mallory) = (root(1), root(2));
    let (phone, own) = (device(1), device(2));
    let (key, to_alice) = entry(&alice, &phone);
    let (_, of_mallorys_device) = entry(&mallory, &own);
    let genuine = DeviceList::sign(&mallory, None, [entry(&mallory, &own)].into(), NOW).unwrap();
    for claim in [to_alice, of_mallorys_device, Signature::from_bytes(&[0; 64])] {
        let bytes = altered(&mallory, &genuine, |bytes| {
            bytes[ENTRIES..ENTRIES + 64].copy_from_slice(&key.to_bytes());
            bytes[ENTRIES + 64..].copy_from_slice(claim.as_bytes());
        });
        assert_eq!(read(&bytes), Err(Error::InvalidSignature));
        let signed = DeviceList::sign(&mallory, None, [(key, claim)].into(), NOW);
        assert_eq!(signed, Err(Error::InvalidSignature));
    }
    // Also when it stands behind devices that are Mallory's.
    for (at, other) in [(0, device(3)), (1, device(4)), (2, device(5))] {
        let mut devices: Vec<_> = [entry(&mallory, &own), entry(&mallory, &other)].into();
        devices.insert(at, (key, to_alice));
        let signed = DeviceList::sign(&mallory, None, devices, NOW);
        assert_eq!(signed, Err(Error::InvalidSignature));
    }
    // And it is Alice's to list.
    assert!(DeviceList::sign(&alice, None, [(key, to_alice)].into(), NOW).is_ok());
}

/// Half of the device's identity is another's; the claim was made for the whole one.
#[test]
fn a35_a_claim_covers_both_halves() {
    let alice = root(1);
    let (phone, other) = (device(1), device(2));
    let (key, claim) = entry(&alice, &phone);
    let (ours, theirs) = (key.to_bytes(), other.identity_key().to_bytes());
    for halves in [[&ours[..32], &theirs[32..]], [&theirs[..32], &ours[32..]]] {
        let swapped = IdentityKey::from_bytes(&halves.concat()).unwrap();
        assert_eq!(verify_claim(&swapped, alice.user_id(), &claim), Err(Error::InvalidSignature));
        assert_eq!(
            DeviceList::sign(&alice, None, [(swapped, claim)].into(), NOW),
            Err(Error::InvalidSignature)
        );
    }
    assert_eq!(verify_claim(&key, alice.user_id(), &claim), Ok(()));
}

/// Suite, purpose, user and key are signed, and in this order.
#[test]
fn a14_a34_what_a_claim_is_of_is_signed() {
    let (alice, phone) = (root(1), device(1));
    let (user, key) = (alice.user_id().to_bytes(), phone.identity_key().to_bytes());
    let label = Label::DEVICE_CLAIM.as_bytes();
    let verify = |device: &IdentityKeyPair, message: &[u8]| {
        verify_claim(device.identity_key(), alice.user_id(), &device.sign(message))
    };
    assert_eq!(verify(&phone, &[label, &[SUITE], &user, &key].concat()), Ok(()));
    for message in [
        [label, &[SUITE + 1], &user, &key].concat(),
        [label, &user, &key].concat(),
        [label, &[SUITE], &key, &user].concat(),
        [label, &[SUITE], &user, &key[..32]].concat(),
        [label, &[SUITE], root(2).user_id().as_bytes(), &key].concat(),
        [Label::IDENTITY_BINDING.as_bytes(), &[SUITE], &user, &key].concat(),
    ] {
        assert_eq!(verify(&phone, &message), Err(Error::InvalidSignature));
    }
    let binding = *phone.binding();
    assert_eq!(verify_claim(phone.identity_key(), alice.user_id(), &binding), Err(Error::InvalidSignature));
}

#[test]
fn a19_succession() {
    let root = root(1);
    let first = list(&root, None, 1);
    let second = list(&root, Some(&first), 2);
    let third = list(&root, Some(&second), 3);
    let fourth = list(&root, Some(&third), 1);
    // The same versions again, of a root key that was put back or copied.
    let other_first = list(&root, None, 2);
    let other_second = list(&root, Some(&other_first), 2);
    let other_third = list(&root, Some(&other_second), 3);
    for (list, known, expected) in [
        (&first, &first, Succession::Same),
        (&third, &third, Succession::Same),
        (&second, &first, Succession::Newer),
        (&third, &second, Succession::Newer),
        (&fourth, &first, Succession::Newer),
        (&first, &second, Succession::Older),
        (&first, &fourth, Succession::Older),
        (&other_first, &first, Succession::Forked),
        (&other_second, &second, Succession::Forked),
        (&other_second, &first, Succession::Forked),
        (&second, &other_first, Succession::Forked),
        (&other_third, &second, Succession::Forked),
        // What is not next to it cannot be seen.
        (&other_third, &first, Succession::Newer),
        (&other_first, &third, Succession::Older),
    ] {
        let found = list.compare(&known.known());
        assert_eq!(found, expected, "{} after {}", list.version(), known.version());
    }
    // Versions at the end.
    let last = read(&altered(&root, &second, |bytes| bytes[VERSION..PREVIOUS].fill(0xff))).unwrap();
    assert_eq!(last.compare(&last.known()), Succession::Same);
    assert_eq!(last.compare(&second.known()), Succession::Newer);
    assert_eq!(first.compare(&last.known()), Succession::Older);
    let zero = KnownList { version: 0, hash: [0; 32] };
    assert_eq!(first.compare(&zero), Succession::Newer);
}

/// Two root signatures over one content are no fork: the hash leaves the signature out, and nothing else.
#[test]
fn a29_the_hash_is_of_what_is_signed() {
    let one = list(&root(1), None, 2);
    let bytes = one.to_bytes();
    let hash = |bytes: &[u8]| DeviceList::from_sealed_state(bytes).map(|list| *list.hash());
    for at in 0..bytes.len() {
        let mut flipped = bytes.clone();
        flipped[at] ^= 1;
        let Ok(hash) = hash(&flipped) else { continue };
        assert_eq!(hash == *one.hash(), at >= bytes.len() - SIGNATURE_LEN, "{at}");
    }
}

#[test]
fn signing_refuses_what_reading_would() {
    let (alice, bob) = (root(1), root(2));
    let first = list(&alice, None, 1);
    let sign = |root, previous, devices, issued| DeviceList::sign(root, previous, devices, issued).err();
    assert_eq!(sign(&bob, Some(&first), entries(&bob, 1), NOW), Some(Error::WrongIdentity));
    assert_eq!(sign(&alice, None, entries(&alice, 33), NOW), Some(Error::TooManyDevices));
    assert_eq!(sign(&alice, None, entries(&alice, 300), NOW), Some(Error::TooManyDevices));
    assert_eq!(sign(&alice, None, Vec::new(), NOW), Some(Error::Malformed));
    let twice = [entries(&alice, 1), entries(&alice, 1)].concat();
    assert_eq!(sign(&alice, None, twice, NOW), Some(Error::Malformed));
    assert_eq!(sign(&alice, None, entries(&bob, 1), NOW), Some(Error::InvalidSignature));
    let end = UnixTime::from_secs(u64::MAX);
    assert_eq!(sign(&alice, None, entries(&alice, 1), end), Some(Error::Malformed));
}

#[test]
fn a11_versions_never_wrap() {
    let root = root(1);
    let second = list(&root, Some(&list(&root, None, 1)), 1);
    let at = |version: u32| {
        read(&altered(&root, &second, |bytes| {
            bytes[VERSION..PREVIOUS].copy_from_slice(&version.to_be_bytes());
        }))
        .unwrap()
    };
    let sign = |previous| DeviceList::sign(&root, Some(&previous), entries(&root, 1), NOW);
    assert_eq!(sign(at(u32::MAX - 1)).unwrap().version(), u32::MAX);
    assert_eq!(sign(at(u32::MAX)), Err(Error::CounterExhausted));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn decodes_what_it_encodes(seed: u8, count in 1..6u64, issued in 0..u64::MAX) {
        let root = root(seed);
        let list = DeviceList::sign(&root, None, entries(&root, count), UnixTime::from_secs(issued)).unwrap();
        prop_assert_eq!(read(&list.to_bytes()), Ok(list.clone()));
        let next = DeviceList::sign(&root, Some(&list), entries(&root, count), NOW).unwrap();
        prop_assert_eq!(next.compare(&list.known()), Succession::Newer);
        prop_assert_eq!(read(&next.to_bytes()), Ok(next));
    }

    /// Arbitrary bytes, and arbitrary bytes behind a beginning that is right: no panic, and what is read was
    /// encoded like that.
    #[test]
    fn a25_arbitrary_bytes(tail in proptest::collection::vec(any::<u8>(), 0..600), keep in 0..=406usize) {
        let genuine = list(&root(1), None, 2).to_bytes();
        prop_assert!(read(&tail).is_err());
        let bytes = [&genuine[..keep], &tail].concat();
        for list in [read(&bytes), DeviceList::from_sealed_state(&bytes)].into_iter().flatten() {
            prop_assert_eq!(list.to_bytes(), bytes.clone());
        }
    }
}
