//! The rules of a listener in the order of precedence, and which of them a request falls under.

use std::{
    borrow::Cow,
    cmp::{Ordering, Reverse},
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use hornero_model::{CopyOnWrite, Listener, ListenerLimits, PoolName, PreviewName, Protocol};
use tokio_rustls::rustls::ServerConfig;

use crate::{
    forwarding::Network,
    path::{normal, other_readings, plain},
    room::Gauge,
};

/// Which hosts a rule is for, in the order of precedence.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HostRule {
    Name(String),
    /// Every name that ends so: `.example.org` for `*.example.org`.
    Below(String),
    Any,
}

impl HostRule {
    fn new(host: Option<&str>) -> Self {
        match host {
            None => Self::Any,
            Some(host) => match host.strip_prefix('*') {
                Some(suffix) => Self::Below(suffix.to_owned()),
                None => Self::Name(host.to_owned()),
            },
        }
    }

    /// Whether `host` is one of them, in any case.
    fn has(&self, host: &[u8]) -> bool {
        match self {
            Self::Name(name) => name.as_bytes().eq_ignore_ascii_case(host),
            Self::Below(suffix) => {
                let begins = host.len().saturating_sub(suffix.len());
                begins > 0 && host[begins..].eq_ignore_ascii_case(suffix.as_bytes())
            }
            Self::Any => true,
        }
    }

    /// How a name stands to `host`, in any case; others come after every name.
    fn order(&self, host: &[u8]) -> Ordering {
        match self {
            Self::Name(name) => name.bytes().cmp(host.iter().map(|byte| byte.to_ascii_lowercase())),
            Self::Below(_) | Self::Any => Ordering::Greater,
        }
    }

    /// Smaller comes first: names, then the longest ending, then any.
    fn rank(&self) -> (u8, Reverse<usize>) {
        match self {
            Self::Name(_) => (0, Reverse(0)),
            Self::Below(suffix) => (1, Reverse(suffix.len())),
            Self::Any => (2, Reverse(0)),
        }
    }
}

/// A rule with its pool found.
#[derive(Debug)]
pub(crate) struct Rule {
    pub(crate) host: HostRule,
    /// In its normal form.
    pub(crate) path_prefix: Option<Vec<u8>>,
    goal: Goal,
    /// Names of previews, and the pools that requests with one of them go to instead.
    previews: Vec<(PreviewName, usize)>,
}

impl Rule {
    /// Smaller comes first; of one name the longest path.
    fn precedence(&self) -> ((u8, Reverse<usize>), &str, Reverse<usize>) {
        let name = match &self.host {
            HostRule::Name(name) => name.as_str(),
            HostRule::Below(_) | HostRule::Any => "",
        };
        let prefix = self.path_prefix.as_ref().map_or(0, Vec::len);
        (self.host.rank(), name, Reverse(prefix))
    }

    /// Where requests go that name no preview; none where they go to no pool.
    const fn pool(&self) -> Option<usize> {
        match self.goal {
            Goal::Pool(pool) | Goal::Shown(_, pool) => Some(pool),
            Goal::Redirect(_) => None,
        }
    }

    /// The pool of the preview that a request names.
    pub(crate) fn shows(&self, named: &[u8]) -> Option<usize> {
        let same = |(name, _): &&(PreviewName, usize)| name.as_str().as_bytes() == named;
        self.previews.iter().find(same).map(|(_, pool)| *pool)
    }
}

/// What becomes of requests by a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Goal {
    /// They go to the pool with this index in the table.
    Pool(usize),
    /// Those that name a preview go where the rule with this index says, the others to this pool.
    Shown(usize, usize),
    /// They are to come to this port by TLS.
    Redirect(u16),
}

/// A listener with its rules in the order of precedence.
#[derive(Debug)]
pub(crate) struct ListenerRules {
    /// As the table has it.
    pub(crate) source: CopyOnWrite<Listener>,
    pub(crate) address: SocketAddr,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Arc<ServerConfig>>,
    pub(crate) limits: ListenerLimits,
    /// Its connections.
    pub(crate) gauge: Arc<Gauge>,
    /// Proxies whose forwarding fields are taken over.
    trusted: Vec<Network>,
    /// Whether their connections begin with a PROXY header.
    proxy_protocol: bool,
    pub(crate) rules: Vec<Rule>,
    /// How many of them are for one name, which are first and sorted by it.
    names: usize,
    /// Whether any rule looks at the path.
    by_path: bool,
}

