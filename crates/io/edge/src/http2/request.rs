//! One HTTP/2 request: its head written as HTTP/1.1, its body sent while the answer is awaited.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    io,
    pin::{Pin, pin},
    rc::Rc,
    task::{Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Body as _, Frame};

use super::{
    Active, Shared,
    answer::{AnswerBody, Reading, response},
};
use crate::{
    counters::Ticket,
    http1::{
        answer::{AnswerHead, METHODS, field_storage, parse_answer},
        body::{Decoder, Framing, write_chunk},
        head::{Field, classify, host_name, last_hop, max_forwards, parse_length, write_field},
    },
    limits::{HEADER_COUNT, INTERIM_ANSWERS, TARGET_BYTES},
    net::Sock,
    slot::{Signal, SlotGuard},
    stream::send_all,
    upstream::{Attempts, Refusal, Reuse, Upstream, acquire},
};

/// Sends a request to its end.
pub(super) type Sending = Pin<Box<dyn Future<Output = io::Result<()>>>>;

/// Why there is no answer to pass on.
enum Failure {
    /// The connection ended before a byte of an answer.
    Unheard,
    Bad,
    Slow,
    Cut,
}

/// How a client gets its answers.
type Responder = RefCell<SendResponse<Bytes>>;

/// Serves one request to its end, or to the client's.
pub(super) async fn serve(
    shared: Rc<Shared>,
    active: Active,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let respond = RefCell::new(respond);
    let date = HeaderValue::from_bytes(&shared.worker.date());
    let response = {
        let mut handling = pin!(handle(shared, active, request, &respond));
        let handled = poll_fn(|context| {
            if let Poll::Ready(response) = handling.as_mut().poll(context) {
                return Poll::Ready(Some(response));
            }
            // A client that wants no answer any more gets none.
            respond.borrow_mut().poll_reset(context).map(|_| None)
        });
        handled.await
    };
    let Some(response) = response else { return };
    let (mut parts, body) = response.into_parts();
    if let (false, Ok(date)) = (parts.headers.contains_key(header::DATE), date) {
        parts.headers.insert(header::DATE, date);
    }
    let is_over = body.is_end_stream();
    let head = Response::from_parts(parts, ());
    // The client may have gone meanwhile.
    let Ok(stream) = respond.into_inner().send_response(head, is_over) else { return };
    if !is_over {
        send_answer(body, stream).await;
    }
}

/// Sends the body of an answer as fast as the client takes it.
async fn send_answer(mut body: AnswerBody, mut stream: SendStream<Bytes>) {
    loop {
        // Not before there is room is more read from the backend.
        stream.reserve_capacity(1);
        let room = poll_fn(|context| {
            if stream.poll_reset(context).is_ready() {
                return Poll::Ready(false);
            }
            while stream.capacity() == 0 && !body.is_interrupted() {
                match ready!(stream.poll_capacity(context)) {
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => return Poll::Ready(false),
                }
            }
            Poll::Ready(true)
        });
        if !room.await {
            return;
        }
        let frame = poll_fn(|context| {
            if let Poll::Ready(frame) = Pin::new(&mut body).poll_frame(context) {
                return Poll::Ready(Some(frame));
            }
            stream.poll_reset(context).map(|_| None)
        });
        let Some(frame) = frame.await else { return };
        let sent = match frame.map(|frame| frame.map(Frame::into_data)) {
            None => return drop(stream.send_data(Bytes::new(), true)),
            Some(Ok(Ok(data))) => {
                let is_over = body.is_end_stream();
                match stream.send_data(data, is_over) {
                    Ok(()) if is_over => return,
                    sent => sent,
                }
            }
            Some(Ok(Err(frame))) => match frame.into_trailers() {
                Ok(trailers) => return drop(stream.send_trailers(trailers)),
                Err(_) => Ok(()),
            },
            Some(Err(_)) => return stream.send_reset(Reason::INTERNAL_ERROR),
        };
        if sent.is_err() {
            return;
        }
    }
}

