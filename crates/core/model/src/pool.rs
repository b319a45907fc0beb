//! Pools of a route table: the instances behind one port, and which releases among them get how much of what is new.

use std::{fmt, net::SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    HealthContract, InstanceId, Millis, PortName, Protocol, ProxyProtocol, ReleaseNumber,
    ServiceName, Sticky, Timestamp,
};

/// One port of one service, written `site/http`.
#[derive(
    Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct PoolName {
    /// The service.
    pub service: ServiceName,
    /// Its port.
    pub port: PortName,
}

impl fmt::Display for PoolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.port)
    }
}

/// The instances behind one port of one service: every set that runs, of which some get the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "WrittenPool", into = "WrittenPool")]
pub struct Pool {
    /// Its name.
    pub name: PoolName,
    /// What is spoken with the instances.
    pub protocol: Protocol,
    /// Whether HTTP with them is HTTP/2, without TLS.
    pub http2: bool,
    /// How long a connection to an instance may lie idle and still be used; none means 4 s.
    pub idle_timeout: Option<Millis>,
    /// Which releases get new requests, or connections where bytes are spoken. Empty while nothing has been proven yet:
    /// requests get 503. Where a release has no healthy instance, the others of these get its part.
    pub traffic: Vec<Share>,
    /// What previews get of it before the rest is shared out: releases without a part in `traffic`. Where one has no healthy
    /// instance, those of `traffic` get its part; it never gets theirs.
    pub previews: Vec<Share>,
    /// By what a client's requests stick to one of the releases that share them.
    pub sticky: Option<Sticky>,
    /// What the edge asks each of the releases that share requests, by itself.
    pub probe: Option<PoolProbe>,
    /// Whether what is new is let in at once.
    pub admission: Admission,
    /// Instances of every set: those that get requests and those being started, drained or kept warm. All are checked.
    pub backends: Vec<PoolBackend>,
    /// The health contract; none means that accepting a connection is enough.
    pub health: Option<HealthContract>,
}

impl Pool {
    /// How much of what is new a release gets, as [`Share::weight`]; 0 where it gets nothing.
    pub fn weight(&self, release: ReleaseNumber) -> u32 {
        let share = self.traffic.iter().find(|share| share.release == release);
        share.map_or(0, |share| share.weight)
    }

    /// How much of what is new a release gets as that of a preview, as [`Share::weight`].
    pub fn preview_weight(&self, release: ReleaseNumber) -> u32 {
        let share = self.previews.iter().find(|share| share.release == release);
        share.map_or(0, |share| share.weight)
    }

    /// Whether a release gets new requests.
    pub fn receives(&self, release: ReleaseNumber) -> bool {
        self.weight(release) > 0
    }
}

/// Requests of the edge's own to each of the releases that share a pool's traffic, while several do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolProbe {
    /// The path of the request, a GET by HTTP/1.1.
    pub path: String,
    /// How often each release is asked.
    pub interval: Millis,
}

/// One instance in a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolBackend {
    /// The instance.
    pub instance: InstanceId,
    /// The release it was made from.
    pub release: ReleaseNumber,
    /// Where its port answers.
    pub address: SocketAddr,
    /// The health contract of its own release, which comes before the pool's: two releases of one service may
    /// declare different checks, and neither may be judged by the other's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthContract>,
    /// The header that each connection to it begins with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proxy_protocol: Option<ProxyProtocol>,
    /// The same of the port that its health check asks, which may be another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health_proxy_protocol: Option<ProxyProtocol>,
}

/// One release's part of what is new in a pool.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(deny_unknown_fields)]
pub struct Share {
    /// The release.
    pub release: ReleaseNumber,
    /// Its part in ten-thousandths, from 1 on; those of one pool make [`Share::WHOLE`] together.
    pub weight: u32,
}

impl Share {
    /// The weight of everything.
    pub const WHOLE: u32 = 10_000;

    /// The traffic of a pool that goes to one release alone.
    pub const fn whole(release: ReleaseNumber) -> Self {
        Self { release, weight: Self::WHOLE }
    }

    /// Whether `previews` can stand beside a pool's traffic: each another release, and together less than the whole.
    pub fn leave_room(previews: &[Self], traffic: &[Self]) -> bool {
        let sum: u64 = previews.iter().map(|share| u64::from(share.weight)).sum();
        let alone = |(index, share): (usize, &Self)| {
            let others = traffic.iter().chain(&previews[..index]);
            share.weight > 0 && others.into_iter().all(|other| other.release != share.release)
        };
        sum < u64::from(Self::WHOLE) && previews.iter().enumerate().all(alone)
    }

    /// Whether shares can be a pool's traffic: none, or each of another release and together the whole.
    pub fn are_valid(traffic: &[Self]) -> bool {
        let mut releases: Vec<ReleaseNumber> = traffic.iter().map(|share| share.release).collect();
        releases.sort_unstable();
        releases.dedup();
        let sum: u64 = traffic.iter().map(|share| u64::from(share.weight)).sum();
        let whole = traffic.is_empty() || sum == u64::from(Self::WHOLE);
        whole && releases.len() == traffic.len() && traffic.iter().all(|share| share.weight > 0)
    }
}

