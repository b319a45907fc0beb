//! One bake's access to archives: the client, the package cache, and each archive loaded at most once.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::SystemTime,
};

use crate::{
    AptError, address,
    archive_state::Seen,
    cache::{PackageCache, Wanted},
    configuration::Configuration,
    fetch::{Fetcher, Patience},
    lock::{LockedImage, LockedPackage},
    policy::Policy,
    progress::{ArchiveEvent, ArchiveProgress},
    repository::{Repository, Suite},
    sources_list::{self, ArchiveRequest, ArchiveSource, Presence},
};

/// Connections at once: enough to hide round trips, few enough not to trouble a mirror.
const CONNECTIONS: usize = 6;

/// Access to archives.
pub struct Access<'a> {
    cache: PackageCache,
    index_dir: PathBuf,
    apt_dir: PathBuf,
    fetcher: Fetcher,
    progress: Box<dyn ArchiveProgress + 'a>,
}

/// A package to have in the cache, with where it may be fetched from.
pub struct Needed<'l> {
    /// The package.
    pub package: &'l LockedPackage,
    /// The image whose lock entry it is in.
    pub image: &'l LockedImage,
    /// The image's own archive request.
    pub request: &'l ArchiveRequest,
}

impl<'a> Access<'a> {
    /// Opens the cache directory of a home.
    pub fn open(
        cache_dir: &Path,
        apt_dir: &Path,
        patience: Patience,
        progress: Box<dyn ArchiveProgress + 'a>,
    ) -> Result<Self, AptError> {
        Ok(Self {
            cache: PackageCache::open(&cache_dir.join("packages"))?,
            index_dir: cache_dir.join("indexes"),
            apt_dir: apt_dir.to_owned(),
            fetcher: Fetcher::new(patience),
            progress,
        })
    }

    /// The package cache.
    pub fn cache(&self) -> &PackageCache {
        &self.cache
    }

    /// Loads and verifies the archive of a request; one that is behind what was `seen` is refused.
    pub fn load(
        &self,
        request: &ArchiveRequest,
        architecture: &str,
        seen: &Seen,
    ) -> Result<Vec<Suite>, AptError> {
        let chosen = sources_list::sources_for(request, &self.apt_dir)?;
        for (archive, reason) in chosen.left_out {
            let reason = reason.to_owned();
            self.progress.event(ArchiveEvent::LeftOut { archive, reason });
        }
        self.load_sources(request, architecture, &chosen.sources, (seen, false))
    }

    /// The same from what was kept of it when it was loaded last, whatever its age; nothing is asked of any archive.
    ///
    /// # Errors
    /// Also where not all of it was kept.
    pub fn load_kept(
        &self,
        request: &ArchiveRequest,
        architecture: &str,
    ) -> Result<Vec<Suite>, AptError> {
        let chosen = sources_list::sources_for(request, &self.apt_dir)?;
        self.load_sources(request, architecture, &chosen.sources, (&Seen::default(), true))
    }

    fn load_sources(
        &self,
        request: &ArchiveRequest,
        architecture: &str,
        sources: &[ArchiveSource],
        (seen, kept_only): (&Seen, bool),
    ) -> Result<Vec<Suite>, AptError> {
        let repository = Repository {
            fetcher: &self.fetcher,
            index_dir: self.index_dir.clone(),
            architecture,
            now: SystemTime::now(),
            seen,
            kept_only,
            progress: &*self.progress,
        };
        let suites = repository.load(sources)?;
        // An entry named by age may turn out to be of another suite.
        let is_there = |source: &ArchiveSource| {
            source.presence == Presence::Needed && source.suite == request.suite
                || matches!(source.presence, Presence::IfOfSuite(_))
                    && suites.iter().any(|suite| suite.state.suite == source.suite)
        };
        if sources.iter().any(is_there) {
            Ok(suites)
        } else {
            Err(AptError::NoSources { suite: request.suite.clone() })
        }
    }

    /// The preferences that hold for a request: those of the host where its sources are the host's.
    pub fn policy(&self, request: &ArchiveRequest) -> Result<Policy, AptError> {
        match request.mirror {
            Some(_) => Ok(Policy::default()),
            None => Policy::of_host(&self.apt_dir, &Configuration::read(&self.apt_dir)),
        }
    }

    /// Brings every package into the cache, several at once; stops at the first that cannot be had.
    pub fn fetch(&self, needed: &[Needed<'_>]) -> Result<(), AptError> {
        let missing: Vec<&Needed<'_>> = needed
            .iter()
            .filter(|one| !self.cache.has(&one.package.digest(), one.package.size))
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let bytes = missing.iter().map(|one| one.package.size).sum();
        self.progress.event(ArchiveEvent::FetchStarted { packages: missing.len(), bytes });
        let addresses = self.base_addresses(&missing);
        let next = AtomicUsize::new(0);
        let failure: Mutex<Option<AptError>> = Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..CONNECTIONS.min(missing.len()) {
                scope.spawn(|| {
                    while let Some(one) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                        if let Err(error) = self.fetch_one(one, &addresses) {
                            next.store(missing.len(), Ordering::Relaxed);
                            let mut slot = failure.lock().unwrap_or_else(PoisonError::into_inner);
                            slot.get_or_insert(error);
                        }
                    }
                });
            }
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn fetch_one(
        &self,
        one: &Needed<'_>,
        bases: &BTreeMap<String, Vec<String>>,
    ) -> Result<(), AptError> {
        let listed = one.image.archives.iter().filter(|state| state.suite == one.package.suite);
        let mut bases: Vec<&String> = bases
            .get(&request_key(one))
            .into_iter()
            .flatten()
            .chain(listed.map(|state| &state.uri))
            .collect();
        // Where several archives have its suite, the one that listed it is asked first.
        bases.sort_by_key(|base| Some(*base) != one.package.archive.as_ref());
        let mut addresses: Vec<String> =
            bases.into_iter().map(|base| address::below(base, &one.package.path)).collect();
        let mut seen = std::collections::BTreeSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        let title = one.package.title();
        let wanted = Wanted {
            package: &title,
            digest: one.package.digest(),
            size: one.package.size,
            addresses: &addresses,
        };
        self.cache.fetch(&wanted, &self.fetcher, &*self.progress, &mut |bytes| {
            self.progress.event(ArchiveEvent::Fetched { bytes });
        })?;
        self.progress.event(ArchiveEvent::PackageFetched { package: one.package.name.clone() });
        Ok(())
    }

    /// Base addresses by request and suite, as configured now; where nothing is, the lock's own are left.
    fn base_addresses(&self, needed: &[&Needed<'_>]) -> BTreeMap<String, Vec<String>> {
        let mut bases: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for one in needed {
            let key = request_key(one);
            if bases.contains_key(&key) {
                continue;
            }
            let chosen = sources_list::sources_for(one.request, &self.apt_dir).unwrap_or_default();
            let found = chosen
                .sources
                .into_iter()
                .filter(|source| source.suite == one.package.suite)
                .map(|source| source.uri)
                .collect();
            bases.insert(key, found);
        }
        bases
    }
}

fn request_key(one: &Needed<'_>) -> String {
    let mirror = one.request.mirror.as_deref().unwrap_or_default();
    let declared: Vec<&str> = one.request.archives.iter().map(|it| it.name.as_str()).collect();
    format!("{} {mirror} {} {}", one.request.suite, one.package.suite, declared.join(" "))
}
