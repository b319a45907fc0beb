//! Free space of a disk: looked at before much is written, so that nothing fills what ledger and logs are on as well.

use std::{
    io::{self, Read},
    path::Path,
};

use rustix::fs::statvfs;

use crate::{Result, StoreError};

/// What stays free on a large disk, and what part of a small one: whatever runs goes on writing logs and its record.
const RESERVE_BYTES: u64 = 64 << 20;
const RESERVE_PART: u64 = 20;
/// How much is written before the disk is looked at again.
pub(crate) const STRIDE_BYTES: u64 = 32 << 20;

/// Fails when `needed_bytes` more on the disk of `path` would leave less than a small reserve free.
///
/// # Errors
/// [`StoreError::NoRoom`] with both numbers.
pub fn check_room(path: &Path, needed_bytes: u64) -> Result<()> {
    let space =
        statvfs(path).map_err(|errno| StoreError::io("look at the disk of", path, errno))?;
    let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
    let reserve = (space.f_blocks.saturating_mul(space.f_frsize) / RESERVE_PART).min(RESERVE_BYTES);
    let needed_bytes = needed_bytes.saturating_add(reserve);
    match free_bytes >= needed_bytes {
        true => Ok(()),
        false => Err(StoreError::NoRoom { path: path.to_owned(), needed_bytes, free_bytes }),
    }
}

/// A reader that ends in an error while there still is room, when what is read is written to the disk of `path`.
pub(crate) struct Watched<'a, R> {
    inner: R,
    path: &'a Path,
    unlooked_bytes: u64,
}

impl<'a, R> Watched<'a, R> {
    pub(crate) fn new(inner: R, path: &'a Path) -> Self {
        Self { inner, path, unlooked_bytes: 0 }
    }
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.unlooked_bytes >= STRIDE_BYTES {
            self.unlooked_bytes = 0;
            check_room(self.path, STRIDE_BYTES).map_err(io::Error::other)?;
        }
        let count = self.inner.read(buffer)?;
        self.unlooked_bytes += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_and_free_is_said() {
        let path = std::env::temp_dir();
        assert!(check_room(&path, 0).is_ok());
        let Err(StoreError::NoRoom { needed_bytes, free_bytes, .. }) = check_room(&path, 1 << 60)
        else {
            panic!("no disk has an exbibyte free");
        };
        assert!(needed_bytes >= 1 << 60 && free_bytes < 1 << 60);
    }
}
