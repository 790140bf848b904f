//! What stands behind a seal or a checksum, from somebody who can make it: the contents of a backup, the three messages of
//! a link, texts, the payload of a first message, what one device tells another. Each is taken as it was made, or
//! refused whole; what is taken is written again as it was.

use std::sync::LazyLock;

use arbitrary::Arbitrary;
use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};
use subrosa::{
    Address, BackupLock, Device, DeviceError, Event, IdentityKey, Link, RecoveryKey, SafetyNumber, Scan,
    UserId,
};

use super::super::{
    FIXTURE, Forgery,
    mallory::{MALLORY, bob, text, user_key},
    reference::{
        primitives::{Key, cat, hkdf, open_x, x25519, x25519_public},
        session::Session,
        tape,
    },
    town::world::{DAY, TestClock, TestStore},
    users::{self, claim, device_id, entry, payload, sealed},
};

#[derive(Arbitrary, Debug)]
pub struct Sealed<'a> {
    place: Place,
    contents: Forgery<'a>,
}

#[derive(Arbitrary, Clone, Copy, Debug)]
pub enum Place {
    Backup,
    Offer,
    Reply,
    Grant,
    Text { prefix: u8, upper: bool },
    Payload,
    Content,
}

pub fn inside(Sealed { place, contents }: Sealed<'_>) {
    match place {
        Place::Backup => backup(&contents),
        Place::Offer | Place::Reply | Place::Grant => link(place, &contents),
        Place::Text { prefix, upper } => texts(prefix, upper, &contents),
        Place::Payload => payloads(&contents),
        Place::Content => content(&contents),
    }
}

const RECOVERY: Key = [9; 32];

/// The key of the backups here.
pub fn recovery_key() -> RecoveryKey {
    bech32m("srkey", &RECOVERY).parse().expect("a key")
}

fn bech32m(prefix: &str, bytes: &[u8]) -> String {
    bech32::encode::<Bech32m>(Hrp::parse_unchecked(prefix), bytes).expect("short enough")
}

/// Bob, whom Mallory knows: as a contact.
static CONTACTS: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let town = super::super::town::Town::new();
    let user = town.phones[2].user();
    let list = town.server.list(&user).expect("published");
    let list = subrosa::DeviceList::from_bytes(&list).expect("signed");
    let (version, bytes) = (list.version().to_be_bytes(), list.to_bytes());
    let len = (bytes.len() as u16).to_be_bytes();
    cat(&[&1_u32.to_be_bytes(), &user.to_bytes(), &[1], &version, list.hash(), &len, &bytes])
});

/// Contacts: everything behind root seed, device id, list and settings.
fn contacts_of_backup(contents: &[u8]) -> &[u8] {
    let len = usize::from(contents[48]) << 8 | usize::from(contents[49]);
    &contents[52 + len..]
}

fn backup(forgery: &Forgery<'_>) {
    let root = &MALLORY.roots[0];
    let device = device_id(&MALLORY.devices[0].ik);
    let genuine = [&CONTACTS[..], &[0; 4]]
        .map(|contacts| root.backup_contents(&device, &MALLORY.list.bytes, [1, 1], contacts));
    let contents = forgery.bytes(&genuine.each_ref().map(Vec::as_slice));
    let (store, key) = (TestStore::default(), recovery_key());
    let bytes = users::backup(&RECOVERY, &contents);
    let config = TestClock::default().config();
    match Device::restore(store.clone(), config, &bytes, &BackupLock::Key(&key), None) {
        Ok(mut restored) => {
            assert_eq!(restored.user(), MALLORY.user(0));
            let again = restored.backup(&BackupLock::Key(&key)).expect("it works");
            let [key, commitment] = hkdf(&[0; 32], &RECOVERY, b"Subrosa/1 backup\0", b"");
            assert_eq!(again[..34], cat(&[&[0x91, 2], &commitment]));
            let opened = open_x(&key, &again[34..58], &again[..34], &again[58..]).expect("its own key");
            // Itself is nobody's contact.
            let own = contents.windows(32).filter(|window| *window == root.user).count() > 1;
            assert!(
                own || contacts_of_backup(&opened) == contacts_of_backup(&contents),
                "read otherwise than written"
            );
        }
        Err(error) => {
            assert!(!genuine.contains(&contents), "{error:?} for a good backup");
            assert!(matches!(error, DeviceError::BadBackup | DeviceError::UnsupportedVersion), "{error:?}");
            assert!(store.records().is_empty());
        }
    }
}

