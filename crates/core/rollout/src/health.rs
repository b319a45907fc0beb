//! What the edge's word on an instance means for how long it is unhealthy.

use std::collections::BTreeSet;

use hornero_model::{Health, InstanceId, InstanceState, ServiceName};

use crate::{Facts, World};

/// Takes in how every instance is now of the services that are looked at; gives those that are healthy. Those of a service at
/// rest are well, as they were.
///
/// An edge that has just started knows nobody: one that serves and runs, and is not found healthy, is as good as
/// unhealthy, or a server that hangs would be kept for as long as nobody can tell.
pub fn saw(world: &World, facts: &mut Facts, looked_at: &BTreeSet<ServiceName>) -> Vec<InstanceId> {
    let mut healthy = Vec::new();
    for instance in looked_at.iter().flat_map(|name| world.instances.of(name)) {
        let id = &instance.id;
        let unhealthy = match facts.health(world, id) {
            Health::Healthy => {
                healthy.push(id.clone());
                false
            }
            Health::Unhealthy => true,
            Health::Unknown => {
                instance.state == InstanceState::Serving && facts.running.contains_key(id)
            }
        };
        if unhealthy {
            let now = facts.now;
            facts.unhealthy_since.entry(id.clone()).or_insert(now);
        } else {
            facts.unhealthy_since.remove(id);
        }
    }
    healthy
}
