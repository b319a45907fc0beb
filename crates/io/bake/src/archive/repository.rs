//! Loads an archive: fetches its signed index, verifies it, and from it the lists of packages.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read},
    path::{Path, PathBuf},
    time::SystemTime,
};

use hornero_model::Digest;
use serde::{Deserialize, Serialize};

use super::{
    fetch::{FetchError, Fetcher},
    openpgp::Keys,
    release::{Release, ReleaseFile},
    sources_list::ArchiveSource,
};
use crate::{
    BakeError, limits, lock,
    progress::{Event, Progress},
};

/// The state of one suite of one archive, as the lock records it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveState {
    /// The suite.
    pub suite: String,
    /// Base address it was read from.
    pub uri: String,
    /// The label it is signed with, such as `Debian-Security`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    /// Its `Date`, in seconds since the Unix epoch.
    pub date: u64,
    /// SHA-256 of its `InRelease`.
    pub digest: Digest,
}

impl ArchiveState {
    /// Whether it is for security updates: by its suite, as Debian and its derivatives name them, or by its label.
    pub fn is_security(&self) -> bool {
        self.suite.ends_with("-security")
            || self.suite.ends_with("/updates")
            || self.label.as_deref().is_some_and(|label| label.ends_with("-Security"))
    }
}

/// The newest state of each suite that a lock knows: an archive that is older, or no longer has the suite, hides what
/// was there already.
#[derive(Debug, Default)]
pub struct Seen {
    /// Its date in seconds since the Unix epoch, by suite and address.
    dates: BTreeMap<(String, String), u64>,
}

impl Seen {
    /// What these states tell.
    pub fn of<'s>(states: impl IntoIterator<Item = &'s ArchiveState>) -> Self {
        let mut dates = BTreeMap::new();
        for state in states {
            let date = dates.entry((state.suite.clone(), state.uri.clone())).or_default();
            *date = state.date.max(*date);
        }
        Self { dates }
    }

    fn date(&self, source: &ArchiveSource) -> Option<u64> {
        self.dates.get(&(source.suite.clone(), source.uri.clone())).copied()
    }
}

/// A verified suite with its lists of packages.
pub struct Suite {
    /// What the lock records.
    pub state: ArchiveState,
    /// The text of every `Packages` of its components.
    pub indexes: Vec<String>,
}

/// Loads suites and keeps verified lists of packages by their digest.
pub struct Repository<'a> {
    /// The client.
    pub fetcher: &'a Fetcher,
    /// Where lists are kept.
    pub index_dir: PathBuf,
    /// Debian's name for the architecture.
    pub architecture: &'a str,
    /// Decides about expiry.
    pub now: SystemTime,
    /// What was there before.
    pub seen: &'a Seen,
    /// Is told what is read.
    pub progress: &'a dyn Progress,
}

