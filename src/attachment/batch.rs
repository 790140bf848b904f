//! Some chunks at once; with the feature `rayon`, on all cores.

use super::chunks::Keys;

/// How many chunks are worked on at once: one, or some for each of a few cores, 768 KiB.
pub(super) const BATCH: u64 = if cfg!(feature = "rayon") { 12 } else { 1 };

/// Does something with each of the chunks that follow each other in `file`, of which `first` is the number of the first.
/// What it gives is in their order.
pub(super) fn each_chunk<T: Send>(
    keys: &Keys,
    first: u64,
    mut file: &mut [u8],
    work: impl Fn(u64, &mut [u8]) -> T + Sync,
) -> Vec<T> {
    let mut chunks = Vec::new();
    for chunk in first.. {
        let len = keys.layout().chunk_len(chunk);
        match core::mem::take(&mut file).split_at_mut_checked(len) {
            Some((head, rest)) if len > 0 => {
                chunks.push((chunk, head));
                file = rest;
            }
            _ => break,
        }
    }
    #[cfg(feature = "rayon")]
    return spread(chunks, |(chunk, file)| work(chunk, file));
    #[cfg(not(feature = "rayon"))]
    chunks.into_iter().map(|(chunk, file)| work(chunk, file)).collect()
}

/// Works on items here and in rayon's threads, each of which takes the next one when it is free. What comes of them is in
/// their order. (`par_iter` would leave this thread asleep meanwhile, and waking it costs half as much as a chunk.)
#[cfg(feature = "rayon")]
fn spread<I: Send, T: Send>(items: Vec<I>, work: impl Fn(I) -> T + Sync) -> Vec<T> {
    use std::sync::{Mutex, MutexGuard, PoisonError};

    fn lock<V>(mutex: &Mutex<V>) -> MutexGuard<'_, V> {
        mutex.lock().unwrap_or_else(PoisonError::into_inner)
    }

    let count = items.len();
    let queue = Mutex::new(items.into_iter().enumerate());
    let done = Mutex::new(Vec::with_capacity(count));
    let help = || {
        loop {
            let next = lock(&queue).next();
            let Some((number, item)) = next else { break };
            let result = work(item);
            lock(&done).push((number, result));
        }
    };
    rayon::in_place_scope(|scope| {
        for _ in 1..rayon::current_num_threads().min(count) {
            scope.spawn(|_| help());
        }
        help();
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_unstable_by_key(|(number, _)| *number);
    done.into_iter().map(|(_, result)| result).collect()
}
