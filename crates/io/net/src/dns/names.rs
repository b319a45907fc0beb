//! Where the name server learns which address a service has.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use hornero_model::ServiceName;

use crate::{
    addresses::Addresses,
    state::{self, State},
};

/// A source of the addresses of services.
pub trait Names: Send + Sync {
    /// The address of `SERVICE.internal`, if there is such a service.
    fn address(&self, service: &ServiceName) -> Option<Ipv4Addr>;

    /// Whether this client's queries for other names go to the host's resolvers. Whoever may not
    /// reach the outside must not send messages there as names, either.
    fn may_ask_outside(&self, _client: IpAddr) -> bool {
        true
    }
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

    fn may_ask_outside(&self, client: IpAddr) -> bool {
        T::may_ask_outside(self, client)
    }
}

/// The services in a home's `network.json`, read again when the file has changed. While it can't be
/// read, what it held last counts.
#[derive(Debug)]
pub struct HomeNames {
    home: PathBuf,
    addresses: Addresses,
    known: Mutex<(Option<Stamp>, Option<State>)>,
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
        Self { home: home.to_owned(), addresses: Addresses::new(home), known: Mutex::default() }
    }

    /// What `get` takes from the home's state, if there is any.
    fn with_state<T>(&self, get: impl FnOnce(&State) -> Option<T>) -> Option<T> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        // The stamp comes first: a change between both is then seen the next time.
        let stamp = Stamp::of(&state::path(&self.home));
        let changed = if stamp == known.0 { Ok(None) } else { state::load(&self.home) };
        if let Ok(Some(state)) = changed {
            *known = (stamp, Some(state));
        }
        known.1.as_ref().and_then(get)
    }
}

impl Names for HomeNames {
    fn address(&self, service: &ServiceName) -> Option<Ipv4Addr> {
        self.with_state(|state| state.services.get(service).copied())
    }

    fn may_ask_outside(&self, client: IpAddr) -> bool {
        let IpAddr::V4(client) = client else { return true };
        let subnet = self.with_state(|state| Some(state.subnet));
        subnet.is_none_or(|subnet| self.addresses.may_leave(subnet, client))
    }
}
