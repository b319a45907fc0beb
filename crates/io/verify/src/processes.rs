//! The host's processes by the namespaces they are in.

use std::{
    collections::BTreeSet,
    fs, io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{DirEntryExt, MetadataExt},
    },
    path::PathBuf,
};

use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{Result, VerifyError};

/// A process, held by its directory in `/proc`: what is read through it is of that process, or fails once it has ended,
/// also when another one has got its number.
#[derive(Debug)]
pub(crate) struct Process {
    pub pid: u32,
    directory: OwnedFd,
}

impl Process {
    /// Takes hold of it; none where it has ended.
    pub fn open(pid: u32) -> io::Result<Option<Self>> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match openat(CWD, format!("/proc/{pid}"), flags, Mode::empty()) {
            Ok(directory) => Ok(Some(Self { pid, directory })),
            Err(errno) => none_if_gone(errno.into()),
        }
    }

    /// A file of its directory, to be opened by this process.
    pub fn file(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.directory.as_raw_fd()))
    }

    /// Where it is; none where it has ended.
    pub fn spaces(&self) -> io::Result<Option<Spaces>> {
        Spaces::below(&self.file("ns"))
    }

    /// None where it has ended.
    pub fn status(&self) -> Option<Status> {
        status(&fs::read_to_string(self.file("status")).ok()?)
    }

    /// Whether it is there and has not ended.
    pub fn lives(&self) -> bool {
        self.status().is_some_and(|status| !status.zombie)
    }
}

/// The namespaces that make an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spaces {
    pub mounts: u64,
    pub processes: u64,
}

impl Spaces {
    /// Those of a process; none where it has ended.
    pub fn of(pid: impl std::fmt::Display) -> io::Result<Option<Self>> {
        Self::below(&PathBuf::from(format!("/proc/{pid}/ns")))
    }

    fn below(directory: &std::path::Path) -> io::Result<Option<Self>> {
        let inode = |name: &str| match fs::metadata(directory.join(name)) {
            Ok(found) => Ok(Some(found.ino())),
            Err(error) => none_if_gone(error),
        };
        Ok(match (inode("mnt")?, inode("pid")?) {
            (Some(mounts), Some(processes)) => Some(Self { mounts, processes }),
            _ => None,
        })
    }
}

/// Whether an error of `/proc` says that the process has ended.
pub(crate) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn none_if_gone<T>(error: io::Error) -> io::Result<Option<T>> {
    if is_gone(&error) { Ok(None) } else { Err(error) }
}

/// The host's processes, one pass after the other: each pass only has those that no pass before it had.
#[derive(Debug, Default)]
pub(crate) struct Passes {
    /// By number, and by the inode of its directory: the next process of that number has another one.
    seen: BTreeSet<(u32, u64)>,
}

impl Passes {
    /// Calls `see` with each new process at once, while it is still there. One that has ended since it was listed
    /// counts as well: true where there was any that `see` found worth another pass, or that could not be asked.
    pub fn next(&mut self, mut see: impl FnMut(Process) -> Result<bool>) -> Result<bool> {
        let directory = PathBuf::from("/proc");
        let failed = |error| VerifyError::io("list", &directory, error);
        let mut again = false;
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            if !self.seen.insert((pid, entry.ino())) {
                continue;
            }
            let process = Process::open(pid);
            let process =
                process.map_err(|error| VerifyError::io("look at", entry.path(), error))?;
            again |= match process {
                Some(process) => see(process)?,
                None => true,
            };
        }
        Ok(again)
    }
}

/// What `/proc/PID/status` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status {
    pub parent: u32,
    /// Its number in its own namespace.
    pub inner: u32,
    pub zombie: bool,
}

fn status(text: &str) -> Option<Status> {
    let mut status = Status::default();
    for line in text.lines() {
        match line.split_once(':') {
            Some(("PPid", value)) => status.parent = value.trim().parse().ok()?,
            Some(("NSpid", value)) => {
                status.inner = value.split_whitespace().last()?.parse().ok()?
            }
            Some(("State", value)) => status.zombie = value.trim().starts_with(['Z', 'X']),
            _ => {}
        }
    }
    Some(status)
}

/// The host's id of the namespace's user 0; 0 without a user namespace.
pub(crate) fn first_id(pid: u32) -> Result<u32> {
    let path = PathBuf::from(format!("/proc/{pid}/uid_map"));
    let map = fs::read_to_string(&path).map_err(|error| match is_gone(&error) {
        true => VerifyError::NotRunning { pid },
        false => VerifyError::io("read", &path, error),
    })?;
    let mut first = map.split_whitespace();
    Ok(match (first.next(), first.next()) {
        (Some("0"), Some(outside)) => outside.parse().unwrap_or(0),
        _ => 0,
    })
}
