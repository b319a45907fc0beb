//! What must hold of schedules that come round, and of rehearsals.

use hornero_model::{Directory, EventBody, ScheduleName, ServiceName, Timestamp};
use hornero_rollout::{Kind, World};

use super::Checks;

impl Checks {
    /// What is wrong with a time of a schedule that is begun or left out: each has its turn once, and not before it comes.
    pub(super) fn came_round(&mut self, body: &EventBody, now: u64) -> Option<String> {
        let mut turn = |directory: &Directory, schedule: &ScheduleName, planned: Timestamp| {
            let key = (directory.clone(), schedule.clone());
            let last = self.turns.insert(key, planned.0);
            if last.is_some_and(|last| planned.0 <= last) {
                return Some(format!("schedule `{schedule}` has its turn of {planned} once more"));
            }
            (planned.0 > now).then(|| format!("schedule `{schedule}` begins before {planned}"))
        };
        match body {
            EventBody::ScheduleBegun { schedule, directory, planned, .. }
            | EventBody::ScheduleSkipped { schedule, directory, planned, .. } => {
                turn(directory, schedule, *planned)
            }
            _ => None,
        }
    }

    /// Takes in what is seen of whether services could go back.
    pub(super) fn rehearsed(&mut self, body: &EventBody, before: &World) {
        match body {
            // While one goes on, nobody knows.
            EventBody::RehearsalStarted { rehearsal } => {
                self.no_way_back.remove(&rehearsal.release.service);
            }
            EventBody::RehearsalEnded { end } => {
                let mut open = before.open_rehearsals();
                let Some(run) = open.find(|run| run.rehearsal.id == end.id) else { return };
                if !end.failure.is_empty() {
                    self.no_way_back.insert(run.rehearsal.release.service.clone());
                }
            }
            EventBody::Switched { receipt } => {
                let body = &receipt.body;
                let kind = before.rollouts.get(&body.id).map(|rollout| rollout.kind);
                if kind == Some(Kind::Rollback) && body.from.is_some_and(|from| from > body.to) {
                    self.no_way_back.remove(&body.service);
                }
            }
            _ => {}
        }
    }

    /// What is wrong with a new release of a service that wants a fresh proof: the last rehearsal failed.
    pub(crate) fn unproven_way_back(&self, name: &ServiceName, world: &World) -> Option<String> {
        let service = world.services.get(name).filter(|_| self.no_way_back.contains(name))?;
        let serving = service.serving.as_ref()?.terms;
        let back = service
            .proven
            .iter()
            .find(|number| **number < serving && !service.failed.contains_key(number))?;
        Some(format!("`{name}` gets a new release, and could not go back to `{name}@{back}`"))
    }
}
