//! What could be installed: one candidate for each name, and who provides what.

use std::{
    cmp::Ordering,
    collections::{HashMap, hash_map::Entry},
};

use hornero_rebase::debian::{
    relation::{self, Relation},
    version,
};

use crate::{
    AptError,
    packages::{self, Stanza},
    policy::{IndexOrigin, PinnedVersion, Policy},
    repository::Suite,
};

/// A package in a [`Universe`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(pub(super) u32);

/// A version of a package with where it comes from.
#[derive(Debug, Clone, Copy)]
pub struct Candidate<'a> {
    /// Its fields.
    pub stanza: Stanza<'a>,
    /// Number of the suite it was listed in; None for one that is installed or cached.
    pub suite: Option<usize>,
    /// What pins look at in the index that lists it; None as above.
    pub origin: Option<&'a IndexOrigin>,
}

/// Every candidate by name, as apt would choose it: of the highest priority the newest, but where a version is kept.
pub struct Universe<'a> {
    packages: Vec<Candidate<'a>>,
    by_name: HashMap<&'a str, PackageId>,
    providers: HashMap<&'a str, Vec<(PackageId, Option<&'a str>)>>,
    forbidden: HashMap<&'a str, &'a str>,
}

/// Every package of these suites.
pub fn listed<'s>(suites: &'s [Suite], architecture: &str) -> Result<Vec<Candidate<'s>>, AptError> {
    let mut listed = Vec::new();
    for (number, suite) in suites.iter().enumerate() {
        for index in &suite.indexes {
            let stanzas = packages::parse_index(&index.text, architecture).map_err(|error| {
                let archive = format!("{} {}", suite.state.uri, suite.state.suite);
                AptError::Index { archive, reason: error.to_string() }
            })?;
            listed.extend(stanzas.into_iter().map(|stanza| Candidate {
                stanza,
                suite: Some(number),
                origin: Some(&index.origin),
            }));
        }
    }
    Ok(listed)
}

/// A version with every index that lists it.
struct Offer<'a> {
    candidate: Candidate<'a>,
    more: Vec<&'a IndexOrigin>,
}

impl<'a> Universe<'a> {
    /// Chooses candidates by a policy. `pinned` gives for some names the version to keep where it is listed, whatever
    /// its priority; `fixed` are there already and replace every other candidate of their name.
    pub fn new(
        listed: impl IntoIterator<Item = Candidate<'a>>,
        policy: &Policy,
        pinned: &HashMap<String, String>,
        fixed: &[Stanza<'a>],
    ) -> Self {
        let mut best: HashMap<&'a str, (Candidate<'a>, i32)> = HashMap::new();
        let mut forbidden = HashMap::new();
        for offer in offers(listed) {
            let candidate = offer.candidate;
            let name = candidate.stanza.name;
            let pin = pinned.get(name).map(String::as_str);
            let priority = offer.priority(policy);
            if priority <= 0 && pin != Some(candidate.stanza.version) {
                forbidden.insert(name, candidate.stanza.version);
                continue;
            }
            match best.get(name) {
                Some(old) if !is_better(&(candidate, priority), old, pin) => {}
                _ => {
                    best.insert(name, (candidate, priority));
                }
            }
        }
        let mut best: HashMap<&'a str, Candidate<'a>> =
            best.into_iter().map(|(name, (candidate, _))| (name, candidate)).collect();
        for stanza in fixed {
            best.insert(stanza.name, Candidate { stanza: *stanza, suite: None, origin: None });
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
        forbidden.retain(|name, _| !by_name.contains_key(name));
        Self { packages, by_name, providers, forbidden }
    }

    /// A candidate.
    pub fn get(&self, id: PackageId) -> &Candidate<'a> {
        &self.packages[id.0 as usize]
    }

    /// The candidate of a name.
    pub fn named(&self, name: &str) -> Option<PackageId> {
        self.by_name.get(name).copied()
    }

    /// A version of a name that is listed, where preferences forbid all of them.
    pub fn forbidden(&self, name: &str) -> Option<&'a str> {
        self.forbidden.get(name).copied()
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

/// The versions of all packages, each once, in the order in which they are listed first.
fn offers<'a>(listed: impl IntoIterator<Item = Candidate<'a>>) -> Vec<Offer<'a>> {
    let mut offers: Vec<Offer<'a>> = Vec::new();
    let mut known: HashMap<(&'a str, &'a str, &'a str), usize> = HashMap::new();
    for candidate in listed {
        let stanza = &candidate.stanza;
        match known.entry((stanza.name, stanza.version, stanza.sha256)) {
            Entry::Occupied(at) => offers[*at.get()].more.extend(candidate.origin),
            Entry::Vacant(slot) => {
                slot.insert(offers.len());
                offers.push(Offer { candidate, more: Vec::new() });
            }
        }
    }
    offers
}

impl Offer<'_> {
    fn priority(&self, policy: &Policy) -> i32 {
        let stanza = &self.candidate.stanza;
        let source = if stanza.source.is_empty() { stanza.name } else { stanza.source };
        let version = PinnedVersion { name: stanza.name, source, version: stanza.version };
        policy
            .of_version(version, self.candidate.origin.into_iter().chain(self.more.iter().copied()))
    }
}

fn is_better(new: &(Candidate<'_>, i32), old: &(Candidate<'_>, i32), pin: Option<&str>) -> bool {
    if let Some(pin) = pin {
        let (new_fits, old_fits) = (new.0.stanza.version == pin, old.0.stanza.version == pin);
        if new_fits != old_fits {
            return new_fits;
        }
    }
    match new.1.cmp(&old.1) {
        Ordering::Greater => true,
        Ordering::Less => false,
        // The same version in two suites: the first listed stays, so that the outcome does not depend on timing.
        Ordering::Equal => {
            version::compare(new.0.stanza.version, old.0.stanza.version) == Ordering::Greater
        }
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
