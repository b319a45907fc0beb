//! The command that is run before servers that can't run twice are replaced, while the old ones still serve.

use hornero_model::{Actor, CutOff, EventBody, Quiesce, Release, RunEnd, Timestamp};

use crate::{
    Effect, Facts, Phase, Replacing, ReplacingStage, Rollout, RolloutFailure, World,
    one_off::{carry_out, of_release},
    record::Record,
    switch::with_old,
    view::View,
};

/// The release that serves, and the command that its servers are to be quiesced with. As everything of a rollout, that is what
/// the release says that comes: a command that fails is mended by what is rolled out next.
fn declared<'w>(world: &'w World, rollout: &Rollout) -> Option<(&'w Release, &'w Quiesce)> {
    let release = world.services.get(&rollout.service)?.serving_release()?;
    Some((release, world.replace_policy(rollout)?.quiesce.as_ref()?))
}

/// The effect that carries out the run that a rollout waits for; none once its end is recorded.
pub(crate) fn work(world: &World, facts: &Facts, rollout: &Rollout) -> Option<Effect> {
    carry_out(world, facts, world.runs.get(rollout.quiesced_by()?)?)
}

/// Records the ends of runs that were seen.
pub(crate) fn ends(world: &World, facts: &Facts) -> Vec<Record> {
    let open = facts.run_ends.values().filter(|end| world.runs.contains_key(&end.id));
    let by = |end: &RunEnd| match end.cut_off {
        Some(_) => Actor::hornero("it took longer than it may"),
        None => Actor::hornero("it ended"),
    };
    open.map(|end| Record::Event(by(end), EventBody::RunEnded { end: end.clone() })).collect()
}

/// When time alone moves it on.
pub(crate) fn until(world: &World, rollout: &Rollout) -> Option<Timestamp> {
    Some(world.runs.get(rollout.quiesced_by()?)?.due())
}

impl View<'_> {
    /// The command begins, in a server of its own made from the release that serves; none where none is declared.
    pub(crate) fn begin_quiescing(&self, tail: &mut dyn FnMut() -> String) -> Option<Vec<Record>> {
        if !self.replaces() {
            return None;
        }
        let (release, quiesce) = declared(self.world, self.rollout)?;
        let command = (quiesce.command.clone(), quiesce.timeout);
        let run = of_release(release, "quiesce", command, &tail())?;
        let mut next = with_old(self.rollout, Phase::Replacing, self.world, self.facts);
        next.replacing = Some(Replacing {
            quiesce: Some(run.id.clone()),
            ..Replacing::at(ReplacingStage::Quiescing, self.facts.now, 0)
        });
        let begun = self.event(EventBody::RunStarted { run: Box::new(run) });
        Some(vec![self.enter(next), begun])
    }

    /// Once it has done what it was to do, requests are held; where it has not, everything stays as it is.
    pub(crate) fn quiescing(&self, replacing: &Replacing) -> Option<Vec<Record>> {
        let id = replacing.quiesce.as_ref()?;
        match self.world.quiesced.get(id) {
            Some(end) if end.is_success() => {
                // Whoever serves now may be another one than when it began.
                let held = self.begin_replacing();
                Some(held.map_or_else(|| self.reopen(None), |next| vec![self.enter(next)]))
            }
            Some(end) => {
                let reason = match end.cut_off {
                    Some(CutOff::Timeout) => format!("did not end within {}", end.duration),
                    Some(CutOff::Cancelled) => "was cancelled".to_owned(),
                    None => end.cause.to_string(),
                };
                let failure = RolloutFailure::of(format!("the quiesce command (`{id}`) {reason}"));
                Some(self.reopen(Some(RolloutFailure { instance: Some(id.clone()), ..failure })))
            }
            None => {
                let due = until(self.world, self.rollout);
                let late = due.is_none_or(|due| self.facts.now >= due);
                let why = || format!("nobody can tell how the quiesce command (`{id}`) ended");
                late.then(|| self.reopen(Some(RolloutFailure::of(why()))))
            }
        }
    }
}
