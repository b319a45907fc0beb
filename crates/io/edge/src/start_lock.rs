//! The lock of an edge's directory that is held while an edge starts.

use std::{fs::File, io, path::Path};

use hornero_home::Opening;
use rustix::fs::{FlockOperation, flock};

use crate::error::EdgeError;

/// Held while an edge starts, so that of two only one takes over from a third.
pub(crate) fn lock_start(state_dir: &Path) -> Result<File, EdgeError> {
    let lock = || {
        let file = start_lock(state_dir)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    let path = state_dir.to_owned();
    lock().map_err(|source| EdgeError::State { action: "lock", path, source })
}

/// The same, unless an edge starts at this moment.
pub(crate) fn try_lock_start(state_dir: &Path) -> io::Result<Option<File>> {
    let file = start_lock(state_dir)?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file)),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

fn start_lock(state_dir: &Path) -> io::Result<File> {
    hornero_home::open(&state_dir.join("start.lock"), Opening::Create)
}
