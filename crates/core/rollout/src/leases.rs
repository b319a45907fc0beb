//! Volumes and their leases as the ledger tells them, and which leases end and begin: one server has a volume, and the next
//! one gets it when nothing is left of that one.

use std::collections::BTreeSet;

use hornero_model::{
    Actor, Directory, EventBody, InstanceId, InstanceState, LeaseToken, LeasedMount, ServiceName,
    Timestamp, Volume, VolumeChange, VolumeName,
};

use crate::planted::{Bug, planted};
use crate::{Facts, Instance, Lease, World, record::Record};

impl World {
    /// The services that have a volume mounted by the terms they serve under.
    pub fn users_of(&self, volume: &VolumeName) -> Vec<&ServiceName> {
        let uses = |service: &&crate::Service| {
            let release = service.serving_release().filter(|_| !service.removed);
            release.is_some_and(|of| of.spec.mounts.iter().any(|mount| mount.volume == *volume))
        };
        self.services.values().filter(uses).map(|service| &service.name).collect()
    }
}

/// What an instance may mount; none while another one has a volume of it, or nobody gave it the lease yet.
pub(crate) fn mounts(world: &World, instance: &InstanceId) -> Option<Vec<LeasedMount>> {
    let spec = world.spec_of(instance)?;
    spec.mounts
        .iter()
        .map(|mount| {
            let lease = world.volumes.get(&mount.volume)?.lease.as_ref()?;
            (lease.instance == *instance).then(|| LeasedMount {
                path: mount.path.clone(),
                volume: mount.volume.clone(),
                lease: lease.token,
            })
        })
        .collect()
}

/// Who has a volume that an instance waits for: the volume, and its holder.
pub(crate) fn waits_for<'w>(
    world: &'w World,
    instance: &InstanceId,
) -> Option<(&'w VolumeName, &'w InstanceId)> {
    let spec = world.spec_of(instance)?;
    held(world, spec.mounts.iter().map(|mount| &mount.volume), Some(instance))
}

/// The first of some volumes that somebody else than `instance` has, and who.
pub(crate) fn held<'w>(
    world: &'w World,
    volumes: impl Iterator<Item = &'w VolumeName>,
    instance: Option<&InstanceId>,
) -> Option<(&'w VolumeName, &'w InstanceId)> {
    let mut holders = volumes.filter_map(|volume| {
        let lease = world.volumes.get(volume)?.lease.as_ref()?;
        Some((volume, &lease.instance))
    });
    holders.find(|(_, holder)| Some(*holder) != instance)
}

/// Leases that end, and those that begin for servers of the services that are looked at.
pub(crate) fn records(
    world: &World,
    facts: &Facts,
    looked_at: &BTreeSet<ServiceName>,
) -> Vec<Record> {
    let mut records = Vec::new();
    for (name, volume) in &world.volumes {
        let is_over = |of: &&Lease| {
            is_gone(world, facts, &of.instance)
                || planted(Bug::EndsLeasesEarly) && is_told_to_stop(world, &of.instance)
        };
        let Some(lease) = volume.lease.as_ref().filter(is_over) else { continue };
        let by = Actor::hornero(format!("nothing is left of `{}`", lease.instance));
        let body = EventBody::VolumeReleased { volume: name.clone(), lease: lease.token };
        records.push(Record::Event(by, body));
    }
    let mut given = BTreeSet::new();
    let coming = looked_at.iter().flat_map(|name| world.instances.of(name));
    let coming = coming.filter(|of| of.state == InstanceState::Created);
    let mut coming: Vec<&Instance> = coming.collect();
    coming.sort_by_key(|instance| &instance.id);
    for instance in coming {
        if !facts.exited.contains_key(&instance.id) && !facts.removed.contains(&instance.id) {
            records.extend(leased(world, instance, &mut given));
        }
    }
    records
}

fn is_told_to_stop(world: &World, id: &InstanceId) -> bool {
    let state = world.instances.get(id).map(|of| of.state);
    matches!(state, Some(InstanceState::Stopped | InstanceState::Failed))
}

