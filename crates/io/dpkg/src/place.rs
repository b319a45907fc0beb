//! Where the files of an unpacked package are before it is configured: diverted, with the owners and modes that were
//! set by hand, and configuration files beside their place until dpkg puts them there (Debian Policy 6.6 and 10.7).

use std::collections::{BTreeMap, HashMap, HashSet};

use hornero_store::{Entry, Layer, LayerError, TreePath};

use crate::{
    deb::{PackageFacts, merged_usr},
    diversions::{Diversions, Override},
};

/// What dpkg adds to the name of a configuration file that has yet to be put in its place.
const NEW_SUFFIX: &[u8] = b".dpkg-new";

/// What decides where the files of a package go.
pub struct Placing<'p> {
    /// What is diverted.
    pub diversions: &'p Diversions,
    /// Owners and modes set by hand, by canonical path.
    pub overrides: &'p HashMap<Vec<u8>, Override>,
    /// The number of a user's name.
    pub user: &'p dyn Fn(&str) -> Option<u32>,
    /// The number of a group's name.
    pub group: &'p dyn Fn(&str) -> Option<u32>,
}

impl Placing<'_> {
    /// The layer of a package as dpkg would have unpacked it; None where that is the layer itself. `held` says whether
    /// its configuration files wait until it is configured.
    ///
    /// # Errors
    /// [`LayerError`] where a diversion leads below a file.
    pub fn placed(
        &self,
        layer: &Layer,
        facts: &PackageFacts,
        held: bool,
    ) -> Result<Option<Layer>, LayerError> {
        let conffiles: HashSet<Vec<u8>> = match held {
            true => facts
                .conffiles
                .iter()
                .map(|(path, _)| merged_usr::canonical(path.trim_start_matches('/').as_bytes()))
                .collect(),
            false => HashSet::new(),
        };
        if conffiles.is_empty() && self.diversions.is_empty() && self.overrides.is_empty() {
            return Ok(None);
        }
        let mut placed: BTreeMap<TreePath, Entry> = BTreeMap::new();
        let mut changed = false;
        for entry in layer.entries() {
            let mut new = entry.clone();
            if let Some(set) = self.overrides.get(entry.path.as_bytes()) {
                self.set(&mut new, set);
            }
            if !entry.kind.is_directory() {
                let mut path = self.diversions.target(entry.path.as_bytes(), &facts.name).to_vec();
                if conffiles.contains(entry.path.as_bytes()) {
                    path.extend_from_slice(NEW_SUFFIX);
                }
                if path != entry.path.as_bytes() {
                    new.path = TreePath::new(path)?;
                }
            }
            changed |= new != *entry;
            placed.insert(new.path.clone(), new);
        }
        if !changed {
            return Ok(None);
        }
        Layer::from_entries(placed.into_values().collect()).map(Some)
    }

    fn set(&self, entry: &mut Entry, set: &Override) {
        let number = |name: &str, find: &dyn Fn(&str) -> Option<u32>| match name.strip_prefix('#') {
            Some(number) => number.parse().ok(),
            None => find(name),
        };
        // dpkg refuses an unknown name; here the package's own word is as good as any.
        if let (Some(user), Some(group)) =
            (number(&set.user, self.user), number(&set.group, self.group))
        {
            (entry.metadata.uid, entry.metadata.gid) = (user, group);
            entry.metadata.mode = set.mode;
        }
    }
}

#[cfg(test)]
mod tests {
    use hornero_model::Digest;
    use hornero_store::{EntryKind, Metadata};

    use super::*;
    use crate::diversions::parse_overrides;

    #[test]
    fn files_are_where_dpkg_would_have_them() {
        let entry = |path: &str| Entry {
            path: TreePath::new(path).unwrap(),
            kind: EntryKind::File { digest: Digest::of(b""), size: 0 },
            metadata: Metadata::root_owned(0o644, 7),
        };
        let paths = ["etc/app.conf", "usr/bin/app", "usr/bin/zcat"];
        let layer = Layer::from_entries(paths.map(entry).into()).unwrap();
        let facts = PackageFacts {
            name: "app".to_owned(),
            control: String::new(),
            conffiles: vec![("/etc/app.conf".to_owned(), String::new())],
            triggers: String::new(),
            scripts: Vec::new(),
            info_name: "app".to_owned(),
        };
        let diversions = Diversions::parse("/bin/zcat\n/bin/zcat.app\nother\n");
        let overrides = parse_overrides("www staff 2750 /bin/app\n");
        let placing = Placing {
            diversions: &diversions,
            overrides: &overrides,
            user: &|name| (name == "www").then_some(33),
            group: &|name| (name == "staff").then_some(50),
        };
        let placed = placing.placed(&layer, &facts, true).unwrap().unwrap();
        let words: Vec<String> = placed
            .entries()
            .iter()
            .map(|entry| {
                let Metadata { mode, uid, gid, .. } = entry.metadata;
                format!("{} {mode:o} {uid} {gid}", entry.path)
            })
            .collect();
        let expected = [
            "/etc/app.conf.dpkg-new 644 0 0",
            "/usr/bin/app 2750 33 50",
            "/usr/bin/zcat.app 644 0 0",
        ];
        let plain = |text: &str| text.trim_start_matches('/').to_owned();
        assert!(
            words.iter().map(|word| plain(word)).eq(expected.iter().map(|word| plain(word))),
            "{words:?}"
        );
        let nothing =
            Placing { diversions: &Diversions::default(), overrides: &HashMap::new(), ..placing };
        assert_eq!(nothing.placed(&layer, &facts, false).unwrap(), None);
    }
}
