//! Making, copying, growing and removing volumes: each whole or not at all.

use std::{
    fs::{self, File},
    io,
    os::fd::AsFd as _,
    path::Path,
};

use hornero_home::Opening;
use hornero_model::{LeaseToken, Timestamp, VolumeName};
use rustix::fs::{CWD, Mode, OFlags, RenameFlags, renameat_with};

use crate::{
    attach,
    directory::{self, FORMAT, Origin, Place, Record, sync},
    error::VolumeError,
    lock::{TURN, lock},
    number::SnapshotNumber,
    populate::DATA,
    snapshots::{self, Snapshot},
    system::{self, BLOCK_BYTES, open_root},
    tree::copy_tree,
};

/// The least size of a volume: a file system with a journal has room in it.
pub const LEAST_BYTES: u64 = 16 << 20;

/// Waits until nobody else changes volumes of a home; they wait until the answer is dropped.
pub(crate) fn turn(home: &Path) -> Result<File, VolumeError> {
    let root = directory::root(home);
    let failed = || VolumeError::failed("take turns with who else changes volumes");
    directory::make(&root).map_err(failed())?;
    let file = hornero_home::open(&root.join(".turn"), Opening::Create).map_err(failed())?;
    let taken = rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive);
    taken.map_err(|errno| failed()(io::Error::from(errno)))?;
    Ok(file)
}

/// What gives a new volume its data: a file in a directory that nobody sees yet.
type Fill<'a> = &'a mut dyn FnMut(&Place) -> Result<(), VolumeError>;

/// Puts a volume together aside, and in its place once it is whole.
pub(crate) fn make(
    home: &Path,
    volume: &VolumeName,
    size_bytes: u64,
    origin: Origin,
    fill: Fill<'_>,
) -> Result<(), VolumeError> {
    if size_bytes < LEAST_BYTES {
        let least_bytes = LEAST_BYTES;
        return Err(VolumeError::TooSmall { wanted_bytes: size_bytes, least_bytes });
    }
    let failed = || VolumeError::failed(format!("make volume `{volume}`"));
    let aside = Place::aside(home, volume, "new");
    discard(&aside).map_err(failed())?;
    let made = (|| {
        directory::make(aside.path()).map_err(failed())?;
        let image = hornero_home::open(&aside.image(), Opening::Create).map_err(failed())?;
        // What does not fill a block is no part of a file system.
        let whole = size_bytes.next_multiple_of(BLOCK_BYTES);
        image.set_len(whole).map_err(failed())?;
        fill(&aside)?;
        image.sync_all().map_err(failed())?;
        let record = Record { format: FORMAT, created: Timestamp::now(), origin };
        aside.write_record(&record).map_err(failed())?;
        let place = Place::of(home, volume);
        // Whatever has its name is never replaced.
        renameat_with(CWD, aside.path(), CWD, place.path(), RenameFlags::NOREPLACE)
            .map_err(|errno| failed()(io::Error::from(errno)))?;
        sync(&directory::root(home))
    })();
    if made.is_err() {
        // The first error counts; what is left is found by the next one that makes it.
        let _ = discard(&aside);
    }
    made
}

/// An empty file system.
pub(crate) fn filesystem(aside: &Place) -> Result<(), VolumeError> {
    system::make(&aside.image())
}

pub(crate) fn adopt(
    home: &Path,
    volume: &VolumeName,
    path: &Path,
    size_bytes: u64,
) -> Result<(), VolumeError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let failed = || VolumeError::failed(format!("adopt `{}`", path.display()));
    let system_failed = |errno: rustix::io::Errno| failed()(io::Error::from(errno));
    let source = rustix::fs::open(path, flags, Mode::empty()).map_err(system_failed)?;
    let origin = Origin::Adopted { path: path.to_owned() };
    make(home, volume, size_bytes, origin, &mut |aside| {
        filesystem(aside)?;
        let file = lock(&aside.image(), volume, TURN)?;
        let mounted = attach::open(aside, volume, file)?;
        let top = open_root(mounted.as_fd()).map_err(failed())?;
        rustix::fs::mkdirat(&top, DATA, Mode::from_raw_mode(0o700)).map_err(system_failed)?;
        let no_flags = flags - OFlags::NOFOLLOW;
        let data =
            rustix::fs::openat(&top, DATA, no_flags, Mode::empty()).map_err(system_failed)?;
        copy_tree(source.as_fd(), data.as_fd(), &|id| id).map_err(failed())?;
        let found = rustix::fs::fstat(&source).map_err(system_failed)?;
        let owner = rustix::fs::Uid::from_raw(found.st_uid);
        let group = rustix::fs::Gid::from_raw(found.st_gid);
        rustix::fs::fchown(&data, Some(owner), Some(group)).map_err(system_failed)?;
        let mode = Mode::from_raw_mode(found.st_mode & 0o7777);
        rustix::fs::fchmod(&data, mode).map_err(system_failed)?;
        rustix::fs::syncfs(&data).map_err(system_failed)
    })
}

