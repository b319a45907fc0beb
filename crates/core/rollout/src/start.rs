//! The beginning of rollouts: what a request comes to, given the world as it is.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, DataGuard, EventBody, GuardName, InstanceId, InstanceState, Release, ReleaseNumber,
    ServiceName, ServiceSpec, StepName, Strategy,
};

use crate::{
    Baseline, Facts, Kind, NoRoom, Phase, RepairState, Rollout, RouteClash, World, adjust, clash,
    fitting::{fit, is_in_place, reused},
    foresee,
    guarding::guards_of,
    is_adjustment,
    record::{Record, Step, changed, created, new_ids},
    repair_state,
    ruling::{self, StepInTheWay, no_return, unreached},
    switch::begin_switch,
};

/// What an apply of one service comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// It serves already, whole.
    Unchanged(ReleaseNumber),
    /// It serves already, but lacks instances.
    Repair(ReleaseNumber),
    /// It is the newest release, which does not serve.
    Again(ReleaseNumber),
    /// It becomes a new release.
    New(ReleaseNumber),
}

/// Why a request can't begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// No such service, or it was taken down.
    #[error("service `{0}` does not run")]
    NoService(ServiceName),
    /// No such release.
    #[error("there is no release `{0}@{1}`")]
    NoRelease(ServiceName, ReleaseNumber),
    /// The release was never proven.
    #[error("`{0}@{1}` was never proven: it can't be rolled back to")]
    Unproven(ServiceName, ReleaseNumber),
    /// It serves already.
    #[error("`{0}@{1}` serves already")]
    Serves(ServiceName, ReleaseNumber),
    /// There is no earlier proven release.
    #[error("`{0}` has no proven release before `{0}@{1}`")]
    NothingBefore(ServiceName, ReleaseNumber),
    /// Another rollout of the service is under way.
    #[error("rollout {1} of `{0}` is under way")]
    Busy(ServiceName, hornero_model::RolloutId),
    /// What it would go back to can't read its data any more.
    #[error("`{0}` can't go back to `{0}@{1}`: {2}")]
    NoReturn(ServiceName, ReleaseNumber, String),
    /// Somebody has to decide about one of its schema steps first.
    #[error(transparent)]
    Step(#[from] Box<StepInTheWay>),
    /// One of its schema steps could reach nothing.
    #[error(
        "step `{1}` of `{0}` could reach nothing: it changes the data of `{0}`, of which nothing serves"
    )]
    Unreached(ServiceName, StepName),
    /// Its routes clash with another service's.
    #[error(transparent)]
    Clash(#[from] RouteClash),
    /// Its servers don't fit beside those that are there.
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
}

impl Target {
    /// What applying `spec` would come to.
    pub fn of(world: &World, facts: &Facts, spec: &ServiceSpec) -> Self {
        let digest = Release::digest_of(spec);
        let Some(service) = world.services.get(&spec.name) else {
            return Self::New(world.next_release(&spec.name));
        };
        if let Some(serving) = service.serving_release()
            && serving.spec_digest == digest
        {
            let settled = service.serving.as_ref().is_none_or(|set| set.leaving.is_none());
            return match repair_state(world, facts, &spec.name) {
                Some(RepairState::Whole) if settled => Self::Unchanged(serving.number),
                Some(_) | None => Self::Repair(serving.number),
            };
        }
        match service.newest() {
            Some(newest) if newest.spec_digest == digest => Self::Again(newest.number),
            Some(_) | None => Self::New(world.next_release(&spec.name)),
        }
    }
}

/// Begins the rollout of a spec that [`Target::of`] found to be new, or to be rolled out again; or its adjustment, where
/// what serves can go on under it.
pub fn start_forward(
    world: &World,
    facts: &Facts,
    spec: &ServiceSpec,
    by: &Actor,
    tail: &mut dyn FnMut() -> String,
) -> Result<Step, StartError> {
    check_free(world, &spec.name)?;
    clash(world, spec)?;
    let mut records = Vec::new();
    let number = match Target::of(world, facts, spec) {
        Target::Unchanged(number) | Target::Repair(number) => {
            return Err(StartError::Serves(spec.name.clone(), number));
        }
        Target::Again(number) => number,
        Target::New(number) => {
            let release = Release {
                number,
                spec: spec.clone(),
                spec_digest: Release::digest_of(spec),
                created: facts.now,
                by: by.clone(),
            };
            let body = EventBody::ReleaseCreated { release: Box::new(release) };
            records.push(Record::Event(by.clone(), body));
            number
        }
    };
    if is_adjustment(world, spec) {
        foresee(world, facts, spec, number)?;
        records.extend(adjust::begin(world, spec, number, by, tail));
        return Ok(Step { records });
    }
    // A release that was proven before comes back as a rollback would: its tests and its watch are behind it.
    let proven =
        world.services.get(&spec.name).is_some_and(|service| service.proven.contains(&number));
    let kind = if proven { Kind::Rollback } else { Kind::Forward };
    records.extend(begin(world, facts, kind, spec, number, by, tail)?);
    Ok(Step { records })
}

