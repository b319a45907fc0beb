//! Assembles the root, `/dev` and the provided files as detached mounts, seen by no mount namespace.

use std::{
    ffi::CString,
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags, ResolveFlags},
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, OpenTreeFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree,
    },
};

use crate::{
    capability,
    error::StartError,
    spec::{ComposedRoot, ProvidedFile, Root, SandboxSpec},
    stage::Hold,
    sys,
};

/// Directories that every root must have, to mount on.
const STANDARD_DIRECTORIES: [&str; 5] = ["/dev", "/proc", "/sys", "/tmp", "/etc"];

/// Device nodes of `/dev`: name, major, minor. All reach only the kernel's own sources and sinks of bytes.
const DEVICES: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// Symbolic links of `/dev`.
const DEVICE_LINKS: [(&str, &str); 4] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
];

/// The mounts of a sandbox before its user namespace is known.
pub(crate) struct Layers<'a> {
    root: &'a Root,
    /// The host id of the sandbox's root.
    first: u32,
    hold: Hold<'a>,
    /// The metadata image, or the directory; none for an empty build root.
    lower: Option<OwnedFd>,
    /// Directories and files to mount on that the image may lack: the lowest layer, so that it changes nothing else.
    skeleton: OwnedFd,
    /// The directory with `upper` and `work`.
    upper: Option<OwnedFd>,
    /// `/dev`.
    pub dev: OwnedFd,
    /// The provided files, in the order of the specification.
    pub files: Vec<OwnedFd>,
}

impl<'a> Layers<'a> {
    /// Makes every mount that does not depend on the user namespace. `hold` attaches mounts where the kernel can't
    /// use detached ones as layers (see [`crate::stage`]).
    pub fn prepare(spec: &'a SandboxSpec, hold: Hold<'a>) -> Result<Self, StartError> {
        let first = spec.id_map.map_or(0, |map| map.first);
        let lower = match &spec.root {
            Root::Composed(composed) => Some(metadata_mount(composed)?),
            Root::Directory { path, .. } => Some(clone_directory(path)?),
            Root::Build { lower, .. } => lower.as_ref().map(metadata_mount).transpose()?,
        };
        let upper = match &spec.root {
            Root::Build { dir, .. } => {
                // Left by the step before, with the mark that keeps a volatile overlay from being mounted again.
                let _ = std::fs::remove_dir_all(dir.join("work/work"));
                Some(clone_directory(dir)?)
            }
            Root::Composed(_) | Root::Directory { .. } => None,
        };
        let skeleton = skeleton(spec)?;
        let files = provided_files(&spec.files, first, hold)?;
        let dev = devices()?;
        Ok(Self { root: &spec.root, first, hold, lower, skeleton, upper, dev, files })
    }

    /// The root, its layers' ids mapped through `user_namespace`.
    pub fn root(&self, user_namespace: Option<BorrowedFd<'_>>) -> Result<OwnedFd, StartError> {
        if user_namespace.is_some() {
            for mount in self.layers().chain([&self.dev]) {
                sys::mount_setattr(mount.as_fd(), 0, user_namespace)
                    .map_err(|error| StartError::failed("map the ids of a layer", "", error))?;
            }
        }
        match (self.root, &self.lower) {
            (Root::Directory { writable: true, .. }, Some(directory)) => {
                let flags = sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOSUID;
                sys::mount_setattr(directory.as_fd(), flags, None)
                    .map_err(|error| StartError::failed("prepare the root directory", "", error))?;
                directory
                    .try_clone()
                    .map_err(|error| StartError::failed("copy a descriptor", "", error))
            }
            _ if self.upper.is_some() => {
                let _creator = FileIds::assume(self.first).map_err(|error| {
                    StartError::failed("take the ids of the sandbox's root", "", error)
                })?;
                self.overlay()
            }
            _ => self.overlay(),
        }
    }

    fn layers(&self) -> impl Iterator<Item = &OwnedFd> {
        [&self.lower, &self.upper].into_iter().flatten().chain([&self.skeleton])
    }

