//! Taking in observations: late, doubled and reordered ones must not make anything untrue.

use hornero_model::{
    Digest, EdgeStatus, ExitCause, Health, InstanceId, InstanceState, Millis, ReleaseCounters,
    Timestamp,
};
use hornero_rollout::{Effect, EffectKey, Exit, Failure, InForce, Phase, Running, brings};

use crate::{Driver, EffectId, Observation, Ports, Progress};

/// Tries of a route table before the rollouts that wait for it are undone: one may meet an edge that restarts.
const ROUTE_TRIES: u32 = 3;
/// The edge tries a listener again every second: a fault that is told for so long is none of an earlier attempt.
const FAULT_AGE: Millis = Millis(3_000);

impl Driver {
    pub(crate) fn observe(&mut self, observation: Observation, ports: &mut dyn Ports) {
        match observation {
            Observation::Tick => {}
            Observation::Request(request) => self.take(request),
            Observation::InstanceStarted { instance, address, pid } => {
                self.pending.remove(&EffectKey::Start(instance.clone()));
                if self.is_over(&instance) || self.facts.running.contains_key(&instance) {
                    return;
                }
                self.tell_instance(&instance, "starting", format!("runs at {address}"), ports);
                let running = Running { address, pid, since: self.now() };
                self.facts.running.insert(instance, running);
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
            Observation::RoutesApplied { generation, switch_ms, counters } => {
                self.routes_applied(generation, switch_ms, counters);
            }
            Observation::InFlightCut { effect, service, release } => {
                // An earlier cut that is confirmed once more says nothing of one that is on its way: a table that
                // overtook that one would give new requests to what it cuts off.
                let key = EffectKey::Cut(service, release);
                if self.pending.get(&key).is_some_and(|pending| pending.id == effect) {
                    self.pending.remove(&key);
                }
            }
            Observation::EdgeStatus(status) => self.edge_status(status, ports),
            Observation::EdgeLost => {
                self.facts.edge = None;
                self.facts.applying = None;
                self.facts.unhealthy_since.clear();
                self.pending
                    .retain(|key, _| !matches!(key, EffectKey::Routes | EffectKey::Cut(..)));
            }
            Observation::EffectFailed { effect, reason } => self.effect_failed(effect, reason),
        }
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

    fn routes_applied(&mut self, generation: u64, switch_ms: f64, counters: Vec<ReleaseCounters>) {
        let Some(pending) = self.pending.get(&EffectKey::Routes) else { return };
        let Effect::ApplyRoutes { table } = &pending.effect else { return };
        // Another generation is that of an earlier try: its table is not known to be in force any more.
        if table.generation != generation {
            return;
        }
        let table = (**table).clone();
        self.pending.remove(&EffectKey::Routes);
        self.facts.applying = None;
        self.facts.in_force = Some(InForce { table, switch_ms, at: self.now(), counters });
    }

    fn edge_status(&mut self, status: EdgeStatus, ports: &mut dyn Ports) {
        let in_force = self.facts.in_force.as_ref().map(|in_force| in_force.table.generation);
        if let Some(last) = &self.facts.edge {
            let older = (status.generation, status.version) < (last.generation, last.version);
            if status.pid == last.pid && (older || Some(status.generation) < in_force) {
                return;
            }
        }
        let expected = self.pending.get(&EffectKey::Routes).is_some_and(|pending| {
            matches!(&pending.effect, Effect::ApplyRoutes { table } if table.generation == status.generation)
        });
        if in_force.is_some() && in_force != Some(status.generation) && !expected {
            // Another table than the one this process knows of: an edge that lost its last one, or a late apply.
            self.facts.in_force = None;
        }
        self.facts.edge = Some(status);
        self.note_faults();
        self.note_health(ports);
    }

    /// A listener that can't serve ends the rollout that would bring it, before its switch. Every other table is put in
    /// force with it, and what listens there already is left as it is.
    fn note_faults(&mut self) {
        let faults = self.facts.edge.as_ref().map(|edge| edge.faults.clone()).unwrap_or_default();
        for fault in faults.iter().filter(|fault| !fault.serves) {
            let failure =
                Failure::of(format!("the edge can't serve `{}`: {}", fault.address, fault.reason));
            self.halt(&failure, |driver, rollout| {
                rollout.phase == Phase::Preparing
                    && driver.has_seen_table_since(rollout.since)
                    && brings(&driver.world, rollout, fault.address)
            });
        }
    }

    /// Whether the status is one of a table that was made since then, or so much later that it can't be what is left of
    /// another attempt.
    fn has_seen_table_since(&self, since: Timestamp) -> bool {
        let in_force = self.facts.in_force.as_ref();
        in_force.is_some_and(|table| table.at >= since) || self.now() >= since.after(FAULT_AGE)
    }

    fn note_health(&mut self, ports: &mut dyn Ports) {
        let ids: Vec<InstanceId> = self.world.instances.keys().cloned().collect();
        for id in ids {
            match self.facts.health(&self.world, &id) {
                Health::Unhealthy => {
                    let now = self.now();
                    self.facts.unhealthy_since.entry(id).or_insert(now);
                }
                Health::Healthy => {
                    self.facts.unhealthy_since.remove(&id);
                    if self.told_healthy.insert(id.clone()) {
                        self.tell_instance(&id, "probing", "is healthy".to_owned(), ports);
                    }
                }
                // An edge that has just started knows nobody; one that serves and is not found healthy by it is
                // as good as unhealthy.
                Health::Unknown => {
                    let instance = &self.world.instances[&id];
                    if instance.state == InstanceState::Serving
                        && self.facts.running.contains_key(&id)
                    {
                        let now = self.now();
                        self.facts.unhealthy_since.entry(id).or_insert(now);
                    } else {
                        self.facts.unhealthy_since.remove(&id);
                    }
                }
            }
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
        if key == EffectKey::Routes {
            self.facts.applying = None;
        }
        match key {
            EffectKey::Start(instance) => {
                self.pending.remove(&EffectKey::Start(instance.clone()));
                self.exited(instance, ExitCause::NotStarted(reason), Vec::new());
            }
            EffectKey::Tests(image) => {
                self.pending.remove(&EffectKey::Tests(image));
                let failure = Failure::of(format!(
                    "the tests of image `{}` could not be run: {reason}",
                    image.short()
                ));
                self.halt(&failure, |driver, rollout| {
                    let release = driver.world.release(&rollout.service, rollout.to);
                    release.is_some_and(|release| release.spec.image == image)
                });
            }
            EffectKey::Routes if tries >= ROUTE_TRIES => {
                let failure = Failure::of(format!("the edge refused the route table: {reason}"));
                self.halt(&failure, |_, _| true);
            }
            EffectKey::Routes | EffectKey::Stop(_) | EffectKey::Remove(_) | EffectKey::Cut(..) => {}
        }
    }

    /// Makes rollouts that can still be undone fail.
    pub(crate) fn halt(
        &mut self,
        failure: &Failure,
        which: impl Fn(&Self, &hornero_rollout::Rollout) -> bool,
    ) {
        let halted: Vec<_> = self
            .world
            .rollouts
            .values()
            .filter(|rollout| {
                // A removal goes on until its time is up, and says this then.
                matches!(
                    rollout.phase,
                    Phase::Preparing | Phase::Switching | Phase::Watching | Phase::Closing
                ) && which(self, rollout)
            })
            .map(|rollout| rollout.id)
            .collect();
        for id in halted {
            self.facts.halted.entry(id).or_insert_with(|| failure.clone());
        }
    }

    fn tell_tests(&self, image: &Digest, run: &hornero_rollout::TestRun, ports: &mut dyn Ports) {
        for rollout in self.world.rollouts.values() {
            let release = self.world.release(&rollout.service, rollout.to);
            if release.is_none_or(|release| release.spec.image != *image) {
                continue;
            }
            let passed = run.results.iter().filter(|result| result.passed).count();
            ports.progress(Progress::Step {
                request: self.request_of(rollout.id),
                service: rollout.service.clone(),
                rollout: Some(rollout.id),
                phase: "testing",
                message: format!("{passed} of {} tests passed", run.results.len()),
                instance: None,
            });
        }
    }

    fn tell_instance(
        &self,
        id: &InstanceId,
        phase: &'static str,
        what: String,
        ports: &mut dyn Ports,
    ) {
        let Some(rollout) = self.world.rollouts.values().find(|rollout| rollout.set.contains(id))
        else {
            return;
        };
        if rollout.phase != Phase::Preparing {
            return;
        }
        ports.progress(Progress::Step {
            request: self.request_of(rollout.id),
            service: rollout.service.clone(),
            rollout: Some(rollout.id),
            phase,
            message: format!("instance `{id}` {what}"),
            instance: Some(id.clone()),
        });
    }
}
