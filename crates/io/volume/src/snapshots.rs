//! Snapshots of a volume, and the copies that they, clones and restores are: shared where the file system of the home can.

use std::{
    fs::{self, File},
    io,
    os::{fd::BorrowedFd, unix::fs::MetadataExt},
    path::Path,
};

use hornero_home::Opening;
use hornero_model::{LeaseToken, SnapshotPurpose, Timestamp, VolumeName};
use rustix::{
    fs::{Mode, OFlags, SeekFrom, copy_file_range, ioctl_ficlone, seek},
    io::Errno,
};

use crate::{
    attach,
    directory::{self, FORMAT, Place, SnapshotRecord, sync},
    error::VolumeError,
    lock::{TURN, lock},
    number::SnapshotNumber,
    system::Frozen,
};

/// Copied at once: far less than what a kernel buffers anyway.
const CHUNK_BYTES: u64 = 64 << 20;

/// What a copy of a volume's data costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cost {
    /// What is changed afterwards, in either of them: the file system of the home has reflinks.
    Changes,
    /// As much as was ever written to it.
    Data,
}

/// A snapshot of a volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub number: SnapshotNumber,
    /// When it was taken.
    pub created: Timestamp,
    /// Why.
    pub why: String,
    /// The size of the volume then.
    pub size_bytes: u64,
    /// What it takes from the host, also where it shares that.
    pub stored_bytes: u64,
    /// Until when it is kept; none where until somebody removes the volume.
    pub keep_until: Option<Timestamp>,
}

/// Takes a snapshot. Of a volume that is attached, `attached` is a directory of it: nothing is written to it meanwhile.
pub(crate) fn take(
    place: &Place,
    volume: &VolumeName,
    why: &str,
    attached: Option<BorrowedFd<'_>>,
    cost: Cost,
) -> Result<Snapshot, VolumeError> {
    let failed = || VolumeError::failed(format!("take a snapshot of `{volume}`"));
    let (source, frozen) = match attached {
        None => (lock(&place.image(), volume, TURN)?, None),
        Some(_) if cost == Cost::Data => {
            return Err(VolumeError::NeedsCopy { volume: volume.clone() });
        }
        Some(directory) => {
            let source = hornero_home::open(&place.image(), Opening::Read)
                .map_err(VolumeError::opening(volume))?;
            (source, Some(Frozen::freeze(directory).map_err(failed())?))
        }
    };
    let number = next(place).map_err(failed())?;
    let path = place.snapshot(number);
    let copied = copy(&source, &path, volume);
    drop(frozen);
    copied?;
    keep(place, volume, number, record(why))
}

/// Takes a snapshot of a volume that nobody has, for who has its newest lease; one that was taken for this purpose counts.
pub(crate) fn take_once(
    place: &Place,
    volume: &VolumeName,
    lease: LeaseToken,
    purpose: &SnapshotPurpose,
) -> Result<Snapshot, VolumeError> {
    let failed = || VolumeError::failed(format!("take a snapshot of `{volume}`"));
    for number in place.numbers().map_err(failed())?.into_iter().rev() {
        let tag = place.read_snapshot(number).map_err(failed())?.tag;
        if tag.as_ref() == Some(&purpose.tag) {
            return read(place, number).map_err(failed());
        }
    }
    let source = attach::lock_under(place, volume, lease)?;
    let number = next(place).map_err(failed())?;
    copy(&source, &place.snapshot(number), volume)?;
    let SnapshotPurpose { tag, why, keep_until } = purpose;
    let (tag, keep_until) = (Some(tag.clone()), Some(*keep_until));
    keep(place, volume, number, SnapshotRecord { tag, keep_until, ..record(why) })
}

/// Removes the snapshots whose time is over; gives their numbers.
pub(crate) fn expire(place: &Place, now: Timestamp) -> io::Result<Vec<SnapshotNumber>> {
    place.remove_undescribed()?;
    let mut expired = Vec::new();
    for number in place.numbers()? {
        if place.read_snapshot(number)?.keep_until.is_some_and(|until| until < now) {
            place.note_expired(number)?;
            place.remove_snapshot(number)?;
            expired.push(number);
        }
    }
    Ok(expired)
}

