//! Whose every file of an image is: that of the topmost layer that has it, and through it of a package or whatever
//! else was declared.

use std::{collections::BTreeMap, sync::Arc};

use hornero_dpkg::deb::{merged_usr, unpack::INFO_DIR};
use hornero_model::{Digest, ImageName};
use hornero_rebase::debian::control;
use hornero_store::{Entry, Store, Tree, TreePath};

use crate::{
    BakeError,
    lineage::{self, Known},
    source::{LayerSource, PackageSource},
};

/// What files belong to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// What it is.
    pub source: LayerSource,
    /// The layer it gave; None for a package that a command installed into a layer of its own.
    pub layer: Option<Digest>,
    /// For the database and the configuration of packages: the places of those packages in [`Ownership::owners`].
    pub packages: Vec<usize>,
}

/// Whose every file of an image is.
#[derive(Debug, Clone)]
pub struct Ownership {
    tree: Arc<Tree>,
    owners: Vec<Owner>,
    /// For each entry of the tree the place of its owner, or [`NOBODY`].
    of: Vec<u32>,
}

const NOBODY: u32 = u32::MAX;

/// Whose every file of an image is; reads layers and records, and contents only where a command used dpkg.
pub fn ownership(store: &Store, image: &Digest) -> Result<Ownership, BakeError> {
    let manifest = store.image(image).map_err(BakeError::store)?;
    let tree = store.tree_of_layers(&manifest.layers).map_err(BakeError::store)?;
    let mut owners: Vec<Owner> = Vec::with_capacity(manifest.layers.len());
    // The owner of each layer, from the bottom up.
    let mut of_layers: Vec<u32> = vec![NOBODY; manifest.layers.len()];
    for stage in lineage::of(store, image, &manifest.layers)?.into_iter().rev() {
        let mut packages: Vec<usize> = Vec::new();
        for (at, source) in stage.layers.clone().zip(stage.sources()) {
            let Some(source) = source else { continue };
            let place = owners.len();
            if matches!(source, LayerSource::Package(_)) {
                packages.push(place);
            }
            let of_packages = matches!(source, LayerSource::Database | LayerSource::Configured);
            of_layers[at] = u32::try_from(place).expect("there are few layers");
            owners.push(Owner {
                source,
                layer: Some(manifest.layers[at]),
                packages: if of_packages { packages.clone() } else { Vec::new() },
            });
        }
    }
    let mut of = vec![NOBODY; tree.entries().len()];
    for (layer, owner) in manifest.layers.iter().zip(&of_layers) {
        for entry in store.layer(layer).map_err(BakeError::store)?.entries() {
            if let Some(index) = index_of(&tree, &entry.path) {
                of[index] = *owner;
            }
        }
    }
    let mut ownership = Ownership { tree, owners, of };
    ownership.ask_dpkg(store)?;
    Ok(ownership)
}

impl Ownership {
    /// The merged tree.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// Everything that files may belong to, in the order it went in.
    pub fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// Every entry but directories, sorted by path, with the place of its owner in [`Self::owners`].
    pub fn files(&self) -> impl Iterator<Item = (&Entry, Option<usize>)> {
        let entries = self.tree.entries().iter().zip(&self.of);
        entries
            .filter(|(entry, _)| !entry.kind.is_directory())
            .map(|(entry, owner)| (entry, place(*owner)))
    }

    /// The owner of what is at a path; None where nothing is, or nobody owns it.
    pub fn owner_of(&self, path: &TreePath) -> Option<&Owner> {
        place(self.of[index_of(&self.tree, path)?]).map(|place| &self.owners[place])
    }

    /// Files that belong to nothing, sorted by path; directories belong to whatever is in them.
    pub fn unowned(&self) -> impl Iterator<Item = &Entry> {
        self.files().filter(|(_, owner)| owner.is_none()).map(|(entry, _)| entry)
    }

    /// Every package in the image, with its place in [`Self::owners`]: for each name the one that came last.
    pub fn packages(&self) -> Vec<(usize, &PackageSource)> {
        let mut last: BTreeMap<(&str, &str), (usize, &PackageSource)> = BTreeMap::new();
        for (place, owner) in self.owners.iter().enumerate() {
            if let LayerSource::Package(package) = &owner.source {
                last.insert((&package.name, &package.architecture), (place, package));
            }
        }
        last.into_values().collect()
    }

