//! What declaring things that belong to one directory alone would change: freezes and schedules.

use crate::change::{Action, Change, ObjectKind};

/// Things of one kind.
pub(crate) struct Own<T> {
    /// What they are.
    pub kind: ObjectKind,
    /// The name of one.
    pub name: fn(&T) -> &str,
    /// What is said of one that is declared, given what was declared before.
    pub reason: fn(Option<&T>, &T) -> String,
}

impl<T: PartialEq> Own<T> {
    /// What it would change that `declared` and nothing else is declared where `known` was.
    pub(crate) fn changes<'t>(
        &self,
        known: impl Iterator<Item = &'t T> + Clone,
        declared: &[T],
    ) -> Vec<Change>
    where
        T: 't,
    {
        let change = |one: &T, action, reason| Change {
            kind: self.kind,
            object: (self.name)(one).to_owned(),
            action,
            reason,
            renamed: None,
        };
        let is_same = |one: &T, other: &T| (self.name)(one) == (self.name)(other);
        let mut changes = Vec::new();
        for one in declared {
            let before = known.clone().find(|known| is_same(known, one));
            let action = if before.is_some() { Action::Adjust } else { Action::Create };
            if before != Some(one) {
                changes.push(change(one, action, (self.reason)(before, one)));
            }
        }
        for gone in known.filter(|known| !declared.iter().any(|one| is_same(known, one))) {
            let reason = "it is no longer declared".to_owned();
            changes.push(change(gone, Action::Remove, reason));
        }
        changes
    }
}
