//! How much at once: a bound for all clients together, and one for each.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
};

/// Permits that are given out until either bound is reached.
#[derive(Debug)]
pub(super) struct Permits {
    total_max: usize,
    client_max: usize,
    given: Mutex<Given>,
}

#[derive(Debug, Default)]
struct Given {
    total: usize,
    /// Clients that hold any; so never more than `total`.
    by_client: HashMap<IpAddr, usize>,
}

/// A permit; dropping it gives it back.
#[derive(Debug)]
pub(super) struct Permit {
    permits: Arc<Permits>,
    client: IpAddr,
}

impl Permits {
    pub fn new(total_max: usize, client_max: usize) -> Arc<Self> {
        Arc::new(Self { total_max, client_max, given: Mutex::default() })
    }

    /// A permit for this client, if there is one left.
    pub fn take(self: &Arc<Self>, client: IpAddr) -> Option<Permit> {
        let mut given = self.given.lock().unwrap_or_else(PoisonError::into_inner);
        let held = given.by_client.get(&client).copied().unwrap_or(0);
        if given.total >= self.total_max || held >= self.client_max {
            return None;
        }
        given.total += 1;
        given.by_client.insert(client, held + 1);
        Some(Permit { permits: Arc::clone(self), client })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut given = self.permits.given.lock().unwrap_or_else(PoisonError::into_inner);
        given.total -= 1;
        if let Some(held) = given.by_client.get_mut(&self.client) {
            *held -= 1;
            if *held == 0 {
                given.by_client.remove(&self.client);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn both_bounds_hold_and_permits_come_back() {
        let permits = Permits::new(3, 2);
        let [a, b] = [1, 2].map(|last| IpAddr::from(Ipv4Addr::new(10, 70, 16, last)));
        let first = permits.take(a);
        let second = permits.take(a);
        assert!(first.is_some() && second.is_some());
        assert!(permits.take(a).is_none(), "one client's bound");
        let third = permits.take(b);
        assert!(third.is_some());
        assert!(permits.take(b).is_none(), "the bound of all");
        drop(first);
        assert!(permits.take(b).is_some());
        drop((second, third));
        assert!(permits.given.lock().unwrap().by_client.is_empty());
    }
}
