//! Paths inside an image: bytes, relative to its root, never leaving it.

use std::{cmp::Ordering, fmt};

use crate::LayerError;

/// Linux's `PATH_MAX`: longer paths could not be opened from inside an instance.
pub const PATH_LEN_MAX: usize = 4096;
/// Linux's `NAME_MAX`, also the limit of ext4, XFS, overlayfs and EROFS.
pub const NAME_LEN_MAX: usize = 255;

/// A path of an image such as `etc/passwd`, without a leading slash; empty for the root directory.
///
/// Ordered by components, so that a directory comes before what it holds and its whole subtree is
/// one contiguous run of a sorted list.
#[derive(Clone, PartialEq, Eq, Hash, Default)]
pub struct TreePath(Box<[u8]>);

impl TreePath {
    /// The root directory.
    pub fn root() -> Self {
        Self::default()
    }

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

    /// The bytes, without a leading slash.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is the root directory.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// The components from the top down; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|name| !name.is_empty())
    }

    /// The last component; empty for the root.
    pub fn name(&self) -> &[u8] {
        let start = self.0.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1);
        &self.0[start..]
    }

    /// The directory that holds it; none for the root.
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let end = self.0.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        Some(Self(self.0[..end].into()))
    }

    /// This path with one more component.
    pub fn join(&self, name: &[u8]) -> Result<Self, LayerError> {
        let mut bytes = Vec::with_capacity(self.0.len() + 1 + name.len());
        bytes.extend_from_slice(&self.0);
        if !bytes.is_empty() {
            bytes.push(b'/');
        }
        bytes.extend_from_slice(name);
        Self::new(bytes)
    }

    /// Whether `self` lies strictly below `ancestor`.
    pub fn is_below(&self, ancestor: &Self) -> bool {
        if ancestor.is_root() {
            return !self.is_root();
        }
        self.0.len() > ancestor.0.len()
            && self.0.starts_with(&ancestor.0)
            && self.0[ancestor.0.len()] == b'/'
    }
}

impl Ord for TreePath {
    fn cmp(&self, other: &Self) -> Ordering {
        // `/` counts as the smallest byte: comparing so is comparing component by component.
        let rank = |byte: u8| if byte == b'/' { 0 } else { byte };
        let common = self.0.iter().zip(&other.0).find(|(one, two)| one != two);
        match common {
            Some((one, two)) => rank(*one).cmp(&rank(*two)),
            None => self.0.len().cmp(&other.0.len()),
        }
    }
}

impl PartialOrd for TreePath {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Absolute, for people; bytes that are no UTF-8 are replaced.
impl fmt::Display for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "/{}", String::from_utf8_lossy(&self.0))
    }
}

impl fmt::Debug for TreePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
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

    #[test]
    fn subtrees_are_contiguous() {
        let mut paths: Vec<_> = ["a-b", "a/c", "a", "", "a/b/x", "a/b", "a.d", "a/b-c"]
            .map(|p| TreePath::new(p).unwrap())
            .into();
        paths.sort();
        let sorted: Vec<_> = paths
            .iter()
            .map(|path| String::from_utf8_lossy(path.as_bytes()).into_owned())
            .collect();
        assert_eq!(sorted, ["", "a", "a/b", "a/b/x", "a/b-c", "a/c", "a-b", "a.d"]);
    }
}
