//! The store's directory: its layout, its versioned `format` file, and who may open it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use crate::{FORMAT_EPOCH, Result, StoreError, lock, sync};

/// Changes only when older programs could not even read the store.
const STORE_VERSION: u32 = 1;
/// The format file has under 200 bytes; more than a page is not ours.
const FORMAT_BYTES_MAX: u64 = 4096;

/// The subdirectories of a store.
pub(crate) const OBJECTS: &str = "objects";
pub(crate) const LAYERS: &str = "layers";
pub(crate) const IMAGES: &str = "images";
pub(crate) const METADATA: &str = "metadata";
pub(crate) const REFS: &str = "refs";
pub(crate) const CACHE: &str = "cache";
/// Made when first needed: stores of before have none.
pub(crate) const ATTACHMENTS: &str = "attachments";
pub(crate) const STAGING: &str = "staging";
pub(crate) const LOCKS: &str = "locks";
/// The record of object states at their last full hash.
pub(crate) const VERIFIED: &str = "verified";
const DIRECTORIES: [&str; 8] = [OBJECTS, LAYERS, IMAGES, METADATA, REFS, CACHE, STAGING, LOCKS];

/// What the `format` file says; features follow ext4's split into what readers must and need not know.
#[derive(Debug, Serialize, Deserialize)]
struct Format {
    kind: String,
    version: u32,
    format_epoch: u32,
    /// Whoever does not know one of these must not open the store.
    incompatible: Vec<String>,
    /// Whoever does not know one of these may open it all the same.
    compatible: Vec<String>,
}

/// Makes the store if the directory is new, and refuses what this program cannot work with.
pub(crate) fn open_or_create(dir: &Path) -> Result<()> {
    let path = dir.join("format");
    match read(&path) {
        Ok(format) => check(dir, &path, format),
        Err(StoreError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(dir, &path)
        }
        Err(error) => Err(error),
    }
}

fn read(path: &Path) -> Result<Format> {
    let size = fs::metadata(path).map_err(|error| StoreError::io("read", path, error))?.len();
    let damaged = |reason: String| StoreError::BadFormat { path: path.into(), reason };
    if size > FORMAT_BYTES_MAX {
        return Err(damaged(format!("it is longer than {FORMAT_BYTES_MAX} bytes")));
    }
    let bytes = fs::read(path).map_err(|error| StoreError::io("read", path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))
}

fn check(dir: &Path, path: &Path, format: Format) -> Result<()> {
    if format.kind != "hornero-store" {
        let reason = format!("its kind is `{}`, not `hornero-store`", format.kind);
        return Err(StoreError::BadFormat { path: path.into(), reason });
    }
    let unsupported = |needs, knows| StoreError::Unsupported { path: dir.into(), needs, knows };
    if format.version == 0 || format.version > STORE_VERSION {
        return Err(unsupported(
            format!("store version {}", format.version),
            format!("up to version {STORE_VERSION}"),
        ));
    }
    if format.format_epoch == 0 || format.format_epoch > FORMAT_EPOCH {
        return Err(unsupported(
            format!("format epoch {}", format.format_epoch),
            format!("up to epoch {FORMAT_EPOCH}"),
        ));
    }
    if let Some(feature) = format.incompatible.first() {
        return Err(unsupported(format!("the feature `{feature}`"), "no such features".into()));
    }
    Ok(())
}

fn create(dir: &Path, path: &Path) -> Result<()> {
    fs::create_dir_all(dir).map_err(|error| StoreError::io("create", dir, error))?;
    let entries = fs::read_dir(dir).map_err(|error| StoreError::io("list", dir, error))?;
    for entry in entries {
        let entry = entry.map_err(|error| StoreError::io("list", dir, error))?;
        // What an interrupted creation leaves is known; anything else is somebody's data.
        if !entry
            .file_name()
            .to_str()
            .is_some_and(|name| DIRECTORIES.contains(&name) || name == "format")
        {
            return Err(StoreError::NotAStore(dir.into()));
        }
    }
    for name in DIRECTORIES {
        make_directory(&dir.join(name))?;
    }
    let _creating = lock::wait(&dir.join(LOCKS).join("create"), lock::Mode::Exclusive)?;
    if path.exists() {
        return check(dir, path, read(path)?);
    }
    for shard in 0..=255_u8 {
        make_directory(&dir.join(OBJECTS).join(format!("{shard:02x}")))?;
    }
    let format = Format {
        kind: "hornero-store".into(),
        version: STORE_VERSION,
        format_epoch: FORMAT_EPOCH,
        incompatible: Vec::new(),
        compatible: Vec::new(),
    };
    let mut bytes = serde_json::to_vec_pretty(&format).expect("the format has only string keys");
    bytes.push(b'\n');
    let temporary: PathBuf = dir.join(STAGING).join("format");
    fs::write(&temporary, bytes).map_err(|error| StoreError::io("write", &temporary, error))?;
    // Everything above has to be on disk before the file that says it is. One by one: flushing the whole file system
    // would wait for what everybody else has written as well.
    sync::file(&temporary)?;
    for made in DIRECTORIES {
        sync::directory(&dir.join(made))?;
    }
    sync::directory(dir)?;
    if let Some(parent) = dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        sync::directory(parent)?;
    }
    fs::rename(&temporary, path).map_err(|error| StoreError::io("rename", path, error))?;
    sync::directory(dir)
}

fn make_directory(path: &Path) -> Result<()> {
    match fs::create_dir(path) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(StoreError::io("create", path, error)),
    }
}
