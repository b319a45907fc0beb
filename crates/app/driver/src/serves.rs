//! When a request has brought what it shall: all servers and new requests are on it, and watch and drain go on.

use hornero_rollout::{Phase, Rollout, Target};

use crate::{
    Driver, Ports, Progress,
    job::{Current, Item, Job},
};

impl Driver {
    /// Tells whoever waits that all servers and new requests are on what they asked for, where that is so from this phase on.
    pub(crate) fn tell_serves(&self, rollout: &Rollout, ports: &mut dyn Ports) {
        if rollout.phase != Phase::Watching {
            return;
        }
        for job in self.jobs.iter().filter(|job| self.is_all_but_over(job, rollout)) {
            let outcome = self.outcome(&rollout.service, Some(rollout.id), None);
            // What comes after it is as it shall be already.
            let others = job.items.iter().skip(1);
            let others = others.map(|item| self.outcome(item.service(), None, None));
            let services = job.done.iter().cloned().chain([outcome]).chain(others).collect();
            ports.progress(Progress::Serves { request: job.id, services });
        }
    }

    /// Whether nothing but the end of this rollout is left of a request: what comes after it is as it shall be.
    fn is_all_but_over(&self, job: &Job, rollout: &Rollout) -> bool {
        let is_its = matches!(&job.current, Some(Current::Rollout(id)) if *id == rollout.id);
        let is_as_asked = |item: &Item| {
            item.spec().is_some_and(|spec| {
                let target = Target::of(&self.world, &self.facts, spec);
                // One that is going down, or is on its way elsewhere, is not as it shall be yet.
                let is_at_rest = self.world.rollout_of(&spec.name).is_none();
                is_at_rest && matches!(target, Target::Unchanged(_))
            })
        };
        is_its && job.items.iter().skip(1).all(is_as_asked)
    }
}
