//! HTTP/2 to servers that speak it without TLS: a request written as HTTP/1.1 becomes a stream of a shared connection,
//! and its answer is read as HTTP/1.1 again.
//!
//! So requests of both versions take the one path through the edge that they take to every other server. Trailers, which
//! gRPC needs, pass in both directions.

mod head;

use std::{
    cell::{Cell, RefCell},
    io::{self, IoSlice},
    rc::Rc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use h2::{
    Ping, PingPong, RecvStream, SendStream,
    client::{Builder, ResponseFuture, SendRequest},
};
use http::{HeaderMap, Method, Response, header};
use tokio::{net::TcpStream, sync::Mutex, task::spawn_local};

use self::head::{
    as_extended_connect, malformed, read_request, trailer_map, websocket_key, write_fields,
    write_head,
};
use crate::{
    clock::Clock,
    http1::{
        body::{Decoder, Framing, Piece, write_chunk},
        field::write_field,
    },
    limits::{HTTP2_SEND_BUFFER_BYTES, HTTP2_WINDOW_BYTES, Limits},
    proxy_protocol::Endpoints,
    stream::Stream,
    websocket,
};

/// A connection to a server, for many requests at once.
#[derive(Debug)]
pub(crate) struct SharedConnection {
    requests: SendRequest<Bytes>,
    /// The only client whose requests may go on it, where the server has been told.
    client: Option<Endpoints>,
    active: Cell<usize>,
    used_ms: Cell<u64>,
    ended: Cell<bool>,
    /// For the one question by whose answer the server's settings have come.
    pings: Mutex<Option<PingPong>>,
}

impl SharedConnection {
    /// Exchanges settings with a server; its connection is driven until nobody uses it any more.
    pub(crate) async fn shake_hands(
        stream: TcpStream,
        limits: &Limits,
        clock: &Clock,
        client: Option<Endpoints>,
    ) -> io::Result<Rc<Self>> {
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_window_size(HTTP2_WINDOW_BYTES)
            .initial_connection_window_size(HTTP2_WINDOW_BYTES)
            .max_send_buffer_size(HTTP2_SEND_BUFFER_BYTES)
            .max_header_list_size(u32::try_from(limits.head_bytes).unwrap_or(u32::MAX));
        let (requests, mut connection) =
            builder.handshake(stream).await.map_err(io::Error::other)?;
        let shared = Rc::new(Self {
            requests,
            client,
            active: Cell::new(0),
            used_ms: Cell::new(clock.now_ms()),
            ended: Cell::new(false),
            pings: Mutex::new(connection.ping_pong()),
        });
        let watched = Rc::downgrade(&shared);
        spawn_local(async move {
            if let Err(error) = connection.await {
                tracing::debug!("a connection to a server broke: {error}");
            }
            if let Some(shared) = watched.upgrade() {
                shared.ended.set(true);
            }
        });
        Ok(shared)
    }

    pub(crate) fn client(&self) -> Option<&Endpoints> {
        self.client.as_ref()
    }

    /// Whether the server opens WebSockets on streams (RFC 8441, 3). Its settings come before its answer to a ping.
    async fn takes_websockets(&self, timeout: Duration) -> bool {
        if let Some(mut pings) = self.pings.lock().await.take() {
            // One that does not answer has not said so.
            let answer = pings.ping(Ping::opaque());
            let _ = tokio::time::timeout(timeout, answer).await;
        }
        self.requests.is_extended_connect_protocol_enabled()
    }

    /// Whether another request fits.
    pub(crate) fn has_room(&self) -> bool {
        !self.ended.get() && self.active.get() < self.requests.current_max_send_streams()
    }

    pub(crate) fn is_ended(&self) -> bool {
        self.ended.get()
    }

    /// Whether nothing is under way on it, and was not since `oldest_ms`.
    pub(crate) fn is_idle_since(&self, oldest_ms: u64) -> bool {
        self.active.get() == 0 && self.used_ms.get() < oldest_ms
    }

    /// A place for one request, once the server takes one more.
    pub(crate) async fn request(self: &Rc<Self>, now_ms: u64) -> io::Result<Exchanged> {
        self.active.set(self.active.get() + 1);
        self.used_ms.set(now_ms);
        let active = Active(self.clone());
        let requests = self.requests.clone().ready().await.map_err(|error| {
            self.ended.set(true);
            io::Error::other(error)
        })?;
        Ok(Exchanged(RefCell::new(State::new(requests, active))))
    }
}

/// A request under way.
#[derive(Debug)]
struct Active(Rc<SharedConnection>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.set(self.0.active.get() - 1);
    }
}