/// Begins a rollback to `to`, or to what [`last_proven`] says; an adjustment where what serves can go on under it.
pub fn start_rollback(
    world: &World,
    facts: &Facts,
    name: &ServiceName,
    to: Option<ReleaseNumber>,
    by: &Actor,
    tail: &mut dyn FnMut() -> String,
) -> Result<Step, StartError> {
    check_free(world, name)?;
    let service = world.services.get(name).ok_or_else(|| StartError::NoService(name.clone()))?;
    let serving =
        service.serving.as_ref().ok_or_else(|| StartError::NoService(name.clone()))?.terms;
    let to = match to {
        Some(to) => to,
        None => last_proven(world, name)
            .ok_or_else(|| StartError::NothingBefore(name.clone(), serving))?,
    };
    let release =
        service.releases.get(&to).ok_or_else(|| StartError::NoRelease(name.clone(), to))?;
    if to == serving {
        return Err(StartError::Serves(name.clone(), to));
    }
    if !service.proven.contains(&to) {
        return Err(StartError::Unproven(name.clone(), to));
    }
    if let Some(why) = no_return(world, name, to).filter(|_| !is_adjustment(world, &release.spec)) {
        return Err(StartError::NoReturn(name.clone(), to, why));
    }
    clash(world, &release.spec)?;
    if is_adjustment(world, &release.spec) {
        foresee(world, facts, &release.spec, to)?;
        return Ok(Step { records: adjust::begin(world, &release.spec, to, by, tail) });
    }
    Ok(Step { records: begin(world, facts, Kind::Rollback, &release.spec, to, by, tail)? })
}

/// Begins the removal of a service.
pub fn start_down(
    world: &World,
    facts: &Facts,
    name: &ServiceName,
    by: &Actor,
) -> Result<Step, StartError> {
    check_free(world, name)?;
    let service = world.services.get(name).ok_or_else(|| StartError::NoService(name.clone()))?;
    let newest = service.newest().ok_or_else(|| StartError::NoService(name.clone()))?.number;
    if service.removed {
        return Err(StartError::NoService(name.clone()));
    }
    let serving = service.serving.as_ref().map(|set| set.release);
    let mut rollout = new_rollout(world, facts, Kind::Removal, name, serving.unwrap_or(newest), by);
    rollout.leave(service.serving.as_ref());
    rollout.terms = rollout.old_terms;
    rollout.phase = Phase::Closing;
    // What is on its way out already stays on it.
    rollout.set = world.kept(name).into_iter().cloned().collect();
    let guards = guards_of(world, name, Kind::Removal, None);
    rollout.guarding = !guards.is_empty();
    let mut records = override_guards(facts, &mut rollout, guards);
    records.push(journal(&rollout));
    Ok(Step { records })
}

/// The proven release to go back to: the one that served before, else the last one numbered below the one that
/// serves. What somebody went back from is not gone back to unless it is named, nor what failed when it was last tried.
pub fn last_proven(world: &World, service: &ServiceName) -> Option<ReleaseNumber> {
    let service = world.services.get(service)?;
    let serving = service.serving.as_ref()?.terms;
    let last = service.last_receipt.as_ref().map(|receipt| &receipt.body);
    let before = last.filter(|body| body.to == serving).and_then(|body| body.from);
    let is_fit = |number: &ReleaseNumber| !service.failed.contains_key(number);
    before
        .filter(|before| *before < serving && service.proven.contains(before) && is_fit(before))
        .or_else(|| service.proven.range(..serving).rev().copied().find(is_fit))
}

fn check_free(world: &World, name: &ServiceName) -> Result<(), StartError> {
    match world.rollout_of(name) {
        Some(rollout) => Err(StartError::Busy(name.clone(), rollout.id)),
        None => Ok(()),
    }
}

fn begin(
    world: &World,
    facts: &Facts,
    kind: Kind,
    spec: &ServiceSpec,
    terms: ReleaseNumber,
    by: &Actor,
    tail: &mut dyn FnMut() -> String,
) -> Result<Vec<Record>, StartError> {
    let name = &spec.name;
    let service = world.services.get(name);
    let in_place = is_in_place(world, spec);
    let kept = service.and_then(|of| of.warm.as_ref()).filter(|warm| warm.terms == terms);
    let warm = kept.filter(|_| !in_place);
    // Servers made from another release may have served by these terms.
    let to = warm.map_or(terms, |warm| warm.release);
    let mut rollout = new_rollout(world, facts, kind, name, to, by);
    rollout.terms = (terms != to).then_some(terms);
    rollout.leave(service.and_then(|of| of.serving.as_ref()));
    let mut records = match kind {
        Kind::Forward => {
            if let Some(step) = unreached(world, spec, terms) {
                return Err(StartError::Unreached(name.clone(), step));
            }
            ruling::clear(world, facts, spec, terms, by)?
        }
        Kind::Rollback | Kind::Removal => Vec::new(),
    };
    records.extend(override_guards(facts, &mut rollout, guards_of(world, name, kind, Some(spec))));
    if kind == Kind::Forward && ruling::expands(world, spec, terms) {
        foresee(world, facts, spec, terms)?;
        rollout.phase = Phase::Expanding;
        records.push(journal(&rollout));
        return Ok(records);
    }
    records.extend(come(world, facts, rollout, spec, tail)?);
    Ok(records)
}

