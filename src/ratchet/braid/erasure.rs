//! The erasure code of the Braid: Reed-Solomon over GF(2^16), systematic.
//!
//! A value of `k` chunks of 32 bytes is read as 16 lanes of `k` field elements (u16, big-endian). Each lane is
//! the values at 0, 1 ... k - 1 of one polynomial of degree below `k`, and codeword `i` is its value at `i`: so
//! the first `k` codewords are the value itself, and any `k` different ones of all 65,536 recover it.
//!
//! The field is GF(2)\[x\] / (x^16 + x^12 + x^3 + x + 1); bit `i` of an element is the coefficient of x^i.
//! Nothing here is secret (halves of public keys and ciphertexts), so time may depend on it.

use alloc::{vec, vec::Vec};

use arrayvec::ArrayVec;
use serde::{Deserialize, Serialize};

use crate::wire::body::{CHUNK_LEN, Codeword, MAX_CODEWORDS};

/// x^16 in the field, reduced.
const REDUCTION: u16 = 0x100b;

/// Elements in a chunk.
const LANES: usize = CHUNK_LEN / 2;
const _: () = assert!(size_of::<Chunk>() == CHUNK_LEN);

/// The code for values of `k` chunks.
pub(crate) struct Code {
    /// 1 / prod(i - j) over the other places `j`, for each place `i` below `k`.
    weights: &'static [u16],
}

/// What a [`Code`] for `K` chunks is made of.
pub(crate) const fn weights<const K: usize>() -> [u16; K] {
    let mut weights = [1; K];
    let mut i = 0;
    while i < K {
        let mut product = 1;
        let mut j = 0;
        while j < K {
            if j != i {
                product = multiply(product, (i ^ j) as u16);
            }
            j += 1;
        }
        #[allow(clippy::indexing_slicing, reason = "at compile time")]
        {
            weights[i] = invert(product);
        }
        i += 1;
    }
    weights
}

/// A code as a constant: `code!(36)`.
macro_rules! code {
    ($chunks:literal) => {{
        static WEIGHTS: [u16; $chunks] = $crate::ratchet::braid::erasure::weights();
        $crate::ratchet::braid::erasure::Code::new(&WEIGHTS)
    }};
}
pub(crate) use code;

/// Branch-free, so that loops over it become vector instructions.
const fn multiply(a: u16, b: u16) -> u16 {
    let (mut product, mut doubled, mut bit) = (0, a, 0);
    while bit < 16 {
        product ^= doubled & (b >> bit & 1).wrapping_neg();
        doubled = double(doubled);
        bit += 1;
    }
    product
}

const fn double(a: u16) -> u16 {
    (a << 1) ^ (REDUCTION & (a >> 15).wrapping_neg())
}

/// a^(2^16 - 2).
const fn invert(a: u16) -> u16 {
    let (mut inverse, mut square, mut i) = (1, a, 1);
    while i < 16 {
        square = multiply(square, square);
        inverse = multiply(inverse, square);
        i += 1;
    }
    inverse
}

/// A chunk as elements.
type Chunk = [u16; LANES];

fn to_elements(bytes: &[u8; CHUNK_LEN]) -> Chunk {
    let mut chunk = [0; LANES];
    for (element, pair) in chunk.iter_mut().zip(bytes.as_chunks().0) {
        *element = u16::from_be_bytes(*pair);
    }
    chunk
}

fn to_bytes(chunk: &Chunk) -> [u8; CHUNK_LEN] {
    let mut bytes = [0; CHUNK_LEN];
    for (pair, element) in bytes.as_chunks_mut().0.iter_mut().zip(chunk) {
        *pair = element.to_be_bytes();
    }
    bytes
}

/// The multiples of a chunk by every element that has one hexadecimal digit in one of four places: any other
/// multiple is a sum of four of them.
struct Multiples([[Chunk; 16]; 4]);

