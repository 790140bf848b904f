//! The transcript of what devices tell each other, of links and backups: `tests/vectors/device.json`.

use serde_json::{Value, json};

use super::{
    DeviceError, MessageId, Settings, Trust,
    backup::{Backup, BackupLock, RecoveryKey},
    contacts,
    content::{Body, Claim, Content, Meaning, Place, StreamId, Text},
    link::{self, Grant, LinkKeys},
    records::UserRecord,
    sealing::Nonce,
};
use crate::{
    DeviceId, Error, Padding, UnixTime, UserId,
    crypto::{dh::AgreementKey, passphrase::PassphraseParameters, random, secret::Secret},
    roster::{KnownList, PAYLOAD_LEN},
    vectors::Script,
    wire::codec::Reader,
};

/// What links and backups have to remember from step to step.
#[derive(Default)]
struct Kept {
    code: String,
    secret: Option<Secret<32>>,
    keys: Option<LinkKeys>,
    recovery: Option<RecoveryKey>,
}

fn bytes(bytes: impl AsRef<[u8]>) -> Value {
    json!(hex::encode(bytes))
}

fn place(place: &Place) -> Value {
    json!([hex::encode(place.stream.0), place.number])
}

fn places(all: &[Place]) -> Value {
    all.iter().map(place).collect()
}

fn claim(claim: &Claim) -> Value {
    json!([claim.version, hex::encode(claim.hash)])
}

impl Script {
    fn nonce(&mut self) -> Nonce {
        let nonce: Secret<24> = random::fill(&mut self.rng).unwrap();
        Nonce::fixed(*nonce.as_bytes())
    }

    fn content(&mut self, who: &'static str, content: &Content<'_>) -> Vec<u8> {
        let encoded = content.encode();
        self.step("content", who, |_| {
            let body = content.body.as_ref().map(|body| {
                json!({
                    "place": place(&body.place),
                    "id": hex::encode(body.id.to_bytes()),
                    "resent": body.resent,
                    "kind": body.kind,
                    "bytes": hex::encode(body.bytes),
                })
            });
            Vec::from([
                ("own_list", claim(&content.own_list)),
                ("peer_list", claim(&content.peer_list)),
                ("ack", json!(content.ack.as_ref().map(place))),
                ("asks", places(&content.asks)),
                ("gone", places(&content.gone)),
                ("lists", content.lists.iter().map(bytes).collect()),
                ("certificate", json!(content.certificate.map(hex::encode))),
                ("body", json!(body)),
                ("content", bytes(&encoded)),
            ])
        });
        encoded
    }

    fn read_content(&mut self, who: &'static str, content: &[u8]) {
        self.step("read_content", who, |_| {
            let error = Content::decode(content).unwrap_err();
            Vec::from([("content", bytes(content)), ("error", json!(format!("{error:?}")))])
        });
    }

    fn contacts(&mut self, who: &'static str, contacts: Vec<UserRecord>) -> Vec<u8> {
        let shown: Value = contacts
            .iter()
            .map(|user| {
                let known = user.known.unwrap_or(KnownList { version: 0, hash: [0; 32] });
                json!({
                    "user": hex::encode(user.id.to_bytes()),
                    "trust": user.trust as u8,
                    "version": known.version,
                    "hash": hex::encode(known.hash),
                    "list": hex::encode(user.list.as_deref().unwrap_or_default()),
                })
            })
            .collect();
        let encoded = contacts::encode_all(contacts);
        self.step("contacts", who, |_| Vec::from([("contacts", shown), ("encoded", bytes(&encoded))]));
        encoded
    }

    fn read_contacts(&mut self, who: &'static str, encoded: &[u8]) {
        self.step("read_contacts", who, |_| {
            let mut reader = Reader::new(encoded);
            let read = contacts::decode(&mut reader).and_then(|_| reader.finish());
            let error: Error = read.unwrap_err();
            Vec::from([("encoded", bytes(encoded)), ("error", json!(format!("{error:?}")))])
        });
    }

    fn link_code(&mut self, kept: &mut Kept, who: &'static str) {
        self.step("link_code", who, |script| {
            let secret = random::fill(&mut script.rng).unwrap();
            kept.code = link::write_code(script.people[who].identity.identity_key(), &secret);
            kept.secret = Some(secret);
            Vec::from([("code", json!(kept.code))])
        });
    }

