//! The rows: two classes of inputs that are refused.

use std::{cell::RefCell, env, hint::black_box};

use dudect_bencher::{
    BenchRng, Class, CtRunner,
    rand::{Rng, RngExt},
};
use subrosa::{
    AttachmentDescriptor, AttachmentOpener, AttachmentSealer, IdentityKeyPair, PreKeys, Session, StorageKey,
    UnixTime,
};

use crate::{
    SCALE,
    verdict::{
        Must::{BeAlike, Differ},
        Row,
    },
};

pub const ROWS: &[Row] = &[
    Row {
        name: "control_early_exit",
        classes: ["as `header_tag`, and then a comparison that stops at the first wrong byte", "the same"],
        must: Differ,
        run: early_exit,
    },
    Row {
        name: "control_header_or_body",
        classes: ["a wrong header", "a wrong body, of which the header opens"],
        must: Differ,
        run: |runner, rng| message(runner, rng, |len| [20, len - 30]),
    },
    Row {
        name: "control_same_class",
        classes: ["byte 20 of the header", "the same"],
        must: BeAlike,
        run: |runner, rng| message(runner, rng, |_| [20, 20]),
    },
    Row {
        name: "header_ciphertext",
        classes: ["first byte", "last of 52"],
        must: BeAlike,
        run: |runner, rng| message(runner, rng, |_| [1, 52]),
    },
    Row {
        name: "header_tag",
        classes: ["first byte", "last of 16"],
        must: BeAlike,
        run: |runner, rng| message(runner, rng, |_| HEADER_TAG),
    },
    Row {
        name: "body_ciphertext",
        classes: ["first byte", "last before the header's nonce"],
        must: BeAlike,
        run: |runner, rng| message(runner, rng, |len| [69, len - 25]),
    },
    Row {
        name: "body_tag",
        classes: ["first byte", "last of 16"],
        must: BeAlike,
        run: |runner, rng| message(runner, rng, |len| [len - 16, len - 1]),
    },
    Row {
        name: "wrong_key_or_header_tag",
        classes: ["messages of another session", "this session's, a byte of the header's tag wrong"],
        must: BeAlike,
        run: wrong_key_or_tag,
    },
    Row {
        name: "wrong_key_beginning",
        classes: ["messages of another session", "the same, with half of a header of this session's"],
        must: BeAlike,
        run: wrong_key_beginning,
    },
    Row {
        name: "handshake_kem_or_identity",
        classes: ["a wrong byte in the KEM's ciphertext", "a wrong byte in the tag of the identity"],
        must: BeAlike,
        run: handshake,
    },
    Row {
        name: "sealed_tag",
        classes: ["first byte of the tag of a sealed identity", "last of 16"],
        must: BeAlike,
        run: sealed_tag,
    },
    Row {
        name: "sealed_tag_long",
        classes: ["first byte of the tag of sealed prekeys, some kilobytes", "last of 16"],
        must: BeAlike,
        run: sealed_tag_long,
    },
    Row {
        name: "sealed_wrong_key",
        classes: ["a sealed identity, and the wrong key", "a byte of the tag wrong"],
        must: BeAlike,
        run: sealed_wrong_key,
    },
    Row {
        name: "attachment_commitment",
        classes: ["first byte", "last of 32"],
        must: BeAlike,
        run: commitment,
    },
    Row {
        name: "attachment_tag",
        classes: ["first byte of the tag of a chunk of 4 KiB", "last of 16"],
        must: BeAlike,
        run: chunk_tag,
    },
];

/// Of the tag of the header, in an established message.
const HEADER_TAG: [usize; 2] = [53, 68];

/// How many samples both classes together have, by how long a refusal takes.
const MANY: usize = 600_000;
const FEWER: usize = 200_000;
const FEW: usize = 30_000;

/// The classes of all samples, at random.
fn classes(rng: &mut BenchRng, count: usize) -> Vec<Class> {
    let scale = env::var(SCALE).ok().and_then(|text| text.parse().ok()).unwrap_or(100.0);
    let count = (count as f64 * scale / 100.0) as usize;
    (0..count).map(|_| if rng.random() { Class::Left } else { Class::Right }).collect()
}

/// All ones for the right class, and nothing for the left: inputs are put together without a branch.
fn mask(class: Class) -> u8 {
    black_box((matches!(class, Class::Right) as u8).wrapping_neg())
}

