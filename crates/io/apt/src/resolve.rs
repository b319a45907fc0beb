//! Resolves which packages an image needs: deterministic, first alternative first, with backtracking.
//!
//! As apt does with one candidate a name: a package is taken when something already chosen needs it; where there
//! are alternatives, what is chosen already wins, then the order written in the relation. Recommendations are not
//! followed.

use std::{
    collections::{BTreeSet, HashMap},
    fmt,
};

use hornero_rebase::debian::relation::{self, Relation};

use crate::{
    packages::Stanza,
    universe::{PackageId, Universe, provides},
};

/// Choices tried before a resolution is given up: real ones need a few hundred.
const MAX_CHOICES: usize = 200_000;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Names, each with an exact version after `=` where wanted.
    pub packages: &'a [String],
    /// Whether every essential package is needed as well (a base, not a layer on one).
    pub with_essential: bool,
    /// Names taken when they are there at all.
    pub if_available: &'a [&'a str],
    /// Names that are installed already and stay.
    pub installed: &'a BTreeSet<String>,
    /// Debian's name for the architecture.
    pub architecture: &'a str,
}

/// Why packages cannot be installed together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsatisfiable {
    /// The package asked for, or the last that could not be had.
    pub package: String,
    /// Who needs what, from the request down; empty when the request itself is wrong.
    pub chain: Vec<String>,
    /// What is wrong in the end.
    pub reason: String,
    /// Names that may have been meant.
    pub suggestions: Vec<String>,
}

impl fmt::Display for Unsatisfiable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for link in &self.chain {
            write!(f, "{link}; ")?;
        }
        f.write_str(&self.reason)
    }
}

/// The packages needed beyond those installed, in name order.
pub fn resolve(
    universe: &Universe<'_>,
    request: &Request<'_>,
) -> Result<Vec<PackageId>, Unsatisfiable> {
    let mut solver = Solver::new(universe, request.architecture);
    for name in request.installed {
        if let Some(id) = universe.named(name) {
            // What is installed was resolved before; its own relations hold.
            solver.force(id);
        }
    }
    if request.with_essential {
        for id in universe.ids().filter(|id| universe.get(*id).stanza.essential) {
            solver.require(id, None);
        }
    }
    for name in request.if_available {
        if let Some(id) = universe.named(name) {
            solver.require(id, None);
        }
    }
    for wanted in request.packages {
        let id = find(universe, wanted)?;
        solver.require(id, None);
    }
    let chosen = solver.run()?;
    Ok(chosen
        .into_iter()
        .filter(|id| !request.installed.contains(universe.get(*id).stanza.name))
        .collect())
}

/// The candidate for a request of the user's: a name, or a name and `=` and a version.
///
/// # Errors
/// Why there is none, with the names that may have been meant.
pub fn find(universe: &Universe<'_>, wanted: &str) -> Result<PackageId, Unsatisfiable> {
    let (name, version) = match wanted.split_once('=') {
        Some((name, version)) => (name, Some(version)),
        None => (wanted, None),
    };
    let unsatisfiable = |reason: String, suggestions: Vec<String>| Unsatisfiable {
        package: name.to_owned(),
        chain: Vec::new(),
        reason,
        suggestions,
    };
    if let Some(id) = universe.named(name) {
        let have = universe.get(id).stanza.version;
        return match version {
            Some(version) if version != have => Err(unsatisfiable(
                format!("package `{name}` is not there in version `{version}`, only in `{have}`"),
                vec![format!("{name}={have}")],
            )),
            _ => Ok(id),
        };
    }
    let providers = universe.providers(name);
    match providers {
        [] if universe.forbidden(name).is_some() => {
            Err(unsatisfiable(not_allowed(name, universe.forbidden(name)), Vec::new()))
        }
        [] => Err(unsatisfiable(
            format!("there is no package `{name}`"),
            universe.suggestions(name).into_iter().map(str::to_owned).collect(),
        )),
        [(only, _)] => Ok(*only),
        several => {
            let mut names: Vec<String> =
                several.iter().map(|(id, _)| universe.get(*id).stanza.name.to_owned()).collect();
            names.dedup();
            names.truncate(8);
            Err(unsatisfiable(
                format!("package `{name}` is provided by several others: choose one of them"),
                names,
            ))
        }
    }
}

fn not_allowed(name: &str, version: Option<&str>) -> String {
    let version = version.unwrap_or_default();
    format!("`{name} {version}` is listed, but apt's preferences or its archive forbid to take it")
}

struct Clause {
    owner: Option<PackageId>,
    alternatives: Vec<PackageId>,
    text: String,
}

struct Ban {
    owner: PackageId,
    name: String,
    text: String,
}

/// A point to come back to: which clause was open, which alternative was taken, and how long the trails were.
struct Choice {
    clause: usize,
    next_alternative: usize,
    chosen: usize,
    clauses: usize,
    bans: usize,
    single: usize,
    several: usize,
}

