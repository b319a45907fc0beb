//! What differs between two trees, path by path.

use std::cmp::Ordering;

use crate::{Entry, EntryKind, Tree};

/// One path that two trees have differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change<'a> {
    /// What happened to it.
    pub kind: ChangeKind,
    /// Its entry in the old tree, none if it was added.
    pub old: Option<&'a Entry>,
    /// Its entry in the new tree, none if it was removed.
    pub new: Option<&'a Entry>,
}

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// Only the new tree has it.
    Added,
    /// Only the old tree has it.
    Removed,
    /// Both have it, and differ in these.
    Changed(Aspects),
}

/// In what an entry differs; at least one is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Aspects {
    /// It is of another kind: a file became a directory, say.
    pub kind: bool,
    /// The bytes of a file, the target of a symlink or the number of a device.
    pub content: bool,
    /// The size of a file; its content then differs as well.
    pub size: bool,
    /// Permission, set-id or sticky bits.
    pub mode: bool,
    /// User or group.
    pub owner: bool,
    /// Modification time.
    pub mtime: bool,
    /// Extended attributes.
    pub xattrs: bool,
}

impl Tree {
    /// All differences between `old` and `new`, sorted by path; reads no contents.
    pub fn diff<'a>(old: &'a Self, new: &'a Self) -> Vec<Change<'a>> {
        let (mut olds, mut news) =
            (old.entries().iter().peekable(), new.entries().iter().peekable());
        let mut changes = Vec::new();
        loop {
            let order = match (olds.peek(), news.peek()) {
                (None, None) => return changes,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.path.cmp(&new.path),
            };
            let old = if order.is_le() { olds.next() } else { None };
            let new = if order.is_ge() { news.next() } else { None };
            let kind = match (old, new) {
                (Some(old), Some(new)) => match aspects(old, new) {
                    Some(aspects) => ChangeKind::Changed(aspects),
                    None => continue,
                },
                (None, _) => ChangeKind::Added,
                (_, None) => ChangeKind::Removed,
            };
            changes.push(Change { kind, old, new });
        }
    }
}

fn aspects(old: &Entry, new: &Entry) -> Option<Aspects> {
    if old == new {
        return None;
    }
    let (before, after) = (&old.metadata, &new.metadata);
    let kind = old.kind.word() != new.kind.word();
    let (content, size) = match (&old.kind, &new.kind) {
        (
            EntryKind::File { digest, size },
            EntryKind::File { digest: new_digest, size: new_size },
        ) => (digest != new_digest, size != new_size),
        _ => (!kind && old.kind != new.kind, false),
    };
    Some(Aspects {
        kind,
        content,
        size,
        mode: before.mode != after.mode,
        owner: (before.uid, before.gid) != (after.uid, after.gid),
        mtime: before.mtime != after.mtime,
        xattrs: before.xattrs != after.xattrs,
    })
}
