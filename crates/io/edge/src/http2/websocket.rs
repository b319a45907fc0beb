//! WebSockets by HTTP/2 (RFC 8441): a client's stream as bytes.

use std::{
    cell::RefCell,
    io::{self, IoSlice},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use h2::{Reason, RecvStream, SendStream};

use crate::stream::Stream;

/// A stream of HTTP/2 as a stream of bytes.
pub(super) struct Bidirectional {
    received: RefCell<(RecvStream, Bytes)>,
    sending: RefCell<SendStream<Bytes>>,
}

impl Bidirectional {
    pub(super) fn new(received: RecvStream, sending: SendStream<Bytes>) -> Self {
        Self { received: RefCell::new((received, Bytes::new())), sending: RefCell::new(sending) }
    }

    /// Ends the client's stream as a connection ends that breaks (RFC 8441, 5).
    pub(super) fn reset(&self) {
        self.sending.borrow_mut().send_reset(Reason::CANCEL);
    }
}

impl Stream for Bidirectional {
    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let (stream, rest) = &mut *self.received.borrow_mut();
        while rest.is_empty() {
            match ready!(stream.poll_data(context)) {
                Some(data) => *rest = data.map_err(io::Error::other)?,
                None => return Poll::Ready(Ok(0)),
            }
        }
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        rest.advance(count);
        stream.flow_control().release_capacity(count).map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut sending = self.sending.borrow_mut();
        let Some(slice) = slices.iter().find(|slice| !slice.is_empty()) else {
            return Poll::Ready(Ok(0));
        };
        sending.reserve_capacity(slice.len());
        while sending.capacity() == 0 {
            match ready!(sending.poll_capacity(context)) {
                Some(Ok(_)) => {}
                Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
            }
        }
        let count = sending.capacity().min(slice.len());
        let piece = Bytes::copy_from_slice(&slice[..count]);
        sending.send_data(piece, false).map_err(io::Error::other)?;
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let closed = self.sending.borrow_mut().send_data(Bytes::new(), true);
        Poll::Ready(closed.map_err(io::Error::other))
    }

    fn reset_on_close(&self) {
        self.reset();
    }
}