    fn link_offer(&mut self, kept: &mut Kept, who: &'static str) -> Vec<u8> {
        let mut offer = Vec::new();
        self.step("link_offer", who, |script| {
            let (identity, secret) = link::read_code(&kept.code).unwrap();
            let ephemeral = AgreementKey::from_seed(&random::fill(&mut script.rng).unwrap());
            let shared = ephemeral.agree(identity.agreement()).unwrap();
            let keys = LinkKeys::derive(&secret, &shared, &identity, ephemeral.public());
            offer = keys.write_offer(script.nonce(), ephemeral.public(), script.roots[who].user_id());
            let shown = [&keys.offer, &keys.reply, &keys.grant].map(|key| hex::encode(key.as_bytes()));
            kept.keys = Some(keys);
            Vec::from([("offer", bytes(&offer)), ("keys", json!(shown))])
        });
        offer
    }

    fn link_reply(&mut self, kept: &Kept, who: &'static str, user: &'static str, offer: &[u8]) {
        self.step("link_reply", who, |script| {
            let identity = &script.people[who].identity;
            let secret = kept.secret.as_ref().unwrap();
            let (offered, keys) = link::open_offer(identity, secret, offer).unwrap();
            assert_eq!(&offered, script.roots[user].user_id());
            let (key, claim) = script.entry(who, user);
            let reply = keys.write_reply(script.nonce(), &DeviceId::of(&key), &claim);
            Vec::from([("user", json!(user)), ("reply", bytes(reply))])
        });
    }

    fn link_grant(
        &mut self,
        kept: &Kept,
        who: &'static str,
        device: &'static str,
        list: usize,
        contacts: &[u8],
    ) {
        self.step("link_grant", who, |script| {
            let payload = script.certified(device, who, list, who).to_bytes();
            let plain = Grant::encode(&payload, &script.lists[list], contacts);
            let keys = kept.keys.as_ref().unwrap();
            let grant = keys.write_grant(script.nonce(), &plain);
            assert!(keys.open_grant(&grant).is_ok());
            Vec::from([
                ("device", json!(device)),
                ("list", json!(list)),
                ("encoded", bytes(contacts)),
                ("grant", bytes(grant)),
            ])
        });
    }

    fn recovery_key(&mut self, kept: &mut Kept, who: &'static str) {
        self.step("recovery_key", who, |script| {
            let key: Secret<32> = random::fill(&mut script.rng).unwrap();
            let key = RecoveryKey::fixed(*key.as_bytes());
            let text = key.to_text();
            kept.recovery = Some(key);
            Vec::from([("text", json!(text))])
        });
    }

    #[allow(clippy::too_many_arguments, reason = "all that is in a backup")]
    fn backup(
        &mut self,
        kept: &Kept,
        who: &'static str,
        device: &'static str,
        list: usize,
        settings: Settings,
        contacts: &[u8],
        words: Option<&str>,
    ) -> Vec<u8> {
        let mut backup = Vec::new();
        self.step("backup", who, |script| {
            let lock = lock(kept, words);
            let id = DeviceId::of(script.people[device].identity.identity_key());
            let plain =
                Backup::encode(&script.roots[who].seed(), &id, &script.lists[list], &settings, contacts);
            let (head, key) = lock.lock(&parameters()).unwrap();
            backup = Backup::seal(&lock, &parameters(), script.nonce(), &plain).unwrap();
            assert!(Backup::open(&backup, &lock).is_ok());
            Vec::from([
                ("device", json!(device)),
                ("list", json!(list)),
                ("padding", json!(settings.padding != Padding::None)),
                ("resending", json!(settings.resend)),
                ("encoded", bytes(contacts)),
                ("passphrase", json!(words)),
                ("parameters", json!(words.map(|_| hex::encode(parameters().encode())))),
                ("key", bytes(key.as_bytes())),
                ("commitment", bytes(&head[head.len() - 32..])),
                ("backup", bytes(&backup)),
            ])
        });
        backup
    }

    fn read_backup(&mut self, kept: &Kept, who: &'static str, backup: &[u8], words: Option<&str>) {
        self.step("read_backup", who, |_| {
            let error = match Backup::open(backup, &lock(kept, words)) {
                Ok(_) => Value::Null,
                Err(DeviceError::BadBackup) => json!("BadBackup"),
                Err(DeviceError::UnsupportedVersion) => json!("UnsupportedVersion"),
                Err(error) => panic!("{error}"),
            };
            Vec::from([("backup", bytes(backup)), ("passphrase", json!(words)), ("error", error)])
        });
    }

    fn known(&self, user: &str) -> UserId {
        *self.roots[user].user_id()
    }
}

