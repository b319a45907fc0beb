//! Recycling: instances that are too old, or that somebody named, are replaced by new ones of the same release. One at a
//! time and the oldest first: the new one has to serve, and be watched as a new release is, before the old one leaves. So
//! there are never fewer than wanted.

use hornero_model::{
    Actor, Digest, EventBody, InstanceId, InstanceState, Millis, ServiceName, Timestamp,
};

use crate::{
    Facts, Instance, RepairState, Service, ServingSet, Space, World, glass,
    record::{Record, created, new_ids},
    repair_state,
};

/// Of an instance's greatest age, the part by which it may be replaced earlier, so that those that were made together are
/// not replaced together.
const JITTER_PART: u64 = 10;
/// The most of it: longer makes no difference to what they share.
const JITTER: Millis = Millis(12 * 3_600_000);
/// The delay after the first replacement that did not become healthy; doubled by every further one.
const FIRST_DELAY_MS: u64 = 60_000;
/// The longest delay: a cause that passes is noticed within it.
const LAST_DELAY_MS: u64 = 3_600_000;
/// Instances an hour that are made of one service for age alone: half of what repair may make, which comes first.
const RECYCLE_BUDGET: u32 = 25;
/// What a budget looks back on.
const HOUR: Millis = Millis(3_600_000);

/// When an instance that may live for `max_age` is due to be replaced: by then, or earlier by up to a tenth. It follows
/// from the instance's id, so that it is the same whoever asks and whenever.
pub fn recycle_due(instance: &Instance, max_age: Millis) -> Timestamp {
    let most = (max_age.0 / JITTER_PART).min(JITTER.0);
    let digest = Digest::of(instance.id.as_str().as_bytes());
    let drawn =
        digest.as_bytes().iter().take(8).fold(0, |drawn, byte| drawn << 8 | u64::from(*byte));
    instance.created.after(Millis(max_age.0 - drawn % (most + 1)))
}

/// What recycling records next for one service whose set is settled.
pub(crate) fn recycle(
    world: &World,
    facts: &Facts,
    name: &ServiceName,
    tail: &mut dyn FnMut() -> String,
) -> Vec<Record> {
    let service = &world.services[name];
    // A new server could not run beside the one that it is to replace.
    if service.serving_release().is_some_and(|release| release.spec.holds_volumes()) {
        return Vec::new();
    }
    let Some(set) = service.serving.as_ref().filter(|set| set.leaving.is_none()) else {
        return Vec::new();
    };
    if let Some(touched) = glass::replace(world, facts, name, set) {
        return vec![touched];
    }
    let overdue = match is_frozen(world, name, facts.now) {
        true => Vec::new(),
        false => overdue(world, facts, service, set),
    };
    if let (Some(max_age), false) = (max_age(service), overdue.is_empty()) {
        let by = Actor::hornero(format!("its `max_age` is {max_age}"));
        let body = EventBody::RecycleSet { service: name.clone(), instances: overdue };
        return vec![Record::Event(by, body)];
    }
    begin(world, facts, service, set, tail).into_iter().collect()
}

/// Makes the instance that takes the place of the next one, where it is time for it.
fn begin(
    world: &World,
    facts: &Facts,
    service: &Service,
    set: &ServingSet,
    tail: &mut dyn FnMut() -> String,
) -> Option<Record> {
    let (old, mark) = next(world, set)?;
    let is_held = facts.held.contains(&service.name)
        || service.shared.is_some()
        || is_frozen(world, &service.name, facts.now);
    if is_held && World::is_own(mark) {
        return None;
    }
    let serves = |id: &InstanceId| {
        let instance = world.instances.get(id);
        instance.is_some_and(|of| of.state == InstanceState::Serving) && facts.healthy(world, id)
    };
    let wanted = world.serving_size(&service.name) as usize;
    let whole = repair_state(world, facts, &service.name) == Some(RepairState::Whole)
        && set.instances.len() == wanted
        && set.instances.iter().all(serves);
    let space = Space::of(world, facts, &service.serving_release()?.spec);
    let fits = space.is_none_or(|space| space.holds() > 0);
    if !whole || !fits || not_before(service, mark, facts.now).is_some_and(|due| facts.now < due) {
        return None;
    }
    let why = format!("it takes the place of `{}`: {}", old.id, mark.why);
    let by = Actor { why, ..mark.clone() };
    let id = new_ids(world, &service.name, set.release, 1, tail).pop()?;
    Some(created(&by, &service.name, set.release, id))
}

/// The instance that is replaced next, and by whom and why.
fn next<'w>(world: &'w World, set: &ServingSet) -> Option<(&'w Instance, &'w Actor)> {
    let instances = set.instances.iter().filter_map(|id| world.instances.get(id));
    let marked = instances.filter_map(|instance| Some((instance, instance.recycle.as_ref()?)));
    marked.min_by_key(|(instance, _)| (instance.created, &instance.id))
}

