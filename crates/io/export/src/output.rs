//! The file being written: without a name, or under a temporary one, until it is whole.

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io,
    os::{
        fd::AsRawFd,
        unix::fs::{FileExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, CWD, Mode, OFlags, RenameFlags, linkat, open, renameat_with},
    io::Errno,
};

use crate::ExportError;

/// What [`Output::finish`] moves to its name.
#[derive(Debug)]
pub(crate) struct Output {
    file: File,
    target: PathBuf,
    overwrite: bool,
    /// The name it has meanwhile, on file systems that need one.
    temporary: Option<PathBuf>,
}

impl Output {
    /// A new file that is to become `target`.
    pub(crate) fn create(target: &Path, overwrite: bool) -> Result<Self, ExportError> {
        match fs::symlink_metadata(target) {
            Ok(found) if !found.is_file() => return Err(ExportError::NoFile(target.into())),
            Ok(_) if !overwrite => return Err(ExportError::Exists(target.into())),
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(ExportError::io("look at", target, error));
            }
            _ => {}
        }
        let parent = match target.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let (file, temporary) = match open(parent, flags, Mode::from_raw_mode(0o666)) {
            Ok(file) => (File::from(file), None),
            // Not every file system has files without a name.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::INVAL) => {
                let (file, path) = create_named(target)?;
                (file, Some(path))
            }
            Err(errno) => return Err(ExportError::io("create a file in", parent, errno)),
        };
        Ok(Self { file, target: target.into(), overwrite, temporary })
    }

    /// The file, for writing at any offset.
    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// An error of writing it.
    pub(crate) fn failed(&self, source: impl Into<io::Error>) -> ExportError {
        ExportError::io("write", &self.target, source)
    }

    /// Writes all of `bytes` at `offset`.
    pub(crate) fn write_at(&self, bytes: &[u8], offset: u64) -> Result<(), ExportError> {
        self.file.write_all_at(bytes, offset).map_err(|error| self.failed(error))
    }

    /// Sets the size; what was not written reads as zeros.
    pub(crate) fn set_len(&self, len: u64) -> Result<(), ExportError> {
        self.file.set_len(len).map_err(|error| self.failed(error))
    }

    /// Gives the file its name; returns its size.
    pub(crate) fn finish(mut self) -> Result<u64, ExportError> {
        let len = self.file.metadata().map_err(|error| self.failed(error))?.len();
        match self.temporary.take() {
            Some(path) => self.rename(&path)?,
            None if self.link(&self.target)? => {}
            None if !self.overwrite => return Err(ExportError::Exists(self.target.clone())),
            None => {
                let path = loop {
                    let path = temporary_name(&self.target);
                    if self.link(&path)? {
                        break path;
                    }
                };
                self.rename(&path)?;
            }
        }
        Ok(len)
    }

    /// Links the file without a name to `path`; false when that is taken.
    fn link(&self, path: &Path) -> Result<bool, ExportError> {
        let own = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        match linkat(CWD, own.as_str(), CWD, path, AtFlags::SYMLINK_FOLLOW) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Ok(false),
            Err(errno) => Err(ExportError::io("create", path, errno)),
        }
    }

    fn rename(&self, path: &Path) -> Result<(), ExportError> {
        let result = if self.overwrite {
            fs::rename(path, &self.target)
        } else {
            renameat_with(CWD, path, CWD, &self.target, RenameFlags::NOREPLACE)
                .map_err(io::Error::from)
        };
        result.map_err(|error| {
            // Best effort: the error to tell is the one of renaming.
            let _ = fs::remove_file(path);
            match error.kind() {
                io::ErrorKind::AlreadyExists => ExportError::Exists(self.target.clone()),
                _ => ExportError::io("create", &self.target, error),
            }
        })
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        if let Some(path) = &self.temporary {
            // Best effort: it is under a name that says what it is.
            let _ = fs::remove_file(path);
        }
    }
}

fn create_named(target: &Path) -> Result<(File, PathBuf), ExportError> {
    loop {
        let path = temporary_name(target);
        let made =
            OpenOptions::new().read(true).write(true).create_new(true).mode(0o666).open(&path);
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            made => {
                return match made {
                    Ok(file) => Ok((file, path)),
                    Err(error) => Err(ExportError::io("create", path, error)),
                };
            }
        }
    }
}

/// A name beside the target, in the same file system.
fn temporary_name(target: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    name.push(format!(".{}-{number}.partial", std::process::id()));
    target.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn appears_when_it_is_finished() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let output = Output::create(&path, false).unwrap();
        output.write_at(b"new", 2).unwrap();
        assert!(!path.exists());
        assert_eq!(output.finish().unwrap(), 5);
        assert_eq!(fs::read(&path).unwrap(), b"\0\0new");
        assert!(matches!(Output::create(&path, false), Err(ExportError::Exists(_))));
        let output = Output::create(&path, true).unwrap();
        output.write_at(b"other", 0).unwrap();
        drop(output);
        assert_eq!(fs::read(&path).unwrap(), b"\0\0new", "what is not finished changes nothing");
        let output = Output::create(&path, true).unwrap();
        output.write_at(b"other", 0).unwrap();
        output.finish().unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"other");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn refuses_what_came_meanwhile_and_what_is_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out");
        let output = Output::create(&path, false).unwrap();
        fs::write(&path, "theirs").unwrap();
        assert!(matches!(output.finish(), Err(ExportError::Exists(_))));
        assert_eq!(fs::read(&path).unwrap(), b"theirs");
        assert!(matches!(Output::create(dir.path(), true), Err(ExportError::NoFile(_))));
        let link = dir.path().join("link");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        assert!(matches!(Output::create(&link, true), Err(ExportError::NoFile(_))));
    }
}
