//! Running one piece of work for each item of a slice on a few threads.

use std::{
    num::NonZero,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
};

/// More threads than this only queue up at the disk.
const THREADS_MAX: usize = 16;

/// Calls `work` with the index and value of each item; stops at the first error and returns it.
///
/// `grain` is how many items are worth a thread: with fewer everything runs on the caller's.
pub(crate) fn each<T: Sync, E: Send>(
    items: &[T],
    grain: usize,
    work: impl Fn(usize, &T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    let available = thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX);
    let threads = available.min(items.len().div_ceil(grain.max(1)));
    if threads <= 1 {
        return items.iter().enumerate().try_for_each(|(index, item)| work(index, item));
    }
    let (next, stop, failure) = (AtomicUsize::new(0), AtomicBool::new(false), Mutex::new(None));
    // Small batches: items differ much in cost.
    let batch = (items.len() / (threads * 8)).clamp(1, BATCH_MAX);
    let run = || {
        while !stop.load(Ordering::Relaxed) {
            let start = next.fetch_add(batch, Ordering::Relaxed);
            if start >= items.len() {
                return;
            }
            let end = items.len().min(start + batch);
            for (index, item) in (start..end).zip(&items[start..end]) {
                if let Err(error) = work(index, item) {
                    stop.store(true, Ordering::Relaxed);
                    failure.lock().expect("no worker panics while holding it").get_or_insert(error);
                    return;
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 1..threads {
            scope.spawn(run);
        }
        run();
    });
    failure.into_inner().expect("no worker panics while holding it").map_or(Ok(()), Err)
}

/// Items taken at a time, when there are many.
const BATCH_MAX: usize = 16;