/// The servers of a rollout to a release with this spec come: what is there already, and what is started.
pub(crate) fn come(
    world: &World,
    facts: &Facts,
    mut rollout: Rollout,
    spec: &ServiceSpec,
    tail: &mut dyn FnMut() -> String,
) -> Result<Vec<Record>, NoRoom> {
    let (name, kind, to, by) = (&spec.name, rollout.kind, rollout.to, rollout.by.clone());
    let terms = rollout.to_terms();
    let service = world.services.get(name);
    let in_place = is_in_place(world, spec);
    let kept = service.and_then(|of| of.warm.as_ref()).filter(|warm| warm.terms == terms);
    rollout.set = reused(world, facts, spec, terms);
    // What is not used must not get traffic with the rest of its release: it is on its way out from here on.
    let unused =
        kept.iter().flat_map(|kept| &kept.instances).filter(|id| !rollout.set.contains(*id));
    let mut records: Vec<Record> = unused
        .filter_map(|id| world.instances.get(id))
        .map(|instance| changed(&by, instance, InstanceState::Draining, None))
        .collect();
    let size = world.size_of(spec);
    let missing = (size as usize).saturating_sub(rollout.set.len());
    rollout.warm = missing == 0 && kind == Kind::Rollback;
    if rollout.warm && guards_of(world, name, kind, Some(spec)).is_empty() {
        records.push(journal(&begin_switch(&rollout, world, facts)));
        return Ok(records);
    }
    let lacks = u32::try_from(missing).unwrap_or(u32::MAX);
    rollout.batched = fit(world, facts, kind, spec, lacks)?;
    // Batch by batch there is a first one, but where nothing serves beside it.
    let first = match &spec.rollout.strategy {
        Strategy::Rolling(policy) if rollout.from.is_some() => policy.surge(size),
        Strategy::Replace(_) if in_place => 0,
        Strategy::Rolling(_) | Strategy::BlueGreen | Strategy::Canary(_) | Strategy::Replace(_) => {
            size
        }
    };
    let first = rollout.batched.as_ref().map_or(first, |batched| batched.at_once.min(first));
    let fresh = new_ids(world, name, to, missing.min(first as usize), tail);
    let fresh: BTreeSet<InstanceId> = fresh.into_iter().collect();
    rollout.set.extend(fresh.iter().cloned());
    records.push(journal(&rollout));
    records.extend(fresh.into_iter().map(|id| created(&rollout.by, name, to, id)));
    Ok(records)
}

/// Notes which of a rollout's guards somebody overrides; the events that tell it.
fn override_guards(facts: &Facts, rollout: &mut Rollout, guards: &[DataGuard]) -> Vec<Record> {
    let named = guards.iter().filter(|guard| facts.overridden.contains(&guard.name));
    rollout.overridden = named.map(|guard| guard.name.clone()).collect();
    let one = |guard: &GuardName| {
        let body = EventBody::DataGuardOverridden {
            guard: guard.clone(),
            service: rollout.service.clone(),
            rollout: rollout.id,
        };
        Record::Event(rollout.by.clone(), body)
    };
    rollout.overridden.iter().map(one).collect()
}

fn new_rollout(
    world: &World,
    facts: &Facts,
    kind: Kind,
    service: &ServiceName,
    to: ReleaseNumber,
    by: &Actor,
) -> Rollout {
    Rollout {
        id: world.next_rollout(),
        service: service.clone(),
        kind,
        by: by.clone(),
        requested: facts.now,
        from: None,
        to,
        warm: false,
        set: BTreeSet::new(),
        old: BTreeSet::new(),
        phase: Phase::Preparing,
        since: facts.now,
        failure: None,
        baseline: Baseline::default(),
        switch: None,
        returned: None,
        stays: false,
        cut_off: None,
        expanding: None,
        canary: None,
        batched: None,
        rolling: None,
        replacing: None,
        terms: None,
        old_terms: None,
        paused: None,
        overridden: BTreeSet::new(),
        guarding: false,
        interventions: Vec::new(),
    }
}

fn journal(rollout: &Rollout) -> Record {
    let body = EventBody::RolloutStep { entry: Box::new(rollout.entry()) };
    Record::Event(rollout.by.clone(), body)
}
