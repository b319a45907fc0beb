//! Reads dpkg's database out of a tree.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use hornero_rebase::debian::control;
use hornero_store::{EntryKind, Layer, Store, StoreError, Tree, TreePath};

use crate::{
    compose::Owner,
    deb::{merged_usr, unpack::INFO_DIR},
    diversions::{DIVERSIONS_PATH, Diversions, OVERRIDES_PATH, Override, parse_overrides},
};

/// What the packages that are there already bring along.
#[derive(Debug, Clone, Default)]
pub struct Existing {
    /// dpkg's `status`.
    pub status: String,
    /// dpkg's `triggers/File`: which package is interested in which path.
    pub file_triggers: String,
    /// dpkg's other files in `triggers`, by the trigger's name: which packages are interested.
    pub named_triggers: BTreeMap<String, String>,
    /// What is diverted.
    pub diversions: Diversions,
    /// Owners and modes set by hand, by canonical path.
    pub overrides: HashMap<Vec<u8>, Override>,
}

impl Existing {
    /// The database as a tree has it.
    ///
    /// # Errors
    /// [`StoreError`] where a file of it cannot be read.
    pub fn read(store: &Store, tree: &Tree) -> Result<Self, StoreError> {
        let read = |path: &str| -> Result<String, StoreError> {
            if tree.lookup(path).is_err() {
                return Ok(String::new());
            }
            let bytes = store.read_tree_file(tree, path)?;
            Ok(String::from_utf8_lossy(&bytes).into_owned())
        };
        let mut existing = Self {
            status: read("var/lib/dpkg/status")?,
            file_triggers: read("var/lib/dpkg/triggers/File")?,
            named_triggers: BTreeMap::new(),
            diversions: Diversions::parse(&read(DIVERSIONS_PATH)?),
            overrides: parse_overrides(&read(OVERRIDES_PATH)?),
        };
        if let Ok(dir) = TreePath::new("var/lib/dpkg/triggers") {
            for entry in tree.children(&dir) {
                let name = String::from_utf8_lossy(entry.path.name()).into_owned();
                let special = matches!(name.as_str(), "File" | "Lock" | "Unincorp");
                if !special && matches!(entry.kind, EntryKind::File { .. }) {
                    let text = read(&format!("var/lib/dpkg/triggers/{name}"))?;
                    existing.named_triggers.insert(name, text);
                }
            }
        }
        Ok(existing)
    }

    /// Whether a file of a package is diverted, or has an owner or a mode that was set by hand.
    pub fn concerns(&self, package: &str, layer: &Layer) -> bool {
        let paths = layer.entries().iter().map(|entry| entry.path.as_bytes());
        (!self.diversions.is_empty() || !self.overrides.is_empty())
            && paths.into_iter().any(|path| {
                self.diversions.target(path, package) != path || self.overrides.contains_key(path)
            })
    }

    /// Which package has which path, from dpkg's lists and diversions: one file a package is read.
    pub fn owners(&self, store: &Store, tree: &Tree) -> HashMap<Vec<u8>, Arc<Owner>> {
        let stanzas = control::paragraphs(&self.status).map(Owner::of);
        let packages: HashMap<String, Arc<Owner>> =
            stanzas.map(|owner| (owner.name.clone(), Arc::new(owner))).collect();
        let mut owners = HashMap::new();
        for (file, package) in lists(tree) {
            let Some(package) = packages.get(&package) else { continue };
            let Ok(list) = store.read_tree_file(tree, &file) else { continue };
            for line in list.split(|byte| *byte == b'\n') {
                let path = merged_usr::canonical(line.strip_prefix(b"/").unwrap_or(line));
                let path = self.diversions.target(&path, &package.name).to_vec();
                owners.insert(path, package.clone());
            }
        }
        owners
    }
}

/// Where a tree has the list of a package's paths; None where it has none.
pub fn list_of(tree: &Tree, package: &str) -> Option<String> {
    lists(tree).find(|(_, name)| name == package).map(|(file, _)| file)
}

/// A list of paths without those that other packages took over.
pub fn without(list: &[u8], taken: &BTreeSet<TreePath>) -> Vec<u8> {
    let keeps = |line: &&[u8]| {
        let path = merged_usr::canonical(line.strip_prefix(b"/").unwrap_or(line).trim_ascii_end());
        !taken.iter().any(|taken| taken.as_bytes() == path)
    };
    list.split_inclusive(|byte| *byte == b'\n').filter(keeps).flatten().copied().collect()
}

/// Every list of paths that a tree has, with its package's name.
fn lists(tree: &Tree) -> impl Iterator<Item = (String, String)> {
    let dir = TreePath::new(INFO_DIR).expect("the path is canonical");
    let names = tree.children(&dir).filter_map(|entry| {
        let file = String::from_utf8_lossy(entry.path.name()).into_owned();
        let package = file.strip_suffix(".list")?.split(':').next()?.to_owned();
        Some((format!("{INFO_DIR}/{file}"), package))
    });
    names.collect::<Vec<_>>().into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_loses_what_others_took_over() {
        let taken = ["etc/x", "usr/bin/y"].map(|path| TreePath::new(path).unwrap()).into();
        let list = b"/.\n/etc\n/etc/x\n/etc/x2\n/bin/y\n";
        assert_eq!(without(list, &taken), b"/.\n/etc\n/etc/x2\n");
    }
}