fn lock<'a>(kept: &'a Kept, words: Option<&'a str>) -> BackupLock<'a> {
    words.map_or_else(|| BackupLock::Key(kept.recovery.as_ref().unwrap()), BackupLock::Passphrase)
}

/// The least that is allowed.
fn parameters() -> PassphraseParameters {
    let bytes = [&[0x5a; 16][..], &[0, 0, 0x4c, 0], &[0, 0, 0, 1], &[0, 0, 0, 1]].concat();
    PassphraseParameters::decode(bytes[..].try_into().unwrap()).unwrap()
}

fn at(stream: u8, number: u32) -> Place {
    Place { stream: StreamId([stream; 8]), number }
}

#[test]
fn devices() {
    let mut script = Script::new(9);
    let mut kept = Kept::default();
    for user in ["alice", "bob", "carol", "dave"] {
        script.root(user);
    }
    for (device, user) in [("laptop", "alice"), ("phone", "alice"), ("desk", "bob")] {
        script.identity(device);
        script.device(device, user);
    }
    let now = script.now.as_secs();
    let first = script.list("alice", None, &["laptop"], now);
    let second = script.list("alice", Some(first), &["laptop", "phone"], now + 1_000);
    let bobs = script.list("bob", None, &["desk"], now);
    contents(&mut script, second, bobs);
    let contact = |user, trust, known, list: Option<usize>| UserRecord {
        trust,
        ..UserRecord::new(script.known(user), known, list.map(|list| &script.lists[list]))
    };
    let replaced = KnownList { version: 4, hash: [0x4a; 32] };
    let all = vec![
        contact("bob", Trust::Verified, None, Some(bobs)),
        contact("carol", Trust::Blocked, Some(replaced), None),
        contact("dave", Trust::Unverified, None, None),
    ];
    let none = script.contacts("alice", Vec::new());
    let contacts = script.contacts("alice", all);
    refused_contacts(&mut script, &contacts);
    script.link_code(&mut kept, "phone");
    let offer = script.link_offer(&mut kept, "alice");
    script.link_reply(&kept, "phone", "alice", &offer);
    script.link_grant(&kept, "alice", "phone", second, &contacts);
    script.link_grant(&kept, "alice", "phone", second, &none);
    script.recovery_key(&mut kept, "alice");
    let settings = Settings { padding: Padding::None, resend: true };
    let by_key = script.backup(&kept, "alice", "laptop", second, settings, &contacts, None);
    let (settings, words) = (Settings { padding: Padding::Buckets, resend: false }, Some("sub rosa \u{e9}"));
    let by_words = script.backup(&kept, "alice", "laptop", first, settings, &none, words);
    refused_backups(&mut script, &kept, &by_key, &by_words, words);
    script.check("device", "Contents of messages between devices, contacts, a link, backups, refusals.");
}

fn contents(script: &mut Script, second: usize, bobs: usize) {
    let known = |list: usize| Claim::of(Some(&script.lists[list].known()));
    let (alices, bobs_claim) = (known(second), known(bobs));
    let lists = [second, bobs].map(|list| script.lists[list].to_bytes());
    let certificate: [u8; PAYLOAD_LEN] = script.certified("phone", "alice", second, "alice").to_bytes();
    let bob = script.known("bob");
    let id = MessageId::from_bytes([0x1d; 16]);
    script.content("laptop", &Content::default());
    let (kind, text) = Meaning::Message(hello()).encode();
    let body = Body { place: at(1, 0), id, resent: false, kind, bytes: &text };
    let first = Content { own_list: alices, lists: vec![&lists[0]], body: Some(body), ..Content::default() };
    script.content("laptop", &first);
    let ack = Some(at(1, 1));
    script.content("desk", &Content { own_list: bobs_claim, peer_list: alices, ack, ..Content::default() });
    let (kind, text) =
        Meaning::Trust { user: bob, trust: 1, since: UnixTime::from_secs(1_800_000_000) }.encode();
    let trust = Body { place: at(2, 1), id, resent: false, kind, bytes: &text };
    script.content(
        "laptop",
        &Content { own_list: alices, peer_list: alices, body: Some(trust), ..Content::default() },
    );
    let (kind, text) = Meaning::Sent { to: bob, text: hello() }.encode();
    let sent = Body { place: at(2, u32::MAX - 1), id, resent: true, kind, bytes: &text };
    let full = Content {
        own_list: alices,
        peer_list: bobs_claim,
        ack: Some(at(3, u32::MAX)),
        asks: (0..32).map(|number| at(3, number)).collect(),
        gone: vec![at(2, 7), at(2, 7)],
        lists: lists.iter().map(Vec::as_slice).collect(),
        certificate: Some(&certificate),
        body: Some(sent),
    };
    let whole = script.content("laptop", &full);
    let unknown = Body { kind: 255, bytes: b"", ..sent };
    script.content("laptop", &Content { body: Some(unknown), ..Content::default() });
    // Versions, flags, what is cut short, what is too long, counts, version 0 with a hash.
    let altered = |position: usize, value: u8| {
        let mut altered = whole.clone();
        altered[position] = value;
        altered
    };
    let empty = Content::default().encode();
    let mut resent = empty.clone();
    resent[1] = 0x40;
    let mut hashed = empty.clone();
    hashed[41] = 1;
    let gone = 54 + 1 + 32 * 12;
    let lists = gone + 1 + 2 * 12;
    for bad in [
        Vec::new(),
        vec![2],
        altered(0, 0x11),
        altered(1, 0xff),
        resent,
        hashed,
        empty[..41].to_vec(),
        [&empty[..], &[0]].concat(),
        altered(54, 0),
        altered(54, 33),
        altered(gone, 0),
        altered(lists, 3),
        altered(lists, 0),
        altered(lists + 1, 0xff),
        whole[..whole.len() - text.len() - 1].to_vec(),
    ] {
        script.read_content("desk", &bad);
    }
}

