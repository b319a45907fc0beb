//! Folding the ledger's events into the world; strict, so that an impossible history is noticed and named.

use hornero_model::{Event, EventBody};

use crate::{
    ListenerTrouble, SharedFailure, SkippedTimes, TestRecord, World, freezes, glass, jobs, leases,
    listeners, previews, quarantine, recycle, rehearsals, runs, scale, schedules, steps,
};

/// Of an event that was handed to what does not take in its kind: a mistake in Hornero.
const STRAY: &str = "nobody takes it in";

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

    /// Hands an event to what takes in its kind; every kind stands here.
    fn apply_body(&mut self, event: &Event) -> Result<(), String> {
        match &event.body {
            EventBody::InstanceChanged { .. } => self.fold_instance(event),
            EventBody::RolloutStep { entry } => self.rollout_step(entry),
            EventBody::ReleaseCreated { .. }
            | EventBody::ReleaseProven { .. }
            | EventBody::ImageTested { .. }
            | EventBody::Switched { .. }
            | EventBody::ServiceRemoved { .. }
            | EventBody::ServiceOwned { .. }
            | EventBody::ServiceAdjusted { .. }
            | EventBody::RecycleSet { .. }
            | EventBody::InstanceQuarantined { .. }
            | EventBody::QuarantineEnded { .. }
            | EventBody::Scaled { .. } => self.fold_service(event),
            EventBody::ChurnResumed { .. }
            | EventBody::FailureShared { .. }
            | EventBody::ListenerChanged { .. }
            | EventBody::ControlStarted { .. }
            | EventBody::HostStarted { .. } => self.fold_trouble(event),
            EventBody::VolumeDeclared { .. }
            | EventBody::VolumeUndeclared { .. }
            | EventBody::VolumeChanged { .. }
            | EventBody::VolumeLeased { .. }
            | EventBody::VolumeReleased { .. } => leases::fold(self, &event.body, event.time),
            EventBody::ScheduleDeclared { .. }
            | EventBody::ScheduleRemoved { .. }
            | EventBody::ScheduleBegun { .. }
            | EventBody::ScheduleEnded { .. }
            | EventBody::ScheduleSkipped { .. } => {
                schedules::fold(self, event);
                Ok(())
            }
            EventBody::GlassBroken { .. } | EventBody::GlassMended { .. } => {
                glass::fold(self, event);
                Ok(())
            }
            EventBody::StepRuled { service, release, step, ruling } => {
                steps::ruled(self, service, (*release, *step), *ruling)
            }
            EventBody::RunStarted { .. }
            | EventBody::RunEnded { .. }
            | EventBody::JobDeclared { .. }
            | EventBody::JobRemoved { .. }
            | EventBody::JobSkipped { .. }
            | EventBody::FreezeDeclared { .. }
            | EventBody::FreezeRemoved { .. }
            | EventBody::PreviewDeclared { .. }
            | EventBody::PreviewRemoved { .. }
            | EventBody::RehearsalStarted { .. }
            | EventBody::RehearsalEnded { .. } => self.fold_beside(event),
            // The watchdog counts for itself; what was overridden or kept is for people to read.
            EventBody::EffectRefused { .. }
            | EventBody::ChurnStopped { .. }
            | EventBody::FreezeOverridden { .. }
            | EventBody::GuardOverridden { .. }
            | EventBody::DataGuardOverridden { .. }
            | EventBody::BundleSealed { .. } => Ok(()),
        }
    }

    /// Of services and their releases.
    fn fold_service(&mut self, event: &Event) -> Result<(), String> {
        match &event.body {
            EventBody::ReleaseCreated { release } => self.release_created(release),
            EventBody::ReleaseProven { service, release } => self.release_proven(service, *release),
            EventBody::ImageTested { image, test, passed, detail } => {
                let record = TestRecord { passed: *passed, detail: detail.clone() };
                self.tests.entry(*image).or_default().insert(test.clone(), record);
                Ok(())
            }
            EventBody::Switched { receipt } => {
                let body = &receipt.body;
                self.known_release(&body.service, body.to)?;
                self.service_mut(&body.service)?.last_receipt = Some(*receipt.clone());
                rehearsals::switched(self, body, event.time);
                Ok(())
            }
            EventBody::ServiceRemoved { service } => self.service_removed(service),
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
            EventBody::InstanceQuarantined { instance, until, .. } => {
                quarantine::begun(self, instance, *until, &event.by, event.time);
                Ok(())
            }
            EventBody::QuarantineEnded { instance, .. } => {
                quarantine::ended(self, instance);
                Ok(())
            }
            EventBody::Scaled { service, from, to } => {
                scale::scaled(self, service, (*from, *to), &event.by, event.time)
            }
            _ => Err(STRAY.to_owned()),
        }
    }

    /// Of what went wrong, and of what began anew.
    fn fold_trouble(&mut self, event: &Event) -> Result<(), String> {
        match &event.body {
            EventBody::ChurnResumed { service } => {
                let resumed = service.as_ref().and_then(|name| self.services.get_mut(name));
                resumed.into_iter().for_each(|service| service.shared = None);
            }
            EventBody::FailureShared { service, release, failed, failure } => {
                let (release, failed, failure) = (*release, *failed, failure.clone());
                let service = self.service_mut(service)?;
                service.failed.remove(&failed);
                service.shared =
                    Some(SharedFailure { since: event.time, release, failed, failure });
            }
            EventBody::ListenerChanged { address, fault, serves } => {
                let trouble = fault
                    .as_ref()
                    .map(|reason| ListenerTrouble { reason: reason.clone(), serves: *serves });
                listeners::changed(self, *address, trouble, event.time);
            }
            EventBody::ControlStarted { boot, term, .. } => {
                self.boot = boot.clone().or_else(|| self.boot.take());
                self.term = self.term.max(term.unwrap_or_default());
            }
            EventBody::HostStarted { boot } => self.host_started(boot, event.time),
            _ => return Err(STRAY.to_owned()),
        }
        Ok(())
    }

    /// Of what goes on beside services: runs, jobs, freezes, previews and rehearsals.
    fn fold_beside(&mut self, event: &Event) -> Result<(), String> {
        let (by, time) = (&event.by, event.time);
        match &event.body {
            EventBody::RunStarted { run } => {
                runs::started(self, run, by, time)?;
                jobs::begun(self, run, time);
            }
            EventBody::RunEnded { end } => {
                runs::ended(self, end)?;
                jobs::ended(self, end, time);
            }
            EventBody::JobDeclared { job, directory } => {
                jobs::declared(self, job, directory, time);
            }
            EventBody::JobRemoved { job } => jobs::removed(self, job),
            EventBody::JobSkipped { job, planned, missed } => {
                let why = by.why.clone();
                let (planned, missed, at) = (*planned, *missed, time);
                jobs::skipped(self, job, SkippedTimes { planned, missed, at, why });
            }
            EventBody::FreezeDeclared { freeze, directory } => {
                freezes::declared(self, freeze, directory);
            }
            EventBody::FreezeRemoved { freeze, directory } => {
                freezes::removed(self, freeze, directory);
            }
            EventBody::PreviewDeclared { preview } => previews::declared(self, preview, by, time)?,
            EventBody::PreviewRemoved { preview, service } => {
                previews::removed(self, preview, service)?;
            }
            EventBody::RehearsalStarted { rehearsal } => {
                rehearsals::started(self, rehearsal, by, time)?;
            }
            EventBody::RehearsalEnded { end } => rehearsals::ended(self, end, time)?,
            _ => return Err(STRAY.to_owned()),
        }
        Ok(())
    }
}
