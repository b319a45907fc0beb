//! Folding the ledger's events into the world; strict, so that an impossible history is noticed and named.

use std::collections::BTreeMap;

use hornero_model::{
    BootId, Event, EventBody, ExitCause, InstanceId, InstanceState, JournalEntry, Millis,
    RegionName, Release, ReleaseNumber, ServiceName, Timestamp,
};

use crate::{
    Instance, Kind, Leaving, ListenerTrouble, Phase, Rollout, Service, ServingSet, SharedFailure,
    SkippedTimes, TestRecord, WarmSet, World, failed, freezes, jobs, leases, listeners,
    makes_same_servers, previews, recycle, rehearsals, runs, scale, schedules,
};

/// An instance that served this long was no early failure: the count of failures begins anew after it.
const LIVED_LONG: Millis = Millis(600_000);
/// Budgets look back one hour; what is older is forgotten.
const HOUR: Millis = Millis(3_600_000);
/// Starts of the host that are remembered of a service: what somebody asks about is among the last.
const HOST_STARTS: usize = 20;

/// Why an event can't have happened after those before it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("event {sequence} is impossible: {reason}")]
pub struct WorldError {
    /// The event's number.
    pub sequence: u64,
    /// What it contradicts.
    pub reason: String,
}

impl World {
    /// Takes in the next event. On an error the world is as it was before.
    pub fn apply(&mut self, event: &Event) -> Result<(), WorldError> {
        let error = |reason| WorldError { sequence: event.sequence, reason };
        if event.sequence != self.last_sequence + 1 {
            return Err(error(format!("the event before it is {}", self.last_sequence)));
        }
        self.apply_body(event).map_err(error)?;
        self.last_sequence = event.sequence;
        Ok(())
    }

