//! Replays the frozen transcripts of `tests/vectors` through the public API: what travels, what is read, what is
//! refused. (The intermediate secrets in them are compared by a unit test and by `tests/interop`.)
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    reason = "a test that panics is a test that fails"
)]

use std::{collections::HashMap, fs, path::Path};

use serde_json::Value;
use subrosa::{
    Address, DeviceId, DeviceList, IdentityKey, IdentityKeyPair, Padding, PreKeyBundle, PreKeys,
    SafetyNumber, SasCode, SasInitiator, SasResponder, Session, StorageKey, UnixTime, UserId,
};

mod common;
use common::Replay;

#[derive(Default)]
struct Person {
    identity: Option<IdentityKeyPair>,
    prekeys: Option<PreKeys>,
    session: Option<Session>,
    snapshot: Vec<u8>,
}

fn bytes(step: &Value, field: &str) -> Vec<u8> {
    hex::decode(step[field].as_str().unwrap_or_else(|| panic!("no {field} in {step}"))).unwrap()
}

fn replay(path: &Path) -> usize {
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(file["format"], 1);
    let mut people = HashMap::<String, Person>::new();
    let mut bundles = HashMap::<String, Vec<u8>>::new();
    let mut messages = Vec::new();
    let mut now = UnixTime::from_secs(0);
    let key = StorageKey::from_bytes(&[9; 32]);
    let steps = file["steps"].as_array().unwrap();
    for (number, step) in steps.iter().enumerate() {
        let place = format!("{}, step {number}", path.display());
        let who = step["who"].as_str().unwrap();
        let person = people.entry(who.into()).or_default();
        let mut rng = Replay::new(bytes(step, "random"), 0);
        let message = || -> &Vec<u8> { &messages[step["message"].as_u64().unwrap() as usize] };
        match step["op"].as_str().unwrap() {
            "identity" => {
                let identity = IdentityKeyPair::generate_with_rng(&mut rng);
                let key = identity.identity_key();
                assert_eq!(key.to_bytes()[..], bytes(step, "identity_key"), "{place}");
                assert_eq!(key.to_string(), step["text"], "{place}");
                assert_eq!(step["text"].as_str().unwrap().parse::<IdentityKey>().as_ref(), Ok(key));
                person.identity = Some(identity);
            }
            "prekeys" => {
                now = UnixTime::from_secs(step["now"].as_u64().unwrap());
                let one_time = step["one_time"].as_u64().unwrap() as u16;
                let identity = person.identity.as_ref().unwrap();
                person.prekeys = Some(PreKeys::generate_with_rng(identity, one_time, now, &mut rng));
            }
            "bundle" => {
                let bundle = person.prekeys.as_mut().unwrap().bundle().to_bytes();
                assert_eq!(bundle, bytes(step, "bundle"), "{place}");
                bundles.insert(who.into(), bundle);
            }
            "initiate" => {
                let bundle = PreKeyBundle::from_bytes(&bundles[step["peer"].as_str().unwrap()]).unwrap();
                let bundle = bundle.verify(now).unwrap();
                let identity = person.identity.as_ref().unwrap();
                let payload = bytes(step, "payload");
                let session = Session::initiate_with_rng(identity, bundle, &payload, &mut rng).unwrap();
                assert_eq!(session.id().to_bytes()[..], bytes(step, "session_id"), "{place}");
                person.session = Some(session);
            }
            "encrypt" => {
                let session = person.session.as_mut().unwrap();
                session.set_padding(match step["padding"].as_str().unwrap() {
                    "none" => Padding::None,
                    "buckets" => Padding::Buckets,
                    other => panic!("{place}: padding {other}"),
                });
                let sealed = session.encrypt_with_rng(&bytes(step, "content"), &mut rng).unwrap();
                assert_eq!(hex::encode(&sealed), step["message"].as_str().unwrap(), "{place}");
                messages.push(sealed);
            }
            "accept" => {
                let identity = person.identity.as_ref().unwrap();
                let prekeys = person.prekeys.as_mut().unwrap();
                match Session::accept_with_rng(identity, prekeys, message(), &mut rng) {
                    Ok(accepted) => {
                        assert_eq!(accepted.content, bytes(step, "content"), "{place}");
                        assert_eq!(accepted.payload, bytes(step, "payload"), "{place}");
                        let session = person.session.insert(accepted.session);
                        assert_eq!(session.id().to_bytes()[..], bytes(step, "session_id"), "{place}");
                        let peer = session.peer_identity().to_bytes();
                        assert_eq!(peer[..], bytes(step, "peer_identity"), "{place}");
                    }
                    Err(error) => assert_eq!(format!("{error:?}"), step["error"], "{place}"),
                }
            }
            "decrypt" => match person.session.as_mut().unwrap().decrypt(message()) {
                Ok(content) => assert_eq!(content, bytes(step, "content"), "{place}"),
                Err(error) => assert_eq!(format!("{error:?}"), step["error"], "{place}"),
            },
            "read_bundle" => {
                let read =
                    PreKeyBundle::from_bytes(&bytes(step, "bundle")).and_then(|bundle| bundle.verify(now));
                assert_eq!(format!("{:?}", read.unwrap_err()), step["error"], "{place}");
            }
            "accept_bytes" => {
                let identity = person.identity.as_ref().unwrap();
                let prekeys = person.prekeys.as_mut().unwrap();
                let before = prekeys.seal(&key);
                let accepted = Session::accept_with_rng(identity, prekeys, &bytes(step, "message"), &mut rng);
                assert_eq!(format!("{:?}", accepted.unwrap_err()), step["error"], "{place}");
                assert_eq!(prekeys.seal(&key), before, "{place}");
            }
            "decrypt_bytes" => {
                let session = person.session.as_mut().unwrap();
                let before = session.seal(&key);
                let error = session.decrypt(&bytes(step, "message")).unwrap_err();
                assert_eq!(format!("{error:?}"), step["error"], "{place}");
                assert_eq!(session.seal(&key), before, "{place}");
            }
            "lose" => {
                let session = person.session.as_mut().unwrap();
                session.set_padding(Padding::None);
                for _ in 0..step["count"].as_u64().unwrap() {
                    session.encrypt_with_rng(b"", &mut rng).unwrap();
                }
            }
            "snapshot" => person.snapshot = person.session.as_ref().unwrap().seal(&key),
            "reopen" | "restore" => {
                let current = person.session.as_ref().unwrap().seal(&key);
                let sealed = if step["op"] == "restore" { &person.snapshot } else { &current };
                person.session = Some(Session::open_with_rng(&key, sealed, &mut rng).unwrap());
            }
            other => panic!("{place}: unknown op {other}"),
        }
        assert!(rng.is_used_up(), "{place}: less randomness drawn than in the transcript");
    }
    steps.len()
}