    fn overlay(&self) -> Result<OwnedFd, StartError> {
        // Once attached, a mount's ids can't be mapped any more.
        for mount in self.layers() {
            (self.hold)(mount).map_err(|error| StartError::failed("hold a layer", "", error))?;
        }
        let made = || -> rustix::io::Result<OwnedFd> {
            let overlay = fsopen(c"overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
            let overlay = overlay.as_fd();
            let by_descriptor =
                |fd: &OwnedFd, tail: &str| format!("/proc/self/fd/{}{tail}", fd.as_raw_fd());
            if let Some(lower) = &self.lower {
                fsconfig_set_string(overlay, c"lowerdir+", by_descriptor(lower, ""))?;
            }
            fsconfig_set_string(overlay, c"lowerdir+", by_descriptor(&self.skeleton, ""))?;
            let objects = match self.root {
                Root::Composed(composed) | Root::Build { lower: Some(composed), .. } => {
                    Some(rustix::fs::open(
                        &composed.objects,
                        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
                        Mode::empty(),
                    )?)
                }
                Root::Directory { .. } | Root::Build { lower: None, .. } => None,
            };
            if let Some(objects) = &objects {
                fsconfig_set_string(overlay, c"datadir+", by_descriptor(objects, ""))?;
                fsconfig_set_string(overlay, c"metacopy", c"on")?;
                fsconfig_set_string(overlay, c"redirect_dir", c"on")?;
            }
            let mut flags = MountAttrFlags::MOUNT_ATTR_NODEV | MountAttrFlags::MOUNT_ATTR_NOSUID;
            if let Some(upper) = &self.upper {
                fsconfig_set_string(overlay, c"upperdir", by_descriptor(upper, "/upper"))?;
                fsconfig_set_string(overlay, c"workdir", by_descriptor(upper, "/work"))?;
            } else {
                flags |= MountAttrFlags::MOUNT_ATTR_RDONLY;
            }
            // The kernel then neither syncs nor keeps an index: what counts is captured after the step has ended.
            if self.upper.is_some() {
                fsconfig_set_flag(overlay, c"volatile")?;
            }
            fsconfig_create(overlay)?;
            fsmount(overlay, FsMountFlags::FSMOUNT_CLOEXEC, flags)
        };
        made().map_err(|error| {
            StartError::failed("assemble the root's overlay", self.object(), error)
        })
    }

    fn object(&self) -> String {
        match self.root {
            Root::Composed(composed) => composed.metadata.display().to_string(),
            Root::Directory { path, .. } => path.display().to_string(),
            Root::Build { dir, .. } => dir.display().to_string(),
        }
    }
}

/// The calling thread's ids for files, put back when dropped.
///
/// An overlay writes to its upper layer as whoever made it, and through a mapped mount the host's root is nobody who
/// could: its id is not in the map.
struct FileIds;

impl FileIds {
    fn assume(id: u32) -> sys::Result<Self> {
        let assumed = Self;
        Self::set(id)?;
        // Leaving 0 has dropped the capabilities that concern files.
        capability::raise_permitted()?;
        Ok(assumed)
    }

    fn set(id: u32) -> sys::Result<()> {
        // By raw calls: these ids are the thread's own. Both return the former id, whatever happens.
        sys::call(libc::SYS_setfsgid, [id.into(), 0, 0, 0])?;
        sys::call(libc::SYS_setfsuid, [id.into(), 0, 0, 0]).map(drop)
    }
}

impl Drop for FileIds {
    fn drop(&mut self) {
        // Can't fail: a thread with CAP_SETUID may go back to 0.
        let _ = Self::set(0);
    }
}

/// Mounts the metadata image's file itself; mount(8) would take a loop device.
fn metadata_mount(composed: &ComposedRoot) -> Result<OwnedFd, StartError> {
    let made = || -> rustix::io::Result<OwnedFd> {
        let erofs = fsopen(c"erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_flag(erofs.as_fd(), c"ro")?;
        fsconfig_set_string(erofs.as_fd(), c"source", composed.metadata.as_path())?;
        fsconfig_create(erofs.as_fd())?;
        fsmount(erofs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
    };
    made().map_err(|error| {
        StartError::failed("mount the metadata image", composed.metadata.display(), error)
    })
}

fn clone_directory(path: &Path) -> Result<OwnedFd, StartError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags)
        .map_err(|error| StartError::failed("open the directory", path.display(), error))
}

fn tmpfs(size: &str, attributes: MountAttrFlags) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), c"size", size)?;
    fsconfig_set_string(context.as_fd(), c"mode", c"0755")?;
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// What the sandbox mounts on, in case the image lacks it. In a writable directory it is made in place instead.
fn skeleton(spec: &SandboxSpec) -> Result<OwnedFd, StartError> {
    let made = tmpfs("1m", MountAttrFlags::empty());
    let skeleton =
        made.map_err(|error| StartError::failed("make the skeleton layer", "", error))?;
    let place =
        match &spec.root {
            Root::Directory { path, writable: true } => {
                let opened = rustix::fs::open(
                    path,
                    OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                    Mode::empty(),
                );
                Some(opened.map_err(|error| {
                    StartError::failed("open the directory", path.display(), error)
                })?)
            }
            Root::Directory { .. } | Root::Composed(_) | Root::Build { .. } => None,
        };
    let place = place.as_ref().unwrap_or(&skeleton);
    for path in STANDARD_DIRECTORIES {
        ensure_directory(place, path)?;
    }
    let tmp = rustix::fs::openat2(
        place,
        "tmp",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT,
    );
    let _ = tmp.and_then(|tmp| rustix::fs::fchmod(&tmp, Mode::from_raw_mode(0o1777)));
    for scratch in &spec.scratch {
        let made = ensure_directory(place, &scratch.path)?;
        if let Some(directory) = made {
            let owner = rustix::fs::Uid::from_raw(spec.user.uid);
            let group = rustix::fs::Gid::from_raw(spec.user.gid);
            rustix::fs::fchown(&directory, Some(owner), Some(group))
                .map_err(|error| StartError::failed("own scratch", &scratch.path, error))?;
        }
    }
    for file in &spec.files {
        let path = Path::new(&file.path);
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else { continue };
        let parent = ensure_directory_open(place, &parent.to_string_lossy())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        match rustix::fs::openat(&parent, name, flags, Mode::from_raw_mode(0o644)) {
            Ok(_) | Err(rustix::io::Errno::EXIST) => {}
            Err(error) => return Err(StartError::failed("make a place for", &file.path, error)),
        }
    }
    Ok(skeleton)
}

