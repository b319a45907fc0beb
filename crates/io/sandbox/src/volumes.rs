//! Volumes: file systems that their holder brings, seen at a path inside and written to.

use std::{
    fmt, io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, OpenTreeFlags, fsconfig_create, fsconfig_set_string,
    fsmount, fsopen, open_tree,
};

use crate::{
    error::StartError,
    root::{Access, loop_device},
    stage::Hold,
    sys,
};

/// Gives a volume its first content, where it has none: what the root, which is lent to it, has at the volume's path. An
/// error says why it can't.
pub type FirstContent = Box<dyn FnOnce(BorrowedFd<'_>) -> Result<(), String> + Send>;

/// A directory of a file system that a command may write to. Owners in it are the sandbox's ids, whichever ids of the host
/// the sandbox has.
pub struct VolumeMount {
    /// Absolute path inside.
    pub path: String,
    /// The file system, as a detached mount. The sandbox keeps it mounted until its last process is gone.
    pub filesystem: OwnedFd,
    /// The directory of it that is seen.
    pub directory: &'static str,
    /// Called once, before the directory is looked for.
    pub first_content: FirstContent,
}

impl fmt::Debug for VolumeMount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VolumeMount").field("path", &self.path).finish_non_exhaustive()
    }
}

/// Each volume as a detached mount that can be attached inside, in the order given.
pub(crate) fn bind(
    volumes: Vec<VolumeMount>,
    root: BorrowedFd<'_>,
    user_namespace: Option<BorrowedFd<'_>>,
    hold: Hold<'_>,
) -> Result<Vec<OwnedFd>, StartError> {
    let one = |volume: VolumeMount| {
        let VolumeMount { path, filesystem, directory, first_content } = volume;
        let failed = |error: io::Error| StartError::failed("mount the volume at", &path, error);
        first_content(root).map_err(|error| failed(io::Error::other(error)))?;
        // Kernels before 6.15 copy attached mounts only.
        hold(&filesystem).map_err(failed)?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_SYMLINK_NOFOLLOW;
        let mount =
            open_tree(&filesystem, directory, flags).map_err(|error| failed(error.into()))?;
        let quiet = sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NODEV;
        sys::mount_setattr(mount.as_fd(), quiet, user_namespace)
            .map_err(|error| failed(error.into()))?;
        Ok(mount)
    };
    volumes.into_iter().map(one).collect()
}

/// Mounts the ext4 in a file, to be written to: detached, seen by no mount namespace. A lock (flock(2)) that was taken on the
/// file's description is held until nothing of it is mounted any more, also where the caller is gone by then.
///
/// # Errors
/// What the kernel says.
pub fn mount_ext4(file: &OwnedFd, image: &Path) -> io::Result<OwnedFd> {
    let device = loop_device(file, Access::Write).map_err(|error| {
        io::Error::new(
            error.kind(),
            format!("make a loop device for `{}`: {error}", image.display()),
        )
    })?;
    let ext4 = fsopen(c"ext4", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let source = format!("/proc/self/fd/{}", device.as_raw_fd());
    fsconfig_set_string(ext4.as_fd(), c"source", source.as_str())?;
    // What is found to be wrong is not written over.
    fsconfig_set_string(ext4.as_fd(), c"errors", c"remount-ro")?;
    fsconfig_create(ext4.as_fd())?;
    let quiet = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV;
    Ok(fsmount(ext4.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, quiet)?)
}
