//! What is told while archives are read and packages fetched; rendering is the caller's.

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArchiveEvent {
    /// An archive's signed index is being read.
    Reading {
        /// Its address and suite, for people.
        archive: String,
    },
    /// A source of the host was not read.
    LeftOut {
        /// Its address and suite.
        archive: String,
        /// Why, and what to do where it is wanted.
        reason: String,
    },
    /// A fetch begins.
    FetchStarted {
        /// How many packages are missing from the cache.
        packages: usize,
        /// Their size in bytes.
        bytes: u64,
    },
    /// Bytes of packages arrived since the last such event.
    Fetched {
        /// How many.
        bytes: u64,
    },
    /// A package is complete and verified.
    PackageFetched {
        /// Its name.
        package: String,
    },
    /// An attempt failed and will be repeated.
    Retrying {
        /// What was fetched.
        what: String,
        /// Why it failed.
        reason: String,
    },
}

/// Takes events from any thread; must return at once.
pub trait ArchiveProgress: Send + Sync {
    /// Takes one event.
    fn event(&self, event: ArchiveEvent);
}

impl<F: Fn(ArchiveEvent) + Send + Sync> ArchiveProgress for F {
    fn event(&self, event: ArchiveEvent) {
        self(event);
    }
}
