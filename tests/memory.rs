//! a27: no key is left in memory. A frozen transcript is replayed, so every intermediate secret is known; after
//! everything has been dropped the whole memory of the process, heap and stack, is searched for them, and for what follows
//! from them (`derived`). Each step is taken at a depth of its own of a large stack, so that no later one overwrites what it
//! leaves there; and each, or every few, is once the last, so that nothing is overwritten that is freed.
//!
//! Linux only: it reads `/proc/self/mem`.
#![allow(
    clippy::panic,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that panics is a test that fails"
)]
#![cfg(target_os = "linux")]

use std::{
    collections::HashMap,
    fs::File,
    hint::black_box,
    io::{Read, Seek, SeekFrom},
    mem::MaybeUninit,
    path::Path,
};

use rand::Rng;
use serde_json::Value;
use subrosa::{IdentityKeyPair, Padding, PreKeys, Session, StorageKey, UnixTime};

mod common;
#[path = "memory/derived.rs"]
mod derived;
#[cfg(feature = "attachments")]
#[path = "memory/devices.rs"]
mod devices;

use common::{Replay, seeded};

/// Secrets are held under this mask throughout, so that the search does not find its own list.
const MASK: u8 = 0xa5;

/// How far apart on the stack two steps are: further than the deepest goes.
const STEP: usize = 256 * 1024;

/// Enough for all steps.
const STACK: usize = 2 * DEPTHS * STEP;
/// How many steps have a depth of their own before the first is used again.
const DEPTHS: usize = 64;

/// Hexadecimal to masked bytes; no unmasked byte string ever exists.
fn masked(text: &Value) -> Vec<u8> {
    let digit = |c: u8| (c as char).to_digit(16).unwrap() as u8;
    let text = text.as_str().unwrap().as_bytes();
    text.chunks(2).map(|pair| (digit(pair[0]) << 4 | digit(pair[1])) ^ MASK).collect()
}

#[derive(Default)]
struct Person {
    identity: Option<IdentityKeyPair>,
    prekeys: Option<PreKeys>,
    session: Option<Session>,
}

/// What is the app's to wipe.
fn wipe(bytes: &mut [u8]) {
    bytes.fill(0);
    black_box(bytes);
}

/// Runs `f` so many times [`STEP`] further down the stack.
#[inline(never)]
fn at_depth(depth: usize, f: &mut dyn FnMut()) {
    // Uninitialised: what was there before stays there.
    let mut space = [const { MaybeUninit::<u8>::uninit() }; STEP];
    black_box(space.as_mut_ptr());
    if depth == 0 {
        f()
    } else {
        at_depth(depth - 1, f)
    }
    black_box(space.as_mut_ptr());
}

/// Leaves the unmasked bytes on the stack.
#[inline(never)]
fn plant(masked: &[u8; 32]) {
    black_box(masked.map(|byte| byte ^ MASK));
}

/// Acts the transcript out, and returns whoever took part.
#[inline(never)]
fn act(steps: &[Value]) -> HashMap<&str, Person> {
    let key = StorageKey::from_bytes(&[9; 32]);
    let now = UnixTime::from_secs(1_800_000_000);
    let mut people = HashMap::<&str, Person>::new();
    let mut bundle = None;
    let mut messages = Vec::new();
    for (depth, step) in steps.iter().enumerate() {
        let person = people.entry(step["who"].as_str().unwrap()).or_default();
        let mut rng = Replay::new(masked(&step["random"]), MASK);
        let number = step["message"].as_u64().unwrap_or_default() as usize;
        at_depth(depth % DEPTHS, &mut || match step["op"].as_str().unwrap() {
            "identity" => person.identity = Some(IdentityKeyPair::generate_with_rng(&mut rng)),
            "prekeys" => {
                let count = step["one_time"].as_u64().unwrap() as u16;
                let identity = person.identity.as_ref().unwrap();
                person.prekeys = Some(PreKeys::generate_with_rng(identity, count, now, &mut rng));
            }
            "bundle" => bundle = person.prekeys.as_mut().map(|keys| keys.bundle().verify(now).unwrap()),
            "initiate" => {
                let identity = person.identity.as_ref().unwrap();
                let mut payload = masked(&step["payload"]);
                payload.iter_mut().for_each(|byte| *byte ^= MASK);
                let bundle = bundle.take().unwrap();
                person.session =
                    Some(Session::initiate_with_rng(identity, bundle, &payload, &mut rng).unwrap());
                wipe(&mut payload);
            }
            "encrypt" => {
                let session = person.session.as_mut().unwrap();
                let content = hex::decode(step["content"].as_str().unwrap()).unwrap();
                session.set_padding(if step["padding"] == "none" { Padding::None } else { Padding::Buckets });
                messages.push(session.encrypt_with_rng(&content, &mut rng).unwrap());
            }
            "accept" => {
                let identity = person.identity.as_ref().unwrap();
                let prekeys = person.prekeys.as_mut().unwrap();
                let mut accepted =
                    Session::accept_with_rng(identity, prekeys, &messages[number], &mut rng).unwrap();
                wipe(&mut accepted.payload);
                person.session = Some(accepted.session);
            }
            "decrypt" => drop(person.session.as_mut().unwrap().decrypt(&messages[number])),
            "reopen" => {
                let sealed = person.session.as_ref().unwrap().seal(&key);
                person.session = Some(Session::open_with_rng(&key, &sealed, &mut rng).unwrap());
            }
            other => panic!("unknown op {other}"),
        });
    }
    people
}