struct Solver<'u, 'a> {
    universe: &'u Universe<'a>,
    architecture: &'u str,
    chosen: Vec<PackageId>,
    is_chosen: Vec<bool>,
    needed_by: HashMap<PackageId, (PackageId, String)>,
    clauses: Vec<Clause>,
    bans: Vec<Ban>,
    bans_by_name: HashMap<String, Vec<usize>>,
    single: usize,
    several: usize,
}

impl<'u, 'a> Solver<'u, 'a> {
    fn new(universe: &'u Universe<'a>, architecture: &'u str) -> Self {
        Self {
            universe,
            architecture,
            chosen: Vec::new(),
            is_chosen: vec![false; universe.ids().count()],
            needed_by: HashMap::new(),
            clauses: Vec::new(),
            bans: Vec::new(),
            bans_by_name: HashMap::new(),
            single: 0,
            several: 0,
        }
    }

    fn stanza(&self, id: PackageId) -> &'u Stanza<'a> {
        &self.universe.get(id).stanza
    }

    fn require(&mut self, id: PackageId, owner: Option<PackageId>) {
        let text = self.stanza(id).name.to_owned();
        self.clauses.push(Clause { owner, alternatives: vec![id], text });
    }

    /// Takes what is installed: it bans what it conflicts with, but opens no clauses of its own.
    fn force(&mut self, id: PackageId) {
        if !self.is_chosen[id.0 as usize] {
            self.is_chosen[id.0 as usize] = true;
            self.chosen.push(id);
            self.add_bans(id);
        }
    }

    fn run(mut self) -> Result<Vec<PackageId>, Unsatisfiable> {
        let mut choices: Vec<Choice> = Vec::new();
        let mut first_failure: Option<Unsatisfiable> = None;
        for _ in 0..MAX_CHOICES {
            let Some(clause) = self.next_clause() else {
                let mut chosen = self.chosen;
                chosen.sort_unstable();
                return Ok(chosen);
            };
            if self.try_alternatives(clause, 0, &mut choices) {
                continue;
            }
            let failure = self.explain(clause);
            first_failure.get_or_insert(failure);
            loop {
                let Some(choice) = choices.pop() else {
                    return Err(first_failure.expect("a clause failed"));
                };
                self.undo_to(&choice);
                let (clause, next) = (choice.clause, choice.next_alternative);
                if self.try_alternatives(clause, next, &mut choices) {
                    break;
                }
            }
        }
        Err(first_failure.unwrap_or_else(|| Unsatisfiable {
            package: String::new(),
            chain: Vec::new(),
            reason: format!("no combination of packages was found in {MAX_CHOICES} attempts"),
            suggestions: Vec::new(),
        }))
    }

    /// The next clause that nothing chosen satisfies; those without a choice go first.
    fn next_clause(&mut self) -> Option<usize> {
        while self.single < self.clauses.len() {
            let index = self.single;
            self.single += 1;
            if self.clauses[index].alternatives.len() <= 1 && !self.is_satisfied(index) {
                return Some(index);
            }
        }
        while self.several < self.clauses.len() {
            let index = self.several;
            self.several += 1;
            if self.clauses[index].alternatives.len() > 1 && !self.is_satisfied(index) {
                return Some(index);
            }
        }
        None
    }

    fn is_satisfied(&self, clause: usize) -> bool {
        self.clauses[clause].alternatives.iter().any(|id| self.is_chosen[id.0 as usize])
    }

    fn try_alternatives(&mut self, clause: usize, from: usize, choices: &mut Vec<Choice>) -> bool {
        let alternatives = self.clauses[clause].alternatives.clone();
        for (index, id) in alternatives.iter().enumerate().skip(from) {
            if self.banned(*id).is_some() {
                continue;
            }
            if index + 1 < alternatives.len() {
                choices.push(Choice {
                    clause,
                    next_alternative: index + 1,
                    chosen: self.chosen.len(),
                    clauses: self.clauses.len(),
                    bans: self.bans.len(),
                    single: self.single,
                    several: self.several,
                });
            }
            self.choose(*id, clause);
            return true;
        }
        false
    }

    fn choose(&mut self, id: PackageId, clause: usize) {
        self.is_chosen[id.0 as usize] = true;
        self.chosen.push(id);
        if let Some(owner) = self.clauses[clause].owner {
            self.needed_by.insert(id, (owner, self.clauses[clause].text.clone()));
        }
        self.add_bans(id);
        let stanza = *self.stanza(id);
        for field in [stanza.pre_depends, stanza.depends] {
            match relation::parse(field) {
                Ok(groups) => {
                    for group in groups {
                        self.add_clause(id, &group);
                    }
                }
                // A relation that cannot be read can never be satisfied, and is reported as such.
                Err(error) => self.clauses.push(Clause {
                    owner: Some(id),
                    alternatives: Vec::new(),
                    text: error.0,
                }),
            }
        }
    }

