//! What a thread knows of each of its connections: when its time is up, which set it uses, how to interrupt it.

use std::{
    cell::{Cell, OnceCell, RefCell},
    rc::Rc,
    task::{Context, Waker},
};

use crate::{
    counters::{LaneCounters, Ticket},
    room::Place,
};

/// Why a connection is interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Its deadline has passed.
    Expired,
    /// It makes room for another one: nothing was under way on it.
    GivenUp,
    /// The set that it uses is cut off, or the time for draining is up.
    Cut,
}

/// What is under way on a connection; times in milliseconds of the thread's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// A request, or bytes of a tunnel.
    Busy,
    /// Nothing, since then.
    Idle { since_ms: u64 },
    /// The first part of a head or of a handshake, which began then.
    Head { since_ms: u64 },
}

/// A connection, or one request of an HTTP/2 connection.
#[derive(Debug)]
pub(crate) struct Slot {
    /// Where it is among those of its thread.
    pub(crate) index: Cell<usize>,
    /// In milliseconds of the thread's clock.
    deadline_ms: Cell<u64>,
    signal: Cell<Option<Signal>>,
    counters: RefCell<Option<Rc<LaneCounters>>>,
    phase: Cell<Phase>,
    /// Where it is counted; a request of an HTTP/2 connection is not.
    place: OnceCell<Place>,
    waker: RefCell<Option<Waker>>,
}

impl Slot {
    /// A slot at a place of the thread's list.
    pub(crate) fn new(index: usize) -> Self {
        Self {
            index: Cell::new(index),
            deadline_ms: Cell::new(u64::MAX),
            signal: Cell::new(None),
            counters: RefCell::new(None),
            phase: Cell::new(Phase::Busy),
            place: OnceCell::new(),
            waker: RefCell::new(None),
        }
    }

    /// Lets the slot wake the task; called when the task is first polled.
    pub(crate) fn register(&self, context: &Context<'_>) {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            *waker = Some(context.waker().clone());
        }
    }

    pub(crate) fn signal(&self) -> Option<Signal> {
        self.signal.get()
    }

    /// A deadline passed that the connection has answered to.
    pub(crate) fn clear_signal(&self) {
        self.signal.set(None);
    }

    pub(crate) fn set_deadline_ms(&self, deadline_ms: u64) {
        self.deadline_ms.set(deadline_ms);
    }

    pub(crate) fn set_phase(&self, phase: Phase) {
        self.phase.set(phase);
    }

    /// Says where the connection is counted; later, by which other source.
    pub(crate) fn set_place(&self, place: &Place) {
        self.place.get_or_init(|| place.clone()).source.set(place.source.get());
    }

    pub(crate) fn place(&self) -> Option<&Place> {
        self.place.get()
    }

    /// Since when it could be given up without harm to a request; none where it can't, or is already.
    pub(crate) fn spare_since_ms(&self) -> Option<u64> {
        match self.phase.get() {
            Phase::Idle { since_ms } | Phase::Head { since_ms } if self.signal.get().is_none() => {
                Some(since_ms)
            }
            Phase::Idle { .. } | Phase::Head { .. } | Phase::Busy => None,
        }
    }

    /// Begins a request on the set of `counters`.
    pub(crate) fn begin(&self, counters: Rc<LaneCounters>) -> Ticket {
        *self.counters.borrow_mut() = Some(counters.clone());
        Ticket::begin(counters)
    }

    /// The request is over.
    pub(crate) fn end(&self) {
        *self.counters.borrow_mut() = None;
    }

    /// Whether a request on a set that `matches` is under way.
    pub(crate) fn uses(&self, matches: impl Fn(&LaneCounters) -> bool) -> bool {
        self.counters.borrow().as_ref().is_some_and(|counters| matches(counters))
    }

    pub(crate) fn interrupt(&self, signal: Signal) {
        if self.signal.get().is_none() {
            self.signal.set(Some(signal));
        }
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Interrupts the connection if its time is up, or if it is idle since before `idle_before_ms`.
    pub(crate) fn tick(&self, now_ms: u64, idle_before_ms: Option<u64>) {
        let left_idle = match (self.phase.get(), idle_before_ms) {
            (Phase::Idle { since_ms }, Some(before_ms)) => since_ms < before_ms,
            (Phase::Idle { .. } | Phase::Head { .. } | Phase::Busy, _) => false,
        };
        if self.signal.get().is_none() && (now_ms >= self.deadline_ms.get() || left_idle) {
            self.interrupt(Signal::Expired);
        }
    }
}
