//! The programs of the host that make and mend file systems, and what the kernel is asked beside mounting.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    os::fd::{AsRawFd as _, BorrowedFd, OwnedFd},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{MemfdFlags, memfd_create},
    io::Errno,
    process::{Pid, PidfdFlags, pidfd_open},
};

use crate::error::VolumeError;

/// Makes file systems; of `e2fsprogs`, as the other.
const MAKE: &str = "mkfs.ext4";
/// Replays the journal of a file system, and looks through it where it was not left in good order.
const MEND: &str = "e2fsck";
/// Makes a file system larger.
const GROW: &str = "resize2fs";
/// A search through all of a large, damaged file system takes minutes; one that takes longer hangs.
const LONGEST: Duration = Duration::from_secs(1_800);
/// What is shown of what a program says.
const SHOWN_BYTES: u64 = 2_000;

/// `_IOWR('X', 119, int)` and the one after it, of linux/fs.h.
const FIFREEZE: u64 = 0xC004_5877;
const FITHAW: u64 = 0xC004_5878;

/// The size of a block of the file systems made here.
pub(crate) const BLOCK_BYTES: u64 = 4_096;

/// A program that this host lacks, and the package that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lacking {
    /// The program.
    pub program: &'static str,
    /// The package, of Debian and of others.
    pub package: &'static str,
}

/// What this host lacks to have volumes.
pub fn lacking() -> Vec<Lacking> {
    let programs = [MAKE, MEND, GROW].into_iter().filter(|program| find(program).is_none());
    programs.map(|program| Lacking { program, package: "e2fsprogs" }).collect()
}

fn find(program: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/sbin", "/usr/bin", "/bin"]
        .into_iter()
        .map(|directory| Path::new(directory).join(program))
        .find(|path| path.exists())
}

/// Makes an empty file system in a file, as large as that is.
pub(crate) fn make(image: &Path) -> Result<(), VolumeError> {
    // No block is kept for root: the server is not. What is zero in a sparse file need not be written as zeros.
    let options = ["-q", "-F", "-b", "4096", "-m", "0", "-O", "metadata_csum"];
    let lazy = ["-E", "lazy_itable_init=1,lazy_journal_init=1"];
    let (code, said) = run(MAKE, &[&options[..], &lazy[..]].concat(), image)?;
    match code {
        Some(0) => Ok(()),
        _ => Err(VolumeError::failed(format!("make a file system in `{}`", image.display()))(said)),
    }
}

/// Mends what a file system that was not left in good order says of itself: its journal is replayed. What `Err` says inside is
/// what is wrong beyond that; then nothing more was changed.
pub(crate) fn mend(image: &Path) -> Result<Result<(), String>, VolumeError> {
    let (code, said) = run(MEND, &["-p"], image)?;
    match code {
        // In order, or mended by what can lose nothing.
        Some(0..=3) => Ok(Ok(())),
        Some(code) if code & 4 != 0 => Ok(Err(said)),
        _ => Err(VolumeError::failed(format!("check `{}`", image.display()))(said)),
    }
}

/// Looks through all of a file system without changing it.
pub(crate) fn look_through(image: &Path) -> Result<Result<(), String>, VolumeError> {
    let (code, said) = run(MEND, &["-f", "-n"], image)?;
    match code {
        Some(0) => Ok(Ok(())),
        Some(code) if code & 4 != 0 => Ok(Err(said)),
        _ => Err(VolumeError::failed(format!("check `{}`", image.display()))(said)),
    }
}

