//! What declaring schedules would change.

use hornero_model::{Directory, ScheduleSpec};
use hornero_rollout::World;

use crate::{
    change::{Change, ObjectKind},
    own::Own,
};

/// What it would change that `directory` declares `schedules` and no others.
pub fn schedule_changes(
    directory: &Directory,
    schedules: &[ScheduleSpec],
    world: &World,
) -> Vec<Change> {
    let known = world.schedules.values().filter(|known| known.directory == *directory);
    let own = Own::<ScheduleSpec> {
        kind: ObjectKind::Schedule,
        name: |schedule| schedule.name.as_str(),
        reason: |before, schedule| match before {
            Some(before) => differences(before, schedule),
            None => format!(
                "{} at `{}` {}",
                schedule.action, schedule.when.line, schedule.when.timezone
            ),
        },
    };
    own.changes(known.map(|known| &known.schedule), schedules)
}

/// What differs, in the words of `hornero.hcl`.
fn differences(from: &ScheduleSpec, to: &ScheduleSpec) -> String {
    let own = [
        ("do", from.action != to.action),
        ("when", from.when.line != to.when.line),
        ("timezone", from.when.timezone != to.when.timezone),
        ("services", from.services != to.services),
        ("missed", from.missed != to.missed),
    ];
    let changed = own.into_iter().filter(|(_, is_other)| *is_other);
    changed.map(|(key, _)| format!("`{key}` changed")).collect::<Vec<_>>().join(", ")
}