/// Leases for what is about to be started: all of its volumes, or none yet.
fn leased<'w>(
    world: &'w World,
    instance: &'w Instance,
    given: &mut BTreeSet<&'w VolumeName>,
) -> Vec<Record> {
    let kept = || world.kept(&instance.service).contains(&instance.id);
    let Some(spec) = world.spec_of(&instance.id).filter(|spec| spec.holds_volumes() && kept())
    else {
        return Vec::new();
    };
    let volumes = || spec.mounts.iter().map(|mount| &mount.volume);
    if waits_for(world, &instance.id).is_some() || volumes().any(|of| given.contains(of)) {
        return Vec::new();
    }
    given.extend(volumes());
    let is_missing =
        |volume: &&VolumeName| world.volumes.get(*volume).is_none_or(|known| known.lease.is_none());
    let lease = |volume: &VolumeName| {
        let last = world.volumes.get(volume).map(|known| known.last_lease).unwrap_or_default();
        let body = EventBody::VolumeLeased {
            volume: volume.clone(),
            lease: last.next(),
            service: instance.service.clone(),
            instance: instance.id.clone(),
        };
        Record::Event(Actor::hornero(format!("`{}` starts with it", instance.id)), body)
    };
    volumes().filter(is_missing).map(lease).collect()
}

/// Whether nothing is left of an instance: the engine said so, or it has none and nobody else remembers one.
fn is_gone(world: &World, facts: &Facts, id: &InstanceId) -> bool {
    let is_seen = facts.running.contains_key(id)
        || facts.exited.contains_key(id)
        || facts.stopped.contains(id)
        || facts.abandoned.contains(id);
    facts.removed.contains(id) || (!world.instances.contains_key(id) && !is_seen)
}

/// Takes in an event of a volume.
pub(crate) fn fold(world: &mut World, body: &EventBody, time: Timestamp) -> Result<(), String> {
    match body {
        EventBody::VolumeDeclared { volume, directory } => declared(world, volume, directory),
        EventBody::VolumeUndeclared { volume, .. } => undeclared(world, volume),
        EventBody::VolumeChanged { volume, change } => changed(world, volume, change, time),
        EventBody::VolumeLeased { volume, lease, service, instance } => {
            return given(world, volume, *lease, (service, instance), time);
        }
        EventBody::VolumeReleased { volume, lease } => return ended(world, volume, *lease),
        _ => {}
    }
    Ok(())
}

fn declared(world: &mut World, volume: &Volume, directory: &Directory) {
    let known = world.volumes.entry(volume.name.clone()).or_default();
    known.declared = Some(volume.clone());
    known.directory = Some(directory.clone());
}

/// What it was declared as last still says whether it may be removed.
fn undeclared(world: &mut World, volume: &VolumeName) {
    if let Some(known) = world.volumes.get_mut(volume) {
        known.directory = None;
    }
}

fn changed(world: &mut World, volume: &VolumeName, change: &VolumeChange, time: Timestamp) {
    let known = world.volumes.entry(volume.clone()).or_default();
    match change {
        VolumeChange::Made { .. } | VolumeChange::Adopted { .. } | VolumeChange::Cloned { .. } => {
            known.made = Some(time);
        }
        VolumeChange::Removed => known.made = None,
        VolumeChange::Snapshot { .. }
        | VolumeChange::Expired { .. }
        | VolumeChange::Restored { .. }
        | VolumeChange::Grown { .. } => {}
    }
}

fn given(
    world: &mut World,
    volume: &VolumeName,
    token: LeaseToken,
    (service, instance): (&ServiceName, &InstanceId),
    since: Timestamp,
) -> Result<(), String> {
    let known = world.volumes.entry(volume.clone()).or_default();
    if let Some(lease) = &known.lease {
        return Err(format!("volume `{volume}` is `{}`'s", lease.instance));
    }
    if token <= known.last_lease {
        return Err(format!(
            "lease {token} of volume `{volume}` is not above {}",
            known.last_lease
        ));
    }
    let (service, instance) = (service.clone(), instance.clone());
    known.lease = Some(Lease { token, service, instance, since });
    known.last_lease = token;
    Ok(())
}

fn ended(world: &mut World, volume: &VolumeName, token: LeaseToken) -> Result<(), String> {
    let lease = world.volumes.get_mut(volume).map(|known| &mut known.lease);
    match lease {
        Some(lease) if lease.as_ref().is_some_and(|lease| lease.token == token) => {
            *lease = None;
            Ok(())
        }
        Some(_) | None => Err(format!("volume `{volume}` has no lease {token}")),
    }
}
