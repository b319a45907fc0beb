//! Loads an archive: fetches its signed index, verifies it, and from it the lists of packages.

use std::{
    io::{self, Read},
    path::PathBuf,
    time::SystemTime,
};

use hornero_model::Digest;

use crate::{
    AptError, address,
    archive_state::{ArchiveState, Seen},
    fetch::{FetchError, Fetcher},
    files,
    kept::{self, Signed, keep},
    limits, lock,
    openpgp::{Keys, SignatureError},
    policy::IndexOrigin,
    progress::{ArchiveEvent, ArchiveProgress},
    release::{Release, ReleaseFile},
    sources_list::{ArchiveSource, Presence},
};

/// A verified suite with its lists of packages.
pub struct Suite {
    /// What the lock records.
    pub state: ArchiveState,
    /// Every `Packages` of its components.
    pub indexes: Vec<Index>,
}

/// A verified list of packages.
pub struct Index {
    /// Its text.
    pub text: String,
    /// What pins look at.
    pub origin: IndexOrigin,
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
    /// Whether only what was kept is looked at, and nothing is asked of any archive.
    pub kept_only: bool,
    /// Is told what is read.
    pub progress: &'a dyn ArchiveProgress,
}

impl Repository<'_> {
    /// Loads every source; of the optional ones those that are there.
    pub fn load(&self, sources: &[ArchiveSource]) -> Result<Vec<Suite>, AptError> {
        let loaded: Vec<Result<Option<Suite>, AptError>> = std::thread::scope(|scope| {
            let running: Vec<_> =
                sources.iter().map(|source| scope.spawn(|| self.load_one(source))).collect();
            running
                .into_iter()
                .map(|thread| thread.join().expect("loading does not panic"))
                .collect()
        });
        loaded.into_iter().filter_map(Result::transpose).collect()
    }

    fn load_one(&self, source: &ArchiveSource) -> Result<Option<Suite>, AptError> {
        let archive = format!("{} {}", source.uri, source.suite);
        let base = suite_address(source);
        let signed = match self.kept_only {
            true => kept::signed(&self.index_dir, source, &base, &archive)?,
            false => {
                self.progress.event(ArchiveEvent::Reading { archive: archive.clone() });
                self.signed_index(&base, source, &archive)?
            }
        };
        let Some(signed) = signed else { return Ok(None) };
        let refused = |reason: String| AptError::Unsigned { archive: archive.clone(), reason };
        let text = self.verified(source, &archive, &signed)?;
        let release = Release::parse(&text).map_err(refused)?;
        if let Presence::IfOfSuite(suite) = &source.presence
            && !release.names.iter().any(|name| is_pocket_of(name, suite))
        {
            self.progress.event(ArchiveEvent::LeftOut {
                archive,
                reason: format!("it is of suite `{}`", release.names.join("`, `")),
            });
            return Ok(None);
        }
        // What was kept is looked at whatever its age; whoever asks for it is told the date.
        if !self.kept_only {
            self.check_age(source, &archive, &release)?;
        }
        check_suite(source, &release).map_err(refused)?;
        let state = ArchiveState {
            suite: source.suite.clone(),
            uri: source.uri.clone(),
            label: release.label.clone(),
            date: release.date,
            digest: Digest::of(signed.text()),
            components: source.name.iter().flat_map(|_| source.components.clone()).collect(),
            name: source.name.clone(),
        };
        let indexes = self.indexes(source, &archive, &base, &release)?;
        if !self.kept_only {
            kept::keep_signed(&self.index_dir, source, &signed)?;
        }
        Ok(Some(Suite { state, indexes }))
    }

    /// What the archive signed; none where an optional pocket is not there.
    fn signed_index(
        &self,
        base: &str,
        source: &ArchiveSource,
        archive: &str,
    ) -> Result<Option<Signed>, AptError> {
        let read = |name: &str| {
            let address = format!("{base}/{name}");
            self.fetcher.read(&address, limits::RELEASE_BYTES, self.progress)
        };
        let found = match read("InRelease") {
            // Older archives lay the signature beside the index.
            Err(FetchError::Missing(missing)) => match read("Release") {
                Ok(text) => match read("Release.gpg") {
                    Ok(signature) => Ok(Signed::Beside { text, signature }),
                    Err(FetchError::Missing(_)) => Ok(Signed::Nowhere(text)),
                    Err(error) => Err(error),
                },
                Err(FetchError::Missing(_)) => Err(FetchError::Missing(missing)),
                Err(error) => Err(error),
            },
            other => other.map(Signed::Inside),
        };
        match found {
            Ok(signed) => Ok(Some(signed)),
            Err(FetchError::Missing(_)) if source.presence == Presence::Optional => {
                match self.seen.date(source) {
                    None => Ok(None),
                    Some(seen) => Err(AptError::SuiteGone {
                        archive: archive.to_owned(),
                        seen: lock::date_text(seen),
                    }),
                }
            }
            Err(error) => {
                Err(AptError::Archive { archive: archive.to_owned(), source: Box::new(error) })
            }
        }
    }

    /// The text of an index that a key of its source signed.
    fn verified(
        &self,
        source: &ArchiveSource,
        archive: &str,
        signed: &Signed,
    ) -> Result<String, AptError> {
        let archive = archive.to_owned();
        if source.trusted == Some(false) {
            let reason = "its source on this host says `trusted=no`".to_owned();
            return Err(AptError::Unsigned { archive, reason });
        }
        let verified = Keys::read(&source.keyring).and_then(|keys| match signed {
            Signed::Inside(text) => keys.verify(text, self.now),
            Signed::Beside { text, signature } => keys.verify_detached(text, signature, self.now),
            Signed::Nowhere(_) => Err(SignatureError::None),
        });
        verified.map_err(|error| {
            let reason = error.to_string();
            match source.trusted {
                Some(true) => AptError::OnlyTrusted { archive, reason },
                _ => AptError::Unsigned { archive, reason },
            }
        })
    }

    fn check_age(
        &self,
        source: &ArchiveSource,
        archive: &str,
        release: &Release,
    ) -> Result<(), AptError> {
        let archive = archive.to_owned();
        if release.is_from_future(self.now, &source.age) {
            return Err(AptError::FromTheFuture { archive, date: lock::date_text(release.date) });
        }
        if let Some(until) = release.expired(self.now, &source.age) {
            return Err(AptError::Expired { archive, until: lock::date_text(until) });
        }
        if let Some(seen) = self.seen.date(source).filter(|seen| release.date < *seen) {
            let (date, seen) = (lock::date_text(release.date), lock::date_text(seen));
            return Err(AptError::RolledBack { archive, date, seen });
        }
        Ok(())
    }

    fn indexes(
        &self,
        source: &ArchiveSource,
        archive: &str,
        base: &str,
        release: &Release,
    ) -> Result<Vec<Index>, AptError> {
        let mut indexes = Vec::new();
        let mut load = |component: &str, stem: &str, architecture: &str| {
            let origin = IndexOrigin {
                component: component.to_owned(),
                architecture: architecture.to_owned(),
                host: address::host(&source.uri).to_owned(),
                ..release.origin.clone()
            };
            let text = self.load_index(base, release, stem, archive)?;
            indexes.push(Index { text, origin });
            Ok::<(), AptError>(())
        };
        for component in &source.components {
            if !source.only_all {
                let stem = format!("{component}/binary-{}/Packages", self.architecture);
                load(component, &stem, self.architecture)?;
            }
            // Some archives list packages for every architecture apart.
            let all = format!("{component}/binary-all/Packages");
            let apart = release.lists_all_apart && list_of(release, &all).is_some();
            if apart || source.only_all {
                load(component, &all, "all")?;
            }
        }
        if source.components.is_empty() {
            load("", "Packages", "")?;
        }
        Ok(indexes)
    }

    fn load_index(
        &self,
        base: &str,
        release: &Release,
        stem: &str,
        archive: &str,
    ) -> Result<String, AptError> {
        let refused = |reason: String| AptError::Unsigned { archive: archive.to_owned(), reason };
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
    ) -> Result<Vec<u8>, AptError> {
        let kept = self.index_dir.join(file.digest.hex());
        if let Ok(bytes) = files::read_file(&kept, file.size)
            && Digest::of(&bytes) == file.digest
        {
            return Ok(bytes);
        }
        let plain = format!("{base}/{path}");
        if self.kept_only {
            let missing = Box::new(FetchError::Missing(plain));
            return Err(AptError::Archive { archive: archive.to_owned(), source: missing });
        }
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
                    last = Some(AptError::Unsigned {
                        archive: archive.to_owned(),
                        reason: format!("`{address}` does not have the SHA-256 that was signed"),
                    });
                }
                Err(error) => {
                    last = Some(AptError::Archive {
                        archive: archive.to_owned(),
                        source: Box::new(error),
                    });
                }
            }
        }
        Err(last.expect("there is always one address"))
    }
}

/// Whether a name of an index is that of a suite or of one of its pockets.
fn is_pocket_of(name: &str, suite: &str) -> bool {
    name.strip_prefix(suite).is_some_and(|rest| rest.is_empty() || rest.starts_with(['-', '/']))
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
    files::read_all(reader, limits::INDEX_BYTES)
}
