//! What clients are told of rollouts, and which of them.

use hornero_model::{Digest, EdgeRef, InstanceId, Millis, Receipt, RolloutId, ServiceName, Share};
use hornero_rollout::{
    Phase, ReplacingStage, Rolling, RollingStage, Rollout, TestRun, UNHEARD_ALLOWANCE,
};

use crate::{Driver, Ports, Progress, RequestId, steer::steered};

/// What a server answers in its first moments is that nothing listens yet.
const FIRST_PROBES: Millis = Millis(1_000);
/// Different answers of one server that are told: one that answers something else each time says no more by the sixth.
const PROBES_TOLD: usize = 5;

impl Driver {
    /// The requests that wait for a rollout, the one that began it last.
    fn requests_of(&self, rollout: RolloutId) -> Vec<RequestId> {
        self.jobs.iter().filter(|job| job.waits_for(rollout)).map(|job| job.id).collect()
    }

    pub(crate) fn request_of(&self, rollout: RolloutId) -> Option<RequestId> {
        self.requests_of(rollout).last().copied()
    }

    pub(crate) fn request_for(&self, service: &ServiceName) -> Option<RequestId> {
        self.jobs.iter().find(|job| job.repairs(service)).map(|job| job.id)
    }

    /// Tells clients that a rollout entered a phase.
    pub(crate) fn tell_phase(
        &self,
        rollout: &Rollout,
        receipt: Option<&Receipt>,
        ports: &mut dyn Ports,
    ) {
        let message = steered(rollout).unwrap_or_else(|| entered(rollout, receipt));
        let instance: Option<InstanceId> =
            rollout.failure.as_ref().and_then(|failure| failure.instance.clone());
        let step = |request| Progress::Step {
            request,
            service: rollout.service.clone(),
            rollout: Some(rollout.id),
            phase: rollout.phase.name(),
            message: message.clone(),
            instance: instance.clone(),
        };
        let requests = self.requests_of(rollout.id);
        if requests.is_empty() {
            ports.progress(step(None));
        }
        requests.into_iter().for_each(|request| ports.progress(step(Some(request))));
    }

    pub(crate) fn tell_tests(&self, image: &Digest, run: &TestRun, ports: &mut dyn Ports) {
        for rollout in self.world.rollouts.values() {
            let release = self.world.release(&rollout.service, rollout.to);
            if release.is_none_or(|release| release.spec.image != *image) {
                continue;
            }
            ports.progress(Progress::Step {
                request: self.request_of(rollout.id),
                service: rollout.service.clone(),
                rollout: Some(rollout.id),
                phase: "testing",
                message: of_tests(run),
                instance: None,
            });
        }
    }

    pub(crate) fn tell_instance(
        &self,
        id: &InstanceId,
        phase: &'static str,
        what: String,
        ports: &mut dyn Ports,
    ) {
        let mut rollouts = self.world.rollouts.values().filter(|of| has_servers_coming(of));
        let Some(rollout) = rollouts.find(|rollout| rollout.set.contains(id)) else { return };
        ports.progress(Progress::Step {
            request: self.request_of(rollout.id),
            service: rollout.service.clone(),
            rollout: Some(rollout.id),
            phase,
            message: format!("instance `{id}` {what}"),
            instance: Some(id.clone()),
        });
    }

    /// Tells that an edge can't be reached, to those whose servers on their way up nobody can check without it.
    pub(crate) fn tell_away(&self, edge: &EdgeRef, ports: &mut dyn Ports) {
        let who = match self.facts.edges.len() > 1 {
            true => format!("edge `{}`", edge.edge),
            false => "the edge".to_owned(),
        };
        for rollout in self.world.rollouts.values().filter(|of| has_servers_coming(of)) {
            ports.progress(Progress::Step {
                request: self.request_of(rollout.id),
                service: rollout.service.clone(),
                rollout: Some(rollout.id),
                phase: rollout.phase.name(),
                message: format!(
                    "{who} can't be reached; what comes up is waited for until it can tell how that is, \
                     {UNHEARD_ALLOWANCE} at most"
                ),
                instance: None,
            });
        }
    }