/// [`act`], then further prekeys of these (masked) random bytes, and what is stored and opened again.
#[inline(never)]
fn act_on<'a>(steps: &'a [Value], further: &[u8]) -> HashMap<&'a str, Person> {
    let key = StorageKey::from_bytes(&[9; 32]);
    let now = UnixTime::from_secs(1_800_000_000);
    let mut people = act(steps);
    let mut depth = steps.len().min(DEPTHS);
    let mut rng = Replay::new(further.to_vec(), MASK);
    // A type of generator for each call: what is called in one place is inlined there, where no callee can scrub it.
    for Person { identity, prekeys, .. } in people.values_mut() {
        let (Some(identity), Some(prekeys)) = (identity, prekeys) else { continue };
        at_depth(depth, &mut || prekeys.rotate_with_rng(identity, now, &mut &mut rng).unwrap());
        at_depth(depth + 1, &mut || prekeys.refill_with_rng(identity, 2, &mut &mut &mut rng).unwrap());
        at_depth(depth + 2, &mut || drop(prekeys.hand_out(2)));
        depth += 3;
    }
    assert!(rng.is_used_up());
    // State that was stored and opened again leaves nothing behind either.
    for person in people.values_mut() {
        let sealed = person.identity.as_ref().unwrap().seal(&key);
        person.identity = Some(IdentityKeyPair::open(&key, &sealed).unwrap());
        if let Some(prekeys) = &person.prekeys {
            let sealed = prekeys.seal(&key);
            person.prekeys = Some(PreKeys::open(&key, &sealed).unwrap());
        }
    }
    people
}

/// The names of all secrets of which 16 bytes in a row are found anywhere in the memory of this process.
#[inline(never)]
fn search(secrets: &[(String, Vec<u8>)]) -> Vec<String> {
    const BLOCK: usize = 4096;
    let mut index = HashMap::<u64, Vec<usize>>::new();
    // Looked at first: nearly nothing is in the index.
    let mut filter = vec![0_u64; 1 << 16];
    let place = |head: u64| ((head >> 6) as usize & 0xffff, 1 << (head & 63));
    for (number, (_, secret)) in secrets.iter().enumerate() {
        for start in 0..=secret.len() - 16 {
            let head = u64::from_le_bytes(*secret[start..].first_chunk().unwrap());
            index.entry(head).or_default().push(number << 16 | start);
            let (word, bit) = place(head);
            filter[word] |= bit;
        }
    }
    let mask = u64::from_le_bytes([MASK; 8]);
    let mut found = Vec::new();
    let mut memory = File::open("/proc/self/mem").unwrap();
    let mut buffer = vec![0; 1 << 16];
    for line in std::fs::read_to_string("/proc/self/maps").unwrap().lines() {
        let mut fields = line.split_ascii_whitespace();
        let (range, permissions) = (fields.next().unwrap(), fields.next().unwrap());
        if !permissions.starts_with("rw") {
            continue;
        }
        let (start, end) = range.split_once('-').unwrap();
        let (mut at, end) = (u64::from_str_radix(start, 16).unwrap(), u64::from_str_radix(end, 16).unwrap());
        while at < end {
            let want = buffer.len().min((end - at) as usize);
            memory.seek(SeekFrom::Start(at)).unwrap();
            let Ok(read) = memory.read(&mut buffer[..want]) else { break };
            if read < 16 {
                break;
            }
            for begin in (0..read).step_by(BLOCK) {
                let block = &buffer[begin..read.min(begin + BLOCK + 15)];
                // Most of a large stack was never written.
                if *block == [0; BLOCK + 15][..block.len()] {
                    continue;
                }
                for (offset, window) in block.windows(16).enumerate() {
                    let head = u64::from_le_bytes(*window.first_chunk().unwrap()) ^ mask;
                    let (word, bit) = place(head);
                    if filter[word] & bit == 0 {
                        continue;
                    }
                    for place in index.get(&head).into_iter().flatten() {
                        let (name, secret) = &secrets[place >> 16];
                        let start = place & 0xffff;
                        if window.iter().zip(&secret[start..start + 16]).all(|(a, b)| a ^ MASK == *b) {
                            let begins = at + (begin + offset) as u64 - start as u64;
                            found.push(format!("{name} at {begins:x} in {line}"));
                        }
                    }
                }
            }
            buffer.fill(0);
            // Overlapping reads: a secret may lie across the border.
            at += if read == want && at + (read as u64) < end { read as u64 - 15 } else { read as u64 };
        }
    }
    found.sort_unstable();
    found.dedup();
    found
}

