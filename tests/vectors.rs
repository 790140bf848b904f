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
use subrosa::{IdentityKey, IdentityKeyPair, Padding, PreKeyBundle, PreKeys, Session, StorageKey, UnixTime};

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
                let session = Session::initiate_with_rng(identity, &bundle, &payload, &mut rng).unwrap();
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
    for name in ["handshake_one_time", "handshake_last_resort", "turns", "skips", "refusals", "padding"] {
        let steps = replay(&directory.join(name).with_extension("json"));
        assert!(steps > 8, "{name} has {steps} steps");
    }
}
