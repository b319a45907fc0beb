//! Installs locked packages: unpacked and configured round by round as dpkg would have done it, then laid down as one
//! layer for each package and one for what configuring all of them changed.

mod rounds;
mod settle;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
};

use hornero_apt::{LockedImage, access::Access, sources_list::ArchiveRequest};
use hornero_dpkg::{
    compose::{self, Below, Clash, Composition, Part},
    database::{self, Database, NewPackage, State},
    deb::{PackageFacts, unpack::INFO_DIR},
    existing::{self, Existing},
    plan,
};
use hornero_model::{Digest, ImageName};
use hornero_store::{Entry, EntryKind, Ingest, Layer, Metadata, RootFiles, Store, Tree, TreePath};

use self::rounds::Rounds;
use crate::{
    BakeError,
    image::step::Steps,
    outcome::StepOutcome,
    progress::BakeProgress,
    source::{LayerSource, PackageSource},
    supply::{self, Supplied, Supply},
};

/// What an installation or a step works on.
pub(crate) struct Surroundings<'s> {
    /// The store.
    pub store: &'s Store,
    /// Access to archives.
    pub access: &'s Access<'s>,
    /// Starts steps.
    pub steps: Steps<'s>,
    /// Where work directories are made.
    pub tmp: &'s Path,
    /// Is told what happens.
    pub progress: &'s dyn BakeProgress,
}

/// Packages to be installed on layers.
pub(crate) struct Installation<'i> {
    /// The image.
    pub image: &'i ImageName,
    /// Its packages.
    pub locked: &'i LockedImage,
    /// Where they may be fetched from.
    pub request: &'i ArchiveRequest,
    /// The layers that are there already, from the bottom up.
    pub below: &'i [Digest],
    /// The newest time that files may have, in seconds since the Unix epoch.
    pub epoch: u64,
    /// Most bytes that one package may unpack to, and that configuring may write.
    pub max_bytes: u64,
}

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
            let base = Base { below: below.as_deref(), existing: &existing };
            return self.assemble(wanted, &supplied, &order, &base, State::Installed);
        }
        let facts: Vec<&PackageFacts> = supplied.iter().map(|one| &one.facts).collect();
        let installed = plan::installed_names(&existing.status);
        let plan = plan::plan(&plan::nodes(&facts, &installed), below.is_none());
        let configured = Rounds::new(self, wanted, &supplied).run(&plan)?;
        let order: Vec<usize> = plan.iter().flat_map(|round| round.unpack.clone()).collect();
        let base = Base { below: below.as_deref(), existing: &existing };
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
        base: &Base<'_>,
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

    /// Composes packages on a root; who owns its paths is looked up where two packages meet.
    fn compose(
        &self,
        parts: &[Part<'_>],
        base: &Base<'_>,
        clash: Clash,
    ) -> Result<Composition, BakeError> {
        let owners = std::cell::OnceCell::new();
        let owner = |path: &TreePath| {
            let tree = base.below?;
            let owners = owners.get_or_init(|| base.existing.owners(self.store, tree));
            owners.get(path.as_bytes()).cloned()
        };
        let below = base.below.map(|tree| Below { tree, owner: &owner });
        Ok(compose::compose(parts, below.as_ref(), clash)?)
    }

    /// The lists of packages that others took paths over from, without these.
    fn shortened_lists(
        &self,
        ingest: &Ingest<'_>,
        taken: &BTreeMap<String, BTreeSet<TreePath>>,
        parts: &[Part<'_>],
        base: &Base<'_>,
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

    /// The root files of layers, for one build step.
    pub(crate) fn composed(&self, layers: &[Digest]) -> Result<RootFiles, BakeError> {
        self.store.temporary_root(layers).map_err(BakeError::store)
    }
}

/// A root that packages are unpacked on.
struct Base<'b> {
    /// Its tree; None where there is none yet.
    below: Option<&'b Tree>,
    /// dpkg's database in it.
    existing: &'b Existing,
}

/// The tree of layers; None where there are none.
fn tree(store: &Store, layers: &[Digest]) -> Result<Option<Arc<Tree>>, BakeError> {
    match layers.is_empty() {
        true => Ok(None),
        false => Ok(Some(store.tree_of_layers(layers).map_err(BakeError::store)?)),
    }
}

/// The layer of a database, and of what decides where several packages have the same path.
fn database_layer(
    ingest: &Ingest<'_>,
    wanted: &Installation<'_>,
    decided: Vec<Entry>,
    database: &Database,
) -> Result<Layer, BakeError> {
    let mut entries = decided;
    for (path, contents) in &database.files {
        let path =
            TreePath::new(path.as_str()).map_err(|error| layer_refused(wanted.image, error))?;
        let kind = ingest.put_bytes(contents.as_bytes()).map_err(BakeError::store)?.into();
        entries.push(Entry { path, kind, metadata: Metadata::root_owned(0o644, wanted.epoch) });
    }
    Layer::from_entries(entries).map_err(|error| layer_refused(wanted.image, error))
}

fn layer_refused(image: &ImageName, error: hornero_store::LayerError) -> BakeError {
    BakeError::store(hornero_store::StoreError::Layer {
        name: format!("packages of {image}"),
        source: error,
    })
}
