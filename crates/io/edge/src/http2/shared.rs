//! What the requests of one HTTP/2 connection share, and when the connection counts as idle.

use std::{cell::Cell, rc::Rc};

use crate::{
    forwarding::Forwarding,
    origin::Origin,
    slot::{Phase, Slot},
    slots::SlotGuard,
    worker::Worker,
};

/// What all requests of a connection share.
pub(super) struct Shared {
    pub(super) worker: Rc<Worker>,
    pub(super) origin: Origin,
    pub(super) forwarding: Forwarding,
    /// Requests under way.
    pub(super) active: Cell<usize>,
    pub(super) slot: SlotGuard,
}

/// A request under way; the connection counts as idle once none is.
pub(super) struct Active(Rc<Shared>);

impl Active {
    pub(super) fn new(shared: &Rc<Shared>) -> Self {
        shared.active.set(shared.active.get() + 1);
        shared.slot.set_deadline_ms(u64::MAX);
        shared.slot.set_phase(Phase::Busy);
        Self(shared.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        let shared = &self.0;
        shared.active.set(shared.active.get() - 1);
        if shared.active.get() == 0 {
            idle(&shared.worker, &shared.slot, &shared.origin);
        }
    }
}

/// No request is under way any more, or yet.
pub(super) fn idle(worker: &Worker, slot: &Slot, origin: &Origin) {
    slot.set_phase(Phase::Idle { since_ms: worker.clock.now_ms() });
    slot.set_deadline_ms(worker.clock.deadline_ms(origin.idle_timeout(&worker.limits)));
}
