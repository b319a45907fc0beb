//! One request to one backend and its answer back, both streamed at the pace of the slower side.

use std::{
    cell::Cell,
    future::{Future, poll_fn},
    pin::pin,
    task::Poll,
};

use super::{
    answer::{AnswerHead, Delivery, deliver, field_storage, parse_answer, write_answer},
    body::{Decoder, Framing, write_last_chunk},
    head::RequestHead,
    reframe::{Taken, take_answer_body, take_request_body},
};
use crate::{
    buffer::Buffer,
    counters::Ticket,
    limits::INTERIM_ANSWERS,
    slot::{Signal, Slot},
    stream::{Stream, send_all},
    upstream::Upstream,
    worker::Worker,
};

/// How an attempt at one backend ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExchangeEnd {
    /// The answer is with the client.
    Answered {
        /// Whether the client's connection can carry the next request.
        keep_client: bool,
        /// Whether the backend's can.
        keep_backend: bool,
    },
    /// The backend agreed to another protocol; the client has been told.
    Upgraded,
    /// The connection ended before a byte of an answer, and doing the request again does no harm.
    Repeatable,
    /// The backend failed before the client got anything: this status.
    Failed(u16),
    /// The backend failed or was too slow in the middle of its answer.
    Truncated,
    /// The client went away or was too slow.
    ClientGone,
    /// The client's body breaks its framing: 400, unless the answer has begun.
    BadBody,
    /// The set was cut off.
    Cut,
}

/// Whom a waiting exchange waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Backend,
}

/// What the two directions of an exchange know of each other.
struct ExchangeState {
    /// Bytes of the request have been given to the kernel.
    sent: Cell<bool>,
    /// Bytes of the body have been taken from the client's buffer.
    body_touched: Cell<bool>,
    body_complete: Cell<bool>,
    answer_begun: Cell<bool>,
    /// Any byte from the backend.
    backend_spoke: Cell<bool>,
    sender_waits_for: Cell<Side>,
    answer_waits_for: Cell<Side>,
}

/// Why the sending direction ended.
enum SendEnd {
    ClientGone,
    BadBody,
    BackendBroke,
}

/// Why the answering direction ended before its time.
enum AnswerEnd {
    BackendClosed,
    BadAnswer,
    ClientGone,
}

/// What both directions need.
pub(crate) struct Exchange<'a, S> {
    pub(crate) worker: &'a Worker,
    pub(crate) slot: &'a Slot,
    pub(crate) client: &'a S,
    pub(crate) head: &'a RequestHead,
    /// The head for the backend.
    pub(crate) request: &'a [u8],
}

