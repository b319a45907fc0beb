//! The secrets of a home: `HOME/secrets/NAME/VERSION.age`, each readable by its owner only.

use std::{
    fs::{self, File},
    io::{self, Read as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use hornero_home::Opening;
use hornero_model::{SecretLabel, SecretVersion, Timestamp};
use ring::rand::{SecureRandom as _, SystemRandom};
use rustix::fs::{FlockOperation, flock};
use zeroize::Zeroizing;

use crate::{
    SecretError, VALUE_BYTES_MAX,
    age::{self, Identity},
    key,
};

/// What a value grows by when it is encrypted: a header of one recipient, and tags.
const SEALED_BYTES_MAX: u64 = VALUE_BYTES_MAX as u64 + 4_096;
/// Values that stay although no release needs them: one may be on its way into a release.
const VERSIONS_KEPT: usize = 5;
/// Secrets of a home; more are a mistake of a script.
const SECRETS_MAX: usize = 10_000;

/// The secrets of a home.
#[derive(Debug, Clone)]
pub struct Vault {
    home: PathBuf,
}

/// A secret and its values, as they may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptSecret {
    /// Its name.
    pub name: SecretLabel,
    /// Its values, newest first; never empty.
    pub versions: Vec<KeptVersion>,
}

/// A value of a secret, as it may be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeptVersion {
    /// Which.
    pub version: SecretVersion,
    /// When it was set.
    pub created: Timestamp,
}

/// An encrypted value, and the key that opens it; both were read already.
pub struct Sealed {
    path: PathBuf,
    bytes: Vec<u8>,
    identity: Identity,
}

impl Sealed {
    /// The value.
    ///
    /// # Errors
    /// Where it was encrypted for another key, or is damaged.
    pub fn open(&self) -> Result<Zeroizing<Vec<u8>>, SecretError> {
        age::decrypt(&self.identity, &self.bytes)
            .map_err(|reason| SecretError::Sealed { path: self.path.clone(), reason })
    }
}

impl Vault {
    /// The secrets of `home`; nothing is made or read.
    pub fn of(home: &Path) -> Self {
        Self { home: home.to_owned() }
    }

    fn directory(&self) -> PathBuf {
        self.home.join("secrets")
    }

    fn file(&self, name: &SecretLabel, version: &SecretVersion) -> PathBuf {
        self.directory().join(name.as_str()).join(format!("{version}.age"))
    }

    /// Nobody else changes secrets while this lives.
    fn lock(&self) -> Result<File, SecretError> {
        let path = self.directory();
        let directory =
            hornero_home::directory(&path).map_err(|error| failed("make", &path)(error.into()))?;
        flock(&directory, FlockOperation::LockExclusive)
            .map_err(|error| failed("lock", &path)(error.into()))?;
        Ok(directory)
    }

    /// Keeps a new value of a secret, the newest one from then on. The key is made with the first secret of a home.
    ///
    /// # Errors
    /// Where the value is empty or too large, or anything can't be read or written; then nothing changed.
    pub fn set(&self, name: &SecretLabel, value: &[u8]) -> Result<SecretVersion, SecretError> {
        if value.is_empty() || value.len() > VALUE_BYTES_MAX {
            return Err(SecretError::Size { bytes: value.len() });
        }
        let lock = self.lock()?;
        let (key_file, is_own) = key::place(&self.home);
        // A new key beside values for another one would hide that they can't be opened any more.
        if is_own && !key_file.exists() && self.list()?.is_empty() {
            key::make(&key_file)?;
        }
        let sealed = age::encrypt(&key::read(&key_file)?, value);
        let newest = self.newest(name)?;
        let number = newest.map_or(1, |newest| newest.number.saturating_add(1));
        let version = SecretVersion { number, tail: random() };
        let path = self.file(name, &version);
        let directory = self.directory().join(name.as_str());
        let own = hornero_home::directory(&directory)
            .map_err(|error| failed("make", &directory)(error.into()))?;
        write(&directory, &path, &sealed).map_err(failed("write", &path))?;
        own.sync_all().and_then(|()| lock.sync_all()).map_err(failed("sync", &directory))?;
        Ok(version)
    }

