//! What each object looked like to stat(2) when it was last hashed in full, so that starts need not hash.
//!
//! An append-only log of fixed-size records shared by all processes, later ones counting. Losing or
//! tearing it costs only hashing: a record that does not check out is as good as none.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom, Write},
    os::{
        fd::AsFd,
        unix::fs::{MetadataExt, OpenOptionsExt},
    },
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use hornero_model::Digest;
use rustix::{
    fs::{AtFlags, FileType, StatxFlags, statx},
    io::Errno,
};

use crate::{
    Result, StoreError,
    files::is_unreadable,
    format::LOCKS,
    lock::{self, Mode},
    parallel,
};

const MAGIC: &[u8; RECORD_LEN] = &{
    let mut magic = [0; RECORD_LEN];
    let text = b"hornero-verified 1\n";
    let mut at = 0;
    while at < text.len() {
        magic[at] = text[at];
        at += 1;
    }
    magic
};
const RECORD_LEN: usize = 80;
/// Timestamps move in steps of up to 10 ms (CONFIG_HZ=100): a younger change might hide in the same step.
const SETTLED_NS: i64 = 20_000_000;
/// Below this many superseded records the log is not worth rewriting.
const COMPACT_MIN: usize = 4096;

/// Records that one thread looks at before it takes more.
const RETAIN_PIECE: usize = 16 * 1024;

/// What stat(2) says of a file; any write, replacement or restore changes at least `changed_ns`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileState {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    pub(crate) size: u64,
    pub(crate) modified_ns: i64,
    pub(crate) changed_ns: i64,
    /// Whether it is a plain file; only such are ever recorded.
    pub(crate) plain: bool,
}

