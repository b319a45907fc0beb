//! Copies and removes trees by descriptors: nothing in them can lead out of them.

use std::{
    ffi::CStr,
    fs::File,
    io,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

/// No tree that an image or a person has is deeper; each level has a descriptor open.
const DEEPEST: usize = 200;
/// The kernel's own limit of an attribute, `XATTR_SIZE_MAX`, and of a list of their names.
const MAX_ATTRIBUTE_BYTES: usize = 64 << 10;

/// The owner that something has in the copy.
type Owner<'a> = &'a dyn Fn(u32) -> u32;

/// Copies all that lies in one directory into another one: contents, owners (by `owner`), modes, times and `user.` attributes;
/// directories, files, links and pipes. Sockets and devices are left out, a file with two names becomes two.
pub(crate) fn copy_tree(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    owner: Owner<'_>,
) -> io::Result<()> {
    copy_level(from, to, owner, 0)
}

fn copy_level(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    owner: Owner<'_>,
    depth: usize,
) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other(format!("the tree is deeper than {DEEPEST} directories")));
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(from, to, name, owner, depth)
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", shown(name))))?;
    }
    Ok(())
}

fn copy_entry(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    owner: Owner<'_>,
    depth: usize,
) -> io::Result<()> {
    let found = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let mode = Mode::from_raw_mode(found.st_mode & 0o7777);
    let ids = (Uid::from_raw(owner(found.st_uid)), Gid::from_raw(owner(found.st_gid)));
    let private = Mode::from_raw_mode(0o600);
    let made: Option<OwnedFd> = match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let (source, copy) = (directory(from, name)?, directory(to, name)?);
            copy_level(source.as_fd(), copy.as_fd(), owner, depth + 1)?;
            attributes(source.as_fd(), copy.as_fd())?;
            Some(copy)
        }
        FileType::RegularFile => {
            let flags = OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
            let source = rustix::fs::openat(from, name, flags | OFlags::RDONLY, Mode::empty())?;
            let creating = flags | OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
            let copy = rustix::fs::openat(to, name, creating, private)?;
            let (mut source, mut copy) = (File::from(source), File::from(copy));
            io::copy(&mut source, &mut copy)?;
            attributes(source.as_fd(), copy.as_fd())?;
            Some(copy.into())
        }
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, name)?;
            None
        }
        FileType::Fifo => {
            rustix::fs::mknodat(to, name, FileType::Fifo, private, 0)?;
            None
        }
        FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => return Ok(()),
    };
    rustix::fs::chownat(to, name, Some(ids.0), Some(ids.1), AtFlags::SYMLINK_NOFOLLOW)?;
    if let Some(made) = made {
        // After the owner, which takes set-id bits away.
        rustix::fs::fchmod(&made, mode)?;
    }
    let time = Timespec { tv_sec: found.st_mtime as _, tv_nsec: found.st_mtime_nsec as _ };
    let times = Timestamps { last_access: time, last_modification: time };
    rustix::fs::utimensat(to, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(())
}

fn directory(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Attributes that are the user's own; the others name owners, or are the file system's.
fn attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    let mut names = vec![0_u8; MAX_ATTRIBUTE_BYTES];
    let length = match rustix::fs::flistxattr(from, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for name in names[..length].split(|byte| *byte == 0).filter(|name| name.starts_with(b"user.")) {
        let mut value = vec![0_u8; MAX_ATTRIBUTE_BYTES];
        let length = rustix::fs::fgetxattr(from, name, &mut value[..])?;
        rustix::fs::fsetxattr(to, name, &value[..length], XattrFlags::empty())?;
    }
    Ok(())
}

/// Removes a directory and all that lies in it; one that is not there is no error.
pub(crate) fn remove_tree(parent: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    let name = std::ffi::CString::new(name)?;
    match rustix::fs::statat(parent, name.as_c_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(_) => remove_level(parent, &name, 0),
    }
}

fn remove_level(parent: BorrowedFd<'_>, name: &CStr, depth: usize) -> io::Result<()> {
    if depth > DEEPEST {
        return Err(io::Error::other(format!("the tree is deeper than {DEEPEST} directories")));
    }
    let inside = directory(parent, name)?;
    for entry in Dir::read_from(&inside)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let found = rustix::fs::statat(&inside, name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => remove_level(inside.as_fd(), name, depth + 1)?,
            _ => rustix::fs::unlinkat(&inside, name, AtFlags::empty())?,
        }
    }
    rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR)?;
    Ok(())
}

fn shown(name: &CStr) -> String {
    name.to_string_lossy().into_owned()
}