    /// Every secret, by name.
    ///
    /// # Errors
    /// Where they can't be listed.
    pub fn list(&self) -> Result<Vec<KeptSecret>, SecretError> {
        let path = self.directory();
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("list", &path))?,
        };
        let mut names = Vec::new();
        for entry in entries.take(SECRETS_MAX) {
            let entry = entry.map_err(failed("list", &path))?;
            names.extend(SecretLabel::new(entry.file_name().to_string_lossy()).ok());
        }
        names.sort();
        let mut all = Vec::new();
        for name in names {
            let versions = self.versions(&name)?;
            if !versions.is_empty() {
                all.push(KeptSecret { name, versions });
            }
        }
        Ok(all)
    }

    /// The values of a secret, newest first; none where it is not set.
    ///
    /// # Errors
    /// Where they can't be listed.
    pub fn versions(&self, name: &SecretLabel) -> Result<Vec<KeptVersion>, SecretError> {
        let path = self.directory().join(name.as_str());
        let entries = match fs::read_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(failed("list", &path))?,
        };
        let mut versions = Vec::new();
        for entry in entries {
            let entry = entry.map_err(failed("list", &path))?;
            let file_name = entry.file_name();
            let version =
                file_name.to_str().and_then(|file| file.strip_suffix(".age")?.parse().ok());
            let Some(version) = version else { continue };
            let found = entry.metadata().and_then(|found| found.modified());
            let created = found.map_err(failed("look at", &path))?;
            versions.push(KeptVersion { version, created: timestamp(created) });
        }
        versions.sort_by(|a, b| b.version.cmp(&a.version));
        Ok(versions)
    }

    /// The value of a secret that was set last; none where it is not set.
    ///
    /// # Errors
    /// Where its values can't be listed.
    pub fn newest(&self, name: &SecretLabel) -> Result<Option<SecretVersion>, SecretError> {
        Ok(self.versions(name)?.into_iter().next().map(|kept| kept.version))
    }

    /// Whether a value is there.
    pub fn has(&self, name: &SecretLabel, version: &SecretVersion) -> bool {
        self.file(name, version).is_file()
    }

    /// Reads an encrypted value and the key, so that opening it needs no file any more.
    ///
    /// # Errors
    /// Where one of them is missing or can't be read.
    pub fn sealed(
        &self,
        name: &SecretLabel,
        version: &SecretVersion,
    ) -> Result<Sealed, SecretError> {
        let path = self.file(name, version);
        let file = match hornero_home::open(&path, Opening::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(SecretError::Gone { name: name.clone(), version: version.clone() });
            }
            opened => opened.map_err(failed("open", &path))?,
        };
        let mut bytes = Vec::new();
        file.take(SEALED_BYTES_MAX).read_to_end(&mut bytes).map_err(failed("read", &path))?;
        let identity = key::read(&key::place(&self.home).0)?;
        Ok(Sealed { path, bytes, identity })
    }

    /// Removes a secret with all its values.
    ///
    /// # Errors
    /// Where it is not set, or can't be removed.
    pub fn remove(&self, name: &SecretLabel) -> Result<(), SecretError> {
        let lock = self.lock()?;
        if self.versions(name)?.is_empty() {
            return Err(SecretError::Unknown { name: name.clone() });
        }
        let path = self.directory().join(name.as_str());
        fs::remove_dir_all(&path).map_err(failed("remove", &path))?;
        lock.sync_all().map_err(failed("sync", &path))
    }

    /// Removes old values of a secret that nobody needs; the newest few stay in any case. Gives those that went.
    ///
    /// # Errors
    /// Where one can't be removed.
    pub fn prune(
        &self,
        name: &SecretLabel,
        is_needed: &dyn Fn(&SecretVersion) -> bool,
    ) -> Result<Vec<SecretVersion>, SecretError> {
        let _lock = self.lock()?;
        let old = self.versions(name)?.into_iter().skip(VERSIONS_KEPT).map(|kept| kept.version);
        let old: Vec<SecretVersion> = old.filter(|version| !is_needed(version)).collect();
        for version in &old {
            let path = self.file(name, version);
            fs::remove_file(&path).map_err(failed("remove", &path))?;
        }
        Ok(old)
    }
}

fn failed<'p>(what: &'static str, path: &'p Path) -> impl Fn(io::Error) -> SecretError + 'p {
    move |source| SecretError::Io { what, path: path.to_owned(), source }
}

fn timestamp(time: SystemTime) -> Timestamp {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(since.as_millis() as u64)
}

/// Writes a file whole or not at all.
fn write(directory: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = directory.join(format!(".new.{}", std::process::id()));
    let written = (|| {
        let mut file = hornero_home::open(&temporary, Opening::Replace)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        // Best effort: the first error counts.
        let _ = fs::remove_file(&temporary);
    }
    written
}

/// 64 random bits.
fn random() -> u64 {
    let mut bytes = [0; 8];
    // Invariant: the kernel's generator does not fail once it is seeded.
    SystemRandom::new().fill(&mut bytes).expect("the kernel gives random numbers");
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests;
