//! What a path inside an image may be, and how it is read.

use crate::{LayerError, TreePath};

/// Linux's `PATH_MAX`: longer paths could not be opened from inside an instance.
pub const PATH_LEN_MAX: usize = 4096;
/// Linux's `NAME_MAX`, also the limit of ext4, XFS, overlayfs and EROFS.
pub const NAME_LEN_MAX: usize = 255;

impl TreePath {
    /// Parses a canonical relative path; refuses `..`, `.`, empty components and NUL.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, LayerError> {
        let bytes = bytes.into();
        let refuse = |rule| LayerError::Path { path: display(&bytes), rule };
        if bytes.len() > PATH_LEN_MAX {
            return Err(refuse("it is longer than 4096 bytes"));
        }
        if bytes.contains(&0) {
            return Err(refuse("it holds a NUL byte"));
        }
        if !bytes.is_empty() {
            for name in bytes.split(|byte| *byte == b'/') {
                match name {
                    b"" => return Err(refuse("it is absolute or has an empty component")),
                    b"." | b".." => return Err(refuse("it has a `.` or `..` component")),
                    _ if name.len() > NAME_LEN_MAX => {
                        return Err(refuse("a component is longer than 255 bytes"));
                    }
                    _ => {}
                }
            }
        }
        Ok(Self(bytes.into_boxed_slice()))
    }

    /// Parses a path as people and archives write it: `/etc/passwd`, `./etc/passwd`, `etc//x/`.
    ///
    /// Refuses `..`, since what it means depends on symlinks.
    pub fn from_loose(bytes: &[u8]) -> Result<Self, LayerError> {
        let mut clean = Vec::with_capacity(bytes.len());
        for name in bytes.split(|byte| *byte == b'/').filter(|name| !matches!(*name, b"" | b".")) {
            if !clean.is_empty() {
                clean.push(b'/');
            }
            clean.extend_from_slice(name);
        }
        Self::new(clean)
    }

    /// This path with one more component.
    pub fn join(&self, name: &[u8]) -> Result<Self, LayerError> {
        let mut bytes = Vec::with_capacity(self.as_bytes().len() + 1 + name.len());
        bytes.extend_from_slice(self.as_bytes());
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }
}

/// A path for an error text, shortened to 200 bytes.
pub(crate) fn display(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(200)]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_leaves_the_root() {
        for bad in ["/etc", "a//b", "a/", "..", "a/../b", ".", "a/./b", "a\0b"] {
            assert!(TreePath::new(bad).is_err(), "{bad}");
        }
        assert!(TreePath::new("a/".repeat(2048) + "ab").is_err());
        assert!(TreePath::new("a".repeat(256)).is_err());
        assert!(TreePath::from_loose(b"./a/../b").is_err());
    }

    #[test]
    fn loose_paths_become_canonical() {
        for (loose, canonical) in [("/etc/x", "etc/x"), ("./", ""), ("./a//b/", "a/b"), ("/", "")] {
            assert_eq!(
                TreePath::from_loose(loose.as_bytes()).unwrap().as_bytes(),
                canonical.as_bytes()
            );
        }
    }
}
