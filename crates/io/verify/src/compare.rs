//! What of one file is compared with its entry in the image, contents apart.

use std::{collections::BTreeSet, os::fd::BorrowedFd};

use hornero_model::Depth;
use hornero_store::{Entry, EntryKind, MODE_MASK};
use rustix::{fs::Statx, io::Errno};

use crate::{
    attributes::{self, Attributes},
    report::{FindingKind, Findings},
};

/// How a tree is compared.
pub(crate) struct Walk<'a> {
    /// The top of the tree.
    pub root: BorrowedFd<'a>,
    pub depth: Depth,
    /// What is not looked at, with all below it, on either side.
    pub ignore: &'a BTreeSet<Vec<u8>>,
    /// What may be there although the image lacks it.
    pub allowed: &'a BTreeSet<Vec<u8>>,
    /// The host's id of the image's user and group 0.
    pub first_id: u32,
}

impl Walk<'_> {
    /// Whether files that are hashed have their attributes compared then.
    pub fn reads_every_attribute(&self) -> bool {
        self.depth == Depth::Full
    }

    /// Whether attributes are compared while walking. Capabilities count on programs only, so a fast look
    /// leaves other files out; full ones read a regular file's when it is open for hashing.
    pub fn reads_attributes_here(&self, entry: &Entry) -> bool {
        let is_file = matches!(entry.kind, EntryKind::File { .. });
        match self.depth {
            Depth::Full => !is_file,
            Depth::Fast => {
                !entry.metadata.xattrs.is_empty() || is_file && entry.metadata.mode & 0o111 != 0
            }
        }
    }

    pub fn compare_attributes(&self, entry: &Entry, found: &Attributes, findings: &mut Findings) {
        if entry.metadata.xattrs != *found {
            let expected = attributes::shown(&entry.metadata.xattrs);
            let path = entry.path.as_bytes();
            findings.push(FindingKind::Attributes, path, expected, attributes::shown(found));
        }
    }

    /// Mode and owner.
    pub fn compare_metadata(&self, entry: &Entry, stat: &Statx, findings: &mut Findings) {
        let (path, metadata) = (entry.path.as_bytes(), &entry.metadata);
        let mode = u32::from(stat.stx_mode) & MODE_MASK;
        // A link's mode means nothing, and file systems differ in it.
        if mode != metadata.mode && !matches!(entry.kind, EntryKind::Symlink { .. }) {
            let (expected, found) = (format!("{:04o}", metadata.mode), format!("{mode:04o}"));
            findings.push(FindingKind::Mode, path, expected, found);
        }
        let outside = |id: u32| id.checked_add(self.first_id);
        let owner = (Some(stat.stx_uid), Some(stat.stx_gid));
        if owner != (outside(metadata.uid), outside(metadata.gid)) {
            let expected = format!("{}:{}", metadata.uid, metadata.gid);
            let found = format!("{}:{}", self.inside(stat.stx_uid), self.inside(stat.stx_gid));
            findings.push(FindingKind::Owner, path, expected, found);
        }
    }

    fn inside(&self, id: u32) -> String {
        match id.checked_sub(self.first_id) {
            Some(inside) => inside.to_string(),
            None => format!("host's {id}"),
        }
    }
}

/// What was there a moment ago and is not now, or is something else.
pub(crate) fn changed_meanwhile(findings: &mut Findings, entry: &Entry, errno: Errno) {
    let path = entry.path.as_bytes();
    match errno {
        Errno::NOENT => findings.push(FindingKind::Removed, path, entry.kind.word(), ""),
        errno => unreadable(findings, path, errno),
    }
}

pub(crate) fn unreadable(findings: &mut Findings, path: &[u8], errno: Errno) {
    let why = std::io::Error::from(errno);
    findings.push(FindingKind::Unreadable, path, "", why.to_string());
}
