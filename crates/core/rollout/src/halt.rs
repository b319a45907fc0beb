//! Rollouts that must not go on, and those that nobody can cancel any more.

use hornero_model::{ListenerFault, Millis, Timestamp};

use crate::{Facts, Phase, Rollout, RolloutFailure, World, brings};

/// The edge tries a listener again every second: a fault that is told for so long is none of an earlier attempt.
const FAULT_AGE: Millis = Millis(3_000);

impl Facts {
    /// Makes rollouts that can still be undone fail. A removal goes on until its time is up, and says this then.
    pub fn halt(
        &mut self,
        world: &World,
        failure: &RolloutFailure,
        which: impl Fn(&Rollout) -> bool,
    ) {
        let halted = world.rollouts.values().filter(|rollout| {
            matches!(
                rollout.phase,
                Phase::Expanding
                    | Phase::Preparing
                    | Phase::Canary
                    | Phase::Rolling
                    | Phase::Replacing
                    | Phase::Switching
                    | Phase::Watching
                    | Phase::Closing
            ) && which(rollout)
        });
        for rollout in halted {
            self.halted.entry(rollout.id).or_insert_with(|| failure.clone());
        }
    }

    /// A listener that can't serve ends the rollout that would bring it, before its switch. Every other table is put in
    /// force with it, and what listens there already is left as it is.
    pub fn halt_for_listeners(&mut self, world: &World, faults: &[ListenerFault]) {
        for fault in faults.iter().filter(|fault| !fault.serves) {
            let failure = RolloutFailure::of(format!(
                "the edge can't serve `{}`: {}",
                fault.address, fault.reason
            ));
            let brought: Vec<_> = world
                .rollouts
                .values()
                .filter(|rollout| {
                    rollout.phase == Phase::Preparing
                        && self.has_seen_table_since(rollout.since)
                        && brings(world, rollout, fault)
                })
                .map(|rollout| rollout.id)
                .collect();
            self.halt(world, &failure, |rollout| brought.contains(&rollout.id));
        }
    }

    /// Whether the status is one of a table that was made since then, or so much later that it can't be what is left of
    /// another attempt.
    fn has_seen_table_since(&self, since: Timestamp) -> bool {
        let in_force = self.in_force.as_ref();
        in_force.is_some_and(|table| table.at >= since) || self.now >= since.after(FAULT_AGE)
    }

    /// Why a rollout can't be cancelled any more.
    pub fn too_late_to_cancel(&self, rollout: &Rollout) -> Option<String> {
        let Rollout { service, to, .. } = rollout;
        if self.forced.contains(service) {
            return Some(format!("`{service}` is taken down by force, which nothing stops"));
        }
        match rollout.phase {
            Phase::Watching if rollout.from.is_none() => {
                Some(format!("`{service}@{to}` serves already, and nothing served before it"))
            }
            Phase::Draining => Some(format!("`{service}@{to}` serves already and is proven")),
            Phase::Emptying => {
                Some(format!("the instances of `{service}` are being stopped already"))
            }
            Phase::Expanding
            | Phase::Preparing
            | Phase::Canary
            | Phase::Rolling
            | Phase::Replacing
            | Phase::Switching
            | Phase::Watching
            | Phase::Undoing
            | Phase::Returning
            | Phase::Clearing
            | Phase::Closing
            | Phase::Finished
            | Phase::Failed
            | Phase::RolledBack
            | Phase::Removed => None,
        }
    }
}
