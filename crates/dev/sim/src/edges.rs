//! Several edges before the servers of one host: who of them is away, and what each must have prepared before any of them
//! serves it.

use std::collections::BTreeSet;

use hornero_model::{EdgeName, ReceiptBody, RouteTable, ServiceName};
use hornero_rollout::AWAY_ALLOWANCE;

use crate::{Host, Random, SimEdge, Simulation, host::Happening, others::Others};

/// How old what control knows of an edge's absence may be when something that it decided by it is done: news come late, and an
/// edge that hangs takes its time.
const OLD_NEWS_MS: u64 = 5_000;

impl Host {
    /// Every edge, the first one first.
    pub fn edges(&self) -> impl Iterator<Item = (EdgeName, &SimEdge)> {
        let others = self.others.edges.iter().map(|(name, edge)| (name.clone(), edge));
        std::iter::once((EdgeName::default(), &self.edge)).chain(others)
    }

    pub(crate) fn edges_mut(&mut self) -> impl Iterator<Item = &mut SimEdge> {
        std::iter::once(&mut self.edge).chain(self.others.edges.values_mut())
    }

    pub(crate) fn edge_at(&self, name: &EdgeName) -> &SimEdge {
        self.others.edges.get(name).unwrap_or(&self.edge)
    }

    pub(crate) fn edge_at_mut(&mut self, name: &EdgeName) -> &mut SimEdge {
        self.others.edges.get_mut(name).unwrap_or(&mut self.edge)
    }

    /// Services that somebody takes down by force, at every edge.
    pub(crate) fn force(&mut self, service: &ServiceName) {
        self.edges_mut().for_each(|edge| {
            edge.forced.insert(service.clone());
        });
    }

    /// Has an edge refuse every table that it shall prepare, with this reason, or none any more.
    pub fn refuse(&mut self, edge: &EdgeName, reason: Option<&str>) {
        self.edge_at_mut(edge).refuses = reason.map(str::to_owned);
    }

    pub(crate) fn edge_goes(&mut self, name: &EdgeName, restart: bool) {
        let now = self.now;
        let edge = self.edge_at_mut(name);
        let was_there = std::mem::take(&mut edge.reachable);
        if restart {
            edge.restart();
        }
        if was_there {
            self.others.absences.insert(name.clone(), (now, None));
        }
    }

    pub(crate) fn edge_comes(&mut self, name: &EdgeName) {
        self.edge_at_mut(name).reachable = true;
        let Some((since, until)) = self.others.absences.get_mut(name) else { return };
        let until = *until.get_or_insert(self.now);
        let long = until >= *since + AWAY_ALLOWANCE.0;
        self.edge_at_mut(name).was_away |= long;
    }

    /// Whether an edge is away for so long, or was until a moment ago, that nobody need wait for it.
    pub(crate) fn is_away(&self, name: &EdgeName) -> bool {
        self.others.absences.get(name).is_some_and(|(since, until)| {
            let end = until.unwrap_or(self.now);
            end >= since + AWAY_ALLOWANCE.0 && self.now <= end + OLD_NEWS_MS
        })
    }

    /// The tables that any edge has in force.
    pub(crate) fn tables(&self) -> impl Iterator<Item = &RouteTable> {
        std::iter::once(&self.edge).chain(self.others.edges.values()).map(SimEdge::table)
    }

    /// An edge has prepared a table, or takes it as it is.
    pub(crate) fn note_prepared(&mut self, edge: &EdgeName, table: &RouteTable) {
        let of_number = self.others.prepared.entry(table.generation).or_default();
        match of_number.iter_mut().find(|(known, _)| known == table) {
            Some((_, edges)) => drop(edges.insert(edge.clone())),
            None => of_number.push((table.clone(), BTreeSet::from([edge.clone()]))),
        }
    }

    /// What is wrong with a table that an edge is to serve: another one that could has not prepared it.
    pub(crate) fn unprepared(&self, edge: &EdgeName, table: &RouteTable) -> Option<String> {
        let of_number = self.others.prepared.get(&table.generation);
        let known = of_number.and_then(|all| all.iter().find(|(known, _)| known == table));
        let has = |name: &EdgeName| known.is_some_and(|(_, edges)| edges.contains(name));
        let mut others = self.edges().filter(|(name, _)| name != edge);
        let (name, _) = others.find(|(name, _)| !has(name) && !self.is_away(name))?;
        Some(format!(
            "prepared-first: edge `{edge}` serves table {} before `{name}` has prepared it",
            table.generation
        ))
    }

    /// What a receipt says that was not so.
    pub(crate) fn contradiction(&self, receipt: &ReceiptBody) -> Option<String> {
        let world = self.ledger.current();
        let counts = |of: &hornero_model::ReleaseCounters| {
            receipt.service.is_of(&of.pool.service)
                && Some(world.terms(&receipt.service, of.release)) == receipt.from
        };
        let seen =
            self.edges().filter_map(|(_, edge)| edge.in_flight_at(receipt.generation, counts));
        let seen: Vec<u64> = seen.collect();
        // An edge that was left out may have followed since.
        if seen.is_empty() || receipt.edges.is_some_and(|edges| edges as usize != seen.len()) {
            return None;
        }
        let (in_flight, told) = (seen.iter().sum::<u64>(), receipt.drained + receipt.cut_off);
        if told != in_flight {
            return Some(format!("{in_flight} requests were in flight, {told} are accounted for"));
        }
        let failed = self.edges().flat_map(|(_, edge)| &edge.failed);
        let own = failed.filter(|(name, _)| receipt.service.is_of(name));
        let failed: u64 = own.map(|(_, count)| count).sum();
        (receipt.requests_failed > failed).then(|| {
            format!("{failed} requests failed in all, {} in one switch", receipt.requests_failed)
        })
    }

    /// Lets time pass at the other edges; gives those of which there is news.
    pub(crate) fn tick_others(&mut self, load: bool, at_any_rate: bool) -> Vec<EdgeName> {
        let Others { edges, random: Some(random), told, .. } = &mut self.others else {
            return Vec::new();
        };
        let mut news = Vec::new();
        for (name, edge) in edges {
            edge.tick(&self.engine, random, self.now, load);
            let version = edge.status().version;
            let is_new = told.get(name) != Some(&version) || edge.inactive_in_flight() > 0;
            if edge.reachable && (is_new || at_any_rate) {
                told.insert(name.clone(), version);
                news.push(name.clone());
            }
        }
        news
    }
}

impl Simulation {
    /// A host with several edges, on which control has just started.
    pub fn with_edges(seed: u64, names: &[&str]) -> Self {
        let mut simulation = Self::without_control(seed);
        let others = &mut simulation.host.others;
        others.random = Some(Random::new(seed ^ 0xED6E5));
        let named = names.iter().map(|name| EdgeName::new(*name).expect("a valid name"));
        others.edges = named.map(|name| (name, SimEdge::new())).collect();
        simulation.begin();
        simulation
    }

    /// Makes one edge unreachable soon, and reachable again later; with `restart` it dies in between, without it goes on
    /// serving.
    pub fn disturb(&mut self, edge: &EdgeName, after_ms: u64, for_ms: u64, restart: bool) {
        let name = edge.clone();
        self.host.schedule(after_ms, Happening::EdgeDown { edge: name, restart });
        self.host.schedule(after_ms + for_ms, Happening::EdgeUp { edge: edge.clone() });
    }
}
