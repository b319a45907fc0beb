//! Merges packages into a tree as dpkg would have unpacked them one after another.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use hornero_rebase::debian::{control, relation};
use hornero_store::{Entry, EntryKind, Layer, LayerError, Tree, TreePath};

use crate::{
    DpkgError,
    deb::{PackageFacts, merged_usr},
};

/// A package that was unpacked.
#[derive(Clone, Copy)]
pub struct Part<'p> {
    /// Its layer.
    pub layer: &'p Layer,
    /// What configuring needs to know of it.
    pub facts: &'p PackageFacts,
}

/// What has to lie above the packages' own layers.
pub struct Composition {
    /// The packages' layers from the bottom up: the number of the package, and its layer where that had to be changed
    /// because a path leads through another package's symlink.
    pub layers: Vec<(usize, Option<Layer>)>,
    /// Entries that decide where several packages have the same path, and the symlinks of merged `/usr`.
    pub decided: Vec<Entry>,
    /// Paths that another package took over, by the name of the one whose they are no more.
    pub taken: BTreeMap<String, BTreeSet<TreePath>>,
}

/// What becomes of two packages with different files at one path, where neither replaces the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clash {
    /// It is an error.
    Refuse,
    /// The later one has it: whether they may was decided before.
    LaterWins,
}

/// A package that has paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its name.
    pub name: String,
    version: String,
    /// Its `Replaces`.
    replaces: String,
}

impl Owner {
    /// The package of a control file or of a stanza of dpkg's status.
    pub fn of(control: &str) -> Self {
        let paragraph = control::parse_paragraph(control).unwrap_or_default();
        let field = |name: &str| paragraph.get(name).unwrap_or_default().to_owned();
        Self { name: field("Package"), version: field("Version"), replaces: field("Replaces") }
    }

    /// Whether it says that it takes over files of another.
    fn replaces(&self, other: &Self) -> bool {
        relation::parse(&self.replaces)
            .unwrap_or_default()
            .into_iter()
            .flatten()
            .any(|relation| relation.name == other.name && relation.accepts(&other.version))
    }
}

/// A root that packages are unpacked on.
pub struct Below<'b> {
    /// Its tree.
    pub tree: &'b Tree,
    /// The package that a path belongs to.
    pub owner: &'b dyn Fn(&TreePath) -> Option<Arc<Owner>>,
}

/// Composes packages, in the order in which they are unpacked, on what is there already.
///
/// # Errors
/// [`DpkgError`] where two packages may not have the path they both have, or a path leads nowhere.
pub fn compose(
    parts: &[Part<'_>],
    below: Option<&Below<'_>>,
    clash: Clash,
) -> Result<Composition, DpkgError> {
    let mut parts: Vec<(usize, Part<'_>)> = parts.iter().copied().enumerate().collect();
    if below.is_none() {
        // Debian builds every root on this package: its word on shared directories counts first.
        parts.sort_by_key(|(_, part)| part.facts.name != "base-files");
    }
    let mut owners: HashMap<TreePath, usize> = HashMap::new();
    let mut decided: BTreeMap<TreePath, Entry> = BTreeMap::new();
    let mut links: BTreeMap<TreePath, Box<[u8]>> = BTreeMap::new();
    let mut taken: BTreeMap<String, BTreeSet<TreePath>> = BTreeMap::new();
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
                    (Some(owner), _) => Some(Arc::new(Owner::of(&parts[*owner].1.facts.control))),
                    (None, Some(below)) => (below.owner)(&entry.path),
                    (None, None) => None,
                };
                let (keep, loser) = keeps_there(there, entry, &owner, part.facts, clash)?;
                if let Some(loser) = loser {
                    taken.entry(loser).or_default().insert(entry.path.clone());
                }
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
        let moved = moved_through(&links, part.layer).map_err(|error| DpkgError::Unpack {
            package: part.facts.name.clone(),
            reason: error.to_string(),
        })?;
        layers.push((number, moved));
    }
    Ok(Composition { layers, decided: decided.into_values().collect(), taken })
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

/// Whether what is at a path stays when a package with something else at it is unpacked, and the name of the package
/// whose it is no more.
fn keeps_there(
    there: &Entry,
    new: &Entry,
    owner: &dyn Fn() -> Option<Arc<Owner>>,
    newcomer: &PackageFacts,
    clash: Clash,
) -> Result<(bool, Option<String>), DpkgError> {
    match (&there.kind, &new.kind) {
        // dpkg leaves a directory, and a symlink to one, as it finds it.
        (EntryKind::Directory { .. } | EntryKind::Symlink { .. }, EntryKind::Directory { .. })
        | (EntryKind::Directory { .. }, EntryKind::Symlink { .. }) => return Ok((true, None)),
        (one, two) if one == two => return Ok((false, None)),
        _ => {}
    }
    // What no package owns was made by a script; a package's own file takes its place.
    let Some(owner) = owner().filter(|owner| owner.name != newcomer.name) else {
        return Ok((false, None));
    };
    let newcomer = Owner::of(&newcomer.control);
    if newcomer.replaces(&owner) {
        return Ok((false, Some(owner.name.clone())));
    }
    if owner.replaces(&newcomer) {
        return Ok((true, Some(newcomer.name)));
    }
    if clash == Clash::LaterWins {
        return Ok((false, None));
    }
    let (first, second) = (owner.name.clone(), newcomer.name);
    Err(DpkgError::SamePath { first, second, path: new.path.to_string() })
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
