//! A session that somebody else has now encrypts nothing here.

use subrosa::{Error, Session};

fn hand_over(sessions: &mut Vec<Session>, mut session: Session) -> Result<Vec<u8>, Error> {
    #[cfg(not(test))]
    sessions.push(session);
    let message = session.encrypt(b"the last one from here")?;
    #[cfg(test)]
    sessions.push(session);
    Ok(message)
}

fn main() {}
