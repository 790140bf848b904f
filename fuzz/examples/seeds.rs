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
    insides()?;
    peers()?;
    conversations()
}

/// Of the sixteen steps the first ones, with their fields.
fn devices() -> io::Result<()> {
    let step = |kind: u64, fields: &[u8]| [&[1], &choice(kind, 16)[..], fields].concat();
    let say = |from: u8, to: u8| step(0, &[from, to, 9]);
    let push = |of: u8, lost: u8| step(2, &[of, lost, 0, 0]);
    let poll = |of: u8, twice: u8| step(3, &[&[of, 0, twice, 0][..], &choice(0, 3)].concat());
    let (restart, maintain, snapshot, put_back) = (7, 9, 11, 12);
    let turn = [say(0, 1), push(0, 0), poll(2, 0), say(2, 0), push(2, 0), poll(0, 0), poll(1, 0)].concat();
    write("device", "turns", &turn.repeat(2))?;
    let lossy = [say(0, 1), say(0, 1), push(0, 1), poll(2, 1), say(2, 0), push(2, 2), poll(1, 0)].concat();
    write("device", "lossy", &lossy)?;
    let apps = [step(restart, &[0]), step(maintain, &[1]), turn.clone(), step(restart, &[2])].concat();
    write("device", "apps", &apps)?;
    let disks = [step(snapshot, &[2]), turn.clone(), step(put_back, &[2]), turn.clone()].concat();
    write("device", "disks", &disks)?;
    let failing = [step(13, &[0, 9, 1]), turn.clone(), step(13, &[2, 3, 0]), turn].concat();
    write("device", "failing", &failing)
}

/// Peers that talk, as they should, to begin with.
fn peers() -> io::Result<()> {
    for begins in [0, 1] {
        let talk = [&[1][..], &choice(0, 9), &[20]].concat();
        let script = |steps: &[u8]| [&choice(0, 3)[..], &[begins], steps].concat();
        write("hostile", &format!("talk_{begins}"), &script(&talk.repeat(2)))?;
        let pretend = [&[1][..], &choice(8, 9), &[20, 0]].concat();
        write("hostile", &format!("pretend_{begins}"), &script(&pretend))?;
    }
    let begin = [&[1][..], &choice(2, 9), &[0, 0, 0, 0, 0, 1]].concat();
    let honest = [&[1][..], &choice(8, 9)].concat();
    let answered = [&[1][..], &choice(4, 9), &[0, 0]].concat();
    write("liar", "honest", &[&begin[..], &honest, &answered, &honest].concat())
}

/// Each genuine value in each place.
fn insides() -> io::Result<()> {
    for (place, name) in (0..).zip(["backup", "offer", "reply", "grant", "text", "payload", "content"]) {
        for original in 0..5 {
            // Which prefix, and in which case.
            let fields = if name == "text" { &[original, 0][..] } else { &[] };
            let prefix = [&choice(place, 7), fields].concat();
            write("inside", &format!("{name}_{original}"), &flipped_by(&prefix, original, 0))?;
        }
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
    // A record of a passphrase, with the least that is allowed, and with too much.
    for (name, memory) in [("passphrase", 19_456_u32), ("passphrase_bomb", u32::MAX)] {
        let numbers = [memory.to_be_bytes(), [0, 0, 0, 1], [0, 0, 0, 1]].concat();
        write("decode", name, &[&[1], &[2; 16][..], &numbers, &[3; 32]].concat())?;
    }
    write("decode", "list", &subrosa_fuzz::a_list())?;
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
        ("identity", choice(0, 7).to_vec(), &FIXTURE.identity),
        ("prekeys", choice(1, 7).to_vec(), &FIXTURE.prekeys),
        ("session", choice(2, 7).to_vec(), &FIXTURE.scenes[0].sealed),
        ("hot_half", [&choice(3, 7)[..], &[1]].concat(), hot),
        ("cold_half", [&choice(4, 7)[..], &[1]].concat(), cold),
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

/// A step of a conversation: of the eleven kinds those that the seeds need.
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
        [&[1], &choice(kind, 11)[..], &choice(side, 2), &fields].concat()
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
    flipped_by(prefix, original, 1)
}

fn flipped_by(prefix: &[u8], original: u8, mask: u8) -> Vec<u8> {
    [prefix, &choice(0, 2), &[original, 1], &choice(0, 6), &[30, 0, mask], &[0]].concat()
}