impl Repository<'_> {
    /// Loads every source; of the optional ones those that are there.
    pub fn load(&self, sources: &[ArchiveSource]) -> Result<Vec<Suite>, BakeError> {
        let loaded: Vec<Result<Option<Suite>, BakeError>> = std::thread::scope(|scope| {
            let running: Vec<_> =
                sources.iter().map(|source| scope.spawn(|| self.load_one(source))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("loading does not panic"))
                .collect()
        });
        loaded.into_iter().filter_map(Result::transpose).collect()
    }

    fn load_one(&self, source: &ArchiveSource) -> Result<Option<Suite>, BakeError> {
        let archive = format!("{} {}", source.uri, source.suite);
        self.progress.event(Event::ReadingArchive { archive: archive.clone() });
        let base = suite_address(source);
        let address = format!("{base}/InRelease");
        let signed = match self.fetcher.read(&address, limits::RELEASE_BYTES, self.progress) {
            Ok(signed) => signed,
            Err(FetchError::Missing(_)) if source.optional => {
                return match self.seen.date(source) {
                    None => Ok(None),
                    Some(seen) => {
                        Err(BakeError::SuiteGone { archive, seen: lock::date_text(seen) })
                    }
                };
            }
            Err(error) => return Err(BakeError::Archive { archive, source: Box::new(error) }),
        };
        let refused = |reason: String| BakeError::Unsigned { archive: archive.clone(), reason };
        let keys = Keys::read(&source.keyring).map_err(|error| refused(error.to_string()))?;
        let text = keys.verify(&signed, self.now).map_err(|error| refused(error.to_string()))?;
        let release = Release::parse(&text).map_err(refused)?;
        if source.check_valid_until && release.is_expired(self.now) {
            return Err(BakeError::Expired {
                archive,
                until: lock::date_text(release.valid_until.unwrap_or_default()),
            });
        }
        check_suite(source, &release).map_err(refused)?;
        if let Some(seen) = self.seen.date(source).filter(|seen| release.date < *seen) {
            let (date, seen) = (lock::date_text(release.date), lock::date_text(seen));
            return Err(BakeError::RolledBack { archive, date, seen });
        }
        let mut indexes = Vec::new();
        for component in &source.components {
            let stem = format!("{component}/binary-{}/Packages", self.architecture);
            indexes.push(self.load_index(&base, &release, &stem, &archive)?);
            // Some archives list packages for every architecture apart.
            let all = format!("{component}/binary-all/Packages");
            let apart = text.lines().any(|line| {
                line.strip_prefix("Architectures:")
                    .is_some_and(|names| names.split_whitespace().any(|name| name == "all"))
            }) && !text.contains("\nNo-Support-for-Architecture-all: Packages");
            if apart && list_of(&release, &all).is_some() {
                indexes.push(self.load_index(&base, &release, &all, &archive)?);
            }
        }
        if source.components.is_empty() {
            indexes.push(self.load_index(&base, &release, "Packages", &archive)?);
        }
        let state = ArchiveState {
            suite: source.suite.clone(),
            uri: source.uri.clone(),
            label: release.label.clone(),
            date: release.date,
            digest: Digest::of(&signed),
        };
        Ok(Some(Suite { state, indexes }))
    }

    fn load_index(
        &self,
        base: &str,
        release: &Release,
        stem: &str,
        archive: &str,
    ) -> Result<String, BakeError> {
        let refused = |reason: String| BakeError::Unsigned { archive: archive.to_owned(), reason };
        let (path, file) = list_of(release, stem)
            .ok_or_else(|| refused(format!("it lists no `{stem}` (as .xz, .gz or plain)")))?;
        if file.size > limits::INDEX_BYTES {
            return Err(refused(format!("`{path}` is larger than {} bytes", limits::INDEX_BYTES)));
        }
        let packed = self.packed_index(base, release, &path, file, archive)?;
        let text = unpack_index(&path, &packed)
            .map_err(|error| refused(format!("`{path}` cannot be unpacked: {error}")))?;
        String::from_utf8(text).map_err(|_| refused(format!("`{path}` is not valid UTF-8")))
    }

    fn packed_index(
        &self,
        base: &str,
        release: &Release,
        path: &str,
        file: ReleaseFile,
        archive: &str,
    ) -> Result<Vec<u8>, BakeError> {
        let kept = self.index_dir.join(file.digest.hex());
        if let Ok(bytes) = limits::read_file(&kept, file.size)
            && Digest::of(&bytes) == file.digest
        {
            return Ok(bytes);
        }
        let plain = format!("{base}/{path}");
        let by_hash = plain.rsplit_once('/').map_or_else(String::new, |(dir, _)| {
            format!("{dir}/by-hash/SHA256/{}", file.digest.hex())
        });
        let addresses = if release.by_hash { vec![by_hash, plain] } else { vec![plain] };
        let mut last = None;
        for address in addresses {
            match self.fetcher.read(&address, file.size, self.progress) {
                Ok(bytes) if Digest::of(&bytes) == file.digest => {
                    keep(&self.index_dir, &kept, &bytes)?;
                    return Ok(bytes);
                }
                Ok(_) | Err(FetchError::TooLarge { .. }) => {
                    last = Some(BakeError::Unsigned {
                        archive: archive.to_owned(),
                        reason: format!("`{address}` does not have the SHA-256 that was signed"),
                    });
                }
                Err(error) => {
                    last = Some(BakeError::Archive {
                        archive: archive.to_owned(),
                        source: Box::new(error),
                    });
                }
            }
        }
        Err(last.expect("there is always one address"))
    }
}

fn suite_address(source: &ArchiveSource) -> String {
    match source.suite.strip_suffix('/') {
        Some("" | ".") => source.uri.clone(),
        Some(flat) => format!("{}/{flat}", source.uri),
        None => format!("{}/dists/{}", source.uri, source.suite),
    }
}

/// A signed index of another suite must not be passed off for the one asked for.
fn check_suite(source: &ArchiveSource, release: &Release) -> Result<(), String> {
    let wanted = source.suite.as_str();
    let fits = |name: &String| {
        name == wanted
            // Pockets are signed by their own names, but for `/updates` as Debian 10 had it: the suite's index in the
            // place of a pocket's, by the same key, would hide what that has.
            || wanted.strip_prefix(name.as_str()).is_some_and(|rest| rest.starts_with('/'))
    };
    if source.suite.ends_with('/') || release.names.is_empty() || release.names.iter().any(fits) {
        return Ok(());
    }
    Err(format!("it is the index of suite `{}`", release.names.join("`, `")))
}

fn list_of(release: &Release, stem: &str) -> Option<(String, ReleaseFile)> {
    let prefixed = format!("updates/{stem}");
    [stem, &prefixed].iter().find_map(|stem| {
        [".xz", ".gz", ""].iter().find_map(|suffix| {
            let path = format!("{stem}{suffix}");
            release.files.get(&path).map(|file| (path.clone(), *file))
        })
    })
}

fn unpack_index(path: &str, packed: &[u8]) -> io::Result<Vec<u8>> {
    let reader: Box<dyn Read + '_> = if path.ends_with(".xz") {
        Box::new(liblzma::read::XzDecoder::new_multi_decoder(packed))
    } else if path.ends_with(".gz") {
        Box::new(flate2::read::MultiGzDecoder::new(packed))
    } else {
        Box::new(packed)
    };
    limits::read_all(reader, limits::INDEX_BYTES)
}

/// Keeps a verified list; what cannot be synced completely does not get its name.
fn keep(dir: &Path, path: &Path, bytes: &[u8]) -> Result<(), BakeError> {
    fs::create_dir_all(dir).map_err(|error| BakeError::file(dir, error))?;
    crate::workdir::write_whole(path, bytes).map_err(|error| BakeError::file(path, error))
}