impl ListenerRules {
    /// Orders the rules of a valid listener: those with a host first, then those with the end of one, then the longest
    /// path prefix. `places` tells where in the table each pool is.
    pub(crate) fn new(
        listener: &CopyOnWrite<Listener>,
        places: &BTreeMap<&PoolName, usize>,
        tls: Option<Arc<ServerConfig>>,
        gauge: Arc<Gauge>,
    ) -> Self {
        let mut rules: Vec<Rule> = listener
            .rules
            .iter()
            .filter_map(|rule| {
                let place = |name: &PoolName| places.get(name).copied();
                let pool = place(&rule.pool)?;
                let prefix = rule.path_prefix.as_ref().map(|prefix| normal(prefix.as_bytes()));
                let path_prefix = prefix.filter(|prefix| **prefix != *b"/").map(Cow::into_owned);
                let goal = rule.redirect_to.map_or(Goal::Pool(pool), Goal::Redirect);
                let previews = rule.previews.iter();
                let previews = previews.filter_map(|of| Some((of.name.clone(), place(&of.pool)?)));
                let host = HostRule::new(rule.host.as_deref());
                Some(Rule { host, path_prefix, goal, previews: previews.collect() })
            })
            .collect();
        rules.sort_by(|one, other| one.precedence().cmp(&other.precedence()));
        for index in 0..rules.len() {
            let same = |of: &Rule| {
                (of.pool(), &of.previews) == (rules[index].pool(), &rules[index].previews)
            };
            // Rules that lead to the same are told apart by nobody.
            let first = rules.iter().position(same).unwrap_or(index);
            if let (Goal::Pool(pool), false) = (rules[index].goal, rules[index].previews.is_empty())
            {
                rules[index].goal = Goal::Shown(first, pool);
            }
        }
        let is_name = |rule: &Rule| matches!(rule.host, HostRule::Name(_));
        let names = rules.partition_point(is_name);
        let by_path = rules.iter().any(|rule| rule.path_prefix.is_some());
        let (address, protocol) = (listener.address, listener.protocol);
        let trusted =
            listener.trusted_proxies.iter().filter_map(|text| Network::parse(text)).collect();
        let (proxy_protocol, limits) = (listener.proxy_protocol, listener.limits);
        Self {
            source: listener.clone(),
            address,
            protocol,
            tls,
            limits,
            gauge,
            trusted,
            proxy_protocol,
            rules,
            names,
            by_path,
        }
    }

    /// Whether they serve with this certificate, and count at this place.
    pub(crate) fn is_with(&self, tls: Option<&Arc<ServerConfig>>, gauge: &Arc<Gauge>) -> bool {
        let same_tls = match (&self.tls, tls) {
            (None, None) => true,
            (Some(own), Some(other)) => Arc::ptr_eq(own, other),
            (None, Some(_)) | (Some(_), None) => false,
        };
        same_tls && Arc::ptr_eq(&self.gauge, gauge)
    }

    /// Whether a connection of `sender` begins with a PROXY header. Where it comes from alone decides: what it begins
    /// with anybody could send.
    pub(crate) fn expects_header(&self, sender: IpAddr) -> bool {
        self.proxy_protocol && self.trusts(sender)
    }

    /// Whether a client is a proxy whose forwarding fields are taken over.
    pub(crate) fn trusts(&self, client: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.has(client))
    }

    /// Where a request goes; `host` without port, in any case.
    pub(crate) fn route(&self, host: &[u8], target: &[u8]) -> Result<Option<Goal>, Ambiguous> {
        if !self.by_path {
            return Ok(self.find(host, b""));
        }
        if let Some(path) = plain(target) {
            return Ok(self.find(host, path));
        }
        let found = self.find(host, &normal(target));
        let is_same = |reading: Vec<u8>| self.find(host, &reading) == found;
        if other_readings(target).into_iter().all(is_same) { Ok(found) } else { Err(Ambiguous) }
    }

    fn find(&self, host: &[u8], path: &[u8]) -> Option<Goal> {
        let fits = |rule: &&Rule| {
            rule.host.has(host) && rule.path_prefix.as_ref().is_none_or(|want| below(want, path))
        };
        let (names, rest) = self.rules.split_at(self.names);
        // A thousand names cost ten comparisons.
        let first = names.partition_point(|rule| rule.host.order(host).is_lt());
        let of_name = names[first..].iter().take_while(|rule| rule.host.order(host).is_eq());
        of_name.chain(rest).find(fits).map(|rule| rule.goal)
    }
}

/// A path that belongs to one rule as some servers read it, and to another one as others do: passed on it would reach
/// what its rule does not lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ambiguous;

/// Whether `path` is `prefix` or lies below it: `/api` covers `/api`, `/api/x` and `/api?x`, not `/apix`.
fn below(prefix: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| {
        prefix.ends_with(b"/") || matches!(rest.first(), None | Some(b'/' | b'?'))
    })
}
