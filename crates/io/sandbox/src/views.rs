//! The parts of the host that a sandbox sees where its root is otherwise empty.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, FileType},
    mount::{OpenTreeFlags, open_tree},
};

use crate::{
    error::StartError,
    identity::FileIds,
    skeleton,
    spec::{Root, View},
    sys,
};

/// A part of the host, as a detached mount of its own.
pub(crate) struct Opened<'s> {
    pub mount: OwnedFd,
    /// Its path inside.
    pub at: &'s str,
    mapped: bool,
}

/// Opens each.
pub(crate) fn open(root: &Root) -> Result<Vec<Opened<'_>>, StartError> {
    let Root::Views(views) = root else { return Ok(Vec::new()) };
    let mut opened = Vec::new();
    for view in views {
        let View::Host { path, at, mapped } = view else { continue };
        let failed = |error: std::io::Error| StartError::failed("show", path.display(), error);
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        let mount = open_tree(CWD, path, flags).map_err(|error| failed(error.into()))?;
        let attributes = sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV;
        sys::mount_setattr(mount.as_fd(), attributes, None)
            .map_err(|error| failed(error.into()))?;
        opened.push(Opened { mount, at, mapped: *mapped });
    }
    Ok(opened)
}

/// Maps the ids of those that are to have the sandbox's.
pub(crate) fn map(
    opened: &[Opened<'_>],
    user_namespace: Option<BorrowedFd<'_>>,
) -> Result<(), StartError> {
    if user_namespace.is_none() {
        return Ok(());
    }
    for view in opened.iter().filter(|view| view.mapped) {
        sys::mount_setattr(view.mount.as_fd(), 0, user_namespace)
            .map_err(|error| StartError::failed("map the ids of", view.at, error))?;
    }
    Ok(())
}

/// Makes what the views are mounted on in `skeleton`, and the links among them.
pub(crate) fn make_places(
    skeleton: &OwnedFd,
    first: u32,
    root: &Root,
    opened: &[Opened<'_>],
) -> Result<(), StartError> {
    let Root::Views(views) = root else { return Ok(()) };
    let _owner = FileIds::assume(first)
        .map_err(|error| StartError::failed("take the ids of the sandbox's root", "", error))?;
    for Opened { mount, at, .. } in opened {
        let found = rustix::fs::fstat(mount)
            .map_err(|error| StartError::failed("make a place for", at, error))?;
        if FileType::from_raw_mode(found.st_mode) == FileType::Directory {
            skeleton::ensure_directory(skeleton, at)?;
        } else if let Some((parent, name)) = place(skeleton, at)? {
            skeleton::ensure_file(&parent, name, at)?;
        }
    }
    for view in views {
        let View::Link { target, at } = view else { continue };
        if let Some((parent, name)) = place(skeleton, at)? {
            rustix::fs::symlinkat(target, parent, name)
                .map_err(|error| StartError::failed("make the link", at, error))?;
        }
    }
    Ok(())
}

/// The directory that `path` lies in, and its name there.
fn place<'p>(
    skeleton: &OwnedFd,
    path: &'p str,
) -> Result<Option<(OwnedFd, &'p std::ffi::OsStr)>, StartError> {
    let whole = Path::new(path);
    let (Some(parent), Some(name)) = (whole.parent(), whole.file_name()) else { return Ok(None) };
    let parent = skeleton::ensure_directory_open(skeleton, &parent.to_string_lossy())?;
    Ok(Some((parent, name)))
}
