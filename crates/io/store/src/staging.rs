//! Files on their way into the store: written aside, synced, then renamed to where they are seen.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::{RenameFlags, renameat_with};

use crate::{
    Result, StoreError,
    format::{LOCKS, STAGING},
    lock::{self, Mode, StoreLease},
    sync,
};

/// A directory for the temporary files of one open store; locked, so that others see it is alive.
#[derive(Debug)]
pub(crate) struct Staging {
    dir: PathBuf,
    next: AtomicU64,
    _alive: StoreLease,
}

impl Staging {
    /// Removes what dead processes left, then makes a directory of its own.
    pub(crate) fn open(store: &Path) -> Result<Self> {
        let parent = store.join(STAGING);
        // Held from making a directory until it is locked, and while others are looked at.
        let _turn = lock::wait(&store.join(LOCKS).join("staging"), Mode::Exclusive)?;
        remove_dead(&parent)?;
        for attempt in 0_u32.. {
            let dir = parent.join(format!("{}-{attempt}", std::process::id()));
            match fs::create_dir(&dir) {
                Ok(()) => {
                    let alive = lock::wait(&dir.join(ALIVE), Mode::Exclusive)?;
                    return Ok(Self { dir, next: AtomicU64::new(0), _alive: alive });
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(StoreError::io("create", dir, error)),
            }
        }
        unreachable!("no process opens a store four billion times at once")
    }

    /// Removes what processes left that died since this store was opened.
    pub(crate) fn remove_dead(store: &Path) -> Result<()> {
        let _turn = lock::wait(&store.join(LOCKS).join("staging"), Mode::Exclusive)?;
        remove_dead(&store.join(STAGING))
    }

    /// A path of no file yet.
    pub(crate) fn fresh(&self) -> PathBuf {
        self.dir.join(format!("{:x}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// A new file with mode 0444 whatever the umask, open for reading and writing.
    pub(crate) fn create(&self) -> Result<(File, PathBuf)> {
        let path = self.fresh();
        let made =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o444).open(&path);
        let file = made.map_err(|error| StoreError::io("create", &path, error))?;
        file.set_permissions(fs::Permissions::from_mode(0o444))
            .map_err(|error| StoreError::io("set the mode of", &path, error))?;
        Ok((file, path))
    }

    /// A new file with these bytes, not yet synced.
    pub(crate) fn write(&self, bytes: &[u8]) -> Result<PathBuf> {
        let (mut file, path) = self.create()?;
        match file.write_all(bytes) {
            Ok(()) => Ok(path),
            Err(error) => {
                // Best effort: the directory goes when the store is closed.
                let _ = fs::remove_file(&path);
                Err(StoreError::io("write", path, error))
            }
        }
    }

    /// Moves a staged file to its name in place of whatever is there, a directory as well.
    pub(crate) fn publish_over(&self, staged: &Path, target: &Path) -> Result<()> {
        let renamed = fs::rename(staged, target);
        if !matches!(&renamed, Err(error) if error.kind() == io::ErrorKind::IsADirectory) {
            return renamed.map_err(|error| StoreError::io("rename", target, error));
        }
        self.discard(target)?;
        fs::rename(staged, target).map_err(|error| StoreError::io("rename", target, error))
    }

    /// Takes away whatever is at a path, a directory as well; says whether there was anything.
    pub(crate) fn discard(&self, target: &Path) -> Result<bool> {
        let aside = self.fresh();
        match fs::rename(target, &aside) {
            Ok(()) => {
                // A directory goes with that of the staging.
                let _ = fs::remove_file(aside);
                Ok(true)
            }
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                Ok(false)
            }
            Err(error) => Err(StoreError::io("remove", target, error)),
        }
    }

    /// Replaces the file at `target` in one step; `durable` also survives power loss once this returns.
    pub(crate) fn replace(&self, target: &Path, bytes: &[u8], durable: bool) -> Result<()> {
        let path = self.write(bytes)?;
        if durable {
            sync::file(&path)?;
        }
        fs::rename(&path, target).map_err(|error| StoreError::io("rename", target, error))?;
        match target.parent() {
            Some(parent) if durable => sync::directory(parent),
            _ => Ok(()),
        }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Best effort: whatever stays is removed when the store is next opened.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// The file whose lock says that the process is alive.
const ALIVE: &str = "alive";

fn remove_dead(parent: &Path) -> Result<()> {
    let entries = fs::read_dir(parent).map_err(|error| StoreError::io("list", parent, error))?;
    for entry in entries {
        let dir = entry.map_err(|error| StoreError::io("list", parent, error))?.path();
        if !dir.is_dir() {
            continue;
        }
        // A store that is being closed removes its own directory meanwhile.
        match lock::attempt(&dir.join(ALIVE), Mode::Exclusive) {
            Ok(None) => {}
            Ok(Some(_dead)) => match fs::remove_dir_all(&dir) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", dir, error));
                }
                _ => {}
            },
            Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Moves a staged file to its name; when one is there already, that one stays.
pub(crate) fn publish_new(staged: &Path, target: &Path) -> Result<()> {
    let cwd = rustix::fs::CWD;
    match renameat_with(cwd, staged, cwd, target, RenameFlags::NOREPLACE) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => {
            fs::remove_file(staged).map_err(|error| StoreError::io("remove", staged, error))
        }
        Err(errno) => Err(StoreError::io("rename", target, errno)),
    }
}