#[test]
fn a27_no_key_is_left_in_memory() {
    // Searched before the thread ends: then its stack is gone.
    std::thread::Builder::new().stack_size(STACK).spawn(leave_nothing).unwrap().join().unwrap();
}

fn leave_nothing() {
    // One prekey on rotation, two on refilling: 32 bytes each, hedged into keys.
    let mut further = [0; 3 * 32];
    seeded(27).fill_bytes(&mut further);
    let mut planted = [0; 32];
    seeded(28).fill_bytes(&mut planted);
    for name in ["skips", "handshake_last_resort", "epochs"] {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name).with_extension("json");
        let file: Value = serde_json::from_reader(File::open(&path).unwrap()).unwrap();
        let steps = file["steps"].as_array().unwrap();
        let public = [
            "h1",
            "h2",
            "header",
            "session id",
            "KEM header",
            "KEM header MAC",
            "KEM ct1",
            "KEM ct2",
            "KEM ciphertext MAC",
        ];
        let mut secrets: Vec<(String, Vec<u8>)> = Vec::new();
        for step in steps {
            if let Some(payload) = step.get("payload")
                && payload.as_str() != Some("")
            {
                secrets.push(("payload".into(), masked(payload)[..32].to_vec()));
            }
            if matches!(step["op"].as_str(), Some("identity" | "prekeys")) {
                // As drawn: private keys, 32 bytes each, and what prekeys are derived from.
                for (number, key) in masked(&step["random"]).chunks_exact(32).enumerate() {
                    secrets.push((format!("{} key {number}", step["op"]), key.to_vec()));
                }
            }
            for secret in step["secrets"].as_array().unwrap() {
                let name = secret[0].as_str().unwrap();
                let bytes = masked(&secret[1]);
                if !public.contains(&name) && bytes.len() >= 32 {
                    secrets.push((name.into(), bytes));
                }
            }
        }
        for (number, key) in further.chunks_exact(32).enumerate() {
            secrets.push((format!("further prekeys, key {number}"), key.to_vec()));
        }
        secrets.extend(derived::derived(&path));
        assert_covered(name, &secrets);
        let people = black_box(act_on(steps, &further));
        let alive = search(&secrets);
        assert!(!alive.is_empty(), "the search finds what is there: sessions are alive");
        drop(people);
        let found = search(&secrets);
        assert!(found.is_empty(), "{name}: {} left:\n{}", found.len(), found.join("\n"));
        // What was left early, and freed, may have been overwritten since.
        for end in (1..steps.len()).step_by(steps.len().div_ceil(40)) {
            drop(black_box(act(&steps[..end])));
            let found = search(&secrets);
            assert!(found.is_empty(), "{name}, {end} steps: {} left:\n{}", found.len(), found.join("\n"));
        }
        // What a step leaves on its stack would have been found.
        at_depth(DEPTHS / 2, &mut || plant(&planted));
        assert!(!search(&[("planted".into(), planted.to_vec())]).is_empty());
    }
}

/// Nothing that has to be looked for is missing from the list.
fn assert_covered(name: &str, secrets: &[(String, Vec<u8>)]) {
    for kind in [
        "EC root key",
        "PQ root key",
        "PQ root secret",
        "EC chain key",
        "EC chain key 12",
        "PQ chain key A->B",
        "PQ chain key 12",
        "EC message key",
        "EC message key 11",
        "PQ message key",
        "PQ message key 11",
        "body key",
        "header key",
        "next header key",
        "DH",
        "ck1",
        "ck2",
        "identity key",
        "\"identity\" key 0",
        "\"identity\" key 1",
        "signing key, expanded",
        "signing key, reduced",
        "hedge secret",
        "ratchet private key",
        "EK_A private",
        "prekey private key",
        "prekey KEM seed",
        "ML-KEM-1024 private key",
        "KEM seed",
        "ML-KEM-768 private key",
        "KEM coins",
        "ss",
        "KEM shared secret",
        "PQ epoch key",
        "authenticator MAC key",
    ] {
        assert!(secrets.iter().any(|(secret, _)| secret == kind), "{name} has no {kind}");
    }
}