/// One request and its answer, as a stream of HTTP/1.1.
#[derive(Debug)]
pub(crate) struct Exchanged(RefCell<State>);

impl Exchanged {
    /// Has an upgrade to a WebSocket open one, where the server takes it; otherwise it is sent as the request that it is
    /// without (RFC 9110, 7.8).
    pub(crate) async fn allow_websocket(&self, timeout: Duration) -> bool {
        let shared = self.0.borrow().active.0.clone();
        let takes = shared.takes_websockets(timeout).await;
        self.0.borrow_mut().may_upgrade = takes;
        takes
    }
}

#[derive(Debug)]
struct State {
    requests: SendRequest<Bytes>,
    /// What came of the request and is not understood yet.
    input: Vec<u8>,
    decoder: Option<Decoder>,
    /// The body's bytes that wait for the server to take them.
    data: Vec<u8>,
    /// What follows them, once that is known.
    end: Option<Option<HeaderMap>>,
    sending: Option<SendStream<Bytes>>,
    response: Option<ResponseFuture>,
    body: Option<RecvStream>,
    /// What is read as the answer.
    output: Vec<u8>,
    used: usize,
    is_head: bool,
    takes_trailers: bool,
    chunked: bool,
    answered: bool,
    may_upgrade: bool,
    /// The client's key for a WebSocket that the server has been asked for.
    websocket_key: Option<Vec<u8>>,
    active: Active,
}

impl State {
    fn new(requests: SendRequest<Bytes>, active: Active) -> Self {
        Self {
            requests,
            input: Vec::new(),
            decoder: None,
            data: Vec::new(),
            end: None,
            sending: None,
            response: None,
            body: None,
            output: Vec::new(),
            used: 0,
            is_head: false,
            takes_trailers: false,
            chunked: false,
            answered: false,
            may_upgrade: false,
            websocket_key: None,
            active,
        }
    }

    /// Understands what has come of the request.
    fn take_in(&mut self) -> io::Result<()> {
        if self.decoder.is_none() {
            let Some((mut request, mut framing, used)) = read_request(&self.input)? else {
                return Ok(());
            };
            let key = websocket_key(&self.input[..used]).filter(|_| self.may_upgrade);
            self.websocket_key = key.map(<[u8]>::to_vec);
            if self.websocket_key.is_some() {
                as_extended_connect(&mut request);
                // Until either side ends it.
                framing = Framing::Length(u64::MAX);
            }
            self.input.drain(..used);
            self.is_head = request.method() == Method::HEAD;
            self.takes_trailers = request.headers().contains_key(header::TE);
            let is_over = framing == Framing::Empty;
            let (response, sending) =
                self.requests.send_request(request, is_over).map_err(io::Error::other)?;
            self.response = Some(response);
            self.sending = (!is_over).then_some(sending);
            self.decoder = Some(Decoder::new(framing));
        }
        let Some(decoder) = &mut self.decoder else { return Ok(()) };
        let mut at = 0;
        while self.sending.is_some() && self.end.is_none() {
            match decoder.next(&self.input[at..]).map_err(|_| malformed())? {
                Piece::NeedMore => break,
                Piece::Data(range) => {
                    self.data.extend_from_slice(&self.input[at + range.start..at + range.end]);
                    at += range.end;
                    if decoder.is_over() {
                        self.end = Some(None);
                    }
                }
                Piece::End { used, trailers } => {
                    let block = &self.input[at + trailers.start..at + trailers.end];
                    self.end = Some(trailer_map(block)?);
                    at += used;
                }
            }
        }
        self.input.drain(..at);
        Ok(())
    }

    /// Sends the body as far as the server takes it.
    fn poll_drain(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let Some(sending) = &mut self.sending else { return Poll::Ready(Ok(())) };
        while !self.data.is_empty() {
            sending.reserve_capacity(self.data.len());
            while sending.capacity() == 0 {
                match ready!(sending.poll_capacity(context)) {
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Poll::Ready(Err(io::Error::other(error))),
                    None => return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
                }
            }
            let count = sending.capacity().min(self.data.len());
            let piece = Bytes::copy_from_slice(&self.data[..count]);
            self.data.drain(..count);
            let is_last = self.data.is_empty() && self.end == Some(None);
            sending.send_data(piece, is_last).map_err(io::Error::other)?;
            if is_last {
                self.sending = None;
                return Poll::Ready(Ok(()));
            }
        }
        let sent = match self.end.take() {
            None => return Poll::Ready(Ok(())),
            Some(None) => sending.send_data(Bytes::new(), true),
            Some(Some(trailers)) => sending.send_trailers(trailers),
        };
        self.sending = None;
        Poll::Ready(sent.map_err(io::Error::other))
    }

