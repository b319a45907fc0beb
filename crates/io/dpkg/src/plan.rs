//! In which order packages are unpacked and configured (Debian Policy 6.5 to 6.8 and 7.2), as a pure function of what
//! they say of themselves.
//!
//! A plan is a list of rounds, and a round is what happens between two looks at the root: files are placed, then one
//! process configures packages and runs the `preinst` of those that come next. Rounds are few: their number is that of
//! the links in the longest chain of packages that each have a `preinst` and pre-depend on the next.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use hornero_rebase::debian::{
    control,
    relation::{self, Relation},
};

use crate::deb::PackageFacts;

/// What orders a package among others.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Node {
    /// For each group of `Depends` the packages that satisfy it, best first; groups that the root satisfies already,
    /// and those that nothing does, are left out.
    pub depends: Vec<Vec<usize>>,
    /// As above, of `Pre-Depends`.
    pub pre_depends: Vec<Vec<usize>>,
    /// Whether it has to work before anything else is installed.
    pub essential: bool,
    /// Whether it has a script that runs before its files are placed.
    pub has_preinst: bool,
    /// Whether it has a script that runs when it is configured.
    pub has_postinst: bool,
}

/// What happens between two looks at the root.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Round {
    /// Packages whose files are placed, in this order.
    pub unpack: Vec<usize>,
    /// Those of them that had to be in place before anything could run: only in a root that was empty.
    pub bootstrap: Vec<usize>,
    /// Those of them whose `preinst` runs after that, since nothing could run before.
    pub late_preinsts: Vec<usize>,
    /// Packages that are configured then, in this order, all of them unpacked in this round or before.
    pub configure: Vec<usize>,
    /// Packages of the next round whose `preinst` runs last, in this order.
    pub preinsts: Vec<usize>,
}

/// The rounds, each package unpacked and configured in exactly one; `empty` says that there is no root yet.
pub fn plan(nodes: &[Node], empty: bool) -> Vec<Round> {
    let mut planner = Planner { nodes, placed: BTreeSet::new(), configured: BTreeSet::new() };
    let mut rounds = Vec::new();
    if empty {
        let mut round = planner.bootstrap();
        let first: BTreeSet<usize> = round.bootstrap.iter().copied().collect();
        let rest = || (0..nodes.len()).filter(|node| !first.contains(node));
        if rest().all(|node| !nodes[node].has_preinst) {
            // Nothing looks at the root before it is whole.
            round.unpack.extend(rest());
        }
        planner.placed.extend(&round.unpack);
        rounds.push(round);
    } else {
        rounds.push(Round::default());
    }
    loop {
        let round = rounds.last_mut().expect("the first round is there");
        if planner.placed.len() == nodes.len() {
            round.configure = planner.all_left();
            break;
        }
        if empty && planner.configured.is_empty() {
            round.configure = planner.all_left();
        }
        planner.configured.extend(&round.configure);
        let next = planner.next(round);
        round.preinsts = planner.in_order(&next, |node| nodes[node].has_preinst);
        planner.placed.extend(&next);
        rounds.push(Round { unpack: next.into_iter().collect(), ..Round::default() });
    }
    rounds.retain(|round| *round != Round::default());
    rounds
}

struct Planner<'n> {
    nodes: &'n [Node],
    placed: BTreeSet<usize>,
    configured: BTreeSet<usize>,
}

