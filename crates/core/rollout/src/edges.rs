//! The edges of a region: what each of them has, may come to have, and what follows for all of them together.
//!
//! An edge that can't be reached is waited for a while, and everything with it. After that it is left out, unless it is the only
//! one: the others get new tables without it, and whatever it may route to by the last ones it is known to have is kept.

use std::{collections::BTreeMap, sync::Arc};

use hornero_model::{
    EdgeName, EdgeStatus, InstanceId, Millis, ReleaseCounters, RouteTable, Spread, Timestamp,
};

use crate::planted::{Bug, planted};
use crate::{Facts, InForce, KnownEdge, RegionFacts};

/// How long an edge that can't be reached is waited for: one that died is started again within seconds.
pub const AWAY_ALLOWANCE: Millis = Millis(10_000);

impl RegionFacts {
    /// An edge tells how it is.
    pub fn saw_edge(&mut self, edge: &EdgeName, status: EdgeStatus, now: Timestamp) {
        let Some(own) = self.edges.get_mut(edge) else { return };
        own.saw_generation(status.generation, now);
        own.status = Some(Arc::new(status));
        own.away_since = None;
        self.gather(now);
    }

    /// An edge can't be reached. What it was asked for before may still come to it, or to the one after it.
    pub fn lost_edge(&mut self, edge: &EdgeName, now: Timestamp) {
        let Some(own) = self.edges.get_mut(edge) else { return };
        own.status = None;
        own.away_since.get_or_insert(now);
        self.gather(now);
        self.load.clear();
        self.unhealthy_since.clear();
    }

    /// The edges are asked to prepare a table.
    pub fn proposes(&mut self, table: &RouteTable) {
        if self.proposed.as_ref() != Some(table) {
            self.proposed = Some(table.clone());
        }
    }

    /// An edge has prepared a table.
    pub fn saw_prepared(&mut self, edge: &EdgeName, generation: u64) {
        if let Some(own) = self.edges.get_mut(edge) {
            own.prepared = Some(generation);
        }
    }

    /// An edge is given a table to put in force.
    pub fn sent(&mut self, edge: &EdgeName, table: &RouteTable, now: Timestamp) {
        let Some(own) = self.edges.get_mut(edge) else { return };
        own.sent(table);
        self.gather(now);
    }

    /// An edge confirmed a table.
    pub fn confirmed(
        &mut self,
        edge: &EdgeName,
        table: RouteTable,
        (switch_ms, counters): (f64, Vec<ReleaseCounters>),
        now: Timestamp,
    ) {
        let Some(own) = self.edges.get_mut(edge) else { return };
        own.confirmed(table, switch_ms, counters, now);
        self.gather(now);
    }

    /// Whether an edge is no longer waited for: it could not be reached for long, and others can.
    pub fn is_left_out(&self, edge: &KnownEdge, now: Timestamp) -> bool {
        let long = |since: Timestamp| now >= since.after(AWAY_ALLOWANCE);
        edge.status.is_none()
            && edge.away_since.is_some_and(long)
            && self.edges.values().any(|other| other.status.is_some())
    }

    /// The edges that count: all but those that are left out.
    pub fn counting(&self, now: Timestamp) -> Vec<(&EdgeName, &KnownEdge)> {
        self.edges.iter().filter(|(_, edge)| !self.is_left_out(edge, now)).collect()
    }

    /// Those that are left out.
    pub fn left_out(&self, now: Timestamp) -> Vec<(&EdgeName, &KnownEdge)> {
        self.edges.iter().filter(|(_, edge)| self.is_left_out(edge, now)).collect()
    }

    /// When an edge that can't be reached will have been waited for long enough.
    pub(crate) fn times(&self) -> Vec<Timestamp> {
        let others = self.edges.len() > 1;
        let away = self.edges.values().filter(|edge| others && edge.status.is_none());
        away.filter_map(|edge| Some(edge.away_since?.after(AWAY_ALLOWANCE))).collect()
    }

    /// Puts together what the edges that count say.
    pub fn gather(&mut self, now: Timestamp) {
        let counting: Vec<&KnownEdge> =
            self.counting(now).into_iter().map(|(_, edge)| edge).collect();
        let (edge, in_force, unsettled) = match &counting[..] {
            [only] => (only.status.clone(), only.in_force.clone(), only.unsettled.clone()),
            several => {
                let statuses: Option<Vec<&EdgeStatus>> =
                    several.iter().map(|edge| edge.status.as_deref()).collect();
                let edge = statuses.and_then(|all| EdgeStatus::together(&all)).map(Arc::new);
                let in_force = in_force_at_all(several);
                let known = in_force.as_ref().map(|of| of.table.generation);
                (edge, in_force.map(Arc::new), unsettled_at_any(several, known))
            }
        };
        if self.edge.is_none() && edge.is_some() {
            self.together_since = now;
        }
        self.take_healths(edge.as_ref());
        (self.edge, self.in_force, self.unsettled) = (edge, in_force, unsettled);
    }