/// A byte that changes what it is added to.
fn flip(rng: &mut BenchRng) -> u8 {
    rng.random_range(1..=255)
}

/// Refusals of `genuine` with one wrong byte, whose place tells the classes apart. One buffer, in which the same places are
/// written in both classes: neither address nor cache tells them apart.
fn wrong_byte<T>(
    runner: &mut CtRunner,
    rng: &mut BenchRng,
    count: usize,
    genuine: &[u8],
    places: [usize; 2],
    refuse: impl Fn(&[u8]) -> T,
) {
    let mut input = genuine.to_vec();
    for class in classes(rng, count) {
        let (mask, flip) = (mask(class), flip(rng));
        input.copy_from_slice(genuine);
        input[places[0]] ^= flip & !mask;
        input[places[1]] ^= flip & mask;
        runner.run_one(class, || refuse(black_box(&input)));
    }
}

/// Refusals of either of two inputs of one length.
fn either<T>(
    runner: &mut CtRunner,
    rng: &mut BenchRng,
    count: usize,
    mut inputs: impl FnMut(&mut BenchRng) -> [Vec<u8>; 2],
    refuse: impl Fn(&[u8]) -> T,
) {
    let mut input = Vec::new();
    for class in classes(rng, count) {
        let mask = mask(class);
        let [left, right] = inputs(rng);
        input.clear();
        input.extend(left.iter().zip(&right).map(|(left, right)| (left & !mask) | (right & mask)));
        runner.run_one(class, || refuse(black_box(&input)));
    }
}

/// Two people, who have written to each other.
struct Pair {
    bob: IdentityKeyPair,
    prekeys: PreKeys,
    first: Vec<u8>,
    alices: Session,
    bobs: Session,
}

fn pair() -> Pair {
    let now = UnixTime::now();
    let (alice, bob) = (IdentityKeyPair::generate(), IdentityKeyPair::generate());
    let mut prekeys = PreKeys::generate(&bob, 2, now);
    let mut initiate = || {
        let bundle = prekeys.bundle().verify(now).expect("a bundle of Bob's");
        Session::initiate(&alice, bundle).expect("a session")
    };
    let (mut alices, mut other) = (initiate(), initiate());
    let message = alices.encrypt(b"first").expect("a message");
    let first = other.encrypt(b"never accepted").expect("a message");
    let (mut bobs, _) = Session::accept(&bob, &mut prekeys, &message).expect("it is for Bob");
    let reply = bobs.encrypt(b"reply").expect("a message");
    alices.decrypt(&reply).expect("it is for Alice");
    Pair { bob, prekeys, first, alices, bobs }
}

/// A session, and a genuine message for it.
fn genuine() -> (RefCell<Session>, Vec<u8>) {
    let Pair { mut alices, bobs, .. } = pair();
    let message = alices.encrypt(&[7; 200]).expect("a message");
    (RefCell::new(bobs), message)
}

fn refused(session: &RefCell<Session>, message: &[u8]) -> bool {
    session.borrow_mut().decrypt(message).is_err()
}

fn message(runner: &mut CtRunner, rng: &mut BenchRng, places: impl Fn(usize) -> [usize; 2]) {
    let (session, message) = genuine();
    wrong_byte(runner, rng, MANY, &message, places(message.len()), |input| refused(&session, input));
}

fn early_exit(runner: &mut CtRunner, rng: &mut BenchRng) {
    let (session, message) = genuine();
    wrong_byte(runner, rng, MANY, &message, HEADER_TAG, |input| {
        let mut bytes = input.iter().zip(&message).skip(HEADER_TAG[0]).take(16);
        (refused(&session, input), bytes.all(|(a, b)| black_box(a) == black_box(b)))
    });
}

/// Messages of a session that has nothing to do with the one that they are given to.
fn foreign() -> Vec<Vec<u8>> {
    let mut alices = pair().alices;
    (0..64).map(|_| alices.encrypt(&[7; 200]).expect("a message")).collect()
}

fn wrong_key_or_tag(runner: &mut CtRunner, rng: &mut BenchRng) {
    let ((session, message), foreign) = (genuine(), foreign());
    let inputs = |rng: &mut BenchRng| {
        let mut forged = message.clone();
        forged[HEADER_TAG[0] + rng.random_range(0..16)] ^= flip(rng);
        [foreign[rng.random_range(0..foreign.len())].clone(), forged]
    };
    either(runner, rng, MANY, inputs, |input| refused(&session, input));
}

