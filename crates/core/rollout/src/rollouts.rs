//! What the steps of rollouts do to the world: where each is, and which sets serve.

use std::collections::BTreeSet;

use hornero_model::{InstanceId, InstanceState, JournalEntry, ReleaseNumber};

use crate::{Kind, Phase, Rollout, Service, ServingSet, WarmSet, World, failed, runs};

impl World {
    pub(crate) fn rollout_step(&mut self, entry: &JournalEntry) -> Result<(), String> {
        let rollout: Rollout = serde_json::from_value(entry.state.clone()).map_err(|error| {
            format!("the state of rollout {} can't be read: {error}", entry.rollout)
        })?;
        if rollout.id != entry.rollout
            || rollout.service != entry.service
            || rollout.phase.finished() != entry.finished
        {
            return Err(format!("the journal of rollout {} contradicts itself", entry.rollout));
        }
        self.known_release(&rollout.service, rollout.to)?;
        self.known_release(&rollout.service, rollout.to_terms())?;
        match self.rollouts.get(&rollout.id) {
            Some(before) if before.service != rollout.service => {
                return Err(format!("rollout {} is of `{}`", rollout.id, before.service));
            }
            Some(before) if !before.phase.may_become(rollout.phase) => {
                return Err(format!(
                    "rollout {} is {} and can't become {}",
                    rollout.id,
                    before.phase.name(),
                    rollout.phase.name()
                ));
            }
            Some(_) => {}
            None => self.check_begin(&rollout)?,
        }
        self.last_rollout = self.last_rollout.max(rollout.id.0);
        self.settle_sets(&rollout)?;
        if let Some(canary) = &rollout.canary
            && rollout.phase.finished()
        {
            let service = self.service_mut(&rollout.service)?;
            service.canaries.insert(rollout.to, canary.judged.clone());
        }
        if rollout.phase.finished() && !rollout.interventions.is_empty() {
            let service = self.service_mut(&rollout.service)?;
            service.interventions.insert(rollout.to_terms(), rollout.interventions.clone());
        }
        if rollout.phase.finished() {
            failed::over(self.service_mut(&rollout.service)?, &rollout);
            self.rollouts.remove(&rollout.id);
            runs::forget(self, &rollout);
        } else {
            self.rollouts.insert(rollout.id, rollout);
        }
        Ok(())
    }

    fn check_begin(&self, rollout: &Rollout) -> Result<(), String> {
        if rollout.id != self.next_rollout() {
            return Err(format!("rollout {} is not under way", rollout.id));
        }
        let begins = [Phase::Expanding, Phase::Preparing, Phase::Switching, Phase::Closing];
        if !begins.contains(&rollout.phase) {
            return Err(format!("rollout {} can't begin as {}", rollout.id, rollout.phase.name()));
        }
        if let Some(other) = self.rollout_of(&rollout.service) {
            return Err(format!(
                "rollout {} of `{}` begins while {} is under way",
                rollout.id, rollout.service, other.id
            ));
        }
        Ok(())
    }

    /// Moves the sets of instances as a rollout's new phase says.
    fn settle_sets(&mut self, rollout: &Rollout) -> Result<(), String> {
        let (new, old) = (self.alive(&rollout.set), self.alive(&rollout.old));
        let service = self.service_mut(&rollout.service)?;
        match rollout.phase {
            Phase::Expanding
            | Phase::Preparing
            | Phase::Canary
            | Phase::Rolling
            | Phase::Switching => service.removed = false,
            Phase::Replacing if rollout.replaces_forward() => service.removed = false,
            Phase::Watching => service.new_set_serves(rollout, new),
            Phase::Replacing | Phase::Returning => service.old_set_serves(rollout, old),
            Phase::Finished => service.keep_warm(rollout, old),
            Phase::Emptying => {
                service.serving = None;
                service.warm = None;
            }
            Phase::Failed if rollout.stays => {
                service.serving = Some(serving(rollout.to, rollout.to_terms(), new));
                service.served.extend([rollout.to, rollout.to_terms()]);
            }
            Phase::Draining
            | Phase::Undoing
            | Phase::Failed
            | Phase::Clearing
            | Phase::RolledBack
            | Phase::Closing
            | Phase::Removed => {}
        }
        Ok(())
    }

    /// The instances of a set that have not ended.
    fn alive(&self, set: &BTreeSet<InstanceId>) -> BTreeSet<InstanceId> {
        let alive = set.iter().filter(|id| {
            self.instances.get(*id).is_some_and(|instance| {
                !matches!(instance.state, InstanceState::Failed | InstanceState::Stopped)
            })
        });
        alive.cloned().collect()
    }
}

/// A set that serves by terms that nobody leaves.
fn serving(
    release: ReleaseNumber,
    terms: ReleaseNumber,
    instances: BTreeSet<InstanceId>,
) -> ServingSet {
    ServingSet { release, terms, leaving: None, instances }
}

impl Service {
    fn new_set_serves(&mut self, rollout: &Rollout, new: BTreeSet<InstanceId>) {
        let terms = rollout.to_terms();
        let by_load = |number: ReleaseNumber| {
            self.releases.get(&number).is_some_and(|of| of.spec.scale.is_some())
        };
        let asleep = self.scaled.as_ref().is_some_and(|last| last.wanted == 0);
        if asleep || !rollout.from_terms().is_some_and(by_load) {
            let to = self.releases[&terms].spec.clone();
            let servers = u32::try_from(rollout.set.len()).unwrap_or(u32::MAX);
            self.begin_scaling(&to, servers, rollout.since);
        }
        self.serving = Some(serving(rollout.to, terms, new));
        self.served.extend([rollout.to, terms]);
        self.shared = None;
        self.warm.take_if(|warm| warm.release == rollout.to);
        self.restoring = 0;
        self.failures = 0;
        self.last_failure = None;
    }

    fn old_set_serves(&mut self, rollout: &Rollout, old: BTreeSet<InstanceId>) {
        let terms = rollout.from_terms();
        self.serving = rollout.from.zip(terms).map(|(from, terms)| serving(from, terms, old));
        self.failures = 0;
        self.last_failure = None;
    }

    /// What served before stays for a while where it is whole and proven.
    fn keep_warm(&mut self, rollout: &Rollout, old: BTreeSet<InstanceId>) {
        let from = rollout.from.zip(rollout.from_terms());
        let Some((release, terms)) = from.filter(|_| rollout.kind != Kind::Removal) else {
            return;
        };
        let keep_warm = self.releases[&rollout.to_terms()].spec.rollout.keep_warm;
        let until = rollout.since.after(keep_warm);
        let whole = rollout.leaves_whole_set() && !old.is_empty();
        let is_kept = self.proven.contains(&terms) && keep_warm.0 > 0 && whole;
        self.warm = is_kept.then_some(WarmSet { release, terms, instances: old, until });
    }
}
