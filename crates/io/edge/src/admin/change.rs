//! What a table changes of the one before it: all that an edge has to be told that has that one in force.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use hornero_model::{CopyOnWrite, Listener, Pool, PoolName, RouteTable};
use serde::{Deserialize, Serialize};

/// A table, told by what it changes of the one before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableChange {
    /// The number of the table that it is a change of.
    pub from: u64,
    /// The number of the table that comes of it.
    pub generation: u64,
    /// Listeners that the one before has not, or not like this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub listeners: Vec<CopyOnWrite<Listener>>,
    /// The addresses of listeners that the one before has, and this one has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub closed: Vec<SocketAddr>,
    /// Pools that the one before has not, or not like this.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pools: Vec<CopyOnWrite<Pool>>,
    /// Pools that the one before has, and this one has not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<PoolName>,
}

impl TableChange {
    /// What `after` changes of `before`; none where that does not tell it, as where its listeners are in no order.
    pub fn between(before: &RouteTable, after: &RouteTable) -> Option<Self> {
        let (listeners, closed) =
            differences(&before.listeners, &after.listeners, |listener| listener.address);
        let (pools, gone) = differences(&before.pools, &after.pools, |pool| pool.name.clone());
        let (from, generation) = (before.generation, after.generation);
        let change = Self { from, generation, listeners, closed, pools, gone };
        (change.clone().of(before) == *after).then_some(change)
    }

    /// The table that comes of it: what stays as it is is shared with the one before.
    pub fn of(self, before: &RouteTable) -> RouteTable {
        let Self { generation, listeners, closed, pools, gone, .. } = self;
        let listeners =
            changed(&before.listeners, listeners, closed, |listener| listener.address).into();
        let pools = changed(&before.pools, pools, gone, |pool| pool.name.clone()).into();
        RouteTable { generation, listeners, pools }
    }
}

type Shared<T> = CopyOnWrite<T>;

/// What comes or is another one, and the keys of what goes.
fn differences<T: Eq, K: Ord>(
    before: &[Shared<T>],
    after: &[Shared<T>],
    key: impl Fn(&T) -> K,
) -> (Vec<Shared<T>>, Vec<K>) {
    let known: BTreeMap<K, &Shared<T>> = before.iter().map(|one| (key(one), one)).collect();
    let kept: BTreeSet<K> = after.iter().map(|one| key(one)).collect();
    let others = after.iter().filter(|one| known.get(&key(one)) != Some(one));
    let others = others.cloned().collect();
    (others, known.into_keys().filter(|key| !kept.contains(key)).collect())
}

/// A list without what goes, and with what comes in its place, in the order of the keys.
fn changed<T, K: Ord>(
    before: &[Shared<T>],
    come: Vec<Shared<T>>,
    go: Vec<K>,
    key: impl Fn(&T) -> K,
) -> Vec<Shared<T>> {
    let mut all: BTreeMap<K, Shared<T>> =
        before.iter().map(|one| (key(one), one.clone())).collect();
    for gone in &go {
        all.remove(gone);
    }
    all.extend(come.into_iter().map(|one| (key(&one), one)));
    all.into_values().collect()
}

#[cfg(test)]
mod tests {
    use hornero_model::{Protocol, RouteRule};

    use super::*;

    fn listener(port: u16, rules: &[&str]) -> Listener {
        let name = |service: &&str| PoolName {
            service: service.parse().unwrap(),
            port: "http".parse().unwrap(),
        };
        Listener {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            protocol: Protocol::Http,
            tls: None,
            certificates: Vec::new(),
            trusted_proxies: Vec::new(),
            proxy_protocol: false,
            limits: Default::default(),
            rules: rules.iter().map(|service| RouteRule::new(name(service))).collect(),
        }
    }

    fn table(generation: u64, listeners: &[(u16, &[&str])]) -> RouteTable {
        let listeners = listeners.iter().map(|(port, rules)| listener(*port, rules)).collect();
        RouteTable { generation, listeners, ..RouteTable::default() }
    }

    #[test]
    fn a_table_comes_of_the_one_before_and_what_it_changes() {
        let before = table(1, &[(1000, &["one"]), (2000, &["two"]), (3000, &[])]);
        let after = table(5, &[(1000, &["one"]), (1500, &[]), (2000, &["three"])]);
        let change = TableChange::between(&before, &after).unwrap();
        let ports = |of: &[Shared<Listener>]| Vec::from_iter(of.iter().map(|of| of.address.port()));
        assert_eq!(ports(&change.listeners), [1500, 2000]);
        assert_eq!(change.closed, [SocketAddr::from(([127, 0, 0, 1], 3000))]);
        let text = serde_json::to_string(&change).unwrap();
        let told: TableChange = serde_json::from_str(&text).unwrap();
        let made = told.of(&before);
        assert_eq!(made, after);
        assert!(made.listeners[0].is_clone_of(&before.listeners[0]), "what stays is shared");
    }

    #[test]
    fn what_it_can_not_tell_is_told_whole() {
        let before = table(1, &[(1000, &["one"])]);
        let unordered = table(2, &[(2000, &["two"]), (1000, &["one"])]);
        assert_eq!(TableChange::between(&before, &unordered), None);
    }
}