impl Multiples {
    fn of(mut chunk: Chunk) -> Self {
        let mut multiples = [[[0; LANES]; 16]; 4];
        for digits in &mut multiples {
            for bit in 0..4 {
                let (smaller, larger) = digits.split_at_mut(1 << bit);
                for (sum, smaller) in larger.iter_mut().zip(smaller) {
                    *sum = *smaller;
                    add(sum, &chunk);
                }
                chunk.iter_mut().for_each(|element| *element = double(*element));
            }
        }
        Self(multiples)
    }

    /// Adds `factor` times the chunk to `sum`.
    fn add_to(&self, sum: &mut Chunk, factor: u16) {
        for (place, digits) in self.0.iter().enumerate() {
            if let Some(multiple) = digits.get(usize::from(factor >> (4 * place) & 0xf)) {
                add(sum, multiple);
            }
        }
    }
}

fn add(sum: &mut Chunk, chunk: &Chunk) {
    sum.iter_mut().zip(chunk).for_each(|(sum, element)| *sum ^= element);
}

/// How many elements are worked on at once: as many as vector instructions take, and no other number, so that they are
/// used.
const WIDTH: usize = 16;

type Lanes = [u16; WIDTH];

/// [`multiply`], each with each.
fn multiply_each(values: &mut Lanes, factors: &Lanes) {
    let (mut products, mut doubled) = ([0; _], *values);
    for bit in 0..16 {
        for ((product, doubled), factor) in products.iter_mut().zip(&mut doubled).zip(factors) {
            *product ^= *doubled & (factor >> bit & 1).wrapping_neg();
            *doubled = double(*doubled);
        }
    }
    *values = products;
}

/// Some elements as lanes, filled up.
fn lanes(elements: &[u16]) -> Lanes {
    let mut lanes = [0; _];
    lanes.iter_mut().zip(elements).for_each(|(lane, element)| *lane = *element);
    lanes
}

/// Lagrange interpolation: the values at `targets` of the polynomials whose values at `places` are `chunks`. The
/// weight of a place is 1 / prod(place - other) over the other places.
fn evaluate<'a>(
    places: &[u16],
    weights: &[u16],
    chunks: impl Iterator<Item = &'a [u8; CHUNK_LEN]>,
    targets: &[u16],
) -> Vec<Chunk> {
    let coefficients: Vec<Vec<Lanes>> =
        targets.chunks(WIDTH).map(|targets| coefficients(places, weights, &lanes(targets))).collect();
    let mut sums = vec![[0; LANES]; targets.len()];
    for (place, chunk) in chunks.enumerate() {
        let multiples = Multiples::of(to_elements(chunk));
        let factors = coefficients.iter().filter_map(|places| places.get(place)).flatten();
        sums.iter_mut().zip(factors).for_each(|(sum, factor)| multiples.add_to(sum, *factor));
    }
    sums
}

/// What the value at each place counts at the targets: the place's weight times prod(target - other), as products of
/// what is before it and what is behind it.
fn coefficients(places: &[u16], weights: &[u16], targets: &Lanes) -> Vec<Lanes> {
    let mut product = [1; _];
    let mut coefficients = Vec::with_capacity(places.len());
    for (place, weight) in places.iter().zip(weights) {
        let mut coefficient = [*weight; _];
        multiply_each(&mut coefficient, &product);
        coefficients.push(coefficient);
        multiply_each(&mut product, &targets.map(|target| target ^ place));
    }
    product = [1; _];
    for (place, coefficient) in places.iter().zip(&mut coefficients).rev() {
        multiply_each(coefficient, &product);
        multiply_each(&mut product, &targets.map(|target| target ^ place));
    }
    coefficients
}

/// The weights of any different places.
fn weights_of(places: &[u16]) -> Vec<u16> {
    let mut weights = Vec::with_capacity(places.len());
    for some in places.chunks(WIDTH) {
        let lanes = lanes(some);
        let mut products = [1; _];
        for other in places {
            let difference = |place: u16| if place == *other { 1 } else { place ^ other };
            multiply_each(&mut products, &lanes.map(difference));
        }
        weights.extend(products.into_iter().take(some.len()).map(invert));
    }
    weights
}

