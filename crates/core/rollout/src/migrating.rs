//! Schema steps: those that are run before a release comes and those that are run once the one before is retired, each once.

use std::ops::Bound;

use hornero_model::{
    Actor, EventBody, ExitCause, Millis, PointOfNoReturn, Release, Run, RunEnd, ServiceName,
    ServiceSpec, StepPhase, StepTurn, Timestamp,
};

use crate::{
    Effect, Expanding, Facts, Kind, OpenRun, Phase, ReleaseStep, Rollout, RolloutFailure, Service,
    StepProgress, World, makes_same_servers,
    one_off::{carry_out, ending, of_release},
    record::Record,
    recorded::HALF_WAY,
    start::come,
    steps::{content, first_left, open},
    view::View,
};

/// After what time a contract step is begun again whose command could not be started.
const RETRY: Millis = Millis(300_000);
/// How long the tests of an image may take before its steps: a run of tests may take two hours.
const TESTS_ALLOWANCE: Millis = Millis(9_000_000);

/// Whether a step goes on in this run, by what is recorded.
fn goes_on(world: &World, run: &Run) -> bool {
    let (Some(turn), Some(release)) = (&run.step, &run.release) else { return false };
    let service = world.services.get(&release.service);
    let steps = service.and_then(|service| service.steps.get(&release.number));
    let known = steps.and_then(|steps| steps.get(&turn.step));
    known.is_some_and(|known| known.run == run.id && known.progress == StepProgress::Running)
}

/// The effects that carry steps out to their end, but for those that are ended.
pub(crate) fn work(world: &World, facts: &Facts) -> Vec<Effect> {
    let is_ended = |open: &OpenRun| {
        let service = open.run.release.as_ref().map(|release| &release.service);
        service.is_some_and(|of| ending(world, of).any(|other| other.run.id == open.run.id))
    };
    let own = open(world).filter(|open| goes_on(world, &open.run) && !is_ended(open));
    own.filter_map(|open| carry_out(world, facts, open)).collect()
}

/// Records the ends of runs whose steps ended with the host: nobody asks for them any more.
pub(crate) fn ends(world: &World, facts: &Facts) -> Vec<Record> {
    let lost = open(world).filter(|open| !goes_on(world, &open.run));
    let lost = lost.filter(|open| !facts.run_ends.contains_key(&open.run.id));
    let one = |open: &OpenRun| {
        let (id, duration) = (open.run.id.clone(), facts.now.since(open.since));
        let end = RunEnd { id, cause: ExitCause::HostRestarted, cut_off: None, duration };
        Record::Event(Actor::hornero("it ended with the host"), EventBody::RunEnded { end })
    };
    lost.map(one).collect()
}

/// The contract steps of what serves, one after the other, once nothing of another release is left.
pub(crate) fn contract(
    world: &World,
    facts: &Facts,
    name: &ServiceName,
    tail: &mut dyn FnMut() -> String,
) -> Option<Record> {
    let release = retires(world, name)?;
    let step = first_left(world, &release.spec, release.number, StepPhase::Contract)?;
    let waits = match step.known {
        None => false,
        Some((.., known)) => match &known.progress {
            StepProgress::NotBegun(_) => facts.now < known.begun.after(RETRY),
            StepProgress::Running | StepProgress::Failed(_) | StepProgress::HalfWay(_) => true,
            StepProgress::Done => false,
        },
    };
    if waits || open(world).any(|open| is_of(open, name)) {
        return None;
    }
    let run = begun(release, &step, tail)?;
    let by =
        Actor::hornero(format!("nothing is left of what served before `{}`", release.reference()));
    Some(Record::Event(by, EventBody::RunStarted { run: Box::new(run) }))
}

/// The release that serves, where it is proven and nothing of another one is left, or may come.
fn retires<'w>(world: &'w World, name: &ServiceName) -> Option<&'w Release> {
    let service = world.services.get(name)?;
    let set = service.serving.as_ref().filter(|set| set.leaving.is_none())?;
    let release = world.release(name, set.release)?;
    // Asked first: most have none, and the rest is looked at with every step.
    release.spec.migrate.as_ref().filter(|of| !of.contract.is_empty())?;
    let alone = world.instances.of(name).all(|of| of.release == set.release);
    let free = world.rollout_of(name).is_none() && service.warm.is_none();
    let retires = alone && free && service.proven.contains(&set.release);
    (retires && !came_back(service, release)).then_some(release)
}

/// Whether a later release was proven in its place: people went back to it, and what it left undone is not made up for.
fn came_back(service: &Service, release: &Release) -> bool {
    let later = (Bound::Excluded(release.number), Bound::Unbounded);
    let mut later = service.proven.range(later).filter_map(|of| service.releases.get(of));
    later.any(|later| !makes_same_servers(&release.spec, &later.spec))
}

