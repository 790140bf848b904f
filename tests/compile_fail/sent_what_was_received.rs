//! Names of what is in the outbox are not names of what is in the inbox.

use subrosa::{Device, DeviceError, Outgoing, Received, store::MemoryStore};

fn done(device: &mut Device<MemoryStore>, out: &Outgoing, got: &Received) -> Result<(), DeviceError> {
    device.acknowledge([got.id])?;
    #[cfg(test)]
    device.sent([out.id])?;
    #[cfg(not(test))]
    device.sent([got.id])?;
    Ok(())
}

fn main() {}
