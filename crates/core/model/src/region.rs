//! Regions and their edges, and what several edges say together.

use std::{collections::BTreeMap, fmt};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BackendStatus, ConnectionCounters, EdgeConnections, EdgeName, EdgeStatus, Health, InstanceId,
    ListenerFault, PoolName, PoolWaiting, RegionName, ReleaseCounters, ReleaseNumber,
};

/// One edge, written `local/edge`.
#[derive(
    Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct EdgeRef {
    /// Its region.
    pub region: RegionName,
    /// Its name there.
    pub edge: EdgeName,
}

impl fmt::Display for EdgeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.edge)
    }
}

/// Over how many edges a table was put in force.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spread {
    /// How many edges have it.
    pub edges: u32,
    /// From the first one's confirmation to the last one's, in milliseconds: for so long some of them followed the table
    /// before.
    pub skew_ms: f64,
}

impl EdgeStatus {
    /// What the edges of a region say together; none where there is none. What one of them alone says is said as it is.
    ///
    /// The table is the oldest one, a server is as healthy as the edge says that thinks worst of it, and unknown where one
    /// has not got it; requests are added up. The process id and the version change whenever one of theirs does.
    pub fn together(statuses: &[&Self]) -> Option<Self> {
        let (first, others) = statuses.split_first()?;
        let mut all = (*first).clone();
        if others.is_empty() {
            return Some(all);
        }
        for other in others {
            all.pid = all.pid.wrapping_add(other.pid);
            all.generation = all.generation.min(other.generation);
            all.version = all.version.wrapping_add(other.version);
            all.term = all.term.max(other.term);
        }
        all.backends = backends(statuses);
        all.counters = counters(statuses);
        all.connections = connections(statuses);
        all.faults = faults(statuses);
        all.waiting = waiting(statuses);
        Some(all)
    }
}

type BackendKey<'a> = (&'a PoolName, &'a InstanceId, ReleaseNumber);

fn backends(statuses: &[&EdgeStatus]) -> Vec<BackendStatus> {
    let mut seen: BTreeMap<BackendKey<'_>, (BackendStatus, usize)> = BTreeMap::new();
    for of in statuses.iter().flat_map(|status| &status.backends) {
        let key = (&of.pool, &of.instance, of.release);
        let (worst, edges) = seen.entry(key).or_insert_with(|| (of.clone(), 0));
        *edges += 1;
        if badness(of.health) > badness(worst.health) {
            *worst = of.clone();
        }
    }
    let told = |(mut worst, edges): (BackendStatus, usize)| {
        if edges < statuses.len() && worst.health == Health::Healthy {
            worst.health = Health::Unknown;
        }
        worst
    };
    seen.into_values().map(told).collect()
}

/// How bad it is what an edge thinks of a server.
fn badness(health: Health) -> u8 {
    match health {
        Health::Healthy => 0,
        Health::Unknown => 1,
        Health::Unhealthy => 2,
    }
}

fn counters(statuses: &[&EdgeStatus]) -> Vec<ReleaseCounters> {
    ReleaseCounters::sum(statuses.iter().flat_map(|status| &status.counters))
}

impl ReleaseCounters {
    /// Counters of several edges, added up.
    pub fn sum<'a>(counters: impl Iterator<Item = &'a Self>) -> Vec<Self> {
        let mut sums: BTreeMap<(&PoolName, ReleaseNumber), Self> = BTreeMap::new();
        for of in counters {
            let key = (&of.pool, of.release);
            let Some(sum) = sums.get_mut(&key) else {
                sums.insert(key, of.clone());
                continue;
            };
            sum.requests += of.requests;
            sum.in_flight += of.in_flight;
            sum.failed += of.failed;
            sum.server_errors += of.server_errors;
            sum.held += of.held;
            sum.retries += of.retries;
            sum.answers.merge(&of.answers);
            sum.latency.merge(&of.latency);
            sum.latency_sum_us += of.latency_sum_us;
            if let Some(own) = &of.probes {
                sum.probes.get_or_insert_default().merge(own);
            }
            let both = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
            sum.bytes_in = both(sum.bytes_in, of.bytes_in);
            sum.bytes_out = both(sum.bytes_out, of.bytes_out);
        }
        sums.into_values().collect()
    }
}

fn connections(statuses: &[&EdgeStatus]) -> Option<EdgeConnections> {
    let mut all = EdgeConnections::default();
    for status in statuses {
        let own = status.connections.as_ref()?;
        add(&mut all.outside, &own.outside);
        add(&mut all.internal, &own.internal);
    }
    Some(all)
}

