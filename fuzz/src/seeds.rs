//! Inputs to begin with, in today's encodings: genuine values, and scripts in which what a target is there for happens.

use subrosa::{Address, DeviceId, IdentityKey, SafetyNumber, SasInitiator, SignedPreKey, UserId};

use super::{FIXTURE, mallory::MALLORY, rng};

use Step::{Deliver, Lose, Repeat, Restart, RollBack, Send, Snapshot};

/// Target, name, bytes.
#[derive(Default)]
pub struct Seeds(pub Vec<(&'static str, String, Vec<u8>)>);

impl Seeds {
    /// All of them.
    pub fn new() -> Self {
        let mut seeds = Self::default();
        for of in [decode, messages, sealed, devices, insides, peers, liars, conversations] {
            of(&mut seeds);
        }
        seeds
    }

    fn add(&mut self, target: &'static str, name: impl Into<String>, bytes: impl AsRef<[u8]>) {
        self.0.push((target, name.into(), bytes.as_ref().to_vec()));
    }
}

/// Of the sixteen steps the first ones, with their fields.
fn devices(out: &mut Seeds) {
    let step = |kind: u64, fields: &[u8]| [&[1], &choice(kind, 16)[..], fields].concat();
    let say = |from: u8, to: u8| step(0, &[from, to, 9]);
    let push = |of: u8, lost: u8| step(2, &[of, lost, 0, 0]);
    let poll = |of: u8, twice: u8| step(3, &[&[of, 0, twice, 0][..], &choice(0, 3)].concat());
    let (restart, maintain, snapshot, put_back) = (7, 9, 11, 12);
    let turn = [say(0, 1), push(0, 0), poll(2, 0), say(2, 0), push(2, 0), poll(0, 0), poll(1, 0)].concat();
    out.add("device", "turns", turn.repeat(2));
    let lossy = [say(0, 1), say(0, 1), push(0, 1), poll(2, 1), say(2, 0), push(2, 2), poll(1, 0)].concat();
    out.add("device", "lossy", &lossy);
    let apps = [step(restart, &[0]), step(maintain, &[1]), turn.clone(), step(restart, &[2])].concat();
    out.add("device", "apps", &apps);
    let disks = [step(snapshot, &[2]), turn.clone(), step(put_back, &[2]), turn.clone()].concat();
    out.add("device", "disks", &disks);
    let failing = [step(13, &[0, 9, 1]), turn.clone(), step(13, &[2, 3, 0]), turn].concat();
    out.add("device", "failing", &failing)
}

/// Peers that talk, as they should, to begin with.
fn peers(out: &mut Seeds) {
    for begins in [0, 1] {
        let talk = [&[1][..], &choice(0, 9), &[20]].concat();
        let script = |steps: &[u8]| [&choice(0, 3)[..], &[begins], steps].concat();
        out.add("hostile", format!("talk_{begins}"), script(&talk.repeat(2)));
        let pretend = [&[1][..], &choice(8, 9), &[20, 0]].concat();
        out.add("hostile", format!("pretend_{begins}"), script(&pretend));
    }
}

/// A user who lies in one way each time.
fn liars(out: &mut Seeds) {
    let step = |kind: u64, fields: &[u8]| [&[1], &choice(kind, 9)[..], fields].concat();
    // Of which version, after how many; with these devices.
    let sign =
        |versions: u8, unknown: u8, devices: u8| step(0, &[0, 0, versions, unknown, 0, 90, devices, 0]);
    let (provide, honest, answered) = (step(1, &[1]), step(8, &[]), step(4, &[0, 0]));
    let begin = |device: u8, claims_by: u8, list: u8| step(2, &[device, 0, claims_by, list, 0, 1]);
    // What she knows, twice; ack, asks, gone, lists, certificate; body, with its place; no edit.
    let text = |session: u8, lists: &[u8]| {
        let nothing = choice(0, 3);
        let body = [&[1][..], &choice(0, 2), &[7, 1, 0, 0, 0, 5, 0, 1, 0, 1, 2, 3, 0, 0]].concat();
        step(3, &[&[session][..], &nothing, &nothing, &[0, 0, 0], lists, &[0], &body].concat())
    };
    let no_lists = &[0][..];
    let foreign_lists = [&[1][..], &choice(1, 3), &choice(2, 3)].concat();
    let own_lists = [&[1][..], &choice(0, 3), &[1], &choice(0, 3), &[0]].concat();
    for (name, script) in [
        ("honest", [begin(0, 0, 0), text(0, no_lists), answered.clone(), honest.clone()]),
        ("follows", [sign(1, 0, 0b011), provide.clone(), begin(1, 1, 1), text(1, no_lists)]),
        ("fork", [sign(0, 0, 0b010), provide.clone(), text(0, no_lists), honest.clone()]),
        ("does_not_follow", [sign(1, 1, 0b011), provide.clone(), text(0, no_lists), honest.clone()]),
        ("in_content", [sign(1, 0, 0b011), text(0, &own_lists), answered.clone(), honest.clone()]),
        ("foreign_lists", [text(0, &foreign_lists), provide.clone(), answered, honest.clone()]),
        ("removed", [sign(1, 0, 0b010), provide.clone(), text(0, no_lists), honest.clone()]),
        ("alices_device", [sign(1, 0, 0b0100_0001), provide.clone(), text(0, no_lists), honest.clone()]),
        ("alices_device_claimed", [sign(1, 0, 0b1000_0001), provide, text(0, no_lists), honest.clone()]),
        ("claim_of_another", [begin(1, 0, 0), text(1, no_lists), text(0, no_lists), honest]),
    ] {
        out.add("liar", name, script.concat());
    }
}

/// Each genuine value in each place.
fn insides(out: &mut Seeds) {
    for (place, name) in (0..).zip(["backup", "offer", "reply", "grant", "text", "payload", "content"]) {
        for original in 0..5 {
            // Which prefix, and in which case.
            let fields = if name == "text" { &[original, 0][..] } else { &[] };
            let prefix = [&choice(place, 7), fields].concat();
            out.add("inside", format!("{name}_{original}"), flipped_by(&prefix, original, 0));
        }
    }
}

fn decode(out: &mut Seeds) {
    let [with_one_time, last_resort] = &FIXTURE.bundles;
    let bundle = with_one_time.to_bytes();
    let signed_prekey = 1 + IdentityKey::LEN;
    let flag = signed_prekey + SignedPreKey::LEN;
    let text = with_one_time.identity_key().to_string();
    out.add("decode", "bundle", &bundle);
    out.add("decode", "bundle_last_resort", last_resort.to_bytes());
    out.add("decode", "signed_prekey", &bundle[signed_prekey..flag]);
    out.add("decode", "one_time_prekey", &bundle[flag + 1..]);
    out.add("decode", "identity", with_one_time.identity_key().to_bytes());
    out.add("decode", "identity_text", text.as_bytes());
    out.add("decode", "identity_upper_text", text.to_uppercase().as_bytes());
    let identity_key = with_one_time.identity_key();
    if let Ok(user) = UserId::from_bytes(&identity_key.to_bytes()[..UserId::LEN]) {
        let device = DeviceId::of(identity_key);
        out.add("decode", "user", user.to_bytes());
        out.add("decode", "device_text", device.to_string().as_bytes());
        out.add("decode", "address_text", Address { user, device }.to_string().as_bytes());
    }
    let [alice, bob] = FIXTURE.users();
    if let Ok(number) = SafetyNumber::new(&bob, &alice) {
        out.add("decode", "code", number.scannable());
        out.add("decode", "code_text", number.scannable_text().as_bytes());
    }
    if let Ok((_, commitment)) = SasInitiator::begin_with_rng(&alice, &bob, &mut rng(6)) {
        out.add("decode", "commitment", commitment);
    }
    // A record of a passphrase, with the least that is allowed, and with too much.
    for (name, memory) in [("passphrase", 19_456_u32), ("passphrase_bomb", u32::MAX)] {
        let numbers = [memory.to_be_bytes(), [0, 0, 0, 1], [0, 0, 0, 1]].concat();
        out.add("decode", name, [&[1], &[2; 16][..], &numbers, &[3; 32]].concat());
    }
    out.add("decode", "list", &MALLORY.list.bytes);
    let head =
        [&[0x71][..], &[7; 32], &70_000_u64.to_be_bytes(), &[8; 32], &65_536_u32.to_be_bytes()].concat();
    out.add("decode", "attachment", [&head[..], b"\x09image/png\x08rose.png\0\0\0\x02\xff\xd8"].concat());
}

fn messages(out: &mut Seeds) {
    for (scene, pending) in FIXTURE.scenes.iter().map(|scene| &scene.pending).enumerate() {
        for (index, message) in pending.iter().enumerate() {
            let prefix = [scene as u8, index as u8];
            out.add("decrypt", format!("genuine_{scene}_{index}"), made_up(&prefix, &message.bytes));
            out.add("decrypt", format!("flipped_{scene}_{index}"), flipped(&prefix, index as u8));
        }
    }
    for (index, initial) in FIXTURE.initial.iter().enumerate() {
        let prefix = [index as u8];
        out.add("accept", format!("genuine_{index}"), made_up(&prefix, &initial.message.bytes));
        out.add("accept", format!("flipped_{index}"), flipped(&prefix, index as u8));
    }
}

fn sealed(out: &mut Seeds) {
    let [_, (hot, cold)] = &FIXTURE.halves;
    let kinds: [(&str, Vec<u8>, &[u8]); 5] = [
        ("identity", choice(0, 7).to_vec(), &FIXTURE.identity),
        ("prekeys", choice(1, 7).to_vec(), &FIXTURE.prekeys),
        ("session", choice(2, 7).to_vec(), &FIXTURE.scenes[0].sealed),
        ("hot_half", [&choice(3, 7)[..], &[1]].concat(), hot),
        ("cold_half", [&choice(4, 7)[..], &[1]].concat(), cold),
    ];
    // A half that goes with another one.
    let halves =
        |kind: u64, original: usize| flipped_by(&[&choice(kind, 7)[..], &[1]].concat(), original as u8, 0);
    out.add("sealed", "hot_half_of_before", halves(3, 6));
    out.add("sealed", "cold_half_of_before", halves(4, 7));
    for index in [0, 40, 80, 120, 160, 200] {
        for gone in [0, 1] {
            let prefix = [&choice(5, 7)[..], &[index, gone]].concat();
            out.add("sealed", format!("record_{index}_{gone}"), flipped(&prefix, index));
        }
    }
    let file = |edit: &[u8]| {
        let reading = [&[1][..], &[1, 0, 0x20, 1, 0], &[0xff, 3]].concat();
        [&choice(6, 7)[..], edit, &[0], &reading, &[0], &flipped(&[], 0)].concat()
    };
    let edit = |kind: u64, fields: &[u8]| file(&[&[1][..], &choice(kind, 4), fields].concat());
    out.add("sealed", "file", file(&[]));
    out.add("sealed", "file_flipped", edit(0, &[0x44, 0x33, 1, 0, 4]));
    out.add("sealed", "file_truncated", edit(1, &[0, 0, 2, 0]));
    out.add("sealed", "file_swapped", edit(3, &[0, 1]));
    for (name, kind, bytes) in kinds {
        let original = FIXTURE.sealed().iter().position(|sealed| *sealed == bytes).unwrap_or_default();
        out.add("sealed", name, made_up(&kind, bytes));
        out.add("sealed", format!("flipped_{name}"), flipped(&kind, original as u8));
    }
}

fn conversations(out: &mut Seeds) {
    let turn = [Send(ALICE), Deliver(BOB, 0), Send(BOB), Deliver(ALICE, 0)];
    let reordered = [Send(ALICE), Send(ALICE), Deliver(BOB, 1), Send(BOB), Deliver(ALICE, 0), Send(ALICE)];
    let restarts = [Send(ALICE), Repeat(BOB, 0), Restart(BOB, 1), Repeat(BOB, 0), Restart(ALICE, 0)];
    // More keys than are kept; then messages whose keys are there, and gone.
    let lost = [
        &[Send(ALICE), Deliver(BOB, 0), Send(ALICE)],
        &[Lose(ALICE, 255); 9][..],
        &[Send(ALICE), Send(ALICE), Deliver(BOB, 2), Deliver(BOB, 1), Deliver(BOB, 0)],
    ];
    // As many as are kept, but for a few.
    let nearly = [
        &[Send(ALICE), Deliver(BOB, 0), Send(ALICE), Deliver(BOB, 0), Send(ALICE)],
        &[Lose(ALICE, 255); 7][..],
        &[Send(ALICE), Deliver(BOB, 1), Deliver(BOB, 0)],
    ];
    // Bob is put back to where he has heard nothing, Alice to where she has said nothing.
    let put_back = [&turn[..], &[Snapshot(ALICE)], &turn, &[RollBack(BOB)], &turn, &[RollBack(ALICE)], &turn];
    // More chains than are kept, a message missing in each.
    let gaps = (0..45).flat_map(|missing| {
        [Send(ALICE), Send(ALICE), Deliver(BOB, missing + 1), Send(BOB), Deliver(ALICE, 0)]
    });
    out.add("conversation", "turns", script(turn.repeat(3)));
    out.add("conversation", "reordered", script(reordered.to_vec()));
    out.add("conversation", "restarts", script(restarts.to_vec()));
    out.add("conversation", "lost", script(lost.concat()));
    out.add("conversation", "nearly_lost", script(nearly.concat()));
    out.add("conversation", "put_back", script(put_back.concat()));
    out.add("conversation", "gaps", script(gaps.collect()));
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
    Snapshot(u64),
    RollBack(u64),
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
            Lose(side, count) => (1, side, vec![count, 0]),
            Deliver(side, index) => (2, side, vec![index]),
            Repeat(side, index) => (3, side, vec![index]),
            Restart(side, halves) => (7, side, vec![halves]),
            Snapshot(side) => (9, side, vec![]),
            RollBack(side) => (10, side, vec![]),
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
