//! What follows from what an edge has seen, and from what it could not see: held against what is recorded.

use hornero_model::{EventBody, InstanceId, ReleaseNumber};
use hornero_rollout::{Phase, Rollout, World};

use crate::{Host, SimEdge};

/// Errors of the edge's own requests, with none of the release that serves, beyond which nobody may say that both do alike: many
/// times what the judge needs for it.
const PLAIN_ERRORS: u64 = 60;
/// Requests to the release that serves beside which they count.
const PLAIN_REQUESTS: u64 = 300;
/// How old what control knows of servers may be.
const LATE_MS: u64 = 1_000;

/// The rollout that an event is a step of.
fn rollout_of(body: &EventBody) -> Option<Rollout> {
    match body {
        EventBody::RolloutStep { entry } => Rollout::from_journal(&entry.state),
        _ => None,
    }
}

impl SimEdge {
    /// What is wrong with a canary that goes on: what the edge asked of it by itself failed plainly.
    pub(crate) fn unheeded(&self, body: &EventBody, before: &World) -> Option<String> {
        let rollout = rollout_of(body).filter(|of| of.failure.is_none())?;
        let last = before.rollouts.get(&rollout.id)?.canary.as_ref()?;
        let now = rollout.canary.as_ref()?;
        let window = last.window.as_ref().filter(|window| window.edge == self.pid())?;
        let (from_before, to_before) = window.probes.as_ref()?;
        // What it asks while control can't reach it, control can't know.
        let goes_on = self.reachable
            && matches!(rollout.phase, Phase::Canary | Phase::Switching)
            && now.judged.len() > last.judged.len();
        let counted = |release: ReleaseNumber| {
            let counters = self.counters();
            let own = counters
                .iter()
                .filter(|of| of.pool.service == rollout.service && of.release == release);
            own.filter_map(|of| of.probes.as_deref()).fold((0, 0), |(requests, errors), of| {
                (requests + of.requests, errors + of.server_errors + of.failed)
            })
        };
        let (from, to) = (counted(rollout.from?), counted(rollout.to));
        let requests = from.0.saturating_sub(from_before.requests);
        let errors = from.1.saturating_sub(from_before.server_errors + from_before.failed);
        let new_errors = to.1.saturating_sub(to_before.server_errors + to_before.failed);
        let is_plain = errors == 0 && requests >= PLAIN_REQUESTS && new_errors >= PLAIN_ERRORS;
        (goes_on && is_plain).then(|| {
            format!("rollout {} goes on, and {new_errors} of its probes failed", rollout.id)
        })
    }
}

impl Host {
    /// What is wrong with a failure that is laid to a release: its server answers, and no edge could look at it.
    pub(crate) fn blamed(&self, body: &EventBody, before: &World) -> Option<String> {
        let rollout = rollout_of(body)?;
        // One that served may have been unhealthy when it was last looked at.
        let last = before.rollouts.get(&rollout.id).filter(|of| of.phase == Phase::Preparing)?;
        let failure = rollout.failure.as_ref().filter(|of| of.of_release && of.cause.is_none())?;
        let instance = failure.instance.as_ref().filter(|_| last.failure.is_none())?;
        let answers = |id: &InstanceId| {
            [0, LATE_MS].iter().all(|ago| self.engine.answers(id, self.now.saturating_sub(*ago)))
        };
        let is_away = self.edges().all(|(_, edge)| !edge.reachable);
        (is_away && answers(instance))
            .then(|| format!("`{instance}` answers, and is at fault that no edge can look at it"))
    }
}
