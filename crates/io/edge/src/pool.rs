//! A pool as one thread sees it: which of its sets a request gets, and which backend of that one.

use std::{cell::Cell, iter, ptr, rc::Rc, sync::Arc};

use hornero_model::{Health, PoolName, Share};

use crate::{
    counters::LaneCounters, gate::Gate, local_backend::LocalBackend, sticky::Stickiness,
    table::PoolSet,
};

/// A pool as one thread sees it.
#[derive(Debug)]
pub(crate) struct LocalPool {
    pub(crate) name: PoolName,
    pub(crate) sets: Vec<LocalSet>,
    /// What previews get of them beforehand.
    pub(crate) previews: Vec<LocalSet>,
    /// Whether its servers are asked by HTTP/2.
    pub(crate) http2: bool,
    /// By what requests stick to one of its sets.
    pub(crate) sticky: Option<Arc<Stickiness>>,
    pub(crate) gate: Option<Arc<Gate>>,
}

/// A set that gets new requests, as one thread sees it.
#[derive(Debug)]
pub(crate) struct LocalSet {
    weight: u32,
    pub(crate) counters: Rc<LaneCounters>,
    backends: Vec<Rc<LocalBackend>>,
    next: Cell<usize>,
}

impl LocalPool {
    /// The next healthy backend that was not tried, of the set that `draw` falls on, or of another where that has none;
    /// those under suspicion only when there is no other. Nothing but what falls on it goes to a preview.
    pub(crate) fn pick(
        &self,
        draw: u32,
        tried: &[Rc<LocalBackend>],
    ) -> Option<(&LocalSet, Rc<LocalBackend>)> {
        let drawn = self.drawn(draw)?;
        let others = self.sets.iter().filter(|set| !ptr::eq(*set, drawn));
        let mut suspect = None;
        for set in iter::once(drawn).chain(others) {
            match set.pick(tried) {
                Some(backend) if !backend.shared.is_suspect() => return Some((set, backend)),
                Some(backend) => suspect = suspect.or(Some((set, backend))),
                None => {}
            }
        }
        suspect
    }

    /// Whether any server of those that get requests is healthy.
    pub(crate) fn is_healthy(&self) -> bool {
        let mut backends = self.sets.iter().flat_map(|set| &set.backends);
        backends.any(|backend| backend.shared.health() == Health::Healthy)
    }

    /// The set that `draw` falls on, a number from all of `u32` with equal chances; none where nobody gets requests.
    pub(crate) fn drawn(&self, draw: u32) -> Option<&LocalSet> {
        // Below the whole: the upper half of the product.
        let place = ((u64::from(draw) * u64::from(Share::WHOLE)) >> 32) as u32;
        // What previews get is cut out of what falls on the others, whose own borders stay where they are.
        let shown = at(&self.previews, place).filter(|_| !self.sets.is_empty());
        shown.or_else(|| at(&self.sets, place))
    }
}

/// The set at a place, each having as many as its weight.
fn at(sets: &[LocalSet], mut place: u32) -> Option<&LocalSet> {
    for set in sets {
        if place < set.weight {
            return Some(set);
        }
        place -= set.weight;
    }
    None
}

impl LocalSet {
    /// A thread's view of `set` with its own `backends`.
    pub(crate) fn new(set: &PoolSet, backends: Vec<Rc<LocalBackend>>, lane: usize) -> Self {
        Self {
            weight: set.weight,
            counters: LaneCounters::new(set.counters.clone(), lane),
            backends,
            // Threads begin at different backends, so that few requests spread as well as many.
            next: Cell::new(lane),
        }
    }

    /// The next healthy backend that was not tried; one under suspicion only when there is no other.
    fn pick(&self, tried: &[Rc<LocalBackend>]) -> Option<Rc<LocalBackend>> {
        let backends = &self.backends;
        let start = self.next.get();
        let mut suspect = None;
        for offset in 0..backends.len() {
            let index = (start + offset) % backends.len();
            let backend = &backends[index];
            let untried = !tried.iter().any(|tried| Rc::ptr_eq(tried, backend));
            if backend.shared.health() != Health::Healthy || !untried {
                continue;
            }
            if !backend.shared.is_suspect() {
                self.next.set(index + 1);
                return Some(backend.clone());
            }
            suspect.get_or_insert_with(|| backend.clone());
        }
        suspect
    }
}
