//! HTTP/2 from clients: each stream becomes a request to a backend over HTTP/1.1.

mod answer;
mod forward;
mod head;
mod io;
mod opened;
mod own;
mod ping;
mod request;
mod shared;
mod websocket;

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use h2::server::{Builder, Connection};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::spawn_local,
};

pub(crate) use self::io::Prefixed;
use self::{
    ping::Pinger,
    shared::{Active, Shared, idle},
};
use crate::{
    limits::{HTTP2_SEND_BUFFER_BYTES, HTTP2_WINDOW_BYTES},
    origin::Origin,
    slot::{Phase, Signal, Slot},
    slots::SlotGuard,
    worker::Worker,
};

/// Requests of one connection at the same time: what browsers and nginx use.
const STREAMS: u32 = 128;
/// How long a connection told to end may take for its goodbye.
const GOODBYE: Duration = Duration::from_secs(5);
/// The same for one that makes room for another.
const QUICK_GOODBYE: Duration = Duration::from_millis(200);

/// Serves one connection to its end.
pub(crate) async fn serve<T: AsyncRead + AsyncWrite + Unpin + 'static>(
    worker: Rc<Worker>,
    slot: SlotGuard,
    io: Prefixed<T>,
    origin: Origin,
    https: bool,
) {
    idle(&worker, &slot, &origin);
    let Some(mut connection) = shake_hands(&worker, &slot, io).await else { return };
    let forwarding = worker.table().forwarding(&origin, https);
    let shared =
        Rc::new(Shared { worker: worker.clone(), origin, forwarding, active: Cell::new(0), slot });
    let mut pinger = Pinger::new(connection.ping_pong());
    let (mut told, mut cut) = (false, false);
    loop {
        let changed = worker.changed.notified();
        let mut changed = pin!(changed);
        changed.as_mut().enable();
        if worker.is_draining() && !told {
            told = true;
            connection.graceful_shutdown();
        }
        let woken = poll_fn(|context| {
            poll_connection(context, &shared, &mut connection, &mut pinger, changed.as_mut())
        });
        let goodbye = match woken.await {
            Woken::Over => return,
            Woken::Interrupted(_) if cut => return,
            Woken::Changed => continue,
            // Its requests are cut off as well, and have a moment to say so.
            Woken::Interrupted(Signal::Cut) => {
                cut = true;
                QUICK_GOODBYE
            }
            Woken::Interrupted(Signal::Expired) if told && shared.active.get() == 0 => return,
            Woken::Interrupted(Signal::Expired) => GOODBYE,
            Woken::Interrupted(Signal::GivenUp) => QUICK_GOODBYE,
        };
        told = true;
        shared.slot.clear_signal();
        shared.slot.set_phase(Phase::Busy);
        shared.slot.set_deadline_ms(worker.clock.deadline_ms(goodbye));
        connection.graceful_shutdown();
    }
}

/// Why the task of a connection went on.
enum Woken {
    Over,
    /// The worker has news; only that it drains matters here.
    Changed,
    Interrupted(Signal),
}

/// Begins the requests that have come, until something else asks for the connection's task.
fn poll_connection<T: AsyncRead + AsyncWrite + Unpin>(
    context: &mut Context<'_>,
    shared: &Rc<Shared>,
    connection: &mut Connection<Prefixed<T>, Bytes>,
    pinger: &mut Pinger,
    changed: Pin<&mut impl Future<Output = ()>>,
) -> Poll<Woken> {
    shared.slot.register(context);
    if let Some(signal) = shared.slot.signal() {
        return Poll::Ready(Woken::Interrupted(signal));
    }
    while let Poll::Ready(accepted) = connection.poll_accept(context) {
        let Some(Ok((request, respond))) = accepted else { return Poll::Ready(Woken::Over) };
        let active = Active::new(shared);
        spawn_local(request::serve(shared.clone(), active, request, respond));
    }
    if pinger.poll_lost(context).is_ready() {
        return Poll::Ready(Woken::Over);
    }
    changed.poll(context).map(|()| Woken::Changed)
}

/// Reads the preface and exchanges settings; none where that fails or takes too long.
async fn shake_hands<T: AsyncRead + AsyncWrite + Unpin>(
    worker: &Worker,
    slot: &Slot,
    io: Prefixed<T>,
) -> Option<Connection<Prefixed<T>, Bytes>> {
    let mut builder = Builder::new();
    builder
        .initial_window_size(HTTP2_WINDOW_BYTES)
        .initial_connection_window_size(HTTP2_WINDOW_BYTES)
        .max_concurrent_streams(STREAMS)
        .enable_connect_protocol()
        .max_header_list_size(u32::try_from(worker.limits.head_bytes).unwrap_or(u32::MAX))
        .max_send_buffer_size(HTTP2_SEND_BUFFER_BYTES);
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
