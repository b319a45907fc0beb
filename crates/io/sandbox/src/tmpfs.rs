//! File systems in memory, detached.

use std::os::fd::{AsFd, OwnedFd};

use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_string, fsmount,
    fsopen,
};

/// Whether what lies in a tmpfs may be written to the host's swap space.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Swap {
    Allowed,
    /// It stays in memory where the kernel knows how (Linux 6.4).
    Refused,
}

/// A tmpfs, detached, whose root belongs to host id `owner`.
pub(crate) fn tmpfs(
    size: &str,
    owner: u32,
    attributes: MountAttrFlags,
) -> rustix::io::Result<OwnedFd> {
    tmpfs_by(size, owner, attributes, Swap::Allowed)
}

/// The same, and whether it may be swapped out.
pub(crate) fn tmpfs_by(
    size: &str,
    owner: u32,
    attributes: MountAttrFlags,
    swap: Swap,
) -> rustix::io::Result<OwnedFd> {
    let context = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    match swap {
        Swap::Allowed => {}
        // An older kernel does not know the word; there the host's swap space is as its owner made it.
        Swap::Refused => match rustix::mount::fsconfig_set_flag(context.as_fd(), c"noswap") {
            Ok(()) | Err(rustix::io::Errno::INVAL) => {}
            Err(error) => return Err(error),
        },
    }
    fsconfig_set_string(context.as_fd(), c"size", size)?;
    fsconfig_set_string(context.as_fd(), c"mode", c"0755")?;
    if owner != 0 {
        let owner = owner.to_string();
        fsconfig_set_string(context.as_fd(), c"uid", owner.as_str())?;
        fsconfig_set_string(context.as_fd(), c"gid", owner.as_str())?;
    }
    fsconfig_create(context.as_fd())?;
    fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
