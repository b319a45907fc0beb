//! A home at another path. Control, edge, shims, bridge, table, control groups and host ids are all named by the home's
//! path, and shims go on writing to it: so nothing of a home may run while it moves.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FlockOperation, RenameFlags, flock, renameat_with},
    io::Errno,
};

use crate::{CareError, error::failed};

/// What of a home runs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Living {
    /// Whether control owns the home.
    pub control: bool,
    /// Whether an edge answers for it.
    pub edge: bool,
    /// Instances whose shims live.
    pub instances: Vec<String>,
}

impl Living {
    /// Whether nothing runs.
    pub fn is_empty(&self) -> bool {
        !self.control && !self.edge && self.instances.is_empty()
    }

    fn told(&self) -> String {
        let mut parts = Vec::new();
        if self.control {
            parts.push("control runs".to_owned());
        }
        if self.edge {
            parts.push("the edge runs".to_owned());
        }
        if !self.instances.is_empty() {
            parts.push(format!(
                "{} servers run, whose mounts, addresses and logs are named by this path",
                self.instances.len()
            ));
        }
        parts.join(", ")
    }
}

/// What of a home runs at this moment.
///
/// # Errors
/// Where that can't be seen.
pub fn living(home: &Path) -> Result<Living, CareError> {
    let mut living = Living { control: is_held(&home.join("control.lock"))?, ..Living::default() };
    living.edge = std::os::unix::net::UnixStream::connect(home.join("edge/admin.sock")).is_ok();
    let instances = home.join("instances");
    let entries = match fs::read_dir(&instances) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(living),
        entries => entries.map_err(failed("list", &instances))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed("list", &instances))?;
        if is_locked(&entry.path().join("shim.pid"))? {
            living.instances.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    living.instances.sort();
    Ok(living)
}

/// Moves a home of which nothing runs to `to`, which is not there, on the same file system; in one step.
///
/// # Errors
/// Where anything of it runs, `to` is there or on another file system. Then the home is where it was.
pub fn relocate(home: &Path, to: &Path) -> Result<PathBuf, CareError> {
    let to = hornero_home::resolve(to)?;
    if !home.is_dir() {
        return Err(CareError::NoHome { path: home.to_owned() });
    }
    let runs = living(home)?;
    if !runs.is_empty() {
        return Err(CareError::InUse { path: home.to_owned(), holders: runs.told() });
    }
    // Held over the move, so that no control begins meanwhile; its file moves with the home.
    let lock = hornero_home::open(&home.join("control.lock"), hornero_home::Opening::Create)
        .map_err(failed("lock", home))?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| CareError::InUse {
        path: home.to_owned(),
        holders: "control runs".to_owned(),
    })?;
    let parent = to.parent().unwrap_or(Path::new("/"));
    fs::create_dir_all(parent).map_err(failed("make", parent))?;
    let cwd = rustix::fs::CWD;
    match renameat_with(cwd, home, cwd, &to, RenameFlags::NOREPLACE) {
        Ok(()) => {}
        Err(Errno::EXIST | Errno::NOTEMPTY) => return Err(CareError::NotEmpty { path: to }),
        Err(Errno::XDEV) => {
            return Err(CareError::OtherFileSystem { from: home.to_owned(), to });
        }
        Err(error) => return Err(failed("move", home)(error.into())),
    }
    for directory in [parent, home.parent().unwrap_or(Path::new("/"))] {
        fs::File::open(directory)
            .and_then(|opened| opened.sync_all())
            .map_err(failed("sync", directory))?;
    }
    Ok(to)
}

/// Whether somebody holds the lock of control.
pub(crate) fn is_held(path: &Path) -> Result<bool, CareError> {
    let file = match hornero_home::open(path, hornero_home::Opening::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        file => file.map_err(failed("open", path))?,
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(failed("lock", path)(error.into())),
    }
}

/// Whether a shim holds its lock.
fn is_locked(path: &Path) -> Result<bool, CareError> {
    let file = match hornero_home::open(path, hornero_home::Opening::Change) {
        Err(error)
            if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) =>
        {
            return Ok(false);
        }
        file => file.map_err(failed("open", path))?,
    };
    match rustix::fs::fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(false),
        Err(Errno::AGAIN | Errno::ACCESS) => Ok(true),
        Err(error) => Err(failed("lock", path)(error.into())),
    }
}
