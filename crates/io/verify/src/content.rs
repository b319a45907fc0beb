//! Reading and hashing contents, each file of what size the image says and no larger.

use std::{
    num::NonZero,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use hornero_model::Digest;
use hornero_store::EntryKind;
use ring::digest::{Context, SHA256};
use rustix::{
    fs::{Mode, OFlags, ResolveFlags, openat2},
    io::Errno,
};

use crate::{
    attributes,
    compare::{Walk, changed_meanwhile},
    outline::Outline,
    report::{Checked, FindingKind, Findings},
};

/// Fits the second-level cache, so that hashing does not wait for memory what reading has just brought.
const CHUNK_BYTES: usize = 256 * 1024;
/// More threads than this only queue up at the disk.
const THREADS_MAX: usize = 16;
/// Files taken at a time: they differ much in size.
const BATCH: usize = 16;

/// A file whose metadata does not tell whether its content is the image's.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Candidate {
    pub inode: u64,
    pub entry: u32,
}

/// How many threads are worth it.
pub(crate) fn threads() -> usize {
    thread::available_parallelism().map_or(1, NonZero::get).min(THREADS_MAX)
}

/// Hashes all candidates, in the order of their inodes, on every processor.
pub(crate) fn compare(
    outline: &Outline<'_>,
    walk: &Walk<'_>,
    mut candidates: Vec<Candidate>,
) -> (Findings, Checked) {
    // Close to how they lie on a disk.
    candidates.sort_unstable_by_key(|candidate| candidate.inode);
    let next = AtomicUsize::new(0);
    let results = Mutex::new((Findings::default(), Checked::default()));
    let work = || {
        let (mut findings, mut checked) = (Findings::default(), Checked::default());
        let mut buffer = vec![0; CHUNK_BYTES];
        loop {
            let start = next.fetch_add(BATCH, Ordering::Relaxed);
            let Some(batch) = candidates.get(start..) else { break };
            for candidate in batch.iter().take(BATCH) {
                one(outline, walk, candidate.entry, &mut buffer, &mut findings, &mut checked);
            }
        }
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        results.0.append(findings);
        results.1.add(&checked);
    };
    thread::scope(|scope| {
        for _ in 1..threads().min(candidates.len().div_ceil(BATCH)) {
            scope.spawn(work);
        }
        work();
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn one(
    outline: &Outline<'_>,
    walk: &Walk<'_>,
    index: u32,
    buffer: &mut [u8],
    findings: &mut Findings,
    checked: &mut Checked,
) {
    let entry = outline.entry(index);
    let EntryKind::File { digest, size } = &entry.kind else { return };
    let path = entry.path.as_bytes();
    let file = match open_file(walk.root, path) {
        Ok(file) => file,
        Err(errno) => return changed_meanwhile(findings, entry, errno),
    };
    if walk.reads_every_attribute() {
        match attributes::of_open(file.as_fd()) {
            Ok(found) => walk.compare_attributes(entry, &found, findings),
            Err(errno) => changed_meanwhile(findings, entry, errno),
        }
    }
    match hash(file.as_fd(), *size, buffer) {
        Ok((found, read)) => {
            checked.hashed += 1;
            checked.hashed_bytes += read;
            if found != *digest {
                let found = if read == *size { found.to_string() } else { format!("{read} bytes") };
                findings.push(FindingKind::Content, path, digest.to_string(), found);
            }
        }
        Err(errno) => changed_meanwhile(findings, entry, errno),
    }
}

/// Opens a regular file below `root` without following any link, and without waiting: what is a pipe
/// by now is not waited for.
pub(crate) fn open_file(root: BorrowedFd<'_>, path: &[u8]) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY
        | OFlags::NOFOLLOW
        | OFlags::NONBLOCK
        | OFlags::NOCTTY
        | OFlags::CLOEXEC
        | OFlags::NOATIME;
    open_below(root, path, flags)
}

/// Opens a path below `root`, no component of which may be a link.
pub(crate) fn open_below(
    root: BorrowedFd<'_>,
    path: &[u8],
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    match openat2(root, path, flags, Mode::empty(), resolve) {
        // Only owners, and root over ids it knows, may read without leaving an access time.
        Err(Errno::PERM) if flags.contains(OFlags::NOATIME) => {
            openat2(root, path, flags.difference(OFlags::NOATIME), Mode::empty(), resolve)
        }
        other => other,
    }
}

/// The digest of a file that should have `size` bytes, and how many were read: one more than `size`
/// where there are more. Nothing is read beyond that, so that an endless device ends here too.
pub(crate) fn hash(
    file: BorrowedFd<'_>,
    size: u64,
    buffer: &mut [u8],
) -> rustix::io::Result<(Digest, u64)> {
    let mut context = Context::new(&SHA256);
    let mut read = 0;
    loop {
        let left = (size + 1).saturating_sub(read).min(buffer.len() as u64) as usize;
        let len = match rustix::io::read(file, &mut buffer[..left]) {
            Ok(len) => len,
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        context.update(&buffer[..len]);
        read += len as u64;
        // A regular file gives less than was asked for only at its end.
        if len < left || read > size {
            break;
        }
    }
    let digest: [u8; 32] = context.finish().as_ref().try_into().expect("SHA-256 has 32 bytes");
    Ok((Digest::from_bytes(digest), read))
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::*;

    #[test]
    fn hashing_ends_one_byte_beyond_the_expected_size() {
        let mut file = tempfile::tempfile().unwrap();
        let check = |file: &std::fs::File, size: u64, buffer: usize, read: u64| {
            (&mut &*file).rewind().unwrap();
            let (digest, found) = hash(file.as_fd(), size, &mut vec![0; buffer]).unwrap();
            assert_eq!(found, read, "{size} {buffer}");
            digest
        };
        let bytes = b"0123456789";
        file.write_all(bytes).unwrap();
        for buffer in [1, 3, 10, 11, 100] {
            assert_eq!(check(&file, 10, buffer, 10), Digest::of(bytes), "{buffer}");
            assert_eq!(check(&file, 4, buffer, 5), Digest::of(&bytes[..5]), "{buffer}");
            assert_eq!(check(&file, 20, buffer, 10), Digest::of(bytes), "{buffer}");
        }
        let endless = std::fs::File::open("/dev/zero").unwrap();
        assert_eq!(hash(endless.as_fd(), 7, &mut [0; 4]).unwrap().1, 8);
    }
}