fn wrong_key_beginning(runner: &mut CtRunner, rng: &mut BenchRng) {
    let ((session, message), foreign) = (genuine(), foreign());
    let inputs = |rng: &mut BenchRng| {
        let other = foreign[rng.random_range(0..foreign.len())].clone();
        let mut begins = other.clone();
        begins[..35].copy_from_slice(&message[..35]);
        [other, begins]
    };
    either(runner, rng, MANY, inputs, |input| refused(&session, input));
}

fn handshake(runner: &mut CtRunner, rng: &mut BenchRng) {
    let Pair { bob, prekeys, first, .. } = pair();
    let prekeys = RefCell::new(prekeys);
    // kind 1 | ids and flag 17 | EK_A 32 | CT 1568 | payload length 2 | sealed identity 128 and its tag 16.
    let (ciphertext, tag) = (1 + 17 + 32, 1 + 17 + 32 + 1568 + 2 + 128);
    wrong_byte(runner, rng, FEW, &first, [ciphertext + 700, tag + 7], |input| {
        Session::accept(&bob, &mut prekeys.borrow_mut(), input).is_err()
    });
}

fn sealed_tag(runner: &mut CtRunner, rng: &mut BenchRng) {
    let key = StorageKey::generate();
    let sealed = IdentityKeyPair::generate().seal(&key);
    let places = [sealed.len() - 16, sealed.len() - 1];
    wrong_byte(runner, rng, MANY, &sealed, places, |input| IdentityKeyPair::open(&key, input).is_err());
}

fn sealed_tag_long(runner: &mut CtRunner, rng: &mut BenchRng) {
    let key = StorageKey::generate();
    let sealed = PreKeys::generate(&IdentityKeyPair::generate(), 100, UnixTime::now()).seal(&key);
    assert!(sealed.len() > 4096, "short texts are compared elsewhere");
    let places = [sealed.len() - 16, sealed.len() - 1];
    wrong_byte(runner, rng, FEWER, &sealed, places, |input| PreKeys::open(&key, input).is_err());
}

fn sealed_wrong_key(runner: &mut CtRunner, rng: &mut BenchRng) {
    let key = StorageKey::generate();
    let identity = IdentityKeyPair::generate();
    let inputs = |rng: &mut BenchRng| {
        let mut forged = identity.seal(&key);
        let tag = forged.len() - 16;
        forged[tag + rng.random_range(0..16)] ^= flip(rng);
        let mut other = [0; 32];
        rng.fill_bytes(&mut other);
        [identity.seal(&StorageKey::from_bytes(&other)), forged]
    };
    either(runner, rng, FEWER, inputs, |input| IdentityKeyPair::open(&key, input).is_err());
}

/// A file of one chunk: commitment, chunk, descriptor.
fn attachment() -> ([u8; 32], Vec<u8>, AttachmentDescriptor) {
    let mut sealer = AttachmentSealer::new(4000).expect("a short file");
    let mut chunk = vec![7; 4000];
    let commitment = *sealer.commitment();
    sealer.seal(&mut chunk).expect("the only chunk");
    (commitment, chunk, sealer.finish().expect("all of it"))
}

fn commitment(runner: &mut CtRunner, rng: &mut BenchRng) {
    let (commitment, _, descriptor) = attachment();
    wrong_byte(runner, rng, MANY, &commitment, [0, 31], |input| {
        AttachmentOpener::new(&descriptor, input).is_err()
    });
}

fn chunk_tag(runner: &mut CtRunner, rng: &mut BenchRng) {
    let (commitment, chunk, descriptor) = attachment();
    let opener = AttachmentOpener::new(&descriptor, &commitment).expect("its commitment");
    // What is refused is left as it is.
    let buffer = RefCell::new(chunk.clone());
    let places = [chunk.len() - 16, chunk.len() - 1];
    wrong_byte(runner, rng, FEWER, &chunk, places, |input| {
        let mut buffer = buffer.borrow_mut();
        buffer.copy_from_slice(input);
        opener.open_at(0, &mut buffer).is_err()
    });
}
