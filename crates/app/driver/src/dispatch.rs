//! Performing effects: each checked by the watchdog, numbered, and asked for once until it is answered.

use std::{collections::BTreeMap, net::IpAddr};

use hornero_conservation::{EffectFacts, Facts as Observed, Fitness, Made, Refusal, Seen};
use hornero_model::{
    Actor, EventBody, InstanceId, InstanceState, Millis, ReleaseNumber, ServiceName, Timestamp,
};
use hornero_rollout::{Effect, EffectKey, Failure, Kind, Record, wanted};

use crate::{Driver, DriverError, EffectId, Ports};

/// The first delay before a failed effect is tried again; doubled by every further failure.
const FIRST_RETRY_MS: u64 = 100;
/// The longest delay before a failed effect is tried again.
const LAST_RETRY_MS: u64 = 10_000;
/// How long a refused effect waits before the facts are looked at again.
const REFUSED_RETRY: Millis = Millis(1_000);
/// After this an answer counts as lost and the effect is asked for again; it is longer than any effect but a test
/// run takes, and doing it twice is as doing it once.
const ANSWER_ALLOWANCE: Millis = Millis(180_000);
/// The same for a run of tests, whose own time limits come first.
const TESTS_ALLOWANCE: Millis = Millis(7_200_000);

/// An effect that was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Pending {
    pub id: EffectId,
    pub effect: Effect,
    /// When its answer counts as lost.
    pub lost_at: Timestamp,
    pub tries: u32,
    /// Where it failed: when it is tried again.
    pub not_before: Option<Timestamp>,
}

