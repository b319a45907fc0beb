//! Performing effects: each checked by the watchdog, numbered, and asked for once until it is answered.

use std::collections::BTreeSet;

use hornero_conservation::{AwayEdge, EffectFacts, Fitness, Refusal, Seen, WatchdogFacts};
use hornero_model::{
    Actor, EventBody, InstanceId, InstanceState, ReleaseNumber, RouteTable, ServiceName, VolumeName,
};
use hornero_rollout::{
    Effect, EffectKey, Instance, Kind, Phase, REFUSED_RETRY, Record, RollingStage, RolloutFailure,
    wanted,
};

use crate::{Driver, DriverError, EffectId, Ports, pending::Pending};

impl Driver {
    /// Asks for every effect that is wanted and not asked for. True when a refusal changed what is to be decided.
    pub(crate) fn perform(&mut self, ports: &mut dyn Ports) -> Result<bool, DriverError> {
        let effects = wanted(&self.world, &self.facts, &mut self.attention);
        let now = self.now();
        let keys: BTreeSet<EffectKey> = effects.iter().map(Effect::key).collect();
        self.pending.retain(|key, pending| pending.in_flight(now) || keys.contains(key));
        self.refused.retain(|(key, _)| keys.contains(key));
        for effect in effects {
            let key = effect.key();
            // Another table than the one that failed need not wait for that one's next try.
            if self
                .pending
                .get(&key)
                .is_some_and(|of| of.waits() && !same_deed(&of.effect, &effect))
            {
                self.pending.remove(&key);
            }
            if self.is_held(&key) {
                continue;
            }
            if let Err(refusal) = self.check(&effect) {
                if self.refuse(effect, refusal, ports)? {
                    return Ok(true);
                }
                continue;
            }
            self.last_effect += 1;
            let id = EffectId { term: self.term, number: self.last_effect };
            let pending = Pending::asked(id, effect.clone(), self.pending.get(&key), now);
            self.pending.insert(key, pending);
            self.asked_for(&effect);
            ports.dispatch(id, effect);
        }
        Ok(false)
    }

    /// Takes in that an effect is on its way, whatever becomes of it.
    fn asked_for(&mut self, effect: &Effect) {
        let now = self.now();
        match effect {
            Effect::PrepareRoutes { edge, table } => {
                if let Some(region) = self.facts.at_mut(&edge.region) {
                    region.proposes(table);
                }
            }
            Effect::ApplyRoutes { edge, table, .. } => {
                if let Some(region) = self.facts.at_mut(&edge.region) {
                    region.sent(&edge.edge, table, now);
                }
            }
            Effect::TakeAddress { region, service } => {
                if let Some(region) = self.facts.at_mut(region) {
                    region.leaving_addresses.insert(service.clone());
                }
            }
            Effect::StartInstance { .. }
            | Effect::StopInstance { .. }
            | Effect::RemoveInstance { .. }
            | Effect::FreezeInstance { .. }
            | Effect::RunTests { .. }
            | Effect::CarryOut { .. }
            | Effect::EndRun { .. }
            | Effect::AskGuards { .. }
            | Effect::TakeSnapshots { .. }
            | Effect::RestoreSnapshots { .. }
            | Effect::CutInFlight { .. }
            | Effect::GiveAddress { .. } => {}
        }
    }

    pub(crate) fn is_starting(&self, id: &InstanceId) -> bool {
        self.pending.contains_key(&EffectKey::Start(id.clone()))
    }

