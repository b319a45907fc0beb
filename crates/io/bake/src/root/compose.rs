//! Merges packages into a tree as dpkg would have unpacked them one after another.

use std::collections::{BTreeMap, HashMap};

use hornero_store::{Entry, EntryKind, Layer, LayerError, Tree, TreePath};

use crate::{
    BakeError,
    archive::{control, relation},
    deb::{PackageFacts, merged_usr},
};

/// A package that was unpacked.
#[derive(Clone, Copy)]
pub(crate) struct Part<'p> {
    /// Its layer.
    pub layer: &'p Layer,
    /// What configuring needs to know of it.
    pub facts: &'p PackageFacts,
}

/// What has to lie above the packages' own layers.
pub(crate) struct Composition {
    /// The packages' layers from the bottom up: the number of the package, and its layer where that had to be changed
    /// because a path leads through another package's symlink.
    pub layers: Vec<(usize, Option<Layer>)>,
    /// Entries that decide where several packages have the same path, and the symlinks of merged `/usr`.
    pub decided: Vec<Entry>,
}

/// A root that packages are unpacked on.
pub(crate) struct Below<'b> {
    /// Its tree.
    pub tree: &'b Tree,
    /// Name and version of the package that a path belongs to.
    pub owner: &'b dyn Fn(&TreePath) -> Option<(String, String)>,
}

/// Composes packages, in name order, on what is there already.
pub(crate) fn compose(
    parts: &[Part<'_>],
    below: Option<&Below<'_>>,
) -> Result<Composition, BakeError> {
    let mut parts: Vec<(usize, Part<'_>)> = parts.iter().copied().enumerate().collect();
    if below.is_none() {
        // Debian builds every root on this package: its word on shared directories counts first.
        parts.sort_by_key(|(_, part)| part.facts.name != "base-files");
    }
    let mut owners: HashMap<TreePath, usize> = HashMap::new();
    let mut decided: BTreeMap<TreePath, Entry> = BTreeMap::new();
    let mut links: BTreeMap<TreePath, Box<[u8]>> = BTreeMap::new();
    for (index, (_, part)) in parts.iter().enumerate() {
        for entry in part.layer.entries() {
            let there = match owners.get(&entry.path) {
                Some(owner) => {
                    let decided = decided.get(&entry.path);
                    decided.or_else(|| find(parts[*owner].1.layer, &entry.path))
                }
                None => below.and_then(|below| below.tree.get(&entry.path)),
            };
            if let Some(there) = there {
                let owner = || match (owners.get(&entry.path), below) {
                    (Some(owner), _) => Some(name_and_version(parts[*owner].1.facts)),
                    (None, Some(below)) => (below.owner)(&entry.path),
                    (None, None) => None,
                };
                let known = owners.get(&entry.path).map(|owner| parts[*owner].1.facts);
                let keep = keeps_there(there, entry, &owner, known, part.facts)?;
                let winner = if keep { there.clone() } else { entry.clone() };
                if let EntryKind::Symlink { target } = &winner.kind
                    && entry.kind.is_directory()
                {
                    links.insert(entry.path.clone(), target.clone());
                }
                if keep && differs(there, entry) {
                    decided.insert(entry.path.clone(), winner);
                } else if !keep {
                    decided.remove(&entry.path);
                    owners.insert(entry.path.clone(), index);
                }
            } else {
                owners.insert(entry.path.clone(), index);
            }
        }
    }
    if below.is_none() {
        add_usr_links(&owners, &mut decided);
    }
    let mut layers = Vec::with_capacity(parts.len());
    for (number, part) in parts {
        let moved = moved_through(&links, part.layer).map_err(|error| BakeError::Unpack {
            package: part.facts.name.clone(),
            reason: error.to_string(),
        })?;
        layers.push((number, moved));
    }
    Ok(Composition { layers, decided: decided.into_values().collect() })
}

fn find<'l>(layer: &'l Layer, path: &TreePath) -> Option<&'l Entry> {
    let entries = layer.entries();
    entries.binary_search_by(|entry| entry.path.cmp(path)).ok().map(|index| &entries[index])
}

/// Whether two entries differ in more than the time of a directory.
fn differs(one: &Entry, two: &Entry) -> bool {
    let (a, b) = (&one.metadata, &two.metadata);
    one.kind != two.kind
        || (a.mode, a.uid, a.gid) != (b.mode, b.uid, b.gid)
        || (a.mtime != b.mtime && !one.kind.is_directory())
}

