//! What says that a backup is whole: `backup.json`, and the list of checksums that it names.
//!
//! The list has a line for each file, as `sha256sum` writes it: hex digest, two spaces, path. So a backup can be checked
//! without Hornero. `backup.json` is written last and in one step; until then a directory holds the backup of before.

use std::{
    collections::BTreeMap, fs, io::Write as _, os::unix::fs::OpenOptionsExt as _, path::Path,
};

use hornero_model::{Digest, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{CareError, error::failed};

/// The version that this program writes, and the newest it reads.
pub(crate) const VERSION: u32 = 1;
/// The marker of a whole backup.
pub(crate) const MARKER: &str = "backup.json";
/// Ours has some hundred bytes.
const MARKER_BYTES_MAX: u64 = 64 << 10;
/// A line has a digest and a path; a home of a million contents makes some 130 MB.
const LIST_BYTES_MAX: u64 = 1 << 30;

/// What `backup.json` says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupManifest {
    /// Always `hornero-backup`.
    pub kind: String,
    /// The version of this file and of the layout.
    pub version: u32,
    /// The Hornero that wrote it.
    pub hornero: String,
    /// When it was finished.
    pub created: Timestamp,
    /// The home's path.
    pub home: String,
    /// Counts up with each backup to the same directory.
    pub number: u64,
    /// The last event of the ledger that it holds; none for a home where nothing ever ran.
    pub head: Option<BackupHead>,
    /// Whether it holds the private signing key.
    pub keys: bool,
    /// Whether it holds the key of the secrets.
    #[serde(default)]
    pub secrets_key: bool,
    /// Which images: `used`, `all` or `none`.
    pub images: String,
    /// How many images.
    pub image_count: u64,
    /// Files in the list, and their bytes together.
    pub files: u64,
    /// Their bytes together.
    pub bytes: u64,
    /// The list of checksums.
    pub list: String,
    /// The digest of the list.
    pub list_digest: Digest,
}

/// Where the chain of the ledger ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackupHead {
    /// The number of the last event.
    pub sequence: u64,
    /// Its hash.
    pub hash: Digest,
}

/// Digests of files by their path in the backup.
pub(crate) type Checksums = BTreeMap<String, Digest>;

impl BackupManifest {
    /// Reads the marker of a backup; none where there is none.
    pub(crate) fn read(backup: &Path) -> Result<Option<Self>, CareError> {
        let path = backup.join(MARKER);
        match fs::metadata(&path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(failed("read", &path))?,
        };
        let damaged = |reason: String| CareError::Damaged {
            path: path.clone(),
            reason: format!("can't be read: {reason}"),
        };
        let text = read_limited(&path, MARKER_BYTES_MAX)?;
        let value: serde_json::Value =
            serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        if value["kind"] != "hornero-backup" {
            return Err(damaged("it is of another kind".to_owned()));
        }
        let found = value["version"].as_u64().unwrap_or(0);
        if found > u64::from(VERSION) {
            let found = u32::try_from(found).unwrap_or(u32::MAX);
            return Err(CareError::Newer { path: backup.to_owned(), found, known: VERSION });
        }
        serde_json::from_value(value).map(Some).map_err(|error| damaged(error.to_string()))
    }

    /// The checksums, if the list is the one that the marker names.
    pub(crate) fn checksums(&self, backup: &Path) -> Result<Checksums, CareError> {
        let path = backup.join(&self.list);
        let damaged =
            |reason: &str| CareError::Damaged { path: path.clone(), reason: reason.to_owned() };
        if self.list.contains('/') || !self.list.starts_with("SHA256SUMS") {
            return Err(damaged("is no list of checksums"));
        }
        let text = read_limited(&path, LIST_BYTES_MAX)?;
        if Digest::of(&text) != self.list_digest {
            return Err(damaged("is not the list that was written"));
        }
        let text = String::from_utf8(text).map_err(|_| damaged("is no text"))?;
        let mut sums = Checksums::new();
        for line in text.lines() {
            let (digest, path) =
                line.split_once("  ").ok_or_else(|| damaged("has a line without a path"))?;
            let digest =
                Digest::from_hex(digest).map_err(|_| damaged("has a line without a digest"))?;
            let is_plain =
                path.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
            if !is_plain {
                return Err(damaged("names a path that leads out of the backup"));
            }
            sums.insert(path.to_owned(), digest);
        }
        Ok(sums)
    }
}

/// The list as text.
pub(crate) fn listed(sums: &Checksums) -> String {
    let mut text = String::new();
    for (path, digest) in sums {
        text.push_str(&format!("{}  {path}\n", digest.hex()));
    }
    text
}

/// Writes a file beside its place, durably, and puts it there in one step.
pub(crate) fn put(path: &Path, bytes: &[u8]) -> Result<(), CareError> {
    let fresh = path.with_extension("new");
    let write = || {
        // A backup may lie where nothing can be root's, such as on a file server: plain files are all that is asked for.
        let _ = fs::remove_file(&fresh);
        let mut file =
            fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)?;
        fs::File::open(path.parent().unwrap_or(path))?.sync_all()
    };
    write().map_err(failed("write", path))
}

fn read_limited(path: &Path, limit: u64) -> Result<Vec<u8>, CareError> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    let file = fs::File::open(path).map_err(failed("open", path))?;
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed("read", path))?;
    if bytes.len() as u64 > limit {
        let reason = format!("is larger than {limit} bytes");
        return Err(CareError::Damaged { path: path.to_owned(), reason });
    }
    Ok(bytes)
}
