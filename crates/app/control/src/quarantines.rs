//! Servers that are kept for somebody to look at, as they are shown.

use std::path::Path;

use hornero_api::message::{QuarantineState, QuarantineStatus};
use hornero_model::{InstanceState, Timestamp};
use hornero_rollout::{Facts, Instance, World};

/// Those of a home where no control process runs.
pub fn quarantines_offline(home: &Path) -> anyhow::Result<Vec<QuarantineStatus>> {
    Ok(shown(&crate::offline::world(home)?, None, Timestamp::now()))
}

/// All of them, the oldest first.
pub fn shown(world: &World, facts: Option<&Facts>, now: Timestamp) -> Vec<QuarantineStatus> {
    let mut all: Vec<_> =
        world.instances.values().filter_map(|instance| one(instance, facts, now)).collect();
    all.sort_by(|a, b| (a.since, &a.instance).cmp(&(b.since, &b.instance)));
    all
}

/// One, where it is kept; without facts, as far as the ledger tells.
pub fn one(instance: &Instance, facts: Option<&Facts>, now: Timestamp) -> Option<QuarantineStatus> {
    let quarantine = instance.quarantine.as_ref()?;
    let running = facts.map(|facts| facts.running.get(&instance.id));
    let state = match (instance.state, running) {
        (InstanceState::Serving, _) => QuarantineState::Replacing,
        _ if now >= quarantine.until => QuarantineState::Ending,
        (_, Some(None)) => QuarantineState::Ending,
        (_, Some(Some(_))) if !facts.is_some_and(|facts| facts.frozen.contains(&instance.id)) => {
            QuarantineState::Draining
        }
        _ => QuarantineState::Frozen,
    };
    let handle = running.flatten().map(|running| &running.location.handle);
    Some(QuarantineStatus {
        instance: instance.id.clone(),
        service: instance.service.clone(),
        release: instance.release,
        state,
        since: quarantine.since,
        until: quarantine.until,
        who: quarantine.by.who.clone(),
        why: quarantine.by.why.clone(),
        pid: handle.and_then(|handle| handle.as_str().parse().ok()),
    })
}
