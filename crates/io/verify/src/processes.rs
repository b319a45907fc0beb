//! The host's processes by the namespaces they are in.

use std::{fs, io, os::unix::fs::MetadataExt, path::PathBuf};

use crate::{Result, VerifyError};

/// One process and where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub pid: u32,
    pub spaces: Spaces,
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
        let inode = |name: &str| match fs::metadata(format!("/proc/{pid}/ns/{name}")) {
            Ok(found) => Ok(Some(found.ino())),
            Err(error) if is_gone(&error) => Ok(None),
            Err(error) => Err(error),
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

/// Every process of the host.
pub(crate) fn all() -> Result<Vec<Process>> {
    let directory = PathBuf::from("/proc");
    let failed = |error| VerifyError::io("list", &directory, error);
    let mut processes = Vec::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        match Spaces::of(pid) {
            Ok(spaces) => processes.extend(spaces.map(|spaces| Process { pid, spaces })),
            // Some hosts hide processes even from root; those of an instance are never among them.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {}
            Err(error) => {
                return Err(VerifyError::io("look at", format!("/proc/{pid}/ns"), error));
            }
        }
    }
    Ok(processes)
}

/// What `/proc/PID/status` says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Status {
    pub parent: u32,
    /// Its number in its own namespace.
    pub inner: u32,
    pub zombie: bool,
}

/// None where it has ended.
pub(crate) fn status(pid: u32) -> Option<Status> {
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
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
