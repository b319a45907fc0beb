//! HTTP/2 from clients: hyper speaks it, each stream becomes a request to a backend over HTTP/1.1.

mod answer;
mod io;
mod request;

use std::{
    cell::Cell,
    convert::Infallible,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use hyper::{body::Incoming, server::conn::http2::Builder, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

pub(crate) use self::io::Prefixed;
use crate::{
    http1::head::forwarding_fields,
    serve::Origin,
    slot::{Phase, Signal, Slot, SlotGuard},
    worker::Worker,
};

/// Requests of one connection at the same time: what browsers and nginx use.
const STREAMS: u32 = 128;
/// Frames kept for a slow client, per stream: bounds memory, and is the back-pressure on the backend.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Time between pings to a silent client, and for its answer: finds clients that vanished.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a connection told to end may take for its goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// The same for one that makes room for another.
const QUICK_GOODBYE: Duration = Duration::from_millis(200);

/// Runs tasks on the thread that they come from.
#[derive(Debug, Clone, Copy)]
struct LocalExecutor;

impl<F: Future + 'static> hyper::rt::Executor<F> for LocalExecutor
where
    F::Output: 'static,
{
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// What all requests of a connection share.
struct Shared {
    worker: Rc<Worker>,
    origin: Origin,
    forwarding: Vec<u8>,
    /// Requests under way.
    active: Cell<usize>,
    slot: SlotGuard,
}

/// A request under way; the connection counts as idle once none is.
struct Active(Rc<Shared>);

impl Active {
    fn new(shared: &Rc<Shared>) -> Self {
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
            idle(&shared.worker, &shared.slot);
        }
    }
}

fn idle(worker: &Worker, slot: &Slot) {
    slot.set_phase(Phase::Idle { since_ms: worker.now_ms() });
    slot.set_deadline_ms(worker.deadline_ms(worker.limits.idle_timeout));
}

/// Serves one connection to its end.
pub(crate) async fn serve<T: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: Rc<Worker>,
    slot: SlotGuard,
    io: Prefixed<T>,
    origin: Origin,
    https: bool,
) {
    idle(&worker, &slot);
    let forwarding = forwarding_fields(origin.peer, https);
    let shared =
        Rc::new(Shared { worker: worker.clone(), origin, forwarding, active: Cell::new(0), slot });
    let service = {
        let shared = shared.clone();
        service_fn(move |request: http::Request<Incoming>| {
            let active = Active::new(&shared);
            let shared = shared.clone();
            async move { Ok::<_, Infallible>(request::handle(shared, active, request).await) }
        })
    };
    let head_bytes = u32::try_from(worker.limits.head_bytes).unwrap_or(u32::MAX);
    let mut builder = Builder::new(LocalExecutor);
    builder
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(head_bytes)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(io), service));
    let mut told = false;
    loop {
        let changed = worker.changed.notified();
        let mut changed = pin!(changed);
        changed.as_mut().enable();
        if worker.is_draining() && !told {
            told = true;
            connection.as_mut().graceful_shutdown();
        }
        let woken = poll_fn(|context| {
            shared.slot.register(context);
            if let Some(signal) = shared.slot.signal() {
                return Poll::Ready(Woken::Interrupted(signal));
            }
            if connection.as_mut().poll(context).is_ready() {
                return Poll::Ready(Woken::Over);
            }
            changed.as_mut().poll(context).map(|()| Woken::Changed)
        });
        match woken.await {
            Woken::Over | Woken::Interrupted(Signal::Cut) => return,
            Woken::Changed => {}
            Woken::Interrupted(Signal::Expired) if told && shared.active.get() == 0 => return,
            Woken::Interrupted(signal @ (Signal::Expired | Signal::GivenUp)) => {
                told = true;
                let goodbye = if signal == Signal::GivenUp { QUICK_GOODBYE } else { GOODBYE };
                shared.slot.clear_signal();
                shared.slot.set_phase(Phase::Busy);
                shared.slot.set_deadline_ms(worker.deadline_ms(goodbye));
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// Why the task of a connection went on.
enum Woken {
    Over,
    /// The worker has news; only that it drains matters here.
    Changed,
    Interrupted(Signal),
}
