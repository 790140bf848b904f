//! Forged storage: nothing opens but what was sealed, as what it was sealed.
#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use subrosa::{IdentityKeyPair, PreKeys, Session};
use subrosa_fuzz::{FIXTURE, Forgery, rng};

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    kind: Kind,
    forgery: Forgery<'a>,
}

#[derive(Arbitrary, Debug)]
enum Kind {
    Identity,
    PreKeys,
    Session,
    HotHalf { cold: bool },
    ColdHalf { hot: bool },
}

fuzz_target!(|input: Input<'_>| {
    let key = &FIXTURE.key;
    let genuine = FIXTURE.sealed();
    let bytes = input.forgery.bytes(&genuine);
    let sealed_again = match input.kind {
        Kind::Identity => IdentityKeyPair::open(key, &bytes).map(|identity| identity.seal(key)),
        Kind::PreKeys => PreKeys::open(key, &bytes).map(|prekeys| prekeys.seal(key)),
        Kind::Session => Session::open_with_rng(key, &bytes, &mut rng(7)).map(|session| session.seal(key)),
        Kind::HotHalf { cold } => {
            let (hot, cold) = &FIXTURE.halves[usize::from(cold)];
            let opened = Session::open_halves_with_rng(key, &bytes, cold, &mut rng(7));
            assert_eq!(opened.is_ok(), bytes == *hot);
            opened.map(|session| session.seal_hot(key))
        }
        Kind::ColdHalf { hot } => {
            let (hot, cold) = &FIXTURE.halves[usize::from(hot)];
            let opened = Session::open_halves_with_rng(key, hot, &bytes, &mut rng(7));
            assert_eq!(opened.is_ok(), bytes == *cold);
            opened.map(|session| session.seal_cold(key))
        }
    };
    if let Ok(sealed_again) = sealed_again {
        assert!(genuine.contains(&&bytes[..]), "a forgery was opened");
        assert_eq!(sealed_again, bytes);
    }
});
