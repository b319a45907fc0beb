//! The order in which services go down.

use std::collections::BTreeSet;

use hornero_model::ServiceName;

use crate::{OpenPreview, World};

/// Services in the order they go down, each before those it depends on; every one that is up where none is named. Previews
/// of those that go down go with them, first of all.
pub fn down_order(world: &World, mut left: Vec<ServiceName>) -> Vec<ServiceName> {
    if left.is_empty() {
        let live = world.services.values().filter(|service| !service.removed);
        left = live.map(|service| service.name.clone()).collect();
    }
    let gone = |name: &ServiceName, open: &OpenPreview| {
        left.contains(name) || left.contains(&open.preview.service)
    };
    let previews = world.previews.iter().filter(|(name, open)| gone(name, open));
    let mut order: Vec<ServiceName> = previews.map(|(name, _)| name.clone()).collect();
    left.retain(|name| !order.contains(name));
    while !left.is_empty() {
        let needed: BTreeSet<&ServiceName> = left
            .iter()
            .filter_map(|name| world.services.get(name)?.serving_release())
            .flat_map(|release| &release.spec.depends_on)
            .collect();
        // In a circle nobody is free; then the first goes.
        let next = left.iter().position(|name| !needed.contains(name)).unwrap_or(0);
        order.push(left.remove(next));
    }
    order
}
