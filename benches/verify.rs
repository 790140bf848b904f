//! What a safety number costs: `cargo bench --bench verify`. The limit is 4 ms for both halves.
#![allow(clippy::unwrap_used, reason = "a benchmark stops at what it did not expect")]

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use subrosa::{IdentityKeyPair, SafetyNumber, SasInitiator, SasResponder, UserId};

fn verify(c: &mut Criterion) {
    // Every Ed25519 key is somebody's.
    let [me, peer] = [(); 2].map(|()| {
        let key = IdentityKeyPair::generate().identity_key().to_bytes();
        UserId::from_bytes(key.first_chunk::<{ UserId::LEN }>().unwrap()).unwrap()
    });
    let number = SafetyNumber::new(&peer, &me).unwrap();
    let (mine, code) = (SafetyNumber::new(&me, &peer).unwrap(), number.scannable_text());
    c.bench_function("safety_number", |b| b.iter(|| SafetyNumber::new(black_box(&me), &peer).unwrap()));
    c.bench_function("verify_scanned", |b| b.iter(|| mine.verify_scanned(black_box(&code)).unwrap()));
    c.bench_function("sas", |b| {
        b.iter(|| {
            let (waiting, commitment) = SasInitiator::begin(&me, &peer).unwrap();
            let (answered, answer) = SasResponder::answer(&peer, &me, &commitment).unwrap();
            let (code, reveal) = waiting.receive(&answer).unwrap();
            (code, answered.receive(&reveal).unwrap())
        });
    });
}

criterion_group!(benches, verify);
criterion_main!(benches);
