//! Not part of the protocol: what happened, so that a test can tell that it did. What a refused message did is forgotten.

use std::{cell::RefCell, collections::BTreeMap};

thread_local! {
    static NOTES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// How often each thing happened.
pub type Tally = BTreeMap<String, usize>;

pub fn note(what: impl Into<String>) {
    NOTES.with_borrow_mut(|notes| notes.push(what.into()));
}

/// Runs something of which the notes are kept if it succeeds.
pub fn if_good<T, E>(run: impl FnOnce() -> Result<T, E>) -> Result<T, E> {
    let before = NOTES.with_borrow(Vec::len);
    let result = run();
    if result.is_err() {
        NOTES.with_borrow_mut(|notes| notes.truncate(before));
    }
    result
}

/// Moves all notes of this thread into a tally.
pub fn count(tally: &mut Tally) {
    for what in NOTES.take() {
        *tally.entry(what).or_default() += 1;
    }
}
