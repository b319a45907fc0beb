//! Work directories that do not outlive their owner.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::{FlockOperation, flock};

/// A directory below `HOME/tmp` that is removed when dropped, or by the next bake when its owner was killed.
pub(crate) struct WorkDir {
    path: PathBuf,
    lock_path: PathBuf,
    _lock: File,
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl WorkDir {
    /// Makes a new one in `parent`.
    pub(crate) fn create(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        loop {
            let number = COUNTER.fetch_add(1, Ordering::Relaxed);
            let name = format!("bake-{}-{number}", std::process::id());
            let path = parent.join(&name);
            let lock_path = parent.join(format!("{name}.lock"));
            let lock =
                OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path)?;
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
                continue;
            }
            // The file may have been cleaned away between opening and locking it.
            let ours = lock.metadata()?;
            if !fs::metadata(&lock_path).is_ok_and(|there| there.ino() == ours.ino()) {
                continue;
            }
            // A directory of that name can only be left from a dead process that had this process's id.
            if path.exists() {
                remove_tree(&path)?;
            }
            fs::create_dir(&path)?;
            return Ok(Self { path, lock_path, _lock: lock });
        }
    }

    /// Its path.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the directories whose owners are dead.
    pub(crate) fn clean(parent: &Path) -> io::Result<()> {
        let entries = match fs::read_dir(parent) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let lock_path = entry?.path();
            let Some(name) = lock_path
                .file_name()
                .and_then(|name| name.to_str())
                .filter(|name| name.starts_with("bake-"))
                .and_then(|name| name.strip_suffix(".lock"))
            else {
                continue;
            };
            let Ok(lock) = OpenOptions::new().write(true).open(&lock_path) else { continue };
            if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok() {
                remove_tree(&parent.join(name))?;
                let _ = fs::remove_file(&lock_path);
            }
        }
        Ok(())
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        let _ = remove_tree(&self.path);
        let _ = fs::remove_file(&self.lock_path);
    }
}

fn remove_tree(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cleans_after_the_dead_only() {
        let home = tempfile::tempdir().unwrap();
        let parent = home.path().join("tmp");
        let alive = WorkDir::create(&parent).unwrap();
        fs::create_dir_all(parent.join("bake-1-1/upper")).unwrap();
        fs::write(parent.join("bake-1-1.lock"), "").unwrap();
        WorkDir::clean(&parent).unwrap();
        assert!(alive.path().is_dir());
        assert!(!parent.join("bake-1-1").exists());
        drop(alive);
        assert_eq!(fs::read_dir(&parent).unwrap().count(), 0);
    }
}