    /// Writes more of the answer; false once there is no more.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<bool>> {
        if self.answered {
            return Poll::Ready(Ok(false));
        }
        if let Some(body) = &mut self.body {
            if let Some(data) = ready!(body.poll_data(context)) {
                let data = data.map_err(io::Error::other)?;
                body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
                match self.chunked {
                    true => write_chunk(&mut self.output, &data),
                    false => self.output.extend_from_slice(&data),
                }
                return Poll::Ready(Ok(true));
            }
            let trailers = ready!(body.poll_trailers(context)).map_err(io::Error::other)?;
            self.answered = true;
            if self.chunked {
                self.output.extend_from_slice(b"0\r\n");
                for (name, value) in trailers.iter().flatten() {
                    write_field(&mut self.output, name.as_str(), value.as_bytes());
                }
                self.output.extend_from_slice(b"\r\n");
            }
            return Poll::Ready(Ok(true));
        }
        // Nothing is read before the request is written.
        let Some(response) = &mut self.response else { return Poll::Pending };
        if let Poll::Ready(Some(interim)) = response.poll_informational(context) {
            let interim = interim.map_err(io::Error::other)?;
            write_head(&mut self.output, &interim);
            self.output.extend_from_slice(b"\r\n");
            return Poll::Ready(Ok(true));
        }
        let answer =
            ready!(std::pin::Pin::new(response).poll(context)).map_err(io::Error::other)?;
        let (head, body) = answer.into_parts();
        let head = Response::from_parts(head, ());
        self.take_head(&head, body.is_end_stream());
        self.body = Some(body);
        Poll::Ready(Ok(true))
    }

    fn take_head(&mut self, answer: &Response<()>, is_over: bool) {
        if let (Some(key), true) = (&self.websocket_key, answer.status().is_success()) {
            self.output.extend_from_slice(b"HTTP/1.1 101 Switching Protocols\r\n");
            write_fields(&mut self.output, answer);
            let accept = websocket::accept(key);
            write_field(&mut self.output, "sec-websocket-accept", accept.as_bytes());
            self.output.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n\r\n");
            return;
        }
        write_head(&mut self.output, answer);
        let length = answer.headers().get(header::CONTENT_LENGTH);
        let bodiless = self.is_head || matches!(answer.status().as_u16(), 204 | 304);
        // Chunks alone can have trailers behind them.
        self.chunked = !bodiless && !is_over && (length.is_none() || self.takes_trailers);
        match length {
            _ if self.chunked => self.output.extend_from_slice(b"transfer-encoding: chunked\r\n"),
            Some(length) => write_field(&mut self.output, "content-length", length.as_bytes()),
            None if bodiless => {}
            None => self.output.extend_from_slice(b"content-length: 0\r\n"),
        }
        self.output.extend_from_slice(b"\r\n");
    }
}

impl Stream for Exchanged {
    fn poll_recv(&self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        while state.used == state.output.len() {
            state.output.clear();
            state.used = 0;
            if !ready!(state.poll_answer(context))? {
                return Poll::Ready(Ok(0));
            }
        }
        let rest = &state.output[state.used..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        state.used += count;
        Poll::Ready(Ok(count))
    }

    fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut state = self.0.borrow_mut();
        // No more is held than came at once.
        ready!(state.poll_drain(context))?;
        let count = slices.iter().map(|slice| slice.len()).sum();
        slices.iter().for_each(|slice| state.input.extend_from_slice(slice));
        state.take_in()?;
        if let Poll::Ready(Err(error)) = state.poll_drain(context) {
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_drain(context)
    }

    fn poll_close(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.0.borrow_mut();
        if state.sending.is_some() && state.end.is_none() {
            state.end = Some(None);
        }
        state.poll_drain(context)
    }

    /// A stream that is given up before its end is reset by itself.
    fn reset_on_close(&self) {}
}
