//! Makes and checks `tests/vectors/*.json`: whole transcripts with every intermediate secret, from fixed seeds.
//!
//! The files are frozen. This test replays their scripts and compares every byte; `SUBROSA_WRITE_VECTORS=1` writes
//! them anew, which a change of the wire format or of the use of randomness needs and nothing else does.

use alloc::{collections::BTreeMap, string::String, vec::Vec};
use core::convert::Infallible;

use chacha20::ChaCha20Rng;
use rand::{Rng, SeedableRng, TryCryptoRng, TryRng};
use serde_json::{Value, json};

use crate::{
    DeviceList, IdentityKeyPair, Padding, PreKeyBundle, PreKeys, Session, StorageKey, UnixTime,
    crypto::recorder::recorded, roster::RootKey,
};

mod forged;
mod roster;
mod verify;

/// A seeded generator that remembers what it gave.
pub(crate) struct Recording {
    rng: ChaCha20Rng,
    given: Vec<u8>,
}

impl TryRng for Recording {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unimplemented!("only bytes are drawn")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unimplemented!("only bytes are drawn")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.rng.fill_bytes(bytes);
        self.given.extend_from_slice(bytes);
        Ok(())
    }
}

impl TryCryptoRng for Recording {}

pub(crate) struct Person {
    pub(crate) identity: IdentityKeyPair,
    prekeys: Option<PreKeys>,
    session: Option<Session>,
}

/// Plays a script and writes down what happens.
pub(crate) struct Script {
    pub(crate) rng: Recording,
    pub(crate) now: UnixTime,
    pub(crate) people: BTreeMap<&'static str, Person>,
    bundles: BTreeMap<&'static str, Vec<u8>>,
    messages: Vec<Vec<u8>>,
    snapshots: BTreeMap<&'static str, Vec<u8>>,
    pub(crate) roots: BTreeMap<&'static str, RootKey>,
    pub(crate) lists: Vec<DeviceList>,
    steps: Vec<Value>,
}