    /// Tells what an instance on its way up answers while it is waited for: each answer once, and not those of its first
    /// moments, when nothing listens yet.
    pub(crate) fn tell_probe(&mut self, id: &InstanceId, ports: &mut dyn Ports) {
        let Some(running) = self.facts.running.get(id) else { return };
        if self.now() < running.since.after(FIRST_PROBES) {
            return;
        }
        let Some(seen) = self.health_error(id) else { return };
        let told = self.told_probes.entry(id.clone()).or_default();
        if told.len() < PROBES_TOLD && told.insert(seen.clone()) {
            self.tell_instance(id, "probing", format!("is not healthy yet: {seen}"), ports);
        }
    }
}

/// Whether servers of a rollout may be on their way up.
const fn has_servers_coming(rollout: &Rollout) -> bool {
    matches!(rollout.phase, Phase::Preparing | Phase::Rolling | Phase::Replacing)
}

/// How far a canary is.
fn canary(rollout: &Rollout) -> String {
    let Rollout { service, to, .. } = rollout;
    let Some(canary) = &rollout.canary else { return format!("sharing with `{service}@{to}`") };
    let share = Share::percent(canary.weight);
    match (&canary.window, last_step(rollout)) {
        (Some(_), _) => format!("`{service}@{to}` gets {share} of the requests and is judged"),
        (None, None) => format!("giving {share} of the requests to `{service}@{to}`"),
        (None, Some(step)) => format!("{step}; giving {share} to `{service}@{to}`"),
    }
}

/// How far a rollout is that goes batch by batch.
fn rolling(rollout: &Rollout) -> String {
    let Rollout { service, to, set, .. } = rollout;
    let Some(rolling) = &rollout.rolling else { return format!("sharing with `{service}@{to}`") };
    let Rolling { batch, weight, keep, stage, waits } = rolling;
    let share = Share::percent(*weight);
    let count = set.len();
    match stage {
        RollingStage::Sharing => format!(
            "giving {share} of the requests to {count} instances of `{service}@{to}` beside {keep} old ones"
        ),
        RollingStage::Starting if *waits => {
            format!("batch {} of `{service}@{to}` waits for room", batch + 1)
        }
        RollingStage::Starting => {
            format!("starting batch {} of `{service}@{to}`, {count} instances by then", batch + 1)
        }
    }
}

/// How far a rollout is whose servers can't run beside the old ones.
fn replacing(rollout: &Rollout) -> String {
    let Rollout { service, to, set, .. } = rollout;
    let Some(replacing) = &rollout.replacing else { return format!("replacing `{service}`") };
    let goes = match (replacing.back, rollout.from) {
        (false, Some(from)) => from,
        (_, _) => *to,
    };
    let why = rollout.failure.as_ref().map(|failure| failure.reason.as_str());
    match replacing.stage {
        ReplacingStage::Quiescing => {
            let run = replacing.quiesce.as_ref().map(|run| format!(" (`{run}`)"));
            format!("running the quiesce command of `{service}@{goes}`{}", run.unwrap_or_default())
        }
        ReplacingStage::Holding => {
            let why = why.map(|why| format!("going back: {why}; ")).unwrap_or_default();
            format!("{why}new requests wait until {} at most", replacing.until)
        }
        ReplacingStage::Stopping => format!("stopping the instances of `{service}@{goes}`"),
        ReplacingStage::Preserving => format!("taking snapshots of the volumes of `{service}`"),
        ReplacingStage::Restoring => {
            format!("putting the volumes of `{service}` back to what they had")
        }
        ReplacingStage::Starting if replacing.back => match rollout.from {
            Some(from) => format!("starting the instances of `{service}@{from}` again"),
            None => "starting nothing again".to_owned(),
        },
        ReplacingStage::Starting => {
            format!("starting {} instances of `{service}@{to}`", set.len())
        }
    }
}

