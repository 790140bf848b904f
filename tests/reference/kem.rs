//! Section 8.5: ML-KEM-768 in halves; and ML-KEM-1024 as it is.
//!
//! Key pairs and decapsulation are RustCrypto's. No library but the crate's own gives encapsulation in halves, so here is
//! K-PKE.Encrypt of FIPS 203 by hand, algorithm by algorithm, in the order of the standard's numbers.

use ml_kem::{
    B32, Ciphertext, Decapsulate, DecapsulationKey, EncapsulationKey, KeyExport, MlKem768, MlKem1024,
};
use sha3::{Digest, Sha3_256, Sha3_512};
use shake::{ExtendableOutput, Shake128, Shake256, Update, XofReader};

use super::primitives::{Key, cat};

/// A key pair is its seed `d | z`; everything else follows.
pub type Seed = [u8; 64];

/// Header 64 and vector 1152 of a key pair.
pub fn public_halves(seed: &Seed) -> (Vec<u8>, Vec<u8>) {
    let ek = DecapsulationKey::<MlKem768>::from_seed((*seed).into()).encapsulation_key().to_bytes();
    let (vector, rho) = ek.split_at(1152);
    (cat(&[rho, &Sha3_256::digest(ek)]), vector.to_vec())
}

/// K
pub fn decapsulate(seed: &Seed, ct1: &[u8], ct2: &[u8]) -> Key {
    let ciphertext = Ciphertext::<MlKem768>::try_from(&cat(&[ct1, ct2])[..]).unwrap();
    DecapsulationKey::<MlKem768>::from_seed((*seed).into()).decapsulate(&ciphertext).into()
}

/// First half: K and ct1.
pub fn first_half(header: &[u8], m: &Key) -> (Key, Vec<u8>) {
    let (rho, h) = header.split_at(32);
    let (k, r) = k_and_r(m, h);
    let y: Vec<Poly> = (0..3).map(|n| ntt(noise(&r, n))).collect();
    let mut ct1 = Vec::new();
    for i in 0..3 {
        // Row i of A^T is column i of A; A[j][i] is sampled from rho | i | j.
        let row = (0..3).map(|j| sample_ntt(rho, i, j)).collect();
        let u = add(&inverse_ntt(inner_product(row, &y)), &noise(&r, 3 + i));
        ct1.extend(byte_encode(10, &u.map(|x| compress(10, x))));
    }
    (k, ct1)
}

/// Second half: ct2, if the vector is valid.
pub fn second_half(header: &[u8], vector: &[u8], m: &Key) -> Option<Vec<u8>> {
    let (rho, h) = header.split_at(32);
    let t: Vec<Poly> = vector.chunks(384).map(|bytes| byte_decode(12, bytes)).collect();
    if Sha3_256::digest(cat(&[vector, rho]))[..] != *h || t.iter().flatten().any(|x| *x >= Q) {
        return None;
    }
    let (_, r) = k_and_r(m, h);
    let y: Vec<Poly> = (0..3).map(|n| ntt(noise(&r, n))).collect();
    let message = byte_decode(1, m).map(|x| decompress(1, x));
    let v = add(&add(&inverse_ntt(inner_product(t, &y)), &noise(&r, 6)), &message);
    Some(byte_encode(4, &v.map(|x| compress(4, x))))
}

/// ML-KEM-1024: whether an encapsulation key is valid.
pub fn is_valid_1024(ek: &[u8]) -> bool {
    EncapsulationKey::<MlKem1024>::new(ek.try_into().unwrap()).is_ok()
}

pub fn public_1024(seed: &Seed) -> Vec<u8> {
    DecapsulationKey::<MlKem1024>::from_seed((*seed).into()).encapsulation_key().to_bytes().to_vec()
}

/// CT and ss, with coins m.
pub fn encapsulate_1024(ek: &[u8], m: &Key) -> (Vec<u8>, Key) {
    let ek = EncapsulationKey::<MlKem1024>::new(ek.try_into().unwrap()).unwrap();
    let (ciphertext, secret) = ek.encapsulate_deterministic(&B32::from(*m));
    (ciphertext.to_vec(), secret.into())
}

pub fn decapsulate_1024(seed: &Seed, ciphertext: &[u8]) -> Key {
    let ciphertext = Ciphertext::<MlKem1024>::try_from(ciphertext).unwrap();
    DecapsulationKey::<MlKem1024>::from_seed((*seed).into()).decapsulate(&ciphertext).into()
}

/// 256 coefficients below Q, of a polynomial or of its NTT.
type Poly = [u32; 256];
const Q: u32 = 3329;

/// `K | r = SHA3-512(m | h)`, as in ML-KEM.Encaps_internal (algorithm 17).
fn k_and_r(m: &Key, h: &[u8]) -> (Key, Key) {
    let both = Sha3_512::digest(cat(&[m, h]));
    (both[..32].try_into().unwrap(), both[32..].try_into().unwrap())
}

/// Algorithm 5.
fn byte_encode(d: usize, coefficients: &[u32]) -> Vec<u8> {
    let mut bytes = vec![0; 32 * d];
    for (i, coefficient) in coefficients.iter().enumerate() {
        for bit in 0..d {
            let at = i * d + bit;
            bytes[at / 8] |= ((coefficient >> bit & 1) as u8) << (at % 8);
        }
    }
    bytes
}

