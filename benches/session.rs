//! What every operation of a session costs: `cargo bench --bench session`. For comparing one state of the
//! crate with another; for comparing it with anything else there is `compare`.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a benchmark stops at what it did not expect"
)]

use std::{
    hint::black_box,
    mem,
    time::{Duration, Instant},
};

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput};
use subrosa::{IdentityKeyPair, Session, StorageKey, UnixTime};

mod common;

use common::{MANY, Responder, SIZES, content, established, established_with_skipped, initiate, messages};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(30)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(1_500))
        .configure_from_args();
    handshake(&mut criterion);
    one_way(&mut criterion);
    ping_pong(&mut criterion);
    pq_epoch(&mut criterion);
    reverse(&mut criterion);
    skipped(&mut criterion);
    longest_gap(&mut criterion);
    state(&mut criterion);
    criterion.final_summary();
}

/// Each side, up to and including the first message.
fn handshake(criterion: &mut Criterion) {
    let (identity, responder, now) = (IdentityKeyPair::generate(), Responder::new(), UnixTime::now());
    let (_, message) = initiate(&identity, &responder.bundle, now);

    let mut group = criterion.benchmark_group("handshake");
    group.bench_function("initiate", |bencher| {
        bencher.iter(|| initiate(&identity, &responder.bundle, now));
    });
    group.bench_function("accept", |bencher| {
        bencher.iter_batched_ref(
            || responder.prekeys(),
            |prekeys| Session::accept(&responder.identity, prekeys, &message).unwrap(),
            BatchSize::SmallInput,
        );
    });
}

