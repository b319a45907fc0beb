//! The files that a sandbox's caller lays over its root.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, OwnedFd},
};

use rustix::{
    fs::{Mode, OFlags},
    mount::{MountAttrFlags, OpenTreeFlags, open_tree},
};

use crate::{error::StartError, layers::tmpfs, spec::ProvidedFile, stage::Hold, sys};

/// Each file as a detached, read-only mount of its own.
pub(crate) fn provided_files(
    files: &[ProvidedFile],
    first: u32,
    hold: Hold<'_>,
) -> Result<Vec<OwnedFd>, StartError> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |path: &str, error: io::Error| StartError::failed("provide the file", path, error);
    let holder =
        tmpfs("4m", 0, MountAttrFlags::empty()).map_err(|error| failed("", error.into()))?;
    hold(&holder).map_err(|error| failed("", error))?;
    let one = |index: usize, file: &ProvidedFile| -> io::Result<OwnedFd> {
        let name = CString::new(index.to_string())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        // Before its owner is set, nobody else may read it.
        let place = rustix::fs::openat(&holder, &name, flags, Mode::from_raw_mode(0o600))?;
        let (owner, group) = (rustix::fs::Uid::from_raw(first), rustix::fs::Gid::from_raw(first));
        rustix::fs::fchown(&place, Some(owner), Some(group))?;
        rustix::fs::fchmod(&place, Mode::from_raw_mode(file.mode & 0o777))?;
        io::Write::write_all(&mut std::fs::File::from(place), &file.contents)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        let mount = open_tree(&holder, &name, flags)?;
        let attributes = sys::MOUNT_ATTR_RDONLY
            | sys::MOUNT_ATTR_NOSUID
            | sys::MOUNT_ATTR_NODEV
            | sys::MOUNT_ATTR_NOEXEC;
        sys::mount_setattr(mount.as_fd(), attributes, None)?;
        Ok(mount)
    };
    files
        .iter()
        .enumerate()
        .map(|(index, file)| one(index, file).map_err(|error| failed(&file.path, error)))
        .collect()
}
