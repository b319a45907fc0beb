//! Running one piece of work for each item of a slice on a few threads.

use std::{
    num::NonZero,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// More threads than this only queue up at the disk or the other side.
const THREADS_MAX: usize = 16;

/// Threads that work at the same time where the processor is what limits.
pub(crate) fn processors() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX)
}

/// Calls `work` with the index and value of each item, in order of the items but on `threads` threads; stops at
/// the first error and returns it.
pub(crate) fn each<T: Sync, E: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(usize, &T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let (next, stop, failure) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    let run = || {
        while !stop.load(Ordering::Relaxed) {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(item) = items.get(index) else { return };
            if let Err(error) = work(index, item) {
                stop.store(true, Ordering::Relaxed);
                // Set once or not at all, so a panic elsewhere does not spoil it.
                failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                return;
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads.min(items.len()) {
            scope.spawn(run);
        }
        run();
    });
    failure.into_inner().unwrap_or_else(PoisonError::into_inner).map_or(Ok(()), Err)
}
