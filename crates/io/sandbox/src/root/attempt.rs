//! Trying a way in miniature: a tiny image, read through the root that is made of it.

use std::{
    env,
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    mount::MountAttrFlags,
};

use super::{
    overlay::assemble,
    way::{RootWay, Stack},
};
use crate::{
    error::StartError, stage, stage::Hold, sys, tmpfs::tmpfs, user_namespace::UserNamespace,
};

/// A metadata image of a tree with one file, `file`, of user 33 and group 34; a test of the engine holds it against what
/// our store writes.
const IMAGE: &[u8] = include_bytes!("probe.erofs");
/// What is in that file, and where the image says that it is.
const CONTENT: &[u8] = b"hornero\n";
const OBJECT: (&str, &str) =
    ("2e", "c4c501ed20d289275ecf626a345a58227f1da260477c133a906b6ad750c96b");

/// Makes a root in this way and looks into it.
pub(crate) fn attempt(way: &dyn RootWay, namespace: &UserNamespace) -> Result<(), StartError> {
    stage::with(!way.attaches_layers(), |hold| miniature(way, namespace, hold)).map_err(plainly)
}

/// What a person is told of a way that is not there: `status` and `doctor` show it. The miniature's own files have no
/// names that say anything, and the kernel's numbers mean what follows here.
fn plainly(error: StartError) -> StartError {
    let StartError::Failed { step, source } = error else { return error };
    let meaning = match (step.name, source.raw_os_error()) {
        ("mount the metadata image", Some(libc::ENOTBLK)) => {
            io::Error::other("this kernel mounts EROFS from block devices only")
        }
        ("assemble an overlay", Some(libc::EINVAL)) => {
            io::Error::other("this kernel's overlay takes no such layers")
        }
        _ => source,
    };
    StartError::failed(step.name, "", meaning)
}

fn miniature(
    way: &dyn RootWay,
    namespace: &UserNamespace,
    hold: Hold<'_>,
) -> Result<(), StartError> {
    let failed = |name| move |error: io::Error| StartError::failed(name, "", error);
    let first = namespace.map.first;
    let image = image_file().map_err(failed("make an image"))?;
    let image = PathBuf::from(format!("/proc/self/fd/{}", image.as_raw_fd()));
    let lower = way.metadata(&image, first)?;
    if way.maps_ids() {
        sys::mount_setattr(lower.as_fd(), 0, Some(namespace.descriptor()))
            .map_err(|error| StartError::failed("map the ids of a metadata image", "", error))?;
    }
    let objects = objects().map_err(failed("make objects"))?;
    let skeleton = tmpfs("64k", first, MountAttrFlags::empty())
        .map_err(|error| StartError::failed("make a tmpfs", "", error))?;
    for layer in [&lower, &objects, &skeleton] {
        hold(layer).map_err(failed("hold a layer"))?;
    }
    let stack =
        Stack { lower: Some(&lower), skeleton: &skeleton, objects: Some(&objects), upper: None };
    let root = assemble(way, &stack).map_err(failed("assemble an overlay"))?;
    look(&root, first).map_err(failed("read through an overlay"))
}

/// Whether the root shows the file as it should be, and nothing of where its content lies.
fn look(root: &OwnedFd, first: u32) -> io::Result<()> {
    let open = |name: &str| {
        rustix::fs::openat(root, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
    };
    let mut file = File::from(open("file")?);
    let found = file.metadata()?;
    let mut content = Vec::new();
    Read::take(&mut file, 64).read_to_end(&mut content)?;
    if content != CONTENT {
        return Err(io::Error::other("the content is another"));
    }
    if (found.uid(), found.gid()) != (first + 33, first + 34) {
        let owners = format!("the owners are {} and {}", found.uid(), found.gid());
        return Err(io::Error::other(owners));
    }
    match open(OBJECT.0) {
        Err(rustix::io::Errno::NOENT) => Ok(()),
        _ => Err(io::Error::other("the objects are in sight")),
    }
}

fn objects() -> io::Result<OwnedFd> {
    let objects = tmpfs("64k", 0, MountAttrFlags::empty())?;
    rustix::fs::mkdirat(&objects, OBJECT.0, Mode::from_raw_mode(0o755))?;
    let path = format!("{}/{}", OBJECT.0, OBJECT.1);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let file = rustix::fs::openat(&objects, path, flags, Mode::from_raw_mode(0o644))?;
    File::from(file).write_all(CONTENT)?;
    Ok(objects)
}

/// The image as a file without a name. On a disk where there is one: file systems in memory can't be mounted from.
fn image_file() -> io::Result<OwnedFd> {
    let temporary = env::temp_dir();
    let places = [Path::new("/var/tmp"), &temporary, Path::new("/root"), Path::new("/")];
    let on_disk = places.into_iter().find_map(|place| {
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        let file = rustix::fs::openat(CWD, place, flags, Mode::from_raw_mode(0o600)).ok()?;
        let kind = rustix::fs::fstatfs(&file).ok()?.f_type;
        (![libc::TMPFS_MAGIC, RAMFS_MAGIC].contains(&kind)).then_some(file)
    });
    let file = match on_disk {
        Some(file) => file,
        None => rustix::fs::memfd_create("hornero-probe", rustix::fs::MemfdFlags::CLOEXEC)?,
    };
    let mut file = File::from(file);
    file.write_all(IMAGE)?;
    Ok(file.into())
}

/// linux/magic.h
const RAMFS_MAGIC: i64 = 0x8584_58f6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_kernel_lacks_is_told_in_words() {
        let told = |name, number| {
            let error = io::Error::from_raw_os_error(number);
            plainly(StartError::failed(name, "/proc/self/fd/10", error)).one_line()
        };
        assert_eq!(
            told("mount the metadata image", libc::ENOTBLK),
            "mount the metadata image: this kernel mounts EROFS from block devices only"
        );
        assert_eq!(
            told("assemble an overlay", libc::EINVAL),
            "assemble an overlay: this kernel's overlay takes no such layers"
        );
        assert_eq!(
            told("assemble an overlay", libc::EPERM),
            "assemble an overlay: Operation not permitted (os error 1)"
        );
    }
}
