//! How often the heap is used: not at all (also under `aws-lc-rs`, which allocates in C, not counted here), for messages in order in a conversation, into buffers of the caller's.
#![allow(clippy::panic, clippy::unwrap_used, reason = "a test that panics is a test that fails")]

use allocation_counter::{AllocationInfo, measure};
use subrosa::{Padding, Session};

mod common;
use common::{Pair, exchange, seeded};

const COUNT: usize = 100;

/// Both ways of a stream of messages from one side, into buffers that have room.
fn one_way(alice: &mut Session, bob: &mut Session, size: usize) -> [AllocationInfo; 2] {
    let (content, mut rng) = (vec![7; size], seeded(1));
    let (mut message, mut read) = (Vec::with_capacity(size + 10_000), Vec::with_capacity(size + 10_000));
    let mut messages: Vec<_> = (0..COUNT).map(|_| Vec::with_capacity(size + 10_000)).collect();
    // What a session does once per value of the PQ ratchet is done, and what is behind is forgotten.
    for _ in 0..80 {
        alice.encrypt_into_with_rng(&content, &mut message, &mut rng).unwrap();
        bob.decrypt_into(&message, &mut read).unwrap();
    }
    let encrypting = measure(|| {
        for message in &mut messages {
            alice.encrypt_into_with_rng(&content, message, &mut rng).unwrap();
        }
    });
    let decrypting = measure(|| {
        for message in &messages {
            bob.decrypt_into(message, &mut read).unwrap();
        }
    });
    assert_eq!(read, content);
    [encrypting, decrypting]
}

#[test]
fn a_steady_stream_takes_nothing_of_the_heap() {
    for padding in [Padding::Buckets, Padding::None] {
        for size in [0, 40, 256, 1_000, 5_000, 65_536] {
            let (mut alice, mut bob) = Pair::new(1, 1).established();
            alice.set_padding(padding);
            for used in one_way(&mut alice, &mut bob, size) {
                assert_eq!(used.count_total, 0, "{padding:?}, {size} bytes");
            }
            let used = one_way(&mut bob, &mut alice, size);
            assert!(
                used.iter().all(|used| used.count_total == 0),
                "the other way, {padding:?}, {size} bytes"
            );
        }
    }
}

#[test]
fn new_buffers_are_the_only_allocations_of_a_steady_stream() {
    let (mut alice, mut bob) = Pair::new(2, 1).established();
    one_way(&mut alice, &mut bob, 256);
    let mut rng = seeded(3);
    for _ in 0..COUNT {
        let mut message = Vec::new();
        let encrypting = measure(|| message = alice.encrypt_with_rng(&[7; 256], &mut rng).unwrap());
        let decrypting = measure(|| drop(bob.decrypt(&message).unwrap()));
        assert_eq!([encrypting.count_total, decrypting.count_total], [1, 1]);
        assert_eq!(encrypting.bytes_total, message.len() as u64, "exact");
    }
}

/// A ratchet step makes boxes for keys, a new epoch's values vectors: no more than a few on average.
#[test]
fn a_conversation_takes_little_of_the_heap() {
    let (mut alice, mut bob) = Pair::new(4, 1).established();
    let used = measure(|| {
        for _ in 0..COUNT {
            exchange(&mut alice, &mut bob, &[7; 256]);
            exchange(&mut bob, &mut alice, &[7; 256]);
        }
    });
    let each = used.count_total / (4 * COUNT as u64);
    // AWS-LC's keys are boxed.
    let most = if cfg!(feature = "aws-lc-rs") { 7 } else { 6 };
    assert!(each <= most, "{each} allocations for an encryption or a decryption");
}
