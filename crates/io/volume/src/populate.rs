//! The first content of a volume: what the image has at the path, once.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, ResolveFlags, Uid, openat2},
    io::Errno,
};

use crate::{
    system::open_root,
    tree::{copy_tree, remove_tree},
};

/// The directory of a volume's file system that servers see as the volume. Nothing else of it is theirs, so that they find no
/// `lost+found`.
pub const DATA: &str = "data";
/// Where its first content is put together.
const COMING: &str = "data.new";

/// What a volume that is attached for the first time gets.
#[derive(Debug, Clone, Copy)]
pub struct Populate<'a> {
    /// The path in the image where it is mounted.
    pub path: &'a str,
    /// The host id of the image's root: owners in the root are counted from there, those on the volume from 0.
    pub first: u32,
    /// Who gets the directory where the image leaves it to root, in ids of the image.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
}

/// Gives a volume that no server had yet what `root` has at the path: owner and mode of the directory, and all that lies in it.
/// One that has its data is left alone. What was begun before is begun anew: no server saw it.
///
/// # Errors
/// What the system says; the volume has no data then.
pub fn populate(
    filesystem: BorrowedFd<'_>,
    root: BorrowedFd<'_>,
    wanted: Populate<'_>,
) -> io::Result<()> {
    let top = open_root(filesystem)?;
    match rustix::fs::statat(&top, DATA, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => return Ok(()),
        Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    remove_tree(top.as_fd(), COMING)?;
    rustix::fs::mkdirat(&top, COMING, Mode::from_raw_mode(0o700))?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let coming = rustix::fs::openat(&top, COMING, flags | OFlags::NOFOLLOW, Mode::empty())?;
    let inside = wanted.path.trim_start_matches('/');
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let image = openat2(root, Path::new(inside), flags, Mode::empty(), resolve)?;
    let own = |id: u32| id.checked_sub(wanted.first).unwrap_or(id);
    copy_tree(image.as_fd(), coming.as_fd(), &own)?;
    let found = rustix::fs::fstat(&image)?;
    let (uid, gid) = match (own(found.st_uid), own(found.st_gid)) {
        (0, _) if wanted.uid != 0 => (wanted.uid, wanted.gid),
        owner => owner,
    };
    rustix::fs::fchown(&coming, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
    rustix::fs::fchmod(&coming, Mode::from_raw_mode(found.st_mode & 0o7777))?;
    rustix::fs::syncfs(&top)?;
    rustix::fs::renameat(&top, COMING, &top, DATA)?;
    rustix::fs::syncfs(&top)?;
    Ok(())
}
