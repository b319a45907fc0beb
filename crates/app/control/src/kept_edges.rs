//! What is kept of edges between two effects: the table that each has, an open connection to it, and a thread that asks.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Mutex, PoisonError},
};

use hornero_edge::{EdgeClient, EdgeClientError};
use hornero_model::{EdgeRef, RouteTable, Term};

use crate::hands::{Hands, Work};

/// What is kept of edges between two effects.
pub struct KeptEdges {
    each: Mutex<BTreeMap<EdgeRef, KeptEdge>>,
    hands: Hands,
}

#[derive(Default)]
struct KeptEdge {
    /// The table that it confirmed last.
    confirmed: Option<RouteTable>,
    /// A connection over which its last answer came, and the term in whose name it asks.
    client: Option<(Term, EdgeClient)>,
}

impl KeptEdges {
    /// Nothing yet, and the thread.
    pub fn new() -> Self {
        Self { each: Mutex::default(), hands: Hands::new("edge-effects") }
    }

    /// Has the thread do what a switch waits for; it comes back where the thread is busy.
    pub fn at_once(&self, work: Work) -> Result<(), Work> {
        self.hands.take(work)
    }

    /// The table that it confirmed last.
    pub fn confirmed(&self, edge: &EdgeRef) -> Option<RouteTable> {
        self.of(edge, |kept| kept.confirmed.clone())
    }

    /// It confirmed a table.
    pub fn confirms(&self, edge: &EdgeRef, table: &RouteTable) {
        self.of(edge, |kept| kept.confirmed = Some(table.clone()));
    }

    fn of<T>(&self, edge: &EdgeRef, work: impl FnOnce(&mut KeptEdge) -> T) -> T {
        let mut edges = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        work(edges.entry(edge.clone()).or_default())
    }

    /// Asks an edge whose state lies in `dir` something, over the connection that is kept where nobody else asks at the same
    /// time.
    pub fn ask<T>(
        &self,
        edge: &EdgeRef,
        (dir, term): (&Path, Term),
        ask: impl FnOnce(&mut EdgeClient) -> Result<T, EdgeClientError>,
    ) -> Result<T, EdgeClientError> {
        let kept = self.of(edge, |kept| kept.client.take());
        let mut client = match kept.filter(|(of, _)| *of == term) {
            Some((_, client)) => client,
            None => EdgeClient::of_term(dir, term),
        };
        let answer = ask(&mut client)?;
        self.of(edge, |kept| kept.client = Some((term, client)));
        Ok(answer)
    }
}
