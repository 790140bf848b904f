//! Keys as text: bech32m (BIP 350), which finds what was mistyped.

#[cfg(feature = "std")]
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

use bech32::{Bech32m, Hrp, primitives::decode::CheckedHrpstring};

use crate::Error;

/// Writes the one text form of the bytes, in lower case.
pub(crate) fn write(f: &mut fmt::Formatter<'_>, prefix: Hrp, bytes: &[u8]) -> fmt::Result {
    bech32::encode_to_fmt::<Bech32m, _>(f, prefix, bytes).map_err(|_| fmt::Error)
}

/// The text form of secret bytes, `len` characters: made in place, so that no shorter piece of it is left behind. It is the
/// caller's to wipe.
#[cfg(feature = "std")]
pub(crate) fn secret(prefix: Hrp, bytes: &[u8], len: usize) -> String {
    let mut text = String::with_capacity(len);
    // It fails for what is longer than bech32m allows, which no caller's is; such a text would be read by nobody.
    let written = bech32::encode_to_fmt::<Bech32m, _>(&mut text, prefix, bytes);
    debug_assert!(written.is_ok() && text.len() == len);
    text
}

/// Compares what is written with a text, but for the case of its letters, and keeps nothing of it: it may be a secret.
struct Same<'a>(&'a str);

impl fmt::Write for Same<'_> {
    fn write_str(&mut self, piece: &str) -> fmt::Result {
        let (begin, rest) = self.0.split_at_checked(piece.len()).ok_or(fmt::Error)?;
        self.0 = rest;
        if begin.eq_ignore_ascii_case(piece) { Ok(()) } else { Err(fmt::Error) }
    }
}

/// One text for one value: this refuses a foreign prefix and non-zero padding bits.
fn check_canonical(prefix: Hrp, bytes: &[u8], text: &str) -> Result<(), Error> {
    let mut same = Same(text);
    let written = bech32::encode_to_fmt::<Bech32m, _>(&mut same, prefix, bytes);
    if written.is_ok() && same.0.is_empty() { Ok(()) } else { Err(Error::Malformed) }
}

/// Reads the text form of bytes, public ones, of any number, with this prefix, in lower or in upper case; else
/// [`Error::Malformed`].
pub(crate) fn read_bytes(prefix: Hrp, text: &str) -> Result<Vec<u8>, Error> {
    // Refuses what is longer than bech32m is defined for, 1,023 characters.
    let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| Error::Malformed)?;
    let bytes: Vec<u8> = checked.byte_iter().collect();
    check_canonical(prefix, &bytes, text)?;
    Ok(bytes)
}

/// Reads the text form of `N` bytes with this prefix, in lower or in upper case; else [`Error::Malformed`].
pub(crate) fn read<const N: usize>(prefix: Hrp, text: &str) -> Result<[u8; N], Error> {
    let checked = CheckedHrpstring::new::<Bech32m>(text).map_err(|_| Error::Malformed)?;
    let mut bytes = [0; N];
    let mut read = checked.byte_iter();
    if read.len() != N {
        return Err(Error::Malformed);
    }
    bytes.iter_mut().zip(&mut read).for_each(|(to, from)| *to = from);
    check_canonical(prefix, &bytes, text)?;
    Ok(bytes)
}

/// `serde` of a public key: the text form in human-readable formats, its bytes in binary ones.
macro_rules! serde_by_text {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    serdect::slice::serialize_hex_lower_or_bin(&self.to_bytes(), serializer)
                }
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let key = if deserializer.is_human_readable() {
                    <alloc::string::String as serde::Deserialize>::deserialize(deserializer)?.parse()
                } else {
                    Self::from_bytes(&serdect::slice::deserialize_hex_or_bin_vec(deserializer)?)
                };
                key.map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_by_text;
