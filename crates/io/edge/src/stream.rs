//! What the proxy needs of a connection, plain or TLS.

use std::{
    cell::RefCell,
    future::poll_fn,
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use crate::net::Sock;

/// A byte stream used by one task, in both directions at once.
pub(crate) trait Stream {
    /// Receives some bytes; 0 is the end.
    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>>;
    /// Sends some bytes, or keeps them for `poll_flush`.
    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>>;
    /// Sends what was kept.
    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Ends the sending direction.
    fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>>;
    /// Makes the coming close a reset.
    fn reset_on_close(&self);
    /// The socket, where its bytes are those of the stream, so that the kernel can move them.
    fn socket(&self) -> Option<&Sock> {
        None
    }
    /// Counts bytes that the kernel took out of the socket.
    fn count_received(&self, _: usize) {}
    /// Counts bytes that the kernel put into the socket.
    fn count_sent(&self, _: usize) {}
}

impl Stream for Sock {
    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Sock::poll_recv(self, context, buffer)
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Sock::poll_send(self, context, slices)
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shutdown_send();
        Poll::Ready(Ok(()))
    }

    fn reset_on_close(&self) {
        Sock::reset_on_close(self);
    }

    fn socket(&self) -> Option<&Sock> {
        Some(self)
    }
}

/// A TLS connection from a client.
pub(crate) struct TlsSock(RefCell<TlsStream<TcpStream>>);

impl TlsSock {
    pub(crate) fn new(stream: TlsStream<TcpStream>) -> Self {
        Self(RefCell::new(stream))
    }
}

impl Stream for TlsSock {
    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut buffer = ReadBuf::new(buffer);
        ready!(Pin::new(&mut *self.0.borrow_mut()).poll_read(context, &mut buffer))?;
        Poll::Ready(Ok(buffer.filled().len()))
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(context, slices)
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(context)
    }

    fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(context)
    }

    fn reset_on_close(&self) {
        // An end without close_notify already says that the answer is not complete.
    }
}

/// Sends what fits at once to a client that is about to be left; nobody waits for more.
pub(crate) fn send_now<S: Stream>(stream: &S, bytes: &[u8]) {
    let mut context = Context::from_waker(Waker::noop());
    // The client may have gone, or takes nothing: it is left either way.
    if let Poll::Ready(Ok(_)) = stream.poll_send(&mut context, &[IoSlice::new(bytes)]) {
        let _ = stream.poll_flush(&mut context);
    }
}

/// Sends all of `first`, then all of `second`, in as few system calls as the socket lets.
pub(crate) async fn send_all<S: Stream>(stream: &S, first: &[u8], second: &[u8]) -> io::Result<()> {
    let (mut first, mut second) = (first, second);
    poll_fn(|context| {
        while !first.is_empty() || !second.is_empty() {
            let sent = if second.is_empty() {
                ready!(stream.poll_send(context, &[IoSlice::new(first)]))?
            } else if first.is_empty() {
                ready!(stream.poll_send(context, &[IoSlice::new(second)]))?
            } else {
                let both = [IoSlice::new(first), IoSlice::new(second)];
                ready!(stream.poll_send(context, &both))?
            };
            if sent == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            let of_first = sent.min(first.len());
            first = &first[of_first..];
            second = &second[sent - of_first..];
        }
        stream.poll_flush(context)
    })
    .await
}