fn refused_contacts(script: &mut Script, good: &[u8]) {
    let mut count = good.to_vec();
    count[3] = 4;
    let mut trust = good.to_vec();
    trust[36] = 3;
    let mut key = good.to_vec();
    key[4..36].fill(0);
    for bad in [&good[..3], &good[..good.len() - 1], &[good, &[0]].concat(), &count, &trust, &key] {
        script.read_contacts("alice", bad);
    }
    // One contact each: version 0 with a hash; twice the same; a list that is not the one that is named.
    let carol = script.known("carol").to_bytes();
    let one = |version: u32, hash: u8, list: &[u8]| {
        let len = u16::try_from(list.len()).unwrap().to_be_bytes();
        [&carol[..], &[0], &version.to_be_bytes(), &[hash; 32], &len, list].concat()
    };
    let twice = [one(0, 0, &[]), one(0, 0, &[])].concat();
    let alices = script.lists[0].to_bytes();
    for (count, bad) in [(1, one(0, 1, &[])), (2, twice), (1, one(1, 1, &alices))] {
        script.read_contacts("alice", &[&[0, 0, 0, count], &bad[..]].concat());
    }
}

fn refused_backups(script: &mut Script, kept: &Kept, by_key: &[u8], by_words: &[u8], words: Option<&str>) {
    script.read_backup(kept, "alice", by_key, None);
    script.read_backup(kept, "alice", by_words, words);
    script.read_backup(kept, "alice", by_key, words);
    script.read_backup(kept, "alice", by_words, None);
    script.read_backup(kept, "alice", by_words, Some("sub rosa e\u{301}"));
    let altered = |bytes: &[u8], position: usize, value: u8| {
        let mut altered = bytes.to_vec();
        altered[position] = value;
        altered
    };
    // Version, kind, lock, commitment, seal; cut short; memory, passes and lanes out of bounds.
    let last = by_key.len() - 1;
    for bad in [
        Vec::new(),
        altered(by_key, 0, 0x92),
        altered(by_key, 0, 0xb1),
        altered(by_key, 1, 0),
        altered(by_key, 1, 1),
        altered(by_key, 2, by_key[2] ^ 1),
        altered(by_key, last, by_key[last] ^ 1),
        by_key[..last].to_vec(),
        by_key[..40].to_vec(),
    ] {
        script.read_backup(kept, "alice", &bad, None);
    }
    for (position, value) in [(18, 1), (20, 0), (25, 0), (25, 17), (29, 0), (29, 9), (30, by_words[30] ^ 1)] {
        script.read_backup(kept, "alice", &altered(by_words, position, value), words);
    }
}

/// With one attachment, of which the descriptor has everything.
fn hello() -> Text<'static> {
    let head = [&[0x71][..], &[0xa7; 32], &70_000_u64.to_be_bytes(), &[0xd1; 32], &[0, 1, 0, 0]].concat();
    let bytes = [&head[..], b"\x0aimage/jpeg\x08rose.jpg\0\0\0\x02\xff\xd8"].concat();
    let attachment = crate::AttachmentDescriptor::from_bytes(&bytes).unwrap();
    Text { attachments: vec![attachment].into(), content: b"hello" }
}
