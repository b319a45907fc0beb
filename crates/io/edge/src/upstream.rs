//! A connection to a backend for one request, and what to do when none answers.

use std::{
    io,
    rc::Rc,
    sync::atomic::{Ordering, fence},
    time::{Duration, Instant},
};

use tokio::pin;

use crate::{
    buffer::Buffer,
    counters::Ticket,
    gate::{Gate, Place},
    limits::ATTEMPTS,
    link::{Link, Way},
    local_backend::{LocalBackend, Reuse},
    net::{is_own_want, is_want_of_files},
    origin::Origin,
    pool::LocalPool,
    proxy_protocol::Endpoints,
    slot::Slot,
    worker::Worker,
};

/// How long what was given up gets to close before the next try to connect.
const RELIEF_PAUSE: Duration = Duration::from_millis(5);

/// A connection to a backend, in use by one request.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) link: Link,
    pub(crate) input: Buffer,
    pub(crate) backend: Rc<LocalBackend>,
    /// The only client that it may be used for, if it is for one.
    pub(crate) client: Option<Box<Endpoints>>,
    /// Whether it carried a request before.
    pub(crate) reused: bool,
}

impl Upstream {
    /// Gives the connection back for the next request; its last answer was complete.
    pub(crate) fn finish(self, now_ms: u64) {
        if let (Some(sock), true) = (self.link.into_own(), self.input.is_empty()) {
            self.backend.put_idle(sock, self.client, now_ms);
        }
    }
}

/// Why a request gets no connection to a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unserved {
    /// No backend is there or healthy: 503.
    NoBackend,
    /// Healthy ones were there, but none could be reached: 502.
    Unreachable,
    /// The pool lets nothing in: it waited too long, or too many wait: 503.
    Held,
}

/// What a client is told that a pool held back.
pub(crate) const HELD_BACK: &str = "this service takes no new requests for the moment";

/// What was tried already for one request.
#[derive(Debug)]
pub(crate) struct Attempts {
    /// Which of a pool's releases it gets; the same for all attempts, so that trying again favours none.
    draw: u32,
    tried: Vec<Rc<LocalBackend>>,
    count: usize,
    /// Whether it has been moved to another backend after a fresh connection broke.
    moved: bool,
    hold_until: Option<Instant>,
    /// Its place among those that a pool holds.
    place: Option<Place>,
    /// Whether it had one, and was not counted for that yet.
    waited: bool,
    /// Whether it was counted as a call of one of the home's own servers.
    called: bool,
}

impl Attempts {
    pub(crate) fn new(worker: &Worker) -> Self {
        Self {
            draw: worker.draw(),
            tried: Vec::new(),
            count: 0,
            moved: false,
            hold_until: None,
            place: None,
            waited: false,
            called: false,
        }
    }

    /// Draws for a request what the client's others draw, where it tells who that is.
    pub(crate) fn stick(mut self, draw: Option<u32>) -> Self {
        self.draw = draw.unwrap_or(self.draw);
        self
    }

    /// Whether a harmless request is sent again after `backend` closed without a byte of an answer.
    ///
    /// One that had been kept alive may just have been too old. A fresh one says that the backend is in trouble; then
    /// one other is tried and no more, so that a request that kills its server does not kill them all.
    pub(crate) fn after_silence(
        &mut self,
        pool: &LocalPool,
        backend: &Rc<LocalBackend>,
        reused: bool,
    ) -> bool {
        self.count += 1;
        if self.count >= ATTEMPTS {
            return false;
        }
        if reused {
            return true;
        }
        backend.shared.suspect();
        self.tried.push(backend.clone());
        !std::mem::replace(&mut self.moved, true) && pool.pick(self.draw, &self.tried).is_some()
    }

    /// A backend could not be reached.
    fn refused(&mut self, backend: Rc<LocalBackend>, error: &io::Error) {
        if !is_own_want(error) {
            backend.shared.suspect();
        }
        self.tried.push(backend);
        self.count += 1;
    }

    /// Whether a further attempt is within bounds.
    fn may_retry(&self) -> bool {
        self.count < ATTEMPTS
    }

    /// Waits at a pool's gate; false when the time or the room for waiting is up. What waits counts for no release: one
    /// that is to end must be able to get down to nothing.
    async fn wait_at(
        &mut self,
        gate: &Gate,
        worker: &Worker,
        pool: &LocalPool,
        slot: &Slot,
        ticket: &mut Option<Ticket>,
    ) -> bool {
        if ticket.take().is_some() {
            slot.end();
        }
        // The prober tells of changes only while somebody waits: look again now that it knows.
        let _looks = gate.opens_with_health().then(|| Looks::new(worker));
        fence(Ordering::SeqCst);
        if is_open(gate, pool) {
            return true;
        }
        let opened = gate.wait(&worker.changed, slot, &mut self.place).await;
        slot.set_deadline_ms(worker.clock.deadline_ms(worker.limits.answer_timeout));
        opened
    }