/// How old an instance of what serves may become.
fn max_age(service: &Service) -> Option<Millis> {
    service.serving_release()?.spec.max_age
}

/// Instances that serve, are due, and are not on their way to be replaced.
fn overdue(world: &World, facts: &Facts, service: &Service, set: &ServingSet) -> Vec<InstanceId> {
    let Some(max_age) = max_age(service) else { return Vec::new() };
    let instances = set.instances.iter().filter_map(|id| world.instances.get(id));
    let due = instances.filter(|instance| {
        instance.state == InstanceState::Serving
            && instance.recycle.is_none()
            && facts.now >= recycle_due(instance, max_age)
    });
    due.map(|instance| instance.id.clone()).collect()
}

/// When the next replacement may be made, where something puts it off: one that did not become healthy, or the budget of
/// what nobody asked for.
fn not_before(service: &Service, mark: &Actor, now: Timestamp) -> Option<Timestamp> {
    let delay = match service.recycle_failures {
        0 => 0,
        failures => (FIRST_DELAY_MS << (failures - 1).min(16)).min(LAST_DELAY_MS),
    };
    let after_failure = service.last_recycle_failure.map(|time| time.after(Millis(delay)));
    let made = service.made.iter().filter(|(time, own)| *own && now.since(*time) < HOUR);
    let spent = World::is_own(mark) && made.clone().count() >= RECYCLE_BUDGET as usize;
    let oldest = made.map(|(time, _)| time.after(HOUR)).min().filter(|_| spent);
    after_failure.into_iter().chain(oldest).max()
}

/// When recycling of a service has to look again.
pub(crate) fn wake(world: &World, facts: &Facts, name: &ServiceName) -> Option<Timestamp> {
    let service = world.services.get(name)?;
    let set = service.serving.as_ref()?;
    let put_off = next(world, set).and_then(|(_, mark)| not_before(service, mark, facts.now));
    let unmarked = set.instances.iter().filter_map(|id| world.instances.get(id));
    let unmarked = unmarked.filter(|instance| instance.recycle.is_none());
    let ages = max_age(service).into_iter();
    let due = ages.flat_map(|age| unmarked.clone().map(move |instance| recycle_due(instance, age)));
    let frozen = world.frozen(world.owner(name), facts.now);
    let thaw = frozen.map(|declared| declared.freeze.until).max();
    due.chain(put_off).chain(thaw).filter(|time| *time > facts.now).min()
}

/// Whether a freeze holds for a service: then nothing is replaced for its age.
fn is_frozen(world: &World, name: &ServiceName, now: Timestamp) -> bool {
    world.frozen(world.owner(name), now).next().is_some()
}

/// Takes in that instances are to be replaced; none any more where none is named. What a person asks for is tried at once.
pub(crate) fn set(
    world: &mut World,
    name: &ServiceName,
    instances: &[InstanceId],
    by: &Actor,
) -> Result<(), String> {
    let of_service = |world: &World, id: &InstanceId| {
        world.instances.get(id).is_some_and(|instance| instance.service == *name)
    };
    if let Some(stray) = instances.iter().find(|id| !of_service(world, id)) {
        return Err(format!("there is no instance `{stray}` of `{name}`"));
    }
    let own: Vec<InstanceId> = world.instances.of(name).map(|of| of.id.clone()).collect();
    for id in own {
        let Some(instance) = world.instances.get_mut(&id) else { continue };
        if instances.is_empty() {
            instance.recycle = None;
            // One that nothing replaces serves on: it is not kept.
            if instance.state == InstanceState::Serving {
                instance.quarantine = None;
            }
        } else if instances.contains(&instance.id) {
            instance.recycle = Some(by.clone());
            if let Some(quarantine) = &mut instance.quarantine {
                quarantine.recycle = Some(by.clone());
            }
        }
    }
    let service =
        world.services.get_mut(name).ok_or_else(|| format!("there is no service `{name}`"))?;
    if !instances.is_empty() && !World::is_own(by) {
        service.recycle_failures = 0;
        service.last_recycle_failure = None;
    }
    Ok(())
}

/// Whether an instance that left the serving set failed as the replacement of one that serves on: that is no failure of
/// what serves.
pub(crate) fn failed_replacement(world: &World, service: &Service, before: InstanceState) -> bool {
    let Some((set, release)) = service.serving.as_ref().zip(service.serving_release()) else {
        return false;
    };
    before != InstanceState::Serving
        && set.instances.len() >= service.size_by(&release.spec) as usize
        && next(world, set).is_some()
}
