//! Which connections of a thread can be given up: those on which no request is under way, the oldest first.

use std::{
    cell::{Cell, RefCell},
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    rc::{Rc, Weak},
};

use crate::{room::Kind, slot::Slot, source::Source};

/// Connections remembered by one look at all: the look costs as much as all these together.
const BATCH: usize = 256;
/// Slots looked at in one tick: a flood that finds nothing to give up must not take the thread's time.
const LOOKS_PER_TICK: usize = 1 << 20;

/// Among which connections one is to be given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scope {
    /// Those of one source.
    Source(Kind, Source),
    /// The same of one listener.
    SourceOf(SocketAddr, Source),
    /// Those of one listener.
    Listener(SocketAddr),
    /// Those of listeners of one kind that hold more than their reserve.
    Room(Kind),
    /// All: the process has no files left.
    All,
}

impl Scope {
    fn has(self, slot: &Slot) -> bool {
        let Some(place) = slot.place() else { return false };
        match self {
            Self::Source(kind, source) => {
                place.source.get() == source && place.gauge.kind() == kind
            }
            Self::SourceOf(listener, source) => {
                place.source.get() == source && place.gauge.address() == listener
            }
            Self::Listener(listener) => place.gauge.address() == listener,
            Self::Room(kind) => place.gauge.kind() == kind && place.gauge.is_beyond_reserve(),
            Self::All => true,
        }
    }
}

/// Connections in order, each with the time since when it can be given up.
type Found = VecDeque<(u64, Weak<Slot>)>;

/// The oldest connections of each scope, as they were when last looked for. A request pays nothing for this order: only
/// who is beyond a limit does.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    found: RefCell<HashMap<Scope, Found>>,
    looks: Cell<usize>,
}

impl Spare {
    /// Forgets what was found; called with every tick.
    pub(crate) fn tick(&self) {
        self.found.borrow_mut().clear();
        self.looks.set(0);
    }

    /// The oldest of `scope` that can be given up.
    pub(crate) fn take(&self, slots: &[Rc<Slot>], scope: Scope) -> Option<Rc<Slot>> {
        let mut found = self.found.borrow_mut();
        let queue = found.entry(scope).or_default();
        loop {
            while let Some((since_ms, slot)) = queue.pop_front() {
                if let Some(slot) = slot.upgrade()
                    && slot.spare_since_ms() == Some(since_ms)
                    && scope.has(&slot)
                {
                    return Some(slot);
                }
            }
            if self.looks.get() > LOOKS_PER_TICK {
                return None;
            }
            self.looks.set(self.looks.get() + slots.len());
            *queue = oldest(slots, scope);
            if queue.is_empty() {
                return None;
            }
        }
    }
}

/// The oldest that can be given up, in order.
fn oldest(slots: &[Rc<Slot>], scope: Scope) -> Found {
    let mut spare: Vec<(u64, &Rc<Slot>)> = slots
        .iter()
        .filter_map(|slot| Some((slot.spare_since_ms()?, slot)))
        .filter(|(_, slot)| scope.has(slot))
        .collect();
    if spare.len() > BATCH {
        spare.select_nth_unstable_by_key(BATCH, |(since_ms, _)| *since_ms);
        spare.truncate(BATCH);
    }
    spare.sort_by_key(|(since_ms, _)| *since_ms);
    spare.into_iter().map(|(since_ms, slot)| (since_ms, Rc::downgrade(slot))).collect()
}
