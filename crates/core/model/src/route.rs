//! The route table that control gives the edge, and what the edge reports back.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    CopyOnWrite, InstanceId, LatencyHistogram, ListenerLimits, Pool, PoolName, PreviewRule,
    Protocol, ReleaseNumber, RouteTls, ServiceName, Term,
};

/// An immutable, numbered picture of where requests go. A table is put in force whole or not at all. What two tables have in
/// common they share, so that copying one, and comparing it with the one before, costs what differs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteTable {
    /// Larger than that of every table before it.
    pub generation: u64,
    /// What the edge listens on.
    pub listeners: CopyOnWrite<Vec<CopyOnWrite<Listener>>>,
    /// Where requests can go.
    pub pools: CopyOnWrite<Vec<CopyOnWrite<Pool>>>,
}

impl RouteTable {
    /// Whether two tables are the same but for their numbers. What they share is not looked at.
    pub fn says_same(&self, other: &Self) -> bool {
        self.listeners == other.listeners && self.pools == other.pools
    }

    /// The names of the pools that one of two tables has, and the other has not, or not like this.
    pub fn other_pools<'t>(&'t self, other: &'t Self) -> BTreeSet<&'t PoolName> {
        type Pools<'t> = &'t [CopyOnWrite<Pool>];
        // Mostly one service has changed.
        let (own, others) = without_ends(&self.pools, &other.pools, |(own, other)| own == other);
        let named = |pools: Pools<'t>| -> BTreeMap<&'t PoolName, &'t CopyOnWrite<Pool>> {
            pools.iter().map(|pool| (&pool.name, pool)).collect()
        };
        let (own, others) = (named(own), named(others));
        let names = own.keys().chain(others.keys()).copied();
        names.filter(|name| own.get(name) != others.get(name)).collect()
    }
}

/// A listening socket and its rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Listener {
    /// Where it listens.
    pub address: SocketAddr,
    /// What is spoken with the client.
    pub protocol: Protocol,
    /// TLS towards the client: what is shown to those that ask for a host without a certificate of its own, or for none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<RouteTls>,
    /// Certificates of hosts (RFC 6066, 3), where not all have the same one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub certificates: Vec<HostCertificate>,
    /// Networks of proxies in front, whose forwarding fields are taken over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// Whether each connection of a trusted proxy begins with a header of the PROXY protocol, of either version.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub proxy_protocol: bool,
    /// What it allows its clients.
    #[serde(default, skip_serializing_if = "ListenerLimits::is_default")]
    pub limits: ListenerLimits,
    /// Rules; the one with a host before one with `*.`, before one without, then the longest path prefix, wins. A TCP
    /// listener has one.
    pub rules: Vec<RouteRule>,
}

/// The certificate of a host.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostCertificate {
    /// The host name (lower case), or with `*.` every name below it that has none of its own.
    pub host: String,
    /// Its certificate and key.
    pub tls: RouteTls,
}

impl Listener {
    /// The certificate for requests by a rule's `host`.
    pub fn certificate_of(&self, host: Option<&str>) -> Option<&RouteTls> {
        let own = self.certificates.iter().find(|own| Some(own.host.as_str()) == host);
        own.map(|own| &own.tls).or(self.tls.as_ref())
    }
}

/// Which requests go to which pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RouteRule {
    /// Only requests for this host name (lower case, no port), or with `*.` for every name below it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Only requests below this path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// Where they go.
    pub pool: PoolName,
    /// The port that they are sent to by TLS instead (308).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_to: Option<u16>,
    /// Previews that such requests may name, which they go to instead.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub previews: Vec<PreviewRule>,
}

impl RouteRule {
    /// A rule for every request.
    pub fn new(pool: PoolName) -> Self {
        Self { host: None, path_prefix: None, pool, redirect_to: None, previews: Vec::new() }
    }
}

/// What the edge thinks of a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// It has not passed a check yet.
    Unknown,
    /// It passed its last check.
    Healthy,
    /// It failed `unhealthy_after` checks in a row after having been healthy.
    Unhealthy,
}

/// One backend as the edge sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackendStatus {
    /// The pool it is in.
    pub pool: PoolName,
    /// The instance.
    pub instance: InstanceId,
    /// Its release.
    pub release: ReleaseNumber,
    /// What the edge thinks of it.
    pub health: Health,
    /// Why the last check failed, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_error: Option<String>,
}

