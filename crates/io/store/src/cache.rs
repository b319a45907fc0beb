//! Small values by key, such as which layer a build step gave: lost or damaged ones count as never put.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hornero_model::Digest;
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, utimensat};

use crate::{
    Result, Store, StoreError,
    files::{is_not_plain, is_unreadable, read_limited},
    format::CACHE,
};

/// Values name layers and record needs; contents belong into objects.
pub const CACHE_VALUE_BYTES_MAX: u64 = 64 << 20;

/// What values may take after collecting: a step's value has under a kilobyte, a package's facts some.
pub const CACHE_KEPT_BYTES: u64 = 256 << 20;
/// After collecting none is left that was not used for so many days: a quarter, the rhythm of point releases.
pub const CACHE_KEPT_DAYS: u64 = 90;
/// The least that a file takes on disk.
const BLOCK_LEN: u64 = 4096;
/// How exactly it is noted when a value was used.
const NOTED: Duration = Duration::from_secs(24 * 3600);

impl Store {
    /// Remembers `value` under `key`, replacing what was there.
    ///
    /// Not synced, so put what it names into the store first; power loss may lose it, nothing else.
    pub fn cache_put(&self, key: &Digest, value: &[u8]) -> Result<()> {
        if value.len() as u64 > CACHE_VALUE_BYTES_MAX {
            let name = format!("cache value of `{key}`");
            return Err(StoreError::TooLarge { name, limit_bytes: CACHE_VALUE_BYTES_MAX });
        }
        let mut bytes = Vec::with_capacity(32 + value.len());
        bytes.extend_from_slice(checksum(key, value).as_bytes());
        bytes.extend_from_slice(value);
        self.staging().replace(&self.cache_path(key), &bytes, false)
    }

    /// What was put under `key`; none when nothing was, or when it is damaged.
    pub fn cache_get(&self, key: &Digest) -> Result<Option<Vec<u8>>> {
        let path = self.cache_path(key);
        let bytes = match read_limited(&path, CACHE_VALUE_BYTES_MAX + 32) {
            Ok(bytes) => bytes.unwrap_or_default(),
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    || is_not_plain(&error)
                    || is_unreadable(&error) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        let Some((sum, value)) = bytes.split_at_checked(32) else { return Ok(None) };
        if checksum(key, value).as_bytes() != sum {
            return Ok(None);
        }
        note_use(&path);
        Ok(Some(value.to_vec()))
    }

    /// Files of values that are worth nothing any more, the least lately used first.
    ///
    /// The store doesn't know what values mean, so the rule is a bound: those not used for `age` go, then the least
    /// lately used until the rest takes no more than `bytes_max`. Beyond that, a value that names an image or a
    /// layer that is `gone` would only lead its reader to ask for that in vain. Losing any is sound: they
    /// count as never put.
    pub(crate) fn stale_cache(
        &self,
        bytes_max: u64,
        age: Duration,
        gone: &HashSet<Digest>,
    ) -> Result<Vec<PathBuf>> {
        let now = SystemTime::now();
        let mut values = Vec::new();
        let mut stale = Vec::new();
        for (path, metadata) in self.cache_files()? {
            let used = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
            // One from the future was used just now by a wrong clock.
            if now.duration_since(used).is_ok_and(|unused| unused > age) {
                stale.push((used, path));
            } else {
                values.push((used, path, metadata.len().max(BLOCK_LEN)));
            }
        }
        values.sort_unstable_by(|one, two| two.cmp(one));
        let mut taken = 0_u64;
        for (used, path, bytes) in values {
            taken = taken.saturating_add(bytes);
            if taken > bytes_max || names_any(&path, gone) {
                stale.push((used, path));
            }
        }
        stale.sort_unstable();
        Ok(stale.into_iter().map(|(_, path)| path).collect())
    }

    /// Files of all values, and what stat(2) says of them.
    pub(crate) fn cache_files(&self) -> Result<Vec<(PathBuf, fs::Metadata)>> {
        let dir = self.dir().join(CACHE);
        let failed = |error| StoreError::io("list", &dir, error);
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => found.push((entry.path(), metadata)),
                // Replaced meanwhile, or none of ours.
                _ => {}
            }
        }
        Ok(found)
    }

    fn cache_path(&self, key: &Digest) -> PathBuf {
        self.dir().join(CACHE).join(key.hex())
    }
}

/// Lets a value's modification time say when it was last used, to the day, without a write each time.
fn note_use(path: &Path) {
    let used = fs::symlink_metadata(path).and_then(|metadata| metadata.modified());
    let fresh = used.is_ok_and(|used| used.elapsed().is_ok_and(|unused| unused < NOTED));
    if !fresh {
        // Best effort: a store that is only read forgets how lately its values were used.
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        let _ = utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW);
    }
}

/// Whether a value holds the text of any of these digests. One that can't be read names nothing.
fn names_any(path: &Path, digests: &HashSet<Digest>) -> bool {
    if digests.is_empty() {
        return false;
    }
    let Ok(Some(bytes)) = read_limited(path, CACHE_VALUE_BYTES_MAX + 32) else { return false };
    let colons = bytes.iter().enumerate().filter(|(_, byte)| **byte == b':');
    colons.map(|(at, _)| at).any(|at| {
        let hex = bytes.get(at + 1..at + 65).and_then(|hex| std::str::from_utf8(hex).ok());
        bytes[..at].ends_with(b"sha256")
            && hex
                .and_then(|hex| Digest::from_hex(hex).ok())
                .is_some_and(|digest| digests.contains(&digest))
    })
}

/// Covers the key as well: a value under another's name is damage too.
fn checksum(key: &Digest, value: &[u8]) -> Digest {
    let mut bytes = Vec::with_capacity(32 + value.len());
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value);
    Digest::of(&bytes)
}
