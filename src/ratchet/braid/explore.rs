//! Every reachable state of two Braids and a hostile network between them, with a small KEM and small codes.
//!
//! The state machine is the real one, on a KEM of hashes and with codes of 2 to 4 chunks, whose streams begin anew after
//! 5 to 9 codewords, so that there are finitely many states. The network holds a few messages, and
//! delivers, drops, duplicates and reorders them at will.

use alloc::{collections::VecDeque, vec, vec::Vec};
use core::marker::PhantomData;
use std::collections::HashSet;

use super::{erasure::code, *};
use crate::{
    Error,
    crypto::kdf::{self, Label},
    wire::body::Codeword,
};

/// A KEM that hides nothing, with a vector and a first half of the ciphertext of so many chunks.
enum Toy<const VECTOR: usize, const CT1: usize> {}

fn hash(parts: &[&[u8]]) -> [u8; 32] {
    kdf::hash(Label::PREKEY_ID, parts)
}

/// `chunks` chunks that follow from a seed.
fn expand(seed: &[u8], chunks: usize) -> Vec<u8> {
    (0..chunks).flat_map(|i| hash(&[seed, &[i as u8]])).collect()
}

impl<const VECTOR: usize, const CT1: usize> IncrementalKem for Toy<VECTOR, CT1> {
    /// Header and vector.
    type KeyPair = ([u8; 32], Vec<u8>);
    /// Both halves of the ciphertext.
    type Encapsulation = (Vec<u8>, [u8; 32]);

    fn key_pair(seed: &Secret<64>) -> Self::KeyPair {
        let header = hash(&[seed.as_bytes()]);
        (header, expand(&header, VECTOR))
    }

    fn header(keys: &Self::KeyPair) -> &[u8] {
        &keys.0
    }

    fn vector(keys: &Self::KeyPair) -> &[u8] {
        &keys.1
    }

    fn decapsulate(keys: &Self::KeyPair, ct1: &[u8], ct2: &[u8]) -> Result<Secret<32>, Error> {
        assert_eq!(ct2, hash(&[&keys.1, ct1]));
        Ok(Secret::new(hash(&[&keys.0, ct1])))
    }

    fn encapsulate_first(
        header: &[u8],
        coins: &Secret<32>,
    ) -> Result<(Self::Encapsulation, Secret<32>), Error> {
        let ct1 = expand(coins.as_bytes(), CT1);
        let shared = Secret::new(hash(&[header, &ct1]));
        let ct2 = hash(&[&expand(header, VECTOR), &ct1]);
        Ok(((ct1, ct2), shared))
    }

    fn ct1(encapsulation: &Self::Encapsulation) -> &[u8] {
        &encapsulation.0
    }

    fn encapsulate_second(
        encapsulation: &Self::Encapsulation,
        header: &[u8],
        vector: &[u8],
    ) -> Result<Vec<u8>, Error> {
        if vector != expand(header, VECTOR) {
            return Err(Error::InvalidKey);
        }
        Ok(encapsulation.1.to_vec())
    }
}

impl BraidKem for Toy<2, 2> {
    const HEADER: Code = code!(2);
    const VECTOR: Code = code!(2);
    const CT1: Code = code!(2);
    const CT2: Code = code!(2);
}

impl BraidKem for Toy<4, 3> {
    const HEADER: Code = code!(2);
    const VECTOR: Code = code!(4);
    const CT1: Code = code!(3);
    const CT2: Code = code!(2);
}

/// A message: the epoch that its sender was agreeing on, and its codewords.
type Message = (u32, Option<(u8, Vec<Codeword>)>);

/// Two sides and what is under way to each, as bytes: comparable and cheap to keep.
struct World<K> {
    kem: PhantomData<K>,
    sides: [Vec<u8>; 2],
    under_way: [Vec<Vec<u8>>; 2],
    /// The newest epoch that each side has the key of.
    keyed: [u32; 2],
}

const SECRET: [u8; 32] = [7; 32];

fn kinds() -> [CodewordKind; 5] {
    use CodewordKind::{Ct1, Ct2, Header, Vector, VectorAck};
    [Header, Vector, VectorAck, Ct1, Ct2]
}

impl<K: BraidKem> World<K> {
    fn start() -> Self {
        let secret = PqSecret::new(Secret::new(SECRET));
        let sides = [Braid::<K>::initiate(&secret), Braid::respond(&secret)];
        Self {
            kem: PhantomData,
            sides: sides.map(|side| postcard::to_allocvec(&side).unwrap()),
            under_way: [vec![], vec![]],
            keyed: [0; 2],
        }
    }

    fn side(&self, side: usize) -> Braid<K> {
        postcard::from_bytes(&self.sides[side]).unwrap()
    }