impl FileState {
    /// The state of `path` below `dir`; none when nothing is there.
    pub(crate) fn at(
        dir: impl AsFd,
        path: impl rustix::path::Arg,
    ) -> rustix::io::Result<Option<Self>> {
        let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_DONT_SYNC;
        let wanted = StatxFlags::TYPE
            | StatxFlags::INO
            | StatxFlags::SIZE
            | StatxFlags::MTIME
            | StatxFlags::CTIME;
        match statx(dir, path, flags, wanted) {
            Ok(found) => Ok(Some(Self {
                device: u64::from(found.stx_dev_major) << 32 | u64::from(found.stx_dev_minor),
                inode: found.stx_ino,
                size: found.stx_size,
                modified_ns: nanoseconds(found.stx_mtime.tv_sec, found.stx_mtime.tv_nsec.into()),
                changed_ns: nanoseconds(found.stx_ctime.tv_sec, found.stx_ctime.tv_nsec.into()),
                plain: FileType::from_raw_mode(found.stx_mode.into()) == FileType::RegularFile,
            })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Whether a later change is sure to show in `changed_ns`.
    pub(crate) fn is_settled(&self, now_ns: i64) -> bool {
        self.changed_ns.saturating_add(SETTLED_NS) < now_ns
    }
}

/// The wall clock, which file systems stamp with.
pub(crate) fn now_ns() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// The log as far as this process has read it.
#[derive(Debug)]
pub(crate) struct Records {
    path: PathBuf,
    lock: PathBuf,
    /// Inode of the log that was read, and how far; another inode means it was rewritten.
    inode: u64,
    offset: u64,
    superseded: usize,
    known: HashMap<Digest, FileState>,
}

impl Records {
    pub(crate) fn new(store: &Path, file_name: &str) -> Self {
        Self {
            path: store.join(file_name),
            lock: store.join(LOCKS).join(file_name),
            inode: 0,
            offset: 0,
            superseded: 0,
            known: HashMap::new(),
        }
    }

    /// The state recorded for `digest`, as of the last [`Records::refresh`].
    pub(crate) fn get(&self, digest: &Digest) -> Option<&FileState> {
        self.known.get(digest)
    }

    /// Reads what this and other processes appended since.
    pub(crate) fn refresh(&mut self) -> Result<()> {
        match File::open(&self.path).and_then(|mut file| self.read(&mut file)) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) if is_unreadable(&error) => self.give_up(),
            Err(error) => Err(StoreError::io("read", &self.path, error)),
        }
    }

    /// Begins anew in place of a log that the disk can't read or has no room for.
    pub(crate) fn give_up(&mut self) -> Result<()> {
        self.known.clear();
        (self.inode, self.offset, self.superseded) = (0, 0, 0);
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", &self.path, error))
            }
            _ => Ok(()),
        }
    }

    fn read(&mut self, file: &mut File) -> io::Result<()> {
        let metadata = file.metadata()?;
        if metadata.ino() != self.inode || metadata.len() < self.offset {
            self.known.clear();
            (self.inode, self.offset, self.superseded) = (metadata.ino(), 0, 0);
        }
        if metadata.len() <= self.offset {
            return Ok(());
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut bytes = Vec::new();
        file.take(metadata.len() - self.offset).read_to_end(&mut bytes)?;
        let mut records = bytes.chunks_exact(RECORD_LEN);
        for record in records.by_ref() {
            match decode(record) {
                Some((digest, state)) => {
                    self.superseded += usize::from(self.known.insert(digest, state).is_some());
                }
                None => self.superseded += 1,
            }
        }
        self.offset += (bytes.len() - records.remainder().len()) as u64;
        Ok(())
    }

    /// Records states that were just seen; those that are not settled are left out.
    pub(crate) fn append(&mut self, states: &[(Digest, FileState)]) -> Result<()> {
        let now_ns = now_ns();
        let mut bytes = Vec::with_capacity(states.len() * RECORD_LEN);
        for (digest, state) in
            states.iter().filter(|(_, state)| state.plain && state.is_settled(now_ns))
        {
            bytes.extend_from_slice(&encode(digest, state));
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let _writing = lock::wait(&self.lock, Mode::Exclusive)?;
        self.refresh()?;
        if self.superseded > COMPACT_MIN && self.superseded > self.known.len() {
            self.rewrite()?;
        }
        let appended = (|| {
            let mut file = OpenOptions::new()
                .read(true)
                .append(true)
                .create(true)
                .mode(0o600)
                .open(&self.path)?;
            let len = file.metadata()?.len();
            // A torn tail is filled up, so that records stay aligned.
            let torn = len % RECORD_LEN as u64;
            if torn != 0 {
                file.write_all(&vec![0; RECORD_LEN - torn as usize])?;
            } else if len == 0 {
                file.write_all(MAGIC)?;
            }
            file.write_all(&bytes)?;
            self.read(&mut file)
        })();
        appended.map_err(|error| StoreError::io("write", &self.path, error))
    }

    /// How many records the log holds, superseded ones as well.
    pub(crate) fn count(&self) -> Result<u64> {
        match fs::metadata(&self.path) {
            Ok(metadata) => Ok((metadata.len() / RECORD_LEN as u64).saturating_sub(1)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(StoreError::io("stat", &self.path, error)),
        }
    }

    /// Drops the records of all digests but those to keep; says how many went.
    ///
    /// Reads the log a second time instead of through memory: of a million deleted objects nothing has to stay.
    pub(crate) fn retain(&mut self, keep: impl Fn(&Digest) -> bool + Sync) -> Result<u64> {
        let _writing = lock::wait(&self.lock, Mode::Exclusive)?;
        let bytes = match fs::read(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) if is_unreadable(&error) => return self.give_up().map(|()| 0),
            Err(error) => return Err(StoreError::io("read", &self.path, error)),
        };
        let records = bytes.get(RECORD_LEN..).unwrap_or_default();
        let pieces: Vec<&[u8]> = records.chunks(RECORD_LEN * RETAIN_PIECE).collect();
        let kept: Vec<Mutex<Vec<u8>>> = pieces.iter().map(|_| Mutex::default()).collect();
        parallel::each(&pieces, 1, |index, piece| {
            let mut kept = kept[index].lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = piece
                .chunks_exact(RECORD_LEN)
                .filter(|record| decode(record).is_some_and(|(digest, _)| keep(&digest)));
            wanted.for_each(|record| kept.extend_from_slice(record));
            Ok::<(), StoreError>(())
        })?;
        let kept: Vec<Vec<u8>> = std::iter::once(MAGIC.to_vec())
            .chain(
                kept.into_iter()
                    .map(|kept| kept.into_inner().unwrap_or_else(PoisonError::into_inner)),
            )
            .collect();
        let kept = kept.concat();
        let dropped = (bytes.len().saturating_sub(kept.len()) / RECORD_LEN) as u64;
        if dropped > 0 {
            drop(bytes);
            self.replace(&kept)?;
            self.known.clear();
            // Read from the beginning when next asked.
            (self.inode, self.offset, self.superseded) = (0, 0, 0);
        }
        Ok(dropped)
    }

    fn replace(&self, bytes: &[u8]) -> Result<()> {
        let temporary = self.path.with_extension("new");
        fs::write(&temporary, bytes).map_err(|error| StoreError::io("write", &temporary, error))?;
        fs::rename(&temporary, &self.path)
            .map_err(|error| StoreError::io("rename", &self.path, error))
    }

    fn rewrite(&mut self) -> Result<()> {
        let mut bytes = MAGIC.to_vec();
        for (digest, state) in &self.known {
            bytes.extend_from_slice(&encode(digest, state));
        }
        self.replace(&bytes)?;
        self.refresh()
    }
}

fn encode(digest: &Digest, state: &FileState) -> [u8; RECORD_LEN] {
    let mut record = [0; RECORD_LEN];
    record[..32].copy_from_slice(digest.as_bytes());
    record[32..40].copy_from_slice(&state.device.to_le_bytes());
    record[40..48].copy_from_slice(&state.inode.to_le_bytes());
    record[48..56].copy_from_slice(&state.size.to_le_bytes());
    record[56..64].copy_from_slice(&state.modified_ns.to_le_bytes());
    record[64..72].copy_from_slice(&state.changed_ns.to_le_bytes());
    let sum = checksum(&record[..72]);
    record[72..].copy_from_slice(&sum.to_le_bytes());
    record
}

fn decode(record: &[u8]) -> Option<(Digest, FileState)> {
    let word = |at: usize| {
        let mut bytes = [0; 8];
        bytes.copy_from_slice(&record[at..at + 8]);
        u64::from_le_bytes(bytes)
    };
    if word(72) != checksum(&record[..72]) {
        return None;
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(&record[..32]);
    let state = FileState {
        device: word(32),
        inode: word(40),
        size: word(48),
        modified_ns: word(56) as i64,
        changed_ns: word(64) as i64,
        plain: true,
    };
    Some((Digest::from_bytes(digest), state))
}

/// FNV-1a over 8-byte words with a final mix: finds torn and rotten records, nobody's malice.
fn checksum(bytes: &[u8]) -> u64 {
    let mut sum = 0xcbf2_9ce4_8422_2325_u64;
    for word in bytes.chunks_exact(8) {
        let mut raw = [0; 8];
        raw.copy_from_slice(word);
        sum = (sum ^ u64::from_le_bytes(raw)).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(29);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(inode: u64) -> FileState {
        FileState { device: 1, inode, size: 3, modified_ns: 4, changed_ns: 5, plain: true }
    }

    fn records(dir: &Path) -> Records {
        fs::create_dir_all(dir.join(LOCKS)).unwrap();
        Records::new(dir, "verified")
    }

    #[test]
    fn other_processes_see_what_was_appended_and_torn_records_count_for_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
        let mut writer = records(dir.path());
        let mut reader = records(dir.path());
        writer.append(&[(one, state(1)), (two, state(2))]).unwrap();
        reader.refresh().unwrap();
        assert_eq!(reader.get(&two), Some(&state(2)));

        let path = dir.path().join("verified");
        let mut bytes = fs::read(&path).unwrap();
        let at = bytes.len() - RECORD_LEN + 50;
        bytes[at] ^= 1;
        bytes.extend_from_slice(b"torn");
        fs::write(&path, bytes).unwrap();
        let mut reader = records(dir.path());
        reader.refresh().unwrap();
        assert_eq!((reader.get(&one), reader.get(&two)), (Some(&state(1)), None));

        writer.append(&[(two, state(7))]).unwrap();
        reader.refresh().unwrap();
        assert_eq!(reader.get(&two), Some(&state(7)));
    }

    #[test]
    fn a_log_of_superseded_records_is_rewritten() {
        let dir = tempfile::tempdir().unwrap();
        let digest = Digest::of(b"1");
        let mut writer = records(dir.path());
        let many = vec![(digest, state(1)); COMPACT_MIN + 10];
        writer.append(&many).unwrap();
        writer.append(&[(digest, state(2))]).unwrap();
        assert_eq!(fs::metadata(dir.path().join("verified")).unwrap().len(), 3 * RECORD_LEN as u64);
        let mut reader = records(dir.path());
        reader.refresh().unwrap();
        assert_eq!(reader.get(&digest), Some(&state(2)));
    }

    #[test]
    fn fresh_changes_are_not_recorded() {
        let dir = tempfile::tempdir().unwrap();
        let mut writer = records(dir.path());
        let fresh = FileState { changed_ns: now_ns(), ..state(1) };
        writer.append(&[(Digest::of(b"1"), fresh)]).unwrap();
        assert!(!dir.path().join("verified").exists());
    }
}
