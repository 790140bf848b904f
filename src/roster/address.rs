//! Where a message goes.

use core::{fmt, str::FromStr};

use super::{DeviceId, UserId};
use crate::Error;

/// One device of one user.
///
/// Prints as `user/device`; [`FromStr`] reads it back.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Whose device it is.
    pub user: UserId,
    /// Which of the user's devices.
    pub device: DeviceId,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.user, self.device)
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

impl FromStr for Address {
    type Err = Error;

    /// # Errors
    /// [`Error::Malformed`], [`Error::InvalidKey`] as of the two parts.
    fn from_str(text: &str) -> Result<Self, Error> {
        let (user, device) = text.split_once('/').ok_or(Error::Malformed)?;
        Ok(Self { user: user.parse()?, device: device.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use super::*;
    use crate::roster::fixture::{device, root};

    #[test]
    fn has_one_text_form() {
        let (user, device) = (*root(1).user_id(), DeviceId::of(device(1).identity_key()));
        let address = Address { user, device };
        let text = format!("{address}");
        assert_eq!(text, format!("{user}/{device}"));
        assert_eq!(format!("{address:?}"), format!("Address({text})"));
        assert_eq!(text.parse(), Ok(address));
        for wrong in [
            format!("{user}{device}"),
            format!("{user}/"),
            format!("/{device}"),
            format!("{device}/{user}"),
            format!("{user}/{device}/"),
            format!("{user}//{device}"),
            format!("{user} / {device}"),
        ] {
            assert_eq!(wrong.parse::<Address>(), Err(Error::Malformed), "{wrong}");
        }
    }
}