impl Planner<'_> {
    /// The first round of an empty root: no script can run before the essential packages, and what they depend on,
    /// are in place. Where no package is essential that is everything.
    fn bootstrap(&self) -> Round {
        let essential = (0..self.nodes.len()).filter(|node| self.nodes[*node].essential);
        let mut unpack = self.closure(essential);
        if unpack.is_empty() {
            unpack = (0..self.nodes.len()).collect();
        }
        let late_preinsts = self.in_order(&unpack, |node| self.nodes[node].has_preinst);
        let unpack: Vec<usize> = unpack.into_iter().collect();
        Round { bootstrap: unpack.clone(), unpack, late_preinsts, ..Round::default() }
    }

    /// These packages and whatever they need, directly or not.
    fn closure(&self, from: impl Iterator<Item = usize>) -> BTreeSet<usize> {
        let mut found = BTreeSet::new();
        let mut open: Vec<usize> = from.collect();
        while let Some(node) = open.pop() {
            if found.insert(node) {
                let package = &self.nodes[node];
                open.extend(package.depends.iter().chain(&package.pre_depends).flatten());
            }
        }
        found
    }

    /// The packages to be unpacked next; first configures in `round` what they pre-depend on, where that can be done.
    fn next(&mut self, round: &mut Round) -> BTreeSet<usize> {
        let left = || (0..self.nodes.len()).filter(|node| !self.placed.contains(node));
        let waiting = left().filter(|node| !self.is_ready(*node));
        let wanted = waiting.flat_map(|node| self.nodes[node].pre_depends.iter().flatten());
        let wanted = self.closure(wanted.copied());
        let configure = self.configurable(&wanted);
        self.configured.extend(&configure);
        round.configure.extend(configure);
        let ready: BTreeSet<usize> = (0..self.nodes.len())
            .filter(|node| !self.placed.contains(node) && self.is_ready(*node))
            .collect();
        match ready.is_empty() {
            false => ready,
            // They pre-depend on each other, which Policy forbids: no order is right, and none is refused.
            true => (0..self.nodes.len()).filter(|node| !self.placed.contains(node)).collect(),
        }
    }

    /// Whether a package that is not placed yet may be: nothing of it looks at what it pre-depends on, or that works.
    fn is_ready(&self, node: usize) -> bool {
        let package = &self.nodes[node];
        let works = |group: &Vec<usize>| group.iter().any(|node| self.configured.contains(node));
        !package.has_preinst || package.pre_depends.iter().all(works)
    }

    /// Everything that is placed and not configured, in order.
    fn all_left(&self) -> Vec<usize> {
        let left: BTreeSet<usize> = self.placed.difference(&self.configured).copied().collect();
        self.in_order(&left, |_| true)
    }

    /// Those of `wanted` that are placed, and that together have all they depend on, in order.
    fn configurable(&self, wanted: &BTreeSet<usize>) -> Vec<usize> {
        let left = |node: &&usize| self.placed.contains(node) && !self.configured.contains(node);
        let mut chosen: BTreeSet<usize> = wanted.iter().filter(left).copied().collect();
        loop {
            let there = |node: &usize| chosen.contains(node) || self.configured.contains(node);
            let lacks = |node: &&usize| {
                let package = &self.nodes[**node];
                let mut groups = package.depends.iter().chain(&package.pre_depends);
                !groups.all(|group| group.iter().any(there))
            };
            let lacking: Vec<usize> = chosen.iter().filter(lacks).copied().collect();
            if lacking.is_empty() {
                return self.in_order(&chosen, |_| true);
            }
            chosen.retain(|node| !lacking.contains(node));
        }
    }

    /// Packages after those that they need, essential ones first wherever that is possible; `keep` chooses among them
    /// in the end.
    ///
    /// A cycle is broken at packages without a `postinst` where it has any, as Policy 7.2 says: they do nothing when
    /// they are configured that could fail for want of the others.
    fn in_order(&self, among: &BTreeSet<usize>, keep: impl Fn(usize) -> bool) -> Vec<usize> {
        let (first, rest): (Vec<usize>, Vec<usize>) =
            among.iter().partition(|node| self.nodes[**node].essential);
        let edges = |node: usize, cycles: Option<&[usize]>| -> Vec<usize> {
            let package = &self.nodes[node];
            // Pre-dependencies come first: in a sound archive they are part of no cycle.
            let groups = package.pre_depends.iter().chain(&package.depends).enumerate();
            let needed = groups.filter_map(|(number, group)| {
                let works = group.iter().any(|other| self.configured.contains(other));
                let other = *group.iter().find(|other| among.contains(other)).filter(|_| !works)?;
                let pre = number < package.pre_depends.len();
                let broken = !pre
                    && !package.has_postinst
                    && cycles.is_some_and(|cycles| cycles[node] == cycles[other]);
                (!broken).then_some(other)
            });
            needed.collect()
        };
        let start: Vec<usize> = first.into_iter().chain(rest).collect();
        let mut cycles = vec![usize::MAX; self.nodes.len()];
        let whole = walk(&start, self.nodes.len(), &|node| edges(node, None));
        for (number, cycle) in whole.iter().enumerate() {
            cycle.iter().for_each(|node| cycles[*node] = number);
        }
        let order = walk(&start, self.nodes.len(), &|node| edges(node, Some(&cycles)));
        order.into_iter().flatten().filter(|node| keep(*node)).collect()
    }
}

