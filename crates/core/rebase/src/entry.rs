//! Paths of layers and what is at them, as far as a proof looks at it.

use std::fmt;

use hornero_model::Digest;

/// One path of a layer; paths are relative to the root and have no leading slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: Box<[u8]>,
    /// What it is.
    pub kind: Kind,
    /// Permission, set-id and sticky bits.
    pub mode: u32,
    /// Its owner.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// The digest of its extended attributes; None where it has none.
    pub attributes: Option<Digest>,
}

/// What a path is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A directory; an opaque one hides what lies below its path in lower layers.
    Directory {
        /// Whether it hides that.
        opaque: bool,
    },
    /// A regular file.
    File {
        /// Its content.
        digest: Digest,
    },
    /// A symbolic link.
    Symlink {
        /// Where it leads.
        target: Box<[u8]>,
    },
    /// A pipe or a device.
    Special {
        /// The word for it, with its numbers.
        word: Box<str>,
    },
    /// Removes the path of lower layers.
    Whiteout,
}

impl Entry {
    /// A directory that no layer lists, though some have files in it.
    pub(crate) fn implied(path: &[u8]) -> Self {
        let kind = Kind::Directory { opaque: false };
        Self { path: path.into(), kind, mode: 0o755, uid: 0, gid: 0, attributes: None }
    }

    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory { .. })
    }

    /// Whether two entries are the same to whoever uses them; times do not count.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let kind = match (&self.kind, &other.kind) {
            (Kind::Directory { .. }, Kind::Directory { .. }) => true,
            (one, two) => one == two,
        };
        // The mode of a symlink means nothing.
        let mode = self.mode == other.mode || matches!(self.kind, Kind::Symlink { .. });
        kind && mode
            && (self.uid, self.gid) == (other.uid, other.gid)
            && self.attributes == other.attributes
    }
}

/// What differs in `other`, for people: both sides at the first aspect that is not the same.
pub(crate) fn differ(one: &Entry, other: &Entry) -> (String, String) {
    let kinds_differ = match (&one.kind, &other.kind) {
        (Kind::Directory { .. }, Kind::Directory { .. }) => false,
        (one, two) => one != two,
    };
    if kinds_differ {
        return (one.kind.to_string(), other.kind.to_string());
    }
    if one.mode != other.mode && !matches!(one.kind, Kind::Symlink { .. }) {
        return (format!("mode {:04o}", one.mode), format!("mode {:04o}", other.mode));
    }
    if (one.uid, one.gid) != (other.uid, other.gid) {
        let owner = |entry: &Entry| format!("owner {}:{}", entry.uid, entry.gid);
        return (owner(one), owner(other));
    }
    ("its extended attributes".to_owned(), "other ones".to_owned())
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { .. } => f.write_str("a directory"),
            Self::File { digest } => write!(f, "a file with content {}", digest.short()),
            Self::Symlink { target } => {
                write!(f, "a symlink to `{}`", String::from_utf8_lossy(target))
            }
            Self::Special { word } => write!(f, "a {word}"),
            Self::Whiteout => f.write_str("nothing"),
        }
    }
}

/// A path as people read it.
pub(crate) fn shown(path: &[u8]) -> String {
    format!("/{}", String::from_utf8_lossy(path))
}

/// The directory that holds a path; None for the root.
pub(crate) fn parent(path: &[u8]) -> Option<&[u8]> {
    if path.is_empty() {
        return None;
    }
    Some(&path[..path.iter().rposition(|byte| *byte == b'/').unwrap_or(0)])
}

/// The last component of a path.
pub(crate) fn name(path: &[u8]) -> &[u8] {
    &path[path.iter().rposition(|byte| *byte == b'/').map_or(0, |at| at + 1)..]
}

/// Two paths as one.
pub(crate) fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    if dir.is_empty() {
        return name.to_vec();
    }
    [dir, b"/", name].concat()
}
