//! Where a home keeps bundles, and for how long.
//!
//! A bundle is put there whole. Until the ledger has its digest its name ends with `.sealed`, so that whoever comes next
//! records what was not.

use std::{
    fs::{self, File},
    io::{self, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

use hornero_home::Opening;
use hornero_model::{BundleSeal, InstanceId, Millis, ServiceName, Timestamp};

use crate::file::{head, written};

/// How a bundle's name ends that the ledger knows of.
const RECORDED: &str = "bundle";
/// The same of one that it does not know of yet.
const UNRECORDED: &str = "sealed";
/// An hour.
const HOUR: Millis = Millis(3_600_000);

/// What bundles may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShelfLimits {
    /// How many of one service are made in an hour.
    pub per_hour: u32,
    /// Bytes of all of them.
    pub home_bytes: u64,
    /// How much older than the newest one may be.
    pub age: Duration,
}

impl Default for ShelfLimits {
    fn default() -> Self {
        Self { per_hour: 6, home_bytes: 1 << 30, age: Duration::from_secs(14 * 24 * 3600) }
    }
}

/// A bundle of a home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShelvedBundle {
    /// Its seal, as it says.
    pub seal: BundleSeal,
    /// Its file.
    pub path: PathBuf,
    /// Bytes of that.
    pub bytes: u64,
    /// Whether the ledger has its digest.
    pub recorded: bool,
}

/// The bundles of a home.
#[derive(Debug, Clone)]
pub struct Shelf {
    directory: PathBuf,
}

impl Shelf {
    /// `HOME/bundles`.
    pub fn of(home: &Path) -> Self {
        Self { directory: home.join("bundles") }
    }

    /// Every bundle, the newest first. One whose head can't be read is left out.
    pub fn list(&self) -> io::Result<Vec<ShelvedBundle>> {
        let entries = match fs::read_dir(&self.directory) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut found = Vec::new();
        for entry in entries {
            found.extend(self.shelved(&entry?.path()));
        }
        found.sort_by(|a, b| {
            (b.seal.body.sealed, &b.seal.body.instance)
                .cmp(&(a.seal.body.sealed, &a.seal.body.instance))
        });
        Ok(found)
    }

    fn shelved(&self, path: &Path) -> Option<ShelvedBundle> {
        let recorded = match path.extension()?.to_str()? {
            RECORDED => true,
            UNRECORDED => false,
            _ => return None,
        };
        let file = hornero_home::open(path, Opening::Read).ok()?;
        let bytes = file.metadata().ok()?.len();
        let seal = head(&mut BufReader::new(file)).ok()?;
        let is_own = path.file_stem()?.to_str()? == seal.body.instance.as_str();
        is_own.then(|| ShelvedBundle { seal, path: path.to_owned(), bytes, recorded })
    }

    /// The bundle of a server.
    pub fn find(&self, instance: &InstanceId) -> Option<ShelvedBundle> {
        [RECORDED, UNRECORDED].into_iter().find_map(|end| self.shelved(&self.named(instance, end)))
    }

    fn named(&self, instance: &InstanceId, end: &str) -> PathBuf {
        self.directory.join(format!("{instance}.{end}"))
    }

    /// Whether another bundle of a service may be made.
    ///
    /// # Errors
    /// Where it can't be told what there is.
    pub fn admits(
        &self,
        service: &ServiceName,
        now: Timestamp,
        limits: &ShelfLimits,
    ) -> io::Result<bool> {
        let lately = |of: &&ShelvedBundle| {
            of.seal.body.service == *service && now.since(of.seal.body.sealed) < HOUR
        };
        Ok(self.list()?.iter().filter(lately).count() < limits.per_hour as usize)
    }

    /// Puts a bundle there, durably and whole, or not at all.
    ///
    /// # Errors
    /// Where it can't be written.
    pub fn put(&self, seal: &BundleSeal, packed: &[u8]) -> io::Result<()> {
        hornero_home::directory(&self.directory)?;
        let path = self.named(&seal.body.instance, UNRECORDED);
        hornero_home::put(&path, &written(seal, packed)?)
    }

    /// The ledger has the digest of a server's bundle.
    ///
    /// # Errors
    /// Where the file can't be renamed; it is then recorded once more.
    pub fn recorded(&self, instance: &InstanceId) -> io::Result<()> {
        fs::rename(self.named(instance, UNRECORDED), self.named(instance, RECORDED))?;
        File::open(&self.directory)?.sync_all()
    }

    /// Removes what whoever was killed while it wrote has left.
    pub fn sweep(&self) {
        let entries = fs::read_dir(&self.directory).into_iter().flatten().flatten();
        let unfinished =
            entries.filter(|entry| entry.file_name().as_encoded_bytes().starts_with(b"."));
        for entry in unfinished {
            // Found again next time.
            let _ = fs::remove_file(entry.path());
        }
    }

    /// Removes bundles that are too old, and the oldest where all of them take too much. The newest stays. Gives how many went.
    ///
    /// # Errors
    /// Where it can't be told what there is, or one can't be removed.
    pub fn trim(&self, limits: &ShelfLimits) -> io::Result<usize> {
        let found = self.list()?;
        let Some(newest) = found.first().map(|of| of.seal.body.sealed) else { return Ok(0) };
        let age = Millis(u64::try_from(limits.age.as_millis()).unwrap_or(u64::MAX));
        let (mut taken, mut removed) = (0_u64, 0);
        for (position, bundle) in found.iter().enumerate() {
            taken = taken.saturating_add(bundle.bytes);
            let is_old = newest.since(bundle.seal.body.sealed) > age;
            if position > 0 && (is_old || taken > limits.home_bytes) {
                fs::remove_file(&bundle.path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}
