//! Short names of devices.

use core::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use crate::{
    Error, IdentityKey,
    crypto::kdf::{self, Label},
};

/// Which device it is: the first 16 bytes of the hash of its [`IdentityKey`].
///
/// So it needs no registry, and nobody can make a device with the id of somebody else's. It prints as 32 lower-case
/// hexadecimal digits, and [`FromStr`] reads nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeviceId([u8; Self::LEN]);

impl DeviceId {
    /// Length of [`Self::to_bytes`], in bytes.
    pub const LEN: usize = 16;

    /// The id of the device that has this key.
    #[must_use]
    pub fn of(identity_key: &IdentityKey) -> Self {
        let [id @ .., _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _] =
            kdf::hash(Label::DEVICE_ID, &[&identity_key.to_bytes()]);
        Self(id)
    }

    /// The bytes.
    #[must_use]
    pub fn to_bytes(self) -> [u8; Self::LEN] {
        self.0
    }

    /// An id that [`Self::to_bytes`] gave. Any 16 bytes are one; whether there is such a device is another question.
    #[must_use]
    pub fn from_bytes(bytes: [u8; Self::LEN]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DeviceId({self})")
    }
}

impl FromStr for DeviceId {
    type Err = Error;

    /// # Errors
    /// [`Error::Malformed`] if these are not exactly 32 lower-case hexadecimal digits.
    fn from_str(text: &str) -> Result<Self, Error> {
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte - b'0'),
            b'a'..=b'f' => Ok(byte - b'a' + 10),
            _ => Err(Error::Malformed),
        };
        let (pairs, rest) = text.as_bytes().as_chunks::<2>();
        if pairs.len() != Self::LEN || !rest.is_empty() {
            return Err(Error::Malformed);
        }
        let mut id = [0; Self::LEN];
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            *byte = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(id))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::roster::fixture::device;

    #[test]
    fn is_of_both_halves_of_the_key() {
        let (one, other) = (device(1).identity_key().to_bytes(), device(2).identity_key().to_bytes());
        let mut ids = [[&one[..32], &one[32..]], [&one[..32], &other[32..]], [&other[..32], &one[32..]]]
            .map(|halves| DeviceId::of(&IdentityKey::from_bytes(&halves.concat()).unwrap()))
            .to_vec();
        assert_eq!(ids[0].to_bytes(), kdf::hash(Label::DEVICE_ID, &[&one])[..16]);
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 3);
    }

    #[test]
    fn has_one_text_form() {
        let id = DeviceId::from_bytes(core::array::from_fn(|i| i as u8 * 17));
        let text = format!("{id}");
        assert_eq!(text, "00112233445566778899aabbccddeeff");
        assert_eq!(format!("{id:?}"), format!("DeviceId({text})"));
        assert_eq!(text.parse(), Ok(id));
        for wrong in [
            text.to_uppercase(),
            text[..31].into(),
            text[..30].into(),
            format!("{text}0"),
            format!("{text}00"),
            format!("+{}", &text[1..]),
            format!("{}g", &text[..31]),
            format!("{} ", &text[..31]),
            format!("{}\u{e9}", &text[..30]),
            "".into(),
        ] {
            assert_eq!(wrong.parse::<DeviceId>(), Err(Error::Malformed), "{wrong}");
        }
    }
}
