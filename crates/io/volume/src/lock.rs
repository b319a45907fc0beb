//! The lock of a volume: whoever has it, and nobody else, may attach or change its data.

use std::{
    fs::File,
    os::unix::fs::MetadataExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use hornero_home::Opening;
use hornero_model::VolumeName;
use rustix::{
    fs::{FlockOperation, flock},
    io::Errno,
};

use crate::error::VolumeError;

/// How long whoever works on a volume that nobody has waits for its lock: who only looks has it for a moment.
pub(crate) const TURN: Duration = Duration::from_millis(500);
/// Between two looks, since flock(2) that waits knows no end: what lets go of a volume last is the kernel, a few milliseconds after the last process.
const PAUSE: Duration = Duration::from_millis(2);

/// Opens the data of a volume and locks it, waiting for at most `patience`.
///
/// The lock (flock(2)) is the open description's: a loop device that is made of the file keeps it, for as long as anything of
/// it is mounted anywhere.
pub(crate) fn lock(
    image: &Path,
    volume: &VolumeName,
    patience: Duration,
) -> Result<File, VolumeError> {
    let deadline = Instant::now() + patience;
    loop {
        let file =
            hornero_home::open(image, Opening::Change).map_err(VolumeError::opening(volume))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            // Another file may have been put in its place while it was opened.
            Ok(()) if is_at(&file, image) => return Ok(file),
            Ok(()) | Err(Errno::WOULDBLOCK | Errno::INTR) if Instant::now() < deadline => {
                thread::sleep(PAUSE);
            }
            Ok(()) | Err(Errno::WOULDBLOCK | Errno::INTR) => {
                return Err(VolumeError::Held { volume: volume.clone() });
            }
            Err(errno) => {
                return Err(VolumeError::failed(format!("lock volume `{volume}`"))(
                    std::io::Error::from(errno),
                ));
            }
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(opened), Ok(named)) = (file.metadata(), path.symlink_metadata()) else { return false };
    (opened.dev(), opened.ino()) == (named.dev(), named.ino())
}
