//! Freezes as the ledger tells them: which are declared, and which hold for a directory.

use hornero_model::{Directory, Freeze, FreezeName, Timestamp};

use crate::{DeclaredFreeze, World};

impl World {
    /// The freezes that hold for a directory at a moment: its own, and those of the whole home.
    pub fn frozen<'w>(
        &'w self,
        directory: Option<&'w Directory>,
        now: Timestamp,
    ) -> impl Iterator<Item = &'w DeclaredFreeze> {
        self.freezes.values().filter(move |declared| {
            let concerns = declared.freeze.home || Some(&declared.directory) == directory;
            concerns && declared.freeze.holds(now)
        })
    }
}

pub(crate) fn declared(world: &mut World, freeze: &Freeze, directory: &Directory) {
    let key = (directory.clone(), freeze.name.clone());
    let (freeze, directory) = (freeze.clone(), directory.clone());
    world.freezes.insert(key, DeclaredFreeze { freeze, directory });
}

/// What is gone already may be removed again: whoever declares does not wait for others who do.
pub(crate) fn removed(world: &mut World, freeze: &FreezeName, directory: &Directory) {
    world.freezes.remove(&(directory.clone(), freeze.clone()));
}