    /// Packages that a command or an import brought: their files are those of dpkg's lists.
    fn ask_dpkg(&mut self, store: &Store) -> Result<(), BakeError> {
        let Ok(info) = TreePath::new(INFO_DIR) else { return Ok(()) };
        let tree = self.tree.clone();
        let mut status: Option<BTreeMap<String, PackageSource>> = None;
        for entry in tree.children(&info) {
            let name = String::from_utf8_lossy(entry.path.name()).into_owned();
            let Some(package) = name.strip_suffix(".list") else { continue };
            let index = index_of(&tree, &entry.path).map(|index| self.of[index]);
            let made = index.and_then(place).map(|place| &self.owners[place].source);
            let by_dpkg = matches!(
                made,
                Some(
                    LayerSource::Run { .. }
                        | LayerSource::Provision { .. }
                        | LayerSource::Imported { .. }
                )
            );
            if !by_dpkg {
                continue;
            }
            let status = match &mut status {
                Some(status) => status,
                None => status.insert(read_status(store, &tree)?),
            };
            let package = package.split(':').next().unwrap_or_default();
            if let Some(found) = status.get(package) {
                let found = found.clone();
                let list = store
                    .read_tree_file(&tree, &entry.path.to_string())
                    .map_err(BakeError::store)?;
                self.claim(found, &list, &name);
            }
        }
        Ok(())
    }

    /// Gives a package the files of its list, unless something that is not dpkg's put others in their place.
    fn claim(&mut self, package: PackageSource, list: &[u8], list_name: &str) {
        let own = u32::try_from(self.owners.len()).expect("there are few packages");
        let stem = list_name.strip_suffix("list").unwrap_or_default().as_bytes();
        let info = format!("{INFO_DIR}/");
        let mut claimed: Vec<usize> = list
            .split(|byte| *byte == b'\n')
            .filter_map(|line| line.strip_prefix(b"/"))
            .filter_map(|line| TreePath::new(merged_usr::canonical(line)).ok())
            .filter_map(|path| index_of(&self.tree, &path))
            .collect();
        if let Ok(dir) = TreePath::new(INFO_DIR) {
            let begin = self.tree.entries().partition_point(|entry| entry.path <= dir);
            let below = self.tree.below(&dir).iter().enumerate();
            claimed.extend(below.filter_map(|(at, entry)| {
                let file = entry.path.as_bytes().strip_prefix(info.as_bytes())?;
                file.starts_with(stem).then_some(begin + at)
            }));
        }
        for index in claimed {
            let takes = match place(self.of[index]).map(|place| &self.owners[place].source) {
                None
                | Some(
                    LayerSource::Run { .. }
                    | LayerSource::Provision { .. }
                    | LayerSource::Imported { .. },
                ) => true,
                // What the package was before it was upgraded.
                Some(LayerSource::Package(other)) => other.name == package.name,
                Some(
                    LayerSource::Database | LayerSource::Configured | LayerSource::Copy { .. },
                ) => false,
            };
            if takes && !self.tree.entries()[index].kind.is_directory() {
                self.of[index] = own;
            }
        }
        let source = LayerSource::Package(package);
        self.owners.push(Owner { source, layer: None, packages: Vec::new() });
    }
}

fn place(owner: u32) -> Option<usize> {
    (owner != NOBODY).then_some(owner as usize)
}

fn index_of(tree: &Tree, path: &TreePath) -> Option<usize> {
    tree.entries().binary_search_by(|entry| entry.path.cmp(path)).ok()
}

/// The installed packages of dpkg's status, by name.
fn read_status(store: &Store, tree: &Tree) -> Result<BTreeMap<String, PackageSource>, BakeError> {
    if tree.lookup("var/lib/dpkg/status").is_err() {
        return Ok(BTreeMap::new());
    }
    let bytes = store.read_tree_file(tree, "var/lib/dpkg/status").map_err(BakeError::store)?;
    let text = String::from_utf8_lossy(&bytes);
    let found = control::paragraphs(&text).filter_map(PackageSource::of_stanza);
    Ok(found.map(|package| (package.name.clone(), package)).collect())
}

/// Refuses to bake on an image with a file that belongs to nothing; looks at files only where a layer has no source.
/// Layers that a bake itself makes always have one.
pub(crate) fn check_below(
    store: &Store,
    name: &ImageName,
    below: &Digest,
    layers: &[Digest],
) -> Result<(), BakeError> {
    for stage in lineage::of(store, below, layers)? {
        let missing =
            stage.layers.clone().zip(stage.sources()).find(|(_, source)| source.is_none());
        let Some((at, _)) = missing else { continue };
        let reason = match stage.known {
            Known::Nothing(reason) => reason,
            Known::Record(_) | Known::Import(_) => format!(
                "the record of image `{}` does not say where layer `{}` comes from",
                stage.image.short(),
                layers[at].short()
            ),
        };
        let ownership = ownership(store, below)?;
        if let Some(entry) = ownership.unowned().next() {
            let (image, path) = (name.clone(), entry.path.to_string());
            return Err(BakeError::Unowned { image, path, reason });
        }
    }
    Ok(())
}
