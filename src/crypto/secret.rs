//! Secret bytes: wiped on drop, not `Clone`, not printable.

use alloc::boxed::Box;
use core::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de, ser::SerializeTuple};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// `N` secret bytes.
///
/// Serialises (into state that is about to be sealed, never anywhere else) as `N` plain bytes.
pub(crate) struct Secret<const N: usize>(Zeroizing<[u8; N]>);

impl<const N: usize> Secret<N> {
    /// All zero, to be filled through [`Self::as_mut`].
    pub(crate) fn zeroed() -> Self {
        Self(Zeroizing::new([0; N]))
    }

    /// Takes the bytes; the caller's array is a copy and stays the caller's to wipe.
    pub(crate) fn new(bytes: [u8; N]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// A copy of the bytes, where it stays: a value that is moved leaves copies behind.
    pub(crate) fn boxed(bytes: &[u8; N]) -> Box<Self> {
        let mut secret = Box::new(Self::zeroed());
        secret.0.copy_from_slice(bytes);
        secret
    }

    pub(crate) fn as_bytes(&self) -> &[u8; N] {
        &self.0
    }

    pub(crate) fn as_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl<const N: usize> Serialize for Secret<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut tuple = serializer.serialize_tuple(N)?;
        for byte in self.0.iter() {
            tuple.serialize_element(byte)?;
        }
        tuple.end()
    }
}

impl<'de, const N: usize> Deserialize<'de> for Secret<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor<const N: usize>;

        impl<'de, const N: usize> de::Visitor<'de> for Visitor<N> {
            type Value = Secret<N>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{N} bytes")
            }

            fn visit_seq<A: de::SeqAccess<'de>>(self, mut seq: A) -> Result<Secret<N>, A::Error> {
                let mut secret = Secret::zeroed();
                for (i, byte) in secret.as_mut().iter_mut().enumerate() {
                    *byte = seq.next_element()?.ok_or_else(|| de::Error::invalid_length(i, &"more bytes"))?;
                }
                Ok(secret)
            }
        }

        deserializer.deserialize_tuple(N, Visitor)
    }
}

/// Declares a newtype over 32 secret bytes for each role, so that one cannot be passed for another.
macro_rules! secret_roles {
    ($($(#[$doc:meta])* $name:ident;)+) => {$(
        $(#[$doc])*
        #[derive(serde::Serialize, serde::Deserialize)]
        pub(crate) struct $name($crate::crypto::secret::Secret<32>);

        #[allow(dead_code, reason = "not every role is built from and read as bytes")]
        impl $name {
            pub(crate) fn new(secret: $crate::crypto::secret::Secret<32>) -> Self {
                Self(secret)
            }

            pub(crate) fn as_bytes(&self) -> &[u8; 32] {
                self.0.as_bytes()
            }
        }

        impl core::fmt::Debug for $name {
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.write_str(concat!(stringify!($name), "([secret])"))
            }
        }
    )+};
}
pub(crate) use secret_roles;

/// Compares without leaking where the first difference is. Different lengths are unequal.
pub(crate) fn constant_time_eq(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

/// How much dead stack [`scrub_stack`] overwrites: more than the deepest symmetric derivation uses.
const SCRUB_LEN: usize = 12 * 1024;

/// How many times deeper the stack is that a handshake leaves behind (the KEM's matrices).
const SCRUB_DEEP_TIMES: usize = 8;

/// Overwrites the stack below the caller's frame, where derivations left copies of keys behind. What derives must not
/// be inlined into the caller, then: its own frame stays as it is.
///
/// Best effort, as all wiping in safe Rust is: registers and spilled temporaries of the caller remain.
#[inline(never)]
pub(crate) fn scrub_stack() {
    let mut dead = [0u8; SCRUB_LEN];
    core::hint::black_box(&mut dead);
}

/// As [`scrub_stack`], after key generation, encapsulation and decapsulation.
#[inline(never)]
pub(crate) fn scrub_deep_stack() {
    let mut dead = [0u8; SCRUB_LEN * SCRUB_DEEP_TIMES];
    core::hint::black_box(&mut dead);
}

/// Calls it in a frame of its own, and overwrites the stack that it leaves behind, deep. What it returns is moved: secrets in it
/// should be behind a pointer.
#[cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no devices"))]
pub(crate) fn scrubbed<T>(operation: impl FnOnce() -> T) -> T {
    let result = apart(operation);
    scrub_deep_stack();
    result
}

/// The same after a symmetric derivation, or encryption.
pub(crate) fn scrubbed_lightly<T>(operation: impl FnOnce() -> T) -> T {
    let result = apart(operation);
    scrub_stack();
    result
}

#[inline(never)]
fn apart<T>(operation: impl FnOnce() -> T) -> T {
    operation()
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;

    secret_roles! {
        /// A role of the test.
        TestKey;
    }

    #[test]
    fn a26_debug_shows_no_byte_of_a_secret() {
        assert_eq!(format!("{:?}", Secret::new([0xab; 32])), "[secret]");
        assert_eq!(format!("{:?}", TestKey::new(Secret::new([0xab; 32]))), "TestKey([secret])");
    }

    #[test]
    fn serialises_as_plain_bytes() {
        let bytes: [u8; 64] = core::array::from_fn(|i| i as u8 * 3);
        let encoded = postcard::to_allocvec(&Secret::new(bytes)).unwrap();
        assert_eq!(encoded, bytes);
        let (decoded, rest) = postcard::take_from_bytes::<Secret<64>>(&encoded).unwrap();
        assert_eq!(decoded.as_bytes(), &bytes);
        assert!(rest.is_empty());
        assert!(postcard::from_bytes::<Secret<64>>(&encoded[..63]).is_err());
        let error = serde_json::from_str::<Secret<64>>("true").unwrap_err();
        assert!(error.to_string().contains("expected 64 bytes"), "{error}");
    }

    #[test]
    fn compares_bytes_and_lengths() {
        assert!(constant_time_eq(b"same", b"same"));
        assert!(!constant_time_eq(b"same", b"sama"));
        assert!(!constant_time_eq(b"same", b"sam"));
        assert!(constant_time_eq(b"", b""));
    }
}