/// Makes the directory `path` below `root` and what is missing above it; gives it back where it was made.
fn ensure_directory(root: &OwnedFd, path: &str) -> Result<Option<OwnedFd>, StartError> {
    let mut made = None;
    let mut so_far = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        made = None;
        let parent = open_inside(root, &so_far, path)?;
        match rustix::fs::mkdirat(&parent, part, Mode::from_raw_mode(0o755)) {
            Ok(()) => {
                so_far = format!("{so_far}/{part}");
                made = Some(open_inside(root, &so_far, path)?);
            }
            Err(rustix::io::Errno::EXIST) => so_far = format!("{so_far}/{part}"),
            Err(error) => return Err(StartError::failed("make a place for", path, error)),
        }
    }
    Ok(made)
}

fn ensure_directory_open(root: &OwnedFd, path: &str) -> Result<OwnedFd, StartError> {
    match ensure_directory(root, path)? {
        Some(directory) => Ok(directory),
        None => open_inside(root, path, path),
    }
}

/// Opens a directory with symbolic links resolved as the sandbox would: never out of `root`.
fn open_inside(root: &OwnedFd, path: &str, wanted: &str) -> Result<OwnedFd, StartError> {
    let path = if path.is_empty() { "." } else { path };
    rustix::fs::openat2(
        root,
        path,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(|error| StartError::failed("make a place for", wanted, error))
}

fn devices() -> Result<OwnedFd, StartError> {
    let made = || -> rustix::io::Result<OwnedFd> {
        let dev = tmpfs("64k", MountAttrFlags::empty())?;
        let mode = Mode::from_raw_mode(0o666);
        for (name, major, minor) in DEVICES {
            let number = rustix::fs::makedev(major, minor);
            rustix::fs::mknodat(&dev, name, FileType::CharacterDevice, mode, number)?;
            // mknod obeys the caller's umask.
            rustix::fs::chmodat(&dev, name, mode, rustix::fs::AtFlags::empty())?;
        }
        for (name, target) in DEVICE_LINKS {
            rustix::fs::symlinkat(target, &dev, name)?;
        }
        for name in ["shm", "pts", "mqueue"] {
            rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
        }
        sys::mount_setattr(
            dev.as_fd(),
            sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NOEXEC,
            None,
        )
        .map_err(|errno| rustix::io::Errno::from_raw_os_error(errno.0))?;
        Ok(dev)
    };
    made().map_err(|error| StartError::failed("make `/dev`", "", error))
}

/// Each file as a detached, read-only mount of its own.
fn provided_files(
    files: &[ProvidedFile],
    first: u32,
    hold: Hold<'_>,
) -> Result<Vec<OwnedFd>, StartError> {
    if files.is_empty() {
        return Ok(Vec::new());
    }
    let failed = |path: &str, error: io::Error| StartError::failed("provide the file", path, error);
    let holder = tmpfs("4m", MountAttrFlags::empty()).map_err(|error| failed("", error.into()))?;
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

/// Attaches a mount where nothing of the host is needed, in the caller's own mount namespace. Not at `/`: a process
/// below a mount at its root may make no user namespace.
pub(crate) fn attach_aside(mount: &OwnedFd) -> io::Result<()> {
    let attach =
        |target: &str| move_mount(mount, "", CWD, target, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH);
    attach("/mnt").or_else(|_| attach("/media")).map_err(io::Error::from)
}