    /// Whether an effect is under way, waits for its next try, or must not pass another one.
    fn is_held(&self, key: &EffectKey) -> bool {
        let now = self.now();
        if let Some(pending) = self.pending.get(key)
            && (pending.is_awaited(now) || pending.not_before.is_some_and(|at| now < at))
        {
            return true;
        }
        let in_flight = |other: &EffectKey| {
            other != key && self.pending.get(other).is_some_and(|of| of.in_flight(now))
        };
        match key {
            EffectKey::Start(id)
            | EffectKey::Stop(id)
            | EffectKey::Remove(id)
            | EffectKey::Freeze(id) => {
                let of_instance =
                    [EffectKey::Start, EffectKey::Stop, EffectKey::Remove, EffectKey::Freeze];
                of_instance.iter().any(|of| in_flight(&of(id.clone())))
            }
            // A release must not be cut off by an order that a table has overtaken, so they go one by one.
            EffectKey::Routes(edge) => self.pending.keys().any(|of| {
                matches!(of, EffectKey::Cut(other, ..) if other == edge) && in_flight(of)
            }),
            EffectKey::Cut(edge, ..) => in_flight(&EffectKey::Routes(edge.clone())),
            EffectKey::Tests(_)
            | EffectKey::Run(_)
            | EffectKey::EndRun(_)
            | EffectKey::Guards(_)
            | EffectKey::Snapshots(_)
            | EffectKey::Restore(_)
            | EffectKey::Address(..) => false,
        }
    }

    fn check(&self, effect: &Effect) -> Result<(), Refusal> {
        let mut facts = self.observed(&self.concerned(effect));
        let volumes: Vec<VolumeName> = match effect {
            Effect::StartInstance { mounts, .. } => {
                mounts.iter().map(|mount| mount.volume.clone()).collect()
            }
            _ => Vec::new(),
        };
        // Nothing else is about who may write.
        if !volumes.is_empty() {
            facts.alive = self.alive();
        }
        let effect = match effect {
            Effect::StartInstance { instance, spec, .. } => {
                EffectFacts::Start { service: &spec.name, instance, volumes: &volumes }
            }
            // Nobody is served by what stands still.
            Effect::StopInstance { instance, .. } | Effect::FreezeInstance { instance, .. } => {
                EffectFacts::Stop { instance }
            }
            Effect::RemoveInstance { instance, .. } => EffectFacts::Remove { instance },
            Effect::PrepareRoutes { table, .. } | Effect::ApplyRoutes { table, .. } => {
                EffectFacts::Apply { table }
            }
            Effect::CutInFlight { service, release, .. } => {
                EffectFacts::Cut { service, release: *release }
            }
            // Guards only look. Tests and runs are apart from everything that serves, and an address is listened on by a table alone. Snapshots
            // need the volume's lock and its newest lease.
            Effect::RunTests { .. }
            | Effect::AskGuards { .. }
            | Effect::TakeSnapshots { .. }
            | Effect::RestoreSnapshots { .. }
            | Effect::CarryOut { .. }
            | Effect::EndRun { .. }
            | Effect::GiveAddress { .. }
            | Effect::TakeAddress { .. } => return Ok(()),
        };
        hornero_conservation::check(&facts, effect)
    }

    /// The services that an effect is about: a table is about those of which it has other pools than the one in force.
    fn concerned<'a>(&'a self, effect: &'a Effect) -> Vec<&'a ServiceName> {
        match effect {
            Effect::PrepareRoutes { table, .. } | Effect::ApplyRoutes { table, .. } => {
                self.changed_by(table)
            }
            Effect::StartInstance { spec, .. } => vec![&spec.name],
            Effect::StopInstance { instance, .. }
            | Effect::RemoveInstance { instance, .. }
            | Effect::FreezeInstance { instance, .. } => {
                let instance = self.world.instances.get(instance);
                instance.map(|instance| &instance.service).into_iter().collect()
            }
            // The edge looks on by itself which of them it cuts off.
            Effect::CutInFlight { .. }
            | Effect::RunTests { .. }
            | Effect::TakeSnapshots { .. }
            | Effect::RestoreSnapshots { .. }
            | Effect::CarryOut { .. }
            | Effect::EndRun { .. }
            | Effect::GiveAddress { .. }
            | Effect::AskGuards { .. }
            | Effect::TakeAddress { .. } => Vec::new(),
        }
    }