    fn add_clause(&mut self, owner: PackageId, group: &[Relation<'_>]) {
        let mut alternatives = Vec::new();
        for relation in group {
            for id in self.universe.satisfying(relation, self.architecture) {
                if !alternatives.contains(&id) {
                    alternatives.push(id);
                }
            }
        }
        let text = group.iter().map(ToString::to_string).collect::<Vec<_>>().join(" | ");
        self.clauses.push(Clause { owner: Some(owner), alternatives, text });
    }

    fn add_bans(&mut self, owner: PackageId) {
        let stanza = *self.stanza(owner);
        for field in [stanza.conflicts, stanza.breaks] {
            for relation in relation::parse(field).unwrap_or_default().into_iter().flatten() {
                self.bans_by_name
                    .entry(relation.name.to_owned())
                    .or_default()
                    .push(self.bans.len());
                self.bans.push(Ban {
                    owner,
                    name: relation.name.to_owned(),
                    text: relation.to_string(),
                });
            }
        }
    }

    /// Why a package cannot be chosen beside those chosen.
    fn banned(&self, id: PackageId) -> Option<String> {
        let stanza = self.stanza(id);
        let provided = provides(stanza);
        for name in std::iter::once(stanza.name).chain(provided.iter().map(|one| one.name)) {
            for index in self.bans_by_name.get(name).into_iter().flatten() {
                let ban = &self.bans[*index];
                if ban.owner != id && hits(&ban.text, stanza, &provided) {
                    return Some(format!(
                        "`{}` conflicts with `{}`",
                        self.stanza(ban.owner).name,
                        ban.text
                    ));
                }
            }
        }
        for field in [stanza.conflicts, stanza.breaks] {
            for relation in relation::parse(field).unwrap_or_default().into_iter().flatten() {
                for other in self.universe.satisfying(&relation, self.architecture) {
                    if other != id && self.is_chosen[other.0 as usize] {
                        let other = self.stanza(other);
                        return Some(format!(
                            "it conflicts with `{relation}`, which `{} {}` is",
                            other.name, other.version
                        ));
                    }
                }
            }
        }
        None
    }

    fn undo_to(&mut self, choice: &Choice) {
        for id in self.chosen.drain(choice.chosen..) {
            self.is_chosen[id.0 as usize] = false;
            self.needed_by.remove(&id);
        }
        self.clauses.truncate(choice.clauses);
        for ban in self.bans.drain(choice.bans..).rev() {
            if let Some(list) = self.bans_by_name.get_mut(&ban.name) {
                list.pop();
            }
        }
        self.single = choice.single;
        self.several = choice.several;
    }

    fn explain(&self, clause: usize) -> Unsatisfiable {
        let clause = &self.clauses[clause];
        let mut chain = Vec::new();
        let mut needed = clause.text.clone();
        let mut at = clause.owner;
        while let Some(owner) = at {
            chain.push(format!("`{}` needs `{needed}`", self.stanza(owner).name));
            let above = self.needed_by.get(&owner);
            needed = above.map(|(_, text)| text.clone()).unwrap_or_default();
            at = above.map(|(owner, _)| *owner);
        }
        chain.reverse();
        let reason = match clause.alternatives.as_slice() {
            [] => self.nothing_fits(&clause.text),
            several => several
                .iter()
                .map(|id| {
                    let why =
                        self.banned(*id).unwrap_or_else(|| "it leads to a conflict".to_owned());
                    format!("`{}` cannot be installed: {why}", self.stanza(*id).name)
                })
                .collect::<Vec<_>>()
                .join(", "),
        };
        Unsatisfiable { package: clause.text.clone(), chain, reason, suggestions: Vec::new() }
    }

    fn nothing_fits(&self, text: &str) -> String {
        let named =
            text.split('|').filter_map(|one| relation::parse_one(one).ok()).find_map(|one| {
                let named = self.universe.named(one.name);
                let forbidden = self.universe.forbidden(one.name);
                named
                    .map(|id| format!("there is only `{} {}`", one.name, self.stanza(id).version))
                    .or_else(|| forbidden.map(|_| not_allowed(one.name, forbidden)))
            });
        named.unwrap_or_else(|| format!("nothing in the archive is `{text}`"))
    }
}

fn hits(text: &str, stanza: &Stanza<'_>, provided: &[Relation<'_>]) -> bool {
    let Ok(relation) = relation::parse_one(text) else { return false };
    if relation.name == stanza.name && relation.accepts(stanza.version) {
        return true;
    }
    provided.iter().any(|one| {
        one.name == relation.name
            && relation.accepts_provided(one.version.map(|(_, version)| version))
    })
}
