//! A client's HTTP/1.1 connection: requests one after the other, each answered before the next is begun.

use std::{borrow::Cow, future::poll_fn, io, rc::Rc, task::Poll, time::Duration};

use super::{
    answer::own_answer,
    body::Framing,
    exchange::{Exchange, ExchangeEnd},
    field::values,
    head::{BadRequest, RequestHead, translate_request},
};
use crate::{
    buffer::Buffer,
    counters::Ticket,
    forwarding::Forwarding,
    limits::{LINGER, LINGER_IN_ALL, LINGER_READS},
    local_backend::Reuse,
    origin::Origin,
    pool::LocalPool,
    slot::{Phase, Signal},
    slots::SlotGuard,
    stream::{Stream, send_all, send_now},
    tunnel::{Silence, TunnelEnd, tunnel},
    upstream::{Attempts, HELD_BACK, Unserved, Upstream, acquire},
    view::OwnAnswer,
    websocket::WebSocket,
    worker::{Counted, Worker},
};

/// Most that a connection keeps of each buffer for heads between requests: nearly all heads fit.
const KEPT_BYTES: usize = 6 << 10;

/// What a connection does after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    Request,
    Close,
    /// Closes once the client has had time to read the refusal.
    Linger,
}

/// Why no request can be read.
enum HeadEnd {
    Closed,
    TimedOut,
    /// The connection makes room for another one, its head not complete.
    GivenUp,
    Bad(BadRequest),
}

/// How far the reading of a head has come.
#[derive(Default)]
struct HeadReading {
    /// Whether it is the first of its connection.
    first: bool,
    /// Bytes of it that were searched for its end.
    searched: usize,
    /// Whether a byte of it has come.
    begun: bool,
    /// Whether the connection was given up, and looked at once more since.
    last_look: bool,
    /// Leave to be beyond the usual buffer.
    large: Option<Counted>,
}

/// A head, where it goes or the edge's own answer to it, and what it draws where its client sticks to a side.
type Routed = (RequestHead, Result<Rc<LocalPool>, OwnAnswer>, Option<u32>);

struct Connection<S> {
    worker: Rc<Worker>,
    slot: SlotGuard,
    client: S,
    origin: Origin,
    forwarding: Forwarding,
    input: Buffer,
    /// The head for the backend.
    request: Vec<u8>,
    out: Vec<u8>,
}

/// Serves `client` until either side ends; `input` may hold bytes already received.
pub(crate) async fn serve<S: Stream>(
    worker: Rc<Worker>,
    slot: SlotGuard,
    client: S,
    origin: Origin,
    https: bool,
    input: Buffer,
) {
    let forwarding = worker.table().forwarding(&origin, https);
    let (request, out) = (Vec::new(), Vec::new());
    let mut connection =
        Connection { worker, slot, client, origin, forwarding, input, request, out };
    // A handshake has taken its time already; what follows is between requests.
    let mut first = !https;
    loop {
        let next = match connection.read_head(std::mem::take(&mut first)).await {
            Ok((head, pool, stuck)) => connection.request(&head, pool, stuck).await,
            Err(HeadEnd::Closed) => Next::Close,
            Err(HeadEnd::GivenUp) => {
                let (date, said) = (connection.worker.clock.date(), (408, "too many connections"));
                own_answer(&mut connection.out, &date, said, false, true);
                send_now(&connection.client, &connection.out);
                Next::Close
            }
            Err(HeadEnd::TimedOut) => {
                if let Some(place) = connection.slot.place() {
                    place.gauge.count_slow_head();
                }
                connection.refuse(408, "request took too long", false, true).await
            }
            Err(HeadEnd::Bad(bad)) => {
                connection.refuse(bad.status(), &bad.to_string(), false, true).await
            }
        };
        match next {
            Next::Request => {}
            Next::Close => return,
            Next::Linger => return connection.linger().await,
        }
    }
}

