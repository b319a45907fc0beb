//! Walking a directory beside the image's tree, one look at each file.
//!
//! Every directory is opened anew from the top with all links refused, so that a tree changed under the
//! walk leads nowhere else; what is no regular file or directory is never opened.

use std::{
    mem::MaybeUninit,
    os::fd::{AsFd, BorrowedFd},
    sync::{
        Condvar, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use hornero_model::Depth;
use hornero_store::{ENTRY_COUNT_MAX, Entry, EntryKind};
use rustix::fs::{AtFlags, FileType, OFlags, RawDir, Statx, StatxAttributes, StatxFlags, statx};

use crate::{
    attributes,
    compare::{Walk, changed_meanwhile, unreadable},
    content::{self, Candidate, open_below},
    outline::Outline,
    report::{Checked, FindingKind, Findings},
};

/// Twice what an image can have: a tree with more is another one, or endless.
pub(crate) const SCANNED_MAX: usize = 2 * ENTRY_COUNT_MAX;
/// Room for some hundred names a call.
const NAMES_BYTES: usize = 32 * 1024;

/// What the walk saw.
#[derive(Default)]
pub(crate) struct Seen {
    pub findings: Findings,
    pub candidates: Vec<Candidate>,
    pub checked: Checked,
}

/// A directory to be listed.
struct Directory {
    path: Vec<u8>,
    /// Its entry in the image, if it has one.
    entry: Option<u32>,
}

/// Directories still to be listed, shared by all threads.
struct Queue {
    state: Mutex<QueueState>,
    changed: Condvar,
}

struct QueueState {
    pending: Vec<Directory>,
    /// Threads that may still add some.
    busy: usize,
}

impl Queue {
    fn next(&self) -> Option<Directory> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(directory) = state.pending.pop() {
                state.busy += 1;
                return Some(directory);
            }
            if state.busy == 0 {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn done(&self, found: &mut Vec<Directory>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.busy -= 1;
        let wake = found.len() > 1 || state.busy == 0;
        state.pending.append(found);
        drop(state);
        if wake {
            self.changed.notify_all();
        }
    }
}

/// Something a directory holds.
struct Item {
    name: Vec<u8>,
    inode: u64,
    stat: Option<Statx>,
}

/// Compares everything but contents; none where the tree has too many files.
pub(crate) fn run(outline: &Outline<'_>, walk: &Walk<'_>) -> Option<Seen> {
    let top = Directory { path: Vec::new(), entry: Some(0) };
    let queue = Queue {
        state: Mutex::new(QueueState { pending: vec![top], busy: 0 }),
        changed: Condvar::new(),
    };
    let scanned = AtomicUsize::new(0);
    let all = Mutex::new(Seen::default());
    let work = || {
        let mut seen = Seen::default();
        let mut names = vec![MaybeUninit::uninit(); NAMES_BYTES];
        let mut found = Vec::new();
        while let Some(directory) = queue.next() {
            let within = scanned.load(Ordering::Relaxed) <= SCANNED_MAX;
            if within {
                let scan = Scan { outline, walk, directory: &directory };
                let count = scan.run(&mut names, &mut seen, &mut found);
                scanned.fetch_add(count, Ordering::Relaxed);
            }
            queue.done(&mut found);
        }
        let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
        all.findings.append(seen.findings);
        all.candidates.append(&mut seen.candidates);
        all.checked.add(&seen.checked);
    };
    thread::scope(|scope| {
        for _ in 1..content::threads() {
            scope.spawn(work);
        }
        work();
    });
    let within = scanned.into_inner() <= SCANNED_MAX;
    within.then(|| all.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The listing of one directory.
struct Scan<'s, 'a> {
    outline: &'s Outline<'s>,
    walk: &'s Walk<'a>,
    directory: &'s Directory,
}

impl Scan<'_, '_> {
    /// Says how many names it saw.
    fn run(
        &self,
        names: &mut [MaybeUninit<u8>],
        seen: &mut Seen,
        found: &mut Vec<Directory>,
    ) -> usize {
        let path = &self.directory.path;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOATIME;
        let listed = open_below(self.walk.root, path, flags)
            .and_then(|opened| Ok((list(opened.as_fd(), names)?, opened)));
        let (mut items, opened) = match listed {
            Ok(listed) => listed,
            Err(errno) => {
                match self.directory.entry {
                    Some(index) => {
                        changed_meanwhile(&mut seen.findings, self.outline.entry(index), errno);
                    }
                    None => unreadable(&mut seen.findings, path, errno),
                }
                return 0;
            }
        };
        if self.directory.entry == Some(0) {
            self.top(opened.as_fd(), seen);
        }
        // Close to how they lie on a disk.
        items.sort_unstable_by_key(|item| item.inode);
        for item in &mut items {
            item.stat = look(opened.as_fd(), &item.name).ok();
        }
        items.sort_unstable_by(|one, other| one.name.cmp(&other.name));
        let expected = self.directory.entry.map_or(&[][..], |index| self.outline.children(index));
        self.merge(opened.as_fd(), expected, &items, seen, found);
        items.len()
    }

    fn top(&self, opened: BorrowedFd<'_>, seen: &mut Seen) {
        let entry = self.outline.entry(0);
        match look(opened, b"") {
            Ok(stat) => {
                seen.checked.entries += 1;
                self.walk.compare_metadata(entry, &stat, &mut seen.findings);
            }
            Err(errno) => changed_meanwhile(&mut seen.findings, entry, errno),
        }
    }

    /// One pass over both sorted lists.
    fn merge(
        &self,
        opened: BorrowedFd<'_>,
        expected: &[u32],
        items: &[Item],
        seen: &mut Seen,
        found: &mut Vec<Directory>,
    ) {
        let mut expected = expected.iter().copied().peekable();
        // What can't be looked at is gone since it was listed.
        let items = items.iter().filter_map(|item| Some((item, item.stat.as_ref()?)));
        for (item, stat) in items {
            while let Some(index) = expected
                .next_if(|index| self.outline.entry(*index).path.name() < item.name.as_slice())
            {
                self.removed(index, seen);
            }
            let index = expected
                .next_if(|index| self.outline.entry(*index).path.name() == item.name.as_slice());
            let path = join(&self.directory.path, &item.name);
            if self.walk.ignore.contains(&path) {
                continue;
            }
            if stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
                let found = format!("another file system, on a {}", word(stat));
                seen.findings.push(FindingKind::Mount, &path, "", found);
                continue;
            }
            match index {
                Some(index) => self.both(opened, index, item, stat, seen),
                None if self.walk.allowed.contains(&path) => {}
                None => seen.findings.push(FindingKind::Added, &path, "", word(stat)),
            }
            if file_type(stat) == FileType::Directory {
                let entry = index.filter(|index| self.outline.entry(*index).kind.is_directory());
                found.push(Directory { path, entry });
            } else if let Some(index) = index {
                // A directory that is none any more has lost all it held.
                self.outline.children(index).iter().for_each(|child| self.removed(*child, seen));
            }
        }
        expected.for_each(|index| self.removed(index, seen));
    }

    fn removed(&self, index: u32, seen: &mut Seen) {
        let top = self.outline.entry(index);
        let below = self.outline.tree().below(&top.path);
        let mut skipped: Option<&Entry> = None;
        for entry in std::iter::once(top).chain(below) {
            if skipped.is_some_and(|skipped| entry.path.is_below(&skipped.path)) {
                continue;
            }
            let path = entry.path.as_bytes();
            if self.walk.ignore.contains(path) {
                skipped = Some(entry);
                continue;
            }
            seen.checked.entries += 1;
            seen.findings.push(FindingKind::Removed, path, entry.kind.word(), "");
        }
    }

    fn both(&self, opened: BorrowedFd<'_>, index: u32, item: &Item, stat: &Statx, seen: &mut Seen) {
        let entry = self.outline.entry(index);
        seen.checked.entries += 1;
        let path = entry.path.as_bytes();
        if entry.kind.word() != word(stat) {
            return seen.findings.push(FindingKind::Kind, path, entry.kind.word(), word(stat));
        }
        self.walk.compare_metadata(entry, stat, &mut seen.findings);
        match &entry.kind {
            EntryKind::File { size, .. } if stat.stx_size != *size => {
                let (expected, found) =
                    (format!("{size} bytes"), format!("{} bytes", stat.stx_size));
                seen.findings.push(FindingKind::Content, path, expected, found);
            }
            EntryKind::File { .. } => {
                let same_time = u64::try_from(stat.stx_mtime.tv_sec) == Ok(entry.metadata.mtime);
                if self.walk.depth == Depth::Full || !same_time {
                    seen.candidates.push(Candidate { inode: item.inode, entry: index });
                }
            }
            EntryKind::Symlink { target } => self.link(opened, entry, &item.name, target, seen),
            EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor } => {
                let found = (stat.stx_rdev_major, stat.stx_rdev_minor);
                if found != (*major, *minor) {
                    let (expected, found) =
                        (format!("{major}:{minor}"), format!("{}:{}", found.0, found.1));
                    seen.findings.push(FindingKind::Device, path, expected, found);
                }
            }
            EntryKind::Directory { .. } | EntryKind::Fifo | EntryKind::Whiteout => {}
        }
        if self.walk.reads_attributes_here(entry) {
            match attributes::of_named(opened, &item.name) {
                Ok(found) => self.walk.compare_attributes(entry, &found, &mut seen.findings),
                Err(errno) => changed_meanwhile(&mut seen.findings, entry, errno),
            }
        }
    }

    fn link(
        &self,
        opened: BorrowedFd<'_>,
        entry: &Entry,
        name: &[u8],
        target: &[u8],
        seen: &mut Seen,
    ) {
        match rustix::fs::readlinkat(opened, name, Vec::new()) {
            Ok(found) if found.as_bytes() == target => {}
            Ok(found) => {
                let (expected, found) = (String::from_utf8_lossy(target), found.to_string_lossy());
                let path = entry.path.as_bytes();
                seen.findings.push(FindingKind::Target, path, expected, found);
            }
            Err(errno) => changed_meanwhile(&mut seen.findings, entry, errno),
        }
    }
}

fn list(
    directory: BorrowedFd<'_>,
    buffer: &mut [MaybeUninit<u8>],
) -> rustix::io::Result<Vec<Item>> {
    let mut items = Vec::new();
    let mut entries = RawDir::new(directory, buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            items.push(Item { name: name.to_vec(), inode: entry.ino(), stat: None });
        }
        if items.len() > SCANNED_MAX {
            break;
        }
    }
    Ok(items)
}

/// The one look at a file; an empty name is the directory itself.
fn look(directory: BorrowedFd<'_>, name: &[u8]) -> rustix::io::Result<Statx> {
    let flags = AtFlags::SYMLINK_NOFOLLOW
        | AtFlags::NO_AUTOMOUNT
        | AtFlags::STATX_DONT_SYNC
        | AtFlags::EMPTY_PATH;
    let wanted = StatxFlags::TYPE
        | StatxFlags::MODE
        | StatxFlags::UID
        | StatxFlags::GID
        | StatxFlags::MTIME
        | StatxFlags::SIZE;
    statx(directory, name, flags, wanted)
}

fn file_type(stat: &Statx) -> FileType {
    FileType::from_raw_mode(stat.stx_mode.into())
}

/// The same words as the image's.
fn word(stat: &Statx) -> &'static str {
    match file_type(stat) {
        FileType::RegularFile => "file",
        FileType::Directory => "directory",
        FileType::Symlink => "symlink",
        FileType::Fifo => "fifo",
        FileType::CharacterDevice => "character device",
        FileType::BlockDevice => "block device",
        FileType::Socket => "socket",
        FileType::Unknown => "unknown",
    }
}

fn join(parent: &[u8], name: &[u8]) -> Vec<u8> {
    match parent {
        b"" => name.to_vec(),
        parent => [parent, b"/", name].concat(),
    }
}
