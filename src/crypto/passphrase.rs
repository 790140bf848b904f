//! Keys out of passphrases: Argon2id (RFC 9106), and a commitment to the key.
//!
//! ```text
//! passphrase, parameters ── Argon2id ──> 64 bytes ── HKDF(label, parameters) ──> key 32 | commitment 32
//! ```
//!
//! The commitment is stored in the clear and compared before anything is opened. Without it one sealed text may open
//! under two keys, and who can see whether it opens learns about many passphrases by one attempt.
//!
//! Not its concern: where parameters and commitment are kept, and the Unicode form of the passphrase.

use std::{collections::TryReserveError, ops::RangeInclusive};

use argon2::{Algorithm, Argon2, Block, Params, Version};
use zeroize::Zeroizing;

use super::{
    kdf::{self, Label},
    secret::{Secret, scrub_deep_stack},
};
use crate::Error;

/// The encoded length of [`PassphraseParameters`].
pub(crate) const PARAMETERS_LEN: usize = 28;

/// What memory costs: from the least that OWASP recommends to what a reader can be expected to have.
const MEMORY_KIB: RangeInclusive<u32> = 19_456..=1_048_576;

/// With the most memory, half a minute: who alters the parameters cannot make a reader hang for longer.
const PASSES: RangeInclusive<u32> = 1..=16;

/// More than any device has cores to spare for this.
const LANES: RangeInclusive<u32> = 1..=8;

/// How an attempt at a passphrase is made expensive. Not secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PassphraseParameters {
    salt: [u8; 16],
    memory_kib: u32,
    passes: u32,
    lanes: u32,
}

impl PassphraseParameters {
    /// What new keys are made with: the second recommended option of RFC 9106 in one lane, as there is one thread.
    pub(crate) const fn default(salt: [u8; 16]) -> Self {
        Self { salt, memory_kib: 64 * 1024, passes: 3, lanes: 1 }
    }

    /// salt 16 | memory u32 | passes u32 | lanes u32, big-endian.
    pub(crate) fn encode(&self) -> [u8; PARAMETERS_LEN] {
        let mut encoded = [0; PARAMETERS_LEN];
        let numbers = [self.memory_kib, self.passes, self.lanes].map(u32::to_be_bytes);
        let bytes = self.salt.iter().chain(numbers.as_flattened());
        encoded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        encoded
    }

    /// Refuses what costs too little to protect, and what costs more than a reader should be made to pay.
    pub(crate) fn decode(encoded: &[u8; PARAMETERS_LEN]) -> Result<Self, Error> {
        let mut reader = crate::wire::codec::Reader::new(encoded);
        let parameters = Self {
            salt: *reader.array()?,
            memory_kib: reader.u32()?,
            passes: reader.u32()?,
            lanes: reader.u32()?,
        };
        let bounded = MEMORY_KIB.contains(&parameters.memory_kib)
            && PASSES.contains(&parameters.passes)
            && LANES.contains(&parameters.lanes);
        bounded.then_some(parameters).ok_or(Error::Malformed)
    }

    /// The key of a passphrase, and the commitment to it, which is not secret once it is stored. Both depend on all
    /// parameters.
    ///
    /// # Errors
    /// If there is not as much memory.
    pub(crate) fn derive(
        &self,
        passphrase: &str,
        label: Label,
    ) -> Result<(Secret<32>, Secret<32>), TryReserveError> {
        let derived = self.derive_inner(passphrase, label);
        scrub_deep_stack();
        derived
    }

    #[inline(never)]
    fn derive_inner(
        &self,
        passphrase: &str,
        label: Label,
    ) -> Result<(Secret<32>, Secret<32>), TryReserveError> {
        let stretched = self.stretch(passphrase.as_bytes())?;
        let derived: Secret<64> = kdf::derive(&[0; 32], stretched.as_bytes(), label, [&self.encode(), &[]]);
        let [key, commitment] = kdf::split(&derived);
        Ok((key, commitment))
    }

    fn stretch(&self, passphrase: &[u8]) -> Result<Secret<64>, TryReserveError> {
        #[allow(clippy::expect_used, reason = "the bounds of decoding are within those of Argon2")]
        let params =
            Params::new(self.memory_kib, self.passes, self.lanes, Some(64)).expect("bounded parameters");
        // Ours, since that of the crate is not wiped, and aborts the process when there is none.
        let mut memory = Zeroizing::new(Vec::new());
        memory.try_reserve_exact(params.block_count())?;
        memory.resize(params.block_count(), Block::new());
        let mut output = Secret::zeroed();
        #[allow(clippy::expect_used, reason = "fails on lengths only: a passphrase of 4 GiB")]
        Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password_into_with_memory(passphrase, &self.salt, output.as_mut(), memory.as_mut_slice())
            .expect("lengths that Argon2 takes");
        Ok(output)
    }
}

