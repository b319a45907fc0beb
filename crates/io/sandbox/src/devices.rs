//! The `/dev` of a sandbox.

use std::os::fd::{AsFd, OwnedFd};

use rustix::{
    fs::{FileType, Mode},
    mount::MountAttrFlags,
};

use crate::{error::StartError, identity::FileIds, sys, tmpfs::tmpfs};

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

/// Makes `/dev`, detached, owned by host id `first`; `with_terminals`, `/dev/ptmx` leads to
/// the terminals that are mounted there later.
pub(crate) fn devices(first: u32, with_terminals: bool) -> Result<OwnedFd, StartError> {
    let made = || -> rustix::io::Result<OwnedFd> {
        let dev = tmpfs("64k", first, MountAttrFlags::empty())?;
        let _owner = FileIds::assume(first).map_err(errno)?;
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
        if with_terminals {
            rustix::fs::symlinkat("pts/ptmx", &dev, "ptmx")?;
        }
        for name in ["shm", "pts", "mqueue"] {
            rustix::fs::mkdirat(&dev, name, Mode::from_raw_mode(0o755))?;
        }
        sys::mount_setattr(
            dev.as_fd(),
            sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NOSUID | sys::MOUNT_ATTR_NOEXEC,
            None,
        )
        .map_err(errno)?;
        Ok(dev)
    };
    made().map_err(|error| StartError::failed("make `/dev`", "", error))
}

fn errno(errno: sys::Errno) -> rustix::io::Errno {
    rustix::io::Errno::from_raw_os_error(errno.0)
}
