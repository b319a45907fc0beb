//! What lies beside `hornero.hcl`, looked at on the real file system.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use hornero_spec::{AtPath, Sources};

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
    }
}
