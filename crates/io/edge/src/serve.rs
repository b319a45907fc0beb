//! A new connection: admitted or not, then TLS, then whatever protocol its listener and its first bytes say.

use std::{future::poll_fn, io, net::SocketAddr, os::fd::OwnedFd, rc::Rc, sync::Arc, task::Poll};

use hornero_model::Protocol;
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::{
    buffer::Buffer,
    http1, http2,
    net::Sock,
    slot::{Slot, SlotGuard},
    stream::{Stream, TlsSock, send_all},
    tunnel::{TunnelEnd, tunnel},
    upstream::{Attempts, Reuse, acquire},
    worker::{Admission, Worker},
};

/// What an HTTP/2 client that knows beforehand begins with (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Said to connections beyond the limit; short enough for an empty socket buffer.
const TOO_MANY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain\r\n\
    content-length: 21\r\nconnection: close\r\n\r\ntoo many connections\n";

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
    let admission = Admission::new(&worker);
    let table = worker.table();
    let Some(listener) = table.listener(&origin.listener) else { return };
    let (protocol, tls) = (listener.protocol, listener.tls.clone());
    drop(table);
    let Ok(sock) = Sock::new(connection) else { return };
    match (protocol, tls, admission) {
        (Protocol::Http, None, None) => {
            // Best effort: whoever floods gets no more than this.
            let _ = send_all(&sock, TOO_MANY, &[]).await;
            sock.shutdown_send();
        }
        (_, _, None) => {}
        (Protocol::Http, None, Some(_admission)) => serve_plain(worker, slot, origin, sock).await,
        (Protocol::Http, Some(tls), Some(_admission)) => {
            serve_tls(worker, slot, origin, sock, tls).await;
        }
        (Protocol::Tcp, _, Some(_admission)) => serve_tcp(&worker, &slot, origin, sock).await,
    }
}

async fn serve_plain(worker: Rc<Worker>, slot: SlotGuard, origin: Origin, sock: Sock) {
    let mut input = Buffer::default();
    slot.set_idle_since_ms(Some(worker.now_ms()));
    slot.set_deadline_ms(worker.deadline_ms(worker.limits.head_timeout));
    // Only the preface itself is waited for: a byte that differs is HTTP/1.
    while HTTP2_PREFACE.starts_with(input.filled()) {
        if !matches!(fill(&slot, &mut input, &sock).await, Ok(count) if count > 0) {
            return;
        }
    }
    if !input.filled().starts_with(HTTP2_PREFACE) {
        return http1::connection::serve(worker, slot, sock, origin, false, input).await;
    }
    let Ok(stream) = into_tokio(sock) else { return };
    http2::serve(worker, slot, http2::Prefixed::new(stream, input.filled()), origin, false).await;
}

/// Receives more, unless the slot is interrupted.
async fn fill<S: Stream>(slot: &Slot, input: &mut Buffer, stream: &S) -> io::Result<usize> {
    poll_fn(|context| {
        if slot.signal().is_some() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        input.poll_fill(context, stream)
    })
    .await
}

async fn serve_tls(
    worker: Rc<Worker>,
    slot: SlotGuard,
    origin: Origin,
    sock: Sock,
    tls: Arc<ServerConfig>,
) {
    let Ok(stream) = into_tokio(sock) else { return };
    let handshake = TlsAcceptor::from(tls).accept(stream);
    let Ok(Ok(stream)) = tokio::time::timeout(worker.limits.head_timeout, handshake).await else {
        return;
    };
    if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
        return http2::serve(worker, slot, http2::Prefixed::new(stream, &[]), origin, true).await;
    }
    let stream = TlsSock::new(stream);
    http1::connection::serve(worker, slot, stream, origin, true, Buffer::default()).await;
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