impl Script {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = Recording { rng: ChaCha20Rng::seed_from_u64(seed), given: Vec::new() };
        Self {
            rng,
            now: UnixTime::from_secs(1_800_000_000),
            people: BTreeMap::new(),
            bundles: BTreeMap::new(),
            messages: Vec::new(),
            snapshots: BTreeMap::new(),
            roots: BTreeMap::new(),
            lists: Vec::new(),
            steps: Vec::new(),
        }
    }

    /// Runs one step of `who` and appends its record.
    pub(crate) fn step(
        &mut self,
        op: &str,
        who: &'static str,
        run: impl FnOnce(&mut Self) -> Vec<(&'static str, Value)>,
    ) {
        self.rng.given.clear();
        let (fields, secrets) = recorded(|| run(self));
        let mut step =
            json!({ "op": op, "who": who, "random": hex::encode(&self.rng.given), "secrets": secrets });
        for (name, value) in fields {
            step[name] = value;
        }
        self.steps.push(step);
    }

    pub(crate) fn identity(&mut self, who: &'static str) {
        self.step("identity", who, |script| {
            let identity = IdentityKeyPair::generate_with_rng(&mut script.rng);
            let key = *identity.identity_key();
            let binding = hex::encode(identity.binding().as_bytes());
            script.people.insert(who, Person { identity, prekeys: None, session: None });
            let text = alloc::format!("{key}");
            let key = hex::encode(key.to_bytes());
            Vec::from([("identity_key", json!(key)), ("text", json!(text)), ("binding", json!(binding))])
        });
    }

    fn prekeys(&mut self, who: &'static str, one_time: u16) {
        self.step("prekeys", who, |script| {
            let (now, person) = (script.now, script.people.get_mut(who).unwrap());
            let prekeys = PreKeys::generate_with_rng(&person.identity, one_time, now, &mut script.rng);
            person.prekeys = Some(prekeys);
            Vec::from([("now", json!(now.as_secs())), ("one_time", json!(one_time))])
        });
    }

    fn bundle(&mut self, who: &'static str) {
        self.step("bundle", who, |script| {
            let person = script.people.get_mut(who).unwrap();
            let bundle = person.prekeys.as_mut().unwrap().bundle().to_bytes();
            script.bundles.insert(who, bundle.clone());
            Vec::from([("bundle", json!(hex::encode(bundle)))])
        });
    }

    fn initiate(&mut self, who: &'static str, peer: &'static str, payload: &[u8]) {
        self.step("initiate", who, |script| {
            let bundle = PreKeyBundle::from_bytes(&script.bundles[peer]).unwrap();
            let bundle = bundle.verify(script.now).unwrap();
            let person = script.people.get_mut(who).unwrap();
            let session = Session::initiate_with_rng(&person.identity, bundle, payload, &mut script.rng);
            let session = person.session.insert(session.unwrap());
            let id = hex::encode(session.id().to_bytes());
            Vec::from([
                ("peer", json!(peer)),
                ("payload", json!(hex::encode(payload))),
                ("session_id", json!(id)),
            ])
        });
    }

    /// Returns the number of the message.
    fn encrypt(&mut self, who: &'static str, content: &[u8], padding: Padding) -> usize {
        self.step("encrypt", who, |script| {
            let session = script.people.get_mut(who).unwrap().session.as_mut().unwrap();
            session.set_padding(padding);
            let message = session.encrypt_with_rng(content, &mut script.rng).unwrap();
            script.messages.push(message.clone());
            let padding = if padding == Padding::None { "none" } else { "buckets" };
            Vec::from([
                ("content", json!(hex::encode(content))),
                ("padding", json!(padding)),
                ("message", json!(hex::encode(message))),
            ])
        });
        self.messages.len() - 1
    }

    fn accept(&mut self, who: &'static str, message: usize) {
        self.step("accept", who, |script| {
            let person = script.people.get_mut(who).unwrap();
            let accepted = Session::accept_with_rng(
                &person.identity,
                person.prekeys.as_mut().unwrap(),
                &script.messages[message],
                &mut script.rng,
            );
            let accepted = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    let error = json!(alloc::format!("{error:?}"));
                    return Vec::from([("message", json!(message)), ("error", error)]);
                }
            };
            let peer = hex::encode(accepted.session.peer_identity().to_bytes());
            let id = hex::encode(accepted.session.id().to_bytes());
            person.session = Some(accepted.session);
            Vec::from([
                ("message", json!(message)),
                ("content", json!(hex::encode(accepted.content))),
                ("payload", json!(hex::encode(accepted.payload))),
                ("peer_identity", json!(peer)),
                ("session_id", json!(id)),
            ])
        });
    }

    fn decrypt(&mut self, who: &'static str, message: usize) {
        self.step("decrypt", who, |script| {
            let session = script.people.get_mut(who).unwrap().session.as_mut().unwrap();
            let result = match session.decrypt(&script.messages[message]) {
                Ok(content) => ("content", json!(hex::encode(content))),
                Err(error) => ("error", json!(alloc::format!("{error:?}"))),
            };
            Vec::from([("message", json!(message)), result])
        });
    }

    /// Encrypts messages that are never delivered and not written down.
    fn lose(&mut self, who: &'static str, count: u32) {
        self.step("lose", who, |script| {
            let session = script.people.get_mut(who).unwrap().session.as_mut().unwrap();
            session.set_padding(Padding::None);
            for _ in 0..count {
                session.encrypt_with_rng(b"", &mut script.rng).unwrap();
            }
            Vec::from([("count", json!(count))])
        });
        self.steps.last_mut().unwrap()["secrets"] = json!([]);
    }

    fn reopen(&mut self, who: &'static str) {
        self.step("reopen", who, |script| {
            let sealed = script.people[who].session.as_ref().unwrap().seal(&storage_key());
            script.open(who, &sealed);
            Vec::new()
        });
    }

    fn snapshot(&mut self, who: &'static str) {
        self.step("snapshot", who, |script| {
            let sealed = script.people[who].session.as_ref().unwrap().seal(&storage_key());
            script.snapshots.insert(who, sealed);
            Vec::new()
        });
    }

    fn restore(&mut self, who: &'static str) {
        self.step("restore", who, |script| {
            let sealed = script.snapshots[who].clone();
            script.open(who, &sealed);
            Vec::new()
        });
    }

    fn open(&mut self, who: &'static str, sealed: &[u8]) {
        let session = Session::open_with_rng(&storage_key(), sealed, &mut self.rng).unwrap();
        self.people.get_mut(who).unwrap().session = Some(session);
    }

    fn handshake(&mut self, one_time: u16, payload: &[u8]) {
        self.identity("alice");
        self.identity("bob");
        self.prekeys("bob", one_time);
        self.bundle("bob");
        self.initiate("alice", "bob", payload);
        let first = self.encrypt("alice", b"hello", Padding::Buckets);
        self.accept("bob", first);
    }

    /// Compares with the frozen file, or writes it when told to.
    pub(crate) fn check(self, name: &str, description: &str) {
        let steps: Vec<String> = self.steps.iter().map(|step| alloc::format!("    {step}")).collect();
        let text = alloc::format!(
            "{{\n  \"description\": {},\n  \"format\": 1,\n  \"steps\": [\n{}\n  ]\n}}\n",
            json!(description),
            steps.join(",\n")
        );
        let path = alloc::format!("{}/tests/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("SUBROSA_WRITE_VECTORS").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        let frozen = std::fs::read_to_string(&path).unwrap();
        for (now, then) in text.lines().zip(frozen.lines()) {
            assert_eq!(now, then, "{name}.json");
        }
        assert_eq!(text, frozen, "{name}.json");
    }
}

