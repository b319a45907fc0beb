//! The way to a home, component by component: whose each is, and who may write there.

use std::{
    collections::VecDeque,
    ffi::OsString,
    fs::{self, Metadata},
    io,
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Component, Path, PathBuf},
};

use crate::{
    HomeError, files,
    trust::{failed, is_trusted, owner},
};

/// Links on one way; as many as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;
/// Write permission of the group or of everybody; with an access control list the group's bits are its mask, so they
/// show every other user that may write (acl(5)).
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;
/// What may lie on another disk: the two parts of a home that grow with images.
const LARGE: [&str; 2] = ["store", "cache"];

/// Follows the way to `path` and gives it without links; what is missing of it is left as it is.
///
/// Everything on the way has to belong to root or to the caller, and nobody else may write there. One exception: a
/// directory of root's that everybody writes to with the sticky bit, such as `/tmp`, may be passed, because only its
/// owner can replace what comes next, and that has to be a trusted one.
///
/// # Errors
/// With the first component that somebody else could replace.
pub fn resolve(path: &Path) -> Result<PathBuf, HomeError> {
    let path = std::path::absolute(path).map_err(failed("find", path))?;
    let mut left: VecDeque<OsString> = names(&path)?;
    let mut way = PathBuf::from("/");
    let mut links = 0;
    check(&way, &look(&way)?, !left.is_empty())?;
    while let Some(name) = left.pop_front() {
        if name == ".." {
            way.pop();
            continue;
        }
        let next = way.join(&name);
        let found = match fs::symlink_metadata(&next) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(left.into_iter().fold(next, |way, name| way.join(name)));
            }
            Err(error) => return Err(failed("look at", &next)(error)),
        };
        if found.is_symlink() {
            links += 1;
            if links > LINKS_MAX {
                return Err(HomeError::Endless { path });
            }
            check_owner(&next, &found)?;
            let target = fs::read_link(&next).map_err(failed("read", &next))?;
            if target.is_absolute() {
                way = PathBuf::from("/");
            }
            for name in names(&target)?.into_iter().rev() {
                left.push_front(name);
            }
            continue;
        }
        if !found.is_dir() {
            return Err(HomeError::OtherKind { path: next, wanted: "directory" });
        }
        check(&next, &found, !left.is_empty())?;
        way = next;
    }
    Ok(way)
}

/// The names of a path; `..` is kept, since it means the parent of what a link before it leads to.
fn names(path: &Path) -> Result<VecDeque<OsString>, HomeError> {
    let mut names = VecDeque::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir => names.push_back("..".into()),
            Component::Normal(name) => names.push_back(name.to_owned()),
            Component::Prefix(_) => {
                return Err(HomeError::OtherKind { path: path.to_owned(), wanted: "directory" });
            }
        }
    }
    Ok(names)
}

fn check_owner(path: &Path, found: &Metadata) -> Result<(), HomeError> {
    match is_trusted(found.uid()) {
        true => Ok(()),
        false => Err(HomeError::OtherOwner { path: path.to_owned(), owner: owner(found.uid()) }),
    }
}

/// Whether nobody else can change a directory, or, where it is only passed, what comes next in it.
fn check(path: &Path, found: &Metadata, passed: bool) -> Result<(), HomeError> {
    check_owner(path, found)?;
    let mode = found.mode() & 0o7777;
    let shared = passed && mode & STICKY != 0 && found.uid() == 0;
    if mode & OTHERS_WRITE != 0 && !shared {
        let owner = owner(found.uid());
        return Err(HomeError::Writable { path: path.to_owned(), owner, mode });
    }
    Ok(())
}

/// As [`resolve`], and looks at what lies in the home: nothing of it may be another user's or a link. `store` and
/// `cache` may be links to other disks, if everything on their way is trusted as well.
///
/// # Errors
/// As [`resolve`].
pub fn admit(home: &Path) -> Result<PathBuf, HomeError> {
    let home = resolve(home)?;
    let entries = match fs::read_dir(&home) {
        Ok(entries) => entries,
        // Nothing is there yet, or the caller may see nothing and will be told so by what it opens.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Ok(home);
        }
        Err(error) => return Err(failed("list", &home)(error)),
    };
    for entry in entries {
        let path = entry.map_err(failed("list", &home))?.path();
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            // A file that was written and renamed meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(failed("look at", &path)(error)),
        };
        let is_large = LARGE.iter().any(|name| path.file_name().is_some_and(|file| file == *name));
        if found.is_symlink() && !is_large {
            return Err(files::link(&path, &found));
        }
        check_owner(&path, &found)?;
        if found.is_symlink() {
            resolve(&path)?;
        } else if found.is_dir() {
            check(&path, &found, false)?;
        }
    }
    Ok(home)
}

/// Makes the home where it is missing, readable by its owner only, and admits it.
///
/// # Errors
/// As [`admit`], and where it can't be made.
pub fn prepare(home: &Path) -> Result<PathBuf, HomeError> {
    let way = resolve(home)?;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(&way).map_err(failed("make", &way))?;
    // Somebody else may have been faster in a directory that everybody writes to.
    let home = admit(&way)?;
    files::directory(&home)?;
    Ok(home)
}

fn look(path: &Path) -> Result<Metadata, HomeError> {
    fs::symlink_metadata(path).map_err(failed("look at", path))
}
