//! One ciphertext, one tag, two keys: what Poly1305 does not prevent (Dodis, Grubbs, Ristenpart, Woodage: "Fast Message
//! Franking", 2018; Len, Grubbs, Ristenpart: "Partitioning Oracle Attacks", 2021). For the tests of what does.
//!
//! The tag is a polynomial of the blocks, at a point that the key chooses, plus a mask that the key chooses. That two tags
//! are equal is one linear equation in any one block, modulo 2^130 - 5. Its solution is a block once in four times.

use alloc::{vec, vec::Vec};

use chacha20::{
    ChaCha20,
    cipher::{KeyIvInit, StreamCipher},
};

use super::*;

/// A number modulo 2^130 - 5, in limbs of 26 bits; the highest may have more until it is reduced.
#[derive(Clone, Copy)]
struct Number([u64; 5]);

const LIMB: u64 = (1 << 26) - 1;
/// 2^130 - 5.
const MODULUS: [u64; 5] = [LIMB - 4, LIMB, LIMB, LIMB, LIMB];

impl Number {
    fn new(low: u128, above: u64) -> Self {
        let limb = |index: u32| (low >> (26 * index)) as u64 & LIMB;
        Self([limb(0), limb(1), limb(2), limb(3), limb(4) | above << 24])
    }

    /// Limbs below 2^26, the number below the modulus.
    fn reduced(self) -> Self {
        let mut limbs = self.0;
        for _ in 0..3 {
            for index in 0..5 {
                let carry = limbs[index] >> 26;
                limbs[index] &= LIMB;
                if index < 4 { limbs[index + 1] += carry } else { limbs[0] += 5 * carry }
            }
        }
        if limbs[1..] == MODULUS[1..] && limbs[0] >= MODULUS[0] {
            limbs = [limbs[0] - MODULUS[0], 0, 0, 0, 0];
        }
        Self(limbs)
    }

    fn plus(self, other: Self) -> Self {
        Self(core::array::from_fn(|index| self.0[index] + other.0[index])).reduced()
    }

    fn minus(self, other: Self) -> Self {
        Self(core::array::from_fn(|index| self.0[index] + 2 * MODULUS[index] - other.0[index])).reduced()
    }

    fn times(self, other: Self) -> Self {
        let mut product = [0; 5];
        for (i, a) in self.0.iter().enumerate() {
            for (j, b) in other.0.iter().enumerate() {
                product[(i + j) % 5] += a * b * if i + j < 5 { 1 } else { 5 };
            }
        }
        Self(product).reduced()
    }

    fn to_the(self, exponent: [u64; 5]) -> Self {
        let bits = (0..130).rev().map(|bit| exponent[bit / 26] >> (bit % 26) & 1 == 1);
        bits.fold(Self::new(1, 0), |power, bit| {
            let square = power.times(power);
            if bit { square.times(self) } else { square }
        })
    }

    fn inverse(self) -> Self {
        let mut exponent = MODULUS;
        exponent[0] -= 2;
        self.to_the(exponent)
    }

    /// The lowest 128 bits, and the two above.
    fn split(self) -> (u128, u64) {
        let low = |index: u32| u128::from(self.0[index as usize]) << (26 * index);
        ((0..4).map(low).sum::<u128>() | u128::from(self.0[4]) << 104, self.0[4] >> 24)
    }
}

/// r and s of a key and nonce (RFC 8439, section 2.6).
fn mac_key((key, nonce): (&[u8; 32], &[u8; 12])) -> (Number, Number) {
    let mut block = [0; 32];
    ChaCha20::new(key.into(), nonce.into()).apply_keystream(&mut block);
    let number = |bytes: &[u8]| u128::from_le_bytes(bytes.try_into().unwrap());
    let clamped = number(&block[..16]) & 0x0fff_fffc_0fff_fffc_0fff_fffc_0fff_ffff;
    (Number::new(clamped, 0), Number::new(number(&block[16..]), 0))
}