fn storage_key() -> StorageKey {
    StorageKey::from_bytes(&[7; 32])
}

const PADDED: Padding = Padding::Buckets;

#[test]
fn handshake_with_one_time_prekey() {
    let mut script = Script::new(1);
    script.handshake(2, b"");
    let repeated = script.encrypt("alice", b"the handshake part is repeated", PADDED);
    script.decrypt("bob", repeated);
    let reply = script.encrypt("bob", b"reply", PADDED);
    script.decrypt("alice", reply);
    let last = script.encrypt("alice", b"no handshake part any more", PADDED);
    script.decrypt("bob", last);
    script.check(
        "handshake_one_time",
        "Handshake with a one-time prekey, until the handshake part is dropped.",
    );
}

#[test]
fn handshake_without_one_time_prekey() {
    let mut script = Script::new(2);
    script.handshake(0, &[0xc5; 256]);
    let reply = script.encrypt("bob", b"reply", PADDED);
    script.decrypt("alice", reply);
    script
        .check("handshake_last_resort", "Handshake without a one-time prekey, with a payload of 256 bytes.");
}

#[test]
fn conversation_of_several_turns() {
    let mut script = Script::new(3);
    script.handshake(1, b"");
    for round in 0..4u8 {
        for number in 0..2 {
            let message = script.encrypt("bob", &[b'b', round, number], PADDED);
            script.decrypt("alice", message);
        }
        for number in 0..3 {
            let message = script.encrypt("alice", &[b'a', round, number], PADDED);
            script.decrypt("bob", message);
        }
    }
    script.check("turns", "Nine turns of the EC ratchet, every message delivered in order.");
}

#[test]
fn epochs_of_the_pq_ratchet() {
    let mut script = Script::new(7);
    script.handshake(1, b"");
    let text = [b't'; 40];
    let mut sides = ["bob", "alice"];
    for round in 0..90 {
        let content = if round == 20 { &[b'l'; 1_100][..] } else { &text };
        let message = script.encrypt(sides[0], content, if round == 31 { Padding::None } else { PADDED });
        // Some are lost, so that codewords beyond the first are needed; and both sides go to sleep in between.
        if round % 6 != 4 {
            script.decrypt(sides[1], message);
        }
        if round % 25 == 13 {
            sides.iter().for_each(|side| script.reopen(side));
        }
        sides.reverse();
    }
    for person in script.people.values() {
        assert!(person.session.as_ref().unwrap().pq_epoch() >= 3);
    }
    script.check("epochs", "Three epochs and more of the PQ ratchet, with loss and restarts.");
}

