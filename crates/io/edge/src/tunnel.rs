//! Bytes both ways between a client and a backend until both have ended: TCP listeners and upgraded requests.

use std::{
    cell::Cell,
    future::poll_fn,
    io::IoSlice,
    task::{Context, Poll, ready},
};

use crate::{
    buffer::Buffer,
    slot::{Signal, Slot},
    stream::Stream,
    worker::Worker,
};

/// Largest buffer for one direction, once it carries that much at a time.
const BULK_BYTES: usize = 128 << 10;

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TunnelEnd {
    /// Both sides ended, or the client did.
    Done,
    /// The backend broke the connection.
    BackendBroke,
    /// It was cut off.
    Cut,
    /// Nothing was said for too long.
    Silent,
}

/// One direction.
struct Pump<'a> {
    buffer: &'a mut Buffer,
    ended: bool,
    closed: bool,
}

/// Which side an error came from.
enum Side {
    From,
    To,
}

impl Pump<'_> {
    /// Moves what can be moved; ready once the end has been passed on.
    fn poll<A: Stream, B: Stream>(
        &mut self,
        context: &mut Context<'_>,
        from: &A,
        to: &B,
        moved: &Cell<bool>,
    ) -> Poll<Result<(), Side>> {
        loop {
            while !self.buffer.is_empty() {
                let slices = [IoSlice::new(self.buffer.filled())];
                let sent = ready!(to.poll_send(context, &slices)).map_err(|_| Side::To)?;
                self.buffer.consume(sent);
                moved.set(true);
            }
            ready!(to.poll_flush(context)).map_err(|_| Side::To)?;
            if self.closed {
                return Poll::Ready(Ok(()));
            }
            if self.ended {
                ready!(to.poll_close(context)).map_err(|_| Side::To)?;
                self.closed = true;
                return Poll::Ready(Ok(()));
            }
            match self.buffer.poll_fill(context, from) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {
                    moved.set(true);
                    if self.buffer.is_full() {
                        // A stream that fills it is worth fewer, larger pieces.
                        self.buffer.grow(BULK_BYTES);
                    }
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::From)),
                Poll::Pending => {
                    self.buffer.release();
                    return Poll::Pending;
                }
            }
        }
    }
}

/// Runs a tunnel; the buffers may hold bytes already received.
pub(crate) async fn tunnel<C: Stream, B: Stream>(
    worker: &Worker,
    slot: &Slot,
    client: &C,
    from_client: &mut Buffer,
    backend: &B,
    from_backend: &mut Buffer,
) -> TunnelEnd {
    let mut up = Pump { buffer: from_client, ended: false, closed: false };
    let mut down = Pump { buffer: from_backend, ended: false, closed: false };
    let moved = Cell::new(false);
    slot.set_deadline_ms(worker.deadline_ms(worker.limits.tunnel_timeout));
    poll_fn(|context| {
        match slot.signal() {
            Some(Signal::Cut) => return Poll::Ready(TunnelEnd::Cut),
            Some(Signal::Expired | Signal::GivenUp) => return Poll::Ready(TunnelEnd::Silent),
            None => {}
        }
        let sent = up.poll(context, client, backend, &moved);
        let received = down.poll(context, backend, client, &moved);
        if moved.replace(false) {
            slot.set_deadline_ms(worker.deadline_ms(worker.limits.tunnel_timeout));
        }
        match (sent, received) {
            (_, Poll::Ready(Err(Side::From))) => {
                // Not only does a reset say so: it must reach the client as one too.
                client.reset_on_close();
                Poll::Ready(TunnelEnd::BackendBroke)
            }
            (Poll::Ready(Err(Side::From)), _) => {
                backend.reset_on_close();
                Poll::Ready(TunnelEnd::Done)
            }
            // The client takes no more: nothing that the backend has still to say can reach anybody.
            (_, Poll::Ready(Err(Side::To))) => Poll::Ready(TunnelEnd::Done),
            (Poll::Ready(Ok(())), Poll::Ready(Ok(()))) => Poll::Ready(TunnelEnd::Done),
            // The backend takes no more, but may still have something to say.
            (Poll::Ready(Err(Side::To)), Poll::Ready(Ok(()))) => Poll::Ready(TunnelEnd::Done),
            (Poll::Ready(Err(Side::To)), Poll::Pending) => Poll::Pending,
            (Poll::Pending, _) | (_, Poll::Pending) => Poll::Pending,
        }
    })
    .await
}