    /// The services of which a table has other pools than the one in force; all while none is known to be.
    fn changed_by<'a>(&'a self, table: &'a RouteTable) -> Vec<&'a ServiceName> {
        let Some(in_force) = &self.facts.in_force else {
            return self.world.services.keys().collect();
        };
        let pools = table.other_pools(&in_force.table);
        let services: BTreeSet<&ServiceName> = pools.iter().map(|name| &name.service).collect();
        // What previews show may be in the pools of their services.
        let previews = self.world.previews.iter();
        let shown = previews.filter(|(_, open)| services.contains(&open.preview.service));
        let shown: Vec<&ServiceName> = shown.map(|(runs_as, _)| runs_as).collect();
        services.into_iter().chain(shown).collect()
    }

    /// What the watchdog gets to see of some services: observations, and what the ledger says was proven.
    fn observed(&self, services: &[&ServiceName]) -> WatchdogFacts<'_> {
        let instances = services.iter().flat_map(|name| self.world.instances.of(name));
        let engine = instances.map(|instance| {
            let seen = Seen {
                service: instance.service.clone(),
                release: instance.release,
                running: self.facts.running.contains_key(&instance.id),
                holds_volumes: self
                    .world
                    .release(&instance.service, instance.release)
                    .is_some_and(|release| release.spec.holds_volumes()),
            };
            (instance.id.clone(), seen)
        });
        let mut observed = WatchdogFacts {
            edge: self.facts.edge.as_deref(),
            in_force: self.facts.in_force.as_ref().map(|in_force| &in_force.table),
            unsettled: self.facts.unsettled.iter().collect(),
            left_out: self.left_out(),
            engine: engine.collect(),
            churn: Some(&self.churn),
            now: self.now(),
            ..WatchdogFacts::default()
        };
        let known = services.iter().filter_map(|name| self.world.services.get_key_value(*name));
        for (name, service) in known {
            // Only what a table could make active; a service may have thousands of releases.
            let rollout = self.world.rollout_of(name);
            let numbers = rollout.into_iter().flat_map(|of| [of.from, Some(of.to)]).flatten();
            let numbers = numbers.chain(service.serving.as_ref().map(|set| set.release));
            observed.fit.extend(
                numbers.filter_map(|of| Some(((name.clone(), of), self.fitness(name, of)?))),
            );
            if let Some(set) = &service.serving {
                observed.serving.insert(name.clone(), set.release);
            }
            let rolls = rollout.filter(|of| of.phase == Phase::Rolling);
            if let Some((rollout, rolling)) = rolls.and_then(|of| Some((of, of.rolling.as_ref()?)))
                && rolling.stage == RollingStage::Starting
            {
                observed.shared.insert((name.clone(), rollout.to), rolling.weight);
            }
        }
        self.observe_previews(&mut observed);
        let removals = self.world.rollouts.values().filter(|of| of.kind == Kind::Removal);
        let requested = self.world.rollouts.values().filter(|of| of.by.who != "hornero");
        observed.requested.extend(requested.map(|rollout| rollout.service.clone()));
        // What is recycled because somebody named it was asked for as well.
        let named = |of: &&Instance| of.recycle.as_ref().is_some_and(|by| by.who != "hornero");
        let instances = services.iter().flat_map(|name| self.world.instances.of(name));
        let recycled = instances.filter(named);
        observed.requested.extend(recycled.map(|instance| instance.service.clone()));
        observed.going_down.extend(removals.map(|rollout| rollout.service.clone()));
        let replaced = self.world.rollouts.values().filter(|of| of.replaces_now());
        observed.replaced.extend(replaced.map(|rollout| rollout.service.clone()));
        observed.forced = self.facts.forced.intersection(&observed.going_down).cloned().collect();
        observed
    }

    /// The edges that nobody waits for, with the tables that each may follow; none where that is not known.
    fn left_out(&self) -> Vec<AwayEdge<'_>> {
        let mut told = Vec::new();
        for (name, edge) in self.facts.left_out(self.now()) {
            let tables = edge.in_force.is_some().then(|| edge.tables().collect());
            told.push(AwayEdge { edge: name, tables });
        }
        told
    }

    /// Instances that run, or may: their start was asked for and not answered.
    fn alive(&self) -> BTreeSet<InstanceId> {
        let asked = self.pending.keys().filter_map(|key| match key {
            EffectKey::Start(id) => Some(id),
            _ => None,
        });
        self.facts.running.keys().chain(asked).cloned().collect()
    }

    pub(crate) fn fitness(&self, service: &ServiceName, number: ReleaseNumber) -> Option<Fitness> {
        if self.world.services[service].proven.contains(&number) {
            return Some(Fitness::Proven);
        }
        let image = self.world.release(service, number)?.spec.image;
        self.world.image_passed(&image).then_some(Fitness::Tested)
    }

    /// Records a refusal once and stops the rollout it belongs to. True when something was recorded.
    fn refuse(
        &mut self,
        effect: Effect,
        refusal: Refusal,
        ports: &mut dyn Ports,
    ) -> Result<bool, DriverError> {
        let key = effect.key();
        let id = EffectId { term: self.term, number: self.last_effect };
        let text = effect.to_string();
        let service = self.service_of(&effect);
        let unstarted = self.unstarted(&effect, &refusal);
        let pending = Pending {
            id,
            effect,
            lost_at: self.now(),
            again_at: self.now(),
            tries: 0,
            not_before: Some(self.now().after(REFUSED_RETRY)),
        };
        self.pending.insert(key.clone(), pending);
        if !self.refused.insert((key, refusal.invariant)) {
            return Ok(false);
        }
        let service = refusal.service.or(service);
        let rollout = service.and_then(|service| self.world.rollout_of(&service)).map(|of| of.id);
        let body = EventBody::EffectRefused {
            rollout,
            effect: text,
            invariant: refusal.invariant.to_owned(),
            reason: refusal.reason.clone(),
        };
        let by = Actor::hornero(refusal.reason.clone());
        let mut records = vec![Record::Event(by.clone(), body)];
        let stopped = refusal.breach.map(|breach| EventBody::ChurnStopped { breach });
        records
            .extend(stopped.into_iter().chain(unstarted).map(|of| Record::Event(by.clone(), of)));
        self.persist(records, ports)?;
        let failure = RolloutFailure {
            refused: Some(refusal.invariant.to_owned()),
            ..RolloutFailure::of(refusal.reason)
        };
        self.facts.halt(&self.world, &failure, |of| Some(of.id) == rollout);
        Ok(true)
    }

    /// The service an effect concerns; none for a route table, which concerns all.
    fn service_of(&self, effect: &Effect) -> Option<ServiceName> {
        match effect {
            Effect::StartInstance { spec, .. }
            | Effect::RunTests { spec, .. }
            | Effect::CarryOut { spec, .. } => Some(spec.name.clone()),
            Effect::EndRun { run, .. } => {
                run.release.as_ref().map(|release| release.service.clone())
            }
            Effect::AskGuards { question, .. } => Some(question.release.service.clone()),
            Effect::StopInstance { instance, .. }
            | Effect::RemoveInstance { instance, .. }
            | Effect::FreezeInstance { instance, .. } => {
                let instance = self.world.instances.get(instance)?;
                (instance.state != InstanceState::Archived).then(|| instance.service.clone())
            }
            Effect::CutInFlight { service, .. }
            | Effect::TakeSnapshots { service, .. }
            | Effect::RestoreSnapshots { service, .. }
            | Effect::GiveAddress { service, .. }
            | Effect::TakeAddress { service, .. } => Some(service.clone()),
            Effect::PrepareRoutes { .. } | Effect::ApplyRoutes { .. } => None,
        }
    }
}

/// Whether two effects with one key are the same, but for the generation of a table.
fn same_deed(one: &Effect, other: &Effect) -> bool {
    match (one, other) {
        (Effect::PrepareRoutes { table: one, .. }, Effect::PrepareRoutes { table: other, .. })
        | (Effect::ApplyRoutes { table: one, .. }, Effect::ApplyRoutes { table: other, .. }) => {
            one.says_same(other)
        }
        (one, other) => one == other,
    }
}
