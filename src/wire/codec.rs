//! The bounded reader, and the kind bytes.

use crate::Error;

/// The version of every encoding of this release.
const VERSION: u8 = 1;

/// What an encoding is of: the high four bits of its first byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Kind {
    InitialMessage = 1,
    RatchetMessage = 2,
    PreKeyBundle = 3,
    SignedPreKey = 4,
    OneTimePreKey = 5,
    DeviceList = 6,
    Attachment = 7,
    Verification = 8,
    // Of what is kept, not sent between devices.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no devices"))]
    Backup = 9,
    // Sealed state counts down from the top: it never meets the wire.
    #[cfg_attr(not(feature = "std"), allow(dead_code, reason = "there are no devices"))]
    SealedRecord = 10,
    SealedIdentity = 11,
    SealedPreKeys = 12,
    SealedColdSession = 13,
    SealedHotSession = 14,
    SealedSession = 15,
}

impl Kind {
    /// The first byte of an encoding of this kind.
    pub(crate) const fn tag(self) -> u8 {
        (self as u8) << 4 | VERSION
    }

    /// Checks a first byte.
    pub(crate) fn expect(self, tag: u8) -> Result<(), Error> {
        if tag == self.tag() {
            Ok(())
        } else if tag >> 4 == self as u8 {
            Err(Error::UnsupportedVersion)
        } else {
            Err(Error::Malformed)
        }
    }
}

/// Reads a byte string from front to back. Nothing is allocated by what a length field claims.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], Error> {
        let (head, rest) = self.0.split_first_chunk().ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn slice(&mut self, len: usize) -> Result<&'a [u8], Error> {
        let (head, rest) = self.0.split_at_checked(len).ok_or(Error::Malformed)?;
        self.0 = rest;
        Ok(head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Error> {
        self.array().map(|&[byte]| byte)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, Error> {
        self.array().map(|bytes| u16::from_be_bytes(*bytes))
    }

    pub(crate) fn u32(&mut self) -> Result<u32, Error> {
        self.array().map(|bytes| u32::from_be_bytes(*bytes))
    }

    pub(crate) fn u64(&mut self) -> Result<u64, Error> {
        self.array().map(|bytes| u64::from_be_bytes(*bytes))
    }

    /// A byte that is 0 or 1.
    pub(crate) fn flag(&mut self) -> Result<bool, Error> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Error::Malformed),
        }
    }

    /// What has not been read.
    pub(crate) fn rest(self) -> &'a [u8] {
        self.0
    }

    /// Refuses trailing bytes.
    pub(crate) fn finish(self) -> Result<(), Error> {
        if self.0.is_empty() { Ok(()) } else { Err(Error::Malformed) }
    }
}

/// `serde` of a public value by its canonical bytes: hexadecimal in text formats, bytes in binary ones.
macro_rules! serde_by_bytes {
    ($name:ty) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serdect::slice::serialize_hex_lower_or_bin(&self.to_bytes(), serializer)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let bytes = serdect::slice::deserialize_hex_or_bin_vec(deserializer)?;
                Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use serde_by_bytes;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_in_order_and_refuses_the_rest() {
        let mut reader = Reader::new(&[1, 0, 2, 0, 0, 0, 3, 1, 9, 9]);
        assert_eq!(reader.u8(), Ok(1));
        assert_eq!(reader.u16(), Ok(2));
        assert_eq!(reader.u32(), Ok(3));
        assert_eq!(reader.flag(), Ok(true));
        assert_eq!({ reader }.flag(), Err(Error::Malformed));
        assert_eq!({ reader }.finish(), Err(Error::Malformed));
        assert_eq!(reader.slice(3), Err(Error::Malformed));
        assert_eq!(reader.slice(2), Ok(&[9, 9][..]));
        assert_eq!(reader.u16(), Err(Error::Malformed));
        assert_eq!(reader.finish(), Ok(()));
    }

    #[test]
    fn a25_lengths_beyond_the_input_are_refused() {
        assert_eq!(Reader::new(&[0; 8]).slice(usize::MAX), Err(Error::Malformed));
    }

    #[test]
    fn kinds_and_versions_are_told_apart() {
        assert_eq!(Kind::InitialMessage.tag(), 0x11);
        assert_eq!(Kind::RatchetMessage.expect(0x21), Ok(()));
        assert_eq!(Kind::RatchetMessage.expect(0x22), Err(Error::UnsupportedVersion));
        assert_eq!(Kind::RatchetMessage.expect(0x11), Err(Error::Malformed));
    }
}
