//! Previews: how they are begun.

use std::collections::VecDeque;

use hornero_conservation::WatchdogFacts;
use hornero_model::{Preview, ServiceName, ServiceSpec};
use hornero_rollout::{PreviewError, RepairState, RolloutFailure, start_preview};

use crate::{
    Driver, DriverError, OutcomeKind, Ports,
    job::{Current, Item, ItemOutcome},
};

/// What is done for previews; one whose names are too long together counts as one of its service, which is told.
pub(crate) fn items(previews: Vec<(Preview, ServiceSpec)>) -> VecDeque<Item> {
    let item = |preview: (Preview, ServiceSpec)| {
        let runs_as = preview.0.runs_as().unwrap_or_else(|_| preview.0.service.clone());
        Item::Preview(runs_as, Box::new(preview))
    };
    previews.into_iter().map(item).collect()
}

impl Driver {
    /// Begins a preview, or has an open one show something else.
    pub(crate) fn begin_preview(
        &mut self,
        index: usize,
        runs_as: &ServiceName,
        (preview, spec): &(Preview, ServiceSpec),
        ports: &mut dyn Ports,
    ) -> Result<Option<ItemOutcome>, DriverError> {
        let by = self.jobs[index].by.clone();
        let tail = &mut || ports.random_tail();
        let step = match start_preview(&self.world, &self.facts, (preview, spec), &by, tail) {
            Ok(step) => step,
            Err(error) => return Ok(Some(self.no_preview(runs_as, &error))),
        };
        let begins = step.records.len() > 1;
        let current = match step.begins_rollout() {
            true => Some(Current::Rollout(self.world.next_rollout())),
            false if begins => Some(self.adjustment(runs_as, &step)),
            false => None,
        };
        self.persist(step.records, ports)?;
        if current.is_none() && self.repair_state(runs_as) != Some(RepairState::Whole) {
            self.begin_repair(index, runs_as);
            return Ok(None);
        }
        let verdict = match &current {
            Some(_) => None,
            None => Some(ItemOutcome::Done(self.outcome(runs_as, None, None))),
        };
        self.jobs[index].current = current;
        Ok(verdict)
    }

    fn no_preview(&self, runs_as: &ServiceName, error: &PreviewError) -> ItemOutcome {
        let kind = match error {
            PreviewError::Start(error) => return self.refused(runs_as, error),
            PreviewError::NotServing(_) => OutcomeKind::NotFound,
            PreviewError::Stateful(_) | PreviewError::TooMuch { .. } => OutcomeKind::Refused,
        };
        ItemOutcome::Failed(
            kind,
            self.outcome(runs_as, None, None),
            RolloutFailure::of(error.to_string()),
        )
    }

    /// What previews show may have a part in the pools of their services, too.
    pub(crate) fn observe_previews(&self, observed: &mut WatchdogFacts<'_>) {
        for (runs_as, open) in &self.world.previews {
            let Some(number) = self.world.foremost(runs_as) else { continue };
            let key = (open.preview.service.clone(), number);
            if let Some(fitness) = self.fitness(runs_as, number) {
                observed.fit.insert(key.clone(), fitness);
            }
            observed.shared.insert(key, open.preview.share);
        }
    }

    /// Whether something is or was there by this name. Of a preview that is gone nothing is known any more.
    pub(crate) fn is_known(&self, service: &ServiceName) -> bool {
        self.world.services.contains_key(service) || service.preview().is_some()
    }
}
