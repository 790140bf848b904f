//! A bundle begins one session.

use subrosa::{Error, IdentityKeyPair, Session, VerifiedBundle};

type Fetch = fn() -> Result<VerifiedBundle, Error>;

fn two_sessions(me: &IdentityKeyPair, fetch: Fetch) -> Result<[Session; 2], Error> {
    let bundle = fetch()?;
    let first = Session::initiate(me, bundle)?;
    #[cfg(test)]
    let second = Session::initiate(me, fetch()?)?;
    #[cfg(not(test))]
    let second = Session::initiate(me, bundle)?;
    Ok([first, second])
}

fn main() {}