#[test]
fn frozen_transcripts_replay() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    for name in [
        "handshake_one_time",
        "handshake_last_resort",
        "turns",
        "epochs",
        "skips",
        "refusals",
        "padding",
        "forged",
    ] {
        let steps = replay(&directory.join(name).with_extension("json"));
        assert!(steps > 8, "{name} has {steps} steps");
    }
}

/// What everybody can check of users and devices. (Root keys, claims, certificates and the succession of lists are not in
/// the public API: a unit test and `tests/interop` compare those.)
#[test]
fn frozen_device_lists_read() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/roster.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut keys = HashMap::<&str, IdentityKey>::new();
    let mut users = HashMap::<&str, UserId>::new();
    let (mut read, mut refused) = (0, 0);
    for step in file["steps"].as_array().unwrap() {
        let who = step["who"].as_str().unwrap();
        match step["op"].as_str().unwrap() {
            "identity" => {
                keys.insert(who, step["text"].as_str().unwrap().parse().unwrap());
            }
            "root" => {
                let user = UserId::from_bytes(&bytes(step, "user_id")).unwrap();
                assert_eq!(user.to_string(), step["text"]);
                assert_eq!(step["text"].as_str().unwrap().parse(), Ok(user));
                users.insert(who, user);
            }
            "device" => {
                let device = DeviceId::of(&keys[who]);
                assert_eq!(device.to_string(), step["device_id"]);
                let address = Address { user: users[step["user"].as_str().unwrap()], device };
                assert_eq!(step["address"].as_str().unwrap().parse(), Ok(address));
            }
            "list" => {
                let list = DeviceList::from_bytes(&bytes(step, "list")).unwrap();
                assert_eq!(list.to_bytes(), bytes(step, "list"));
                assert_eq!(list.user_id(), &users[who]);
                assert_eq!(list.version(), step["version"]);
                assert_eq!(list.hash()[..], bytes(step, "hash"));
                assert_eq!(list.issued().as_secs(), step["issued"]);
                let devices = step["devices"].as_array().unwrap();
                assert_eq!(list.devices().count(), devices.len());
                for name in devices {
                    assert!(list.contains(&DeviceId::of(&keys[name.as_str().unwrap()])));
                }
                read += 1;
            }
            "read_list" => {
                let error = DeviceList::from_bytes(&bytes(step, "list")).unwrap_err();
                assert_eq!(format!("{error:?}"), step["error"]);
                refused += 1;
            }
            _ => {}
        }
    }
    assert!(read > 5 && refused > 15, "{read} read, {refused} refused");
}

