//! Writes the seeds of the fuzz targets: `cargo run --manifest-path fuzz/Cargo.toml --example seeds`.

use std::{fs, io, path::Path};

use subrosa::{Address, DeviceId, IdentityKey, SafetyNumber, SasInitiator, SignedPreKey, UserId};
use subrosa_fuzz::{FIXTURE, rng};

use Step::{Deliver, Lose, Repeat, Restart, Send};

fn main() -> io::Result<()> {
    decode()?;
    messages()?;
    sealed()?;
    devices()?;
    conversations()
}

/// A byte that chooses the call, and what it is given.
fn devices() -> io::Result<()> {
    let bundle = FIXTURE.bundles[0].to_bytes();
    write("device", "bundle", &[&[2], &bundle[..]].concat())?;
    for (index, initial) in FIXTURE.initial.iter().enumerate() {
        write("device", &format!("initial_{index}"), &[&[0x80], &initial.message.bytes[..]].concat())?;
    }
    for (call, name) in [(0, "message"), (3, "reply"), (4, "offer"), (6, "backup")] {
        write("device", name, &[&[call, 0x21], &[1; 200][..]].concat())?;
    }
    Ok(())
}

fn decode() -> io::Result<()> {
    let [with_one_time, last_resort] = &FIXTURE.bundles;
    let bundle = with_one_time.to_bytes();
    let signed_prekey = 1 + IdentityKey::LEN;
    let flag = signed_prekey + SignedPreKey::LEN;
    let text = with_one_time.identity_key().to_string();
    write("decode", "bundle", &bundle)?;
    write("decode", "bundle_last_resort", &last_resort.to_bytes())?;
    write("decode", "signed_prekey", &bundle[signed_prekey..flag])?;
    write("decode", "one_time_prekey", &bundle[flag + 1..])?;
    write("decode", "identity", &with_one_time.identity_key().to_bytes())?;
    write("decode", "identity_text", text.as_bytes())?;
    write("decode", "identity_upper_text", text.to_uppercase().as_bytes())?;
    let identity_key = with_one_time.identity_key();
    if let Ok(user) = UserId::from_bytes(&identity_key.to_bytes()[..UserId::LEN]) {
        let device = DeviceId::of(identity_key);
        write("decode", "user", &user.to_bytes())?;
        write("decode", "device_text", device.to_string().as_bytes())?;
        write("decode", "address_text", Address { user, device }.to_string().as_bytes())?;
    }
    let [alice, bob] = FIXTURE.users();
    if let Ok(number) = SafetyNumber::new(&bob, &alice) {
        write("decode", "code", &number.scannable())?;
        write("decode", "code_text", number.scannable_text().as_bytes())?;
    }
    if let Ok((_, commitment)) = SasInitiator::begin_with_rng(&alice, &bob, &mut rng(6)) {
        write("decode", "commitment", &commitment)?;
    }
    let head =
        [&[0x71][..], &[7; 32], &70_000_u64.to_be_bytes(), &[8; 32], &65_536_u32.to_be_bytes()].concat();
    write("decode", "attachment", &[&head[..], b"\x09image/png\x08rose.png\0\0\0\x02\xff\xd8"].concat())?;
    Ok(())
}

fn messages() -> io::Result<()> {
    for (scene, pending) in FIXTURE.scenes.iter().map(|scene| &scene.pending).enumerate() {
        for (index, message) in pending.iter().enumerate() {
            let prefix = [scene as u8, index as u8];
            write("decrypt", &format!("genuine_{scene}_{index}"), &made_up(&prefix, &message.bytes))?;
            write("decrypt", &format!("flipped_{scene}_{index}"), &flipped(&prefix, index as u8))?;
        }
    }
    for (index, initial) in FIXTURE.initial.iter().enumerate() {
        let prefix = [index as u8];
        write("accept", &format!("genuine_{index}"), &made_up(&prefix, &initial.message.bytes))?;
        write("accept", &format!("flipped_{index}"), &flipped(&prefix, index as u8))?;
    }
    Ok(())
}