/// Messages of one chain, in order.
fn one_way(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encrypt");
    for size in SIZES {
        let (mut alice, _) = established();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter(|| alice.encrypt(content(size)).unwrap());
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("decrypt");
    for size in SIZES {
        let (mut alice, mut bob) = established();
        group.throughput(Throughput::Bytes(size as u64));
        group.bench_function(BenchmarkId::from_parameter(size), |bencher| {
            bencher.iter_custom(|count| in_order(&mut alice, &mut bob, size, count));
        });
    }
}

/// Every message is a turn. One message: encrypted by the one, decrypted by the other, a ratchet step each.
fn ping_pong(criterion: &mut Criterion) {
    let (mut alice, mut bob) = established();
    let (mut from, mut to) = (&mut bob, &mut alice);
    criterion.bench_function("ping-pong/256", |bencher| {
        bencher.iter(|| {
            let message = from.encrypt(content(256)).unwrap();
            mem::swap(&mut from, &mut to);
            from.decrypt(&message).unwrap()
        });
    });
}

/// The messages of one PQ epoch in a ping-pong, each by itself: most only carry codewords, one samples a key pair, one
/// encapsulates, one completes the key and is answered by the second half, one decapsulates.
fn pq_epoch(criterion: &mut Criterion) {
    let key = StorageKey::generate();
    let (mut alice, mut bob) = established();
    let (mut from, mut to) = (&mut bob, &mut alice);
    let mut group = criterion.benchmark_group("pq-epoch");
    let begin = to.pq_epoch();
    for position in 0.. {
        if from.pq_epoch().min(to.pq_epoch()) > begin {
            break;
        }
        // What it costs to open, and to expand the KEM material that a process has at hand, is not measured.
        let mut copies = || {
            let open = |session: &Session| Session::open(&key, &session.seal(&key)).unwrap();
            let (mut from, mut to) = (open(from), open(to));
            to.decrypt(&from.encrypt(content(40)).unwrap()).unwrap();
            to.encrypt(content(40)).map(|message| from.decrypt(&message)).unwrap().unwrap();
            (from, to)
        };
        group.bench_function(BenchmarkId::from_parameter(position), |bencher| {
            bencher.iter_batched(
                &mut copies,
                |(mut from, mut to)| {
                    let message = from.encrypt(content(40)).unwrap();
                    (to.decrypt(&message).unwrap(), from, to)
                },
                BatchSize::SmallInput,
            );
        });
        let message = from.encrypt(content(40)).unwrap();
        to.decrypt(&message).unwrap();
        mem::swap(&mut from, &mut to);
    }
}

/// The last message first; the first of them to arrive leaves all others missing.
fn reverse(criterion: &mut Criterion) {
    let (mut alice, mut bob) = established();
    let mut group = criterion.benchmark_group("reverse");
    group.throughput(Throughput::Elements(MANY as u64));
    group.bench_function(BenchmarkId::from_parameter(MANY), |bencher| {
        bencher.iter_custom(|count| {
            let run = |_| {
                let messages = messages(&mut alice, content(256), MANY);
                decrypt_all(&mut bob, messages.iter().rev())
            };
            (0..count).map(run).sum()
        });
    });
}

/// With messages missing that never arrive.
fn skipped(criterion: &mut Criterion) {
    let (mut alice, mut bob) = established_with_skipped();
    let mut group = criterion.benchmark_group(format!("skipped-{MANY}"));
    group.bench_function("encrypt/256", |bencher| bencher.iter(|| bob.encrypt(content(256)).unwrap()));
    group.bench_function("decrypt/256", |bencher| {
        bencher.iter_custom(|count| in_order(&mut alice, &mut bob, 256, count));
    });
}

/// As many messages of one chain missing as there may be: what a message can cost at most. With a body that does not open
/// all of it is for nothing, and can be had again.
fn longest_gap(criterion: &mut Criterion) {
    const LONGEST: usize = 25_000;
    let ((mut alice, mut bob), key) = (established(), StorageKey::generate());
    drop(messages(&mut alice, content(256), LONGEST));
    let message = alice.encrypt(content(256)).unwrap();
    let (mut altered, state) = (message.clone(), bob.seal(&key));
    altered[message.len() / 2] ^= 1;
    let mut group = criterion.benchmark_group(format!("gap-{LONGEST}"));
    group.bench_function("decrypt", |bencher| {
        bencher.iter_batched_ref(
            || Session::open(&key, &state).unwrap(),
            |session| session.decrypt(&message).unwrap(),
            BatchSize::SmallInput,
        );
    });
    group.bench_function("refuse", |bencher| bencher.iter(|| bob.decrypt(&altered).unwrap_err()));
}

/// Sealing and opening, the whole session and its halves.
fn state(criterion: &mut Criterion) {
    let key = StorageKey::generate();
    let skipped = format!("skipped-{MANY}");
    for (name, (_, session)) in
        [("established", established()), (skipped.as_str(), established_with_skipped())]
    {
        let (whole, hot, cold) = (session.seal(&key), session.seal_hot(&key), session.seal_cold(&key));
        let mut group = criterion.benchmark_group(format!("state/{name}"));
        group.bench_function("seal", |bencher| bencher.iter(|| session.seal(&key)));
        group.bench_function("seal_hot", |bencher| bencher.iter(|| session.seal_hot(&key)));
        group.bench_function("open", |bencher| bencher.iter(|| Session::open(&key, &whole).unwrap()));
        group.bench_function("open_halves", |bencher| {
            bencher.iter(|| Session::open_halves(&key, &hot, &cold).unwrap());
        });
    }
}

/// Time to decrypt that many messages. They are encrypted a few at a time, so that they fit the caches.
fn in_order(from: &mut Session, to: &mut Session, size: usize, count: u64) -> Duration {
    let mut time = Duration::ZERO;
    let mut left = count as usize;
    while left > 0 {
        let some = left.min(16);
        let messages = messages(from, content(size), some);
        time += decrypt_all(to, &messages);
        left -= some;
    }
    time
}

fn decrypt_all<'a>(session: &mut Session, messages: impl IntoIterator<Item = &'a Vec<u8>>) -> Duration {
    let start = Instant::now();
    for message in messages {
        black_box(session.decrypt(message).unwrap());
    }
    start.elapsed()
}