impl Code {
    pub(crate) const fn new(weights: &'static [u16]) -> Self {
        Self { weights }
    }

    /// k: how many chunks the value has, and how many codewords recover it.
    pub(crate) const fn chunks(&self) -> usize {
        self.weights.len()
    }

    /// How many codewords are sent before the first comes again.
    const fn stream(&self) -> usize {
        2 * self.chunks() + 1
    }

    /// The codewords of the stream that are not the value itself.
    fn repair(&self, value: &[u8]) -> Vec<Codeword> {
        let (chunks, _) = value.as_chunks();
        debug_assert_eq!(chunks.len(), self.chunks());
        let indices = (0..).take(self.stream());
        let (places, targets): (Vec<u16>, Vec<u16>) =
            indices.partition(|index| usize::from(*index) < self.chunks());
        let computed = evaluate(&places, self.weights, chunks.iter(), &targets);
        let words = targets.iter().zip(&computed);
        words.map(|(index, chunk)| Codeword { index: *index, chunk: to_bytes(chunk) }).collect()
    }

    /// The value out of `k` different codewords.
    fn recover(&self, words: &[Codeword]) -> Vec<u8> {
        let mut value = vec![0; self.chunks() * CHUNK_LEN];
        let (chunks, _) = value.as_chunks_mut();
        let missing: Vec<u16> =
            (0..).take(self.chunks()).filter(|place| words.iter().all(|word| word.index != *place)).collect();
        let mut recovered = Vec::new();
        if !missing.is_empty() {
            let places: Vec<u16> = words.iter().map(|word| word.index).collect();
            let received = words.iter().map(|word| &word.chunk);
            recovered = evaluate(&places, &weights_of(&places), received, &missing);
        }
        let recovered = missing.iter().zip(recovered).map(|(place, chunk)| (*place, to_bytes(&chunk)));
        for (place, bytes) in words.iter().map(|word| (word.index, word.chunk)).chain(recovered) {
            if let Some(chunk) = chunks.get_mut(usize::from(place)) {
                *chunk = bytes;
            }
        }
        value
    }
}

/// The stream of codewords of one value.
///
/// The first 2 k + 1 in turn, for ever: after the value itself come those that make up for losses. That many, because
/// then they are computed once; and one more than twice `k` is prime for each value of the Braid, so a steady pattern of
/// losses meets the same ones each time only if its period is a multiple of it.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Encoder {
    next: u16,
    /// Computed when first needed.
    #[serde(skip)]
    repair: Vec<Codeword>,
}

impl Encoder {
    /// The next codewords: as many as there is room for (at least one), but no more than recover the value, since they
    /// arrive together or not at all.
    pub(crate) fn take(
        &mut self,
        code: &Code,
        value: &[u8],
        room: usize,
        words: &mut ArrayVec<Codeword, MAX_CODEWORDS>,
    ) {
        let (chunks, _) = value.as_chunks();
        for _ in 0..room.clamp(1, code.chunks().min(MAX_CODEWORDS)) {
            let index = usize::from(self.next);
            if let Some(chunk) = chunks.get(index) {
                words.push(Codeword { index: self.next, chunk: *chunk });
            } else {
                if self.repair.is_empty() {
                    self.repair = code.repair(value);
                }
                words.extend(self.repair.get(index - chunks.len()).cloned());
            }
            self.next = if index + 1 == code.stream() { 0 } else { self.next + 1 };
        }
    }

    /// Whether nothing has been taken yet.
    #[cfg(test)]
    pub(crate) fn is_new(&self) -> bool {
        self.next == 0 && self.repair.is_empty()
    }
}

