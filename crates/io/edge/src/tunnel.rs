//! Bytes both ways between a client and a backend until both have ended: TCP listeners and upgraded requests.

use std::{
    cell::Cell,
    future::poll_fn,
    io::{self, IoSlice},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::io::Errno;

use crate::{
    buffer::Buffer,
    clock::Clock,
    pipe::Pipe,
    slot::{Signal, Slot},
    stream::Stream,
    websocket::{Frames, WebSocket},
};

/// Largest buffer for one direction, once it carries that much at a time and can't go through a pipe.
const BULK_BYTES: usize = 128 << 10;
/// A direction that moves less at a time is worth no pipe: two more system calls cost as much as the copy.
const PIPE_BYTES: usize = 4 << 10;

/// How a tunnel ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TunnelEnd {
    /// Both sides ended, or the client did.
    Done,
    /// The backend broke the connection.
    BackendBroke,
    /// It was cut off; the client of a WebSocket was told so.
    Cut { told: bool },
    /// Nothing was said for too long.
    Silent,
}

/// One direction.
struct Pump<'a> {
    buffer: &'a mut Buffer,
    /// Through which the kernel moves the bytes, while there are many; the buffer is empty then.
    pipe: Option<Pipe>,
    /// Whether the bytes may go unseen.
    unseen: bool,
    /// Whether it filled the buffer at once.
    bulk: bool,
    ended: bool,
    closed: bool,
}

/// Tells whoever follows the frames of a direction what has passed.
type Passed<'a> = Option<&'a mut Frames>;

/// Which side an error came from.
enum Side {
    From,
    To,
}

/// Whether the kernel moves no bytes between such files.
fn can_not(error: &io::Error) -> bool {
    [Errno::INVAL, Errno::NOSYS, Errno::OPNOTSUPP]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

impl<'a> Pump<'a> {
    fn new(buffer: &'a mut Buffer, unseen: bool) -> Self {
        Self { buffer, pipe: None, unseen, bulk: false, ended: false, closed: false }
    }

    /// Moves what can be moved through the pipe; ready once that is over, at the end or because too little comes.
    fn poll_pipe<A: Stream, B: Stream>(
        &mut self,
        context: &mut Context<'_>,
        from: &A,
        to: &B,
        moved: &Cell<bool>,
    ) -> Poll<Result<(), Side>> {
        let Some(pipe) = &mut self.pipe else { return Poll::Ready(Ok(())) };
        let (Some(source), Some(target)) = (from.socket(), to.socket()) else {
            return Poll::Ready(Ok(()));
        };
        let mut last = usize::MAX;
        loop {
            while pipe.held() > 0 {
                let sent = ready!(target.poll_send_from(context, pipe)).map_err(|_| Side::To)?;
                if sent == 0 {
                    return Poll::Ready(Err(Side::To));
                }
                to.count_sent(sent);
                moved.set(true);
            }
            if last < PIPE_BYTES {
                break;
            }
            last = match source.poll_recv_into(context, pipe) {
                Poll::Ready(Ok(0)) => {
                    self.ended = true;
                    break;
                }
                Poll::Ready(Ok(count)) => count,
                // Nothing was taken: a kernel that can't do it says so before.
                Poll::Ready(Err(error)) if can_not(&error) => {
                    self.unseen = false;
                    break;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Side::From)),
                Poll::Pending => {
                    // Who waits holds no pipe.
                    (self.pipe, self.bulk) = (None, true);
                    return Poll::Pending;
                }
            };
            from.count_received(last);
            moved.set(true);
        }
        self.pipe = None;
        Poll::Ready(Ok(()))
    }

    /// Moves what can be moved; ready once the end has been passed on.
    fn poll<A: Stream, B: Stream>(
        &mut self,
        context: &mut Context<'_>,
        from: &A,
        to: &B,
        moved: &Cell<bool>,
        mut passed: Passed<'_>,
    ) -> Poll<Result<(), Side>> {
        loop {
            ready!(self.poll_pipe(context, from, to, moved))?;
            while !self.buffer.is_empty() {
                let slices = [IoSlice::new(self.buffer.filled())];
                let sent = ready!(to.poll_send(context, &slices)).map_err(|_| Side::To)?;
                if let Some(frames) = &mut passed {
                    frames.pass(&self.buffer.filled()[..sent]);
                }
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
            if std::mem::take(&mut self.bulk) {
                self.pipe = self.unseen.then(Pipe::take).flatten();
                if self.pipe.is_some() {
                    self.buffer.release();
                    continue;
                }
                // A stream that fills it is worth fewer, larger pieces.
                self.buffer.grow(BULK_BYTES);
            }
            match self.buffer.poll_fill(context, from) {
                Poll::Ready(Ok(0)) => self.ended = true,
                Poll::Ready(Ok(_)) => {
                    moved.set(true);
                    self.bulk = self.buffer.is_full();
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

/// How long a tunnel of a connection may be silent in both directions.
pub(crate) struct Silence<'a> {
    pub(crate) clock: &'a Clock,
    pub(crate) slot: &'a Slot,
    pub(crate) limit: Duration,
}

impl Silence<'_> {
    fn heard(&self) {
        self.slot.set_deadline_ms(self.clock.deadline_ms(self.limit));
    }
}

/// Runs a tunnel; the buffers may hold bytes already received. The sides of a `websocket` are told when it is cut off.
pub(crate) async fn tunnel<C: Stream, B: Stream>(
    silence: &Silence<'_>,
    client: &C,
    from_client: &mut Buffer,
    backend: &B,
    from_backend: &mut Buffer,
    mut websocket: Option<WebSocket>,
) -> TunnelEnd {
    let unseen = websocket.is_none() && client.socket().is_some() && backend.socket().is_some();
    let mut up = Pump::new(from_client, unseen);
    let mut down = Pump::new(from_backend, unseen);
    let moved = Cell::new(false);
    silence.heard();
    poll_fn(|context| {
        match silence.slot.signal() {
            Some(Signal::Cut) => {
                let told =
                    websocket.as_ref().is_some_and(|socket| socket.say_goodbye(client, backend));
                return Poll::Ready(TunnelEnd::Cut { told });
            }
            Some(Signal::Expired | Signal::GivenUp) => return Poll::Ready(TunnelEnd::Silent),
            None => {}
        }
        let (to_server, to_client) = match &mut websocket {
            Some(socket) => (Some(&mut socket.to_server), Some(&mut socket.to_client)),
            None => (None, None),
        };
        let sent = up.poll(context, client, backend, &moved, to_server);
        let received = down.poll(context, backend, client, &moved, to_client);
        if moved.replace(false) {
            silence.heard();
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