/// Runs a program on a file; its exit code, none where it was killed, and what it said in one line.
fn run(
    program: &'static str,
    arguments: &[&str],
    image: &Path,
) -> Result<(Option<i32>, String), VolumeError> {
    let found = find(program).ok_or(VolumeError::Lacks { program })?;
    let failed = || VolumeError::failed(format!("run `{program}`"));
    let said = memfd_create("said", MemfdFlags::CLOEXEC).map_err(io::Error::from);
    let mut said = File::from(said.map_err(failed())?);
    let copy = || said.try_clone().map(Stdio::from);
    let mut child = Command::new(found)
        .args(arguments)
        .arg(image)
        .env_clear()
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(copy().map_err(failed())?)
        .stderr(copy().map_err(failed())?)
        .spawn()
        .map_err(failed())?;
    if !ends(&child, Instant::now() + LONGEST).map_err(failed())? {
        // It is our own child, so it can be killed, and is waited for.
        let _ = child.kill();
        let _ = child.wait();
        let late = format!("it did not end within {} s", LONGEST.as_secs());
        return Err(failed()(io::Error::other(late)));
    }
    let status = child.wait().map_err(failed())?;
    said.rewind().map_err(failed())?;
    let mut text = Vec::new();
    said.take(SHOWN_BYTES).read_to_end(&mut text).map_err(failed())?;
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Ok((status.code(), lines.join("; ")))
}

/// Waits until a child ends; whether it did by then.
fn ends(child: &Child, deadline: Instant) -> io::Result<bool> {
    let child = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let child = pidfd_open(child.ok_or(Errno::SRCH)?, PidfdFlags::empty())?;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(&child, PollFlags::IN)], Some(&left)) {
            Ok(ended) => return Ok(ended > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes a file system that nobody has as large as its file; one that is that large stays as it is. What `Err` says inside is
/// what is wrong with it.
///
/// Not by the kernel while it is mounted: that asks for a privilege beyond mounting, which root in a container may lack.
pub(crate) fn fill_file(image: &Path, file: &File) -> Result<Result<(), String>, VolumeError> {
    let failed = || VolumeError::failed(format!("read `{}`", image.display()));
    let length = file.metadata().map_err(failed())?.len();
    if length / BLOCK_BYTES <= blocks(file).map_err(failed())? {
        return Ok(Ok(()));
    }
    // It is looked through as a whole before it is changed.
    let (code, said) = run(MEND, &["-f", "-p"], image)?;
    match code {
        Some(0..=3) => {}
        Some(code) if code & 4 != 0 => return Ok(Err(said)),
        _ => return Err(VolumeError::failed(format!("check `{}`", image.display()))(said)),
    }
    let (code, said) = run(GROW, &[], image)?;
    match code {
        Some(0) => Ok(Ok(())),
        _ => Err(VolumeError::failed(format!("grow `{}`", image.display()))(said)),
    }
}

/// How many blocks a file system says that it has (`struct ext4_super_block`, 1 KiB behind the beginning).
fn blocks(file: &File) -> io::Result<u64> {
    let mut superblock = [0; 1024];
    file.read_exact_at(&mut superblock, 1024)?;
    let number = |at: usize| {
        let bytes = superblock[at..at + 4].first_chunk::<4>();
        bytes.map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes)))
    };
    let is_large = number(0x60) & 0x80 != 0;
    let high = if is_large { number(0x150) } else { 0 };
    Ok(high << 32 | number(0x4))
}

/// A mounted file system that takes no writes, until this is dropped.
pub(crate) struct Frozen(OwnedFd);

impl Frozen {
    /// Has everything written reach the file, and lets nothing more be written.
    pub fn freeze(directory: BorrowedFd<'_>) -> io::Result<Self> {
        let directory = directory.try_clone_to_owned()?;
        // SAFETY: the call takes no argument.
        let done = unsafe { libc::ioctl(directory.as_raw_fd(), FIFREEZE as _, 0) };
        if done == 0 { Ok(Self(directory)) } else { Err(io::Error::last_os_error()) }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // SAFETY: as above. What was frozen can be thawed.
        unsafe { libc::ioctl(self.0.as_raw_fd(), FITHAW as _, 0) };
    }
}

/// The root of a detached mount, opened: a descriptor of the mount alone takes no such calls.
pub(crate) fn open_root(filesystem: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    let flags =
        rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::CLOEXEC;
    Ok(rustix::fs::openat(filesystem, ".", flags, rustix::fs::Mode::empty())?)
}