/// Whether the edge lets in what is new.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Admission {
    /// At once.
    #[default]
    Open,
    /// It waits until another table lets it in: HTTP requests with their connections, TCP connections without a byte of
    /// theirs read. What comes too late or beyond the number gets 503 (HTTP) or is closed.
    Held {
        /// How long what waits may wait at the longest.
        until: Timestamp,
        /// How many may wait at the same time, over all threads of the edge.
        at_most: u32,
    },
    /// Nothing runs: what comes waits in the same way, until a server that gets it is healthy or another table lets it in.
    /// The edge tells at once of the first that waits.
    Idle {
        /// How long each may wait at the longest.
        wait: Millis,
        /// How many may wait at the same time, over all threads of the edge.
        at_most: u32,
    },
}

impl Admission {
    fn is_open(&self) -> bool {
        *self == Self::Open
    }
}

/// A pool as it is written. One release that gets everything is written as it was when there could be no other, so that
/// an edge from before shares reads every table that it can follow, and refuses the others whole.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct WrittenPool {
    name: PoolName,
    protocol: Protocol,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    http2: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    idle_timeout: Option<Millis>,
    active: Option<ReleaseNumber>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    traffic: Vec<Share>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    previews: Vec<Share>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sticky: Option<Sticky>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    probe: Option<PoolProbe>,
    #[serde(default, skip_serializing_if = "Admission::is_open")]
    admission: Admission,
    backends: Vec<PoolBackend>,
    health: Option<HealthContract>,
}

impl From<WrittenPool> for Pool {
    fn from(written: WrittenPool) -> Self {
        let whole = written.active.map(Share::whole).into_iter();
        Self {
            name: written.name,
            protocol: written.protocol,
            http2: written.http2,
            idle_timeout: written.idle_timeout,
            traffic: whole.chain(written.traffic).collect(),
            previews: written.previews,
            sticky: written.sticky,
            probe: written.probe,
            admission: written.admission,
            backends: written.backends,
            health: written.health,
        }
    }
}

impl From<Pool> for WrittenPool {
    fn from(pool: Pool) -> Self {
        let (active, traffic) = match &pool.traffic[..] {
            [share] if *share == Share::whole(share.release) => (Some(share.release), Vec::new()),
            _ => (None, pool.traffic),
        };
        Self {
            name: pool.name,
            protocol: pool.protocol,
            http2: pool.http2,
            idle_timeout: pool.idle_timeout,
            active,
            traffic,
            previews: pool.previews,
            sticky: pool.sticky,
            probe: pool.probe,
            admission: pool.admission,
            backends: pool.backends,
            health: pool.health,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pool as it was written when one release got everything.
    const OLD: &str = r#"{"name":{"service":"site","port":"http"},"protocol":"http","active":3,"backends":[],"health":null}"#;

    fn share(release: u32, weight: u32) -> Share {
        Share { release: ReleaseNumber(release), weight }
    }

    #[test]
    fn a_pool_from_before_shares_is_read_and_written_as_it_was() {
        let pool: Pool = serde_json::from_str(OLD).unwrap();
        assert_eq!(pool.traffic, [Share::whole(ReleaseNumber(3))]);
        assert_eq!(pool.admission, Admission::Open);
        assert_eq!(serde_json::to_string(&pool).unwrap(), OLD);
        let nobody = OLD.replace("\"active\":3", "\"active\":null");
        let pool: Pool = serde_json::from_str(&nobody).unwrap();
        assert_eq!(pool.traffic, []);
        assert_eq!(serde_json::to_string(&pool).unwrap(), nobody);
    }

    #[test]
    fn shares_and_a_hold_round_trip() {
        let mut pool: Pool = serde_json::from_str(OLD).unwrap();
        pool.traffic = vec![share(3, 9_500), share(4, 500)];
        pool.admission = Admission::Held { until: Timestamp(5), at_most: 7 };
        pool.sticky = Some(Sticky::Cookie("session".to_owned()));
        let json = serde_json::to_string(&pool).unwrap();
        assert!(
            json.contains(
                r#""active":null,"traffic":[{"release":3,"weight":9500},{"release":4,"weight":500}],"sticky":{"cookie":"session"},"admission":{"held":{"until":"1970-01-01T00:00:00.005Z","at_most":7}}"#
            ),
            "{json}"
        );
        assert_eq!(serde_json::from_str::<Pool>(&json).unwrap(), pool);
        assert_eq!((pool.weight(ReleaseNumber(4)), pool.weight(ReleaseNumber(5))), (500, 0));
        assert!(pool.receives(ReleaseNumber(3)) && !pool.receives(ReleaseNumber(5)));
    }

    #[test]
    fn a_pool_of_a_service_that_sleeps_round_trips() {
        let mut pool: Pool = serde_json::from_str(OLD).unwrap();
        pool.admission = Admission::Idle { wait: Millis(30_000), at_most: 7 };
        let json = serde_json::to_string(&pool).unwrap();
        assert!(json.contains(r#""admission":{"idle":{"wait":30000,"at_most":7}}"#), "{json}");
        assert_eq!(serde_json::from_str::<Pool>(&json).unwrap(), pool);
    }

    #[test]
    fn shares_make_the_whole_each_of_another_release() {
        for (shares, expected) in [
            (vec![], true),
            (vec![share(1, 10_000)], true),
            (vec![share(1, 9_999), share(2, 1)], true),
            (vec![share(1, 10_000), share(2, 0)], false),
            (vec![share(1, 5_000)], false),
            (vec![share(1, 5_000), share(1, 5_000)], false),
            (vec![share(1, u32::MAX), share(2, 10_001)], false),
        ] {
            assert_eq!(Share::are_valid(&shares), expected, "{shares:?}");
        }
    }
}