#[cfg(test)]
mod tests {
    use argon2::{AssociatedData, ParamsBuilder};

    use super::*;

    fn parameters(memory_kib: u32, passes: u32, lanes: u32) -> PassphraseParameters {
        PassphraseParameters { salt: core::array::from_fn(|i| i as u8), memory_kib, passes, lanes }
    }

    fn derived(parameters: &PassphraseParameters, passphrase: &str) -> [String; 2] {
        let (key, commitment) = parameters.derive(passphrase, Label::STORAGE_PASSPHRASE).unwrap();
        [key, commitment].map(|secret| hex::encode(secret.as_bytes()))
    }

    /// RFC 9106, section 5.3.
    #[test]
    fn rfc_9106_argon2id() {
        let data = AssociatedData::new(&[4; 12]).unwrap();
        let params = ParamsBuilder::new().m_cost(32).t_cost(3).p_cost(4).data(data).build().unwrap();
        let argon2 = Argon2::new_with_secret(&[3; 8], Algorithm::Argon2id, Version::V0x13, params).unwrap();
        let mut tag = [0; 32];
        argon2.hash_password_into(&[1; 32], &[2; 16], &mut tag).unwrap();
        assert_eq!(hex::encode(tag), "0d640df58d78766c08c037a34a8b53c9d01ef0452d75b65eb52520e96b01e659");
    }

    /// As Python's argon2-cffi (the reference implementation), hmac and hashlib have it.
    #[test]
    fn agrees_with_the_reference_implementation() {
        for (parameters, expected) in [
            (
                PassphraseParameters::default(core::array::from_fn(|i| i as u8)),
                [
                    "6db5db56f64c94730d4c1e8ab69ed7a984c34fab9ab374cdeb3d534771fdab93",
                    "6981d55b4584459ec6d2a4026dd5d5f244e67608431e38f84c34833302336984",
                ],
            ),
            (
                parameters(19_456, 1, 2),
                [
                    "d24153c084167234d0ecb1e2ba44613c7734ad6ac1660896add4ef0830b9140c",
                    "8679dc017c77d74069d3a69a32326f365091e4bcd700a4343d4449a8710cf857",
                ],
            ),
        ] {
            assert_eq!(derived(&parameters, "sub rosa \u{e9}"), expected);
        }
    }

    /// Each of the parameters, the passphrase, its Unicode form, and the label.
    #[test]
    fn everything_changes_key_and_commitment() {
        let base = parameters(19_456, 1, 1);
        let mut salted = base.clone();
        salted.salt[15] ^= 1;
        let mut all = vec![
            derived(&base, "caf\u{e9}"),
            derived(&base, "cafe\u{301}"),
            derived(&base, ""),
            derived(&salted, "caf\u{e9}"),
            derived(&parameters(19_457, 1, 1), "caf\u{e9}"),
            derived(&parameters(19_456, 2, 1), "caf\u{e9}"),
            derived(&parameters(19_456, 1, 2), "caf\u{e9}"),
        ];
        let (key, commitment) = base.derive("caf\u{e9}", Label::STORAGE).unwrap();
        all.push([key, commitment].map(|secret| hex::encode(secret.as_bytes())));
        let mut values = all.concat();
        values.sort();
        values.dedup();
        assert_eq!(values.len(), 2 * all.len());
    }

    #[test]
    fn a45_absurd_parameters_are_refused() {
        for (memory_kib, passes, lanes, accepted) in [
            (19_456, 1, 1, true),
            (1_048_576, 16, 8, true),
            (19_455, 1, 1, false),
            (0, 1, 1, false),
            (1_048_577, 1, 1, false),
            (u32::MAX, 1, 1, false),
            (19_456, 0, 1, false),
            (19_456, 17, 1, false),
            (19_456, u32::MAX, 1, false),
            (19_456, 1, 0, false),
            (19_456, 1, 9, false),
            (19_456, 1, u32::MAX, false),
        ] {
            let encoded = parameters(memory_kib, passes, lanes).encode();
            match PassphraseParameters::decode(&encoded) {
                Ok(decoded) => assert!(accepted && decoded.encode() == encoded, "{decoded:?}"),
                Err(error) => {
                    assert!(!accepted && error == Error::Malformed, "{memory_kib} {passes} {lanes}")
                }
            }
        }
    }
}
