//! EROFS through a loop device, which is gone by itself with the last mount of it.

use std::{
    fs::{self, File},
    io,
    os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{CWD, FileType, Mode, OFlags},
    io::Errno,
    mount::MountAttrFlags,
};

use super::{
    erofs, overlay,
    way::{RootWay, Stack},
};
use crate::{error::StartError, module, sys, tmpfs::tmpfs};

pub(super) struct ByLoop;

impl RootWay for ByLoop {
    fn metadata(&self, image: &Path, _: u32) -> Result<OwnedFd, StartError> {
        mount(image)
    }

    fn lower_layers(&self, overlay: BorrowedFd<'_>, stack: &Stack<'_>) -> io::Result<()> {
        overlay::in_one_text(overlay, stack, "::")
    }
}

/// Others take the device that was free a moment ago; losing that race so often is no race.
const TRIES: usize = 1_000;

// linux/loop.h
const LOOP_CTL_GET_FREE: u64 = 0x4C82;
const LOOP_CONFIGURE: u64 = 0x4C0A;
const LO_FLAGS_READ_ONLY: u32 = 1;
const LO_FLAGS_AUTOCLEAR: u32 = 4;
const LO_FLAGS_DIRECT_IO: u32 = 16;

/// `struct loop_config` of Linux 5.8 with the `struct loop_info64` in it.
#[repr(C)]
struct LoopConfig {
    fd: u32,
    block_size: u32,
    /// Device, inode, device number, offset and limit of size.
    info: [u64; 5],
    number: u32,
    encryption: u32,
    key_size: u32,
    flags: u32,
    file_name: [u8; 64],
    encryption_name: [u8; 64],
    key: [u8; 32],
    init: [u64; 2],
    reserved: [u64; 8],
}

/// Mounts an image file through a loop device.
pub(crate) fn mount(image: &Path) -> Result<OwnedFd, StartError> {
    let file = File::open(image)
        .map_err(|error| StartError::failed("open the metadata image", image.display(), error))?;
    mount_file(&file.into(), image)
}

/// As [`mount`], for a file that is open; `image` is what errors name.
pub(super) fn mount_file(file: &OwnedFd, image: &Path) -> Result<OwnedFd, StartError> {
    let device = attach(file, Access::Read)
        .map_err(|error| StartError::failed("make a loop device for", image.display(), error))?;
    // By descriptor: the name in `/dev` may be missing, or another's by now. Once mounted, the mount keeps the device;
    // whoever dies before lets go of it by dying.
    let source = PathBuf::from(format!("/proc/self/fd/{}", device.as_raw_fd()));
    erofs::mount(&source, image)
}

/// What is done with what lies behind a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    /// It is read through the page cache: metadata is small, was read just now to be checked, and is shared by all devices of
    /// one file.
    Read,
    /// It is written to, past the page cache where the file can: the file system on the device has its own.
    Write,
}

/// A free loop device with the file behind it; it is cleared when the last who has it open closes it, and keeps the file's
/// description, with the locks that are on it, until then.
pub(crate) fn attach(file: &OwnedFd, access: Access) -> io::Result<OwnedFd> {
    let control = open_control()?;
    let mut config = LoopConfig {
        fd: file.as_raw_fd() as u32,
        block_size: 0,
        info: [0; 5],
        number: 0,
        encryption: 0,
        key_size: 0,
        flags: access.flags(),
        file_name: [0; 64],
        encryption_name: [0; 64],
        key: [0; 32],
        init: [0; 2],
        reserved: [0; 8],
    };
    let name = access.name();
    config.file_name[..name.len()].copy_from_slice(name);
    let mut tries = 0;
    loop {
        tries += 1;
        let number = ioctl(control.as_raw_fd(), LOOP_CTL_GET_FREE, 0)?;
        let attached = open_device(number, access).and_then(|device| {
            ioctl(device.as_raw_fd(), LOOP_CONFIGURE, &raw const config as u64)?;
            Ok(device)
        });
        match attached {
            Ok(device) => return Ok(device),
            // Somebody else has it by now, or it was just removed.
            Err(error) if tries < TRIES && is_taken(&error) => {}
            Err(error) => return Err(error),
        }
    }
}

fn is_taken(error: &io::Error) -> bool {
    [libc::EBUSY, libc::ENXIO, libc::ENODEV].map(Some).contains(&error.raw_os_error())
}

impl Access {
    const fn flags(self) -> u32 {
        match self {
            Self::Read => LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
            Self::Write => LO_FLAGS_DIRECT_IO | LO_FLAGS_AUTOCLEAR,
        }
    }

    /// What the device tells of itself; no file has it.
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Read => b"hornero-metadata",
            Self::Write => b"hornero-volume",
        }
    }
}

fn open_device(number: i64, access: Access) -> io::Result<OwnedFd> {
    let name = format!("loop{number}");
    let flags = match access {
        Access::Read => OFlags::RDONLY,
        Access::Write => OFlags::RDWR,
    };
    open_node(&name, flags, FileType::BlockDevice, &format!("/sys/block/{name}/dev"))
}

/// The device that makes others; the module is loaded where it is not yet and nobody made its name beforehand.
fn open_control() -> io::Result<OwnedFd> {
    const CONTROL: &str = "/sys/class/misc/loop-control/dev";
    let open = || open_node("loop-control", OFlags::RDWR, FileType::CharacterDevice, CONTROL);
    match open() {
        Err(error) if error.kind() == io::ErrorKind::NotFound && module::load("loop") => open(),
        other => other,
    }
}

/// A device by its name in `/dev`, or, where that is not the kernel's own and lacks the name, by its number.
fn open_node(name: &str, access: OFlags, kind: FileType, number_file: &str) -> io::Result<OwnedFd> {
    let flags = access | OFlags::CLOEXEC;
    match rustix::fs::openat(CWD, format!("/dev/{name}"), flags, Mode::empty()) {
        Ok(device) => return Ok(device),
        Err(Errno::NOENT) => {}
        Err(errno) => return Err(errno.into()),
    }
    let text = fs::read_to_string(number_file)?;
    let numbers = text.trim().split_once(':');
    let numbers =
        numbers.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
    let Some((major, minor)) = numbers else { return Err(Errno::NODEV.into()) };
    let place = tmpfs("64k", 0, MountAttrFlags::empty())?;
    let device = rustix::fs::makedev(major, minor);
    rustix::fs::mknodat(&place, name, kind, Mode::from_raw_mode(0o600), device)?;
    Ok(rustix::fs::openat(&place, name, flags, Mode::empty())?)
}

fn ioctl(fd: RawFd, request: u64, argument: u64) -> io::Result<i64> {
    // SAFETY: the argument is an integer or points to a structure that outlives the call.
    let answer = unsafe { libc::ioctl(fd, request as _, argument) };
    Ok(sys::check(libc::c_long::from(answer))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_structure_is_as_long_as_the_kernels() {
        assert_eq!(size_of::<LoopConfig>(), 304);
    }
}
