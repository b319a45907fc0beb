//! What lies beside `hornero.hcl`, looked at on the real file system.

use std::{
    fs::{self, File},
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use hornero_spec::{AtPath, Sources};
use rustix::fs::{Mode, OFlags};

/// The directory of a `hornero.hcl`.
#[derive(Debug, Clone)]
pub struct DirectorySources {
    dir: PathBuf,
}

impl DirectorySources {
    /// Looks below `dir`.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Sources for DirectorySources {
    fn look(&self, path: &str) -> AtPath {
        let path = self.dir.join(path);
        let found = match fs::symlink_metadata(&path) {
            Ok(found) => found,
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return AtPath::Missing;
            }
            Err(error) => return AtPath::Unreadable(error.to_string()),
        };
        if found.is_dir() {
            AtPath::Directory
        } else if found.is_file() {
            AtPath::File
        } else if found.is_symlink() {
            match fs::read_link(&path) {
                Ok(target) => AtPath::Symlink(target.to_string_lossy().into_owned()),
                Err(error) => AtPath::Unreadable(error.to_string()),
            }
        } else {
            AtPath::Other
        }
    }

    fn read(&self, path: &str, most: usize) -> Result<Vec<u8>, String> {
        let failed = |error: io::Error| error.to_string();
        // What it is may have changed since: a pipe is not waited for, a link not followed.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let opened = rustix::fs::open(self.dir.join(path), flags, Mode::empty());
        let file = File::from(opened.map_err(|error| failed(error.into()))?);
        if !file.metadata().map_err(failed)?.is_file() {
            return Err("it is no file any more".to_owned());
        }
        let mut bytes = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_what_is_there() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), "x").unwrap();
        fs::create_dir(dir.path().join("sub")).unwrap();
        std::os::unix::fs::symlink("file", dir.path().join("link")).unwrap();
        let _socket = std::os::unix::net::UnixListener::bind(dir.path().join("socket")).unwrap();
        let sources = DirectorySources::new(dir.path());
        for (path, expected) in [
            ("", AtPath::Directory),
            ("file", AtPath::File),
            ("sub", AtPath::Directory),
            ("link", AtPath::Symlink("file".to_owned())),
            ("socket", AtPath::Other),
            ("none", AtPath::Missing),
            ("file/below", AtPath::Missing),
        ] {
            assert_eq!(sources.look(path), expected, "{path}");
        }
        fs::write(dir.path().join("long"), "0123456789").unwrap();
        assert_eq!(sources.read("file", 4).unwrap(), b"x");
        assert_eq!(
            sources.read("long", 4).unwrap(),
            b"01234",
            "one more tells that it is too long"
        );
        for path in ["none", "sub", "link", "socket"] {
            assert!(sources.read(path, 4).is_err(), "{path}");
        }
    }
}