    /// Takes in what the edges say of instances where that is something else than before.
    fn take_healths(&mut self, edge: Option<&Arc<EdgeStatus>>) {
        match (&self.edge, edge) {
            (Some(before), Some(after)) if Arc::ptr_eq(before, after) => {}
            (Some(before), Some(after)) => {
                let others = before.other_instances(after);
                if others.is_empty() {
                    return;
                }
                let healths = after.healths_where(|id| others.contains(id));
                for gone in others.iter().filter(|id| !healths.contains_key(**id)) {
                    self.healths.remove(*gone);
                }
                self.healths.extend(healths);
            }
            (_, after) => self.healths = after.map(|edge| edge.healths()).unwrap_or_default(),
        }
    }

    /// The number of the next table: beyond every one that is or may come in force at any edge, so that it is refused after
    /// none.
    pub fn next_generation(&self) -> u64 {
        let step = u64::from(!planted(Bug::RepeatsGenerations));
        let proposed = self.proposed.as_ref().map_or(0, |table| table.generation);
        self.edges.values().map(KnownEdge::newest).fold(proposed, u64::max) + step
    }

    /// Forgets an instance that is gone.
    pub fn forget_leaving(&mut self, instance: &InstanceId) {
        for edge in self.edges.values_mut() {
            edge.left_at.remove(instance);
        }
    }

    /// Whether every edge is there and was never given a table.
    pub(crate) fn is_blank(&self) -> bool {
        let is_blank = |edge: &KnownEdge| edge.status.as_ref().is_some_and(|of| of.generation == 0);
        !self.edges.is_empty() && self.edges.values().all(is_blank)
    }

    /// Whether no edge has or may come to have a newer table than this one, or another one with its number, as of a control
    /// before this one.
    pub(crate) fn is_newest(&self, table: &RouteTable) -> bool {
        self.edges.values().all(|edge| {
            edge.newest() < table.generation || edge.tables().any(|known| known == table)
        })
    }
}

impl Facts {
    /// When an instance that gets no new requests of the edges that count got its last one, at the latest; none while it gets
    /// some, or may.
    pub fn left_at(&self, instance: &InstanceId) -> Option<Timestamp> {
        let counting = self.counting(self.now);
        let left: Option<Vec<Timestamp>> =
            counting.into_iter().map(|(_, edge)| edge.left_at(instance)).collect();
        left?.into_iter().max()
    }

    /// Since when it can be told how servers are. While an edge is waited for: since when it can't be, or from when on it will
    /// be at the latest, where others go on without it. What is on its way up can't be found healthy before.
    pub(crate) fn heard_since(&self) -> Timestamp {
        if self.edge.is_some() {
            return self.together_since;
        }
        let waited_for =
            self.counting(self.now).into_iter().filter_map(|(_, edge)| edge.away_since);
        let wait = if self.edges.len() > 1 { AWAY_ALLOWANCE } else { Millis(0) };
        let since = waited_for.map(|since| since.after(wait)).max();
        since.unwrap_or(self.together_since)
    }

    /// Who has not done what the edges were asked for, for people: by name where there are several.
    pub(crate) fn laggards(&self) -> String {
        let counting = self.counting(self.now);
        let asked = self.proposed.as_ref().map(|table| table.generation);
        let lags = |edge: &KnownEdge| {
            edge.status.is_none() || asked.is_none_or(|asked| !edge.follows(asked))
        };
        let lagging = counting.iter().filter(|(_, edge)| self.edges.len() > 1 && lags(edge));
        let names: Vec<String> = lagging.map(|(name, _)| format!("`{name}`")).collect();
        match &names[..] {
            [] => "the edge".to_owned(),
            [only] => format!("edge {only}"),
            several => format!("edges {}", several.join(", ")),
        }
    }
}

/// The table that all of them confirmed.
fn in_force_at_all(edges: &[&KnownEdge]) -> Option<InForce> {
    let all: Option<Vec<&InForce>> = edges.iter().map(|edge| edge.in_force.as_deref()).collect();
    let all = all?;
    let first = all.first()?;
    if all.iter().any(|of| of.table != first.table) {
        return None;
    }
    let (from, at) =
        all.iter().fold((first.at, first.at), |(from, to), of| (from.min(of.at), to.max(of.at)));
    #[allow(clippy::cast_precision_loss)] // Two edges are not 2^53 milliseconds apart.
    let skew_ms = at.since(from).0 as f64;
    Some(InForce {
        table: first.table.clone(),
        switch_ms: all.iter().map(|of| of.switch_ms).fold(0.0, f64::max),
        at,
        counters: ReleaseCounters::sum(all.iter().flat_map(|of| &of.counters)),
        spread: Spread { edges: u32::try_from(all.len()).unwrap_or(u32::MAX), skew_ms },
    })
}

/// The tables besides `known` that any of them has or may come to have, oldest first.
fn unsettled_at_any(edges: &[&KnownEdge], known: Option<u64>) -> Vec<RouteTable> {
    let tables = edges.iter().flat_map(|edge| edge.tables());
    let others = tables.filter(|table| Some(table.generation) != known);
    let others: BTreeMap<u64, &RouteTable> =
        others.map(|table| (table.generation, table)).collect();
    others.into_values().cloned().collect()
}
