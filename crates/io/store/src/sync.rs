//! Brings to disk what was written.

use std::{fs::File, path::Path};

use rustix::fs::syncfs;

use crate::{Result, StoreError};

/// Writes a file's data to disk.
pub(crate) fn file(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| StoreError::io("sync", path, error))
}

/// Writes a directory's names to disk.
pub(crate) fn directory(path: &Path) -> Result<()> {
    file(path)
}

/// Writes all of the file system that holds `path` to disk.
pub(crate) fn filesystem(path: &Path) -> Result<()> {
    let opened = File::open(path).map_err(|error| StoreError::io("open", path, error))?;
    syncfs(&opened).map_err(|errno| StoreError::io("sync the file system of", path, errno))
}
