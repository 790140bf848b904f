//! Section 8.6: a value as a stream of codewords, any k of which give it back.

use std::collections::BTreeMap;

use super::{
    notes::note,
    primitives::{Key, cat},
};

/// Index and chunk.
pub type Codeword = (u16, Key);

/// Product in GF(2^16) = GF(2)[x] / 0x1100b, bit by bit.
fn multiply(a: u16, b: u16) -> u16 {
    let mut product = 0_u32;
    for bit in (0..16).rev() {
        product <<= 1;
        if product & 0x1_0000 != 0 {
            product ^= 0x1_100b;
        }
        if b >> bit & 1 == 1 {
            product ^= u32::from(a);
        }
    }
    product as u16
}

/// a^(2^16 - 2)
fn inverse(a: u16) -> u16 {
    let mut power = 1;
    for _ in 0..15 {
        power = multiply(multiply(power, power), a);
    }
    multiply(power, power)
}

/// p(x) in every lane, where p goes through the chunks that are known, each at its index.
fn interpolate(known: &BTreeMap<u16, Key>, x: u16) -> Key {
    if let Some(chunk) = known.get(&x) {
        return *chunk;
    }
    let mut value = Key::default();
    for (i, chunk) in known {
        let others = known.keys().filter(|j| *j != i);
        let (above, below) =
            others.fold((1, 1), |(above, below), j| (multiply(above, x ^ j), multiply(below, i ^ j)));
        let weight = multiply(above, inverse(below));
        for (to, from) in value.chunks_mut(2).zip(chunk.chunks(2)) {
            let product = multiply(weight, u16::from_be_bytes([from[0], from[1]]));
            to[0] ^= (product >> 8) as u8;
            to[1] ^= product as u8;
        }
    }
    value
}

/// What sends a value.
#[derive(Clone)]
pub struct Stream {
    chunks: BTreeMap<u16, Key>,
    pub next: u16,
    /// The last index, of the sender's choice: 2k here.
    pub last: u16,
}

impl Stream {
    pub fn new(value: &[u8]) -> Self {
        let chunks = value.chunks(32).map(|chunk| chunk.try_into().unwrap());
        Self { chunks: (0..).zip(chunks).collect(), next: 0, last: 2 * (value.len() / 32) as u16 }
    }

    /// The codewords of a message that has room for so many. After the last index comes 0 again.
    pub fn take(&mut self, room: usize) -> Vec<Codeword> {
        let mut codewords = Vec::new();
        for _ in 0..room.min(self.chunks.len()) {
            codewords.push((self.next, interpolate(&self.chunks, self.next)));
            if self.next == self.last {
                note("a stream begins anew");
                self.next = 0;
            } else {
                self.next += 1;
            }
        }
        codewords
    }
}

/// What collects a value of k chunks: the first k codewords of different indices.
#[derive(Clone)]
pub struct Collector {
    k: usize,
    known: BTreeMap<u16, Key>,
}

impl Collector {
    pub fn new(k: usize) -> Self {
        Self { k, known: BTreeMap::new() }
    }

    pub fn collect(&mut self, codewords: &[Codeword]) {
        for (index, chunk) in codewords {
            if self.known.len() < self.k {
                self.known.entry(*index).or_insert(*chunk);
            }
        }
    }

    /// The value, if it is complete.
    pub fn value(&self) -> Option<Vec<u8>> {
        let k = self.k as u16;
        if self.known.len() < self.k {
            return None;
        }
        if self.known.keys().any(|index| *index >= k) {
            note("a value is recovered from other codewords than its chunks");
        }
        Some((0..k).fold(Vec::new(), |value, i| cat(&[&value, &interpolate(&self.known, i)])))
    }
}

#[test]
fn any_k_codewords_give_the_value() {
    let value: Vec<u8> = (0..96).collect();
    let mut stream = Stream::new(&value);
    let all: Vec<Codeword> = (0..3).flat_map(|_| stream.take(9)).collect();
    assert_eq!(all.iter().map(|word| word.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4, 5, 6, 0, 1]);
    for (a, b, c) in [(0, 1, 2), (4, 6, 5), (6, 0, 3), (3, 4, 2)] {
        let mut collector = Collector::new(3);
        collector.collect(&[all[a], all[a], all[b]]);
        assert_eq!(collector.value(), None);
        collector.collect(&[all[c]]);
        assert_eq!(collector.value().unwrap(), value);
    }
    assert_eq!(multiply(0x1234, inverse(0x1234)), 1);
}
