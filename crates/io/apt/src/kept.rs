//! What stays of an archive after it was read: its signed index and its lists, so that plans can be made without asking it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use hornero_model::Digest;

use crate::{
    AptError,
    fetch::FetchError,
    files, limits,
    sources_list::{ArchiveSource, Presence},
};

/// An index with its signature.
pub(crate) enum Signed {
    /// `InRelease`
    Inside(Vec<u8>),
    /// `Release` and `Release.gpg`
    Beside { text: Vec<u8>, signature: Vec<u8> },
    /// `Release` alone
    Nowhere(Vec<u8>),
}

impl Signed {
    /// The index.
    pub(crate) fn text(&self) -> &[u8] {
        match self {
            Self::Inside(text) | Self::Beside { text, .. } | Self::Nowhere(text) => text,
        }
    }
}

/// The signed index that was verified last, where one was; none of an optional pocket that was not there.
pub(crate) fn signed(
    dir: &Path,
    source: &ArchiveSource,
    base: &str,
    archive: &str,
) -> Result<Option<Signed>, AptError> {
    let path = signed_path(dir, source);
    let read = |path: &Path| files::read_file(path, limits::RELEASE_BYTES).ok();
    match (read(&path), read(&path.with_extension("gpg"))) {
        (Some(text), Some(signature)) => Ok(Some(Signed::Beside { text, signature })),
        (Some(text), None) => Ok(Some(Signed::Inside(text))),
        (None, _) if source.presence == Presence::Optional => Ok(None),
        (None, _) => {
            let missing = FetchError::Missing(format!("{base}/InRelease"));
            let archive = archive.to_owned();
            Err(AptError::Archive { archive, source: Box::new(missing) })
        }
    }
}

/// Keeps a signed index that was verified.
pub(crate) fn keep_signed(
    dir: &Path,
    source: &ArchiveSource,
    signed: &Signed,
) -> Result<(), AptError> {
    let path = signed_path(dir, source);
    let signature = path.with_extension("gpg");
    match signed {
        Signed::Beside { text, signature: bytes } => {
            keep(dir, &path, text)?;
            keep(dir, &signature, bytes)
        }
        Signed::Inside(text) | Signed::Nowhere(text) => {
            keep(dir, &path, text)?;
            // Of an archive that laid it beside the index before.
            let _ = fs::remove_file(&signature);
            Ok(())
        }
    }
}

fn signed_path(dir: &Path, source: &ArchiveSource) -> PathBuf {
    let named = Digest::of(format!("{} {}", source.uri, source.suite).as_bytes());
    dir.join(format!("signed-{}", named.hex()))
}

/// Keeps a verified list; what cannot be synced completely does not get its name.
pub(crate) fn keep(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), AptError> {
    fs::create_dir_all(dir).map_err(|error| AptError::file(dir, error))?;
    files::write_whole(path, bytes).map_err(|error| AptError::file(path, error))
}
