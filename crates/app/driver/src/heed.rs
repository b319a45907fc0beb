//! Which services are looked at for what was seen, and the proof that none is overlooked.

use std::sync::Arc;

use hornero_model::EdgeStatus;
use hornero_rollout::{Attention, EffectKey, step, wake, wanted};

use crate::{Driver, EffectId, Observation};

impl Driver {
    /// Looks at what an observation is about, before it is taken in. What edges say is looked at when it is known.
    pub(crate) fn heed(&mut self, observation: &Observation) {
        match observation {
            Observation::InstanceStarted { instance, .. }
            | Observation::InstanceExited { instance, .. }
            | Observation::InstanceStopped { instance }
            | Observation::InstanceFrozen { instance, .. }
            | Observation::InstanceRemoved { instance } => {
                self.attention.look_at_instance(&self.world, instance);
            }
            Observation::ServiceAddressed { service, .. } => self.attention.look_at(service),
            Observation::EffectFailed { effect, .. } => self.heed_effect(*effect),
            Observation::EdgeLost { .. } => self.attention.look_at_all(&self.world),
            // Rollouts, starts and schema steps: who has one under way is looked at anyway.
            Observation::Tick
            | Observation::Request(_)
            | Observation::StartsGoOn { .. }
            | Observation::TestsFinished { .. }
            | Observation::RunEnded { .. }
            | Observation::GuardsAnswered { .. }
            | Observation::SnapshotsTaken { .. }
            | Observation::SnapshotsRestored { .. }
            | Observation::RoutesPrepared { .. }
            | Observation::RoutesApplied { .. }
            | Observation::InFlightCut { .. }
            | Observation::EdgeStatus { .. } => {}
        }
    }

    /// Looks at what an effect was for that is under way.
    fn heed_effect(&mut self, effect: EffectId) {
        let Some((key, _)) = self.pending.iter().find(|(_, pending)| pending.id == effect) else {
            return;
        };
        match key {
            EffectKey::Start(id)
            | EffectKey::Stop(id)
            | EffectKey::Remove(id)
            | EffectKey::Freeze(id) => self.attention.look_at_instance(&self.world, id),
            EffectKey::Address(_, service) => self.attention.look_at(service),
            EffectKey::Tests(_)
            | EffectKey::Run(_)
            | EffectKey::EndRun(_)
            | EffectKey::Guards(_)
            | EffectKey::Snapshots(_)
            | EffectKey::Restore(_)
            | EffectKey::Routes(_)
            | EffectKey::Cut(..) => {}
        }
    }

    /// Puts together anew what the edges say, as after a while.
    pub(crate) fn gather(&mut self) {
        let before = self.facts.edge.clone();
        self.facts.gather();
        self.heed_edges(before);
    }

    /// Looks at whatever the edges say something else of than before.
    pub(crate) fn heed_edges(&mut self, before: Option<Arc<EdgeStatus>>) {
        let after = &self.facts.edge;
        let is_same = match (&before, after) {
            (Some(before), Some(after)) => Arc::ptr_eq(before, after),
            (before, after) => before.is_none() && after.is_none(),
        };
        if !is_same {
            self.attention.saw_edges(&self.world, before.as_deref(), after.as_deref());
        }
    }

    /// What a look at every service finds to be decided, done or waited for, and the looks at those that are not at rest did
    /// not; none where they found it all. For whoever tries the driver.
    pub fn overlooked(&self) -> Option<String> {
        let (world, facts) = (&self.world, &self.facts);
        let mut all = Attention::to_all(world, facts);
        let mut tails = 0_u32;
        let mut tail = || {
            tails += 1;
            format!("{tails:06}")
        };
        let decided = step(world, facts, &all, &mut tail);
        if let Some(record) = decided.records.first() {
            return Some(format!("this is to be recorded: {record:?}"));
        }
        let (found, expected) =
            (wanted(world, facts, &mut self.attention.clone()), wanted(world, facts, &mut all));
        if found != expected {
            let told = |of: &[hornero_rollout::Effect]| {
                let lines: Vec<String> = of.iter().map(ToString::to_string).collect();
                lines.join(", ")
            };
            return Some(format!("wanted is {}, not {}", told(&expected), told(&found)));
        }
        let (found, expected) = (wake(world, facts, &self.attention), wake(world, facts, &all));
        let is_late = expected.is_some_and(|at| found.is_none_or(|found| found > at));
        is_late.then(|| format!("it wakes at {found:?}, not at {expected:?}"))
    }
}