/// Answers one request.
async fn handle(
    shared: Rc<Shared>,
    active: Active,
    request: Request<RecvStream>,
    respond: &Responder,
) -> Response<AnswerBody> {
    let worker = shared.worker.clone();
    let (parts, body) = request.into_parts();
    if parts.method == Method::CONNECT {
        return own(405, "tunnels are not offered");
    }
    if let Err((status, text)) = check_fields(&parts.headers) {
        return own(status, text);
    }
    let Some(host) = host(&parts) else { return own(400, "no host, or more than one") };
    let Some(name) = host_name(&host) else { return own(400, "malformed host") };
    let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
    if path.len() > TARGET_BYTES {
        return own(414, "request target is too long");
    }
    let limited = matches!(parts.method, Method::TRACE | Method::OPTIONS);
    let hops = parts.headers.get("max-forwards").filter(|_| limited);
    let hops = match hops.map(|value| max_forwards(value.as_bytes())).transpose() {
        Ok(Some(0)) => {
            let (status, text) = last_hop(parts.method.as_str());
            return own(status, text);
        }
        Ok(hops) => hops,
        Err(()) => return own(400, "malformed request"),
    };
    let table = worker.table();
    let pool = table
        .listener(&shared.origin.listener)
        .and_then(|listener| listener.route(name, path.as_bytes()));
    let Some(mut pool) = pool.map(|index| table.pools[index].clone()) else {
        return own(404, "no service answers to this host and path");
    };
    drop(table);
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| parse_length(length.as_bytes()));
    let framing = match (body.is_end_stream(), length) {
        (true, _) => Framing::Empty,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::Chunked,
    };
    let head = write_head(&parts, path, &host, framing, hops, &shared.forwarding);
    let to_head = parts.method == Method::HEAD;
    let repeatable = framing == Framing::Empty && parts.method.is_idempotent();
    let reuse = if repeatable { Reuse::Likely } else { Reuse::Certain };

    let slot = SlotGuard::new(&worker);
    poll_fn(|context| {
        slot.register(context);
        Poll::Ready(())
    })
    .await;
    let (mut ticket, mut attempts, mut body) = (None, Attempts::default(), Some(body));
    loop {
        let acquired = acquire(&worker, &slot, &mut pool, &mut ticket, &mut attempts, reuse).await;
        let upstream = match acquired {
            Ok(upstream) => upstream,
            Err(Refusal::NoBackend) => return own(503, "no healthy server"),
            Err(Refusal::Unreachable) => return own(502, "no server could be reached"),
        };
        let Upstream { sock, input, backend, reused } = upstream;
        let sock = Rc::new(sock);
        let sent_body = if repeatable { None } else { body.take() };
        let sending = send(sock.clone(), head.clone(), framing, sent_body);
        let mut reading = Reading { sock, input, backend, sending: Some(Box::pin(sending)) };
        slot.set_deadline_ms(worker.deadline_ms(worker.limits.answer_timeout));
        match read_head(&mut reading, &slot, worker.limits.head_bytes, to_head, respond).await {
            Ok((head, response)) => {
                let Some(ticket) = ticket.take() else { return own(500, "internal error") };
                if head.status >= 500 {
                    ticket.server_error();
                }
                let body = AnswerBody::new(head, reading, ticket, slot, worker, active);
                return response.map(|()| body);
            }
            Err(Failure::Unheard)
                if repeatable && attempts.after_silence(&pool, &reading.backend, reused) => {}
            Err(failure) => return failed(ticket.as_mut(), failure),
        }
    }
}

fn failed(ticket: Option<&mut Ticket>, failure: Failure) -> Response<AnswerBody> {
    if let Some(ticket) = ticket {
        ticket.fail();
    }
    match failure {
        Failure::Unheard | Failure::Bad => {
            own(502, "the server closed the connection or answered badly")
        }
        Failure::Slow => own(504, "the server took too long"),
        Failure::Cut => own(503, "cut off"),
    }
}

/// An answer of the edge's own.
fn own(status: u16, text: &'static str) -> Response<AnswerBody> {
    let mut response = Response::new(AnswerBody::own(Bytes::from_static(text.as_bytes())));
    *response.status_mut() =
        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
    if status == 405 {
        let offered = http::HeaderValue::from_static(METHODS);
        response.headers_mut().insert(header::ALLOW, offered);
    }
    response
}

