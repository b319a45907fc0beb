//! A new connection: admitted or not, then TLS, then whatever protocol its listener and its first bytes say.

use std::{
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use hornero_model::Protocol;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::{
    admission::{Admission, Place, Refused, Source},
    buffer::Buffer,
    http1::{self, answer::own_answer},
    http2,
    limits::{LINGER, LINGER_BYTES},
    net::Sock,
    slot::{Phase, Signal, Slot, SlotGuard},
    stream::{Stream, TlsSock, send_now},
    tunnel::{TunnelEnd, tunnel},
    upstream::{Attempts, Reuse, acquire},
    worker::Worker,
};

/// What an HTTP/2 client that knows beforehand begins with (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where the preface begins to be none of HTTP/1: its method is HTTP/2's alone (RFC 9113, 11.6).
const HTTP2_METHOD: &[u8] = b"PRI ";
/// What the server says to a preface that breaks off: empty SETTINGS, and GOAWAY with PROTOCOL_ERROR (RFC 9113, 3.4).
const BAD_PREFACE: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
    \0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";

/// Where a connection came from and where to.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Origin {
    pub(crate) peer: SocketAddr,
    /// The listener's address in the table.
    pub(crate) listener: SocketAddr,
}

/// Serves one accepted connection to its end.
pub(crate) async fn serve_connection(
    worker: Rc<Worker>,
    slot: SlotGuard,
    origin: Origin,
    connection: OwnedFd,
) {
    poll_fn(|context| {
        slot.register(context);
        Poll::Ready(())
    })
    .await;
    let table = worker.table();
    let Some(listener) = table.listener(&origin.listener) else { return };
    let (protocol, tls) = (listener.protocol, listener.tls.clone());
    let place = Place { source: Source::of(origin.peer.ip()), gauge: listener.gauge.clone() };
    drop(table);
    let Ok(sock) = Sock::new(connection) else { return };
    let _admission = match Admission::new(&worker, &slot, place) {
        Ok(admission) => admission,
        Err(refused) => {
            if protocol == Protocol::Http && tls.is_none() {
                let said = match refused {
                    Refused::Source => (429, "too many connections from your address"),
                    Refused::Full => (503, "too many connections"),
                };
                let mut answer = Vec::new();
                own_answer(&mut answer, &worker.date(), said, false, true);
                refuse(&worker, &slot, &sock, &answer).await;
            }
            return;
        }
    };
    match (protocol, tls) {
        // Each in a box of its own: a connection holds the memory of what it speaks, not of what it could.
        (Protocol::Http, None) => Box::pin(serve_plain(worker, slot, origin, sock)).await,
        (Protocol::Http, Some(tls)) => Box::pin(serve_tls(worker, slot, origin, sock, tls)).await,
        (Protocol::Tcp, _) => Box::pin(serve_tcp(&worker, &slot, origin, sock)).await,
    }
}

/// Says why, and stays for a moment, so that the client's request does not turn the answer into a reset. Whoever floods
/// gets no more than a few of these moments.
async fn refuse(worker: &Worker, slot: &Slot, sock: &Sock, text: &[u8]) {
    send_now(sock, text);
    sock.shutdown_send();
    let Some(_lingering) = worker.linger() else { return };
    slot.set_deadline_ms(worker.deadline_ms(LINGER));
    let (mut input, mut read) = (Buffer::default(), 0);
    while read < LINGER_BYTES
        && let Ok(count) = fill(slot, &mut input, sock).await
        && count > 0
    {
        read += count;
        input.consume(count);
    }
}

async fn serve_plain(worker: Rc<Worker>, slot: SlotGuard, origin: Origin, sock: Sock) {
    let mut input = Buffer::default();
    let since_ms = worker.now_ms();
    slot.set_phase(Phase::Idle { since_ms });
    slot.set_deadline_ms(worker.deadline_ms(worker.limits.head_timeout));
    // Only the preface itself is waited for: a byte that differs is HTTP/1.
    while HTTP2_PREFACE.starts_with(input.filled()) {
        if !matches!(fill(&slot, &mut input, &sock).await, Ok(count) if count > 0) {
            return slow_head(&slot);
        }
        slot.set_phase(Phase::Head { since_ms });
    }
    if input.filled().starts_with(HTTP2_METHOD) && !input.filled().starts_with(HTTP2_PREFACE) {
        return refuse(&worker, &slot, &sock, BAD_PREFACE).await;
    }
    if !input.filled().starts_with(HTTP2_PREFACE) {
        let served = http1::connection::serve(worker, slot, sock, origin, false, input);
        return Box::pin(served).await;
    }
    let Ok(stream) = into_tokio(sock) else { return };
    let stream = http2::Prefixed::new(stream, input.filled());
    Box::pin(http2::serve(worker, slot, stream, origin, false)).await;
}

/// Receives more, unless the slot is interrupted.
async fn fill<S: Stream>(slot: &Slot, input: &mut Buffer, stream: &S) -> io::Result<usize> {
    poll_fn(|context| {
        if slot.signal().is_some() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let received = input.poll_fill(context, stream);
        if received.is_pending() {
            input.park();
        }
        received
    })
    .await
}

/// Counts a connection whose time was up before its first head.
fn slow_head(slot: &Slot) {
    if let (Some(Signal::Expired), Some(place)) = (slot.signal(), slot.place()) {
        place.gauge.count_slow_head();
    }
}

async fn serve_tls(
    worker: Rc<Worker>,
    slot: SlotGuard,
    origin: Origin,
    sock: Sock,
    tls: Arc<ServerConfig>,
) {
    let Ok(stream) = into_tokio(sock) else { return };
    slot.set_phase(Phase::Head { since_ms: worker.now_ms() });
    slot.set_deadline_ms(worker.deadline_ms(worker.limits.head_timeout));
    let stream = {
        let mut handshake = Box::pin(TlsAcceptor::from(tls).accept(stream));
        let shaken = poll_fn(|context| {
            if slot.signal().is_some() {
                return Poll::Ready(None);
            }
            handshake.as_mut().poll(context).map(Result::ok)
        });
        shaken.await
    };
    let Some(stream) = stream else { return slow_head(&slot) };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        let stream = http2::Prefixed::new(stream, &[]);
        return Box::pin(http2::serve(worker, slot, stream, origin, true)).await;
    }
    let stream = TlsSock::new(stream);
    let served = http1::connection::serve(worker, slot, stream, origin, true, Buffer::default());
    Box::pin(served).await;
}

fn into_tokio(sock: Sock) -> io::Result<TcpStream> {
    TcpStream::from_std(sock.into_inner().into())
}

async fn serve_tcp(worker: &Worker, slot: &Slot, origin: Origin, sock: Sock) {
    let table = worker.table();
    let pool = table.listener(&origin.listener).and_then(|listener| listener.route(b"", b""));
    let Some(mut pool) = pool.map(|index| table.pools[index].clone()) else { return };
    drop(table);
    let mut ticket = None;
    let mut attempts = Attempts::default();
    let acquired = acquire(worker, slot, &mut pool, &mut ticket, &mut attempts, Reuse::Never).await;
    let Ok(mut upstream) = acquired else {
        sock.reset_on_close();
        return;
    };
    let mut input = Buffer::default();
    let (backend, from_backend) = (&upstream.sock, &mut upstream.input);
    let end = tunnel(worker, slot, &sock, &mut input, backend, from_backend).await;
    if let (Some(ticket), TunnelEnd::BackendBroke | TunnelEnd::Cut) = (&mut ticket, end) {
        ticket.fail();
    }
    slot.end();
}