pub(crate) fn clone_to(
    home: &Path,
    place: &Place,
    volume: &VolumeName,
    snapshot: Option<SnapshotNumber>,
    to: &VolumeName,
) -> Result<(), VolumeError> {
    let source = match snapshot {
        Some(number) => open_snapshot(place, volume, number)?,
        None => lock(&place.image(), volume, TURN)?,
    };
    let length = source.metadata().map_err(VolumeError::opening(volume))?.len();
    let origin = Origin::Clone { volume: volume.clone(), snapshot };
    make(home, to, length, origin, &mut |aside| snapshots::copy(&source, &aside.image(), volume))
}

fn open_snapshot(
    place: &Place,
    volume: &VolumeName,
    number: SnapshotNumber,
) -> Result<File, VolumeError> {
    let missing = || VolumeError::NoSnapshot { volume: volume.clone(), snapshot: number };
    match place.read_snapshot(number) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing()),
        read => {
            read.map_err(VolumeError::failed(format!("read snapshot {number} of `{volume}`")))?
        }
    };
    hornero_home::open(&place.snapshot(number), Opening::Read)
        .map_err(VolumeError::failed(format!("open snapshot {number} of `{volume}`")))
}

/// Restores a volume that nobody has; for who has its newest lease, where one is named.
pub(crate) fn restore(
    place: &Place,
    volume: &VolumeName,
    number: SnapshotNumber,
    lease: Option<LeaseToken>,
) -> Result<Snapshot, VolumeError> {
    let failed = || VolumeError::failed(format!("restore volume `{volume}`"));
    let source = open_snapshot(place, volume, number)?;
    let held = match lease {
        Some(lease) => attach::lock_under(place, volume, lease)?,
        None => lock(&place.image(), volume, TURN)?,
    };
    let kept = snapshots::next(place).map_err(failed())?;
    let coming = place.snapshot(kept);
    snapshots::copy(&source, &coming, volume)?;
    let length = held.metadata().map_err(failed())?.len();
    let file = hornero_home::open(&coming, Opening::Change).map_err(failed())?;
    if file.metadata().map_err(failed())?.len() < length {
        // What it grew to since it keeps; its file system follows when it is attached.
        file.set_len(length).and_then(|()| file.sync_all()).map_err(failed())?;
    }
    // Described before they change places: whoever is killed in between loses neither.
    let why = format!("what it had before snapshot {number} was restored");
    snapshots::keep(place, volume, kept, snapshots::record(&why))?;
    renameat_with(CWD, &coming, CWD, place.image(), RenameFlags::EXCHANGE)
        .map_err(|errno| failed()(io::Error::from(errno)))?;
    sync(&place.snapshots())?;
    sync(place.path())?;
    snapshots::read(place, kept).map_err(failed())
}

pub(crate) fn grow(
    place: &Place,
    volume: &VolumeName,
    size_bytes: u64,
) -> Result<bool, VolumeError> {
    let failed = || VolumeError::failed(format!("make volume `{volume}` larger"));
    let wanted_bytes = size_bytes.next_multiple_of(BLOCK_BYTES);
    let locked = match lock(&place.image(), volume, TURN) {
        Ok(file) => Some(file),
        Err(VolumeError::Held { .. }) => None,
        Err(error) => return Err(error),
    };
    let file = hornero_home::open(&place.image(), Opening::Change).map_err(failed())?;
    let size_bytes = file.metadata().map_err(failed())?.len();
    if wanted_bytes < size_bytes {
        return Err(VolumeError::Shrinks { volume: volume.clone(), size_bytes, wanted_bytes });
    }
    // A loop device keeps the size it was made with; what is there stays as it is.
    file.set_len(wanted_bytes).and_then(|()| file.sync_all()).map_err(failed())?;
    match locked {
        Some(file) => attach::open(place, volume, file).map(|_| true),
        None => Ok(wanted_bytes == size_bytes),
    }
}

pub(crate) fn remove(home: &Path, place: &Place, volume: &VolumeName) -> Result<(), VolumeError> {
    let failed = || VolumeError::failed(format!("remove volume `{volume}`"));
    let _held = lock(&place.image(), volume, TURN)?;
    let aside = Place::aside(home, volume, "removed");
    discard(&aside).map_err(failed())?;
    fs::rename(place.path(), aside.path()).map_err(failed())?;
    sync(&directory::root(home))?;
    discard(&aside).map_err(failed())
}

fn discard(aside: &Place) -> io::Result<()> {
    match fs::remove_dir_all(aside.path()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
