//! The reference by itself: it makes and reads the frozen transcripts of `tests/vectors`, byte for byte.

use std::{collections::HashMap, fs, path::Path};

use serde_json::Value;

use crate::reference::{
    encoding::Padding,
    notes::{Tally, count},
    prekeys::{Bundle, Identity, Prekeys},
    primitives::Tape,
    session::Session,
};

#[derive(Default)]
struct Person {
    identity: Option<Identity>,
    prekeys: Option<Prekeys>,
    session: Option<Session>,
    snapshot: Option<Session>,
}

fn bytes(step: &Value, field: &str) -> Vec<u8> {
    hex::decode(step[field].as_str().unwrap_or_else(|| panic!("no {field} in {step}"))).unwrap()
}

fn replay(path: &Path) {
    let file: Value = serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap();
    let mut people = HashMap::<String, Person>::new();
    let mut bundles = HashMap::<String, Vec<u8>>::new();
    let mut messages = Vec::new();
    let mut now = 0;
    for (number, step) in file["steps"].as_array().unwrap().iter().enumerate() {
        let place = format!("{}, step {number}", path.display());
        let who = step["who"].as_str().unwrap();
        let person = people.entry(who.into()).or_default();
        let mut tape = Tape::new(bytes(step, "random"));
        let message = || -> &Vec<u8> { &messages[step["message"].as_u64().unwrap() as usize] };
        match step["op"].as_str().unwrap() {
            "identity" => {
                let identity = person.identity.insert(Identity::generate(&mut tape));
                assert_eq!(identity.ik[..], bytes(step, "identity_key"), "{place}");
                assert_eq!(identity.binding[..], bytes(step, "binding"), "{place}");
            }
            "prekeys" => {
                now = step["now"].as_u64().unwrap();
                let one_time = step["one_time"].as_u64().unwrap() as usize;
                let identity = person.identity.as_ref().unwrap();
                person.prekeys = Some(Prekeys::generate(identity, one_time, now, &mut tape));
            }
            "bundle" => {
                let bundle = person.prekeys.as_mut().unwrap().bundle().to_bytes();
                assert_eq!(bundle, bytes(step, "bundle"), "{place}");
                bundles.insert(who.into(), bundle);
            }
            "initiate" => {
                let bundle = Bundle::read(&bundles[step["peer"].as_str().unwrap()]).unwrap();
                bundle.verify(now).unwrap();
                let (identity, payload) = (person.identity.as_ref().unwrap(), bytes(step, "payload"));
                let session = Session::initiate(identity, &bundle, &payload, &mut tape).unwrap();
                assert_eq!(session.id[..], bytes(step, "session_id"), "{place}");
                person.session = Some(session);
            }
            "encrypt" => {
                let session = person.session.as_mut().unwrap();
                session.padding = if step["padding"] == "none" { Padding::None } else { Padding::Buckets };
                let sealed = session.encrypt(&bytes(step, "content"), &mut tape).unwrap();
                assert_eq!(hex::encode(&sealed), step["message"].as_str().unwrap(), "{place}");
                messages.push(sealed);
            }
            "accept" => {
                let (identity, prekeys) =
                    (person.identity.as_ref().unwrap(), person.prekeys.as_mut().unwrap());
                match Session::accept(identity, prekeys, message(), &mut tape) {
                    Ok(accepted) => {
                        assert_eq!(accepted.content, bytes(step, "content"), "{place}");
                        assert_eq!(accepted.payload, bytes(step, "payload"), "{place}");
                        assert_eq!(accepted.session.id[..], bytes(step, "session_id"), "{place}");
                        assert_eq!(accepted.session.peer[..], bytes(step, "peer_identity"), "{place}");
                        person.session = Some(accepted.session);
                    }
                    Err(refusal) => assert_eq!(format!("{refusal:?}"), step["error"], "{place}"),
                }
            }
            "decrypt" => match person.session.as_mut().unwrap().decrypt(message()) {
                Ok(content) => assert_eq!(content, bytes(step, "content"), "{place}"),
                Err(refusal) => assert_eq!(format!("{refusal:?}"), step["error"], "{place}"),
            },
            "read_bundle" => {
                let read = Bundle::read(&bytes(step, "bundle")).and_then(|bundle| bundle.verify(now));
                assert_eq!(format!("{:?}", read.unwrap_err()), step["error"], "{place}");
            }
            "accept_bytes" => {
                let (identity, prekeys) =
                    (person.identity.as_ref().unwrap(), person.prekeys.as_mut().unwrap());
                let accepted = Session::accept(identity, prekeys, &bytes(step, "message"), &mut tape);
                assert_eq!(format!("{:?}", accepted.err().unwrap()), step["error"], "{place}");
            }
            "decrypt_bytes" => {
                let refusal = person.session.as_mut().unwrap().decrypt(&bytes(step, "message")).unwrap_err();
                assert_eq!(format!("{refusal:?}"), step["error"], "{place}");
            }
            "lose" => {
                let session = person.session.as_mut().unwrap();
                session.padding = Padding::None;
                for _ in 0..step["count"].as_u64().unwrap() {
                    session.encrypt(b"", &mut tape).unwrap();
                }
            }
            "snapshot" => person.snapshot = person.session.clone(),
            "reopen" => person.session = Some(person.session.as_ref().unwrap().reopened(&mut tape)),
            "restore" => person.session = Some(person.snapshot.as_ref().unwrap().reopened(&mut tape)),
            other => panic!("{place}: unknown op {other}"),
        }
        assert_eq!(tape.drawn(), bytes(step, "random").len(), "{place}: less is drawn");
    }
}

#[test]
fn the_reference_replays_the_frozen_transcripts() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors");
    for name in [
        "handshake_one_time",
        "handshake_last_resort",
        "turns",
        "skips",
        "refusals",
        "padding",
        "epochs",
        "forged",
    ] {
        replay(&directory.join(name).with_extension("json"));
    }
    let mut tally = Tally::new();
    count(&mut tally);
    assert!(tally["PQ epoch"] >= 4 && tally["EC turn"] > 20, "{tally:?}");
}
