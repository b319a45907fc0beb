//! The simulated engine: instances that start late, not at all, crash, run out of memory or just sit there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

use hornero_driver::{Found, Observation};
use hornero_model::{
    Digest, ExitCause, InstanceHandle, InstanceId, LeaseToken, LeasedMount, Location, Place, Term,
    VolumeName,
};

use crate::{Behaviour, Random, Trouble};

/// Memory for servers, each of which takes all that it may at once.
#[derive(Debug, Clone, Copy)]
pub struct SimMemory {
    /// How much there is, in bytes.
    pub bytes: u64,
    /// Whether it is told as the limit of all servers, or else as what the host has left.
    pub is_limit: bool,
}

/// The engine and every instance it has.
#[derive(Debug, Default)]
pub struct SimEngine {
    instances: BTreeMap<InstanceId, SimInstance>,
    made: u32,
    term: Term,
    /// The highest lease of each volume that it has heard of.
    leases: BTreeMap<VolumeName, LeaseToken>,
}

#[derive(Debug, Clone)]
struct SimInstance {
    image: Digest,
    behaviour: Behaviour,
    started: u64,
    location: Location,
    /// How it ended, if it did.
    ended: Option<ExitCause>,
    /// When it ended.
    ended_at: u64,
    /// Whether somebody stopped it.
    stopped: bool,
    /// Sick from this moment on, by a fault of its own.
    sick_from: Option<u64>,
    /// What it writes to.
    volumes: Vec<VolumeName>,
}

impl SimEngine {
    /// Whether it does what a control of this term asks; the newest that it has heard of is remembered.
    pub fn obey(&mut self, term: Term) -> bool {
        self.term = self.term.max(term);
        term == self.term
    }

    /// The newest term of control that it has heard of.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Starts an instance, or reports what became of it.
    pub fn start(
        &mut self,
        id: &InstanceId,
        image: Digest,
        behaviour: Behaviour,
        mounts: &[LeasedMount],
        now: u64,
    ) -> Observation {
        if !self.instances.contains_key(id) {
            if let Some(why) = self.refused(mounts) {
                return exited(id, ExitCause::NotStarted(why));
            }
            self.made += 1;
            let [high, low] = u16::try_from(self.made).expect("a short history").to_be_bytes();
            let instance = SimInstance {
                image,
                behaviour,
                started: now,
                location: Location {
                    address: Ipv4Addr::new(10, 9, high, low).into(),
                    place: Place::local(),
                    handle: InstanceHandle::new(self.made.to_string()),
                },
                ended: None,
                ended_at: 0,
                stopped: false,
                sick_from: None,
                volumes: mounts.iter().map(|mount| mount.volume.clone()).collect(),
            };
            self.instances.insert(id.clone(), instance);
        }
        let instance = self.instances.get_mut(id).expect("it was inserted");
        if instance.behaviour.trouble == Trouble::NotStarted {
            instance.ended = Some(ExitCause::NotStarted("no such command".to_owned()));
        }
        match &instance.ended {
            Some(cause) => exited(id, cause.clone()),
            None => Observation::InstanceStarted {
                instance: id.clone(),
                location: instance.location.clone(),
            },
        }
    }

    /// Why volumes can't be attached under these leases: by numbers, as the home keeps them, and by the lock that a mount has
    /// for as long as its server is there.
    fn refused(&mut self, mounts: &[LeasedMount]) -> Option<String> {
        for LeasedMount { volume, lease, .. } in mounts {
            let newest = self.leases.entry(volume.clone()).or_default();
            if lease < newest {
                return Some(format!("lease {lease} of volume `{volume}` is over"));
            }
            *newest = *lease;
            let writes = |of: &SimInstance| of.ended.is_none() && of.volumes.contains(volume);
            if self.instances.values().any(writes) {
                return Some(format!("volume `{volume}` is still attached"));
            }
        }
        None
    }

