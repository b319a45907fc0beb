//! Which services are at rest: as they shall be, so that there is nothing to decide, to do or to say of them before
//! something of them is seen, or their time comes.

use hornero_model::{Health, InstanceState, ReleaseNumber, ServiceName, ServiceSpec, Timestamp};

use crate::{Facts, Instance, Service, ServingSet, World, recycle};

/// Whether a service is at rest. It is said of fewer than it could be: who is in doubt is looked at with every step.
///
/// Invariant: of a service at rest no step records anything, no effect is wanted, and its part of the route table stays as
/// it is, whatever becomes of others.
pub(crate) fn is_at_rest(world: &World, facts: &Facts, name: &ServiceName) -> bool {
    let Some(service) = world.services.get(name) else {
        return !facts.addresses.contains_key(name);
    };
    let is_free = service.warm.is_none()
        && service.shared.is_none()
        && !facts.forced.contains(name)
        && !world.previews.contains_key(name)
        && world.rollout_of(name).is_none();
    is_free
        && has_its_address(world, facts, name)
        && match &service.serving {
            Some(set) => is_whole(world, facts, service, set),
            None => world.instances.of(name).next().is_none(),
        }
}

/// Whether it has an address, or none where nothing of it is left.
fn has_its_address(world: &World, facts: &Facts, name: &ServiceName) -> bool {
    let is_there = !world.is_over(name);
    facts.addresses.contains_key(name) == is_there && !facts.leaving_addresses.contains(name)
}

/// Whether as many servers as are wanted serve, all of them well, and none else is there.
fn is_whole(world: &World, facts: &Facts, service: &Service, set: &ServingSet) -> bool {
    let name = &service.name;
    let spec = |number: ReleaseNumber| world.release(name, number).map(|release| &release.spec);
    let (Some(made_from), Some(terms)) = (spec(set.release), spec(set.terms)) else { return false };
    let wanted = world.serving_size(name) as usize;
    set.leaving.is_none()
        && service.proven.contains(&set.terms)
        && !made_from.holds_volumes()
        && made_from.migrate.is_none()
        && (terms.scale.is_none() || sleeps(facts, terms, wanted))
        && set.instances.len() == wanted
        && world.instances.of(name).count() == wanted
        && world.instances.of(name).all(|instance| serves_on(world, facts, set, instance))
}

/// Whether nothing runs of a service whose load decides, and nobody waits for it.
fn sleeps(facts: &Facts, spec: &ServiceSpec, wanted: usize) -> bool {
    let edge = facts.edge.as_ref();
    wanted == 0
        && facts.load.contains_key(&spec.name)
        && edge.is_some_and(|edge| edge.waiting_for(&spec.name) == 0)
}

fn serves_on(world: &World, facts: &Facts, set: &ServingSet, instance: &Instance) -> bool {
    let id = &instance.id;
    instance.state == InstanceState::Serving
        && instance.recycle.is_none()
        && instance.quarantine.is_none()
        && instance.touched.is_none()
        && instance.region == facts.region
        && set.instances.contains(id)
        && facts.running.contains_key(id)
        && !facts.exited.contains_key(id)
        && !facts.stopped.contains(id)
        && !facts.removed.contains(id)
        && !facts.unhealthy_since.contains_key(id)
        && facts.health(world, id) == Health::Healthy
}

/// When time alone may end the rest of a service; none while it can't.
pub(crate) fn ends(world: &World, facts: &Facts, name: &ServiceName) -> Option<Timestamp> {
    recycle::wake(world, facts, name)
}
