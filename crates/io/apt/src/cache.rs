//! The package cache: every `.deb` once by its SHA-256, complete and verified or not there at all.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use hornero_model::Digest;
use rustix::fs::{FlockOperation, flock};
use sha2::{Digest as _, Sha256};

use crate::{
    AptError,
    fetch::{FetchError, Fetcher},
    files, limits,
    progress::ArchiveProgress,
};

/// Package files by digest.
pub struct PackageCache {
    dir: PathBuf,
}

/// What to fetch.
pub struct Wanted<'a> {
    /// The package's name and version, for people.
    pub package: &'a str,
    /// Its SHA-256.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Addresses to try in turn.
    pub addresses: &'a [String],
}

impl PackageCache {
    /// Opens the cache in `dir`, making it where missing.
    pub fn open(dir: &Path) -> Result<Self, AptError> {
        fs::create_dir_all(dir).map_err(|error| AptError::file(dir, error))?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Where a package is or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(digest.hex())
    }

    /// Whether a package is there with the right size; its contents are checked by [`Self::verified`].
    pub fn has(&self, digest: &Digest, size: u64) -> bool {
        fs::metadata(self.path(digest)).is_ok_and(|found| found.is_file() && found.len() == size)
    }

    /// The bytes of a package whose contents still have their digest; a damaged file is removed.
    pub fn verified(&self, digest: &Digest) -> Result<Option<Vec<u8>>, AptError> {
        let path = self.path(digest);
        let bytes = match files::read_file(&path, limits::PACKAGE_BYTES) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(AptError::file(&path, error)),
        };
        if Digest::of(&bytes) == *digest {
            return Ok(Some(bytes));
        }
        fs::remove_file(&path).map_err(|error| AptError::file(&path, error))?;
        Ok(None)
    }

    /// Fetches a package into the cache. Several processes may do so at once: they take turns, and a partial file
    /// of one that died is taken up again.
    pub fn fetch(
        &self,
        wanted: &Wanted<'_>,
        fetcher: &Fetcher,
        progress: &dyn ArchiveProgress,
        arrived: &mut dyn FnMut(u64),
    ) -> Result<(), AptError> {
        let partial_path = self.dir.join(format!("{}.partial", wanted.digest.hex()));
        let file_error = |error| AptError::file(&partial_path, error);
        let mut partial = lock_partial(&partial_path).map_err(file_error)?;
        if self.has(&wanted.digest, wanted.size) {
            let _ = fs::remove_file(&partial_path);
            return Ok(());
        }
        let mut first = None;
        for address in wanted.addresses {
            match self.fetch_one(wanted, address, &mut partial, fetcher, progress, arrived) {
                Ok(()) => {
                    partial.sync_all().map_err(file_error)?;
                    fs::rename(&partial_path, self.path(&wanted.digest)).map_err(file_error)?;
                    return Ok(());
                }
                Err(error @ AptError::File { .. }) => {
                    let _ = fs::remove_file(&partial_path);
                    return Err(error);
                }
                // The first is the archive that listed it; others were only tried in its place.
                Err(error) => first = first.or(Some(error)),
            }
        }
        // What a broken connection left is a valid beginning; what has a wrong hash was cut to nothing.
        if partial.metadata().is_ok_and(|found| found.len() == 0) {
            let _ = fs::remove_file(&partial_path);
        }
        Err(first.unwrap_or_else(|| AptError::NoMirror { package: wanted.package.to_owned() }))
    }

    fn fetch_one(
        &self,
        wanted: &Wanted<'_>,
        address: &str,
        partial: &mut File,
        fetcher: &Fetcher,
        progress: &dyn ArchiveProgress,
        arrived: &mut dyn FnMut(u64),
    ) -> Result<(), AptError> {
        let partial_path = self.dir.join(format!("{}.partial", wanted.digest.hex()));
        let file_error = |error| AptError::file(&partial_path, error);
        loop {
            let have = partial.seek(SeekFrom::End(0)).map_err(file_error)?;
            if have < wanted.size {
                let fetched =
                    fetcher.fetch_into(address, wanted.size, partial, have, progress, arrived);
                match fetched {
                    Ok(()) => {}
                    Err(FetchError::Write(error)) => return Err(file_error(error)),
                    Err(FetchError::TooLarge { .. }) => {
                        partial.set_len(0).map_err(file_error)?;
                        return Err(wrong(wanted, address, "it is larger than the index says"));
                    }
                    Err(source) => {
                        return Err(AptError::Package {
                            package: wanted.package.to_owned(),
                            source,
                        });
                    }
                }
            }
            partial.rewind().map_err(file_error)?;
            let (digest, size) = hash(partial).map_err(file_error)?;
            if digest == wanted.digest && size == wanted.size {
                return Ok(());
            }
            partial.set_len(0).map_err(file_error)?;
            // The beginning may have been damaged when its owner died: only a whole fetch proves the mirror wrong.
            if have == 0 {
                let reason = format!("its SHA-256 is {} and its size {size}", digest.hex());
                return Err(wrong(wanted, address, &reason));
            }
        }
    }
}

/// Opens and locks a partial file; one that was renamed or removed while waiting for the lock is opened anew.
fn lock_partial(path: &Path) -> io::Result<File> {
    loop {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        let ours = file.metadata()?;
        if fs::metadata(path).is_ok_and(|there| there.ino() == ours.ino()) {
            return Ok(file);
        }
    }
}

fn wrong(wanted: &Wanted<'_>, address: &str, reason: &str) -> AptError {
    AptError::WrongPackage {
        package: wanted.package.to_owned(),
        address: address.to_owned(),
        expected: wanted.digest,
        reason: reason.to_owned(),
    }
}

fn hash(file: &mut File) -> io::Result<(Digest, u64)> {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 256 << 10];
    let mut size = 0;
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            return Ok((Digest::from_bytes(hasher.finalize().into()), size));
        }
        hasher.update(&buffer[..count]);
        size += count as u64;
    }
}