    /// Whether a running instance writes to one of these volumes.
    pub fn is_written<'v>(&self, mut volumes: impl Iterator<Item = &'v VolumeName>) -> bool {
        volumes.any(|volume| {
            let writes = |of: &SimInstance| of.ended.is_none() && of.volumes.contains(volume);
            self.instances.values().any(writes)
        })
    }

    /// A volume that more than one running instance writes to.
    pub fn written_twice(&self) -> Option<VolumeName> {
        let running = self.instances.values().filter(|instance| instance.ended.is_none());
        let mut seen = BTreeSet::new();
        running.flat_map(|instance| &instance.volumes).find(|volume| !seen.insert(*volume)).cloned()
    }

    /// Whether an instance answers some requests with errors.
    pub fn errs(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_some_and(|of| of.behaviour.trouble == Trouble::Errs)
    }

    /// Stops an instance.
    pub fn stop(&mut self, id: &InstanceId) -> Observation {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.stopped = true;
            instance.ended.get_or_insert(ExitCause::Signal(15));
        }
        Observation::InstanceStopped { instance: id.clone() }
    }

    /// Removes an instance.
    pub fn remove(&mut self, id: &InstanceId) -> Observation {
        self.instances.remove(id);
        Observation::InstanceRemoved { instance: id.clone() }
    }

    /// Ends an instance by a fault of its own; gives what is observed of it.
    pub fn crash(&mut self, id: &InstanceId, cause: ExitCause, now: u64) -> Option<Observation> {
        let instance = self.instances.get_mut(id)?;
        if instance.ended.is_some() {
            return None;
        }
        instance.ended = Some(cause.clone());
        instance.ended_at = now;
        Some(exited(id, cause))
    }

    /// The host loses its power: everything ends, how is not known, and records that were not synced may be lost.
    pub fn lose_power(&mut self, random: &mut Random, now: u64) {
        self.instances.retain(|_, _| random.chance(80));
        for instance in self.instances.values_mut().filter(|instance| instance.ended.is_none()) {
            // Without power nobody knows; in good order a signal ended it.
            let in_order = random.chance(50);
            instance.ended =
                Some(if in_order { ExitCause::Signal(15) } else { ExitCause::Unknown });
            instance.ended_at = now;
        }
    }

    /// Lets a sick instance answer again.
    pub fn heal(&mut self, id: &InstanceId) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.sick_from = None;
        }
    }

    /// Makes an instance fail its checks from now on.
    pub fn sicken(&mut self, id: &InstanceId, now: u64) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.sick_from.get_or_insert(now);
        }
    }

    /// When the trouble of an instance's image ends it, and how.
    pub fn fate(&self, id: &InstanceId) -> Option<(u64, ExitCause)> {
        let instance = self.instances.get(id)?;
        match instance.behaviour.trouble {
            Trouble::CrashAtStart => Some((instance.started + 20, ExitCause::Code(1))),
            Trouble::OutOfMemoryLater => Some((
                instance.started + instance.behaviour.trouble_after_ms,
                ExitCause::OutOfMemory,
            )),
            Trouble::None
            | Trouble::NotStarted
            | Trouble::NeverHealthy
            | Trouble::SickLater
            | Trouble::TestFails
            | Trouble::Errs => None,
        }
    }

    /// Whether an instance answers a check now.
    pub fn answers(&self, id: &InstanceId, now: u64) -> bool {
        self.instances.get(id).is_some_and(|instance| {
            let age = now.saturating_sub(instance.started);
            let behaviour = instance.behaviour;
            let well = match behaviour.trouble {
                Trouble::NotStarted | Trouble::NeverHealthy => false,
                Trouble::SickLater => age < behaviour.trouble_after_ms,
                Trouble::None
                | Trouble::CrashAtStart
                | Trouble::OutOfMemoryLater
                | Trouble::TestFails
                | Trouble::Errs => true,
            };
            (instance.ended.is_none() || now < instance.ended_at)
                && well
                && age >= behaviour.healthy_after_ms
                && instance.sick_from.is_none_or(|from| now < from)
        })
    }

    /// Whether an instance's command runs.
    pub fn runs(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_some_and(|instance| instance.ended.is_none())
    }

    /// Whether it has an instance that ended.
    pub fn has_ended(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_some_and(|instance| instance.ended.is_some())
    }

    /// How many instances were made since the beginning.
    pub fn made(&self) -> u32 {
        self.made
    }

    /// How many instances run.
    pub fn running(&self) -> u64 {
        let running = self.instances.values().filter(|instance| instance.ended.is_none());
        running.map(|_| 1).sum()
    }

    /// Whether an instance ended because it was stopped, while nothing was wrong with it.
    pub fn was_stopped_well(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_some_and(|instance| {
            instance.stopped
                && instance.ended == Some(ExitCause::Signal(15))
                && instance.sick_from.is_none()
                && instance.behaviour.trouble != Trouble::SickLater
        })
    }

    /// Whether an instance was asked to stop.
    pub fn was_stopped(&self, id: &InstanceId) -> bool {
        self.instances.get(id).is_some_and(|instance| instance.stopped)
    }

    /// The image of an instance.
    pub fn image(&self, id: &InstanceId) -> Option<Digest> {
        Some(self.instances.get(id)?.image)
    }

    /// Every instance there is.
    pub fn ids(&self) -> Vec<InstanceId> {
        self.instances.keys().cloned().collect()
    }

    /// What it tells a control process that starts.
    pub fn list(&self) -> Vec<Found> {
        self.instances
            .iter()
            .map(|(id, instance)| Found {
                instance: id.clone(),
                running: instance.ended.is_none().then(|| instance.location.clone()),
                cause: instance.ended.clone(),
                log_tail: Vec::new(),
            })
            .collect()
    }
}

fn exited(id: &InstanceId, cause: ExitCause) -> Observation {
    Observation::InstanceExited {
        instance: id.clone(),
        cause,
        log_tail: vec![format!("{id}: last words")],
    }
}
