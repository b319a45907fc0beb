//! Taking in observations: late, doubled and reordered ones must not make anything untrue.

use std::{collections::BTreeSet, net::IpAddr};

use hornero_model::{
    Digest, EdgeRef, EdgeStatus, ExitCause, Health, InstanceId, Location, ReleaseCounters,
    ServiceName,
};
use hornero_rollout::{
    AfterFailure, Bug, Effect, EffectKey, Exit, Running, failed, measures_processor, planted,
    saw_canaries, saw_health, saw_load,
};

use crate::{Driver, EffectId, Observation, Ports};

impl Driver {
    pub(crate) fn observe(&mut self, observation: Observation, ports: &mut dyn Ports) {
        match observation {
            Observation::Tick => {}
            Observation::Request(request) => self.take(request),
            Observation::InstanceStarted { instance, location } => {
                self.started(instance, location, ports);
            }
            Observation::StartsGoOn { image } => self.starts_go_on(image),
            Observation::InstanceExited { instance, cause, log_tail } => {
                self.pending.remove(&EffectKey::Start(instance.clone()));
                self.exited(instance, cause, log_tail);
            }
            Observation::InstanceStopped { instance } => {
                self.pending.remove(&EffectKey::Stop(instance.clone()));
                self.facts.running.remove(&instance);
                self.facts.stopped.insert(instance);
            }
            Observation::InstanceFrozen { instance, stands_still } => {
                self.pending.remove(&EffectKey::Freeze(instance.clone()));
                self.facts.frozen.insert(instance, stands_still);
            }
            Observation::InstanceRemoved { instance } => {
                self.pending.remove(&EffectKey::Remove(instance.clone()));
                self.facts.running.remove(&instance);
                self.facts.removed.insert(instance);
            }
            Observation::TestsFinished { effect, image, run } => {
                let key = EffectKey::Tests(image);
                if self.pending.get(&key).is_some_and(|pending| pending.id == effect) {
                    self.pending.remove(&key);
                    self.tell_tests(&image, &run, ports);
                    self.facts.tests.insert(image, run);
                }
            }
            Observation::GuardsAnswered { .. }
            | Observation::RunEnded { .. }
            | Observation::SnapshotsTaken { .. }
            | Observation::SnapshotsRestored { .. } => self.waited_for(observation, ports),
            Observation::RoutesPrepared { edge, generation } => {
                self.routes_prepared(&edge, generation);
            }
            Observation::RoutesApplied { edge, generation, switch_ms, counters } => {
                self.routes_applied(&edge, generation, (switch_ms, counters));
            }
            Observation::InFlightCut { effect, edge, service, release } => {
                // An earlier cut that is confirmed once more says nothing of one that is on its way: a table that
                // overtook that one would give new requests to what it cuts off.
                let key = EffectKey::Cut(edge, service, release);
                if self.pending.get(&key).is_some_and(|pending| pending.id == effect) {
                    self.pending.remove(&key);
                }
            }
            Observation::ServiceAddressed { effect, service, address } => {
                self.addressed(effect, service, address);
            }
            Observation::EdgeStatus { edge, status } => self.edge_status(&edge, status, ports),
            Observation::EdgeLost { edge } => self.edge_lost(&edge, ports),
            Observation::EffectFailed { effect, reason } => self.effect_failed(effect, reason),
        }
    }

    fn started(&mut self, instance: InstanceId, location: Location, ports: &mut dyn Ports) {
        self.pending.remove(&EffectKey::Start(instance.clone()));
        let is_over = self.is_over(&instance);
        if is_over || self.facts.running.contains_key(&instance) {
            return;
        }
        let runs = format!("runs at {}", location.address);
        self.tell_instance(&instance, "starting", runs, ports);
        let running = Running { location, since: self.now() };
        self.facts.running.insert(instance, running);
    }

