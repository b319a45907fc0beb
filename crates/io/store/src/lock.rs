//! Advisory locks between processes, by flock(2) on files that stay.
//!
//! A bake holds a shared lease from before it asks whether something is stored until a reference
//! leads to it. Whatever deletes takes the lock exclusively, so it never sees a bake half done.

use std::{
    fs::{File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::{
    Result, StoreError,
    turn::{self, Holding},
};

/// A held lock; dropping it, or the death of the process, frees it.
#[derive(Debug)]
#[must_use = "the lock is free again as soon as this is dropped"]
pub struct StoreLease {
    file: File,
    _holding: Option<Holding>,
}

impl StoreLease {
    /// The file that is locked.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }
}

/// How a lock is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Shared,
    Exclusive,
}

/// Shares the lock at `path`, letting whoever holds `turn` have it first for as long as `patience`.
pub(crate) fn share(path: &Path, turn: &Path, patience: Duration) -> Result<StoreLease> {
    let file = open(path)?;
    turn::give_way(turn, &file, path, patience)?;
    let lease = wait_for(file, path, Mode::Shared)?;
    let holding = Holding::new(&lease.file, path)?;
    Ok(StoreLease { _holding: Some(holding), ..lease })
}

/// Takes the lock at `path`, waiting for it as long as it takes.
pub(crate) fn wait(path: &Path, mode: Mode) -> Result<StoreLease> {
    wait_for(open(path)?, path, mode)
}

/// As [`wait`] for a file that is open.
pub(crate) fn wait_for(file: File, path: &Path, mode: Mode) -> Result<StoreLease> {
    let operation = match mode {
        Mode::Shared => FlockOperation::LockShared,
        Mode::Exclusive => FlockOperation::LockExclusive,
    };
    loop {
        match flock(&file, operation) {
            Ok(()) => return Ok(StoreLease { file, _holding: None }),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(StoreError::io("lock", path, errno)),
        }
    }
}

/// Takes the lock at `path` if that needs no waiting.
pub(crate) fn attempt(path: &Path, mode: Mode) -> Result<Option<StoreLease>> {
    attempt_on(open(path)?, path, mode)
}

/// As [`attempt`] for a file that is open.
pub(crate) fn attempt_on(file: File, path: &Path, mode: Mode) -> Result<Option<StoreLease>> {
    let operation = match mode {
        Mode::Shared => FlockOperation::NonBlockingLockShared,
        Mode::Exclusive => FlockOperation::NonBlockingLockExclusive,
    };
    match flock(&file, operation) {
        Ok(()) => Ok(Some(StoreLease { file, _holding: None })),
        Err(Errno::WOULDBLOCK) => Ok(None),
        Err(errno) => Err(StoreError::io("lock", path, errno)),
    }
}

fn open(path: &Path) -> Result<File> {
    // A new open file description each time: threads of one process exclude each other as well.
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(|error| StoreError::io("open", path, error))
}
