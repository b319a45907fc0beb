//! What declaring freezes would change.

use hornero_model::{Directory, Freeze};
use hornero_rollout::World;

use crate::change::{Action, Change, ObjectKind};

/// What it would change that `directory` declares `freezes` and no others.
pub fn freeze_changes(directory: &Directory, freezes: &[Freeze], world: &World) -> Vec<Change> {
    let change = |freeze: &Freeze, action, reason| Change {
        kind: ObjectKind::Freeze,
        object: freeze.name.to_string(),
        action,
        reason,
        renamed: None,
    };
    let span = |freeze: &Freeze| format!("from {} until {}", freeze.from, freeze.until);
    let mut changes = Vec::new();
    for freeze in freezes {
        let known = world.freezes.get(&(directory.clone(), freeze.name.clone()));
        match known.map(|declared| &declared.freeze) {
            None => changes.push(change(freeze, Action::Create, span(freeze))),
            Some(known) if known != freeze => {
                changes.push(change(freeze, Action::Adjust, span(freeze)));
            }
            Some(_) => {}
        }
    }
    let own = world.freezes.values().filter(|declared| declared.directory == *directory);
    for declared in own {
        if !freezes.iter().any(|freeze| freeze.name == declared.freeze.name) {
            let reason = "it is no longer declared".to_owned();
            changes.push(change(&declared.freeze, Action::Remove, reason));
        }
    }
    changes
}