/// Counters of one release in one pool since the edge first knew it; handed on to a successor edge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReleaseCounters {
    /// The pool.
    pub pool: PoolName,
    /// The release.
    pub release: ReleaseNumber,
    /// Requests (or TCP connections) begun.
    pub requests: u64,
    /// Requests in flight now, upgraded and streaming ones included.
    pub in_flight: u64,
    /// Requests that failed at the edge: no backend, refused or broken upstream connection, time-out, cut off.
    pub failed: u64,
    /// Answers with a status of 500 or more that the instances gave themselves.
    pub server_errors: u64,
    /// Requests that waited before they were let in, while nothing new was: of those begun. Left out while there was none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub held: u64,
    /// Attempts beyond the first that requests took: the server before could not be reached, or closed without a word. Left
    /// out while there was none.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub retries: u64,
    /// Answers that the instances gave themselves, by class; those of 500 and more are `server_errors`. Left out while there
    /// was none, as in an edge that is too old to tell.
    #[serde(default, skip_serializing_if = "AnswerClasses::is_empty")]
    pub answers: AnswerClasses,
    /// How long answers of instances took to begin: from the choice of the release, which follows on the request's head, to
    /// the answer's head (1xx left aside). Only HTTP, and only in a status: a table is confirmed without them.
    #[serde(default, skip_serializing_if = "LatencyHistogram::is_empty")]
    pub latency: LatencyHistogram,
    /// The sum of those times, in microseconds.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub latency_sum_us: u64,
    /// Bytes that went to instances, heads and what is in flight included; absent in an edge that is too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
    /// Bytes that came from instances, in the same way; absent in an edge that is too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// What came of the edge's own requests, in none of the other counts; absent where it made none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probes: Option<Box<ProbeCounters>>,
}

/// What came of requests that the edge made by itself to one release in one pool.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ProbeCounters {
    /// Those that have ended.
    pub requests: u64,
    /// Those without an answer.
    pub failed: u64,
    /// Answers with a status of 500 or more.
    pub server_errors: u64,
    /// How long answers took to begin, from before the connection was made.
    pub latency: LatencyHistogram,
}

/// Answers by the class of their status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct AnswerClasses {
    /// 101: the connection speaks another protocol from then on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub upgraded: u64,
    /// 2xx.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub success: u64,
    /// 3xx.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub redirect: u64,
    /// 4xx.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub client_error: u64,
}

impl AnswerClasses {
    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Adds what another edge counted.
    pub fn merge(&mut self, other: &Self) {
        self.upgraded += other.upgraded;
        self.success += other.success;
        self.redirect += other.redirect;
        self.client_error += other.client_error;
    }
}

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl ReleaseCounters {
    /// Those of a release that has not had a request yet.
    pub fn new(pool: PoolName, release: ReleaseNumber) -> Self {
        Self {
            pool,
            release,
            requests: 0,
            in_flight: 0,
            failed: 0,
            server_errors: 0,
            held: 0,
            retries: 0,
            answers: AnswerClasses::default(),
            latency: LatencyHistogram::default(),
            latency_sum_us: 0,
            bytes_in: None,
            bytes_out: None,
            probes: None,
        }
    }
}

impl ProbeCounters {
    /// Adds those of another edge, or of one before it.
    pub fn merge(&mut self, other: &Self) {
        self.requests = self.requests.saturating_add(other.requests);
        self.failed = self.failed.saturating_add(other.failed);
        self.server_errors = self.server_errors.saturating_add(other.server_errors);
        self.latency.merge(&other.latency);
    }
}

/// The edge's answer to "how are you".
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EdgeStatus {
    /// Process id of the edge.
    pub pid: u32,
    /// The table in force; 0 before the first.
    pub generation: u64,
    /// Grows with every change of a health state, whenever a set that is not active gets down to 0 in flight, and when a
    /// request begins to wait at a pool of which nothing runs.
    pub version: u64,
    /// Every backend of the table in force.
    pub backends: Vec<BackendStatus>,
    /// Every release of the table in force.
    pub counters: Vec<ReleaseCounters>,
    /// Its clients' connections; absent in an edge that is too old to tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub connections: Option<EdgeConnections>,
    /// Listeners of the table in force that can't serve, or not as they should.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub faults: Vec<ListenerFault>,
    /// The newest term of control that it has heard of.
    #[serde(default, skip_serializing_if = "Term::is_first")]
    pub term: Term,
    /// Pools at which requests wait for a server, and how many do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<PoolWaiting>,
}

/// Requests that wait at a pool.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PoolWaiting {
    /// The pool.
    pub pool: PoolName,
    /// How many wait.
    pub requests: u32,
}

/// The edge's client connections.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct EdgeConnections {
    /// Of listeners for the outside.
    pub outside: ConnectionCounters,
    /// Of listeners for the home's own servers, which call services by name.
    pub internal: ConnectionCounters,
}

