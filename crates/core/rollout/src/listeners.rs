//! Faults of listeners: recorded once they last, and when they are over, for `history`.

use std::net::SocketAddr;

use hornero_model::{Actor, EventBody, ListenerFault, Millis, ServiceName, Timestamp};

use crate::{Facts, ListenerSeen, ListenerSpell, ListenerTrouble, Record, World, routes};

/// How long a fault has to last, and has to be over, before it is recorded: an edge that starts tries its listeners
/// within a second, and a renewed certificate is replaced file by file.
const LASTS: Millis = Millis(3_000);
/// Faults of a service that are remembered: what somebody asks about is among the last.
const SPELLS: usize = 20;

/// Takes in what an edge says of its listeners.
pub fn saw(world: &World, facts: &mut Facts, faults: &[ListenerFault]) {
    let now = facts.now;
    let mut addresses: Vec<SocketAddr> = faults.iter().map(|fault| fault.address).collect();
    addresses.extend(world.listener_faults.keys().chain(facts.listeners.keys()));
    for address in addresses {
        let fault = faults.iter().find(|fault| fault.address == address);
        let seen = facts.listeners.get(&address).map(|seen| seen.fault.as_ref());
        if seen != Some(fault) {
            facts.listeners.insert(address, ListenerSeen { fault: fault.cloned(), since: now });
        }
    }
    facts.listeners.retain(|address, seen| {
        seen.fault.is_some() || world.listener_faults.contains_key(address)
    });
}

/// Records what changed and lasts.
pub(crate) fn records(world: &World, facts: &Facts) -> Vec<Record> {
    let lasting = facts.listeners.iter().filter(|(_, seen)| facts.now >= seen.since.after(LASTS));
    lasting
        .filter(|(address, seen)| differs(world, **address, seen))
        .map(|(address, seen)| {
            let (fault, serves) = match &seen.fault {
                Some(fault) => (Some(fault.reason.clone()), fault.serves),
                None => (None, false),
            };
            let why = fault.clone().unwrap_or_else(|| format!("the fault of `{address}` is over"));
            let body = EventBody::ListenerChanged { address: *address, fault, serves };
            Record::Event(Actor::hornero(why), body)
        })
        .collect()
}

/// When a fault, or its end, will have lasted.
pub(crate) fn wake(world: &World, facts: &Facts) -> Vec<Timestamp> {
    let changed = facts.listeners.iter().filter(|(address, seen)| differs(world, **address, seen));
    changed.map(|(_, seen)| seen.since.after(LASTS)).collect()
}

/// Whether it is another than what is recorded. What no service that serves has is a rollout's own matter.
fn differs(world: &World, address: SocketAddr, seen: &ListenerSeen) -> bool {
    let recorded = world.listener_faults.get(&address);
    match &seen.fault {
        None => recorded.is_some(),
        Some(fault) => {
            let same = recorded
                .is_some_and(|known| known.reason == fault.reason && known.serves == fault.serves);
            !same && !owners(world, address).is_empty()
        }
    }
}

fn owners(world: &World, address: SocketAddr) -> Vec<ServiceName> {
    let services = world.services.keys();
    services.filter(|name| routes::listens(world, name, address)).cloned().collect()
}

/// Folds one such event.
pub(crate) fn changed(
    world: &mut World,
    address: SocketAddr,
    trouble: Option<ListenerTrouble>,
    time: Timestamp,
) {
    for service in world.services.values_mut() {
        let open = |spell: &&mut ListenerSpell| spell.address == address && spell.until.is_none();
        service.listener_spells.iter_mut().filter(open).for_each(|spell| spell.until = Some(time));
    }
    let Some(trouble) = trouble else {
        world.listener_faults.remove(&address);
        return;
    };
    for name in owners(world, address) {
        let Some(release) = world.foremost(&name) else { continue };
        let Some(service) = world.services.get_mut(&name) else { continue };
        if service.listener_spells.len() >= SPELLS {
            service.listener_spells.remove(0);
        }
        let trouble = trouble.clone();
        let spell = ListenerSpell { address, release, trouble, from: time, until: None };
        service.listener_spells.push(spell);
    }
    world.listener_faults.insert(address, trouble);
}