#[test]
fn skips_losses_duplicates() {
    let mut script = Script::new(4);
    script.handshake(1, b"");
    let reply = script.encrypt("bob", b"reply", PADDED);
    script.decrypt("alice", reply);
    let first: Vec<usize> = (0..5).map(|i| script.encrypt("alice", &[i], PADDED)).collect();
    // Out of order, one lost until after the turn, one for good; a duplicate of each kind.
    script.decrypt("bob", first[3]);
    script.decrypt("bob", first[0]);
    script.decrypt("bob", first[3]);
    script.decrypt("bob", first[0]);
    let answer = script.encrypt("bob", b"answer", PADDED);
    script.decrypt("alice", answer);
    let second: Vec<usize> = (0..4).map(|i| script.encrypt("alice", &[10 + i], PADDED)).collect();
    script.decrypt("bob", second[2]);
    script.decrypt("bob", first[4]);
    script.decrypt("bob", first[1]);
    script.decrypt("bob", first[4]);
    script.decrypt("bob", second[0]);
    // A restart on each side, then the last ones. first[2] and second[1] never arrive.
    script.reopen("alice");
    script.reopen("bob");
    script.decrypt("bob", second[3]);
    let last = script.encrypt("alice", b"from another incarnation", PADDED);
    script.decrypt("bob", last);
    let answer = script.encrypt("bob", b"answer", PADDED);
    script.decrypt("alice", answer);
    script.decrypt("alice", answer);
    script.check("skips", "Reordering, loss, duplicates and restarts, with the errors that they give.");
}

#[test]
fn refusals() {
    let mut script = Script::new(6);
    script.identity("alice");
    script.identity("bob");
    script.prekeys("bob", 1);
    // Two sessions: with a one-time prekey, and without.
    for expected in ["one-time", "last resort"] {
        script.bundle("bob");
        script.initiate("alice", "bob", expected.as_bytes());
        let first = script.encrypt("alice", b"first", PADDED);
        let second = script.encrypt("alice", b"second", PADDED);
        script.accept("bob", second);
        script.accept("bob", second);
        script.accept("bob", first);
        script.decrypt("bob", first);
    }
    let reply = script.encrypt("bob", b"reply", PADDED);
    script.decrypt("alice", reply);
    // More missing than keys are kept for.
    let old = script.encrypt("alice", b"old", PADDED);
    script.accept("bob", old);
    script.lose("alice", 1_999);
    let newer = script.encrypt("alice", b"newer", PADDED);
    let newest = script.encrypt("alice", b"newest", PADDED);
    let missing = script.encrypt("alice", b"missing", PADDED);
    let last = script.encrypt("alice", b"last", PADDED);
    script.decrypt("bob", newest);
    script.decrypt("bob", old);
    script.decrypt("bob", newer);
    script.decrypt("bob", last);
    script.decrypt("bob", newer);
    // A rolled-back peer: the same number again; then a number that is new.
    script.snapshot("alice");
    let kept = script.encrypt("alice", b"kept", PADDED);
    script.decrypt("bob", kept);
    script.restore("alice");
    let again = script.encrypt("alice", b"again", PADDED);
    script.decrypt("bob", again);
    script.decrypt("bob", kept);
    let fresh = script.encrypt("alice", b"fresh", PADDED);
    script.decrypt("bob", fresh);
    // More missing than is skipped over: refused in the chain, abandoned at the turn.
    script.lose("alice", 25_001);
    let far = script.encrypt("alice", b"far", PADDED);
    script.decrypt("bob", far);
    let answer = script.encrypt("bob", b"answer", PADDED);
    script.decrypt("alice", answer);
    let turned = script.encrypt("alice", b"turned", PADDED);
    script.decrypt("bob", turned);
    script.decrypt("bob", far);
    script.decrypt("bob", missing);
    script
        .check("refusals", "Replays, evicted keys, rollback, an abandoned chain, and the errors they give.");
}

#[test]
fn padding_edges() {
    let mut script = Script::new(5);
    script.handshake(1, b"");
    let reply = script.encrypt("bob", b"", PADDED);
    script.decrypt("alice", reply);
    for len in [0, 1, 217, 218, 473, 474, 985, 986, 1049, 1050, 5000] {
        let message = script.encrypt("alice", &[0x61; 5000][..len], PADDED);
        script.decrypt("bob", message);
    }
    for len in [0, 1, 11, 12, 256] {
        let message = script.encrypt("alice", &[0x62; 256][..len], Padding::None);
        script.decrypt("bob", message);
    }
    script.check("padding", "Contents at the edges of every bucket, and without padding.");
}
