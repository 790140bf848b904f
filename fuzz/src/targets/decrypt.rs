//! Forgeries for a session: refused, and the session is none the worse for them.

use arbitrary::Arbitrary;
use subrosa::Error;

use super::super::{FIXTURE, Forgery};

#[derive(Arbitrary, Debug)]
pub struct Attempt<'a> {
    scene: bool,
    /// Which genuine message is delivered afterwards.
    then: u8,
    forgery: Forgery<'a>,
}

pub fn decrypt(attempt: Attempt<'_>) {
    let scene = &FIXTURE.scenes[usize::from(attempt.scene)];
    let mut session = scene.session();
    let bytes = attempt.forgery.bytes(&scene.messages());
    if let Some(genuine) = scene.pending.iter().find(|message| message.bytes == bytes) {
        assert_eq!(session.decrypt(&bytes).as_ref(), Ok(&genuine.content));
        return;
    }
    let refused = session.decrypt(&bytes);
    assert!(refused.is_err(), "a forgery was decrypted");
    assert_eq!(session.seal(&FIXTURE.key), scene.sealed, "after {refused:?}");

    let genuine = &scene.pending[usize::from(attempt.then) % scene.pending.len()];
    assert_eq!(session.decrypt(&genuine.bytes).as_ref(), Ok(&genuine.content), "after {refused:?}");
    let after = session.seal(&FIXTURE.key);
    let again = session.decrypt(&genuine.bytes);
    assert!(matches!(again, Err(Error::Duplicate | Error::UnknownSession)), "{again:?}");
    assert_eq!(session.seal(&FIXTURE.key), after);
}
