//! What could be installed: one candidate for each name, and who provides what.

use std::{cmp::Ordering, collections::HashMap};

use super::{
    packages::Stanza,
    relation::{self, Relation},
    version,
};

/// A package in a [`Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(pub(super) u32);

/// A candidate with where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its fields.
    pub stanza: Stanza<'a>,
    /// Number of the suite it was listed in; None for one that is installed or cached.
    pub suite: Option<usize>,
}

/// Every candidate by name, as apt would choose it: the newest, but where a version is pinned.
pub struct Universe<'a> {
    packages: Vec<Candidate<'a>>,
    by_name: HashMap<&'a str, PackageId>,
    providers: HashMap<&'a str, Vec<(PackageId, Option<&'a str>)>>,
}

impl<'a> Universe<'a> {
    /// Chooses candidates. `pinned` gives for some names the version to keep where it is listed; `fixed` are there
    /// already and replace every other candidate of their name.
    pub fn new(
        listed: impl IntoIterator<Item = Candidate<'a>>,
        pinned: &HashMap<String, String>,
        fixed: &[Stanza<'a>],
    ) -> Self {
        let mut best: HashMap<&'a str, Candidate<'a>> = HashMap::new();
        for candidate in listed {
            let name = candidate.stanza.name;
            let pin = pinned.get(name).map(String::as_str);
            match best.get(name) {
                Some(old) if !is_better(&candidate, old, pin) => {}
                _ => {
                    best.insert(name, candidate);
                }
            }
        }
        for stanza in fixed {
            best.insert(stanza.name, Candidate { stanza: *stanza, suite: None });
        }
        let mut packages: Vec<Candidate<'a>> = best.into_values().collect();
        packages.sort_unstable_by_key(|candidate| candidate.stanza.name);
        let mut by_name = HashMap::with_capacity(packages.len());
        let mut providers: HashMap<&'a str, Vec<_>> = HashMap::new();
        for (index, candidate) in packages.iter().enumerate() {
            let id = PackageId(u32::try_from(index).unwrap_or(u32::MAX));
            by_name.insert(candidate.stanza.name, id);
            for provided in provides(&candidate.stanza) {
                let version = provided.version.map(|(_, version)| version);
                providers.entry(provided.name).or_default().push((id, version));
            }
        }
        for list in providers.values_mut() {
            list.sort_by_key(|(id, _)| (packages[id.0 as usize].stanza.rank, *id));
        }
        Self { packages, by_name, providers }
    }

    /// A candidate.
    pub fn get(&self, id: PackageId) -> &Candidate<'a> {
        &self.packages[id.0 as usize]
    }

    /// The candidate of a name.
    pub fn named(&self, name: &str) -> Option<PackageId> {
        self.by_name.get(name).copied()
    }

    /// Who provides a name, by priority and then by name.
    pub fn providers(&self, name: &str) -> &[(PackageId, Option<&'a str>)] {
        self.providers.get(name).map_or(&[], Vec::as_slice)
    }

    /// Who satisfies a relation: the package itself first, then its providers by priority and name.
    pub fn satisfying(&self, relation: &Relation<'_>, architecture: &str) -> Vec<PackageId> {
        if !relation.is_native(architecture) {
            return Vec::new();
        }
        let own =
            self.named(relation.name).filter(|id| relation.accepts(self.get(*id).stanza.version));
        let provided = self
            .providers(relation.name)
            .iter()
            .filter(|(id, version)| Some(*id) != own && relation.accepts_provided(*version))
            .map(|(id, _)| *id);
        own.into_iter().chain(provided).collect()
    }

    /// Every candidate in name order.
    pub fn ids(&self) -> impl Iterator<Item = PackageId> + '_ {
        (0..self.packages.len()).map(|index| PackageId(u32::try_from(index).unwrap_or(u32::MAX)))
    }

    /// The names nearest to one that does not exist, best first.
    pub fn suggestions(&self, wrong: &str) -> Vec<&'a str> {
        let limit = (wrong.chars().count() / 4).clamp(1, 3);
        let mut near: Vec<(usize, &str)> = self
            .packages
            .iter()
            .filter_map(|candidate| {
                let name = candidate.stanza.name;
                if name.len().abs_diff(wrong.len()) > limit {
                    return None;
                }
                let distance = edit_distance(wrong, name);
                (distance <= limit).then_some((distance, name))
            })
            .collect();
        near.sort_unstable();
        near.into_iter().take(3).map(|(_, name)| name).collect()
    }
}

/// What a package provides; a field that cannot be read provides nothing.
pub(super) fn provides<'a>(stanza: &Stanza<'a>) -> Vec<Relation<'a>> {
    if stanza.provides.is_empty() {
        return Vec::new();
    }
    relation::parse(stanza.provides).unwrap_or_default().into_iter().flatten().collect()
}

fn is_better(new: &Candidate<'_>, old: &Candidate<'_>, pin: Option<&str>) -> bool {
    if let Some(pin) = pin {
        let (new_fits, old_fits) = (new.stanza.version == pin, old.stanza.version == pin);
        if new_fits != old_fits {
            return new_fits;
        }
    }
    match version::compare(new.stanza.version, old.stanza.version) {
        Ordering::Greater => true,
        // The same version in two suites: the first listed stays, so that the outcome does not depend on timing.
        Ordering::Equal | Ordering::Less => false,
    }
}

/// Optimal string alignment distance, transposed neighbours counting once.
fn edit_distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let width = right.len() + 1;
    let mut table = vec![0_usize; (left.len() + 1) * width];
    for row in 0..=left.len() {
        for column in 0..=right.len() {
            let value = if row == 0 || column == 0 {
                row + column
            } else {
                let same = left[row - 1] == right[column - 1];
                let mut value = (table[(row - 1) * width + column - 1] + usize::from(!same))
                    .min(table[(row - 1) * width + column] + 1)
                    .min(table[row * width + column - 1] + 1);
                let swapped = row > 1
                    && column > 1
                    && left[row - 1] == right[column - 2]
                    && left[row - 2] == right[column - 1];
                if swapped {
                    value = value.min(table[(row - 2) * width + column - 2] + 1);
                }
                value
            };
            table[row * width + column] = value;
        }
    }
    table[left.len() * width + right.len()]
}