    /// What a rollout of servers with data waits for.
    fn waited_for(&mut self, observation: Observation, ports: &mut dyn Ports) {
        match observation {
            Observation::GuardsAnswered { effect, occasion, round, answers } => {
                self.guards_answered((effect, occasion), round, answers, ports);
            }
            Observation::RunEnded { end } => {
                self.pending.remove(&EffectKey::Run(end.id.clone()));
                self.pending.remove(&EffectKey::EndRun(end.id.clone()));
                self.facts.run_ends.insert(end.id.clone(), end);
            }
            Observation::SnapshotsTaken { rollout, snapshots } => {
                self.pending.remove(&EffectKey::Snapshots(rollout));
                self.facts.snapshots.insert(rollout, snapshots);
            }
            Observation::SnapshotsRestored { rollout, restored } => {
                self.pending.remove(&EffectKey::Restore(rollout));
                self.facts.restored.insert(rollout, Ok(restored));
            }
            _ => {}
        }
    }

    /// Only the last effect's answer tells what is so: one that comes twice may tell of an address taken back since.
    fn addressed(&mut self, effect: EffectId, service: ServiceName, address: Option<IpAddr>) {
        let mut asked = self.pending.iter().filter(|(_, pending)| pending.id == effect);
        let Some(EffectKey::Address(region, of)) = asked.next().map(|(key, _)| key.clone()) else {
            return;
        };
        self.pending.remove(&EffectKey::Address(region.clone(), of));
        let Some(facts) = self.facts.at_mut(&region) else { return };
        facts.leaving_addresses.remove(&service);
        match address {
            Some(address) => facts.addresses.insert(service, address),
            None => facts.addresses.remove(&service),
        };
    }

    /// An instance that ended never runs again, whatever still arrives of its life.
    fn is_over(&self, instance: &InstanceId) -> bool {
        self.facts.exited.contains_key(instance)
            || self.facts.stopped.contains(instance)
            || self.facts.removed.contains(instance)
    }

    fn starts_go_on(&mut self, image: Digest) {
        let now = self.now();
        for (key, pending) in &mut self.pending {
            let (EffectKey::Start(instance), Effect::StartInstance { spec, .. }) =
                (key, &pending.effect)
            else {
                continue;
            };
            if spec.image == image {
                pending.goes_on(now);
                self.facts.starting.insert(instance.clone(), now);
            }
        }
    }

    fn exited(&mut self, instance: InstanceId, cause: ExitCause, log_tail: Vec<String>) {
        if self.is_over(&instance) {
            return;
        }
        self.facts.running.remove(&instance);
        self.facts.unhealthy_since.remove(&instance);
        // An end that was asked for is no failure.
        if self.pending.contains_key(&EffectKey::Stop(instance.clone())) {
            return;
        }
        self.facts.exited.insert(instance, Exit { cause, log_tail });
    }

    /// An edge has prepared a table, if it is the one that it is asked for.
    fn routes_prepared(&mut self, edge: &EdgeRef, generation: u64) {
        let key = EffectKey::Routes(edge.clone());
        let Some(pending) = self.pending.get(&key) else { return };
        let Effect::PrepareRoutes { table, .. } = &pending.effect else { return };
        if table.generation != generation {
            return;
        }
        self.pending.remove(&key);
        if let Some(region) = self.facts.at_mut(&edge.region) {
            region.saw_prepared(&edge.edge, generation);
        }
    }

    fn routes_applied(
        &mut self,
        edge: &EdgeRef,
        generation: u64,
        seen: (f64, Vec<ReleaseCounters>),
    ) {
        let key = EffectKey::Routes(edge.clone());
        let Some(pending) = self.pending.get(&key) else { return };
        let Effect::ApplyRoutes { table, .. } = &pending.effect else { return };
        // Another generation is that of an earlier try: its table is not known to be in force any more.
        if table.generation != generation && !planted(Bug::BelievesAnyConfirmation) {
            return;
        }
        let table = (**table).clone();
        self.pending.remove(&key);
        let now = self.now();
        if let Some(region) = self.facts.at_mut(&edge.region) {
            region.confirmed(&edge.edge, table, seen, now);
        }
    }