/// Whether what is at a path stays when a package with something else at it is unpacked.
fn keeps_there(
    there: &Entry,
    new: &Entry,
    owner: &dyn Fn() -> Option<(String, String)>,
    known: Option<&PackageFacts>,
    newcomer: &PackageFacts,
) -> Result<bool, BakeError> {
    match (&there.kind, &new.kind) {
        // dpkg leaves a directory, and a symlink to one, as it finds it.
        (EntryKind::Directory { .. } | EntryKind::Symlink { .. }, EntryKind::Directory { .. })
        | (EntryKind::Directory { .. }, EntryKind::Symlink { .. }) => return Ok(true),
        (one, two) if one == two => return Ok(false),
        _ => {}
    }
    // What no package owns was made by a script; a package's own file takes its place.
    let Some((name, version)) = owner() else { return Ok(false) };
    if name == newcomer.name || replaces(&newcomer.control, &name, &version) {
        return Ok(false);
    }
    let (new_name, new_version) = name_and_version(newcomer);
    if known.is_some_and(|known| replaces(&known.control, &new_name, &new_version)) {
        return Ok(true);
    }
    Err(BakeError::SamePath { first: name, second: new_name, path: new.path.to_string() })
}

fn name_and_version(facts: &PackageFacts) -> (String, String) {
    let paragraph = control::parse_paragraph(&facts.control).unwrap_or_default();
    (facts.name.clone(), paragraph.get("Version").unwrap_or_default().to_owned())
}

/// Whether a package's control data says that it takes over files of another.
fn replaces(control: &str, name: &str, version: &str) -> bool {
    let paragraph = control::parse_paragraph(control).unwrap_or_default();
    relation::parse(paragraph.get("Replaces").unwrap_or_default())
        .unwrap_or_default()
        .into_iter()
        .flatten()
        .any(|relation| relation.name == name && relation.accepts(version))
}

/// The symlinks `/bin`, `/sbin` and `/lib`, and the others where `/usr` has the directory.
fn add_usr_links(owners: &HashMap<TreePath, usize>, decided: &mut BTreeMap<TreePath, Entry>) {
    for link in merged_usr::LINKS {
        let (Ok(path), Ok(target)) = (TreePath::new(link), TreePath::new(format!("usr/{link}")))
        else {
            continue;
        };
        let always = matches!(link, "bin" | "sbin" | "lib");
        if owners.contains_key(&path) || !(always || owners.contains_key(&target)) {
            continue;
        }
        let kind = EntryKind::Symlink { target: target.as_bytes().into() };
        let metadata = hornero_store::Metadata::root_owned(0o777, 0);
        decided.insert(path.clone(), Entry { path, kind, metadata });
    }
}

/// A layer whose entries below a path that is a symlink in the end lie where the symlink leads; None where none does.
fn moved_through(
    links: &BTreeMap<TreePath, Box<[u8]>>,
    layer: &Layer,
) -> Result<Option<Layer>, LayerError> {
    let affected =
        |entry: &Entry| links.keys().any(|link| entry.path == *link || entry.path.is_below(link));
    if links.is_empty() || !layer.entries().iter().any(affected) {
        return Ok(None);
    }
    let mut moved: BTreeMap<TreePath, Entry> = BTreeMap::new();
    for entry in layer.entries() {
        if links.contains_key(&entry.path) && entry.kind.is_directory() {
            continue;
        }
        let mut entry = entry.clone();
        // A symlink may lead below another one; a chain of them is as long as there are links.
        for _ in 0..=links.len() {
            let Some((link, target)) = links.iter().find(|(link, _)| entry.path.is_below(link))
            else {
                break;
            };
            let rest = &entry.path.as_bytes()[link.as_bytes().len() + 1..];
            let base = link.parent().unwrap_or_default();
            let base = if target.starts_with(b"/") { &[][..] } else { base.as_bytes() };
            entry.path = lexical(base, target, rest)?;
        }
        moved.insert(entry.path.clone(), entry);
    }
    Layer::from_sorted(moved.into_values().collect()).map(Some)
}

fn lexical(base: &[u8], target: &[u8], rest: &[u8]) -> Result<TreePath, LayerError> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in base
        .split(|byte| *byte == b'/')
        .chain(target.split(|byte| *byte == b'/'))
        .chain(rest.split(|byte| *byte == b'/'))
    {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    TreePath::new(merged_usr::canonical(&parts.join(&b'/')))
}