/// When time alone has a step begun.
pub(crate) fn wake(world: &World, name: &ServiceName) -> Option<Timestamp> {
    let release = retires(world, name)?;
    let step = first_left(world, &release.spec, release.number, StepPhase::Contract)?;
    let (.., known) = step.known?;
    matches!(known.progress, StepProgress::NotBegun(_)).then(|| known.begun.after(RETRY))
}

fn is_of(open: &OpenRun, service: &ServiceName) -> bool {
    open.run.release.as_ref().is_some_and(|release| release.service == *service)
}

/// The run that carries a step out, in a server of its own made from the release.
fn begun(
    release: &Release,
    step: &ReleaseStep<'_>,
    tail: &mut dyn FnMut() -> String,
) -> Option<Run> {
    let content = content(&release.spec, step.name.phase, step.command);
    let timeout = release.spec.migrate.as_ref()?.timeout;
    let run = of_release(release, "step", (step.command.to_vec(), timeout), &tail())?;
    Some(Run { step: Some(StepTurn { step: step.name, content }), ..run })
}

/// When time alone moves a rollout on that runs steps.
pub(crate) fn times(world: &World, rollout: &Rollout, watched: Timestamp) -> Vec<Timestamp> {
    let own = open(world).filter(|open| is_of(open, &rollout.service));
    own.map(OpenRun::due).chain([watched.after(TESTS_ALLOWANCE)]).collect()
}

impl Rollout {
    /// Whether it ended because a step did not do its work: the release failed, and what served before serves on.
    pub fn failed_by_step(&self) -> bool {
        let step = self.expanding.as_ref().map(|of| &of.run);
        step.is_some() && self.failure.as_ref().is_some_and(|of| of.instance.as_ref() == step)
    }
}

impl View<'_> {
    /// Whether what served before can't serve again, by what the release that comes declares.
    pub(crate) fn is_past_return(&self) -> bool {
        let declared = self.spec().and_then(|spec| spec.migrate.as_ref());
        self.rollout.kind == Kind::Forward
            && self.rollout.from.is_some()
            && declared.is_some_and(|of| of.point_of_no_return == PointOfNoReturn::Switch)
    }

    /// Steps are run one after the other; then the servers of the release are started.
    pub(crate) fn expanding(&self, tail: &mut dyn FnMut() -> String) -> Option<Vec<Record>> {
        if let Some(failure) = self.halt().or_else(|| self.failed_test()) {
            return Some(self.undo(failure));
        }
        if !self.tests_passed() {
            let failure =
                || RolloutFailure::of(format!("its tests did not end within {TESTS_ALLOWANCE}"));
            return self.waited(TESTS_ALLOWANCE).then(|| self.undo(failure()));
        }
        if let Some(open) = open(self.world).find(|open| is_of(open, &self.rollout.service)) {
            let why = || format!("nobody can tell how step `{}` ended", open.run.id);
            let late = self.facts.now >= open.due();
            return late.then(|| self.undo(RolloutFailure::of(why())));
        }
        let number = self.rollout.to_terms();
        let release = self.world.release(&self.rollout.service, number)?;
        let Some(step) = first_left(self.world, &release.spec, number, StepPhase::Expand) else {
            return Some(self.come_after_steps(&release.spec, tail));
        };
        let own = self.rollout.expanding.as_ref().map(|of| &of.run);
        let reason = match step.known {
            None => None,
            Some((.., known)) => match &known.progress {
                // From another rollout: nothing was done then.
                StepProgress::NotBegun(_) if own != Some(&known.run) => None,
                StepProgress::NotBegun(why) => Some((known, format!("was not started: {why}"))),
                StepProgress::Failed(why) => Some((known, why.clone())),
                StepProgress::HalfWay(why) => Some((known, format!("{why}: {HALF_WAY}"))),
                StepProgress::Running | StepProgress::Done => return None,
            },
        };
        if let Some((known, why)) = reason {
            let reason = format!("step `{}` (`{}`) {why}", step.name, known.run);
            let failure = RolloutFailure::of(reason);
            return Some(
                self.undo(RolloutFailure { instance: Some(known.run.clone()), ..failure }),
            );
        }
        let run = begun(release, &step, tail)?;
        let mut next = self.rollout.enter(Phase::Expanding, self.facts.now);
        next.expanding = Some(Expanding { step: step.name, run: run.id.clone() });
        let mut records = self.test_records();
        records.push(self.enter(next));
        records.push(self.event(EventBody::RunStarted { run: Box::new(run) }));
        Some(records)
    }

    /// The servers of the release come, as those of one without steps do at once.
    fn come_after_steps(
        &self,
        spec: &ServiceSpec,
        tail: &mut dyn FnMut() -> String,
    ) -> Vec<Record> {
        let next = self.rollout.enter(Phase::Preparing, self.facts.now);
        match come(self.world, self.facts, next, spec, tail) {
            Ok(records) => records,
            Err(no_room) => self.undo(RolloutFailure::of(no_room.to_string())),
        }
    }
}
