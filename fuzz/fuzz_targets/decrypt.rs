//! Forgeries for a session: refused, and the session is none the worse for them.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use subrosa::Error;
use subrosa_fuzz::{FIXTURE, Forgery};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    scene: bool,
    /// Which genuine message is delivered afterwards.
    then: u8,
    forgery: Forgery<'a>,
}

fuzz_target!(|input: Input<'_>| {
    let scene = &FIXTURE.scenes[usize::from(input.scene)];
    let mut session = scene.session();
    let bytes = input.forgery.bytes(&scene.messages());
    if let Some(genuine) = scene.pending.iter().find(|message| message.bytes == bytes) {
        assert_eq!(session.decrypt(&bytes).as_ref(), Ok(&genuine.content));
        return;
    }
    let refused = session.decrypt(&bytes);
    assert!(refused.is_err(), "a forgery was decrypted");
    assert_eq!(session.seal(&FIXTURE.key), scene.sealed, "after {refused:?}");

    let genuine = &scene.pending[usize::from(input.then) % scene.pending.len()];
    assert_eq!(session.decrypt(&genuine.bytes).as_ref(), Ok(&genuine.content), "after {refused:?}");
    let after = session.seal(&FIXTURE.key);
    let again = session.decrypt(&genuine.bytes);
    assert!(matches!(again, Err(Error::Duplicate | Error::UnknownSession)), "{again:?}");
    assert_eq!(session.seal(&FIXTURE.key), after);
});