    fn edge_lost(&mut self, edge: &EdgeRef, ports: &mut dyn Ports) {
        let now = self.now();
        let before = self.facts.edge.clone();
        if let Some(region) = self.facts.at_mut(&edge.region) {
            region.lost_edge(&edge.edge, now);
        }
        if before.is_some() && self.facts.edge.is_none() {
            self.tell_away(edge, ports);
        }
        self.heed_edges(before);
    }

    fn edge_status(&mut self, edge: &EdgeRef, status: EdgeStatus, ports: &mut dyn Ports) {
        let (here, now) = (edge.region == self.facts.region, self.now());
        let Some(region) = self.facts.at_mut(&edge.region) else { return };
        let Some(known) = region.edges.get(&edge.edge) else { return };
        let EdgeStatus { pid, generation, version, .. } = status;
        let in_force = known.in_force.as_ref().map(|in_force| in_force.table.generation);
        if let Some((last_pid, last_generation, last_version)) = self.last_status.get(edge).copied()
        {
            let older = (generation, version) < (last_generation, last_version);
            let is_late = pid == last_pid && (older || Some(generation) < in_force);
            if is_late && !planted(Bug::BelievesOldStatuses) {
                return;
            }
        }
        self.last_status.insert(edge.clone(), (pid, generation, version));
        let before = self.facts.edge.clone();
        if let Some(region) = self.facts.at_mut(&edge.region) {
            region.saw_edge(&edge.edge, status, now);
        }
        self.heed_edges(before);
        // While another edge is waited for nobody can tell how the servers are.
        if here && self.facts.edge.is_some() {
            self.note_faults();
            self.note_health(ports);
            self.note_load(&*ports);
            saw_canaries(&self.world, &mut self.facts);
        }
    }

    fn note_load(&mut self, ports: &dyn Ports) {
        let measures = measures_processor(&self.world, &self.facts, self.attention.busy());
        let used = measures.then(|| {
            let running: Vec<InstanceId> = self.facts.running.keys().cloned().collect();
            ports.processor_use(&running)
        });
        saw_load(&self.world, &mut self.facts, self.attention.busy(), used.flatten().as_ref());
    }

    fn note_faults(&mut self) {
        let faults = self.facts.edge.as_ref().map(|edge| edge.faults.clone()).unwrap_or_default();
        hornero_rollout::saw_listeners(&self.world, &mut self.facts, &faults);
        self.facts.halt_for_listeners(&self.world, &faults);
    }

    fn note_health(&mut self, ports: &mut dyn Ports) {
        for id in saw_health(&self.world, &mut self.facts, self.attention.busy()) {
            if self.told_healthy.insert(id.clone()) {
                self.tell_instance(&id, "probing", "is healthy".to_owned(), ports);
            }
        }
        // Few are not well, and each is looked for among all that the edge tells of.
        let backends = self.facts.edge.iter().flat_map(|edge| &edge.backends);
        let sick = backends.filter(|of| of.health != Health::Healthy && of.last_error.is_some());
        let known = sick.filter(|of| self.world.instances.contains_key(&of.instance));
        let ids: BTreeSet<InstanceId> = known.map(|of| of.instance.clone()).collect();
        for id in ids {
            self.tell_probe(&id, ports);
        }
    }

    fn effect_failed(&mut self, effect: EffectId, reason: String) {
        let now = self.now();
        let Some((key, pending)) =
            self.pending.iter_mut().find(|(_, pending)| pending.id == effect)
        else {
            return;
        };
        let key = key.clone();
        pending.failed(now);
        let tries = pending.tries;
        match failed(&self.world, &mut self.facts, &key, tries, reason) {
            AfterFailure::Again => {}
            AfterFailure::GivenUp => {
                self.pending.remove(&key);
            }
            AfterFailure::NotStarted(instance, cause) => {
                self.pending.remove(&key);
                self.exited(instance, cause, Vec::new());
            }
        }
    }
}
