//! Remembers the digests of files by their stat data, so that unchanged ones are not read again.

use std::{
    collections::HashMap,
    fmt::Write as _,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hornero_apt::files;
use hornero_model::Digest;

/// A file that was changed so shortly before it was read could be changed again within one tick of the file system's
/// clock (at most 10 ms on Linux, 2 s on FAT), with the same time stamps; it is not remembered.
const SETTLED: Duration = Duration::from_millis(2_100);
/// 120 bytes a file for the largest copy there may be.
const CACHE_BYTES: u64 = 256 << 20;

/// What identifies the contents of a file as long as nobody sets the clock back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    changed: i128,
}

impl Identity {
    pub(crate) fn of(found: &fs::Metadata) -> Self {
        let nanoseconds =
            |seconds: i64, rest: i64| i128::from(seconds) * 1_000_000_000 + i128::from(rest);
        Self {
            device: found.dev(),
            inode: found.ino(),
            size: found.size(),
            modified: nanoseconds(found.mtime(), found.mtime_nsec()),
            changed: nanoseconds(found.ctime(), found.ctime_nsec()),
        }
    }

    fn is_settled(&self, now: SystemTime) -> bool {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled = i128::try_from(now.saturating_sub(SETTLED).as_nanos()).unwrap_or(i128::MAX);
        self.modified.max(self.changed) < settled
    }
}

/// The digests of one copy source's files.
pub(crate) struct StatCache {
    path: PathBuf,
    known: HashMap<Identity, Digest>,
    used: HashMap<Identity, Digest>,
}

impl StatCache {
    /// Opens the cache in `dir` for the source at `source`; one that cannot be read is empty.
    pub(crate) fn open(dir: &Path, source: &Path) -> Self {
        let name = Digest::of(source.as_os_str().as_encoded_bytes()).hex();
        let path = dir.join(name);
        let text = files::read_text(&path, CACHE_BYTES).unwrap_or_default();
        let known = text.lines().filter_map(parse_line).collect();
        Self { path, known, used: HashMap::new() }
    }

    /// The digest of a file that has not changed since it was remembered.
    pub(crate) fn get(&mut self, identity: &Identity) -> Option<Digest> {
        let digest = *self.known.get(identity)?;
        self.used.insert(*identity, digest);
        Some(digest)
    }

    /// Remembers a digest, unless the file could still be changed unseen.
    pub(crate) fn put(&mut self, identity: Identity, digest: Digest) {
        if identity.is_settled(SystemTime::now()) {
            self.used.insert(identity, digest);
        }
    }

    /// Writes what was used, where it differs; losing it costs only time.
    pub(crate) fn save(&self) {
        if self.used == self.known {
            return;
        }
        let mut text = String::with_capacity(self.used.len() * 120);
        for (one, digest) in &self.used {
            let Identity { device, inode, size, modified, changed } = one;
            let _ = writeln!(text, "{device} {inode} {size} {modified} {changed} {}", digest.hex());
        }
        if let Some(dir) = self.path.parent() {
            let _ = fs::create_dir_all(dir);
        }
        let _ = files::write_whole(&self.path, text.as_bytes());
    }
}

fn parse_line(line: &str) -> Option<(Identity, Digest)> {
    let mut words = line.split(' ');
    let identity = Identity {
        device: words.next()?.parse().ok()?,
        inode: words.next()?.parse().ok()?,
        size: words.next()?.parse().ok()?,
        modified: words.next()?.parse().ok()?,
        changed: words.next()?.parse().ok()?,
    };
    let digest = Digest::from_hex(words.next()?).ok()?;
    words.next().is_none().then_some((identity, digest))
}