/// The packages that can be reached, in groups that reach each other, every group after those it needs (Tarjan). In a
/// group the one that closed the cycle comes first.
fn walk(start: &[usize], count: usize, edges: &dyn Fn(usize) -> Vec<usize>) -> Vec<Vec<usize>> {
    let mut found = vec![0; count];
    let mut lowest = vec![0; count];
    let mut grouped = vec![false; count];
    let mut stack = Vec::new();
    let mut groups = Vec::new();
    let mut next = 1;
    for root in start {
        if found[*root] != 0 {
            continue;
        }
        let mut path = vec![(*root, edges(*root).into_iter())];
        (found[*root], lowest[*root]) = (next, next);
        next += 1;
        stack.push(*root);
        while let Some((node, rest)) = path.last_mut() {
            let node = *node;
            if let Some(other) = rest.next() {
                if found[other] == 0 {
                    (found[other], lowest[other]) = (next, next);
                    next += 1;
                    stack.push(other);
                    path.push((other, edges(other).into_iter()));
                } else if !grouped[other] {
                    lowest[node] = lowest[node].min(found[other]);
                }
                continue;
            }
            path.pop();
            if let Some((above, _)) = path.last() {
                lowest[*above] = lowest[*above].min(lowest[node]);
            }
            if lowest[node] == found[node] {
                let at = stack.iter().rposition(|other| *other == node).unwrap_or_default();
                let mut group = stack.split_off(at);
                group.iter().for_each(|other| grouped[*other] = true);
                group.reverse();
                groups.push(group);
            }
        }
    }
    groups
}

/// A package that has a name, as its own or by `Provides`.
struct Named<'n> {
    number: usize,
    version: Option<&'n str>,
    provided: bool,
}

/// What orders these packages on a root; `installed` are the names that it has, provided ones among them.
pub fn nodes(packages: &[&PackageFacts], installed: &HashSet<String>) -> Vec<Node> {
    let paragraphs: Vec<control::Paragraph<'_>> = packages
        .iter()
        .map(|facts| control::parse_paragraph(&facts.control).unwrap_or_default())
        .collect();
    let mut by_name: BTreeMap<&str, Vec<Named<'_>>> = BTreeMap::new();
    for (number, (facts, paragraph)) in packages.iter().zip(&paragraphs).enumerate() {
        let version = paragraph.get("Version");
        by_name.entry(&facts.name).or_default().push(Named { number, version, provided: false });
        let names = relations(paragraph.get("Provides").unwrap_or_default());
        for name in names.into_iter().flatten() {
            let version = name.version.map(|(_, version)| version);
            by_name.entry(name.name).or_default().push(Named { number, version, provided: true });
        }
    }
    let satisfying = |group: &[Relation<'_>]| {
        let mut found = Vec::new();
        for relation in group {
            for named in by_name.get(relation.name).into_iter().flatten() {
                let accepted = match named.provided {
                    true => relation.accepts_provided(named.version),
                    false => named.version.is_some_and(|version| relation.accepts(version)),
                };
                if accepted && !found.contains(&named.number) {
                    found.push(named.number);
                }
            }
        }
        found
    };
    let groups = |paragraph: &control::Paragraph<'_>, name: &str| -> Vec<Vec<usize>> {
        let groups = relations(paragraph.get(name).unwrap_or_default()).into_iter();
        groups
            .filter(|group| !group.iter().any(|relation| installed.contains(relation.name)))
            .map(|group| satisfying(&group))
            .filter(|found| !found.is_empty())
            .collect()
    };
    let nodes = packages.iter().zip(&paragraphs).map(|(facts, paragraph)| Node {
        depends: groups(paragraph, "Depends"),
        pre_depends: groups(paragraph, "Pre-Depends"),
        essential: paragraph
            .get("Essential")
            .is_some_and(|value| value.eq_ignore_ascii_case("yes")),
        has_preinst: facts.has("preinst"),
        has_postinst: facts.has("postinst"),
    });
    nodes.collect()
}

/// The names that the packages of a status have and provide.
pub fn installed_names(status: &str) -> HashSet<String> {
    let mut names = HashSet::new();
    for stanza in control::paragraphs(status) {
        let paragraph = control::parse_paragraph(stanza).unwrap_or_default();
        let provided = relations(paragraph.get("Provides").unwrap_or_default());
        names.extend(paragraph.get("Package").map(str::to_owned));
        names.extend(provided.into_iter().flatten().map(|relation| relation.name.to_owned()));
    }
    names
}

fn relations(field: &str) -> Vec<Vec<Relation<'_>>> {
    relation::parse(field).unwrap_or_default()
}

#[cfg(test)]
mod tests;
