//! HTTP/2 from clients: each stream becomes a request to a backend over HTTP/1.1.

mod answer;
mod io;
mod ping;
mod request;

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    rc::Rc,
    task::Poll,
    time::Duration,
};

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_local,
};

pub(crate) use self::io::Prefixed;
use self::ping::Pinger;
use crate::{
    http1::head::forwarding_fields,
    serve::Origin,
    slot::{Phase, Signal, Slot, SlotGuard},
    worker::Worker,
};

/// Requests of one connection at the same time: what browsers and nginx use.
const STREAMS: u32 = 128;
/// Bytes kept for a slow client, per stream: bounds memory, and is the back-pressure on the backend.
const SEND_BUFFER_BYTES: usize = 64 << 10;
/// Bytes that a client may send ahead of the backend, for a stream and for all: enough for a long way at full speed.
const WINDOW_BYTES: u32 = 1 << 20;
/// How long a connection told to end may take for its goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// The same for one that makes room for another.
const QUICK_GOODBYE: Duration = Duration::from_millis(200);

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
    let Some(mut connection) = shake_hands(&worker, &slot, io).await else { return };
    let forwarding = forwarding_fields(origin.peer, https);
    let shared =
        Rc::new(Shared { worker: worker.clone(), origin, forwarding, active: Cell::new(0), slot });
    let mut pinger = Pinger::new(connection.ping_pong());
    let mut told = false;
    loop {
        let changed = worker.changed.notified();
        let mut changed = pin!(changed);
        changed.as_mut().enable();
        if worker.is_draining() && !told {
            told = true;
            connection.graceful_shutdown();
        }
        let woken = poll_fn(|context| {
            shared.slot.register(context);
            if let Some(signal) = shared.slot.signal() {
                return Poll::Ready(Woken::Interrupted(signal));
            }
            while let Poll::Ready(accepted) = connection.poll_accept(context) {
                let Some(Ok((request, respond))) = accepted else {
                    return Poll::Ready(Woken::Over);
                };
                let active = Active::new(&shared);
                spawn_local(request::serve(shared.clone(), active, request, respond));
            }
            if pinger.poll_lost(context).is_ready() {
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
                connection.graceful_shutdown();
            }
        }
    }
}

/// Reads the preface and exchanges settings; none where that fails or takes too long.
async fn shake_hands<T: AsyncRead + AsyncWrite + Unpin>(
    worker: &Worker,
    slot: &Slot,
    io: Prefixed<T>,
) -> Option<Connection<Prefixed<T>, Bytes>> {
    let mut builder = Builder::new();
    builder
        .initial_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(u32::try_from(worker.limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(SEND_BUFFER_BYTES);
    let mut handshake = pin!(builder.handshake(io));
    poll_fn(|context| {
        slot.register(context);
        if slot.signal().is_some() {
            return Poll::Ready(None);
        }
        handshake.as_mut().poll(context).map(Result::ok)
    })
    .await
}

/// Why the task of a connection went on.
enum Woken {
    Over,
    /// The worker has news; only that it drains matters here.
    Changed,
    Interrupted(Signal),
}