impl<S: Stream> Connection<S> {
    /// Reads a head, writes the backend's into `self.request` and finds the pool. The `first` one of a connection has
    /// its deadline already.
    async fn read_head(&mut self, first: bool) -> Result<Routed, HeadEnd> {
        self.slot.set_phase(Phase::Idle { since_ms: self.worker.clock.now_ms() });
        if !first {
            self.set_deadline(self.origin.idle_timeout(&self.worker.limits));
        }
        let mut reading = HeadReading { first, ..HeadReading::default() };
        loop {
            if self.input.is_empty() {
                self.give_back();
            } else if let Some(found) = self.look_for_head(&mut reading)? {
                return Ok(found);
            }
            match self.receive(&mut reading.last_look).await {
                Ok(Ok(count)) if count > 0 => {}
                Err(Signal::GivenUp) if reading.begun => return Err(HeadEnd::GivenUp),
                Err(Signal::Expired) if reading.begun => return Err(HeadEnd::TimedOut),
                Ok(_) | Err(_) => return Err(HeadEnd::Closed),
            }
        }
    }

    /// Takes a head that is complete, or makes room for the rest of it.
    fn look_for_head(&mut self, reading: &mut HeadReading) -> Result<Option<Routed>, HeadEnd> {
        if !reading.begun {
            reading.begun = true;
            self.slot.set_phase(Phase::Head { since_ms: self.worker.clock.now_ms() });
            if !reading.first {
                self.set_deadline(self.origin.head_timeout(&self.worker.limits));
            }
        }
        // A head that trickles in is parsed when it may be complete, not for each byte.
        let may_be_complete =
            reading.searched == 0 || ends_a_line(self.input.filled(), reading.searched);
        let found = if may_be_complete { self.translate()? } else { None };
        if let Some((mut head, pool, stuck)) = found {
            self.slot.set_phase(Phase::Busy);
            if self.slot.signal() == Some(Signal::GivenUp) {
                self.slot.clear_signal();
                head.keep_alive = false;
            }
            return Ok(Some((head, pool, stuck)));
        }
        reading.searched = self.input.filled().len();
        if self.input.is_full() {
            if reading.large.is_none() {
                reading.large = self.worker.large_head();
            }
            if reading.large.is_none() {
                return Err(HeadEnd::Bad(BadRequest::Crowded));
            }
            if !self.input.grow(self.worker.limits.head_bytes) {
                return Err(HeadEnd::Bad(BadRequest::TooLarge));
            }
        }
        Ok(None)
    }

    /// Receives more, unless the connection is interrupted; a request that has come by then is still served.
    async fn receive(&mut self, last_look: &mut bool) -> Result<io::Result<usize>, Signal> {
        let (slot, input, client) = (&self.slot, &mut self.input, &self.client);
        poll_fn(|context| {
            match slot.signal() {
                None => {}
                Some(Signal::GivenUp) if !*last_look => *last_look = true,
                Some(signal) => return Poll::Ready(Err(signal)),
            }
            let received = input.poll_fill(context, client).map(Ok);
            if received.is_pending() {
                if let Some(signal) = slot.signal() {
                    return Poll::Ready(Err(signal));
                }
                input.park();
            }
            received
        })
        .await
    }

    fn set_deadline(&self, span: Duration) {
        self.slot.set_deadline_ms(self.worker.clock.deadline_ms(span));
    }

    /// Gives back the memory that a connection between requests does not need.
    fn give_back(&mut self) {
        self.input.release();
        self.request.shrink_to(KEPT_BYTES);
        self.out.shrink_to(KEPT_BYTES);
    }

    fn translate(&mut self) -> Result<Option<Routed>, HeadEnd> {
        let filled = self.input.filled();
        let head =
            translate_request(filled, &self.forwarding, &mut self.request).map_err(HeadEnd::Bad)?;
        let Some(head) = head else { return Ok(None) };
        let table = self.worker.table();
        let (host, path) = (&filled[head.host.clone()], &filled[head.path.clone()]);
        let pool = match &head.last_hop {
            Some((status, text)) => Err((*status, Cow::Borrowed(*text))),
            None => {
                let field = |name: &'static str| values(&filled[..head.used], name).next();
                table.route(&self.origin.listener, host, path, field)
            }
        };
        let stuck = pool.as_ref().ok().and_then(|pool| pool.sticky.as_deref());
        let stuck = stuck.and_then(|of| of.draw(values(&filled[..head.used], of.field())));
        self.input.consume(head.used);
        Ok(Some((head, pool, stuck)))
    }

