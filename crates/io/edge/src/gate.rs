//! The gate of a pool that lets nothing in for a while: who waits at it, how many may, and until when.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Poll,
    time::Duration,
};

use hornero_model::{Admission, Timestamp};
use tokio::sync::Notify;

use crate::slot::Slot;

/// A closed gate, shared by the threads.
#[derive(Debug)]
pub(crate) struct Gate {
    until: Timestamp,
    at_most: u32,
    /// How many wait; the same over all tables in which the pool is held without a break.
    waiting: Arc<AtomicU32>,
}

/// One of those that may wait; dropping it gives the place to another.
#[derive(Debug)]
pub(crate) struct Place(Arc<AtomicU32>);

impl Gate {
    /// The gate that a table asks for; whoever waits at the `previous` one keeps waiting at it.
    pub(crate) fn of(admission: Admission, previous: Option<&Arc<Self>>) -> Option<Arc<Self>> {
        match admission {
            Admission::Open => None,
            Admission::Held { until, at_most } => {
                let waiting = previous.map(|gate| gate.waiting.clone()).unwrap_or_default();
                Some(Arc::new(Self { until, at_most, waiting }))
            }
        }
    }

    /// Waits until `changed` tells of another table; false where its time or the room for waiting is up, or the connection is interrupted.
    /// Whoever comes back after a table that holds it still has kept its `place`. Meanwhile the slot has no deadline.
    pub(crate) async fn wait(
        &self,
        changed: &Notify,
        slot: &Slot,
        place: &mut Option<Place>,
    ) -> bool {
        // By the clock: an edge that starts again knows the end from its table on disk.
        let left = Duration::from_millis(self.until.since(Timestamp::now()).0);
        if left.is_zero() || (place.is_none() && !self.enter(place)) {
            return false;
        }
        slot.set_deadline_ms(u64::MAX);
        let mut changed = pin!(changed.notified());
        let mut expired = pin!(tokio::time::sleep(left));
        poll_fn(|context| {
            if slot.signal().is_some() || expired.as_mut().poll(context).is_ready() {
                return Poll::Ready(false);
            }
            changed.as_mut().poll(context).map(|()| true)
        })
        .await
    }

    fn enter(&self, place: &mut Option<Place>) -> bool {
        let enter = |waiting: u32| (waiting < self.at_most).then_some(waiting + 1);
        let entered = self.waiting.fetch_update(Relaxed, Relaxed, enter).is_ok();
        if entered {
            *place = Some(Place(self.waiting.clone()));
        }
        entered
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}
