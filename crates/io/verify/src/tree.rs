//! Comparing a directory with an image, file by file.

use std::{
    collections::BTreeSet,
    os::fd::{AsFd, BorrowedFd},
    path::Path,
    time::Instant,
};

use hornero_model::Digest;
use hornero_store::{Store, Tree, TreePath};
use rustix::fs::{CWD, Mode, OFlags, openat};

use crate::{
    Depth, Report, Result, VerifyError,
    compare::Walk,
    content,
    outline::Outline,
    report::{Checked, Findings},
    walk::{self, SCANNED_MAX},
};

/// Compares the directory `root` with `image`: what was added, removed or changed, by content, mode, owner,
/// kind, link target, device number and extended attributes. Modification times are only a hint: a file
/// that has another time but the same content is equal.
///
/// What is at a path of `ignore`, and all below it, is left out on both sides; volumes are there. Other
/// file systems mounted inside are named and not entered. Nothing outside of `root` is ever read, whatever
/// links and renames happen meanwhile, and no pipe, socket or device is opened.
///
/// # Errors
/// The image or `root` can't be read, or `root` has more than four million files.
pub fn verify_tree(
    store: &Store,
    image: &Digest,
    root: &Path,
    depth: Depth,
    ignore: &[TreePath],
) -> Result<Report> {
    let began = Instant::now();
    let tree = store.tree(image)?;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let top = openat(CWD, root, flags, Mode::empty())
        .map_err(|errno| VerifyError::io("open", root, errno))?;
    let ignore = ignore.iter().map(|path| path.as_bytes().to_vec()).collect();
    let scope = Scope { depth, ignore, ..Scope::default() };
    let (findings, checked) = compare(&tree, top.as_fd(), &scope)
        .ok_or_else(|| VerifyError::TooLarge { path: root.to_owned(), limit: SCANNED_MAX })?;
    Ok(Report::of(findings, checked, began))
}

/// What of a tree is compared, and how.
#[derive(Default)]
pub(crate) struct Scope {
    pub depth: Depth,
    pub ignore: BTreeSet<Vec<u8>>,
    pub allowed: BTreeSet<Vec<u8>>,
    pub first_id: u32,
}

/// Compares an open directory; none where it has too many files.
pub(crate) fn compare(
    tree: &Tree,
    root: BorrowedFd<'_>,
    scope: &Scope,
) -> Option<(Findings, Checked)> {
    let outline = Outline::new(tree);
    let walk = Walk {
        root,
        depth: scope.depth,
        ignore: &scope.ignore,
        allowed: &scope.allowed,
        first_id: scope.first_id,
    };
    let seen = walk::run(&outline, &walk)?;
    let (mut findings, mut checked) = content::compare(&outline, &walk, seen.candidates);
    findings.append(seen.findings);
    checked.add(&seen.checked);
    Some((findings, checked))
}
