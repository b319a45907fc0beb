//! How much a step may write: the limit of its image, and what its disk has room for.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    time::{Duration, Instant},
};

use hornero_model::ExitCause;
use hornero_sandbox::Running;
use rustix::fs::statvfs;

/// A toolchain with its sources has some GiB; a step that writes without end has no end.
pub(crate) const WRITTEN_BYTES_MAX: u64 = 64 << 30;
/// What a step leaves free on a large disk, and what part of a small one.
const RESERVE_BYTES: u64 = 128 << 20;
const RESERVE_PART: u64 = 20;
/// How often the disk is looked at: one that writes 2 GB a second takes the reserve in less, and then meets the end itself.
const INTERVAL: Duration = Duration::from_millis(50);
/// How often what was written is counted at least; a large tree takes a second.
const COUNT_INTERVAL: Duration = Duration::from_secs(20);

/// Why a step was ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Overfull {
    /// It wrote more than its image allows.
    Limit,
    /// Its disk has only this much left.
    Disk { free_bytes: u64 },
}

/// How a step ended.
pub(crate) enum Ended {
    Itself(ExitCause),
    Overfull(Overfull),
    TimedOut,
}

/// Watches what a step writes into a directory.
pub(crate) struct Room<'r> {
    upper: &'r Path,
    max_bytes: u64,
    reserve_bytes: u64,
    /// Free space at which what was written is counted: others write to the disk as well.
    count_at: u64,
    /// When it is counted anyway: others give room back as well.
    count_next: Instant,
}

impl<'r> Room<'r> {
    /// # Errors
    /// What the kernel says of the disk.
    pub(crate) fn new(upper: &'r Path, max_bytes: u64) -> io::Result<Self> {
        let space = statvfs(upper)?;
        let size = space.f_blocks.saturating_mul(space.f_frsize);
        let free = space.f_bavail.saturating_mul(space.f_frsize);
        let reserve_bytes = (size / RESERVE_PART).min(RESERVE_BYTES);
        Ok(Self {
            upper,
            max_bytes,
            reserve_bytes,
            count_at: free.saturating_sub(max_bytes),
            count_next: Instant::now() + COUNT_INTERVAL,
        })
    }

    /// Waits for the end of a step; ends it when it takes too long or writes too much.
    ///
    /// # Errors
    /// What the kernel says of the process or the disk.
    pub(crate) fn wait(&mut self, running: &mut Running, timeout: Duration) -> io::Result<Ended> {
        let begun = Instant::now();
        while begun.elapsed() < timeout {
            if let Some(cause) = running.wait(Some(INTERVAL))? {
                // A step that met the end of the disk fails in words of its own, or goes on without what it lost.
                return Ok(match self.look(true)? {
                    Some(overfull) => Ended::Overfull(overfull),
                    None => Ended::Itself(cause),
                });
            }
            if let Some(overfull) = self.look(false)? {
                return Ok(Ended::Overfull(overfull));
            }
        }
        Ok(Ended::TimedOut)
    }

    fn look(&mut self, has_ended: bool) -> io::Result<Option<Overfull>> {
        let space = statvfs(self.upper)?;
        let free_bytes = space.f_bavail.saturating_mul(space.f_frsize);
        if free_bytes < self.reserve_bytes {
            return Ok(Some(Overfull::Disk { free_bytes }));
        }
        if !has_ended && free_bytes >= self.count_at && Instant::now() < self.count_next {
            return Ok(None);
        }
        self.count_next = Instant::now() + COUNT_INTERVAL;
        let written = written_bytes(self.upper);
        self.count_at = free_bytes.saturating_sub(self.max_bytes.saturating_sub(written));
        if written > self.max_bytes {
            return Ok(Some(Overfull::Limit));
        }
        // What stays is copied into the store.
        let copied = has_ended && free_bytes < written.saturating_add(self.reserve_bytes);
        Ok(copied.then_some(Overfull::Disk { free_bytes }))
    }
}

/// Bytes of all files below a directory, holes counted: an image has them as zeros. What goes meanwhile has none.
fn written_bytes(dir: &Path) -> u64 {
    let mut waiting = vec![dir.to_owned()];
    let mut bytes = 0_u64;
    while let Some(dir) = waiting.pop() {
        let Ok(entries) = fs::read_dir(dir) else { continue };
        for entry in entries.flatten() {
            match entry.metadata() {
                Ok(metadata) if metadata.is_dir() => waiting.push(entry.path()),
                Ok(metadata) if metadata.is_file() => {
                    bytes = bytes.saturating_add(metadata.size());
                }
                _ => {}
            }
        }
    }
    bytes
}