    #[allow(clippy::too_many_lines, reason = "one arm for each event")]
    fn apply_body(&mut self, event: &Event) -> Result<(), String> {
        match &event.body {
            EventBody::ReleaseCreated { release } => self.release_created(release),
            EventBody::ReleaseProven { service, release } => {
                self.known_release(service, *release)?;
                let service = self.service_mut(service)?;
                service.proven.insert(*release);
                service.failed.remove(release);
                let settled = service.serving.as_mut().filter(|set| set.terms == *release);
                settled.into_iter().for_each(|set| set.leaving = None);
                Ok(())
            }
            EventBody::ImageTested { image, test, passed, detail } => {
                let record = TestRecord { passed: *passed, detail: detail.clone() };
                self.tests.entry(*image).or_default().insert(test.clone(), record);
                Ok(())
            }
            EventBody::InstanceChanged { instance, service, release, state, cause, region } => {
                self.known_release(service, *release)?;
                if *state == InstanceState::Created {
                    let own = Self::is_own(&event.by);
                    let made = (event.time, own);
                    self.instance_created(instance, service, *release, region, made)
                } else {
                    self.instance_changed(instance, *state, cause.as_ref(), event.time)
                }
            }
            EventBody::RolloutStep { entry } => self.rollout_step(entry),
            EventBody::Switched { receipt } => {
                let body = &receipt.body;
                self.known_release(&body.service, body.to)?;
                self.service_mut(&body.service)?.last_receipt = Some(*receipt.clone());
                rehearsals::switched(self, body, event.time);
                Ok(())
            }
            EventBody::ServiceRemoved { service } => {
                if let Some(instance) =
                    self.instances.values().find(|instance| instance.service == *service)
                {
                    return Err(format!("instance `{}` of it is still there", instance.id));
                }
                let service = self.service_mut(service)?;
                service.removed = true;
                service.directory = None;
                service.serving = None;
                service.warm = None;
                service.scaled = None;
                service.scaling = 0;
                Ok(())
            }
            // The watchdog counts for itself.
            EventBody::EffectRefused { .. } | EventBody::ChurnStopped { .. } => Ok(()),
            EventBody::ChurnResumed { service } => {
                let resumed = service.as_ref().and_then(|name| self.services.get_mut(name));
                resumed.into_iter().for_each(|service| service.shared = None);
                Ok(())
            }
            EventBody::FailureShared { service, release, failed, failure } => {
                let (release, failed, failure) = (*release, *failed, failure.clone());
                let service = self.service_mut(service)?;
                service.failed.remove(&failed);
                service.shared =
                    Some(SharedFailure { since: event.time, release, failed, failure });
                Ok(())
            }
            EventBody::ControlStarted { boot, term, .. } => {
                self.boot = boot.clone().or_else(|| self.boot.take());
                self.term = self.term.max(term.unwrap_or_default());
                Ok(())
            }
            EventBody::HostStarted { boot } => {
                self.host_started(boot, event.time);
                Ok(())
            }
            EventBody::ListenerChanged { address, fault, serves } => {
                let trouble = fault
                    .as_ref()
                    .map(|reason| ListenerTrouble { reason: reason.clone(), serves: *serves });
                listeners::changed(self, *address, trouble, event.time);
                Ok(())
            }
            EventBody::ServiceOwned { service, directory } => {
                self.service_mut(service)?.directory = Some(directory.clone());
                Ok(())
            }
            EventBody::ServiceAdjusted { service, release } => {
                self.known_release(service, *release)?;
                self.service_adjusted(service, *release, event.time)
            }
            EventBody::RecycleSet { service, instances } => {
                recycle::set(self, service, instances, &event.by)
            }
            EventBody::RunStarted { run } => {
                runs::started(self, run, &event.by, event.time)?;
                jobs::begun(self, run, event.time);
                Ok(())
            }
            EventBody::RunEnded { end } => {
                runs::ended(self, end)?;
                jobs::ended(self, end, event.time);
                Ok(())
            }
            EventBody::JobDeclared { job, directory } => {
                jobs::declared(self, job, directory, event.time);
                Ok(())
            }
            EventBody::JobRemoved { job } => {
                jobs::removed(self, job);
                Ok(())
            }
            EventBody::FreezeDeclared { freeze, directory } => {
                freezes::declared(self, freeze, directory);
                Ok(())
            }
            EventBody::FreezeRemoved { freeze, directory } => {
                freezes::removed(self, freeze, directory);
                Ok(())
            }
            EventBody::FreezeOverridden { .. } => Ok(()),
            EventBody::Scaled { service, from, to } => {
                scale::scaled(self, service, (*from, *to), &event.by, event.time)
            }
            EventBody::VolumeDeclared { .. }
            | EventBody::VolumeUndeclared { .. }
            | EventBody::VolumeChanged { .. }
            | EventBody::VolumeLeased { .. }
            | EventBody::VolumeReleased { .. } => leases::fold(self, &event.body, event.time),
            EventBody::PreviewDeclared { preview } => {
                previews::declared(self, preview, &event.by, event.time)
            }
            EventBody::PreviewRemoved { preview, service } => {
                previews::removed(self, preview, service)
            }
            EventBody::JobSkipped { job, planned, missed } => {
                let why = event.by.why.clone();
                let (planned, missed, at) = (*planned, *missed, event.time);
                jobs::skipped(self, job, SkippedTimes { planned, missed, at, why });
                Ok(())
            }
            EventBody::ScheduleDeclared { .. }
            | EventBody::ScheduleRemoved { .. }
            | EventBody::ScheduleBegun { .. }
            | EventBody::ScheduleEnded { .. }
            | EventBody::ScheduleSkipped { .. } => {
                schedules::fold(self, event);
                Ok(())
            }
            EventBody::RehearsalStarted { rehearsal } => {
                rehearsals::started(self, rehearsal, &event.by, event.time)
            }
            EventBody::RehearsalEnded { end } => rehearsals::ended(self, end, event.time),
            EventBody::GuardOverridden { .. } => Ok(()),
        }
    }

    fn service_adjusted(
        &mut self,
        name: &ServiceName,
        terms: ReleaseNumber,
        since: Timestamp,
    ) -> Result<(), String> {
        let service = self.service_mut(name)?;
        let set = service.serving.as_mut().ok_or_else(|| format!("nothing of `{name}` serves"))?;
        let spec = |number| &service.releases[number].spec;
        if !makes_same_servers(spec(&set.release), spec(&terms)) {
            return Err(format!("`{name}@{terms}` makes other servers than those that serve"));
        }
        let is_back = set.leaving.is_some_and(|leaving| leaving.release == terms);
        let before = set.leaving.map_or(set.terms, |leaving| leaving.release);
        set.leaving = (!is_back).then_some(Leaving { release: before, since });
        let left = std::mem::replace(&mut set.terms, terms);
        let (left, to) = (spec(&left).clone(), spec(&terms).clone());
        if left.scale.is_none() {
            service.begin_scaling(&to, left.instances, since);
        }
        Ok(())
    }

    /// What ended with the host failed by no fault of its own, and all of it may be made anew at once.
    fn host_started(&mut self, boot: &BootId, time: Timestamp) {
        self.boot = Some(boot.clone());
        for service in self.services.values_mut() {
            service.made.clear();
            service.failures = 0;
            service.last_failure = None;
            service.restoring = 0;
            service.scaling = 0;
            let wanted = service.serving_release().map(|release| service.size_by(&release.spec));
            if let Some(set) = &service.serving {
                service.restoring = wanted.unwrap_or_default();
                if service.host_starts.len() >= HOST_STARTS {
                    service.host_starts.remove(0);
                }
                service.host_starts.push((time, set.terms));
            }
        }
    }

