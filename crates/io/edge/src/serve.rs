//! A new connection: admitted or not, then TLS, then whatever protocol its listener and its first bytes say.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    rc::Rc,
    sync::Arc,
    task::Poll,
};

use hornero_model::{Millis, Protocol};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::{
    admission::{Admission, Refused},
    buffer::Buffer,
    http1::{self, answer::own_answer},
    http2,
    limits::{LINGER, LINGER_BYTES},
    local_backend::Reuse,
    net::Sock,
    origin::Origin,
    proxy_protocol::{self, Endpoints, Header, NoHeader},
    room::{Kind, Place},
    slot::{Phase, Signal, Slot},
    slots::SlotGuard,
    source::Source,
    stream::{Stream, TlsSock, send_now},
    tunnel::{Silence, TunnelEnd, tunnel},
    upstream::{Attempts, acquire},
    worker::Worker,
};

/// What an HTTP/2 client that knows beforehand begins with (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Where the preface begins to be none of HTTP/1: its method is HTTP/2's alone (RFC 9113, 11.6).
const HTTP2_METHOD: &[u8] = b"PRI ";
/// What the server says to a preface that breaks off: empty SETTINGS, and GOAWAY with PROTOCOL_ERROR (RFC 9113, 3.4).
const BAD_PREFACE: &[u8] = b"\0\0\0\x04\0\0\0\0\0\
    \0\0\x08\x07\0\0\0\0\0\0\0\0\0\0\0\0\x01";

/// Serves one connection, which `peer` has made to the listener at `address`, to its end.
pub(crate) async fn serve_connection(
    worker: Rc<Worker>,
    slot: SlotGuard,
    peer: SocketAddr,
    address: SocketAddr,
    connection: OwnedFd,
) {
    poll_fn(|context| {
        slot.register(context);
        Poll::Ready(())
    })
    .await;
    let table = worker.table();
    let Some(listener) = table.listener(&address) else { return };
    let (protocol, tls) = (listener.protocol, listener.tls.clone());
    let has_header = listener.expects_header(peer.ip());
    let mut origin = Origin {
        peer,
        destination: address,
        listener: address,
        is_internal: listener.gauge.kind() == Kind::Internal,
        limits: listener.limits,
    };
    let place = Place { source: Cell::new(Source::of(peer.ip())), gauge: listener.gauge.clone() };
    drop(table);
    let Ok(sock) = Sock::new(connection) else { return };
    if address.ip().is_unspecified() {
        origin.destination = sock.local_address().unwrap_or(address);
    }
    let admitted = match Admission::new(&worker.slots, &slot, place, origin.limits) {
        Ok(admission) if has_header => {
            let Some(client) = speaks_for(&worker, &slot, &origin, &sock).await else { return };
            origin = client;
            let source = Source::of(origin.peer.ip());
            admission.attribute(&worker.slots, &slot, source).map(|()| admission)
        }
        admitted => admitted,
    };
    let _admission = match admitted {
        Ok(admission) => admission,
        Err(refused) if protocol == Protocol::Http && tls.is_none() => {
            return turn_away(&worker, &slot, &sock, refused).await;
        }
        Err(_) => return,
    };
    match (protocol, tls) {
        // Each in a box of its own: a connection holds the memory of what it speaks, not of what it could.
        (Protocol::Http, None) => Box::pin(serve_plain(worker, slot, origin, sock)).await,
        (Protocol::Http, Some(tls)) => Box::pin(serve_tls(worker, slot, origin, sock, tls)).await,
        (Protocol::Tcp, _) => Box::pin(serve_tcp(&worker, &slot, origin, sock)).await,
    }
}

/// Says to a client that speaks HTTP in the clear why it is refused.
async fn turn_away(worker: &Worker, slot: &Slot, sock: &Sock, refused: Refused) {
    let said = match refused {
        Refused::Source => (429, "too many connections from your address"),
        Refused::Full => (503, "too many connections"),
    };
    let mut answer = Vec::new();
    own_answer(&mut answer, &worker.clock.date(), said, false, true);
    refuse(worker, slot, sock, &answer).await;
}

/// Whose connection a trusted proxy says that it is; none where it does not say.
async fn speaks_for(worker: &Worker, slot: &Slot, origin: &Origin, sock: &Sock) -> Option<Origin> {
    slot.set_phase(Phase::Head { since_ms: worker.clock.now_ms() });
    slot.set_deadline_ms(worker.clock.deadline_ms(origin.head_timeout(&worker.limits)));
    let received = Box::pin(proxy_protocol::receive(slot, sock)).await;
    slot.set_phase(Phase::Busy);
    slot.set_deadline_ms(u64::MAX);
    let fault = match received {
        Ok(Header::Relayed(Endpoints { source, destination })) => {
            return Some(Origin { peer: source, destination, ..*origin });
        }
        Ok(Header::Own) => return Some(*origin),
        Err(NoHeader::Gone) => return None,
        Err(NoHeader::Late) => "its PROXY header took too long".to_owned(),
        Err(NoHeader::Bad(bad)) => bad.to_string(),
    };
    tracing::debug!("a connection of `{}` is refused: {fault}", origin.peer);
    if let Some(place) = slot.place() {
        place.gauge.count_bad_proxy_header();
    }
    None
}

/// Says why, and stays for a moment, so that the client's request does not turn the answer into a reset. Whoever floods
/// gets no more than a few of these moments.
async fn refuse(worker: &Worker, slot: &Slot, sock: &Sock, text: &[u8]) {
    send_now(sock, text);
    sock.shutdown_send();
    let Some(_lingering) = worker.linger() else { return };
    slot.set_deadline_ms(worker.clock.deadline_ms(LINGER));
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
    let since_ms = worker.clock.now_ms();
    slot.set_phase(Phase::Idle { since_ms });
    slot.set_deadline_ms(worker.clock.deadline_ms(origin.head_timeout(&worker.limits)));
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
    slot.set_phase(Phase::Head { since_ms: worker.clock.now_ms() });
    slot.set_deadline_ms(worker.clock.deadline_ms(origin.head_timeout(&worker.limits)));
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
    let Ok(mut pool) = table.route(&origin.listener, b"", b"", |_| None) else { return };
    drop(table);
    let mut ticket = None;
    let mut attempts = Attempts::new(worker);
    let acquired =
        acquire(worker, slot, &origin, &mut pool, &mut ticket, &mut attempts, Reuse::Never).await;
    let Ok(mut upstream) = acquired else {
        sock.reset_on_close();
        return;
    };
    let mut input = Buffer::default();
    let (backend, from_backend) = (&upstream.link, &mut upstream.input);
    let limit = origin.limits.idle_timeout.map_or(worker.limits.tunnel_timeout, Millis::duration);
    let silence = Silence { clock: &worker.clock, slot, limit };
    let end = tunnel(&silence, &sock, &mut input, backend, from_backend, None).await;
    if let (Some(ticket), TunnelEnd::BackendBroke | TunnelEnd::Cut { .. }) = (&mut ticket, end) {
        ticket.fail();
    }
    slot.end();
}
