//! Two versions of a base, compared once, and what that means for each image on them.

use std::{collections::BTreeMap, sync::Arc};

use hornero_model::{Digest, ImageConfig};

use crate::{
    accounts::{Accounts, Both, Owners},
    command,
    layer::Layer,
    loader,
    packages::{self, Index, Installed},
    paths::{self, Changes, Touched},
    programs::{Programs, Wanted},
    refusal::{RebaseRefusal, RefusalKind},
    stanzas::{self, Stanzas},
    view::{At, Tree, View},
};

/// Facts of a layer that do not belong to what lies below it; they have to be made anew.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the facts of layer `{0}` were recorded above another status")]
pub struct StaleFacts(pub Digest);

/// One version of a base.
#[derive(Debug)]
pub struct Base {
    tree: Tree,
    status: Option<Digest>,
    stanzas: Stanzas,
    packages: Index,
}

impl Base {
    /// A base of these layers, from the bottom up.
    pub fn new(layers: Vec<Arc<Layer>>) -> Result<Self, StaleFacts> {
        let mut stanzas = Stanzas::new();
        let mut status = None;
        for layer in &layers {
            follow_status(layer, &mut status, &mut stanzas)?;
        }
        let packages = Index::of(stanzas.values());
        Ok(Self { tree: Tree::new(layers), status, stanzas, packages })
    }
}

/// Applies a layer's change of dpkg's status, if it has one.
fn follow_status(
    layer: &Layer,
    status: &mut Option<Digest>,
    stanzas: &mut Stanzas,
) -> Result<(), StaleFacts> {
    let Some(content) = layer.status_content() else { return Ok(()) };
    match &layer.facts().status {
        Some(change) if change.against == *status => *stanzas = change.apply(stanzas),
        _ => return Err(StaleFacts(layer.digest)),
    }
    *status = Some(content);
    Ok(())
}

/// A layer of an image with where it meets the differences between two bases.
#[derive(Debug)]
pub struct OwnLayer {
    layer: Arc<Layer>,
    touched: Touched,
    owners: Owners,
    affects_base: bool,
}

impl OwnLayer {
    /// The layer.
    pub fn layer(&self) -> &Arc<Layer> {
        &self.layer
    }
}

/// An image whose base is to be another one.
#[derive(Debug, Clone, Copy)]
pub struct App<'a> {
    /// Its own layers, from the bottom up.
    pub layers: &'a [Arc<OwnLayer>],
    /// What its command is, with whom it runs as and where, and which tests it has.
    pub config: &'a ImageConfig,
}

/// The outcome for one image.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PairOutcome {
    /// Why the image does not hold on the new base; empty where it does.
    pub refusals: Vec<RebaseRefusal>,
    /// The new text of dpkg's status for each own layer whose status changes, by the layer's number, with the change
    /// it is against the status below.
    pub statuses: Vec<NewStatus>,
}

/// The status of one layer on the new base.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewStatus {
    /// The number of the own layer.
    pub layer: usize,
    /// The whole text.
    pub text: String,
    /// What it changes against the status below it.
    pub change: stanzas::StatusChange,
}

/// Two versions of a base.
#[derive(Debug)]
pub struct Pair {
    old: Base,
    new: Base,
    changes: Changes,
    wanted: Wanted,
    /// What the new base itself lacks, whatever lies above.
    broken: Vec<RebaseRefusal>,
    downgraded: Vec<RebaseRefusal>,
    library_paths_changed: bool,
}

impl Pair {
    /// Compares two versions of a base.
    pub fn new(old: Base, new: Base) -> Self {
        let changes = Changes::between(&old.tree, &new.tree);
        let wanted = Wanted::of(&new.tree);
        let nothing = BTreeMap::new();
        let (broken, library_paths_changed) = {
            let (old, new) = (View::new(&old.tree, &[]), View::new(&new.tree, &[]));
            let broken = Programs::new(&old, &new, &nothing).of_base();
            (broken, loader::configured_dirs(&old) != loader::configured_dirs(&new))
        };
        let downgraded = Index::downgraded(&old.packages, &new.packages);
        Self { old, new, changes, wanted, broken, downgraded, library_paths_changed }
    }

