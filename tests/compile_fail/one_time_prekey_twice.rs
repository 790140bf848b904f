//! A one-time prekey goes into one bundle.

use subrosa::{IdentityKey, OneTimePreKey, PreKeyBundle, SignedPreKey};

fn serve(key: IdentityKey, signed: &SignedPreKey, one_time: Option<OneTimePreKey>) -> [PreKeyBundle; 2] {
    let for_alice = PreKeyBundle::new(key, signed.clone(), one_time);
    #[cfg(test)]
    let for_carol = PreKeyBundle::new(key, signed.clone(), None);
    #[cfg(not(test))]
    let for_carol = PreKeyBundle::new(key, signed.clone(), one_time);
    [for_alice, for_carol]
}

fn main() {}