/// The codewords of one value that have arrived: at most `k`.
#[derive(Default, Serialize, Deserialize)]
pub(crate) struct Decoder {
    words: Vec<Codeword>,
}

impl Decoder {
    /// Takes in codewords of one message, and returns the value as soon as it can be recovered. Of codewords
    /// with the same index the first counts; more than `k` are not kept.
    pub(crate) fn collect(&mut self, code: &Code, words: &[Codeword]) -> Option<Vec<u8>> {
        if self.words.capacity() == 0 {
            // Once for all that come.
            self.words.reserve_exact(code.chunks());
        }
        for word in words {
            // In order, so that the same codewords are the same state.
            let place = self.words.binary_search_by_key(&word.index, |known| known.index);
            if let Err(place) = place
                && self.words.len() < code.chunks()
            {
                self.words.insert(place, word.clone());
            }
        }
        (self.words.len() >= code.chunks()).then(|| code.recover(&self.words))
    }
}

#[cfg(test)]
mod tests {
    use chacha20::ChaCha20Rng;
    use proptest::prelude::*;
    use rand::{Rng, SeedableRng, seq::SliceRandom};

    use super::*;

    const CODES: [Code; 6] = [code!(1), code!(2), code!(3), code!(5), code!(30), code!(36)];

    fn taken(encoder: &mut Encoder, code: &Code, value: &[u8], room: usize) -> Vec<Codeword> {
        let mut words = ArrayVec::new();
        encoder.take(code, value, room, &mut words);
        words.to_vec()
    }

    /// The definition, slowly: schoolbook multiplication of polynomials, then long division.
    fn oracle_multiply(a: u16, b: u16) -> u16 {
        let mut product = (0..16).filter(|i| b >> i & 1 == 1).fold(0u32, |sum, i| sum ^ (u32::from(a) << i));
        for bit in (16..32).rev() {
            if product >> bit & 1 == 1 {
                product ^= 0x1100b << (bit - 16);
            }
        }
        product as u16
    }

    /// a^(2^16 - 2), multiplied out.
    fn oracle_invert(a: u16) -> u16 {
        let inverse = (0..14).fold(a, |power, _| oracle_multiply(oracle_multiply(power, power), a));
        let inverse = oracle_multiply(inverse, inverse);
        assert_eq!(oracle_multiply(a, inverse), 1);
        inverse
    }

    /// The definition of codeword `index`, element by element.
    fn oracle_codeword(value: &[u8], index: u16) -> Vec<u8> {
        let places = (value.len() / 32) as u16;
        let element = |place: u16, lane: usize| {
            let at = usize::from(place) * 32 + lane * 2;
            u16::from_be_bytes([value[at], value[at + 1]])
        };
        let basis: Vec<u16> = (0..places)
            .map(|i| {
                (0..places).filter(|j| *j != i).fold(1, |product, j| {
                    oracle_multiply(product, oracle_multiply(index ^ j, oracle_invert(i ^ j)))
                })
            })
            .collect();
        (0..16)
            .flat_map(|lane| {
                let terms =
                    basis.iter().zip(0..).map(|(basis, place)| oracle_multiply(*basis, element(place, lane)));
                terms.fold(0, |sum, term| sum ^ term).to_be_bytes()
            })
            .collect()
    }

    /// Any codeword, also of those that are never sent.
    fn codeword(code: &Code, value: &[u8], index: u16) -> Codeword {
        let (chunks, _) = value.as_chunks();
        let places: Vec<u16> = (0..).take(code.chunks()).collect();
        let value = evaluate(&places, code.weights, chunks.iter(), &[index]);
        Codeword { index, chunk: to_bytes(&value[0]) }
    }

    fn value(code: &Code, rng: &mut ChaCha20Rng) -> Vec<u8> {
        let mut value = vec![0; code.chunks() * 32];
        rng.fill_bytes(&mut value);
        value
    }

