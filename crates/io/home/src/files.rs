//! The one way in which files of a home are opened.

use std::{
    fs::{self, File, Metadata, Permissions},
    io::{self, Write as _},
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

use crate::{
    HomeError,
    trust::{failed, is_trusted, owner},
};

/// What a file is opened for. Files that are made have mode 600.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// To read what is there.
    Read,
    /// To read and write what is there.
    Change,
    /// To read and write what is there, or what is made.
    Create,
    /// To write a new content.
    Replace,
    /// To write behind what is there, or what is made.
    Append,
}

impl Opening {
    fn flags(self) -> OFlags {
        match self {
            Self::Read => OFlags::RDONLY,
            Self::Change => OFlags::RDWR,
            Self::Create | Self::Replace => OFlags::RDWR | OFlags::CREATE,
            Self::Append => OFlags::WRONLY | OFlags::APPEND | OFlags::CREATE,
        }
    }
}

/// Opens a file of a home. No component of `path` may be a link; the file has to be a plain one that belongs to root or
/// to the caller, with one name where it is written to. What is refused is not touched.
///
/// # Errors
/// An [`io::Error`] whose inner error is a [`HomeError`] where the file is refused; else the system's own.
pub fn open(path: &Path, opening: Opening) -> io::Result<File> {
    // A pipe in its place must not be waited for.
    let file = without_links(path, opening.flags() | OFlags::NONBLOCK)?;
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(HomeError::OtherKind { path: path.to_owned(), wanted: "file" }.into());
    }
    check_owner(path, &found)?;
    if opening != Opening::Read && found.nlink() > 1 {
        let owner = owner(found.uid());
        let names = found.nlink();
        return Err(HomeError::SecondName { path: path.to_owned(), owner, names }.into());
    }
    if opening == Opening::Replace {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Gives a file of a home a new content: written beside its place and durably, then put there in one step, so that whoever
/// reads has the old or the new one, whole. Two that write the same file take turns.
///
/// # Errors
/// As [`open`].
pub fn put(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let directory = path.parent().unwrap_or(path);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let fresh = directory.join(format!(".{name}.new"));
    let mut file = open(&fresh, Opening::Replace)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)?;
    File::open(directory)?.sync_all()
}

/// Makes a directory of a home where it is missing, with mode 700; its parent has to be there. Neither it nor anything
/// on the way may be a link.
///
/// # Errors
/// As [`open`].
pub fn directory(path: &Path) -> Result<File, HomeError> {
    match rustix::fs::mkdir(path, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed("make", path)(error.into())),
    }
    let found = fs::symlink_metadata(path).map_err(failed("look at", path))?;
    if found.is_symlink() {
        return Err(link(path, &found));
    }
    let opened =
        without_links(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(failed("open", path))?;
    let found = opened.metadata().map_err(failed("look at", path))?;
    if !is_trusted(found.uid()) {
        return Err(HomeError::OtherOwner { path: path.to_owned(), owner: owner(found.uid()) });
    }
    if found.mode() & 0o7777 != 0o700 {
        opened.set_permissions(Permissions::from_mode(0o700)).map_err(failed("close", path))?;
    }
    Ok(opened)
}

fn check_owner(path: &Path, found: &Metadata) -> io::Result<()> {
    match is_trusted(found.uid()) {
        true => Ok(()),
        false => {
            Err(HomeError::OtherOwner { path: path.to_owned(), owner: owner(found.uid()) }.into())
        }
    }
}

fn without_links(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let mode = match flags.contains(OFlags::CREATE) {
        true => Mode::RUSR | Mode::WUSR,
        // openat2(2) takes a mode only together with O_CREAT.
        false => Mode::empty(),
    };
    match openat2(CWD, path, flags, mode, ResolveFlags::NO_SYMLINKS) {
        Ok(file) => Ok(file.into()),
        // A filter of system calls that does not know this one (Linux 5.6): what matters most is the last component.
        Err(Errno::NOSYS) => match rustix::fs::open(path, flags, mode) {
            Ok(file) => Ok(file.into()),
            Err(Errno::LOOP) => Err(refused_link(path)),
            Err(error) => Err(error.into()),
        },
        Err(Errno::LOOP) => Err(refused_link(path)),
        Err(error) => Err(error.into()),
    }
}

/// The first link on a way that has one.
fn refused_link(path: &Path) -> io::Error {
    let mut way: Vec<&Path> = path.ancestors().collect();
    way.reverse();
    for step in way {
        match fs::symlink_metadata(step) {
            Ok(found) if found.is_symlink() => return link(step, &found).into(),
            _ => {}
        }
    }
    Errno::LOOP.into()
}

pub(crate) fn link(path: &Path, found: &Metadata) -> HomeError {
    let target = fs::read_link(path).unwrap_or_default();
    HomeError::Link { path: path.to_owned(), owner: owner(found.uid()), target }
}