#[test]
fn frozen_verifications_replay() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/verify.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut users = HashMap::<&str, UserId>::new();
    let mut seen = HashMap::<&str, usize>::new();
    for step in file["steps"].as_array().unwrap() {
        let (op, who) = (step["op"].as_str().unwrap(), step["who"].as_str().unwrap());
        *seen.entry(op).or_default() += 1;
        if op == "root" {
            users.insert(who, UserId::from_bytes(&bytes(step, "user_id")).unwrap());
            continue;
        }
        let (me, peer) = (users[who], users[step["peer"].as_str().unwrap()]);
        let mut rng = Replay::new(bytes(step, "random"), 0);
        match op {
            "safety_number" => {
                let number = SafetyNumber::new(&me, &peer).unwrap();
                assert_eq!(number.to_string(), step["digits"]);
                assert_eq!(number.scannable()[..], bytes(step, "scannable"));
                assert_eq!(number.scannable_text(), step["text"]);
            }
            "scan" => match SafetyNumber::new(&me, &peer).unwrap().verify_scanned(bytes(step, "code")) {
                Ok(scan) => {
                    assert_eq!(format!("{scan:?}").split('(').next().unwrap(), step["result"]);
                }
                Err(error) => assert_eq!(format!("{error:?}"), step["error"]),
            },
            "sas" => {
                let (waiting, commitment) = SasInitiator::begin_with_rng(&me, &peer, &mut rng).unwrap();
                let (answered, answer) =
                    SasResponder::answer_with_rng(&peer, &me, &commitment, &mut rng).unwrap();
                let (code, reveal) = waiting.receive(&answer).unwrap();
                assert_eq!(commitment[..], bytes(step, "commitment"));
                assert_eq!(answer[..], bytes(step, "answer"));
                assert_eq!(reveal[..], bytes(step, "reveal"));
                for code in [code, answered.receive(&reveal).unwrap()] {
                    assert_eq!(serde_json::json!(code.emoji().map(|emoji| emoji.name())), step["emoji"]);
                    assert_eq!(serde_json::json!(code.numbers()), step["numbers"]);
                }
            }
            "read_sas" => {
                let message = bytes(step, "message");
                let mut begin = || SasInitiator::begin_with_rng(&me, &peer, &mut rng).unwrap();
                let error = match step["step"].as_u64().unwrap() {
                    1 => SasResponder::answer_with_rng(&peer, &me, &message, &mut rng).err(),
                    2 => begin().0.receive(&message).err(),
                    _ => {
                        let (_, commitment) = begin();
                        let answered = SasResponder::answer_with_rng(&peer, &me, &commitment, &mut rng);
                        answered.unwrap().0.receive(&message).map(|_: SasCode| ()).err()
                    }
                };
                assert_eq!(format!("{:?}", error.unwrap()), step["error"]);
            }
            other => panic!("unknown op {other}"),
        }
        assert!(rng.is_used_up(), "less randomness drawn than in {step}");
    }
    assert!(seen["safety_number"] > 3 && seen["scan"] > 20 && seen["sas"] > 3 && seen["read_sas"] > 20);
}

#[cfg(feature = "attachments")]
#[test]
fn frozen_attachments_replay() {
    use subrosa::{AttachmentDescriptor, AttachmentOpener, AttachmentSealer};

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/attachment.json");
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let steps = file["steps"].as_array().unwrap();
    assert!(steps.len() > 6);
    for step in steps {
        let size = step["size"].as_u64().unwrap();
        let content: Vec<u8> = (0..size).map(|i| (i % 251) as u8).collect();
        let mut rng = Replay::new(bytes(step, "random"), 0);
        let mut sealer = AttachmentSealer::new_with_rng(&mut rng, size).unwrap();
        let mut sealed = sealer.commitment().to_vec();
        let mut rest = &content[..];
        while let Some(len) = sealer.next_len() {
            let (part, behind) = rest.split_at(len);
            let mut chunk = part.to_vec();
            sealer.seal(&mut chunk).unwrap();
            (rest, sealed) = (behind, [sealed, chunk].concat());
        }
        assert!(rng.is_used_up());
        assert_eq!(step["file_len"], sealed.len());
        if let Some(expected) = step["file"].as_str() {
            assert_eq!(hex::encode(&sealed), expected);
        }
        let typed = sealer.finish().unwrap().with_media_type(step["media_type"].as_str().unwrap()).unwrap();
        let named = typed.with_file_name(step["file_name"].as_str().unwrap());
        let descriptor = named.with_thumbnail(&bytes(step, "thumbnail")).unwrap();
        assert_eq!(descriptor.to_bytes(), bytes(step, "descriptor"));

        let read = AttachmentDescriptor::from_bytes(&bytes(step, "descriptor")).unwrap();
        let mut opener = AttachmentOpener::new(&read, &sealed[..32]).unwrap();
        let mut opened = Vec::new();
        for number in 0..read.chunks() {
            let place = read.file_range(number);
            let mut chunk = sealed[place.start as usize..place.end as usize].to_vec();
            opener.open(&mut chunk).unwrap();
            opened.extend(chunk);
        }
        assert!(opened == content);
    }
}