fn sealed() -> io::Result<()> {
    let [_, (hot, cold)] = &FIXTURE.halves;
    let kinds: [(&str, Vec<u8>, &[u8]); 5] = [
        ("identity", choice(0, 5).to_vec(), &FIXTURE.identity),
        ("prekeys", choice(1, 5).to_vec(), &FIXTURE.prekeys),
        ("session", choice(2, 5).to_vec(), &FIXTURE.scenes[0].sealed),
        ("hot_half", [&choice(3, 5)[..], &[1]].concat(), hot),
        ("cold_half", [&choice(4, 5)[..], &[1]].concat(), cold),
    ];
    for (name, kind, bytes) in kinds {
        let original = FIXTURE.sealed().iter().position(|sealed| *sealed == bytes).unwrap_or_default();
        write("sealed", name, &made_up(&kind, bytes))?;
        write("sealed", &format!("flipped_{name}"), &flipped(&kind, original as u8))?;
    }
    Ok(())
}

fn conversations() -> io::Result<()> {
    let turn = [Send(ALICE), Deliver(BOB, 0), Send(BOB), Deliver(ALICE, 0)];
    let reordered = [Send(ALICE), Send(ALICE), Deliver(BOB, 1), Send(BOB), Deliver(ALICE, 0), Send(ALICE)];
    let restarts = [Send(ALICE), Repeat(BOB, 0), Restart(BOB, 1), Repeat(BOB, 0), Restart(ALICE, 0)];
    // More keys than are kept; then messages whose keys are there, and gone.
    let lost = [
        &[Send(ALICE), Deliver(BOB, 0), Send(ALICE)],
        &[Lose(ALICE, 255); 9][..],
        &[Send(ALICE), Send(ALICE), Deliver(BOB, 2), Deliver(BOB, 1), Deliver(BOB, 0)],
    ];
    // More chains than are kept, a message missing in each.
    let gaps = (0..45).flat_map(|missing| {
        [Send(ALICE), Send(ALICE), Deliver(BOB, missing + 1), Send(BOB), Deliver(ALICE, 0)]
    });
    write("conversation", "turns", &script(turn.repeat(3)))?;
    write("conversation", "reordered", &script(reordered.to_vec()))?;
    write("conversation", "restarts", &script(restarts.to_vec()))?;
    write("conversation", "lost", &script(lost.concat()))?;
    write("conversation", "gaps", &script(gaps.collect()))
}

fn write(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(target);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(name), bytes)
}

// What follows writes what `derive(Arbitrary)` reads.

/// A step of a conversation: of the nine kinds those that the seeds need.
#[derive(Clone, Copy)]
enum Step {
    Send(u64),
    Lose(u64, u8),
    Deliver(u64, u8),
    Repeat(u64, u8),
    Restart(u64, u8),
}

const ALICE: u64 = 0;
const BOB: u64 = 1;

/// A `Vec<Step>`.
fn script(steps: Vec<Step>) -> Vec<u8> {
    steps.iter().flat_map(Step::bytes).collect()
}

impl Step {
    fn bytes(&self) -> Vec<u8> {
        let (kind, side, fields) = match *self {
            Send(side) => (0, side, vec![40, 0]),
            Lose(side, count) => (1, side, vec![count]),
            Deliver(side, index) => (2, side, vec![index]),
            Repeat(side, index) => (3, side, vec![index]),
            Restart(side, halves) => (7, side, vec![halves]),
        };
        [&[1], &choice(kind, 9)[..], &choice(side, 2), &fields].concat()
    }
}

/// The `index`-th of `count` variants.
fn choice(index: u64, count: u64) -> [u8; 4] {
    (((index << 32).div_ceil(count)) as u32).to_le_bytes()
}

/// `Forgery::MadeUp`.
fn made_up(prefix: &[u8], bytes: &[u8]) -> Vec<u8> {
    [prefix, &choice(1, 2), bytes].concat()
}

/// `Forgery::Edited` with one `Edit::Flip` at the 30th byte.
fn flipped(prefix: &[u8], original: u8) -> Vec<u8> {
    [prefix, &choice(0, 2), &[original, 1], &choice(0, 6), &[30, 0, 1], &[0]].concat()
}
