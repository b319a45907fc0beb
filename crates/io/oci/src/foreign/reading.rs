//! Reading what others made: to its end, within limits, and with the source's own errors.

use std::{
    fs::File,
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use hornero_store::{ArchiveLimits, ENTRY_COUNT_MAX, MTIME_MAX, StoreError};

use crate::{ImportOptions, OciError, Result, source};

/// What of an archive comes in where so many bytes of contents have.
pub(crate) fn limits(options: &ImportOptions, taken: u64) -> ArchiveLimits {
    ArchiveLimits {
        entries: ENTRY_COUNT_MAX,
        content_bytes: options.content_bytes_max.saturating_sub(taken),
        max_mtime: MTIME_MAX,
        devices: options.devices,
    }
}

/// Reads the rest of a stream, which its digest covers as well.
pub(crate) fn drain(reader: &mut impl Read, what: &str) -> Result<()> {
    let rest = io::copy(reader, &mut io::sink());
    rest.map(drop).map_err(|error| unreadable(what, error))
}

/// An error of a source stays what it is.
pub(crate) fn unreadable(what: &str, error: io::Error) -> OciError {
    match error.downcast::<OciError>() {
        Ok(error) => error,
        Err(error) => OciError::refused(what, error),
    }
}

/// What the source said when reading for the store failed, rather than that the store could not read.
pub(crate) fn named(error: StoreError, options: &ImportOptions) -> OciError {
    match error {
        // Of all contents together, of which some came before.
        StoreError::TooLarge { name, .. } => {
            OciError::TooLarge { what: name, limit_bytes: options.content_bytes_max }
        }
        StoreError::Source { name, source } => unreadable(&name, source),
        error => error.into(),
    }
}

/// A file to read whose beginning was looked at.
pub(crate) fn buffered(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 20, source::open_file(path)?))
}

/// Where large temporary files go.
pub(crate) fn temporary() -> Result<File> {
    let dir: PathBuf = std::env::temp_dir();
    tempfile::tempfile_in(&dir).map_err(|error| OciError::io("create a file in", dir, error))
}
