//! Installs locked packages: unpacked and configured round by round as dpkg would have done it, then laid down as one
//! layer for each package and one for what configuring all of them changed.

mod installation;
mod rounds;
mod settle;

use std::collections::{BTreeMap, BTreeSet};

use hornero_dpkg::{
    compose::{Clash, Part},
    database::{self, NewPackage, State},
    deb::{PackageFacts, unpack::INFO_DIR},
    existing::{self, Existing},
    plan,
};
use hornero_store::{Entry, EntryKind, Ingest, TreePath};

pub(crate) use self::installation::Installation;
use self::{
    installation::{InstallBase, database_layer, layer_refused, tree},
    rounds::Rounds,
};
use crate::{
    BakeError,
    outcome::StepOutcome,
    source::{LayerSource, PackageSource},
    supply::{self, Supplied, Supply},
    surroundings::Surroundings,
};

impl Surroundings<'_> {
    /// Installs packages; gives the layers to put on top.
    pub(crate) fn install(&self, wanted: &Installation<'_>) -> Result<StepOutcome, BakeError> {
        let store = self.store;
        let ingest = store.ingest().map_err(BakeError::store)?;
        let from = Supply { request: wanted.request, max_bytes: wanted.max_bytes };
        let supplied = supply::supply(&ingest, self.access, wanted.locked, &from, self.progress)?;
        let _ = ingest.finish().map_err(BakeError::store)?;
        supply::remember(store, wanted.locked, &supplied)?;
        let below = tree(store, wanted.below)?;
        let existing = match &below {
            None => Existing::default(),
            Some(tree) => Existing::read(store, tree).map_err(BakeError::store)?,
        };
        let new = |number: usize| {
            let Supplied { facts, layer, .. } = &supplied[number];
            NewPackage { facts, layer, held: false }
        };
        let all: Vec<NewPackage<'_>> = (0..supplied.len()).map(new).collect();
        let concerned = supplied.iter().any(|one| existing.concerns(&one.facts.name, &one.layer));
        if !concerned && !database::needs_configuring(&existing, &all) {
            let order: Vec<usize> = (0..supplied.len()).collect();
            let base = InstallBase { below: below.as_deref(), existing: &existing };
            return self.assemble(wanted, &supplied, &order, &base, State::Installed);
        }
        let facts: Vec<&PackageFacts> = supplied.iter().map(|one| &one.facts).collect();
        let installed = plan::installed_names(&existing.status);
        let plan = plan::plan(&plan::nodes(&facts, &installed), below.is_none());
        let configured = Rounds::new(self, wanted, &supplied).run(&plan)?;
        let order: Vec<usize> = plan.iter().flat_map(|round| round.unpack.clone()).collect();
        let base = InstallBase { below: below.as_deref(), existing: &existing };
        let mut gave = self.assemble(wanted, &supplied, &order, &base, State::Unpacked)?;
        let layers = [wanted.below, &gave.layers].concat();
        let placed = store.tree_of_layers(&layers).map_err(BakeError::store)?;
        let configured = store.tree_of_layers(&configured).map_err(BakeError::store)?;
        let layer = settle::difference(&placed, &configured)
            .map_err(|error| layer_refused(wanted.image, error))?;
        if !layer.entries().is_empty() {
            let ingest = store.ingest().map_err(BakeError::store)?;
            let digest = ingest.put_layer(&layer).map_err(BakeError::store)?;
            let _ = ingest.finish().map_err(BakeError::store)?;
            gave.layers.push(digest);
            gave.sources.push(LayerSource::Configured);
        }
        Ok(gave)
    }

    /// The layers of the packages as an image has them, in the order in which they were unpacked, and the database.
    fn assemble(
        &self,
        wanted: &Installation<'_>,
        supplied: &[Supplied],
        order: &[usize],
        base: &InstallBase<'_>,
        state: State,
    ) -> Result<StepOutcome, BakeError> {
        let ingest = self.store.ingest().map_err(BakeError::store)?;
        let parts: Vec<Part<'_>> = order
            .iter()
            .map(|number| Part { layer: &supplied[*number].layer, facts: &supplied[*number].facts })
            .collect();
        let clash = match state {
            State::Installed => Clash::Refuse,
            // Who may have which path was decided when they were unpacked, as diversions were then.
            State::Unpacked => Clash::LaterWins,
        };
        let composition = self.compose(&parts, base, clash)?;
        let mut gave = StepOutcome::default();
        for (place, moved) in composition.layers {
            let number = order[place];
            gave.layers.push(match moved {
                None => supplied[number].digest,
                Some(layer) => ingest.put_layer(&layer).map_err(BakeError::store)?,
            });
            let (locked, facts) = (&wanted.locked.packages[number], &supplied[number].facts);
            gave.sources.push(LayerSource::Package(PackageSource::new(locked, facts)));
        }
        let new: Vec<NewPackage<'_>> = parts
            .iter()
            .map(|part| NewPackage { facts: part.facts, layer: part.layer, held: false })
            .collect();
        let database = database::database(base.existing, &new, state);
        let mut entries = composition.decided;
        entries.extend(self.shortened_lists(&ingest, &composition.taken, &parts, base)?);
        let layer = database_layer(&ingest, wanted, entries, &database)?;
        gave.layers.push(ingest.put_layer(&layer).map_err(BakeError::store)?);
        gave.sources.push(LayerSource::Database);
        let _ = ingest.finish().map_err(BakeError::store)?;
        Ok(gave)
    }

    /// The lists of packages that others took paths over from, without these.
    fn shortened_lists(
        &self,
        ingest: &Ingest<'_>,
        taken: &BTreeMap<String, BTreeSet<TreePath>>,
        parts: &[Part<'_>],
        base: &InstallBase<'_>,
    ) -> Result<Vec<Entry>, BakeError> {
        let mut lists = Vec::new();
        for (package, paths) in taken {
            let own = parts.iter().find(|part| part.facts.name == *package);
            let entry = match own {
                Some(part) => {
                    let path = format!("{INFO_DIR}/{}.list", part.facts.info_name);
                    let mut entries = part.layer.entries().iter();
                    entries.find(|entry| entry.path.as_bytes() == path.as_bytes())
                }
                None => base.below.and_then(|tree| {
                    let path = TreePath::new(existing::list_of(tree, package)?).ok()?;
                    tree.get(&path)
                }),
            };
            if let Some(Entry { path, kind: EntryKind::File { digest, .. }, metadata }) = entry {
                let list = self.store.read_object(digest).map_err(BakeError::store)?;
                let list = existing::without(&list, paths);
                let kind = ingest.put_bytes(&list).map_err(BakeError::store)?.into();
                let (path, metadata) = (path.clone(), metadata.clone());
                lists.push(Entry { path, kind, metadata });
            }
        }
        Ok(lists)
    }
}