    /// Puts a side back, checks it and what it has put out.
    fn put(&mut self, side: usize, braid: &Braid<K>, output: Option<Output>, keys: &mut Vec<[u8; 32]>) {
        assert!(!braid.has_failed());
        if let Some(Output { epoch, key }) = output {
            assert_eq!(epoch, self.keyed[side] + 1, "every epoch once, in order");
            self.keyed[side] = epoch;
            let index = epoch as usize - 1;
            if index == keys.len() {
                keys.push(*key.as_bytes());
            }
            assert_eq!(&keys[index], key.as_bytes(), "both sides have the same key");
        }
        let epoch = braid.epoch().unwrap();
        assert!(self.keyed[side] == epoch || self.keyed[side] == epoch - 1);
        self.sides[side] = postcard::to_allocvec(braid).unwrap();
    }

    /// What a side sends next.
    fn send(&mut self, side: usize, keys: &mut Vec<[u8; 32]>) -> Vec<u8> {
        let mut braid = self.side(side);
        let epoch = braid.epoch().unwrap();
        // The same in every world, so that the same history is the same state.
        let randomness = braid.samples().map(|_| Secret::new([epoch as u8 * 2 + side as u8; 64]));
        let mut codewords = None;
        let output = braid.send(randomness, Room { count: 1, place: &mut codewords });
        let message: Message =
            (epoch, codewords.map(|codewords| (codewords.kind as u8, codewords.words.to_vec())));
        self.put(side, &braid, output, keys);
        postcard::to_allocvec(&message).unwrap()
    }

    fn deliver(&mut self, side: usize, message: &[u8], keys: &mut Vec<[u8; 32]>) {
        let (epoch, codewords): Message = postcard::from_bytes(message).unwrap();
        assert!(epoch - 1 <= self.keyed[side], "the receiver has the key of the epoch that was sent in");
        let codewords = codewords.map(|(kind, words)| {
            let kind = *kinds().iter().find(|known| **known as u8 == kind).unwrap();
            Codewords { kind, words: words.into_iter().collect() }
        });
        let mut braid = self.side(side);
        let (wanted, before) = (braid.wants(epoch, codewords.as_ref()), self.sides[side].clone());
        let output = braid.receive(epoch, codewords.as_ref());
        assert!(wanted || output.is_none());
        self.put(side, &braid, output, keys);
        assert!(wanted || self.sides[side] == before, "what is not wanted changes nothing");
    }

    /// Everything that can happen next: a side sends, or the network delivers, drops or duplicates.
    fn successors(&self, capacity: usize, keys: &mut Vec<[u8; 32]>) -> Vec<Self> {
        let mut worlds = Vec::new();
        for side in 0..2 {
            let mut lost = self.clone();
            let message = lost.send(side, keys);
            if self.under_way[1 - side].len() < capacity {
                let mut sent = lost.clone();
                sent.insert(1 - side, message);
                worlds.push(sent);
            }
            worlds.push(lost);
            for index in 0..self.under_way[side].len() {
                let mut delivered = self.clone();
                let message = delivered.under_way[side].remove(index);
                worlds.push(delivered.clone());
                delivered.deliver(side, &message, keys);
                let mut duplicated = delivered.clone();
                duplicated.insert(side, message);
                worlds.extend([delivered, duplicated]);
            }
        }
        worlds
    }

    /// Under way to a side, in an order that says nothing: any of them may be next.
    fn insert(&mut self, to: usize, message: Vec<u8>) {
        if let Err(place) = self.under_way[to].binary_search(&message) {
            self.under_way[to].insert(place, message);
        }
    }

    /// Whether from here, if the network delivers from now on, both sides come to a newer epoch.
    fn makes_progress(mut self, keys: &mut Vec<[u8; 32]>) -> bool {
        let before = self.keyed;
        for _ in 0..20 {
            for side in 0..2 {
                let message = self.send(side, keys);
                self.deliver(1 - side, &message, keys);
            }
            if self.keyed.iter().zip(before).all(|(now, before)| *now > before) {
                return true;
            }
        }
        false
    }
}

impl<K> Clone for World<K> {
    fn clone(&self) -> Self {
        let Self { sides, under_way, keyed, .. } = self;
        Self { kem: PhantomData, sides: sides.clone(), under_way: under_way.clone(), keyed: *keyed }
    }
}

/// Goes through every world that can be reached before both sides have the key of epoch `epochs`, with at most
/// `capacity` different messages under way to each side; nearest first, and no more than `limit`. How many there are.
fn explore<K: BraidKem>(capacity: usize, epochs: u32, limit: usize) -> usize {
    let mut keys = Vec::new();
    let mut seen = HashSet::new();
    let mut queue = VecDeque::from([World::<K>::start()]);
    while let Some(world) = queue.pop_front() {
        if seen.len() == limit || !seen.insert((world.sides.clone(), world.under_way.clone(), world.keyed)) {
            continue;
        }
        assert!(world.clone().makes_progress(&mut keys), "a world without a way out");
        if world.keyed.iter().any(|keyed| *keyed < epochs) {
            queue.extend(world.successors(capacity, &mut keys));
        }
    }
    seen.len()
}