/// What became of a canary's last step.
fn last_step(rollout: &Rollout) -> Option<String> {
    let step = rollout.canary.as_ref()?.judged.last()?;
    let share = Share::percent(step.weight);
    Some(format!("{} at {share}: {}", step.verdict, step.reasons.join("; ")))
}

/// How tests went, in a sentence; those that failed by name.
fn of_tests(run: &TestRun) -> String {
    if let Some(why) = &run.not_run {
        return format!("no test was run: {why}");
    }
    if run.results.is_empty() {
        return "the image declares no tests".to_owned();
    }
    let failed: Vec<String> = run
        .results
        .iter()
        .filter(|result| !result.passed)
        .map(|result| format!("; `{}`: {}", result.test, result.detail))
        .collect();
    let (passed, all) = (run.results.len() - failed.len(), run.results.len());
    format!("{passed} of {all} tests passed{}", failed.concat())
}

/// What a phase is about that a rollout entered.
fn entered(rollout: &Rollout, receipt: Option<&Receipt>) -> String {
    let (service, to) = (&rollout.service, rollout.to);
    let why = || rollout.failure.as_ref().map_or("", |failure| failure.reason.as_str());
    match rollout.phase {
        Phase::Expanding => expanding(rollout),
        Phase::Preparing => preparing(rollout),
        Phase::Canary => canary(rollout),
        Phase::Rolling => rolling(rollout),
        Phase::Replacing => replacing(rollout),
        Phase::Switching => match last_step(rollout) {
            Some(step) => format!("{step}; switching to `{service}@{to}`"),
            None => format!("switching to `{service}@{to}`"),
        },
        Phase::Watching => {
            let ms = rollout.switch.map_or(0.0, |switch| switch.switch_ms);
            format!("`{service}@{to}` serves; the switch took {ms:.2} ms")
        }
        Phase::Draining => "waiting for the last requests on the old set".to_owned(),
        Phase::Finished => match receipt {
            Some(receipt) => format!("done; {} requests failed", receipt.body.requests_failed),
            None => "done".to_owned(),
        },
        Phase::Undoing => format!("undoing: {}", why()),
        Phase::Failed => format!("failed: {}", why()),
        Phase::Returning => format!("going back: {}", why()),
        Phase::Clearing => match rollout.from {
            Some(from) => format!("`{service}@{from}` serves again"),
            None => "nothing serves, as before".to_owned(),
        },
        Phase::RolledBack => format!("rolled back: {}", why()),
        Phase::Closing if rollout.guarding => {
            format!("asking the guards of `{service}`; nothing is closed yet")
        }
        Phase::Closing => format!("closing the ways into `{service}`"),
        Phase::Emptying => format!("stopping the instances of `{service}`"),
        Phase::Removed if rollout.failure.is_some() => format!("`{service}` is gone; {}", why()),
        Phase::Removed => format!("`{service}` is gone"),
    }
}

fn expanding(rollout: &Rollout) -> String {
    let (service, to) = (&rollout.service, rollout.to_terms());
    match &rollout.expanding {
        Some(of) => format!("running step `{}` of `{service}@{to}` (`{}`)", of.step, of.run),
        None => format!("`{service}@{to}` has schema steps, which come before its servers"),
    }
}

fn preparing(rollout: &Rollout) -> String {
    let (service, to, count) = (&rollout.service, rollout.to, rollout.set.len());
    if count == 0 {
        return format!(
            "preparing `{service}@{to}`, whose servers start when the old ones are gone"
        );
    }
    let batched = rollout.batched.as_ref().map(|of| format!("; {}", of.reason));
    format!("starting {count} instances of `{service}@{to}`{}", batched.unwrap_or_default())
}
