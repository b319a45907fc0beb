//! The route table, kept in the parts that services have in it: what nobody changed is neither made nor compared again.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::SocketAddr,
};

use hornero_model::{CopyOnWrite, Listener, Pool, RouteRule, RouteTable, ServiceName};

use crate::{
    Facts, World,
    routes::{lead_to, open_specs, service_pools, share_with},
    rules::{ListenersInMaking, rules_of, settle_certificates},
};

/// The parts, and what they come to.
#[derive(Debug, Clone, Default)]
pub(crate) struct KeptTable {
    parts: BTreeMap<ServiceName, Part>,
    /// Who has rules at an address.
    at_address: BTreeMap<SocketAddr, BTreeSet<ServiceName>>,
    /// What the edge listens on, without the ways to previews.
    listeners: BTreeMap<SocketAddr, KeptListener>,
    /// The same as the table has it, and the pools of all parts.
    shown: CopyOnWrite<Vec<CopyOnWrite<Listener>>>,
    pools: CopyOnWrite<Vec<CopyOnWrite<Pool>>>,
}

/// What one service has in the table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Part {
    /// Its rules, each with the listener that it asks for.
    rules: Vec<(Listener, RouteRule)>,
    pools: Vec<CopyOnWrite<Pool>>,
}

#[derive(Debug, Clone)]
struct KeptListener {
    /// As the rules made it.
    made: Listener,
    /// With its certificates settled.
    shown: CopyOnWrite<Listener>,
}

impl Part {
    fn of(world: &World, facts: &Facts, name: &ServiceName, before: Option<&Self>) -> Self {
        let specs = open_specs(world, name);
        let address = facts.address(name);
        let mut asked: Vec<Vec<(Listener, RouteRule)>> = Vec::new();
        for rules in specs.iter().map(|spec| rules_of(name, spec, address)) {
            // Of two rules for the same requests the first one counts, and mostly both releases have the same.
            if !asked.contains(&rules) {
                asked.push(rules);
            }
        }
        let kept = |pool: Pool| {
            let same = before.and_then(|part| part.pools.iter().find(|known| ***known == pool));
            same.cloned().unwrap_or_else(|| pool.into())
        };
        let pools = service_pools(world, facts, name, &specs).into_iter().map(kept).collect();
        Self { rules: asked.concat(), pools }
    }

    fn addresses(&self) -> BTreeSet<SocketAddr> {
        self.rules.iter().map(|(listener, _)| listener.address).collect()
    }
}

impl KeptTable {
    /// Makes the parts of some services anew; of those that are gone nothing is left.
    pub fn renew<'a>(
        &mut self,
        world: &World,
        facts: &Facts,
        names: impl Iterator<Item = &'a ServiceName>,
    ) {
        let (mut changed, mut other_pools) = (BTreeSet::new(), false);
        for name in names {
            let before = self.parts.get(name);
            let part = match world.services.contains_key(name) {
                true => Part::of(world, facts, name, before),
                false => Part::default(),
            };
            let nothing = Part::default();
            let before = before.unwrap_or(&nothing);
            if *before == part {
                continue;
            }
            other_pools |= before.pools != part.pools;
            if before.rules != part.rules {
                let (left, taken) = (before.addresses(), part.addresses());
                for address in left.difference(&taken) {
                    let own = self.at_address.entry(*address).or_default();
                    own.remove(name);
                }
                for address in taken.difference(&left) {
                    self.at_address.entry(*address).or_default().insert(name.clone());
                }
                changed.extend(left.into_iter().chain(taken));
            }
            match part == nothing {
                true => self.parts.remove(name),
                false => self.parts.insert(name.clone(), part),
            };
        }
        if !changed.is_empty() {
            let mut others = false;
            for address in changed {
                others |= self.listen_anew(address);
            }
            if others {
                let shown = self.listeners.values().map(|of| of.shown.clone());
                self.shown = shown.collect::<Vec<_>>().into();
            }
        }
        if other_pools {
            let pools = self.parts.values().flat_map(|part| &part.pools).cloned();
            self.pools = pools.collect::<Vec<_>>().into();
        }
    }

    /// Puts the rules of one address together, in the order of the services. False where nothing else comes of it.
    fn listen_anew(&mut self, address: SocketAddr) -> bool {
        let names = self.at_address.get(&address).into_iter().flatten();
        let rules = names.filter_map(|name| self.parts.get(name)).flat_map(|part| &part.rules);
        let mut making = ListenersInMaking::default();
        for (listener, rule) in rules.filter(|(listener, _)| listener.address == address) {
            making.add_rule(listener.clone(), rule.clone());
        }
        let Some(made) = making.listeners.remove(&address) else {
            self.at_address.remove(&address);
            return self.listeners.remove(&address).is_some();
        };
        if self.listeners.get(&address).is_some_and(|known| known.made == made) {
            return false;
        }
        let mut shown = made.clone();
        settle_certificates(&mut shown);
        self.listeners.insert(address, KeptListener { made, shown: shown.into() });
        true
    }

    /// The table of all parts, numbered `generation`. Ways to previews lead through what others have in it, and are put
    /// in anew each time while there are any.
    pub fn table(&self, world: &World, facts: &Facts, generation: u64) -> RouteTable {
        if world.previews.is_empty() {
            let (listeners, pools) = (self.shown.clone(), self.pools.clone());
            return RouteTable { generation, listeners, pools };
        }
        let made = self.listeners.iter().map(|(address, of)| (*address, of.made.clone()));
        let (mut listeners, mut pools): (BTreeMap<_, _>, _) = (made.collect(), self.pools.clone());
        for (runs_as, open) in &world.previews {
            lead_to(&mut listeners, &pools, runs_as, open);
            share_with(&mut pools, world, facts, runs_as);
        }
        listeners.values_mut().for_each(settle_certificates);
        RouteTable { generation, listeners: listeners.into_values().collect(), pools }
    }
}

/// The table that the recorded world asks for, numbered `generation`.
///
/// Every set that runs is in its pools, so that all are probed; [`World::traffic`] says which of them get requests. A
/// service without an address of its own gets no internal listener.
pub fn table(world: &World, facts: &Facts, generation: u64) -> RouteTable {
    let mut kept = KeptTable::default();
    kept.renew(world, facts, world.services.keys());
    kept.table(world, facts, generation)
}
