//! A password is no key: one is derived from it.

use std::error::Error;

use subrosa::{Device, store::MemoryStore};

fn unlock(mut store: MemoryStore, password: &str) -> Result<Device<MemoryStore>, Box<dyn Error>> {
    #[cfg(test)]
    let password = &subrosa::StorageKey::from_passphrase(&mut store, password)?;
    Ok(Device::open(store, password)?)
}

fn main() {}
