//! The file of a bundle: what it is, its seal, and its archive.

use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read as _},
    path::Path,
};

use hornero_autopsy::{BundleContents, SCHEMA};
use hornero_model::{BundleSeal, Digest};

use crate::{
    archive::{Unreadable, unpack},
    error::BundleError,
};

/// The first line.
const KIND: &str = "hornero-bundle 1\n";
/// A seal has some hundred bytes, and a line of a summary.
const SEAL_BYTES: u64 = 64 << 10;
/// What a packed archive may be: ours are some hundred kilobytes.
const PACKED_BYTES: u64 = 32 << 20;

/// A bundle as it was read. That its archive is what its seal says is known; whose seal that is, is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedBundle {
    /// Its seal.
    pub seal: BundleSeal,
    /// What it holds.
    pub contents: BundleContents,
}

/// The bytes of a bundle.
pub(crate) fn written(seal: &BundleSeal, packed: &[u8]) -> io::Result<Vec<u8>> {
    let mut bytes = KIND.as_bytes().to_vec();
    bytes.extend(serde_json::to_vec(seal)?);
    bytes.push(b'\n');
    bytes.extend(packed);
    Ok(bytes)
}

/// Reads a bundle, from wherever it is.
///
/// # Errors
/// Where it can't be read, is none, or is not what was sealed.
pub fn read(path: &Path) -> Result<SealedBundle, BundleError> {
    let failed = |source| BundleError::File { path: path.to_owned(), source };
    let no_bundle = |reason: String| BundleError::NoBundle { path: path.to_owned(), reason };
    let file = File::open(path).map_err(failed)?;
    if !file.metadata().map_err(failed)?.is_file() {
        return Err(no_bundle("it is no plain file".to_owned()));
    }
    let mut file = BufReader::new(file);
    let seal = head(&mut file).map_err(no_bundle)?;
    let mut packed = Vec::new();
    file.take(PACKED_BYTES + 1).read_to_end(&mut packed).map_err(failed)?;
    if packed.len() as u64 > PACKED_BYTES {
        return Err(no_bundle(format!("it is over {PACKED_BYTES} bytes")));
    }
    if packed.len() as u64 != seal.body.bytes || Digest::of(&packed) != seal.body.digest {
        return Err(BundleError::Changed { path: path.to_owned() });
    }
    let contents = unpack(&packed).map_err(|unreadable| match unreadable {
        Unreadable::Later(schema) => {
            BundleError::Newer { path: path.to_owned(), schema, known: SCHEMA }
        }
        Unreadable::Broken(reason) => no_bundle(reason),
    })?;
    if contents.manifest.instance != seal.body.instance {
        return Err(no_bundle("its seal is of another server".to_owned()));
    }
    Ok(SealedBundle { seal, contents })
}

/// The seal of a bundle.
pub(crate) fn head(file: &mut BufReader<File>) -> Result<BundleSeal, String> {
    let mut line = |most: u64| {
        let mut line = Vec::new();
        let read = file.by_ref().take(most).read_until(b'\n', &mut line);
        read.map(|_| line).map_err(|error| error.to_string())
    };
    if line(KIND.len() as u64)? != KIND.as_bytes() {
        return Err("it does not begin like one".to_owned());
    }
    serde_json::from_slice(&line(SEAL_BYTES)?).map_err(|error| format!("its seal: {error}"))
}