/// The number of the next snapshot, for which there is room then. No number comes again: receipts have them.
pub(crate) fn next(place: &Place) -> io::Result<SnapshotNumber> {
    directory::make(&place.snapshots())?;
    let last = place.numbers()?.pop().max(place.last_expired()?);
    Ok(SnapshotNumber(last.map_or(1, |last| last.0 + 1)))
}

/// What is written beside a snapshot that is taken now.
pub(crate) fn record(why: &str) -> SnapshotRecord {
    let (format, created, why) = (FORMAT, Timestamp::now(), why.to_owned());
    SnapshotRecord { format, created, why, tag: None, keep_until: None }
}

/// Describes a snapshot whose data is there; from then on it counts.
pub(crate) fn keep(
    place: &Place,
    volume: &VolumeName,
    number: SnapshotNumber,
    record: SnapshotRecord,
) -> Result<Snapshot, VolumeError> {
    let failed = || VolumeError::failed(format!("keep a snapshot of `{volume}`"));
    place.write_snapshot(number, &record).map_err(failed())?;
    sync(&place.snapshots())?;
    read(place, number).map_err(failed())
}

/// The snapshots of a volume, oldest first.
pub(crate) fn list(place: &Place) -> io::Result<Vec<Snapshot>> {
    place.numbers()?.into_iter().map(|number| read(place, number)).collect()
}

pub(crate) fn read(place: &Place, number: SnapshotNumber) -> io::Result<Snapshot> {
    let record = place.read_snapshot(number)?;
    let data = fs::symlink_metadata(place.snapshot(number))?;
    Ok(Snapshot {
        number,
        created: record.created,
        why: record.why,
        size_bytes: data.len(),
        stored_bytes: data.blocks() * 512,
        keep_until: record.keep_until,
    })
}

/// Copies data to a file that is made for it, and has it reach the disk; nothing is left where that fails.
pub(crate) fn copy(source: &File, to: &Path, volume: &VolumeName) -> Result<(), VolumeError> {
    let failed = || VolumeError::failed(format!("copy the data of `{volume}`"));
    // What was left by a control that was killed is no snapshot: nothing describes it.
    match fs::remove_file(to) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed()(error)),
        Ok(()) | Err(_) => {}
    }
    let made = (|| {
        let target = hornero_home::open(to, Opening::Create)?;
        match ioctl_ficlone(&target, source) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP | Errno::XDEV | Errno::INVAL | Errno::NOTTY | Errno::NOSYS) => {
                copy_data(source, &target)?;
            }
            Err(error) => return Err(error.into()),
        }
        target.sync_all()
    })();
    if made.is_err() {
        // The first error counts.
        let _ = fs::remove_file(to);
    }
    made.map_err(failed())
}

/// Copies what was written; what was not takes no room in the copy either.
fn copy_data(source: &File, target: &File) -> io::Result<()> {
    let length = source.metadata()?.len();
    target.set_len(length)?;
    let mut at = 0;
    while at < length {
        at = match seek(source, SeekFrom::Data(at)) {
            Ok(data) => data,
            Err(Errno::NXIO) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let end = seek(source, SeekFrom::Hole(at))?;
        while at < end {
            let (mut from, mut to) = (at, at);
            let room = usize::try_from((end - at).min(CHUNK_BYTES)).unwrap_or(usize::MAX);
            let copied = copy_file_range(source, Some(&mut from), target, Some(&mut to), room)?;
            if copied == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            at = from;
        }
    }
    Ok(())
}

/// What copies cost where `directory` lies, by trying it with files that have no name.
pub(crate) fn cost(directory: &Path) -> Cost {
    let unnamed = || -> rustix::io::Result<File> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        rustix::fs::open(directory, flags, Mode::RUSR | Mode::WUSR).map(File::from)
    };
    let try_it = || -> io::Result<()> {
        let (from, to) = (unnamed()?, unnamed()?);
        from.set_len(1 << 16)?;
        Ok(ioctl_ficlone(&to, &from)?)
    };
    match try_it() {
        Ok(()) => Cost::Changes,
        Err(_) => Cost::Data,
    }
}
