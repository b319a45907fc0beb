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
    let state = state_of(
        instance.state,
        now >= quarantine.until,
        running.map(|running| running.is_some()),
        facts.and_then(|facts| facts.frozen.get(&instance.id).copied()),
    );
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

/// How far one is: whether its time is up, whether it runs, and whether it stands still since it was to be made to, as far as
/// that is known.
fn state_of(
    state: InstanceState,
    is_over: bool,
    runs: Option<bool>,
    stands_still: Option<bool>,
) -> QuarantineState {
    match (state, runs) {
        (InstanceState::Serving, _) => QuarantineState::Replacing,
        _ if is_over => QuarantineState::Ending,
        (_, Some(false)) => QuarantineState::Ending,
        (_, Some(true)) => match stands_still {
            None => QuarantineState::Draining,
            Some(true) => QuarantineState::Frozen,
            Some(false) => QuarantineState::Running,
        },
        (_, None) => QuarantineState::Kept,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_stands_still_is_told_to() {
        let kept =
            |runs, stands_still| state_of(InstanceState::Draining, false, runs, stands_still);
        assert_eq!(kept(Some(true), None), QuarantineState::Draining);
        assert_eq!(kept(Some(true), Some(true)), QuarantineState::Frozen);
        assert_eq!(kept(Some(true), Some(false)), QuarantineState::Running, "its host can't");
        assert_eq!(kept(Some(false), Some(true)), QuarantineState::Ending);
        assert_eq!(kept(None, None), QuarantineState::Kept, "nobody has looked");
        let serving = state_of(InstanceState::Serving, true, None, None);
        assert_eq!(serving, QuarantineState::Replacing);
    }
}
