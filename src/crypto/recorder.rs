//! Recorder of intermediate secrets, for the test vectors. Compiled into unit tests only.

use alloc::{string::String, vec::Vec};
use core::cell::RefCell;

std::thread_local! {
    static RECORD: RefCell<Option<Vec<(String, String)>>> = const { RefCell::new(None) };
}

/// Adds a value to the record of this thread, if one is being kept.
pub(crate) fn record(name: &str, bytes: &[u8]) {
    RECORD.with_borrow_mut(|record| {
        if let Some(record) = record {
            record.push((name.into(), hex::encode(bytes)));
        }
    });
}

/// Runs `f` and returns what it recorded, as (name, hexadecimal) in order.
pub(crate) fn recorded<T>(f: impl FnOnce() -> T) -> (T, Vec<(String, String)>) {
    RECORD.set(Some(Vec::new()));
    let result = f();
    (result, RECORD.take().unwrap_or_default())
}
