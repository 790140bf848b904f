//! An identity has no copies that are forgotten somewhere.

use std::thread::{JoinHandle, spawn};

use subrosa::{Error, IdentityKeyPair, Session, VerifiedBundle};

struct App {
    identity: IdentityKeyPair,
}

fn in_background(app: App, bundle: VerifiedBundle) -> JoinHandle<Result<Session, Error>> {
    #[cfg(test)]
    let me = app.identity;
    #[cfg(not(test))]
    let me = app.identity.clone();
    spawn(move || Session::initiate(&me, bundle))
}

fn main() {}
