//! The files that a sandbox's caller lays over its root.

use std::{
    ffi::CString,
    fs::File,
    io::{self, Write as _},
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    mount::{MountAttrFlags, OpenTreeFlags, open_tree},
};

use crate::{
    error::StartError,
    spec::{ProvidedFile, SecretMount},
    stage::Hold,
    sys,
    tmpfs::{Swap, tmpfs_by},
};

/// A file takes whole pages, and none is larger than this.
const ROOM_BYTES: usize = 64 << 10;

/// A file as a detached, read-only mount of its own.
pub(crate) struct MountedFile {
    pub mount: OwnedFd,
    /// Its path inside.
    pub path: String,
}

/// Permission bits, owner and group, in ids of the image.
type Access = (u32, u32, u32);

/// Each file, and then each secret, which lies in a file system of its own that is never swapped out where the kernel
/// can keep it from that.
pub(crate) fn provided_files(
    files: &[ProvidedFile],
    secrets: Vec<SecretMount>,
    first: u32,
    hold: Hold<'_>,
) -> Result<Vec<MountedFile>, StartError> {
    let mut mounted = Vec::new();
    if !files.is_empty() {
        let holder = holder(files.len(), Swap::Allowed, hold)?;
        for (index, file) in files.iter().enumerate() {
            let access = (file.mode, file.uid, file.gid);
            let mut write = |place: &mut File| place.write_all(&file.contents);
            let mount = one(&holder, index, access, first, &mut write);
            mounted.push(MountedFile {
                mount: mount.map_err(|error| failed(&file.path, error))?,
                path: file.path.clone(),
            });
        }
    }
    if !secrets.is_empty() {
        let holder = holder(secrets.len(), Swap::Refused, hold)?;
        for (index, SecretMount { path, mode, uid, gid, fill }) in secrets.into_iter().enumerate() {
            let mut fill = Some(fill);
            let mut write = |place: &mut File| match fill.take() {
                Some(fill) => fill(place).map_err(io::Error::other),
                None => Ok(()),
            };
            let mount = one(&holder, index, (mode, uid, gid), first, &mut write);
            let mount = mount.map_err(|error| failed(&path, error))?;
            mounted.push(MountedFile { mount, path });
        }
    }
    Ok(mounted)
}

fn failed(path: &str, error: io::Error) -> StartError {
    StartError::failed("provide the file", path, error)
}

/// A file system in memory with room for some files.
fn holder(files: usize, swap: Swap, hold: Hold<'_>) -> Result<OwnedFd, StartError> {
    let size = ((files + 1) * ROOM_BYTES).to_string();
    let holder = tmpfs_by(&size, 0, MountAttrFlags::empty(), swap)
        .map_err(|error| failed("", error.into()))?;
    hold(&holder).map_err(|error| failed("", error))?;
    Ok(holder)
}

fn one(
    holder: &OwnedFd,
    index: usize,
    (mode, uid, gid): Access,
    first: u32,
    write: &mut dyn FnMut(&mut File) -> io::Result<()>,
) -> io::Result<OwnedFd> {
    let name = CString::new(index.to_string())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    // Before its owner is set, nobody else may read it.
    let place = rustix::fs::openat(holder, &name, flags, Mode::from_raw_mode(0o600))?;
    let owner = rustix::fs::Uid::from_raw(first + uid);
    let group = rustix::fs::Gid::from_raw(first + gid);
    rustix::fs::fchown(&place, Some(owner), Some(group))?;
    rustix::fs::fchmod(&place, Mode::from_raw_mode(mode & 0o777))?;
    write(&mut File::from(place))?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = open_tree(holder, &name, flags)?;
    let attributes = sys::MOUNT_ATTR_RDONLY
        | sys::MOUNT_ATTR_NOSUID
        | sys::MOUNT_ATTR_NODEV
        | sys::MOUNT_ATTR_NOEXEC;
    sys::mount_setattr(mount.as_fd(), attributes, None)?;
    Ok(mount)
}