    /// Waits until a backend of `pool` can be tried (again); false when the time or the room for waiting is up.
    async fn hold(&mut self, worker: &Worker, pool: &LocalPool) -> bool {
        if worker.held.get() >= worker.limits.hold_queue {
            return false;
        }
        let until = *self.hold_until.get_or_insert_with(|| Instant::now() + worker.limits.hold);
        let changed = worker.changed.notified();
        pin!(changed);
        changed.as_mut().enable();
        let _held = Held::new(worker);
        // The prober tells of changes only while somebody waits: look again now that it knows.
        fence(Ordering::SeqCst);
        if pool.pick(self.draw, &self.tried).is_some() {
            return true;
        }
        self.tried.clear();
        self.count = 0;
        tokio::time::timeout_at(until.into(), changed).await.is_ok()
    }
}

/// Finds a backend of a release that gets the pool's requests and a connection to it, and begins the request's ticket.
///
/// `pool` and `ticket` follow the table: a request that waits over a switch goes to the new set.
pub(crate) async fn acquire(
    worker: &Worker,
    slot: &Slot,
    origin: &Origin,
    pool: &mut Rc<LocalPool>,
    ticket: &mut Option<Ticket>,
    attempts: &mut Attempts,
    reuse: Reuse,
) -> Result<Upstream, Unserved> {
    if origin.is_internal && !std::mem::replace(&mut attempts.called, true) {
        worker.count_call(origin.peer.ip(), &pool.name);
    }
    loop {
        let table = worker.table();
        if !table.has(pool) {
            *pool = table.pool_named(pool).ok_or(Unserved::NoBackend)?;
        }
        if let Some(gate) = pool.gate.clone().filter(|gate| !is_open(gate, pool)) {
            if attempts.wait_at(&gate, worker, pool, slot, ticket).await {
                continue;
            }
            let set = pool.drawn(attempts.draw);
            *ticket = set.map(|set| slot.begin(set.counters.clone()));
            ticket.iter_mut().for_each(Ticket::fail);
            return Err(Unserved::Held);
        }
        attempts.waited |= attempts.place.take().is_some();
        let Some((set, backend)) = pool.pick(attempts.draw, &attempts.tried) else {
            let set = pool.drawn(attempts.draw).ok_or(Unserved::NoBackend)?;
            if attempts.hold(worker, pool).await {
                continue;
            }
            let tried = !attempts.tried.is_empty();
            ticket.get_or_insert_with(|| slot.begin(set.counters.clone())).fail();
            return Err(if tried { Unserved::Unreachable } else { Unserved::NoBackend });
        };
        if !ticket.as_ref().is_some_and(|ticket| ticket.is_on(&set.counters)) {
            *ticket = Some(slot.begin(set.counters.clone()));
        }
        if std::mem::take(&mut attempts.waited) {
            ticket.iter().for_each(Ticket::held);
        }
        let client = backend.client(origin);
        match connect(worker, &backend, pool.http2, reuse, client.as_deref()).await {
            Ok((way, reused)) => {
                let link = Link::new(way, set.counters.clone());
                return Ok(Upstream { link, input: Buffer::default(), backend, client, reused });
            }
            Err(error) if is_want_of_files(&error) && attempts.may_retry() => {
                worker.relieve();
                attempts.count += 1;
                tokio::time::sleep(RELIEF_PAUSE).await;
                continue;
            }
            Err(error) => attempts.refused(backend, &error),
        }
        if !attempts.may_retry() {
            ticket.iter_mut().for_each(Ticket::fail);
            return Err(Unserved::Unreachable);
        }
        ticket.iter().for_each(Ticket::retried);
    }
}

/// Whether a gate lets in what comes because a server is there by now.
fn is_open(gate: &Gate, pool: &LocalPool) -> bool {
    gate.opens_with_health() && pool.is_healthy()
}

/// A way to `backend`, an idle or shared one where that serves; whether it carried a request before.
async fn connect(
    worker: &Worker,
    backend: &LocalBackend,
    http2: bool,
    reuse: Reuse,
    client: Option<&Endpoints>,
) -> io::Result<(Way, bool)> {
    if http2 {
        // In a box: what it needs is not held by requests to other servers.
        Box::pin(backend.part(&worker.limits, &worker.clock, client)).await
    } else if let Some(sock) = backend.take_idle(reuse, client) {
        Ok((Way::Own(sock), true))
    } else {
        backend.connect(&worker.limits, client).await.map(|sock| (Way::Own(sock), false))
    }
}

/// Somebody who is to be told of changes of health; leaving counts it out.
struct Looks<'a>(&'a Worker);

impl<'a> Looks<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.common.holding.fetch_add(1, Ordering::SeqCst);
        Self(worker)
    }
}

impl Drop for Looks<'_> {
    fn drop(&mut self) {
        self.0.common.holding.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One of those that wait for a healthy backend; leaving counts it out.
struct Held<'a>(Looks<'a>);

impl<'a> Held<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.held.set(worker.held.get() + 1);
        Self(Looks::new(worker))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let Looks(worker) = &self.0;
        worker.held.set(worker.held.get() - 1);
    }
}
