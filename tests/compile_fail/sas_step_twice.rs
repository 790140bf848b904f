//! A step of a verification is taken once: an attacker has one guess.

use subrosa::{Error, SasCode, SasInitiator};

fn patient(waiting: SasInitiator, answer: &[u8], another: &[u8]) -> Result<SasCode, Error> {
    let _ = another;
    let first = waiting.receive(answer);
    #[cfg(test)]
    let code = first?.0;
    #[cfg(not(test))]
    let code = first.or_else(|_| waiting.receive(another))?.0;
    Ok(code)
}

fn main() {}
