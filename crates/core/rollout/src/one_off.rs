//! One-off work that is done for a release: its run, and the effect that carries it out.

use hornero_model::{InstanceId, Millis, Release, Run, ServiceName, StepPhase};

use crate::{Effect, Facts, OpenRun, Phase, World};

/// A run of a command in a server of its own made from a release; none where no name of a server fits. `word` says what for.
pub(crate) fn of_release(
    release: &Release,
    word: &str,
    (command, timeout): (Vec<String>, Millis),
    tail: &str,
) -> Option<Run> {
    let spec = &release.spec;
    let id = InstanceId::new(format!("{word}-{}-{tail}", spec.name));
    // The longest of names leave no room for the word.
    let id = id.or_else(|_| InstanceId::new(format!("{word}-{tail}"))).ok()?;
    Some(Run {
        id,
        release: Some(release.reference()),
        job: None,
        step: None,
        image_name: spec.image_name.clone(),
        image: spec.image,
        configuration: spec.configuration,
        command,
        timeout,
        stop_grace: spec.stop_grace(),
    })
}

/// The effect that carries a release's run out to its end.
pub(crate) fn carry_out(world: &World, facts: &Facts, open: &OpenRun) -> Option<Effect> {
    let OpenRun { run, since, .. } = open;
    let release = run.release.as_ref()?;
    let spec = &world.release(&release.service, release.number)?.spec;
    let (run, spec) = (Box::new(run.clone()), Box::new(spec.clone()));
    Some(Effect::CarryOut { region: facts.region.clone(), run, since: *since, spec })
}

/// The runs of a service that end with what is under way for it: the step that goes on before a release which is given up, and
/// whatever runs of a service that is taken down, once its guards let it go.
pub(crate) fn ending<'w>(
    world: &'w World,
    service: &'w ServiceName,
) -> impl Iterator<Item = &'w OpenRun> {
    let phase = world.rollout_of(service).map(|rollout| rollout.phase);
    let ends = move |open: &&OpenRun| {
        let is_own = open.run.release.as_ref().is_some_and(|of| of.service == *service);
        let step = open.run.step.as_ref().map(|turn| turn.step.phase);
        let is_expanding = phase == Some(Phase::Undoing) && step == Some(StepPhase::Expand);
        is_own && (is_expanding || phase == Some(Phase::Emptying))
    };
    world.runs.values().filter(ends)
}

/// The effects that end those runs.
pub(crate) fn ends(world: &World, facts: &Facts) -> Vec<Effect> {
    let all = world.rollouts.values().flat_map(|rollout| ending(world, &rollout.service));
    let unseen = all.filter(|open| !facts.run_ends.contains_key(&open.run.id));
    let one = |open: &OpenRun| Effect::EndRun {
        region: facts.region.clone(),
        run: Box::new(open.run.clone()),
        since: open.since,
    };
    unseen.map(one).collect()
}