/// Replaces the 16 bytes of `ciphertext` from `free` on, a multiple of 16, so that it opens under both keys with the tag that
/// is returned. None if it cannot be done: then change any other byte, and try again.
pub(crate) fn under_two_keys(
    keys: [(&[u8; 32], &[u8; 12]); 2],
    associated_data: &[u8],
    ciphertext: &mut [u8],
    free: usize,
) -> Option<[u8; TAG_LEN]> {
    let [(r1, s1), (r2, s2)] = keys.map(mac_key);
    let mut blocks = Vec::new();
    for part in [associated_data, ciphertext] {
        blocks.extend(part.chunks(16).map(|chunk| {
            let mut block = [0; 16];
            block[..chunk.len()].copy_from_slice(chunk);
            Number::new(u128::from_le_bytes(block), 1)
        }));
    }
    let lengths = associated_data.len() as u128 | (ciphertext.len() as u128) << 64;
    blocks.push(Number::new(lengths, 1));
    let place = associated_data.len().div_ceil(16) + free / 16;
    blocks[place] = Number::new(0, 0);
    let evaluate = |r: Number, blocks: &[Number]| {
        blocks.iter().fold(Number::new(0, 0), |sum, block| sum.plus(*block).times(r))
    };
    let power = |r: Number| (place..blocks.len()).fold(Number::new(1, 0), |power, _| power.times(r));
    // sum1 + x r1^e + s1 = sum2 + x r2^e + s2
    let difference = evaluate(r2, &blocks).plus(s2).minus(evaluate(r1, &blocks).plus(s1));
    let solution = difference.times(power(r1).minus(power(r2)).inverse());
    let (block, above) = solution.split();
    blocks[place] = solution;
    let tag = |r, s: Number| evaluate(r, &blocks).split().0.wrapping_add(s.split().0);
    // The sums are reduced before the masks are added, modulo 2^128: that may come in between.
    if above != 1 || tag(r1, s1) != tag(r2, s2) {
        return None;
    }
    ciphertext[free..free + 16].copy_from_slice(&block.to_le_bytes());
    Some(tag(r1, s1).to_le_bytes())
}

/// The same for XChaCha20-Poly1305, under one nonce.
#[cfg(feature = "std")]
pub(crate) fn under_two_keys_extended(
    keys: [&[u8; 32]; 2],
    nonce: &[u8; 24],
    associated_data: &[u8],
    ciphertext: &mut [u8],
    free: usize,
) -> Option<[u8; TAG_LEN]> {
    let [(key1, nonce1), (key2, nonce2)] = keys.map(|key| extended(key, nonce));
    let keys = [(key1.as_bytes(), &nonce1), (key2.as_bytes(), &nonce2)];
    under_two_keys(keys, associated_data, ciphertext, free)
}

/// It works, for any length: the AEAD alone does not say which key a ciphertext was made under.
#[test]
fn a_ciphertext_opens_under_two_keys() {
    let keys = [([1; 32], [2; 12]), ([3; 32], [4; 12])];
    for (len, free, ad_len) in [(16, 0, 0), (100, 80, 20), (5_000, 4_000, 16)] {
        let mut ciphertext = vec![0; len + 16];
        let ad = vec![7; ad_len];
        let found = (0_u128..).find_map(|attempt| {
            // In the block that is not free.
            let other = if free == 0 { 16 } else { 0 };
            ciphertext[other..other + 16].copy_from_slice(&attempt.to_le_bytes());
            let tag =
                under_two_keys(keys.each_ref().map(|(key, nonce)| (key, nonce)), &ad, &mut ciphertext, free);
            assert!(attempt < 1_000);
            tag
        });
        let tag = found.unwrap();
        let [one, two] = keys.map(|(key, nonce)| {
            let mut opened = ciphertext.clone();
            assert_eq!(open(&key, &nonce, &ad, &mut opened, &tag), Ok(()));
            opened
        });
        assert_ne!(one, two);
        ciphertext[len] ^= 1;
        assert_eq!(open(&keys[0].0, &keys[0].1, &ad, &mut ciphertext, &tag), Err(Error::Unauthentic));
    }
}