/// Client connections of listeners of one kind; what is counted is counted since the edge began.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
pub struct ConnectionCounters {
    /// Those that are open.
    pub open: u64,
    /// How many may be.
    pub limit: u64,
    /// How many one source may have: an IPv4 address, or an IPv6 /64.
    pub source_limit: u64,
    /// Those closed to make room for newer ones; no request was under way on them.
    pub given_up: u64,
    /// Those refused because there were too many, each with a request under way.
    pub refused: u64,
    /// Those refused because their source had too many, each with a request under way.
    pub refused_by_source: u64,
    /// Those closed because their head or handshake took too long.
    pub slow_heads: u64,
    /// Those of trusted proxies closed because their PROXY header was missing, malformed or late.
    #[serde(default)]
    pub bad_proxy_headers: u64,
}

/// A listener that can't serve, or not as it should; the others do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ListenerFault {
    /// Where it listens, or should.
    pub address: SocketAddr,
    /// Why, for people.
    pub reason: String,
    /// Whether it serves all the same, as with the certificate from before.
    #[serde(default)]
    pub serves: bool,
    /// The file of the certificate that is at fault, where one is: hosts with another one are served.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
}

impl EdgeStatus {
    /// Requests that wait for a server of a service.
    pub fn waiting_for(&self, service: &ServiceName) -> u64 {
        let own = self.waiting.iter().filter(|of| of.pool.service == *service);
        own.map(|of| u64::from(of.requests)).sum()
    }

    /// Sums of a service's counters at one release over its pools, and for a preview over those of the service that it
    /// shows: in flight and failed.
    pub fn totals(&self, service: &ServiceName, release: ReleaseNumber) -> (u64, u64) {
        self.counters
            .iter()
            .filter(|counter| counter.release == release && service.is_of(&counter.pool.service))
            .fold((0, 0), |(in_flight, failed), counter| {
                (in_flight + counter.in_flight, failed + counter.failed)
            })
    }

    /// Requests of a service that waited before a release of it got them, over its pools.
    pub fn held(&self, service: &ServiceName, release: ReleaseNumber) -> u64 {
        let counters = self.counters.iter().filter(|counter| counter.release == release);
        counters.filter(|counter| service.is_of(&counter.pool.service)).map(|of| of.held).sum()
    }

    /// The health of every instance that an edge has, as [`Self::health_of`] tells it of one.
    pub fn healths(&self) -> BTreeMap<InstanceId, Health> {
        self.healths_where(|_| true)
    }

    /// The same of some instances.
    pub fn healths_where(
        &self,
        is_asked: impl Fn(&InstanceId) -> bool,
    ) -> BTreeMap<InstanceId, Health> {
        let mut healths: BTreeMap<InstanceId, Health> = BTreeMap::new();
        for backend in self.backends.iter().filter(|of| is_asked(&of.instance)) {
            match healths.get_mut(&backend.instance) {
                Some(health) => *health = worst(*health, backend.health),
                None => {
                    healths.insert(backend.instance.clone(), backend.health);
                }
            }
        }
        healths
    }

    /// The instances of which one of two statuses tells something in a pool that the other one does not, or not like this.
    /// Those of one table come in one order, and mostly few have changed.
    pub fn other_instances<'s>(&'s self, other: &'s Self) -> BTreeSet<&'s InstanceId> {
        let is_same = |(one, other): &(&BackendStatus, &BackendStatus)| {
            (&one.instance, one.health, &one.pool) == (&other.instance, other.health, &other.pool)
        };
        let (own, others) = without_ends(&self.backends, &other.backends, is_same);
        own.iter().chain(others).map(|backend| &backend.instance).collect()
    }

    /// The health of an instance over all its pools: the worst of them; unknown when the edge has no such backend.
    pub fn health_of(&self, instance: &InstanceId) -> Health {
        let own = self.backends.iter().filter(|backend| backend.instance == *instance);
        own.map(|backend| backend.health).reduce(worst).unwrap_or(Health::Unknown)
    }
}

/// What is left of two lists without what is the same at their beginnings and at their ends.
fn without_ends<'t, T>(
    one: &'t [T],
    other: &'t [T],
    is_same: impl Fn(&(&T, &T)) -> bool,
) -> (&'t [T], &'t [T]) {
    let first = one.iter().zip(other).take_while(&is_same).count();
    let (one, other) = (&one[first..], &other[first..]);
    let last = one.iter().rev().zip(other.iter().rev()).take_while(&is_same).count();
    (&one[..one.len() - last], &other[..other.len() - last])
}

/// What an instance is that one pool finds in the one state and another in the other.
const fn worst(one: Health, other: Health) -> Health {
    match (one, other) {
        (Health::Unhealthy, _) | (_, Health::Unhealthy) => Health::Unhealthy,
        (Health::Unknown, _) | (_, Health::Unknown) => Health::Unknown,
        (Health::Healthy, Health::Healthy) => Health::Healthy,
    }
}