/// A refusal that was recorded, so that it is recorded once.
pub(crate) type Refused = (EffectKey, &'static str);

impl Pending {
    pub(crate) fn failed(&mut self, now: Timestamp) {
        self.tries += 1;
        let delay = (FIRST_RETRY_MS << (self.tries - 1).min(16)).min(LAST_RETRY_MS);
        self.not_before = Some(now.after(Millis(delay)));
    }

    /// Takes news of an effect under way: its answer is not lost yet.
    pub(crate) fn goes_on(&mut self, now: Timestamp) {
        self.lost_at = self.lost_at.max(now.after(ANSWER_ALLOWANCE));
    }

    fn waits(&self) -> bool {
        self.not_before.is_some()
    }

    fn in_flight(&self, now: Timestamp) -> bool {
        self.not_before.is_none() && now < self.lost_at
    }
}

impl Driver {
    /// Asks for every effect that is wanted and not asked for. True when a refusal changed what is to be decided.
    pub(crate) fn perform(&mut self, ports: &mut dyn Ports) -> Result<bool, DriverError> {
        let internal: BTreeMap<ServiceName, IpAddr> = self
            .world
            .services
            .keys()
            .filter_map(|name| Some((name.clone(), ports.service_address(name)?)))
            .collect();
        let effects = wanted(&self.world, &self.facts, &internal);
        let now = self.now();
        self.pending.retain(|key, pending| {
            pending.in_flight(now) || effects.iter().any(|effect| effect.key() == *key)
        });
        self.refused.retain(|(key, _)| effects.iter().any(|effect| effect.key() == *key));
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
            let id = EffectId { generation: self.generation, number: self.last_effect };
            let tries = self.pending.get(&key).map_or(0, |pending| pending.tries);
            let allowance =
                if matches!(key, EffectKey::Tests(_)) { TESTS_ALLOWANCE } else { ANSWER_ALLOWANCE };
            let pending = Pending {
                id,
                effect: effect.clone(),
                lost_at: now.after(allowance),
                tries,
                not_before: None,
            };
            self.pending.insert(key, pending);
            if let Effect::ApplyRoutes { table } = &effect {
                self.facts.applying = Some((**table).clone());
            }
            ports.dispatch(id, effect);
        }
        Ok(false)
    }

    pub(crate) fn is_starting(&self, id: &InstanceId) -> bool {
        self.pending.contains_key(&EffectKey::Start(id.clone()))
    }

    /// Whether an effect is under way, waits for its next try, or must not pass another one.
    fn is_held(&self, key: &EffectKey) -> bool {
        let now = self.now();
        if let Some(pending) = self.pending.get(key)
            && (pending.in_flight(now) || pending.not_before.is_some_and(|at| now < at))
        {
            return true;
        }
        let in_flight = |other: &EffectKey| {
            other != key && self.pending.get(other).is_some_and(|of| of.in_flight(now))
        };
        match key {
            EffectKey::Start(id) | EffectKey::Stop(id) | EffectKey::Remove(id) => {
                let of_instance = [EffectKey::Start, EffectKey::Stop, EffectKey::Remove];
                of_instance.iter().any(|of| in_flight(&of(id.clone())))
            }
            // A release must not be cut off by an order that a table has overtaken, so they go one by one.
            EffectKey::Routes => {
                self.pending.keys().any(|of| matches!(of, EffectKey::Cut(..)) && in_flight(of))
            }
            EffectKey::Cut(..) => in_flight(&EffectKey::Routes),
            EffectKey::Tests(_) => false,
        }
    }

    fn check(&self, effect: &Effect) -> Result<(), Refusal> {
        let facts = self.observed();
        let effect = match effect {
            Effect::StartInstance { spec, .. } => EffectFacts::Start { service: &spec.name },
            Effect::StopInstance { instance, .. } => EffectFacts::Stop { instance },
            Effect::RemoveInstance { instance } => EffectFacts::Remove { instance },
            Effect::ApplyRoutes { table } => EffectFacts::Apply { table },
            Effect::CutInFlight { service, release } => {
                EffectFacts::Cut { service, release: *release }
            }
            // A test runs apart from everything that serves.
            Effect::RunTests { .. } => return Ok(()),
        };
        hornero_conservation::check(&facts, effect)
    }

    /// What the watchdog gets to see: observations, and what the ledger says was proven.
    fn observed(&self) -> Observed<'_> {
        let engine = self.world.instances.values().map(|instance| {
            let seen = Seen {
                service: instance.service.clone(),
                release: instance.release,
                running: self.facts.running.contains_key(&instance.id),
            };
            (instance.id.clone(), seen)
        });
        let mut observed = Observed {
            edge: self.facts.edge.as_ref(),
            in_force: self.facts.in_force.as_ref().map(|in_force| &in_force.table),
            applying: self.facts.applying.as_ref(),
            engine: engine.collect(),
            ..Observed::default()
        };
        for (name, service) in &self.world.services {
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
            let (all, unrequested) = service.made_last_hour(self.now());
            observed.made_last_hour.insert(name.clone(), Made { all, unrequested });
        }
        let removals = self.world.rollouts.values().filter(|of| of.kind == Kind::Removal);
        observed.going_down.extend(removals.map(|rollout| rollout.service.clone()));
        observed.forced = self.facts.forced.intersection(&observed.going_down).cloned().collect();
        observed
    }

    fn fitness(&self, service: &ServiceName, number: ReleaseNumber) -> Option<Fitness> {
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
        let id = EffectId { generation: self.generation, number: self.last_effect };
        let text = effect.to_string();
        let service = self.service_of(&effect);
        let pending = Pending {
            id,
            effect,
            lost_at: self.now(),
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
        self.persist(vec![Record::Event(Actor::hornero(refusal.reason.clone()), body)], ports)?;
        let failure =
            Failure { refused: Some(refusal.invariant.to_owned()), ..Failure::of(refusal.reason) };
        self.halt(&failure, |_, of| Some(of.id) == rollout);
        Ok(true)
    }

    /// The service an effect concerns; none for a route table, which concerns all.
    fn service_of(&self, effect: &Effect) -> Option<ServiceName> {
        match effect {
            Effect::StartInstance { spec, .. } | Effect::RunTests { spec, .. } => {
                Some(spec.name.clone())
            }
            Effect::StopInstance { instance, .. } | Effect::RemoveInstance { instance } => {
                let instance = self.world.instances.get(instance)?;
                (instance.state != InstanceState::Archived).then(|| instance.service.clone())
            }
            Effect::CutInFlight { service, .. } => Some(service.clone()),
            Effect::ApplyRoutes { .. } => None,
        }
    }
}

/// Whether two effects with one key are the same, but for the generation of a table.
fn same_deed(one: &Effect, other: &Effect) -> bool {
    match (one, other) {
        (Effect::ApplyRoutes { table: one }, Effect::ApplyRoutes { table: other }) => {
            one.listeners == other.listeners && one.pools == other.pools
        }
        (one, other) => one == other,
    }
}