impl<S: Stream> Exchange<'_, S> {
    /// Sends the request to `upstream` and its answer to the client.
    pub(crate) async fn run(
        &self,
        input: &mut Buffer,
        out: &mut Vec<u8>,
        upstream: &mut Upstream,
        ticket: &mut Ticket,
    ) -> ExchangeEnd {
        let state = ExchangeState {
            sent: Cell::new(false),
            body_touched: Cell::new(false),
            body_complete: Cell::new(self.head.body == Framing::Empty),
            answer_begun: Cell::new(false),
            backend_spoke: Cell::new(false),
            sender_waits_for: Cell::new(Side::Backend),
            answer_waits_for: Cell::new(Side::Backend),
        };
        self.slot.set_deadline_ms(self.worker.clock.deadline_ms(self.worker.limits.answer_timeout));
        let link = &upstream.link;
        let ended = {
            let mut sending = pin!(self.send(input, link, &state));
            let mut answering = pin!(self.answer(link, &mut upstream.input, out, ticket, &state));
            let mut sender_over = false;
            poll_fn(|context| {
                if let Some(signal) = self.slot.signal() {
                    return Poll::Ready(Err(self.interrupted(signal, &state)));
                }
                if !sender_over {
                    match sending.as_mut().poll(context) {
                        Poll::Pending => {}
                        Poll::Ready(SendEnd::ClientGone) => {
                            return Poll::Ready(Err(ExchangeEnd::ClientGone));
                        }
                        Poll::Ready(SendEnd::BadBody) => {
                            return Poll::Ready(Err(ExchangeEnd::BadBody));
                        }
                        // It may have answered before it closed.
                        Poll::Ready(SendEnd::BackendBroke) => sender_over = true,
                    }
                }
                answering.as_mut().poll(context).map(Ok)
            })
            .await
        };
        match ended {
            Err(outcome) => outcome,
            Ok(Ok(outcome)) => outcome,
            Ok(Err(AnswerEnd::ClientGone)) => ExchangeEnd::ClientGone,
            Ok(Err(_)) if state.answer_begun.get() => ExchangeEnd::Truncated,
            Ok(Err(AnswerEnd::BadAnswer)) => ExchangeEnd::Failed(502),
            Ok(Err(AnswerEnd::BackendClosed)) => {
                let unheard = !state.backend_spoke.get() && !state.body_touched.get();
                let harmless = self.head.idempotent || !state.sent.get();
                if unheard && harmless { ExchangeEnd::Repeatable } else { ExchangeEnd::Failed(502) }
            }
        }
    }

    fn interrupted(&self, signal: Signal, state: &ExchangeState) -> ExchangeEnd {
        if signal == Signal::Cut {
            return ExchangeEnd::Cut;
        }
        let side = if state.body_complete.get() {
            state.answer_waits_for.get()
        } else {
            state.sender_waits_for.get()
        };
        match (side, state.answer_begun.get()) {
            (Side::Client, _) => ExchangeEnd::ClientGone,
            (Side::Backend, true) => ExchangeEnd::Truncated,
            (Side::Backend, false) => ExchangeEnd::Failed(504),
        }
    }

    /// Sends head and body, then watches the client: it may go away, or send its next requests already.
    async fn send<B: Stream>(
        &self,
        input: &mut Buffer,
        backend: &B,
        state: &ExchangeState,
    ) -> SendEnd {
        let framing = self.head.body;
        let mut decoder = Decoder::new(framing);
        // The head goes out together with what is there of a sized body.
        let (mut first, mut chunked): (&[u8], Vec<u8>) = (self.request, Vec::new());
        loop {
            chunked.clear();
            let taken = take_request_body(&mut decoder, framing, input.filled(), &mut chunked);
            let Ok(Taken { used, direct }) = taken else { return SendEnd::BadBody };
            let data = if chunked.is_empty() { &input.filled()[direct] } else { &chunked[..] };
            if !first.is_empty() || !data.is_empty() {
                state.sender_waits_for.set(Side::Backend);
                if !data.is_empty() {
                    state.body_touched.set(true);
                }
                if send_all(backend, first, data).await.is_err() {
                    return SendEnd::BackendBroke;
                }
                state.sent.set(true);
                first = &[];
                if framing != Framing::Empty {
                    self.progressed(decoder.is_over());
                }
            }
            if used > 0 {
                state.body_touched.set(true);
            }
            input.consume(used);
            if decoder.is_over() {
                break;
            }
            state.sender_waits_for.set(Side::Client);
            if input.is_full() {
                return SendEnd::BadBody;
            }
            match poll_fn(|context| input.poll_fill(context, self.client)).await {
                Ok(count) if count > 0 => {}
                Ok(_) | Err(_) => return SendEnd::ClientGone,
            }
        }
        state.body_complete.set(true);
        self.watch(input).await
    }

    /// Reads ahead as far as there is room; ends when the connection breaks. A client that has only ended its sending
    /// direction still waits for its answer.
    async fn watch(&self, input: &mut Buffer) -> SendEnd {
        let mut ended = false;
        poll_fn(|context| {
            loop {
                if ended || input.is_full() {
                    return Poll::Pending;
                }
                match input.poll_fill(context, self.client) {
                    Poll::Ready(Ok(0)) => {
                        ended = true;
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(_)) => {}
                    Poll::Ready(Err(_)) => return Poll::Ready(SendEnd::ClientGone),
                    Poll::Pending => return Poll::Pending,
                }
            }
        })
        .await
    }

    fn progressed(&self, body_over: bool) {
        let limits = &self.worker.limits;
        let span = if body_over { limits.answer_timeout } else { limits.stream_timeout };
        self.slot.set_deadline_ms(self.worker.clock.deadline_ms(span));
    }

    async fn fill<B: Stream>(
        &self,
        input: &mut Buffer,
        backend: &B,
        state: &ExchangeState,
    ) -> Result<usize, AnswerEnd> {
        state.answer_waits_for.set(Side::Backend);
        match poll_fn(|context| input.poll_fill(context, backend)).await {
            Ok(count) => {
                if count > 0 {
                    state.backend_spoke.set(true);
                }
                Ok(count)
            }
            Err(_) => Err(AnswerEnd::BackendClosed),
        }
    }

    async fn deliver(
        &self,
        state: &ExchangeState,
        first: &[u8],
        second: &[u8],
    ) -> Result<(), AnswerEnd> {
        state.answer_waits_for.set(Side::Client);
        send_all(self.client, first, second).await.map_err(|_| AnswerEnd::ClientGone)
    }

    /// Reads the answer and passes it on as it comes.
    async fn answer<B: Stream>(
        &self,
        backend: &B,
        input: &mut Buffer,
        out: &mut Vec<u8>,
        ticket: &mut Ticket,
        state: &ExchangeState,
    ) -> Result<ExchangeEnd, AnswerEnd> {
        let keep_client = self.head.keep_alive && !self.worker.is_draining();
        let mut interim = 0;
        let (head, delivery) = loop {
            let parsed = self.translate(input, out, keep_client, state)?;
            match parsed {
                Some((head, delivery)) if !head.is_interim() => break (head, delivery),
                Some(_) => {
                    interim += 1;
                    if interim > INTERIM_ANSWERS {
                        return Err(AnswerEnd::BadAnswer);
                    }
                    self.deliver(state, out, &[]).await?;
                }
                None => {
                    if input.is_full() && !input.grow(self.worker.limits.head_bytes) {
                        return Err(AnswerEnd::BadAnswer);
                    }
                    if self.fill(input, backend, state).await? == 0 {
                        return Err(AnswerEnd::BackendClosed);
                    }
                }
            }
        };
        ticket.answered(head.status);
        if head.status == 101 {
            state.answer_begun.set(true);
            self.deliver(state, out, &[]).await?;
            return Ok(ExchangeEnd::Upgraded);
        }
        self.body(backend, input, out, head.body, delivery, state).await?;
        let body_complete = state.body_complete.get();
        Ok(ExchangeEnd::Answered {
            keep_client: !delivery.close && body_complete,
            keep_backend: head.keep_alive && body_complete && input.is_empty(),
        })
    }

    /// Takes a complete head from `input` and writes the client's into `out`.
    fn translate(
        &self,
        input: &mut Buffer,
        out: &mut Vec<u8>,
        keep_client: bool,
        state: &ExchangeState,
    ) -> Result<Option<(AnswerHead, Delivery)>, AnswerEnd> {
        if input.is_empty() {
            return Ok(None);
        }
        let mut storage = field_storage();
        let parsed = parse_answer(input.filled(), self.head.is_head, &mut storage);
        let Some((head, reason, fields)) = parsed.map_err(|_| AnswerEnd::BadAnswer)? else {
            return Ok(None);
        };
        if head.status == 101 && !self.head.upgrade {
            return Err(AnswerEnd::BadAnswer);
        }
        // A server that closes does not want the rest of the body; the client must not send another request behind it.
        let keep_client = keep_client && (head.keep_alive || state.body_complete.get());
        let delivery = deliver(&head, self.head.modern, keep_client, self.worker.clock.date());
        out.clear();
        // A client of HTTP/1.0 knows no interim answers.
        if self.head.modern || !head.is_interim() {
            write_answer(out, &head, reason, fields, delivery, self.head.modern);
        }
        input.consume(head.used);
        Ok(Some((head, delivery)))
    }

    /// Passes the body on; `out` holds the head, which goes with its first bytes.
    async fn body<B: Stream>(
        &self,
        backend: &B,
        input: &mut Buffer,
        out: &mut Vec<u8>,
        framing: Framing,
        delivery: Delivery,
        state: &ExchangeState,
    ) -> Result<(), AnswerEnd> {
        let mut decoder = Decoder::new(framing);
        let mut ended = false;
        loop {
            let taken =
                take_answer_body(&mut decoder, (framing, delivery.body), input.filled(), out);
            let Taken { used, direct } = taken.map_err(|_| AnswerEnd::BadAnswer)?;
            if ended && framing == Framing::UntilClose && delivery.body == Framing::Chunked {
                write_last_chunk(out, &[]).map_err(|_| AnswerEnd::BadAnswer)?;
            }
            if !out.is_empty() || !direct.is_empty() {
                state.answer_begun.set(true);
                self.deliver(state, out, &input.filled()[direct]).await?;
                self.slot.set_deadline_ms(
                    self.worker.clock.deadline_ms(self.worker.limits.stream_timeout),
                );
            }
            out.clear();
            input.consume(used);
            if decoder.is_over() || ended {
                return Ok(());
            }
            if input.is_full() {
                return Err(AnswerEnd::BadAnswer);
            }
            if self.fill(input, backend, state).await? == 0 {
                if !decoder.may_end() {
                    return Err(AnswerEnd::BackendClosed);
                }
                ended = true;
            }
        }
    }
}
