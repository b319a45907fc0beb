//! Mounting EROFS: from an image file itself, or from a block device.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use crate::error::StartError;

/// Mounts the file itself where the kernel can, and never a loop device behind the caller's back as mount(8) does.
pub(super) fn mount(source: &Path, image: &Path) -> Result<OwnedFd, StartError> {
    let made = || -> rustix::io::Result<OwnedFd> {
        let erofs = fsopen(c"erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_flag(erofs.as_fd(), c"ro")?;
        fsconfig_set_string(erofs.as_fd(), c"source", source)?;
        fsconfig_create(erofs.as_fd())?;
        fsmount(erofs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::MOUNT_ATTR_RDONLY)
    };
    made().map_err(|error| StartError::failed("mount the metadata image", image.display(), error))
}

/// Whether the kernel said that it wants a block device in place of this file: so do file systems in memory, whatever
/// the kernel can do elsewhere.
pub(crate) fn takes_no_files(error: &StartError) -> bool {
    let StartError::Failed { source, .. } = error else { return false };
    source.raw_os_error()
        == Some(io::Error::from(rustix::io::Errno::NOTBLK).raw_os_error().unwrap_or(0))
}
