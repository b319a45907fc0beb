//! What people decide about schema steps, what stands in the way of a release until they do, and behind what nothing goes back.

use std::fmt;

use hornero_model::{
    Actor, EventBody, InstanceId, PointOfNoReturn, Release, ReleaseNumber, ServiceName,
    ServiceSpec, StepName, StepPhase,
};

use crate::{
    Facts, KnownStep, ReleaseStep, Service, StepProgress, World, record::Record,
    recorded::HALF_WAY, release_steps, steps::first_left,
};

/// Whether steps are to be run before a release with this spec comes.
pub(crate) fn expands(world: &World, spec: &ServiceSpec, number: ReleaseNumber) -> bool {
    first_left(world, spec, number, StepPhase::Expand).is_some()
}

/// The first step before a release with this spec that could reach nothing: it changes data of its own service, of which nothing
/// serves, as after `down`. One that is to be run before any release served needs no server.
pub fn unreached(world: &World, spec: &ServiceSpec, number: ReleaseNumber) -> Option<StepName> {
    let is_server_needed = spec.migrate.as_ref().is_some_and(|migrate| !migrate.first_release);
    if !spec.holds_volumes() || !is_server_needed || serving(world, &spec.name).is_some() {
        return None;
    }
    first_left(world, spec, number, StepPhase::Expand).map(|step| step.name)
}

/// What was decided about steps that stand in the way of a release with this spec, as it is to be recorded; an error where one
/// stands in its way about which nothing was.
pub(crate) fn clear(
    world: &World,
    facts: &Facts,
    spec: &ServiceSpec,
    number: ReleaseNumber,
    by: &Actor,
) -> Result<Vec<Record>, Box<StepInTheWay>> {
    let mut records: Vec<Record> = Vec::new();
    let mut steps = release_steps(world, spec, number, StepPhase::Expand);
    if let Some(serving) = serving(world, &spec.name) {
        let contract = release_steps(world, &serving.spec, serving.number, StepPhase::Contract);
        let half_way =
            |step: &ReleaseStep<'_>| matches!(step.progress(), Some(StepProgress::HalfWay(_)));
        steps.extend(contract.into_iter().filter(half_way));
    }
    for step in steps {
        let Some((release, name, known)) = step.known else { continue };
        let Some(why) = known.progress.trouble() else { continue };
        let service = spec.name.clone();
        let Some(ruling) = facts.rulings.get(&step.name) else {
            let half_way = matches!(known.progress, StepProgress::HalfWay(_));
            let (why, run) = (why.to_owned(), known.run.clone());
            return Err(Box::new(StepInTheWay {
                service,
                step: step.name,
                recorded: (release, name),
                run,
                why,
                half_way,
            }));
        };
        let body = EventBody::StepRuled { service, release, step: name, ruling: *ruling };
        let ruled = Record::Event(by.clone(), body);
        if !records.contains(&ruled) {
            records.push(ruled);
        }
    }
    Ok(records)
}

/// What was decided about the steps of the release that serves, as it is to be recorded.
pub fn rule_steps(world: &World, facts: &Facts, service: &ServiceName, by: &Actor) -> Vec<Record> {
    let Some(serving) = serving(world, service) else { return Vec::new() };
    let steps = release_steps(world, &serving.spec, serving.number, StepPhase::Contract);
    let one = |step: ReleaseStep<'_>| {
        let (release, step_of, known) = step.known?;
        known.progress.trouble()?;
        let (service, ruling) = (service.clone(), *facts.rulings.get(&step.name)?);
        let body = EventBody::StepRuled { service, release, step: step_of, ruling };
        Some(Record::Event(by.clone(), body))
    };
    steps.into_iter().filter_map(one).collect()
}

/// A step about which somebody has to decide before its service goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepInTheWay {
    /// The service.
    pub service: ServiceName,
    /// The step by its place now, by which people decide about it.
    pub step: StepName,
    /// The release that began it, and the place that it had there.
    pub recorded: (ReleaseNumber, StepName),
    /// Its run.
    pub run: InstanceId,
    /// How it ended.
    pub why: String,
    /// Whether nobody knows if it did its work.
    pub half_way: bool,
}

impl std::error::Error for StepInTheWay {}

impl fmt::Display for StepInTheWay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { service, step, recorded: (release, was), run, why, half_way } = self;
        match step == was {
            true => write!(f, "step `{step}` of `{service}@{release}` (`{run}`) {why}")?,
            false => {
                write!(
                    f,
                    "step `{step}`, which was `{was}` of `{service}@{release}` (`{run}`), {why}"
                )?;
            }
        }
        if *half_way {
            write!(f, ": {HALF_WAY}")?;
        }
        Ok(())
    }
}

/// The release that the servers were made from that serve.
fn serving<'w>(world: &'w World, service: &ServiceName) -> Option<&'w Release> {
    let set = world.services.get(service)?.serving.as_ref()?;
    world.release(service, set.release)
}

/// Why a service can't go back to a release; none where it can.
pub fn no_return(world: &World, name: &ServiceName, to: ReleaseNumber) -> Option<String> {
    let service = world.services.get(name)?;
    let since = service.releases.range(to..).skip_while(|(number, _)| **number == to);
    since.filter_map(|(number, release)| passed(service, *number, release)).next()
}

/// Why nothing goes back behind a release.
fn passed(service: &Service, number: ReleaseNumber, release: &Release) -> Option<String> {
    let reference = release.reference();
    let steps = service.steps.get(&number);
    let begun = steps.and_then(|steps| {
        let of = |of: &(&StepName, &KnownStep)| {
            of.0.phase == StepPhase::Contract && of.1.progress.was_begun()
        };
        steps.iter().find(of)
    });
    if let Some((step, known)) = begun {
        return Some(format!(
            "step `{step}` of `{reference}` was begun at {}: what releases before it need may be gone",
            known.begun
        ));
    }
    let migrate = release.spec.migrate.as_ref()?;
    let at_switch = migrate.point_of_no_return == PointOfNoReturn::Switch;
    // One that failed its watch and served on was never proven, and wrote all the same.
    let served = service.served.contains(&number) || service.proven.contains(&number);
    (at_switch && served).then(|| {
        format!(
            "`{reference}` has served, and declares that no release before it can read its data"
        )
    })
}
