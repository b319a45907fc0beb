//! What a directory as a whole comes to: services that it no longer declares, and those that are not its own.

use std::collections::BTreeSet;

use hornero_model::{Digest, Directory, ServiceName, ServiceSpec};
use hornero_rollout::{World, go_first, makes_same_servers};

use crate::{Action, Change, Foreign, ObjectKind};

/// The changes of `services` and the removals of what `directory` no longer declares, in the order they would be made.
pub(crate) fn in_order(
    world: &World,
    directory: &Directory,
    services: &[ServiceSpec],
    mut changes: Vec<Change>,
) -> Vec<Change> {
    let gone = world.undeclared(directory, services);
    let names: BTreeSet<ServiceName> = gone.iter().cloned().collect();
    let first = go_first(world, &names, services);
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for name in gone {
        let renamed = services.iter().find(|spec| is_renamed(world, &name, spec));
        let mut reason = format!("`{directory}` no longer declares it");
        if let Some(spec) = renamed {
            reason.push_str(&format!("; it looks as if it was renamed to `{}`", spec.name));
            for change in changes.iter_mut().filter(|change| is_of(change, &spec.name)) {
                change.renamed = Some(name.to_string());
                change.reason.push_str(&format!(
                    "; it looks as if `{name}` was renamed: a renamed service is another one, with a history of its own"
                ));
            }
        }
        let list = if first.contains(&name) {
            reason.push_str("; it goes first, because a way into it is wanted");
            &mut before
        } else {
            &mut after
        };
        list.push(Change {
            kind: ObjectKind::Service,
            object: name.to_string(),
            action: Action::Remove,
            reason,
            renamed: renamed.map(|spec| spec.name.to_string()),
        });
    }
    let bakes = changes.iter().take_while(|change| change.kind == ObjectKind::Image).count();
    let services = changes.split_off(bakes);
    changes.into_iter().chain(before).chain(services).chain(after).collect()
}

/// The services that belong to another directory.
pub(crate) fn foreign(
    world: &World,
    directory: &Directory,
    services: &[ServiceSpec],
) -> Vec<Foreign> {
    let owner = |spec: &ServiceSpec| world.owner(&spec.name).filter(|owner| *owner != directory);
    let foreign = services.iter().filter_map(|spec| {
        let owner = owner(spec)?;
        Some(Foreign {
            service: spec.name.to_string(),
            reason: format!("it belongs to `{owner}`, which declared it first"),
            directory: owner.clone(),
        })
    });
    foreign.collect()
}

fn is_of(change: &Change, service: &ServiceName) -> bool {
    change.kind == ObjectKind::Service && change.object == service.as_str()
}

/// Whether a service that is declared looks like one under another name that is not any more.
fn is_renamed(world: &World, gone: &ServiceName, spec: &ServiceSpec) -> bool {
    let is_new = world.services.get(&spec.name).is_none_or(|service| !world.is_there(service));
    let Some(before) = world.services.get(gone).and_then(|of| of.serving_release()) else {
        return false;
    };
    let named = ServiceSpec { name: spec.name.clone(), ..before.spec.clone() };
    let unbaked = spec.image == Digest::from_bytes([0; 32]);
    let image = if unbaked { before.spec.image } else { spec.image };
    let same_image = !unbaked || before.spec.image_name == spec.image_name;
    is_new && same_image && makes_same_servers(&named, &ServiceSpec { image, ..spec.clone() })
}
