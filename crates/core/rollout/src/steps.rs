//! Schema steps as the ledger tells them: which were begun, how they ended, and what that means for a release.

use hornero_model::{
    Digest, ExitCause, ReleaseNumber, Run, RunEnd, ServiceName, ServiceSpec, StepName, StepPhase,
    StepRuling, Timestamp,
};

use crate::{KnownStep, OpenRun, Service, StepProgress, World};

/// What makes a step the same one: all that its server is made from.
pub(crate) fn content(spec: &ServiceSpec, phase: StepPhase, command: &[String]) -> Digest {
    let ServiceSpec { image, configuration, env, secrets, .. } = spec;
    let parts = (phase, image, configuration, env, secrets, command);
    // Invariant: none of them holds a map but one with keys of text.
    Digest::of(&serde_json::to_vec(&parts).expect("a step has only keys of text"))
}

/// A step of a release, and what is known of it.
#[derive(Debug, Clone, PartialEq)]
pub struct ReleaseStep<'w> {
    /// Which.
    pub name: StepName,
    /// Its command and arguments.
    pub command: &'w [String],
    /// What is known of it, and of which release that was recorded; none where it was never begun.
    pub known: Option<(ReleaseNumber, StepName, &'w KnownStep)>,
}

impl ReleaseStep<'_> {
    /// How far it came.
    pub fn progress(&self) -> Option<&StepProgress> {
        self.known.map(|(_, _, known)| &known.progress)
    }

    pub(crate) fn is_done(&self) -> bool {
        self.progress() == Some(&StepProgress::Done)
    }
}

/// The steps of a phase that are run for a release with this spec, in their order, with what is known of each.
pub fn release_steps<'w>(
    world: &'w World,
    spec: &'w ServiceSpec,
    number: ReleaseNumber,
    phase: StepPhase,
) -> Vec<ReleaseStep<'w>> {
    let service = world.services.get(&spec.name);
    let Some(migrate) = &spec.migrate else { return Vec::new() };
    let served = service.is_some_and(|of| of.proven.range(..number).next().is_some());
    if !served && !migrate.first_release {
        return Vec::new();
    }
    let commands = migrate.of(phase);
    let one = |(at, (name, command)): (usize, (StepName, &'w [String]))| {
        let before = commands.iter().take(at).filter(|of| of.as_slice() == command).count();
        let known = service.and_then(|of| known(of, (spec, number), (name, command), before));
        ReleaseStep { name, command, known }
    };
    migrate.steps(phase).enumerate().map(one).collect()
}

/// What is known of a step of a release: of itself, or of the same one in releases just before it that never served. Of one
/// that was left half-way its command is enough: another image makes nothing certain. Where `equal` steps with this command
/// are before it in its list, as many of the same ones are passed over: each is a step of its own.
fn known<'w>(
    service: &'w Service,
    (spec, number): (&ServiceSpec, ReleaseNumber),
    (name, command): (StepName, &[String]),
    equal: usize,
) -> Option<(ReleaseNumber, StepName, &'w KnownStep)> {
    if let Some(own) = service.steps.get(&number).and_then(|steps| steps.get(&name)) {
        return Some((number, name, own));
    }
    let content = content(spec, name.phase, command);
    let served = service.proven.range(..number).next_back().copied();
    let is_same = |(other, known): &(&StepName, &KnownStep)| {
        let half_way = matches!(known.progress, StepProgress::HalfWay(_));
        let same = known.content == content || half_way && known.command == command;
        other.phase == name.phase && same
    };
    let before = service.steps.range(..number).rev();
    let mut before = before.take_while(|(of, _)| served.is_none_or(|served| **of > served));
    before.find_map(|(of, steps)| {
        let (name, known) = steps.iter().filter(is_same).nth(equal)?;
        Some((*of, *name, known))
    })
}

/// The runs of steps that have not ended by what is recorded.
pub(crate) fn open(world: &World) -> impl Iterator<Item = &OpenRun> {
    world.runs.values().filter(|open| open.run.step.is_some())
}

/// The first step of a phase that is not done.
pub(crate) fn first_left<'w>(
    world: &'w World,
    spec: &'w ServiceSpec,
    number: ReleaseNumber,
    phase: StepPhase,
) -> Option<ReleaseStep<'w>> {
    release_steps(world, spec, number, phase).into_iter().find(|step| !step.is_done())
}

/// A run that carries out a step was begun.
pub(crate) fn started(world: &mut World, run: &Run, begun: Timestamp) -> Result<(), String> {
    let (Some(turn), Some(release)) = (&run.step, &run.release) else { return Ok(()) };
    world.known_release(&release.service, release.number)?;
    let service = world.service_mut(&release.service)?;
    let steps = service.steps.entry(release.number).or_default();
    if steps.get(&turn.step).is_some_and(|known| known.progress.was_begun()) {
        return Err(format!("step `{}` of `{release}` was begun before", turn.step));
    }
    let known = KnownStep {
        content: turn.content,
        command: run.command.clone(),
        run: run.id.clone(),
        begun,
        progress: StepProgress::Running,
    };
    steps.insert(turn.step, known);
    Ok(())
}

/// A run ended that may have carried out a step.
pub(crate) fn ended(world: &mut World, run: &Run, end: &RunEnd) {
    let (Some(turn), Some(release)) = (&run.step, &run.release) else { return };
    let service = world.services.get_mut(&release.service);
    let steps = service.and_then(|service| service.steps.get_mut(&release.number));
    let known = steps.and_then(|steps| steps.get_mut(&turn.step));
    // What is known already came from elsewhere: the host was started again, or somebody decided.
    if let Some(known) = known.filter(|of| of.run == run.id && of.progress == StepProgress::Running)
    {
        known.progress = StepProgress::of(end);
    }
}

/// Whatever ran has ended with the host, and nobody knows how far it came.
pub(crate) fn host_started(service: &mut Service) {
    let all = service.steps.values_mut().flat_map(|steps| steps.values_mut());
    for known in all.filter(|known| known.progress == StepProgress::Running) {
        known.progress = StepProgress::HalfWay(ExitCause::HostRestarted.to_string());
    }
}

/// Somebody decided about a step. Where nothing was to be decided, nothing changes: no ledger is lost over that.
pub(crate) fn ruled(
    world: &mut World,
    service: &ServiceName,
    (release, step): (ReleaseNumber, StepName),
    ruling: StepRuling,
) -> Result<(), String> {
    let steps = world.service_mut(service)?.steps.get_mut(&release);
    let known = steps.and_then(|steps| steps.get_mut(&step));
    if let Some(known) = known.filter(|known| known.progress.trouble().is_some()) {
        known.progress = match ruling {
            StepRuling::Rerun => StepProgress::NotBegun("it is to be run once more".to_owned()),
            StepRuling::Done => StepProgress::Done,
        };
    }
    Ok(())
}
