//! Exclusive locks on files, between processes and between threads.

use std::{fs::File, path::Path};

use hornero_home::Opening;
use rustix::fs::{FlockOperation, flock};

use crate::{Error, Result};

/// Opens the file, making it where it is missing, and waits for its lock; dropping the file
/// releases it. Every call opens anew: locks belong to the open file, so an inherited one would
/// not exclude a forked child.
pub(crate) fn open_locked(path: &Path) -> Result<File> {
    let fail = |action| move |source| Error::File { action, path: path.to_owned(), source };
    let file = hornero_home::open(path, Opening::Create).map_err(fail("open"))?;
    rustix::io::retry_on_intr(|| flock(&file, FlockOperation::LockExclusive))
        .map_err(|errno| fail("lock")(errno.into()))?;
    Ok(file)
}
