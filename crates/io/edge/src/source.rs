//! Where connections come from, and how many each source has.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Parts of the table of sources, each with a lock of its own: threads that accept at the same time rarely meet.
const SHARDS: usize = 64;

/// What connections are counted by: an IPv4 address, or the /64 that one IPv6 host usually has for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    V4([u8; 4]),
    V6([u8; 8]),
}

impl Source {
    pub(crate) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.octets()),
            IpAddr::V6(address) => {
                let [a, b, c, d, e, f, g, h, ..] = address.octets();
                Self::V6([a, b, c, d, e, f, g, h])
            }
        }
    }
}

/// The sources that have connections, over all threads.
#[derive(Debug)]
pub(crate) struct Sources {
    shards: Box<[Mutex<HashMap<Source, usize>>]>,
    hasher: RandomState,
}

impl Default for Sources {
    fn default() -> Self {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Self { shards, hasher: RandomState::new() }
    }
}

impl Sources {
    fn shard(&self, source: Source) -> MutexGuard<'_, HashMap<Source, usize>> {
        let shard = self.hasher.hash_one(source) % SHARDS as u64;
        self.shards[shard as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection of `source` in; how many it had before.
    pub(crate) fn enter(&self, source: Source) -> usize {
        let mut sources = self.shard(source);
        let count = sources.entry(source).or_default();
        *count += 1;
        *count - 1
    }

    pub(crate) fn leave(&self, source: Source) {
        let mut sources = self.shard(source);
        if let Some(count) = sources.get_mut(&source) {
            *count -= 1;
            if *count == 0 {
                sources.remove(&source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_host_is_counted_by_its_64() {
        let of = |text: &str| Source::of(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::1"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::1"), of("2001:db8:1:3::1"));
        assert_ne!(of("192.0.2.1"), of("192.0.2.2"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }
}
