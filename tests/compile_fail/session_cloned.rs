//! A session has no copy: two of them would encrypt two texts under one key.

use subrosa::Session;

fn keep(sessions: &mut Vec<Session>, session: Session) {
    #[cfg(test)]
    sessions.push(session);
    #[cfg(not(test))]
    sessions.push(session.clone());
}

fn main() {}
