//! Layers: canonical, sorted lists of entries, and the rules that every layer keeps.
//!
//! Hard links are stored as equal files: contents are shared by digest anyway, an overlay breaks a
//! link at the first write, and a whiteout of one name could not say what becomes of the other.

use std::collections::BTreeMap;

use hornero_model::Digest;

use crate::TreePath;

/// An image of a million files is ten times a full desktop; a larger list is a mistake or an attack.
pub const ENTRY_COUNT_MAX: usize = 2_000_000;
/// Linux's `PATH_MAX` less the final NUL.
pub const SYMLINK_LEN_MAX: usize = 4095;
/// Linux's `XATTR_NAME_MAX`.
pub const XATTR_NAME_LEN_MAX: usize = 255;
/// Together with its name an attribute has to fit an inode's attribute area, 65,535 words in EROFS;
/// ext4 itself allows about 4 KiB, and real ones (capabilities, access lists) have under 1 KiB.
pub const XATTR_VALUE_LEN_MAX: usize = 16 * 1024;
/// Of one entry; real ones have one or two.
pub const XATTR_COUNT_MAX: usize = 64;
/// Permission, set-id and sticky bits.
pub const MODE_MASK: u32 = 0o7777;
/// The largest modification time, so that it stays positive as signed seconds everywhere.
pub const MTIME_MAX: u64 = i64::MAX as u64;

/// What one path of a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EntryKind {
    /// A directory; an opaque one hides everything that lower layers have below this path.
    Directory {
        /// Whether lower layers' entries below it are hidden.
        opaque: bool,
    },
    /// A regular file, its content an object of the store.
    File {
        /// Digest of the content.
        digest: Digest,
        /// Size of the content in bytes.
        size: u64,
    },
    /// A symbolic link and the bytes it points to.
    Symlink {
        /// 1 to 4095 bytes without NUL.
        target: Box<[u8]>,
    },
    /// A named pipe.
    Fifo,
    /// A character device; 0:0 is refused, since overlayfs reads it as a whiteout.
    CharDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    BlockDevice {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// Removes the path, and all below it, that lower layers have. Its metadata is empty.
    Whiteout,
}

impl EntryKind {
    /// The word for it in messages.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Directory { .. } => "directory",
            Self::File { .. } => "file",
            Self::Symlink { .. } => "symlink",
            Self::Fifo => "fifo",
            Self::CharDevice { .. } => "character device",
            Self::BlockDevice { .. } => "block device",
            Self::Whiteout => "whiteout",
        }
    }

    /// Whether other entries may lie below it.
    pub fn is_directory(&self) -> bool {
        matches!(self, Self::Directory { .. })
    }
}

/// Owner, permissions, time and extended attributes of an entry.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Metadata {
    /// Permission, set-id and sticky bits, at most `0o7777`.
    pub mode: u32,
    /// Owner as seen inside an instance.
    pub uid: u32,
    /// Group as seen inside an instance.
    pub gid: u32,
    /// Modification time in whole seconds since 1970; clamped when captured.
    pub mtime: u64,
    /// Extended attributes by full name, such as `security.capability`.
    pub xattrs: BTreeMap<Box<[u8]>, Box<[u8]>>,
}

impl Metadata {
    /// Metadata owned by root, without extended attributes.
    pub fn root_owned(mode: u32, mtime: u64) -> Self {
        Self { mode, mtime, ..Self::default() }
    }
}

/// One path of a layer or tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Where it is.
    pub path: TreePath,
    /// What it is.
    pub kind: EntryKind,
    /// Whose it is.
    pub metadata: Metadata,
}

/// Why a layer is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LayerError {
    /// A path breaks a rule.
    #[error("path `{path}` is refused: {rule}")]
    Path {
        /// The path, shortened.
        path: String,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// An entry breaks a rule.
    #[error("entry `{path}` is refused: {rule}")]
    Entry {
        /// Its path.
        path: TreePath,
        /// The rule it breaks.
        rule: &'static str,
    },
    /// Entries are out of order or one path appears twice.
    #[error("entry `{0}` is out of order or appears twice")]
    Order(TreePath),
    /// Too many entries.
    #[error("it has more than {ENTRY_COUNT_MAX} entries")]
    TooMany,
    /// The encoded bytes do not follow the format.
    #[error("byte {offset} of its encoding is refused: {rule}")]
    Encoding {
        /// Offset from the beginning.
        offset: usize,
        /// What was expected.
        rule: &'static str,
    },
}