fn add(sum: &mut ConnectionCounters, own: &ConnectionCounters) {
    sum.open += own.open;
    sum.limit += own.limit;
    sum.source_limit += own.source_limit;
    sum.given_up += own.given_up;
    sum.refused += own.refused;
    sum.refused_by_source += own.refused_by_source;
    sum.slow_heads += own.slow_heads;
    sum.bad_proxy_headers += own.bad_proxy_headers;
}

/// A listener is at fault where it is at one edge; it serves where it does at all of those.
fn faults(statuses: &[&EdgeStatus]) -> Vec<ListenerFault> {
    let mut faults: Vec<ListenerFault> = Vec::new();
    for fault in statuses.iter().flat_map(|status| &status.faults) {
        match faults.iter_mut().find(|known| known.address == fault.address) {
            Some(known) if known.serves && !fault.serves => *known = fault.clone(),
            Some(_) => {}
            None => faults.push(fault.clone()),
        }
    }
    faults
}

fn waiting(statuses: &[&EdgeStatus]) -> Vec<PoolWaiting> {
    let mut sums: BTreeMap<&PoolName, u32> = BTreeMap::new();
    for of in statuses.iter().flat_map(|status| &status.waiting) {
        let sum = sums.entry(&of.pool).or_default();
        *sum = sum.saturating_add(of.requests);
    }
    let told = |(pool, requests): (&PoolName, u32)| PoolWaiting { pool: pool.clone(), requests };
    sums.into_iter().map(told).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{PortName, ProbeCounters, ServiceName};

    fn pool() -> PoolName {
        PoolName {
            service: ServiceName::new("site").unwrap(),
            port: PortName::new("http").unwrap(),
        }
    }

    fn status(generation: u64, servers: &[(&str, Health)], in_flight: u64) -> EdgeStatus {
        let backend = |(id, health): &(&str, Health)| BackendStatus {
            pool: pool(),
            instance: InstanceId::new(*id).unwrap(),
            release: ReleaseNumber(1),
            health: *health,
            last_error: None,
        };
        EdgeStatus {
            pid: 7,
            generation,
            backends: servers.iter().map(backend).collect(),
            counters: vec![ReleaseCounters {
                requests: 10,
                in_flight,
                failed: 1,
                ..ReleaseCounters::new(pool(), ReleaseNumber(1))
            }],
            ..EdgeStatus::default()
        }
    }

    #[test]
    fn one_edge_speaks_for_itself() {
        let own = status(3, &[("site-1-b", Health::Healthy), ("site-1-a", Health::Unknown)], 2);
        assert_eq!(EdgeStatus::together(&[&own]), Some(own));
        assert_eq!(EdgeStatus::together(&[]), None);
    }

    #[test]
    fn several_are_as_well_as_the_one_that_is_worst_off() {
        let one = status(3, &[("site-1-a", Health::Healthy), ("site-1-b", Health::Healthy)], 2);
        let other = status(2, &[("site-1-a", Health::Unhealthy)], 5);
        let all = EdgeStatus::together(&[&one, &other]).unwrap();
        let health = |id: &str| all.health_of(&InstanceId::new(id).unwrap());
        assert_eq!(
            (all.generation, health("site-1-a"), health("site-1-b")),
            (2, Health::Unhealthy, Health::Unknown)
        );
        let service = ServiceName::new("site").unwrap();
        assert_eq!(all.totals(&service, ReleaseNumber(1)), (7, 2));
        assert_ne!(all.pid, one.pid, "another process than any of them");
    }

    #[test]
    fn what_each_edge_asked_by_itself_counts() {
        let of = |requests: u64| {
            let probes = ProbeCounters { requests, failed: 1, ..ProbeCounters::default() };
            let probes = (requests > 0).then(|| Box::new(probes));
            ReleaseCounters { probes, ..ReleaseCounters::new(pool(), ReleaseNumber(1)) }
        };
        // The first of three edges has not begun to.
        let counted = [of(0), of(3), of(4)];
        let sums = ReleaseCounters::sum(counted.iter());
        let probes = sums[0].probes.as_deref().unwrap();
        assert_eq!((sums.len(), probes.requests, probes.failed), (1, 7, 2));
    }

    #[test]
    fn regions_and_edges_have_names_of_their_own() {
        assert_eq!(EdgeRef::default().to_string(), "local/edge");
        assert!(RegionName::default().is_default());
        let text = serde_json::to_string(&EdgeRef::default()).unwrap();
        assert_eq!(text, r#"{"region":"local","edge":"edge"}"#);
        assert_eq!(serde_json::from_str::<EdgeRef>(&text).unwrap(), EdgeRef::default());
        assert!(serde_json::from_str::<RegionName>("\"eu west\"").is_err());
    }
}