    fn release_created(&mut self, release: &Release) -> Result<(), String> {
        let name = &release.spec.name;
        let next = self.next_release(name);
        if release.number != next {
            return Err(format!(
                "release `{}` is made where `{name}@{next}` comes next",
                release.reference()
            ));
        }
        previews::released(self, release)?;
        let service = self.services.entry(name.clone()).or_insert_with(|| Service {
            name: name.clone(),
            releases: BTreeMap::new(),
            proven: Default::default(),
            serving: None,
            warm: None,
            last_receipt: None,
            directory: None,
            removed: false,
            made: Vec::new(),
            failures: 0,
            last_failure: None,
            recycle_failures: 0,
            last_recycle_failure: None,
            restoring: 0,
            host_starts: Vec::new(),
            listener_spells: Vec::new(),
            canaries: BTreeMap::new(),
            interventions: BTreeMap::new(),
            failed: BTreeMap::new(),
            shared: None,
            scaled: None,
            scaling: 0,
            made_by_load: Vec::new(),
        });
        service.releases.insert(release.number, release.clone());
        Ok(())
    }

    fn instance_created(
        &mut self,
        id: &InstanceId,
        service_name: &ServiceName,
        release: ReleaseNumber,
        region: &RegionName,
        (time, own): (Timestamp, bool),
    ) -> Result<(), String> {
        if self.instances.contains_key(id) {
            return Err(format!("instance `{id}` is made a second time"));
        }
        let of_rollout =
            self.rollout_of(service_name).is_some_and(|rollout| rollout.set.contains(id));
        let service = self.service_mut(service_name)?;
        if !of_rollout {
            match &mut service.serving {
                Some(set) if set.release == release => {
                    set.instances.insert(id.clone());
                }
                Some(_) | None => {
                    return Err(format!(
                        "instance `{id}` belongs to no rollout, and `{service_name}@{release}` does not serve"
                    ));
                }
            }
        }
        service.made.retain(|(made, _)| time.since(*made) < HOUR);
        let restored = own && service.restoring > 0;
        service.restoring -= u32::from(restored);
        let for_load = service.makes_for_load(time, own && !restored);
        service.made.push((time, own && !restored && !for_load));
        let instance = Instance {
            id: id.clone(),
            service: service_name.clone(),
            release,
            state: InstanceState::Created,
            cause: None,
            created: time,
            since: time,
            recycle: None,
            region: region.clone(),
        };
        self.instances.insert(id.clone(), instance);
        Ok(())
    }

    fn instance_changed(
        &mut self,
        id: &InstanceId,
        state: InstanceState,
        cause: Option<&ExitCause>,
        time: Timestamp,
    ) -> Result<(), String> {
        let instance =
            self.instances.get_mut(id).ok_or_else(|| format!("there is no instance `{id}`"))?;
        let before = instance.state;
        if !may_become(before, state) {
            return Err(format!("instance `{id}` is {before} and can't become {state}"));
        }
        instance.state = state;
        instance.since = time;
        instance.cause = cause.cloned().or_else(|| instance.cause.take());
        let (name, created) = (instance.service.clone(), instance.created);
        let recycled = instance.recycle.is_some();
        let with_host = instance.cause == Some(ExitCause::HostRestarted);
        if state == InstanceState::Archived {
            self.instances.remove(id);
        }
        let service = self.service_mut(&name)?;
        let left = match state {
            InstanceState::Failed | InstanceState::Stopped | InstanceState::Archived => true,
            // A warm instance drains when its time is up; it is never used again.
            InstanceState::Draining => before == InstanceState::Ready,
            InstanceState::Created
            | InstanceState::Starting
            | InstanceState::Probing
            | InstanceState::Ready
            | InstanceState::Serving => false,
        };
        if !left {
            return Ok(());
        }
        if let Some(warm) = &mut service.warm {
            warm.instances.remove(id);
            if warm.instances.is_empty() {
                service.warm = None;
            }
        }
        let served = service.serving.as_mut().is_some_and(|set| set.instances.remove(id));
        if served && recycled && state == InstanceState::Stopped {
            service.recycle_failures = 0;
            service.last_recycle_failure = None;
        }
        let replacement = recycle::failed_replacement(self, &self.services[&name], before);
        let service = self.service_mut(&name)?;
        if served && state == InstanceState::Failed && replacement {
            service.recycle_failures += 1;
            service.last_recycle_failure = Some(time);
        } else if served && state == InstanceState::Failed && !with_host {
            let early = time.since(created) < LIVED_LONG;
            service.failures = if early { service.failures + 1 } else { 1 };
            service.last_failure = Some(time);
        }
        Ok(())
    }

