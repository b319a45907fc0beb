//! One-off work that is done for a release: its run, and the effect that carries it out.

use hornero_model::{InstanceId, Millis, Release, Run};

use crate::{Effect, Facts, OpenRun, World};

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
