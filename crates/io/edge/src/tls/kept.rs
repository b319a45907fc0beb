//! The last good certificates on disk: an edge that starts while files are damaged serves as the one before it did.

use std::{
    fs,
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
};

use hornero_home::Opening;
use hornero_model::{Digest, RouteTls};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::pair::{Pair, is_expired};

/// Two files of the most that is read, and what is between them.
const FILE_BYTES: u64 = (2 << 20) + 16;

/// Where they are: one file for each pair, with key and chain.
#[derive(Debug, Clone)]
pub(super) struct Kept {
    directory: PathBuf,
}

impl Kept {
    /// Those below an edge's own directory, which nobody else may look into.
    pub(super) fn below(state_dir: &Path) -> Self {
        Self { directory: state_dir.join("certificates") }
    }

    fn name(files: &RouteTls) -> String {
        let paths = format!("{}\0{}", files.certificate, files.key);
        format!("{}.pem", Digest::of(paths.as_bytes()).hex())
    }

    /// Keeps a good pair in the place of the one before.
    pub(super) fn save(&self, files: &RouteTls, pair: &Pair) {
        let path = self.directory.join(Self::name(files));
        // Whatever is read first of such a file is the key.
        let text = [&pair.key, &b"\n"[..], &pair.certificate].concat();
        let write = || -> io::Result<()> {
            if read(&path).is_ok_and(|kept| kept == text) {
                return Ok(());
            }
            hornero_home::directory(&self.directory).map_err(io::Error::from)?;
            let fresh = path.with_extension("new");
            let mut out = hornero_home::open(&fresh, Opening::Replace)?;
            out.write_all(&text)?;
            out.sync_all()?;
            fs::rename(&fresh, &path)
        };
        if let Err(error) = write() {
            tracing::warn!("can't keep `{}` for the next start: {error}", files.certificate);
        }
    }

    /// The pair that was last good, unless it has expired.
    pub(super) fn load(&self, files: &RouteTls) -> Option<CertifiedKey> {
        let text = read(&self.directory.join(Self::name(files))).ok()?;
        let pair = Pair { certificate: text.clone(), key: text };
        pair.certified(files).ok().filter(|key| !is_expired(key))
    }

    /// Removes all but those of `files`.
    pub(super) fn retain(&self, files: &[&RouteTls]) {
        let Ok(entries) = fs::read_dir(&self.directory) else { return };
        let names: Vec<String> = files.iter().map(|files| Self::name(files)).collect();
        for entry in entries.filter_map(Result::ok) {
            if !names.iter().any(|name| entry.file_name() == name.as_str())
                && let Err(error) = fs::remove_file(entry.path())
            {
                tracing::warn!("can't remove `{}`: {error}", entry.path().display());
            }
        }
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    hornero_home::open(path, Opening::Read)?.take(FILE_BYTES).read_to_end(&mut text)?;
    Ok(text)
}