/// Refuses what HTTP/1 would: a field that a server behind could read differently (RFC 9113, 8.2.1), or too many.
fn check_fields(fields: &HeaderMap) -> Result<(), (u16, &'static str)> {
    if fields.len() > HEADER_COUNT {
        return Err((431, "request head is too large"));
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &[u8]| blank(value.first()) || blank(value.last());
    if fields.values().any(|value| padded(value.as_bytes())) {
        return Err((400, "a field begins or ends with a blank"));
    }
    match fields.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err((417, "only `100-continue` can be expected"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The host that a request names: by `:authority`, by `host`, or by both if they agree (RFC 9113, 8.3.1).
fn host(parts: &http::request::Parts) -> Option<Vec<u8>> {
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let (field, more) = (fields.next().map(|host| host.as_bytes()), fields.next());
    match (authority, field, more) {
        (_, _, Some(_)) | (None, None, _) => None,
        (Some(authority), Some(host), None) if !authority.eq_ignore_ascii_case(host) => None,
        (Some(host), _, None) | (None, Some(host), None) => Some(host.to_vec()),
    }
}

fn write_head(
    parts: &http::request::Parts,
    path: &str,
    host: &[u8],
    framing: Framing,
    hops: Option<u64>,
    forwarding: &[u8],
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(&mut out, "host", host);
    for (name, value) in &parts.headers {
        let passes = match classify(name.as_str()) {
            Field::Pass => name != header::COOKIE,
            Field::MaxForwards => hops.is_none(),
            Field::Expect => framing != Framing::Empty,
            Field::Drop
            | Field::Host
            | Field::ContentLength
            | Field::TransferEncoding
            | Field::Connection
            | Field::Upgrade
            | Field::Te => false,
        };
        if passes {
            write_field(&mut out, name.as_str(), value.as_bytes());
        }
    }
    write_cookies(&mut out, &parts.headers);
    match framing {
        Framing::Length(length) => {
            write_field(&mut out, "content-length", length.to_string().as_bytes());
        }
        Framing::Chunked => write_field(&mut out, "transfer-encoding", b"chunked"),
        Framing::Empty | Framing::UntilClose => {}
    }
    if parts.headers.get(header::TE).is_some_and(|value| value == "trailers") {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    if let Some(hops) = hops {
        write_field(&mut out, "max-forwards", (hops - 1).to_string().as_bytes());
    }
    out.extend_from_slice(b"via: 2 hornero\r\n");
    out.extend_from_slice(forwarding);
    write_field(&mut out, "x-forwarded-host", host);
    out.extend_from_slice(b"\r\n");
    out
}

/// HTTP/2 splits cookies into fields of their own; HTTP/1.1 has one (RFC 9113, 8.2.3).
fn write_cookies(out: &mut Vec<u8>, headers: &HeaderMap) {
    let cookies: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(|value| value.as_bytes()).collect();
    if !cookies.is_empty() {
        write_field(out, "cookie", &cookies.join(&b"; "[..]));
    }
}

async fn send(
    sock: Rc<Sock>,
    head: Vec<u8>,
    framing: Framing,
    body: Option<RecvStream>,
) -> io::Result<()> {
    send_all(&*sock, &head, &[]).await?;
    let Some(mut body) = body else { return Ok(()) };
    let mut chunk = Vec::new();
    let mut trailers = HeaderMap::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        if framing == Framing::Chunked {
            chunk.clear();
            write_chunk(&mut chunk, &data);
            send_all(&*sock, &chunk, &[]).await?;
        } else {
            send_all(&*sock, &data, &[]).await?;
        }
        // The client may send as much again.
        body.flow_control().release_capacity(data.len()).map_err(io::Error::other)?;
    }
    if let Some(fields) = body.trailers().await.map_err(io::Error::other)? {
        trailers = fields;
    }
    if framing == Framing::Chunked {
        chunk.clear();
        chunk.extend_from_slice(b"0\r\n");
        for (name, value) in &trailers {
            if crate::http1::body::may_trail(name.as_str()) {
                write_field(&mut chunk, name.as_str(), value.as_bytes());
            }
        }
        chunk.extend_from_slice(b"\r\n");
        send_all(&*sock, &chunk, &[]).await?;
    }
    Ok(())
}

/// Sends and waits for a head that is no interim one; those are passed on (RFC 9110, 15.2).
async fn read_head(
    reading: &mut Reading,
    slot: &SlotGuard,
    head_bytes: usize,
    to_head: bool,
    respond: &Responder,
) -> Result<(AnswerHead, Response<()>), Failure> {
    let mut heard = false;
    for _ in 0..=INTERIM_ANSWERS {
        let (head, response) = loop {
            if !reading.input.is_empty() {
                let mut storage = field_storage();
                let parsed = parse_answer(reading.input.filled(), to_head, &mut storage);
                if let Some((head, _, fields)) = parsed.map_err(|_| Failure::Bad)? {
                    let response = response(&head, fields).ok_or(Failure::Bad)?;
                    break (head, response);
                }
                if reading.input.is_full() && !reading.input.grow(head_bytes) {
                    return Err(Failure::Bad);
                }
            }
            let received = poll_fn(|context| {
                slot.register(context);
                match slot.signal() {
                    Some(Signal::Cut) => return Poll::Ready(Err(Failure::Cut)),
                    Some(Signal::Expired | Signal::GivenUp) => {
                        return Poll::Ready(Err(Failure::Slow));
                    }
                    None => {}
                }
                reading.poll_send(context);
                reading.input.poll_fill(context, &*reading.sock).map(|count| match count {
                    Ok(count) if count > 0 => Ok(()),
                    Ok(_) | Err(_) if heard => Err(Failure::Bad),
                    Ok(_) | Err(_) => Err(Failure::Unheard),
                })
            });
            received.await?;
            heard = true;
        };
        reading.input.consume(head.used);
        if head.status == 101 {
            return Err(Failure::Bad);
        }
        if !head.is_interim() {
            // A body that is wrong from its first byte is known before the head goes out.
            let mut decoder = Decoder::new(head.body);
            decoder.next(reading.input.filled()).map_err(|_| Failure::Bad)?;
            return Ok((head, response));
        }
        // A client that has gone is found gone where it is waited for.
        let _ = respond.borrow_mut().send_informational(response);
    }
    Err(Failure::Bad)
}