    /// Looks at a layer once for all images that have it.
    pub fn layer(&self, layer: Arc<Layer>) -> OwnLayer {
        OwnLayer {
            touched: self.changes.touched(&layer),
            owners: Owners::of(&layer),
            affects_base: self.wanted.is_affected_by(&layer, &self.new.tree),
            layer,
        }
    }

    /// Whether an image holds on the new base, and what becomes of its status.
    pub fn prove(&self, app: &App<'_>) -> Result<PairOutcome, StaleFacts> {
        let layers: Vec<Arc<Layer>> = app.layers.iter().map(|own| own.layer.clone()).collect();
        let old = View::new(&self.old.tree, &layers);
        let new = View::new(&self.new.tree, &layers);
        let (statuses, mut refusals) = self.packages(&layers)?;
        let touched = app.layers.iter().map(|own| (&*own.layer, &own.touched));
        refusals.extend(self.changes.refusals(&new, touched));
        refusals.extend(paths::broken_links(&old, &new));
        let accounts = Both {
            old: Accounts::of(&old),
            new: Accounts::of(&new),
            base: Accounts::of(&View::new(&self.new.tree, &[])),
        };
        let owners = app.layers.iter().map(|own| (&*own.layer, &own.owners));
        refusals.extend(accounts.refusals(owners, &app.config.user));
        let environment = &app.config.env;
        let programs = Programs::new(&old, &new, environment);
        if !self.changes.is_empty() {
            refusals.extend(programs.of_image());
            refusals.extend(command::refusals(&programs, app.config));
        }
        let affects_base = app.layers.iter().any(|own| own.affects_base)
            || ["PATH", "LD_LIBRARY_PATH"].iter().any(|name| environment.contains_key(*name));
        if affects_base || !self.broken.is_empty() {
            refusals.extend(programs.of_base());
        }
        if self.library_paths_changed
            && let Some(At::Entry(found)) = new.get(b"etc/ld.so.cache")
            && found.own
        {
            refusals.push(RebaseRefusal::of_file(
                RefusalKind::LibraryCache,
                b"etc/ld.so.cache",
                Some(found.layer.digest),
                "the library paths it was made from",
                "other ones in `/etc/ld.so.conf`",
            ));
        }
        refusals.sort();
        refusals.dedup();
        Ok(PairOutcome { refusals, statuses })
    }

    /// The status of every own layer on the new base, and what of the packages does not hold.
    fn packages(
        &self,
        layers: &[Arc<Layer>],
    ) -> Result<(Vec<NewStatus>, Vec<RebaseRefusal>), StaleFacts> {
        let mut refusals = self.downgraded.clone();
        let mut old = (self.old.status, self.old.stanzas.clone());
        let mut new = (self.new.status, self.new.stanzas.clone());
        let mut statuses = Vec::new();
        let mut conflicts = Vec::new();
        for (number, layer) in layers.iter().enumerate() {
            let Some(content) = layer.status_content() else { continue };
            let Some(change) = &layer.facts().status else { return Err(StaleFacts(layer.digest)) };
            let before = old.clone();
            follow_status(layer, &mut old.0, &mut old.1)?;
            if change.against == new.0 {
                new = (Some(content), change.apply(&new.1));
                continue;
            }
            let carried = change.carry_over(&before.1, &new.1, &mut conflicts);
            let text = stanzas::render(&carried);
            let now = Digest::of(text.as_bytes());
            let change = stanzas::StatusChange::between(new.0, &new.1, &text);
            statuses.push(NewStatus { layer: number, text, change });
            new = (Some(now), carried);
        }
        refusals.extend(packages::of_conflicts(&conflicts));
        if !layers.iter().any(|layer| layer.status_content().is_some()) {
            return Ok((statuses, refusals));
        }
        let before = Installed::new(&self.old.packages, &self.old.stanzas, &old.1);
        let after = Installed::new(&self.new.packages, &self.new.stanzas, &new.1);
        refusals.extend(packages::refusals(&before, &after, &new.1));
        Ok((statuses, refusals))
    }
}