    async fn request(
        &mut self,
        head: &RequestHead,
        pool: Result<Rc<LocalPool>, OwnAnswer>,
        stuck: Option<u32>,
    ) -> Next {
        let mut pool = match pool {
            Ok(pool) => pool,
            Err((status, text)) => return self.refuse_request(head, status, &text).await,
        };
        self.slot.set_deadline_ms(self.worker.clock.deadline_ms(self.worker.limits.answer_timeout));
        let mut attempts = Attempts::new(&self.worker).stick(stuck);
        let mut ticket = None;
        let next = loop {
            let reuse = if head.idempotent { Reuse::Likely } else { Reuse::Certain };
            let (slot, origin) = (&self.slot, &self.origin);
            let acquired =
                acquire(&self.worker, slot, origin, &mut pool, &mut ticket, &mut attempts, reuse);
            let upstream = match acquired.await {
                Ok(upstream) => upstream,
                Err(Unserved::NoBackend) => {
                    break self.refuse_request(head, 503, "no healthy server").await;
                }
                Err(Unserved::Unreachable) => {
                    break self.refuse_request(head, 502, "no server could be reached").await;
                }
                Err(Unserved::Held) => break self.refuse_request(head, 503, HELD_BACK).await,
            };
            let Some(ticket) = &mut ticket else { break Next::Close };
            if let Some(next) = self.attempt(head, upstream, ticket, &pool, &mut attempts).await {
                break next;
            }
        };
        self.slot.end();
        next
    }

    /// One attempt at one backend; none asks for another.
    async fn attempt(
        &mut self,
        head: &RequestHead,
        mut upstream: Upstream,
        ticket: &mut Ticket,
        pool: &LocalPool,
        attempts: &mut Attempts,
    ) -> Option<Next> {
        if head.websocket && pool.http2 {
            // Where it can't, the request is one like any other.
            Box::pin(upstream.link.allow_websocket(self.worker.limits.connect_timeout)).await;
        }
        let exchange = Exchange {
            worker: &self.worker,
            slot: &self.slot,
            client: &self.client,
            head,
            request: &self.request,
        };
        let outcome = exchange.run(&mut self.input, &mut self.out, &mut upstream, ticket).await;
        Some(match outcome {
            ExchangeEnd::Answered { keep_client, keep_backend } => {
                if keep_backend {
                    upstream.finish(self.worker.clock.now_ms());
                }
                match keep_client {
                    true => Next::Request,
                    false if head.body == Framing::Empty => Next::Close,
                    // The client may still be sending the body that the backend did not want.
                    false => Next::Linger,
                }
            }
            ExchangeEnd::Upgraded => self.serve_upgraded(head, upstream, ticket).await,
            ExchangeEnd::Repeatable
                if attempts.after_silence(pool, &upstream.backend, upstream.reused) =>
            {
                ticket.retried();
                return None;
            }
            ExchangeEnd::Repeatable | ExchangeEnd::Failed(502) => {
                ticket.fail();
                self.refuse_request(head, 502, "the server closed the connection or answered badly")
                    .await
            }
            ExchangeEnd::Failed(status) => {
                ticket.fail();
                self.slot.clear_signal();
                self.refuse_request(head, status, "the server took too long").await
            }
            ExchangeEnd::Truncated => {
                ticket.fail();
                self.client.reset_on_close();
                Next::Close
            }
            ExchangeEnd::ClientGone => Next::Close,
            ExchangeEnd::BadBody => self.refuse(400, "malformed body", head.is_head, true).await,
            ExchangeEnd::Cut => {
                ticket.fail();
                self.client.reset_on_close();
                Next::Close
            }
        })
    }

