//! What declaring freezes would change.

use hornero_model::{Directory, Freeze};
use hornero_rollout::World;

use crate::{
    change::{Change, ObjectKind},
    own::Own,
};

/// What it would change that `directory` declares `freezes` and no others.
pub fn freeze_changes(directory: &Directory, freezes: &[Freeze], world: &World) -> Vec<Change> {
    let known = world.freezes.values().filter(|known| known.directory == *directory);
    let own = Own::<Freeze> {
        kind: ObjectKind::Freeze,
        name: |freeze| freeze.name.as_str(),
        reason: |_, freeze| format!("from {} until {}", freeze.from, freeze.until),
    };
    own.changes(known.map(|known| &known.freeze), freezes)
}