    #[test]
    fn the_field_is_the_one_documented() {
        assert_eq!(multiply(0x8000, 2), 0x100b);
        for a in [0, 1, 2, 3, 0x100b, 0x8000, 0xabcd, 0xffff] {
            for b in [0, 1, 2, 0x1234, 0x8001, 0xffff] {
                assert_eq!(multiply(a, b), oracle_multiply(a, b));
            }
        }
        for a in (1..=u16::MAX).step_by(501) {
            assert_eq!(multiply(a, invert(a)), 1);
        }
        // x generates: the polynomial is primitive.
        let order = (1..=u32::from(u16::MAX)).scan(1, |power, _| {
            *power = double(*power);
            Some(*power)
        });
        assert_eq!(order.take_while(|power| *power != 1).count(), 65_534);
    }

    #[test]
    fn codewords_agree_with_the_definition() {
        let mut rng = ChaCha20Rng::seed_from_u64(1);
        for code in &CODES {
            let value = value(code, &mut rng);
            let k = code.chunks() as u16;
            for index in [0, k - 1, k, k + 1, 255, 256, 40_000, u16::MAX] {
                let word = codeword(code, &value, index);
                assert_eq!((word.index, &word.chunk[..]), (index, &oracle_codeword(&value, index)[..]));
            }
            assert_eq!(codeword(code, &value, k - 1).chunk, value[value.len() - 32..], "systematic");
        }
    }

    #[test]
    fn the_stream_never_ends_and_skips_none() {
        let mut rng = ChaCha20Rng::seed_from_u64(2);
        for code in &CODES {
            let value = value(code, &mut rng);
            let k = code.chunks();
            let (mut one, mut many) = (Encoder::default(), Encoder::default());
            let stream: Vec<Codeword> =
                (0..5 * k + 9).flat_map(|_| taken(&mut one, code, &value, 1)).collect();
            for (word, index) in stream.iter().zip((0..=2 * k as u16).cycle()) {
                assert_eq!(word, &codeword(code, &value, index));
            }
            // However many at once, and across a restart.
            let mut together = Vec::new();
            while together.len() < 4 * k {
                let words = taken(&mut many, code, &value, 7);
                assert_eq!(words.len(), k.min(7));
                together.extend(words);
                many = postcard::from_bytes(&postcard::to_allocvec(&many).unwrap()).unwrap();
            }
            assert_eq!(together[..4 * k], stream[..4 * k]);
        }
    }

    #[test]
    fn duplicates_and_late_codewords_are_harmless() {
        let code = &CODES[2];
        let value: Vec<u8> = (0..96).collect();
        let word = |index| codeword(code, &value, index);
        let mut decoder = Decoder::default();
        assert_eq!(decoder.collect(code, &[word(7), word(7)]), None);
        assert_eq!(decoder.collect(code, &[]), None);
        // Another codeword under a known index changes nothing.
        assert_eq!(decoder.collect(code, &[Codeword { index: 7, chunk: [0; 32] }, word(1)]), None);
        assert_eq!(decoder.collect(code, &[word(60_000), word(4), word(5)]), Some(value.clone()));
        assert_eq!(decoder.words.len(), 3, "no more than needed are kept");
        assert_eq!(decoder.collect(code, &[word(2)]), Some(value));
    }

    proptest! {
        #[test]
        fn any_k_codewords_recover(seed: u64, code in 0..CODES.len()) {
            let rng = &mut ChaCha20Rng::seed_from_u64(seed);
            let code = &CODES[code];
            let value = value(code, rng);
            let mut indices: Vec<u16> = (0..200).chain((200..=u16::MAX).step_by(4_000)).collect();
            indices.shuffle(rng);
            let mut decoder = Decoder::default();
            for index in &indices[..code.chunks() - 1] {
                prop_assert_eq!(decoder.collect(code, &[codeword(code, &value, *index)]), None);
            }
            let last = codeword(code, &value, indices[code.chunks()]);
            prop_assert_eq!(decoder.collect(code, &[last]), Some(value));
        }
    }
}
