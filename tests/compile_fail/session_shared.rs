//! Two threads do not encrypt on one session at the same time.

use std::{sync::Arc, thread::spawn};

use subrosa::Session;

#[cfg(test)]
type Shared = Arc<std::sync::Mutex<Session>>;
#[cfg(not(test))]
type Shared = Arc<Session>;

fn send(session: &Shared) {
    let session = Arc::clone(session);
    #[cfg(test)]
    spawn(move || session.lock().map(|mut session| session.encrypt(b"At noon.")).is_ok());
    #[cfg(not(test))]
    spawn(move || session.encrypt(b"At noon."));
}

fn main() {}
