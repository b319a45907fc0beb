//! Where the name server learns which address a service has.

use std::{
    collections::BTreeMap,
    net::Ipv4Addr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use hornero_model::ServiceName;

use crate::state;

/// A source of the addresses of services.
pub trait Names: Send + Sync {
    /// The address of `SERVICE.internal`, if there is such a service.
    fn address(&self, service: &ServiceName) -> Option<Ipv4Addr>;
}

/// A table that the owner of the lock changes.
impl Names for RwLock<BTreeMap<ServiceName, Ipv4Addr>> {
    fn address(&self, service: &ServiceName) -> Option<Ipv4Addr> {
        self.read().unwrap_or_else(PoisonError::into_inner).get(service).copied()
    }
}

impl<T: Names + ?Sized> Names for Arc<T> {
    fn address(&self, service: &ServiceName) -> Option<Ipv4Addr> {
        T::address(self, service)
    }
}

/// The services in a home's `network.json`, read again when the file has changed. While it can't be
/// read, what it held last counts.
#[derive(Debug)]
pub struct HomeNames {
    home: PathBuf,
    known: Mutex<(Option<Stamp>, BTreeMap<ServiceName, Ipv4Addr>)>,
}

/// What changes when a file is replaced or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    inode: u64,
    length: u64,
    modified: (i64, i64),
}

impl Stamp {
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self {
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
        })
    }
}

impl HomeNames {
    /// The names of the home in this directory.
    pub fn new(home: &Path) -> Self {
        Self { home: home.to_owned(), known: Mutex::default() }
    }
}

impl Names for HomeNames {
    fn address(&self, service: &ServiceName) -> Option<Ipv4Addr> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The stamp comes first: a change between both is then seen the next time.
        let stamp = Stamp::of(&state::path(&self.home));
        let changed = if stamp == known.0 { Ok(None) } else { state::load(&self.home) };
        if let Ok(Some(state)) = changed {
            *known = (stamp, state.services);
        }
        known.1.get(service).copied()
    }
}
