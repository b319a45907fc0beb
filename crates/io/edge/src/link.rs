//! What carries a request to a server: a connection of its own, or a part of one that is shared. Bytes are counted here.

use std::{
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll},
    time::Duration,
};

use crate::{counters::LaneCounters, net::Sock, stream::Stream, to_server::Exchanged};

/// A way to a server, used by one request at a time; its bytes count for the request's release.
#[derive(Debug)]
pub(crate) struct Link {
    way: Way,
    counters: Rc<LaneCounters>,
}

/// A way to a server.
#[derive(Debug)]
pub(crate) enum Way {
    /// HTTP/1.1 or bytes.
    Own(Sock),
    /// A stream of HTTP/2; in a box, as few are.
    Part(Box<Exchanged>),
}

impl Link {
    pub(crate) fn new(way: Way, counters: Rc<LaneCounters>) -> Self {
        Self { way, counters }
    }

    /// Whether a request on it can open a WebSocket, as the server says within `timeout`.
    pub(crate) async fn allow_websocket(&self, timeout: Duration) -> bool {
        match &self.way {
            Way::Own(_) => true,
            Way::Part(part) => part.allow_websocket(timeout).await,
        }
    }

    /// The connection, where it is a request's own.
    pub(crate) fn into_own(self) -> Option<Sock> {
        match self.way {
            Way::Own(sock) => Some(sock),
            Way::Part(_) => None,
        }
    }
}

impl Stream for Link {
    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let received = match &self.way {
            Way::Own(sock) => sock.poll_recv(context, buffer),
            Way::Part(part) => part.poll_recv(context, buffer),
        };
        if let Poll::Ready(Ok(count)) = received {
            self.counters.received(count);
        }
        received
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let sent = match &self.way {
            Way::Own(sock) => sock.poll_send(context, slices),
            Way::Part(part) => part.poll_send(context, slices),
        };
        if let Poll::Ready(Ok(count)) = sent {
            self.counters.sent(count);
        }
        sent
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.way {
            Way::Own(_) => Poll::Ready(Ok(())),
            Way::Part(part) => part.poll_flush(context),
        }
    }

    fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &self.way {
            Way::Own(sock) => sock.poll_close(context),
            Way::Part(part) => part.poll_close(context),
        }
    }

    fn reset_on_close(&self) {
        match &self.way {
            Way::Own(sock) => sock.reset_on_close(),
            Way::Part(part) => part.reset_on_close(),
        }
    }

    fn socket(&self) -> Option<&Sock> {
        match &self.way {
            Way::Own(sock) => Some(sock),
            Way::Part(_) => None,
        }
    }

    fn count_received(&self, count: usize) {
        self.counters.received(count);
    }

    fn count_sent(&self, count: usize) {
        self.counters.sent(count);
    }
}
