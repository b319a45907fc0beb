//! Recycling that somebody asked for: marked in the ledger, then waited for until the last of it is gone.

use hornero_model::{Actor, EventBody, InstanceId, InstanceState, Millis, ServiceName, Timestamp};
use hornero_rollout::{Instance, Record, RolloutFailure, room_for_more, surplus_refusal};

use crate::{
    Driver, DriverError, OutcomeKind, Ports, Progress, ServiceOutcome,
    job::{Current, ItemOutcome},
};

/// How long one instance's turn may take: as an adjustment, whose start, watch and drain are the same.
const TURN_ALLOWANCE: Millis = Millis(300_000);

impl Driver {
    /// Marks what is asked for; gives the verdict where there is nothing to wait for.
    pub(crate) fn begin_recycling(
        &mut self,
        index: usize,
        service: &ServiceName,
        instance: Option<&InstanceId>,
        ports: &mut dyn Ports,
    ) -> Result<Option<ItemOutcome>, DriverError> {
        let set = self.world.services.get(service).and_then(|of| of.serving.as_ref());
        let serving = set.into_iter().flat_map(|set| &set.instances);
        let instances: Vec<InstanceId> =
            serving.filter(|id| instance.is_none_or(|named| named == *id)).cloned().collect();
        if instances.is_empty() {
            let reason = match instance {
                Some(instance) => format!("`{instance}` serves nothing"),
                None => format!("`{service}` does not serve"),
            };
            let outcome = self.outcome(service, None, None);
            let verdict =
                ItemOutcome::Failed(OutcomeKind::NotFound, outcome, RolloutFailure::of(reason));
            return Ok(Some(verdict));
        }
        let spec = self.world.services[service].serving_release().map(|release| &release.spec);
        if spec.is_some_and(|spec| spec.holds_volumes()) {
            return Ok(Some(self.alone(service)));
        }
        if let Some(Err(no_room)) =
            spec.map(|spec| room_for_more(&self.world, &self.facts, spec, 1))
        {
            return Ok(Some(self.crowded_out(&no_room)));
        }
        let turns = u64::try_from(instances.len()).unwrap_or(u64::MAX);
        let until = self.now().after(Millis(TURN_ALLOWANCE.0.saturating_mul(turns)));
        let by = self.jobs[index].by.clone();
        let (service, named) = (service.clone(), instances.clone());
        let body = EventBody::RecycleSet { service: service.clone(), instances: named };
        self.jobs[index].current = Some(Current::Recycling { service, instances, until });
        let persisted = self.persist(vec![Record::Event(by, body)], ports);
        if persisted.is_err() {
            self.jobs[index].current = None;
        }
        persisted.map(|()| None)
    }

    /// That no new server of a service can serve before the old one leaves.
    fn alone(&self, service: &ServiceName) -> ItemOutcome {
        let reason = format!(
            "`{service}` has a volume: a new server can't serve before the old one leaves; a new release replaces it"
        );
        let failure =
            RolloutFailure { refused: Some("one-writer".to_owned()), ..RolloutFailure::of(reason) };
        ItemOutcome::Failed(OutcomeKind::Refused, self.outcome(service, None, None), failure)
    }

    /// How recycling went; none while it goes on.
    pub(crate) fn recycled(
        &self,
        service: &ServiceName,
        instances: &[InstanceId],
        until: Timestamp,
        ports: &mut dyn Ports,
    ) -> Option<ItemOutcome> {
        let gone = |id: &&InstanceId| !self.world.instances.contains_key(*id);
        let recycled: Vec<InstanceId> = instances.iter().filter(gone).cloned().collect();
        let (done, all) = (recycled.len(), instances.len());
        let outcome = ServiceOutcome { recycled, ..self.outcome(service, None, None) };
        let of = &self.world.services[service];
        let failed = |failure: RolloutFailure| {
            Some(ItemOutcome::Failed(OutcomeKind::Failed, outcome.clone(), failure))
        };
        if of.serving.is_none() {
            return failed(RolloutFailure::of(format!("`{service}` no longer serves")));
        }
        if of.recycle_failures > 0 {
            return failed(self.failed_replacement(service, (done, all), ports));
        }
        if done == all {
            return Some(ItemOutcome::Done(outcome));
        }
        if let Some(refused) = surplus_refusal(&self.world, &self.facts, service) {
            return Some(ItemOutcome::Failed(OutcomeKind::Refused, outcome, refused));
        }
        if self.now() < until {
            return None;
        }
        let reason = format!(
            "{done} of {all} instances of `{service}` were replaced in the time that there was; the others serve on"
        );
        failed(RolloutFailure::of(reason))
    }