/// Mallory's new device scans the code, or Mallory's first one is the new one.
fn link(place: Place, forgery: &Forgery<'_>) {
    let root = &MALLORY.roots[0];
    let clock = TestClock::default();
    let mut new = Link::begin(TestStore::default(), clock.config()).expect("an empty store");
    let code = CheckedHrpstring::new::<Bech32m>(&new.code()).expect("a code").byte_iter().collect::<Vec<_>>();
    let ik: [u8; 64] = code[1..65].try_into().expect("97 bytes");
    let secret: Key = code[65..].try_into().expect("97 bytes");
    let private = [0x77; 32];
    let ephemeral = x25519_public(&private);
    let shared = x25519(&private, ik[32..].try_into().expect("32 bytes")).expect("not of small order");
    let [offer_key, reply_key, grant_key] = users::link_keys(&secret, &shared, &ik, &ephemeral);
    let head = cat(&[&[1], &ephemeral]);

    let offered = if let Place::Offer = place { forgery.bytes(&[&root.user]) } else { root.user.to_vec() };
    let offer = sealed(&offer_key, &head, &offered);
    let user = match (UserId::from_bytes(&offered), new.user_of(&offer)) {
        (Ok(user), Ok(read)) if user == read => user,
        (Err(_), Err(DeviceError::BadLink)) => return,
        (made, read) => panic!("{made:?} is read as {read:?}"),
    };
    let reply = new.confirm(&offer, &user).expect("an offer");
    assert!(new.confirm(&offer, &MALLORY.user(1)).is_err() || user == MALLORY.user(1), "somebody else's");
    let signature = open_x(&reply_key, &reply[17..41], &reply[..17], &reply[41..]).expect("a reply");
    let signature: [u8; 64] = signature.try_into().expect("a signature");
    if user != MALLORY.user(0) {
        return;
    }
    if let Place::Reply = place {
        return reply_to_device(forgery);
    }

    let own = cat(&[&ik, &signature]);
    let mut entries = [own, entry(&MALLORY.devices[0], &root.user)];
    entries.sort();
    let now = super::super::NOW.as_secs();
    let list = root.list(2, &MALLORY.list.hash, [now, now + 90 * DAY], &entries);
    let certificate = root.certificate(&ik, &signature, &list);
    let len = (list.bytes.len() as u16).to_be_bytes();
    let genuine = [&CONTACTS[..], &[0; 4]]
        .map(|contacts| cat(&[&payload(&certificate, &root.user), &len, &list.bytes, contacts]));
    let contents = forgery.bytes(&genuine.each_ref().map(Vec::as_slice));
    match new.complete(&sealed(&grant_key, &[1], &contents)) {
        Ok(device) => {
            assert_eq!(device.user(), user);
            // Only contacts are not signed.
            let signed = 256 + 2 + list.bytes.len();
            assert!(contents[..signed] == genuine[0][..signed]);
            assert!(!device.holds_root_key().expect("it works"));
        }
        Err(error) => {
            assert!(!genuine.contains(&contents), "{error:?} for a good grant");
            assert!(matches!(error, DeviceError::BadLink), "{error:?}");
        }
    }
}

/// What a device with the root key makes of a reply to its offer.
fn reply_to_device(forgery: &Forgery<'_>) {
    let town = &mut super::super::town::Town::new();
    let alice = &mut town.phones[0].device;
    let (new, secret) = (&MALLORY.devices[1], [5; 32]);
    let offer = alice.offer_link(&bech32m("srlink", &cat(&[&[1], &new.ik, &secret]))).expect("a code");
    let ephemeral: Key = offer[1..33].try_into().expect("an offer");
    let shared = x25519(&new.x25519_private, &ephemeral).expect("not of small order");
    let [offer_key, reply_key, _] = users::link_keys(&secret, &shared, &new.ik, &ephemeral);
    let user = open_x(&offer_key, &offer[33..57], &offer[..33], &offer[57..]).expect("an offer");
    assert_eq!(user, user_key(&alice.user()));
    let genuine = claim(new, &user_key(&alice.user()));
    let contents = forgery.bytes(&[&genuine]);
    let reply = sealed(&reply_key, &cat(&[&[1], &device_id(&new.ik)]), &contents);
    match alice.approve_link(&reply) {
        Ok(_) => assert_eq!(contents, genuine),
        Err(error) => {
            assert!(contents != genuine && matches!(error, DeviceError::BadLink), "{error:?}");
        }
    }
}

