//! Forged initial messages: refused, and the prekeys are all still there for the genuine one.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use subrosa::{Accepted, Error, PreKeys, Session};
use subrosa_fuzz::{FIXTURE, Forgery, Initial, rng};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    /// Which genuine message is accepted afterwards.
    then: u8,
    forgery: Forgery<'a>,
}

fuzz_target!(|input: Input<'_>| {
    let mut prekeys = PreKeys::open(&FIXTURE.key, &FIXTURE.prekeys).expect("sealed under this key");
    let genuine: Vec<_> = FIXTURE.initial.iter().map(|initial| &initial.message.bytes[..]).collect();
    let bytes = input.forgery.bytes(&genuine);
    if let Some(initial) = FIXTURE.initial.iter().find(|initial| initial.message.bytes == bytes) {
        return check(initial, &mut prekeys);
    }
    let refused = accept(&mut prekeys, &bytes);
    assert!(refused.is_err(), "a forgery was accepted");
    assert_eq!(prekeys.seal(&FIXTURE.key), FIXTURE.prekeys, "after {refused:?}");
    check(&FIXTURE.initial[usize::from(input.then) % FIXTURE.initial.len()], &mut prekeys);
});

fn accept(prekeys: &mut PreKeys, bytes: &[u8]) -> Result<Accepted, Error> {
    Session::accept_with_rng(&FIXTURE.bob, prekeys, bytes, &mut rng(6))
}

/// A genuine message is accepted, once.
fn check(initial: &Initial, prekeys: &mut PreKeys) {
    let accepted = accept(prekeys, &initial.message.bytes).expect("a genuine initial message");
    assert_eq!(accepted.content, initial.message.content);
    assert_eq!(accepted.payload, initial.payload);
    assert_eq!(accepted.session.id(), initial.session);
    assert_eq!(accepted.session.peer_identity(), FIXTURE.alice.identity_key());
    let after = prekeys.seal(&FIXTURE.key);
    let again = accept(prekeys, &initial.message.bytes).err();
    assert!(matches!(again, Some(Error::UnknownPreKey | Error::Replayed)), "{again:?}");
    assert_eq!(prekeys.seal(&FIXTURE.key), after);
}
