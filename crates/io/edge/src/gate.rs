//! The gate of a pool that lets nothing in for a while: who waits at it, how many may, and until when.

use std::{
    future::poll_fn,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    task::Poll,
    time::{Duration, Instant},
};

use hornero_model::{Admission, Timestamp};
use tokio::sync::Notify;

use crate::slot::Slot;

/// A closed gate, shared by the threads.
#[derive(Debug)]
pub(crate) struct Gate {
    bound: Bound,
    at_most: u32,
    /// How many wait; the same over all tables in which the pool is held without a break.
    waiting: Arc<AtomicU32>,
}

/// How long somebody may wait.
#[derive(Debug)]
enum Bound {
    /// All of them until then.
    Until(Timestamp),
    /// Each for so long, or until a server is healthy; whoever starts servers is told of the first.
    Each(Duration, Arc<Notify>),
}

/// One of those that may wait; dropping it gives the place to another.
#[derive(Debug)]
pub(crate) struct Place {
    waiting: Arc<AtomicU32>,
    since: Instant,
}

impl Gate {
    /// The gate that a table asks for; whoever waits at the `previous` one keeps waiting at it. `wanted` is told where
    /// somebody begins to wait for a service of which nothing runs.
    pub(crate) fn of(
        admission: Admission,
        previous: Option<&Arc<Self>>,
        wanted: &Arc<Notify>,
    ) -> Option<Arc<Self>> {
        let (bound, at_most) = match admission {
            Admission::Open => return None,
            Admission::Held { until, at_most } => (Bound::Until(until), at_most),
            Admission::Idle { wait, at_most } => {
                (Bound::Each(wait.duration(), wanted.clone()), at_most)
            }
        };
        let waiting = previous.map(|gate| gate.waiting.clone()).unwrap_or_default();
        Some(Arc::new(Self { bound, at_most, waiting }))
    }

    /// Whether a healthy server opens it, without another table.
    pub(crate) fn opens_with_health(&self) -> bool {
        matches!(self.bound, Bound::Each(..))
    }

    /// How many wait.
    pub(crate) fn waiting(&self) -> u32 {
        self.waiting.load(Relaxed)
    }

    /// Waits until `changed` tells of another table or health; false where its time or the room for waiting is up, or the connection is interrupted.
    /// Whoever comes back after a table that holds it still has kept its `place`. Meanwhile the slot has no deadline.
    pub(crate) async fn wait(
        &self,
        changed: &Notify,
        slot: &Slot,
        place: &mut Option<Place>,
    ) -> bool {
        if place.is_none() && !self.enter(place) {
            return false;
        }
        let left = self.left(place.as_ref());
        if left.is_zero() {
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

    /// How long whoever has a place may wait still.
    fn left(&self, place: Option<&Place>) -> Duration {
        match &self.bound {
            // By the clock: an edge that starts again knows the end from its table on disk.
            Bound::Until(until) => Duration::from_millis(until.since(Timestamp::now()).0),
            Bound::Each(wait, _) => {
                place.map_or(*wait, |place| wait.saturating_sub(place.since.elapsed()))
            }
        }
    }

    fn enter(&self, place: &mut Option<Place>) -> bool {
        if self.left(None).is_zero() {
            return false;
        }
        let enter = |waiting: u32| (waiting < self.at_most).then_some(waiting + 1);
        let Ok(before) = self.waiting.fetch_update(Relaxed, Relaxed, enter) else { return false };
        *place = Some(Place { waiting: self.waiting.clone(), since: Instant::now() });
        if let (0, Bound::Each(_, wanted)) = (before, &self.bound) {
            wanted.notify_one();
        }
        true
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.waiting.fetch_sub(1, Relaxed);
    }
}