/// Bytes with a checksum that fits.
fn texts(prefix: u8, upper: bool, forgery: &Forgery<'_>) {
    let prefixes = ["srid", "sruser", "srkey", "srlink", "srscan", "bc"];
    let prefix = prefixes[usize::from(prefix) % prefixes.len()];
    let [alice, bob] = FIXTURE.users();
    let number = || SafetyNumber::new(&alice, &bob).expect("two users");
    let link = cat(&[&[1], &MALLORY.devices[0].ik, &[5; 32]]);
    let genuine =
        [&MALLORY.devices[0].ik[..], &MALLORY.roots[0].user, &RECOVERY, &link, &scan_of(&bob, &alice)];
    let bytes = forgery.bytes(&genuine);
    let Ok(mut text) = bech32::encode::<Bech32m>(Hrp::parse_unchecked(prefix), &bytes) else { return };
    if upper {
        text.make_ascii_uppercase();
    }
    let identity = text.parse::<IdentityKey>().ok().map(|key| key.to_bytes().to_vec());
    let user = text.parse::<UserId>().ok().map(|key| key.to_bytes().to_vec());
    let recovery = text.parse::<RecoveryKey>().ok().map(|key| key.to_text().to_ascii_lowercase());
    let read = |of: &str, valid: bool| (prefix == of && valid).then(|| bytes.clone());
    assert_eq!(identity, read("srid", IdentityKey::from_bytes(&bytes).is_ok()));
    assert_eq!(user, read("sruser", UserId::from_bytes(&bytes).is_ok()));
    assert_eq!(recovery, read("srkey", bytes.len() == 32).map(|_| text.to_ascii_lowercase()));
    let address = format!("{text}/00112233445566778899aabbccddeeff").parse::<Address>();
    assert_eq!(address.is_ok(), user.is_some());
    match prefix {
        "srscan" => {
            let scanned = number().verify_scanned(&text);
            assert_eq!(scanned, number().verify_scanned(&bytes), "text and bytes say the same");
            assert_eq!(scanned == Ok(Scan::Match(bob)), bytes == scan_of(&bob, &alice));
        }
        "srlink" => {
            let mut town = super::super::town::Town::new();
            let offered = town.phones[0].device.offer_link(&text);
            let valid = bytes.len() == 97 && bytes[0] == 1 && IdentityKey::from_bytes(&bytes[1..65]).is_ok();
            assert!(offered.is_ok() <= valid, "no such code");
            assert!(offered.is_ok() || bytes != link);
        }
        _ => {}
    }
}

fn scan_of(shows: &UserId, to: &UserId) -> Vec<u8> {
    cat(&[&[0x81, 0], &shows.to_bytes(), &to.to_bytes()])
}

/// Of the first message of a device that Bob has not heard of.
fn payloads(forgery: &Forgery<'_>) {
    let mallory = &*MALLORY;
    let (mut bob, store) = bob(&mallory.before, &TestClock::default());
    let (device, me) = (&mallory.devices[0], bob.user().to_bytes());
    let by = |root: usize| {
        let signature = claim(device, &mallory.roots[root].user);
        mallory.roots[root].certificate(&device.ik, &signature, &mallory.list)
    };
    let genuine = [payload(&by(0), &me), payload(&by(1), &me), payload(&by(0), &mallory.roots[1].user)];
    let bytes = forgery.bytes(&genuine.each_ref().map(Vec::as_slice));
    let tape = &mut tape(90);
    let Ok(mut session) = Session::initiate(device, &mallory.bundles[1], &bytes, tape) else {
        return assert!(bytes.len() > 512);
    };
    let content = text(Some(&mallory.list), [8; 8], 0, [2; 16], b"?");
    let before = store.records();
    match bob.receive(&session.encrypt(&content, tape).expect("room for more"), None) {
        Ok(received) => {
            assert!(genuine[..2].contains(&bytes), "nobody has signed this");
            assert!(received.iter().any(|received| received.event == Event::NewUser));
        }
        Err(error) => {
            assert!(!genuine[..2].contains(&bytes), "{error:?} for a good payload");
            assert!(matches!(error, DeviceError::Refused(_)), "{error:?}");
            assert!(store.records() == before, "a refusal changes nothing");
        }
    }
}

/// What Mallory's device tells Bob's, who knows her.
fn content(forgery: &Forgery<'_>) {
    let mallory = &*MALLORY;
    let (mut bob, store) = bob(&mallory.after, &TestClock::default());
    let place = cat(&[&[7; 8], &3_u32.to_be_bytes()]);
    let mut asking = text(Some(&mallory.list), [7; 8], 1, [3; 16], b"and more");
    // ack, asks, gone are there, too.
    asking[1] |= 0x07;
    asking.splice(42..42, cat(&[&place, &[2], &place, &place, &[1], &place]));
    let plain = text(None, [7; 8], 1, [3; 16], b"plain");
    let genuine = [&asking[..], &plain];
    let bytes = forgery.bytes(&genuine);
    let Ok(message) = mallory.session.clone().encrypt(&bytes, &mut tape(91)) else { return };
    let received = bob.receive(&message, None).expect("the session is good");
    let misunderstood = received.iter().any(|received| received.event == Event::NotUnderstood);
    assert!(!(misunderstood && genuine.contains(&&bytes[..])));
    for received in &received {
        assert_eq!(received.from.user, mallory.user(0));
        if let Event::Message { content, .. } = &received.event {
            assert!(bytes.ends_with(content));
        }
        assert!(!matches!(
            received.event,
            Event::SentElsewhere { .. } | Event::TrustChanged { .. } | Event::Unlinked
        ));
    }
    assert_eq!(bob.users().count(), 3, "Bob, Alice, Mallory: messages make no users");
    assert_eq!(bob.outbox().count(), 0, "nothing that was asked for is there");
    // It is there after a restart as well, and the message is not taken twice.
    drop(bob);
    let mut bob = Device::open(store, TestClock::default().config()).expect("as it was left");
    assert_eq!(bob.inbox().count(), received.len());
    assert!(bob.receive(&message, None).is_err());
}
