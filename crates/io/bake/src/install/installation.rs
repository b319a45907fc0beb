//! Packages to be installed, and the root that they are laid down on.

use std::sync::Arc;

use hornero_apt::{LockedImage, sources_list::ArchiveRequest};
use hornero_dpkg::{
    compose::{self, Below, Clash, Composition, Part},
    database::Database,
    existing::Existing,
};
use hornero_model::{Digest, ImageName};
use hornero_store::{Entry, Ingest, Layer, Metadata, Store, Tree, TreePath};

use crate::{BakeError, surroundings::Surroundings};

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

/// A root that packages are unpacked on.
pub(super) struct InstallBase<'b> {
    /// Its tree; None where there is none yet.
    pub below: Option<&'b Tree>,
    /// dpkg's database in it.
    pub existing: &'b Existing,
}

impl Surroundings<'_> {
    /// Composes packages on a root; who owns its paths is looked up where two packages meet.
    pub(super) fn compose(
        &self,
        parts: &[Part<'_>],
        base: &InstallBase<'_>,
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
}

/// The tree of layers; None where there are none.
pub(super) fn tree(store: &Store, layers: &[Digest]) -> Result<Option<Arc<Tree>>, BakeError> {
    match layers.is_empty() {
        true => Ok(None),
        false => Ok(Some(store.tree_of_layers(layers).map_err(BakeError::store)?)),
    }
}

/// The layer of a database, and of what decides where several packages have the same path.
pub(super) fn database_layer(
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

/// That packages make no layer.
pub(super) fn layer_refused(image: &ImageName, error: hornero_store::LayerError) -> BakeError {
    BakeError::store(hornero_store::StoreError::Layer {
        name: format!("packages of {image}"),
        source: error,
    })
}