type Small = Braid<Toy<2, 2>>;

/// The codewords that a side sends next: one.
fn word_of(from: &mut Small) -> Codewords {
    let randomness = from.samples().map(|_| Secret::new([1; 64]));
    let mut codewords = None;
    from.send(randomness, Room { count: 1, place: &mut codewords });
    codewords.unwrap()
}

/// A side that has sent its first half of the ciphertext, all but the last codeword; and one that has the header acknowledged.
fn half_way() -> (Small, Small) {
    let secret = PqSecret::new(Secret::new(SECRET));
    let (mut a, mut b) = (Small::initiate(&secret), Small::respond(&secret));
    for _ in 0..2 {
        assert!(b.receive(1, Some(&word_of(&mut a))).is_none());
    }
    a.receive(1, Some(&word_of(&mut b)));
    (a, b)
}

/// What was sent before the acknowledgement and comes after it is of use (the specification would ignore it).
#[test]
fn late_codewords_of_the_vector_count() {
    let (mut a, mut b) = half_way();
    let late = word_of(&mut a);
    assert_eq!(late.kind, CodewordKind::Vector);
    a.receive(1, Some(&word_of(&mut b)));
    let acknowledgement = word_of(&mut a);
    assert_eq!(acknowledgement.kind, CodewordKind::VectorAck);
    b.receive(1, Some(&acknowledgement));
    assert!(matches!(b, Braid::Ct1Acknowledged(_)));
    b.receive(1, Some(&late));
    assert!(matches!(b, Braid::Ct2Sampled(_)));
}

/// The codeword that completes the vector may be the first that acknowledges: nothing of the first half is sent any more.
#[test]
fn an_acknowledgement_may_complete_the_vector() {
    let (mut a, mut b) = half_way();
    b.receive(1, Some(&word_of(&mut a)));
    a.receive(1, Some(&word_of(&mut b)));
    let acknowledgement = word_of(&mut a);
    assert_eq!(acknowledgement.kind, CodewordKind::VectorAck);
    b.receive(1, Some(&acknowledgement));
    assert!(matches!(b, Braid::Ct2Sampled(_)));
}

/// All of them, over two epochs, so that each side has both roles.
#[test]
fn every_interleaving_agrees_and_goes_on() {
    assert_eq!(explore::<Toy<2, 2>>(1, 2, usize::MAX), 106_354);
}

/// The nearest million: `cargo test --release --lib explore -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn interleavings_of_more_messages_and_larger_codes() {
    assert_eq!(explore::<Toy<2, 2>>(2, 2, 1_000_000), 1_000_000);
    assert_eq!(explore::<Toy<4, 3>>(1, 2, 1_000_000), 1_000_000);
}

/// What only a peer sends that keeps to no rules: codewords of every kind, in every state. Those of a kind that a state has
/// no use for change nothing. Nor does randomness where none is drawn; and where some is, nothing is sent without.
#[test]
fn a39_codewords_of_another_kind_change_nothing() {
    let mut states = HashSet::new();
    // Which of the messages of each side arrive.
    for every in [[1, 1], [1, 3], [3, 1]] {
        let (mut keys, mut world) = (Vec::new(), World::<Toy<4, 3>>::start());
        for step in 0..100 {
            for (side, every) in every.into_iter().enumerate() {
                states.insert(mem::discriminant(&world.side(side)));
                ignores_what_it_has_no_use_for(&world, side);
                let message = world.send(side, &mut keys);
                if step % every == 0 {
                    world.deliver(1 - side, &message, &mut keys);
                }
            }
        }
    }
    assert_eq!(states.len(), 11, "all but the failed one");
}

fn ignores_what_it_has_no_use_for<K: BraidKem>(world: &World<K>, side: usize) {
    let before = &world.sides[side];
    let bytes = |braid: &Braid<K>| postcard::to_allocvec(braid).unwrap();
    let epoch = world.side(side).epoch().unwrap();
    for kind in kinds() {
        let word = Codeword { index: 1, chunk: [7; 32] };
        let codewords = Codewords { kind, words: [word].into_iter().collect() };
        let mut braid = world.side(side);
        if !braid.wants(epoch, Some(&codewords)) {
            assert!(braid.receive(epoch, Some(&codewords)).is_none());
            assert_eq!(&bytes(&braid), before, "{kind:?}");
        }
    }
    let (mut without, mut with, mut none, mut some) = (world.side(side), world.side(side), None, None);
    assert!(without.send(None, Room { count: 1, place: &mut none }).is_none());
    if without.samples().is_some() {
        assert!(none.is_none() && &bytes(&without) == before);
    } else {
        assert!(with.send(Some(Secret::new([9; 64])), Room { count: 1, place: &mut some }).is_none());
        assert_eq!((bytes(&with), some), (bytes(&without), none));
    }
}
