//! The listening sockets of the edge: opened once, shared out to the threads, kept for a successor.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    net::{Ipv6Addr, SocketAddr},
    os::fd::OwnedFd,
};

use crate::{
    error::with_source,
    net::{lacks_family, open_listeners},
    table::Table,
};

/// Sockets with their address.
pub(crate) type Sockets = Vec<(SocketAddr, OwnedFd)>;

/// Every listening socket; the threads have duplicates. Kept until the end, so that this edge can accept again should
/// its successor die.
#[derive(Debug, Default)]
pub(crate) struct Listening {
    open: RefCell<BTreeMap<SocketAddr, Vec<OwnedFd>>>,
    /// Why listeners could not be opened; each is tried again and again, and the others serve.
    unopened: RefCell<BTreeMap<SocketAddr, String>>,
}

impl Listening {
    /// Whether a listener of the table is not open.
    pub(crate) fn lacks_any(&self, table: &Table) -> bool {
        let open = self.open.borrow();
        table.listeners.iter().any(|listener| !open.contains_key(&listener.address))
    }

    /// Why the listener at `address` could not be opened, where it could not.
    pub(crate) fn fault(&self, address: &SocketAddr) -> Option<String> {
        self.unopened.borrow().get(address).cloned()
    }

    /// Opens the listeners that are not open yet, as far as possible, with a socket for each of `threads`.
    pub(crate) fn open_missing(
        &self,
        table: &Table,
        threads: usize,
    ) -> Vec<(SocketAddr, Vec<OwnedFd>)> {
        let sockets = self.open.borrow();
        let mut unopened = self.unopened.borrow_mut();
        let before = std::mem::take(&mut *unopened);
        let mut ports: BTreeSet<u16> = sockets.keys().map(SocketAddr::port).collect();
        let mut opened = Vec::new();
        for listener in &table.listeners {
            let address = listener.address;
            if sockets.contains_key(&address) {
                continue;
            }
            // A wildcard and a single address may share a port within one table, not with other processes.
            let exclusive = ports.insert(address.port());
            match open_listeners(address, threads, exclusive) {
                Ok(fresh) => opened.push((address, fresh)),
                // A host without IPv6 has all its addresses without it.
                Err(error) if is_all_of_ipv6(address) && lacks_family(&error) => {}
                Err(error) => {
                    let reason = with_source(&error);
                    if before.get(&address) != Some(&reason) {
                        tracing::warn!("{reason}; trying again");
                    }
                    unopened.insert(address, reason);
                }
            }
        }
        opened
    }

    /// Keeps sockets for a successor; duplicates of them, for the threads.
    pub(crate) fn keep(&self, opened: Vec<(SocketAddr, Vec<OwnedFd>)>) -> Sockets {
        let mut duplicates = Vec::new();
        for (address, fresh) in opened {
            for socket in &fresh {
                match socket.try_clone() {
                    Ok(duplicate) => duplicates.push((address, duplicate)),
                    Err(error) => tracing::warn!("can't use a socket on `{address}`: {error}"),
                }
            }
            self.open.borrow_mut().insert(address, fresh);
        }
        duplicates
    }

    /// Duplicates of all that are kept. Whoever needs one that can't be duplicated opens it anew.
    pub(crate) fn duplicates(&self) -> Sockets {
        let open = self.open.borrow();
        let all = open.iter().flat_map(|(address, sockets)| {
            sockets.iter().filter_map(|socket| Some((*address, socket.try_clone().ok()?)))
        });
        all.collect()
    }

    /// The same for the threads of this edge, with a warning for each that can't be duplicated.
    pub(crate) fn duplicates_for_threads(&self) -> Sockets {
        let kept = std::mem::take(&mut *self.open.borrow_mut());
        self.keep(kept.into_iter().collect())
    }

    /// Closes all that the table does not have.
    pub(crate) fn retain(&self, table: &Table) {
        self.open.borrow_mut().retain(|address, _| {
            table.listeners.iter().any(|listener| listener.address == *address)
        });
    }

    /// Closes all.
    pub(crate) fn close(&self) {
        self.open.borrow_mut().clear();
    }
}

/// Spreads sockets over so many threads, those of one address evenly.
pub(crate) fn spread(sockets: Sockets, threads: usize) -> Vec<Sockets> {
    let mut shares: Vec<Sockets> = (0..threads).map(|_| Vec::new()).collect();
    let mut next: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    for (address, socket) in sockets {
        let thread = next.entry(address).or_default();
        shares[*thread % threads].push((address, socket));
        *thread += 1;
    }
    shares
}

fn is_all_of_ipv6(address: SocketAddr) -> bool {
    address.ip() == Ipv6Addr::UNSPECIFIED
}