    fn rollout_step(&mut self, entry: &JournalEntry) -> Result<(), String> {
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
        if !matches!(rollout.phase, Phase::Preparing | Phase::Switching | Phase::Closing) {
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
    #[allow(clippy::too_many_lines, reason = "one arm for each phase")]
    fn settle_sets(&mut self, rollout: &Rollout) -> Result<(), String> {
        let of = &self.services[&rollout.service];
        let proven_old = rollout.from_terms().is_some_and(|from| of.proven.contains(&from));
        let alive = |world: &Self, set: &std::collections::BTreeSet<InstanceId>| {
            let alive = set.iter().filter(|id| {
                world.instances.get(*id).is_some_and(|instance| {
                    !matches!(instance.state, InstanceState::Failed | InstanceState::Stopped)
                })
            });
            alive.cloned().collect::<std::collections::BTreeSet<_>>()
        };
        let (new, old) = (alive(self, &rollout.set), alive(self, &rollout.old));
        let terms = rollout.to_terms();
        let keep_warm = self.services[&rollout.service].releases[&terms].spec.rollout.keep_warm;
        let serving =
            |release, terms, instances| ServingSet { release, terms, leaving: None, instances };
        let service = self.service_mut(&rollout.service)?;
        match rollout.phase {
            Phase::Preparing | Phase::Canary | Phase::Rolling | Phase::Switching => {
                service.removed = false;
            }
            Phase::Replacing if rollout.replaces_forward() => service.removed = false,
            Phase::Watching => {
                let by_load = |number: ReleaseNumber| {
                    service.releases.get(&number).is_some_and(|of| of.spec.scale.is_some())
                };
                let asleep = service.scaled.as_ref().is_some_and(|last| last.wanted == 0);
                if asleep || !rollout.from_terms().is_some_and(by_load) {
                    let to = service.releases[&terms].spec.clone();
                    let servers = u32::try_from(rollout.set.len()).unwrap_or(u32::MAX);
                    service.begin_scaling(&to, servers, rollout.since);
                }
                service.serving = Some(serving(rollout.to, terms, new));
                service.shared = None;
                service.warm.take_if(|warm| warm.release == rollout.to);
                service.restoring = 0;
                service.failures = 0;
                service.last_failure = None;
            }
            Phase::Replacing | Phase::Returning => {
                let terms = rollout.from_terms();
                service.serving =
                    rollout.from.zip(terms).map(|(from, terms)| serving(from, terms, old));
                service.failures = 0;
                service.last_failure = None;
            }
            Phase::Finished => {
                let from = rollout.from.zip(rollout.from_terms());
                if let (Some((release, terms)), true) = (from, rollout.kind != Kind::Removal) {
                    let until = rollout.since.after(keep_warm);
                    let whole = rollout.leaves_whole_set() && !old.is_empty();
                    service.warm = (proven_old && keep_warm.0 > 0 && whole).then_some(WarmSet {
                        release,
                        terms,
                        instances: old,
                        until,
                    });
                }
            }
            Phase::Emptying => {
                service.serving = None;
                service.warm = None;
            }
            Phase::Failed if rollout.stays => {
                service.serving = Some(serving(rollout.to, terms, new));
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

    fn known_release(&self, service: &ServiceName, release: ReleaseNumber) -> Result<(), String> {
        match self.release(service, release) {
            Some(_) => Ok(()),
            None => Err(format!("there is no release `{service}@{release}`")),
        }
    }

    fn service_mut(&mut self, name: &ServiceName) -> Result<&mut Service, String> {
        self.services.get_mut(name).ok_or_else(|| format!("there is no service `{name}`"))
    }
}

/// Whether an instance in one state may enter the other.
fn may_become(from: InstanceState, to: InstanceState) -> bool {
    use InstanceState::{
        Archived, Created, Draining, Failed, Probing, Ready, Serving, Starting, Stopped,
    };
    match from {
        Created => matches!(to, Starting | Probing | Ready | Serving | Failed | Stopped),
        Starting => matches!(to, Probing | Ready | Serving | Failed | Stopped),
        Probing => matches!(to, Ready | Serving | Failed | Stopped),
        Ready => matches!(to, Serving | Draining | Failed | Stopped),
        Serving => matches!(to, Draining | Failed | Stopped),
        Draining => matches!(to, Ready | Serving | Failed | Stopped),
        Stopped | Failed => matches!(to, Archived),
        Archived => false,
    }
}