/// A canonical list of entries: sorted by path, no path twice, nothing below what is no directory.
///
/// Parents need not be listed: merging takes them from lower layers, or makes them `root:root 0755`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layer {
    entries: Vec<Entry>,
}

impl Layer {
    /// Sorts and checks entries in any order.
    pub fn from_entries(mut entries: Vec<Entry>) -> Result<Self, LayerError> {
        entries.sort_by(|one, two| one.path.cmp(&two.path));
        Self::from_sorted(entries)
    }

    /// Checks entries that are sorted already.
    pub fn from_sorted(entries: Vec<Entry>) -> Result<Self, LayerError> {
        if entries.len() > ENTRY_COUNT_MAX {
            return Err(LayerError::TooMany);
        }
        let mut ceiling: Option<&TreePath> = None;
        for (index, entry) in entries.iter().enumerate() {
            check_entry(entry)?;
            if index > 0 && entries[index - 1].path >= entry.path {
                return Err(LayerError::Order(entry.path.clone()));
            }
            match ceiling {
                Some(above) if entry.path.is_below(above) => {
                    let rule = "it lies below an entry that is no directory";
                    return Err(LayerError::Entry { path: entry.path.clone(), rule });
                }
                _ => ceiling = (!entry.kind.is_directory()).then_some(&entry.path),
            }
        }
        Ok(Self { entries })
    }

    /// The entries, sorted by path.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The entries, taken out.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// The identity: the SHA-256 of [`Layer::encode`].
    pub fn digest(&self) -> Digest {
        Digest::of(&self.encode())
    }

    /// Every content the layer's files have, in path order; equal contents repeat.
    pub fn contents(&self) -> impl Iterator<Item = (Digest, u64)> {
        contents(&self.entries)
    }
}

/// Every file content among `entries`.
pub(crate) fn contents(entries: &[Entry]) -> impl Iterator<Item = (Digest, u64)> {
    entries.iter().filter_map(|entry| match entry.kind {
        EntryKind::File { digest, size } => Some((digest, size)),
        _ => None,
    })
}

/// Whether images can carry an attribute of this name: the namespaces that EROFS has a number for.
pub fn is_storable_xattr(name: &[u8]) -> bool {
    let named = |prefix: &[u8]| name.len() > prefix.len() && name.starts_with(prefix);
    name.len() <= XATTR_NAME_LEN_MAX
        && !name.contains(&0)
        && (named(b"user.")
            || named(b"trusted.")
            || named(b"security.")
            || matches!(name, b"system.posix_acl_access" | b"system.posix_acl_default"))
}

fn check_entry(entry: &Entry) -> Result<(), LayerError> {
    let refuse = |rule| Err(LayerError::Entry { path: entry.path.clone(), rule });
    let metadata = &entry.metadata;
    if entry.path.is_root() && !entry.kind.is_directory() {
        return refuse("the root has to be a directory");
    }
    if metadata.mode & !MODE_MASK != 0 {
        return refuse("its mode has bits beyond 7777");
    }
    if metadata.mtime > MTIME_MAX {
        return refuse("its modification time is out of range");
    }
    if metadata.xattrs.len() > XATTR_COUNT_MAX {
        return refuse("it has more than 64 extended attributes");
    }
    for (name, value) in &metadata.xattrs {
        if !is_storable_xattr(name) {
            return refuse("it has an extended attribute of a name that images cannot carry");
        }
        if value.len() > XATTR_VALUE_LEN_MAX {
            return refuse("it has an extended attribute of more than 16 KiB");
        }
    }
    match &entry.kind {
        EntryKind::Symlink { target }
            if target.is_empty() || target.len() > SYMLINK_LEN_MAX || target.contains(&0) =>
        {
            refuse("its target is empty, longer than 4095 bytes or holds a NUL byte")
        }
        EntryKind::CharDevice { major: 0, minor: 0 } => {
            refuse("character device 0:0 means a whiteout to overlayfs")
        }
        EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor }
            if *major >= 1 << 12 || *minor >= 1 << 20 =>
        {
            refuse("its device number does not fit 12 and 20 bits")
        }
        EntryKind::File { size, .. } if *size > MTIME_MAX => refuse("its size is out of range"),
        EntryKind::Whiteout if *metadata != Metadata::default() => {
            refuse("a whiteout has no metadata")
        }
        _ => Ok(()),
    }
}
