//! An identity's private keys are not printed; its public key is.

use subrosa::IdentityKeyPair;

fn greet(me: &IdentityKeyPair) -> String {
    #[cfg(test)]
    return format!("I am {}", me.identity_key());
    #[cfg(not(test))]
    return format!("I am {me}");
}

fn main() {}