/// Algorithm 6, but for d = 12 not reduced.
fn byte_decode(d: usize, bytes: &[u8]) -> Poly {
    std::array::from_fn(|i| {
        (0..d).map(|bit| (u32::from(bytes[(i * d + bit) / 8]) >> ((i * d + bit) % 8) & 1) << bit).sum()
    })
}

/// Equation 4.7: round(2^d / q * x) mod 2^d.
fn compress(d: u32, x: u32) -> u32 {
    ((x << d) + Q / 2) / Q % (1 << d)
}

/// Equation 4.8: round(q / 2^d * y).
fn decompress(d: u32, y: u32) -> u32 {
    (Q * y + (1 << (d - 1))) >> d
}

/// Algorithm 7, of `rho | a | b`.
fn sample_ntt(rho: &[u8], a: u8, b: u8) -> Poly {
    let mut hash = Shake128::default();
    hash.update(&cat(&[rho, &[a, b]]));
    let mut stream = hash.finalize_xof();
    let mut poly = [0; 256];
    let mut filled = 0;
    while filled < 256 {
        let mut c = [0; 3];
        stream.read(&mut c);
        let [c0, c1, c2] = c.map(u32::from);
        for d in [c0 + 256 * (c1 % 16), c1 / 16 + 16 * c2] {
            if d < Q && filled < 256 {
                poly[filled] = d;
                filled += 1;
            }
        }
    }
    poly
}

/// Algorithm 8 with eta = 2, of PRF(r, n).
fn noise(r: &Key, n: u8) -> Poly {
    let mut hash = Shake256::default();
    hash.update(&cat(&[r, &[n]]));
    let mut bytes = [0; 128];
    hash.finalize_xof().read(&mut bytes);
    let bit = |i: usize| u32::from(bytes[i / 8] >> (i % 8) & 1);
    std::array::from_fn(|i| (Q + bit(4 * i) + bit(4 * i + 1) - bit(4 * i + 2) - bit(4 * i + 3)) % Q)
}

/// 17^exponent modulo q.
fn zeta(exponent: u32) -> u32 {
    (0..exponent).fold(1, |power, _| power * 17 % Q)
}

/// BitRev_7
fn bit_reverse(i: u32) -> u32 {
    (0..7).map(|bit| (i >> bit & 1) << (6 - bit)).sum()
}

/// Algorithm 9.
fn ntt(mut f: Poly) -> Poly {
    let mut i = 1;
    for len in [128, 64, 32, 16, 8, 4, 2] {
        for start in (0..256).step_by(2 * len) {
            let zeta = zeta(bit_reverse(i));
            i += 1;
            for j in start..start + len {
                let t = zeta * f[j + len] % Q;
                (f[j], f[j + len]) = ((f[j] + t) % Q, (f[j] + Q - t) % Q);
            }
        }
    }
    f
}

/// Algorithm 10.
fn inverse_ntt(mut f: Poly) -> Poly {
    let mut i = 127;
    for len in [2, 4, 8, 16, 32, 64, 128] {
        for start in (0..256).step_by(2 * len) {
            let zeta = zeta(bit_reverse(i));
            i -= 1;
            for j in start..start + len {
                let t = f[j];
                (f[j], f[j + len]) = ((t + f[j + len]) % Q, zeta * (f[j + len] + Q - t) % Q);
            }
        }
    }
    f.map(|x| x * 3303 % Q)
}

/// Algorithms 11 and 12.
fn multiply_ntts(f: &Poly, g: &Poly) -> Poly {
    let mut product = [0; 256];
    for i in 0..128 {
        let gamma = zeta(2 * bit_reverse(i as u32) + 1);
        let (a0, a1, b0, b1) = (f[2 * i], f[2 * i + 1], g[2 * i], g[2 * i + 1]);
        product[2 * i] = (a0 * b0 + a1 * b1 % Q * gamma) % Q;
        product[2 * i + 1] = (a0 * b1 + a1 * b0) % Q;
    }
    product
}

fn add(f: &Poly, g: &Poly) -> Poly {
    std::array::from_fn(|i| (f[i] + g[i]) % Q)
}

fn inner_product(a: Vec<Poly>, b: &[Poly]) -> Poly {
    a.iter().zip(b).map(|(f, g)| multiply_ntts(f, g)).fold([0; 256], |sum, f| add(&sum, &f))
}

/// Both halves together are RustCrypto's ciphertext, and both sides have one secret.
#[test]
fn halves_are_a_ciphertext_of_fips_203() {
    for number in 0..20_u8 {
        let (seed, m) = ([number; 64], [number ^ 0x55; 32]);
        let (header, vector) = public_halves(&seed);
        let ek = cat(&[&vector, &header[..32]]);
        let ek = EncapsulationKey::<MlKem768>::new(ek[..].try_into().unwrap()).unwrap();
        let (ciphertext, secret) = ek.encapsulate_deterministic(&B32::from(m));

        let (k, ct1) = first_half(&header, &m);
        let ct2 = second_half(&header, &vector, &m).unwrap();
        assert_eq!(cat(&[&ct1, &ct2]), ciphertext.to_vec());
        assert_eq!(k, secret[..]);
        assert_eq!(decapsulate(&seed, &ct1, &ct2), k);

        let mut other = vector;
        other[number as usize] ^= 1;
        assert_eq!(second_half(&header, &other, &m), None);
    }
}
