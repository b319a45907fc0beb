//! The answer to an HTTP/2 request: the backend's body, read as the client takes it.

use std::{
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use http_body::{Body, Frame, SizeHint};
use httparse::Header;

use super::shared::Active;
use crate::{
    buffer::Buffer,
    counters::Ticket,
    http1::{
        answer::{AnswerHead, passed_fields},
        body::{Decoder, Framing, Piece, trailer_fields},
    },
    link::Link,
    local_backend::LocalBackend,
    proxy_protocol::Endpoints,
    slot::Signal,
    slots::SlotGuard,
    worker::Worker,
};

/// Sends a request to its end.
pub(super) type Sending = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// A backend's connection while its answer is read and the request may still be sent.
pub(super) struct Reading {
    pub(super) link: Rc<Link>,
    pub(super) input: Buffer,
    pub(super) backend: Rc<LocalBackend>,
    /// The only client that the connection may be used for, if it is for one.
    pub(super) client: Option<Box<Endpoints>>,
    /// None once all is sent.
    pub(super) sending: Option<Sending>,
}

impl Reading {
    /// Goes on with sending. A backend that takes no more may have answered: reading finds out.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>) {
        let Some(sending) = &mut self.sending else { return };
        if let Poll::Ready(sent) = sending.as_mut().poll(context) {
            if sent.is_ok() {
                self.sending = None;
            } else {
                // Never complete: the connection is not used again.
                self.sending = Some(Box::pin(std::future::pending()));
            }
        }
    }
}

/// The body of an answer.
pub(super) struct AnswerBody(Source);

enum Source {
    Own(Option<Bytes>),
    Backend(Box<Streaming>),
}

struct Streaming {
    decoder: Decoder,
    framing: Framing,
    keep_alive: bool,
    /// None once the backend's connection has been given back or dropped.
    reading: Option<Reading>,
    ticket: Option<Ticket>,
    slot: SlotGuard,
    worker: Rc<Worker>,
    _active: Active,
}

impl AnswerBody {
    pub(super) fn own(text: Bytes) -> Self {
        Self(Source::Own(Some(text)))
    }

    /// Whether it is to end before its time, which reading on tells.
    pub(super) fn is_interrupted(&self) -> bool {
        match &self.0 {
            Source::Own(_) => false,
            Source::Backend(streaming) => streaming.slot.signal().is_some(),
        }
    }

    /// Goes on with sending the request, which the server may wait for before it answers on.
    pub(super) fn poll_send(&mut self, context: &mut Context<'_>) {
        if let Source::Backend(streaming) = &mut self.0
            && let Some(reading) = &mut streaming.reading
        {
            reading.poll_send(context);
        }
    }

    pub(super) fn new(
        head: AnswerHead,
        reading: Reading,
        ticket: Ticket,
        slot: SlotGuard,
        worker: Rc<Worker>,
        active: Active,
    ) -> Self {
        let mut streaming = Streaming {
            decoder: Decoder::new(head.body),
            framing: head.body,
            keep_alive: head.keep_alive,
            reading: Some(reading),
            ticket: Some(ticket),
            slot,
            worker,
            _active: active,
        };
        streaming.progressed();
        if streaming.decoder.is_over() {
            streaming.finish();
        }
        Self(Source::Backend(Box::new(streaming)))
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        match &mut self.0 {
            Source::Own(text) => Poll::Ready(text.take().map(|text| Ok(Frame::data(text)))),
            Source::Backend(streaming) => streaming.poll_frame(context),
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Source::Own(text) => text.is_none(),
            Source::Backend(streaming) => streaming.reading.is_none() && streaming.ticket.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Source::Own(text) => SizeHint::with_exact(text.as_ref().map_or(0, Bytes::len) as u64),
            // The head's own content-length says it, also to HEAD.
            Source::Backend(_) => SizeHint::default(),
        }
    }
}

impl Streaming {
    fn progressed(&self) {
        let limit = self.worker.limits.stream_timeout;
        self.slot.set_deadline_ms(self.worker.clock.deadline_ms(limit));
    }

    /// The answer is complete.
    fn finish(&mut self) {
        self.ticket = None;
        self.slot.end();
        let Some(reading) = self.reading.take() else { return };
        let Reading { link, input, backend, client, sending } = reading;
        let reusable = self.keep_alive && sending.is_none() && input.is_empty();
        let own = Rc::try_unwrap(link).ok().and_then(Link::into_own);
        if let Some(sock) = own.filter(|_| reusable) {
            backend.put_idle(sock, client, self.worker.clock.now_ms());
        }
    }

    fn fail(&mut self, text: &'static str) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if let Some(mut ticket) = self.ticket.take() {
            ticket.fail();
        }
        self.slot.end();
        self.reading = None;
        Poll::Ready(Some(Err(io::Error::other(text))))
    }

    fn poll_frame(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.slot.register(context);
        match self.slot.signal() {
            Some(Signal::Cut) => return self.fail("cut off"),
            Some(Signal::Expired | Signal::GivenUp) => {
                return self.fail("the server took too long");
            }
            None => {}
        }
        loop {
            let Some(reading) = &mut self.reading else { return Poll::Ready(None) };
            reading.poll_send(context);
            match self.decoder.next(reading.input.filled()) {
                Ok(Piece::NeedMore) => {
                    if reading.input.is_full() {
                        return self.fail("malformed body");
                    }
                    let received = ready!(reading.input.poll_fill(context, &*reading.link));
                    match received {
                        Ok(count) if count > 0 => self.progressed(),
                        Ok(_) if self.decoder.may_end() => {
                            self.finish();
                            return Poll::Ready(None);
                        }
                        Ok(_) | Err(_) => return self.fail("the server closed the connection"),
                    }
                }
                Ok(Piece::Data(range)) => {
                    let data = Bytes::copy_from_slice(&reading.input.filled()[range.clone()]);
                    reading.input.consume(range.end);
                    if self.decoder.is_over() && self.framing != Framing::Chunked {
                        self.finish();
                    }
                    if !data.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(data))));
                    }
                }
                Ok(Piece::End { used, trailers }) => {
                    let map = trailer_map(&reading.input.filled()[trailers]);
                    reading.input.consume(used);
                    let Some(map) = map else { return self.fail("malformed trailers") };
                    self.finish();
                    if map.is_empty() {
                        return Poll::Ready(None);
                    }
                    return Poll::Ready(Some(Ok(Frame::trailers(map))));
                }
                Err(_) => return self.fail("malformed body"),
            }
        }
    }
}

fn trailer_map(block: &[u8]) -> Option<HeaderMap> {
    let mut map = HeaderMap::new();
    for (name, value) in trailer_fields(block).ok()? {
        map.append(HeaderName::try_from(name).ok()?, HeaderValue::from_bytes(value).ok()?);
    }
    Some(map)
}

/// The head of an answer; none if it has what HTTP/2 can't carry.
pub(super) fn response(head: &AnswerHead, fields: &[Header<'_>]) -> Option<Response<()>> {
    let mut response = Response::new(());
    *response.status_mut() = StatusCode::from_u16(head.status).ok()?;
    let headers = response.headers_mut();
    for field in passed_fields(head, fields) {
        headers.append(
            HeaderName::try_from(field.name).ok()?,
            HeaderValue::from_bytes(field.value).ok()?,
        );
    }
    if let Some(length) = head.declared_length.filter(|_| head.status != 204) {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    }
    Some(response)
}