    /// Passes the bytes of another protocol both ways, to the end of the connection.
    async fn serve_upgraded(
        &mut self,
        head: &RequestHead,
        mut upstream: Upstream,
        ticket: &mut Ticket,
    ) -> Next {
        let (clock, limit) = (&self.worker.clock, self.worker.limits.tunnel_timeout);
        let end = tunnel(
            &Silence { clock, slot: &self.slot, limit },
            &self.client,
            &mut self.input,
            &upstream.link,
            &mut upstream.input,
            head.websocket.then(WebSocket::default),
        )
        .await;
        if matches!(end, TunnelEnd::BackendBroke | TunnelEnd::Cut { .. }) {
            ticket.fail();
        }
        match end {
            // It answers with a close frame of its own.
            TunnelEnd::Cut { told: true } => Next::Linger,
            TunnelEnd::Cut { told: false } if head.websocket => {
                self.client.reset_on_close();
                Next::Close
            }
            TunnelEnd::Cut { told: false }
            | TunnelEnd::Done
            | TunnelEnd::BackendBroke
            | TunnelEnd::Silent => Next::Close,
        }
    }

    /// Refuses a request whose body has not been read: the connection can go on only if there is none.
    async fn refuse_request(&mut self, head: &RequestHead, status: u16, text: &str) -> Next {
        let close = head.body != Framing::Empty || !head.keep_alive || self.worker.is_draining();
        self.refuse(status, text, head.is_head, close).await
    }

    async fn refuse(&mut self, status: u16, text: &str, to_head: bool, close: bool) -> Next {
        self.slot.clear_signal();
        self.slot.set_deadline_ms(self.worker.clock.deadline_ms(LINGER));
        own_answer(&mut self.out, &self.worker.clock.date(), (status, text), to_head, close);
        let (slot, client, out) = (&self.slot, &self.client, &self.out);
        let mut sending = std::pin::pin!(send_all(client, out, &[]));
        let sent = poll_fn(|context| {
            if slot.signal().is_some() {
                return Poll::Ready(false);
            }
            sending.as_mut().poll(context).map(|sent| sent.is_ok())
        });
        match (sent.await, close) {
            (true, false) => Next::Request,
            (true, true) => Next::Linger,
            (false, _) => Next::Close,
        }
    }

    /// Says that nothing more is sent, and reads on until the client has read that and ends as well: an answer that is
    /// followed by a reset may be lost (RFC 9112, 9.6).
    async fn linger(&mut self) {
        self.slot.clear_signal();
        let ends_ms = self.worker.clock.deadline_ms(LINGER_IN_ALL);
        self.slot.set_deadline_ms(self.worker.clock.deadline_ms(LINGER));
        // The answer is out: nothing is lost by making room.
        self.slot.set_phase(Phase::Head { since_ms: self.worker.clock.now_ms() });
        let (worker, slot) = (&self.worker, &self.slot);
        let (input, client) = (&mut self.input, &self.client);
        let mut closed = false;
        poll_fn(|context| {
            if !closed {
                closed = client.poll_close(context).is_ready();
            }
            for _ in 0..LINGER_READS {
                if slot.signal().is_some() {
                    return Poll::Ready(());
                }
                input.consume(input.filled().len());
                match input.poll_fill(context, client) {
                    Poll::Ready(Ok(count)) if count > 0 => {
                        slot.set_deadline_ms(worker.clock.deadline_ms(LINGER).min(ends_ms));
                    }
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return Poll::Pending,
                }
            }
            // Others have their turn between so many reads.
            context.waker().wake_by_ref();
            Poll::Pending
        })
        .await;
    }
}

/// Whether an empty line may have come since `searched` bytes were there.
fn ends_a_line(filled: &[u8], searched: usize) -> bool {
    let fresh = &filled[searched.saturating_sub(3)..];
    memchr::memmem::find(fresh, b"\n\r\n").is_some()
        || memchr::memmem::find(fresh, b"\n\n").is_some()
}
