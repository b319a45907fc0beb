//! Taking turns: whoever waits to delete is let in before those that come after it.
//!
//! flock(2) has no order: with readers that come and go there is always one that holds the lock. So a collector that
//! waits holds `locks/turn`, and new leases wait for that first. Not for ever, since a process may wait for another
//! that needs a lease, and the collector for both; and not at all in a process that holds a lease already.

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use rustix::fs::{FlockOperation, flock};

use crate::{Result, StoreError};

/// How long a lease lets a waiting collector go first: whoever holds one may wait for whoever takes one.
pub(crate) const YIELD: Duration = Duration::from_secs(1);
/// How long those do that nobody waits for: longer than checking a store of some size takes, so that the last of
/// several that do it in loops has ended before the first begins anew.
pub(crate) const YIELD_TO_READ: Duration = Duration::from_secs(15);
/// After having waited for nothing, a process goes on for as long as this many times what it waited.
const REST: u32 = 10;
/// Between two looks; a collector looks as often.
const RETRY: Duration = Duration::from_millis(10);

/// What this process has of a store, by the device and inode of its lock.
static HELD: Mutex<Option<HashMap<(u64, u64), Held>>> = Mutex::new(None);

#[derive(Debug, Default)]
struct Held {
    leases: usize,
    /// No waiting before this, as waiting was in vain.
    rests_until: Option<Instant>,
}

/// That this process holds a lease of a store, until dropped.
#[derive(Debug)]
pub(crate) struct Holding((u64, u64));

impl Holding {
    pub(crate) fn new(lock: &File, path: &Path) -> Result<Self> {
        let key = key(lock, path)?;
        with_held(key, |held| held.leases += 1);
        Ok(Self(key))
    }
}

impl Drop for Holding {
    fn drop(&mut self) {
        with_held(self.0, |held| held.leases -= 1);
    }
}

/// Lets a collector that holds `turn` go first, for as long as `patience`; `lock` is what it waits for.
pub(crate) fn give_way(turn: &Path, lock: &File, path: &Path, patience: Duration) -> Result<()> {
    let key = key(lock, path)?;
    let begun = Instant::now();
    let goes_on = |held: &mut Held| {
        held.leases > 0 || held.rests_until.is_some_and(|rests_until| begun < rests_until)
    };
    loop {
        if !is_taken(turn) || with_held(key, goes_on) {
            return Ok(());
        }
        if begun.elapsed() >= patience {
            with_held(key, |held| held.rests_until = Some(Instant::now() + patience * REST));
            return Ok(());
        }
        thread::sleep(RETRY);
    }
}

/// Whether somebody holds the turn. Where that can't be told, nobody is waited for: fairness is not worth an error.
fn is_taken(turn: &Path) -> bool {
    // The file is made by the first collector that waits.
    let Ok(file) = File::open(turn) else { return false };
    flock(&file, FlockOperation::NonBlockingLockShared) == Err(rustix::io::Errno::WOULDBLOCK)
}

fn with_held<T>(key: (u64, u64), with: impl FnOnce(&mut Held) -> T) -> T {
    let mut all: MutexGuard<'_, _> = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    with(all.get_or_insert_default().entry(key).or_default())
}

fn key(lock: &File, path: &Path) -> Result<(u64, u64)> {
    let metadata = lock.metadata().map_err(|error| StoreError::io("stat", path, error))?;
    Ok((metadata.dev(), metadata.ino()))
}
