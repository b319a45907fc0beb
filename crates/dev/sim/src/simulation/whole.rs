//! What holds at rest: everything is whole, and nothing is left over.

use std::collections::BTreeSet;

use hornero_driver::Driver;
use hornero_model::{InstanceId, ServiceName, Share};
use hornero_rollout::{RepairState, Service, ServingSet, World};

use super::Simulation;

/// How late what has its time may be done at rest.
const LATE_MS: u64 = 2_000;

impl Simulation {
    /// Checks that everything is whole and nothing is left over. Call it at rest.
    pub fn check_whole(&self) {
        let driver = self.driver();
        let world = driver.world();
        if self.host.ledger.world() != *world {
            self.fail("the ledger and the driver's world differ");
        }
        if let Some(rollout) = world.rollouts.values().next() {
            self.fail(&format!("rollout {} is {}", rollout.id, rollout.phase.name()));
        }
        let table = self.host.edge.table();
        if self.host.tables().any(|other| other != table) {
            self.fail("two edges have different tables");
        }
        self.check_addresses(driver);
        self.check_waiting(driver);
        self.check_previews(world);
        let mut expected: Vec<&InstanceId> = Vec::new();
        for service in world.services.values() {
            self.check_service(driver, service);
            expected.extend(service.serving.iter().flat_map(|set| &set.instances));
            expected.extend(service.warm.iter().flat_map(|warm| &warm.instances));
        }
        for id in self.host.engine.ids() {
            if !expected.contains(&&id) {
                self.fail(&format!("instance `{id}` is left over"));
            }
        }
    }

    /// Nobody waits, but for what failed too often.
    fn check_waiting(&self, driver: &Driver) {
        let in_vain = |name: &ServiceName| {
            let state = driver.repair_state(name);
            matches!(state, Some(RepairState::GaveUp { .. } | RepairState::Held))
        };
        let waits = self.host.edge.idle.told();
        if let Some(waits) = waits.iter().find(|of| !in_vain(&of.pool.service)) {
            self.fail(&format!("{} requests wait at `{}`", waits.requests, waits.pool));
        }
    }

    /// No preview is there beyond its time, or shows what is not there.
    fn check_previews(&self, world: &World) {
        for (name, open) in &world.previews {
            if open.preview.until.0 + LATE_MS < self.host.now {
                self.fail(&format!("`{name}` is there beyond its time"));
            }
            if !world.services.contains_key(&open.preview.service) {
                self.fail(&format!("`{name}` shows what is not there"));
            }
        }
    }

    /// What serves of a service gets its requests, and as many of it answer as shall.
    fn check_service(&self, driver: &Driver, service: &Service) {
        let name = &service.name;
        let Some(set) = &service.serving else {
            if self.host.edge.table().pools.iter().any(|pool| pool.name.service == *name) {
                self.fail(&format!("`{name}` does not serve and is routed to"));
            }
            return;
        };
        if service.warm.as_ref().is_some_and(|warm| warm.until.0 + LATE_MS < self.host.now) {
            self.fail(&format!("the warm set of `{name}` is kept beyond its time"));
        }
        self.check_pools(name, set);
        match driver.repair_state(name) {
            Some(RepairState::Whole) => self.check_set(service, set),
            // Nothing is replaced before somebody looked.
            Some(RepairState::GaveUp { .. } | RepairState::Held) => {}
            state => self.fail(&format!("`{name}` is {state:?}")),
        }
    }

    fn check_pools(&self, name: &ServiceName, set: &ServingSet) {
        let pools = self.host.edge.table().pools.iter();
        let mut pools = pools.filter(|pool| pool.name.service == *name).peekable();
        if pools.peek().is_none() {
            self.fail(&format!("`{name}` serves and is not routed to"));
        }
        if let Some(pool) = pools.find(|pool| pool.traffic != [Share::whole(set.release)]) {
            self.fail(&format!("`{}` goes to {:?}, not {}", pool.name, pool.traffic, set.release));
        }
    }

    /// A whole set has as many servers as its terms say, all of them answer, and its ways in are open.
    fn check_set(&self, service: &Service, set: &ServingSet) {
        let (name, spec) = (&service.name, &service.releases[&set.terms].spec);
        let wanted = service.size_by(spec) as usize;
        let listeners = &self.host.edge.table().listeners;
        for listen in spec.routes.iter().map(|route| route.listen) {
            if !listeners.iter().any(|of| of.address.port() == listen) {
                self.fail(&format!("`{name}` does not listen on {listen}"));
            }
        }
        if set.leaving.is_some() || set.instances.len() != wanted {
            self.fail(&format!("`{name}` has {set:?}, wanted {wanted}"));
        }
        // One that fell sick this moment is not noticed yet.
        let (engine, now) = (&self.host.engine, self.host.now);
        let answers = |id: &&InstanceId| engine.answers(id, now) || engine.answers(id, now - 1_000);
        let answering = set.instances.iter().filter(answers).count();
        if answering < wanted {
            self.fail(&format!("{answering} of {wanted} instances of `{name}` answer"));
        }
    }

    /// Every service that is there has an address of its own, none has another's, and nothing that is gone has one.
    fn check_addresses(&self, driver: &Driver) {
        let addresses = &self.host.addresses;
        if driver.facts().addresses != *addresses {
            self.fail("control knows other addresses of services than those that are recorded");
        }
        let there = driver.world().services.values().filter(|service| !service.removed);
        if !there.map(|service| &service.name).eq(addresses.keys()) {
            self.fail(&format!("addresses are those of {:?}", addresses.keys()));
        }
        let distinct: BTreeSet<_> = addresses.values().collect();
        if distinct.len() != addresses.len() {
            self.fail("two services have one address");
        }
    }
}