    /// Why the instance that was to take another's place did not.
    fn failed_replacement(
        &self,
        service: &ServiceName,
        (done, all): (usize, usize),
        ports: &mut dyn Ports,
    ) -> RolloutFailure {
        let failed = self.world.instances.of(service);
        let failed = failed.filter(|instance| instance.state == InstanceState::Failed);
        let last = failed.max_by_key(|instance| instance.since);
        let what = match last {
            Some(last) => format!("instance `{}` did not become healthy", last.id),
            None => "a new instance did not become healthy".to_owned(),
        };
        let reason = format!("{what}; {done} of {all} were replaced, the others serve on");
        RolloutFailure {
            instance: last.map(|last| last.id.clone()),
            cause: last.and_then(|last| last.cause.clone()),
            log_tail: last.map_or_else(Vec::new, |last| ports.log_tail(&last.id)),
            ..RolloutFailure::of(reason)
        }
    }

    /// Lets what is not replaced yet serve on. What was to be kept of it once it is replaced is not kept.
    pub(crate) fn end_recycling(
        &mut self,
        service: &ServiceName,
        by: Actor,
        ports: &mut dyn Ports,
    ) -> Result<(), DriverError> {
        let is_recycled = |instance: &Instance| instance.recycle.is_some();
        if !self.world.instances.of(service).any(is_recycled) {
            return Ok(());
        }
        let kept = self.world.instances.of(service).filter(|instance| {
            instance.quarantine.is_some() && instance.state == InstanceState::Serving
        });
        let kept: Vec<InstanceId> = kept.map(|instance| instance.id.clone()).collect();
        let body = EventBody::RecycleSet { service: service.clone(), instances: Vec::new() };
        self.persist(vec![Record::Event(by, body)], ports)?;
        for id in kept {
            let message = format!("`{id}` is not kept in quarantine: it serves on");
            self.tell(service, message, Some(id), ports);
        }
        Ok(())
    }

    /// Tells that instances are to be replaced, or no longer are.
    pub(crate) fn tell_recycling(
        &self,
        service: &ServiceName,
        instances: &[InstanceId],
        by: &Actor,
        ports: &mut dyn Ports,
    ) {
        let message = match instances.len() {
            0 => format!("nothing more is replaced: {}", by.why),
            1 => format!("`{}` is replaced: {}", instances[0], by.why),
            many => format!("{many} instances are replaced one after the other: {}", by.why),
        };
        self.tell(service, message, None, ports);
    }

    /// Tells how the replacement of an instance goes on. False where it is about none.
    pub(crate) fn tell_recycled(
        &self,
        id: &InstanceId,
        state: InstanceState,
        ports: &mut dyn Ports,
    ) -> bool {
        let Some(instance) = self.world.instances.get(id) else { return false };
        if instance.recycle.is_none() || state != InstanceState::Stopped {
            return false;
        }
        let message = format!("a new instance took the place of `{id}`");
        self.tell(&instance.service, message, Some(id.clone()), ports);
        true
    }

    fn tell(
        &self,
        service: &ServiceName,
        message: String,
        instance: Option<InstanceId>,
        ports: &mut dyn Ports,
    ) {
        ports.progress(Progress::Step {
            request: self.request_for(service),
            service: service.clone(),
            rollout: None,
            phase: "recycling",
            message,
            instance,
        });
    }
}
