//! The connections of one thread, and requests of HTTP/2 connections, each with its slot while it lasts.

use std::{cell::RefCell, rc::Rc};

use tokio::sync::Notify;

use crate::{
    counters::LaneCounters,
    slot::{Signal, Slot},
    spare::{Scope, Spare},
};

/// The slots of a thread.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    all: RefCell<Vec<Rc<Slot>>>,
    /// Which of them can be given up.
    spare: Spare,
    /// Told when the last one has gone.
    pub(crate) emptied: Notify,
}

impl Slots {
    pub(crate) fn count(&self) -> usize {
        self.all.borrow().len()
    }

    /// Interrupts those whose time is up, or that are idle since before `idle_before_ms`.
    pub(crate) fn tick(&self, now_ms: u64, idle_before_ms: Option<u64>) {
        self.spare.tick();
        for slot in &*self.all.borrow() {
            slot.tick(now_ms, idle_before_ms);
        }
    }

    /// Gives up the oldest connection of `scope` on which no request is under way; false where this thread has none.
    pub(crate) fn give_up_oldest(&self, scope: Scope) -> bool {
        let Some(slot) = self.spare.take(&self.all.borrow(), scope) else { return false };
        slot.interrupt(Signal::GivenUp);
        if let Some(place) = slot.place() {
            place.gauge.count_given_up();
        }
        true
    }

    /// Interrupts the requests on sets that match; how many.
    pub(crate) fn cut(&self, matches: impl Fn(&LaneCounters) -> bool) -> u64 {
        let slots: Vec<Rc<Slot>> = self.all.borrow().iter().cloned().collect();
        let mut count = 0;
        for slot in slots {
            if slot.uses(&matches) {
                slot.interrupt(Signal::Cut);
                count += 1;
            }
        }
        count
    }

    /// Interrupts everything.
    pub(crate) fn cut_all(&self) {
        let slots: Vec<Rc<Slot>> = self.all.borrow().iter().cloned().collect();
        for slot in slots {
            slot.interrupt(Signal::Cut);
        }
    }
}

/// A registered slot; leaving drops it from the thread's list.
#[derive(Debug)]
pub(crate) struct SlotGuard {
    slot: Rc<Slot>,
    slots: Rc<Slots>,
}

impl SlotGuard {
    pub(crate) fn new(slots: &Rc<Slots>) -> Self {
        let mut all = slots.all.borrow_mut();
        let slot = Rc::new(Slot::new(all.len()));
        all.push(slot.clone());
        Self { slot, slots: slots.clone() }
    }
}

impl std::ops::Deref for SlotGuard {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl Drop for SlotGuard {
    fn drop(&mut self) {
        let mut slots = self.slots.all.borrow_mut();
        let index = self.slot.index.get();
        slots.swap_remove(index);
        if let Some(moved) = slots.get(index) {
            moved.index.set(index);
        }
        if slots.is_empty() {
            self.slots.emptied.notify_one();
        }
    }
}
