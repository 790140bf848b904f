//! Forged initial messages: refused, and the prekeys are all still there for the genuine one.

use arbitrary::Arbitrary;
use subrosa::{Accepted, Error, PreKeys, Session};

use super::super::{FIXTURE, Forgery, Initial, rng};

#[derive(Arbitrary, Debug)]
pub struct Attempt<'a> {
    /// Which genuine message is accepted afterwards.
    then: u8,
    forgery: Forgery<'a>,
}

pub fn accept(attempt: Attempt<'_>) {
    let mut prekeys = PreKeys::open(&FIXTURE.key, &FIXTURE.prekeys).expect("sealed under this key");
    let genuine: Vec<_> = FIXTURE.initial.iter().map(|initial| &initial.message.bytes[..]).collect();
    let bytes = attempt.forgery.bytes(&genuine);
    if let Some(initial) = FIXTURE.initial.iter().find(|initial| initial.message.bytes == bytes) {
        return check(initial, &mut prekeys);
    }
    let refused = try_accept(&mut prekeys, &bytes);
    assert!(refused.is_err(), "a forgery was accepted");
    assert_eq!(prekeys.seal(&FIXTURE.key), FIXTURE.prekeys, "after {refused:?}");
    check(&FIXTURE.initial[usize::from(attempt.then) % FIXTURE.initial.len()], &mut prekeys);
}

fn try_accept(prekeys: &mut PreKeys, bytes: &[u8]) -> Result<Accepted, Error> {
    Session::accept_with_rng(&FIXTURE.bob, prekeys, bytes, &mut rng(6))
}

/// A genuine message is accepted, once.
fn check(initial: &Initial, prekeys: &mut PreKeys) {
    let accepted = try_accept(prekeys, &initial.message.bytes).expect("a genuine initial message");
    assert_eq!(accepted.content, initial.message.content);
    assert_eq!(accepted.payload, initial.payload);
    assert_eq!(accepted.session.id(), initial.session);
    assert_eq!(accepted.session.peer_identity(), FIXTURE.alice.identity_key());
    let after = prekeys.seal(&FIXTURE.key);
    let again = try_accept(prekeys, &initial.message.bytes).err();
    assert!(matches!(again, Some(Error::UnknownPreKey | Error::Replayed)), "{again:?}");
    assert_eq!(prekeys.seal(&FIXTURE.key), after);
}
