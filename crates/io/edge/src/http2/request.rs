//! One HTTP/2 request from its head to the end of its answer.

use std::{
    borrow::Cow,
    cell::RefCell,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
    task::{Poll, ready},
};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream, server::SendResponse};
use http::{HeaderValue, Method, Request, Response, header};
use http_body::{Body as _, Frame};

use super::{
    answer::{AnswerBody, Reading},
    forward::{Expected, Responder, Unanswered, read_head, send},
    head::{check_fields, host, write_head},
    opened::{Opened, as_connected},
    own::own,
    shared::{Active, Shared},
};
use crate::{
    counters::Ticket,
    http1::{
        answer::AnswerHead,
        body::Framing,
        field::{parse_length, write_field},
        target::{host_name, last_hop, max_forwards},
    },
    limits::TARGET_BYTES,
    local_backend::Reuse,
    pool::LocalPool,
    slots::SlotGuard,
    upstream::{Attempts, HELD_BACK, Unserved, Upstream, acquire},
    view::OwnAnswer,
    websocket,
};

/// Serves one request to its end, or to the client's.
pub(super) async fn serve(
    shared: Rc<Shared>,
    active: Active,
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
) {
    let respond = RefCell::new(respond);
    let date = HeaderValue::from_bytes(&shared.worker.clock.date());
    let outcome = {
        let mut handling = pin!(handle(shared, active, request, &respond));
        let handled = poll_fn(|context| {
            if let Poll::Ready(outcome) = handling.as_mut().poll(context) {
                return Poll::Ready(Some(outcome));
            }
            // A client that wants no answer any more gets none.
            respond.borrow_mut().poll_reset(context).map(|_| None)
        });
        handled.await
    };
    let response = match outcome {
        None => return,
        Some(Ok(response)) => response,
        Some(Err(opened)) => return opened.serve(respond.into_inner()).await,
    };
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
            body.poll_send(context);
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

/// What becomes of a request.
type Handled = Result<Response<AnswerBody>, Box<Opened>>;

/// An answer of the edge's own in the place of a server's.
fn refuse(status: u16, text: &'static str) -> Handled {
    Ok(own((status, text)))
}

/// A request as it was understood.
struct Asked {
    pool: Rc<LocalPool>,
    /// What it draws, where its client sticks to a side.
    stuck: Option<u32>,
    /// As HTTP/1.1.
    head: Vec<u8>,
    framing: Framing,
    is_websocket: bool,
    to_head: bool,
    /// Whether it can be sent again where a server closed without an answer.
    repeatable: bool,
}

impl Asked {
    /// Understands a request, or says what the edge answers itself; `is_over` says that no body follows.
    fn read(
        shared: &Shared,
        mut parts: http::request::Parts,
        is_over: bool,
    ) -> Result<Self, OwnAnswer> {
        let refused = |status, text| (status, Cow::Borrowed(text));
        let protocol = parts.extensions.get::<h2::ext::Protocol>();
        let is_websocket = protocol.is_some_and(|protocol| protocol.as_str() == "websocket");
        if parts.method == Method::CONNECT && !is_websocket {
            return Err(refused(405, "tunnels are not offered"));
        }
        if is_websocket {
            // What it is towards the server (RFC 8441, 5).
            parts.method = Method::GET;
        }
        check_fields(&parts.headers).map_err(|(status, text)| refused(status, text))?;
        let host = host(&parts).ok_or(refused(400, "no host, or more than one"))?;
        let name = host_name(&host).ok_or(refused(400, "malformed host"))?;
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        if path.len() > TARGET_BYTES {
            return Err(refused(414, "request target is too long"));
        }
        let hops = hops(&parts).map_err(|(status, text)| refused(status, text))?;
        let table = shared.worker.table();
        let field = |name: &'static str| parts.headers.get(name).map(HeaderValue::as_bytes);
        let pool = table.route(&shared.origin.listener, name, path.as_bytes(), field)?;
        let stuck = pool.sticky.as_deref().and_then(|of| {
            let values = parts.headers.get_all(of.field()).iter();
            of.draw(values.map(HeaderValue::as_bytes))
        });
        let length = parts.headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|length| parse_length(length.as_bytes()));
        let framing = match (is_over || is_websocket, length) {
            (true, _) => Framing::Empty,
            (false, Some(length)) => Framing::Length(length),
            (false, None) => Framing::Chunked,
        };
        let mut head = write_head(&parts, path, &host, framing, hops, &shared.forwarding);
        if is_websocket {
            ask_for_websocket(&mut head);
        }
        let to_head = parts.method == Method::HEAD;
        let repeatable = framing == Framing::Empty && parts.method.is_idempotent();
        Ok(Self { pool, stuck, head, framing, is_websocket, to_head, repeatable })
    }
}

/// How often a request may still be forwarded, where that is limited; an answer where it is no more.
fn hops(parts: &http::request::Parts) -> Result<Option<u64>, (u16, &'static str)> {
    let limited = matches!(parts.method, Method::TRACE | Method::OPTIONS);
    let hops = parts.headers.get("max-forwards").filter(|_| limited);
    match hops.map(|value| max_forwards(value.as_bytes())).transpose() {
        Ok(Some(0)) => Err(last_hop(parts.method.as_str())),
        Ok(hops) => Ok(hops),
        Err(()) => Err((400, "malformed request")),
    }
}

/// Adds what HTTP/1.1 asks for a WebSocket with.
fn ask_for_websocket(head: &mut Vec<u8>) {
    head.truncate(head.len() - 2);
    head.extend_from_slice(b"connection: upgrade\r\nupgrade: websocket\r\n");
    write_field(head, "sec-websocket-key", websocket::key().as_bytes());
    head.extend_from_slice(b"\r\n");
}

/// Answers one request, or has a WebSocket opened for it.
async fn handle(
    shared: Rc<Shared>,
    active: Active,
    request: Request<RecvStream>,
    respond: &Responder,
) -> Handled {
    let (parts, body) = request.into_parts();
    let mut asked = match Asked::read(&shared, parts, body.is_end_stream()) {
        Ok(asked) => asked,
        Err(answer) => return Ok(own(answer)),
    };
    let worker = &shared.worker;
    let reuse = if asked.repeatable { Reuse::Likely } else { Reuse::Certain };
    let slot = SlotGuard::new(&worker.slots);
    poll_fn(|context| {
        slot.register(context);
        Poll::Ready(())
    })
    .await;
    let (mut ticket, mut attempts, mut body) =
        (None, Attempts::new(worker).stick(asked.stuck), Some(body));
    let expected = Expected {
        head_bytes: worker.limits.head_bytes,
        to_head: asked.to_head,
        upgrades: asked.is_websocket,
    };
    loop {
        let origin = &shared.origin;
        let acquired =
            acquire(worker, &slot, origin, &mut asked.pool, &mut ticket, &mut attempts, reuse);
        let upstream = match acquired.await {
            Ok(upstream) => upstream,
            Err(unserved) => return unserved_answer(unserved),
        };
        let Upstream { link, input, backend, client, reused } = upstream;
        let link = Rc::new(link);
        let timeout = worker.limits.connect_timeout;
        if asked.is_websocket && !Box::pin(link.allow_websocket(timeout)).await {
            return refuse(501, "this service takes no WebSockets");
        }
        let sent_body = if asked.repeatable { None } else { body.take() };
        let sending = send(link.clone(), asked.head.clone(), asked.framing, sent_body);
        let mut reading =
            Reading { link, input, backend, client, sending: Some(Box::pin(sending)) };
        slot.set_deadline_ms(worker.clock.deadline_ms(worker.limits.answer_timeout));
        let unanswered = match read_head(&mut reading, &slot, expected, respond).await {
            Ok(answer) => {
                let answered = Answered { answer, reading, ticket, slot, active };
                return answered.pass_on(&shared, &asked, body);
            }
            Err(unanswered) => unanswered,
        };
        let again = matches!(unanswered, Unanswered::Unheard)
            && asked.repeatable
            && attempts.after_silence(&asked.pool, &reading.backend, reused);
        if !again {
            return failed(ticket.as_mut(), unanswered);
        }
        ticket.iter().for_each(Ticket::retried);
    }
}

/// The head of a server's answer, with all that its body needs.
struct Answered {
    answer: (AnswerHead, Response<()>),
    reading: Reading,
    ticket: Option<Ticket>,
    slot: SlotGuard,
    active: Active,
}

impl Answered {
    fn pass_on(self, shared: &Shared, asked: &Asked, body: Option<RecvStream>) -> Handled {
        let Self { answer: (head, response), reading, ticket, slot, active } = self;
        let worker = shared.worker.clone();
        if head.status == 101 {
            let (Some(ticket), Some(received)) = (ticket, body) else {
                return refuse(500, "internal error");
            };
            ticket.answered(head.status);
            let answer = as_connected(response);
            let _active = active;
            return Err(Box::new(Opened {
                reading,
                answer,
                received,
                ticket,
                slot,
                worker,
                _active,
            }));
        }
        if asked.is_websocket && (200..300).contains(&head.status) {
            // To the client a success would be an open WebSocket.
            return refuse(502, "the server opened no WebSocket");
        }
        let Some(ticket) = ticket else { return refuse(500, "internal error") };
        ticket.answered(head.status);
        let body = AnswerBody::new(head, reading, ticket, slot, worker, active);
        Ok(response.map(|()| body))
    }
}

fn unserved_answer(unserved: Unserved) -> Handled {
    match unserved {
        Unserved::NoBackend => refuse(503, "no healthy server"),
        Unserved::Unreachable => refuse(502, "no server could be reached"),
        Unserved::Held => refuse(503, HELD_BACK),
    }
}

fn failed(ticket: Option<&mut Ticket>, unanswered: Unanswered) -> Handled {
    if let Some(ticket) = ticket {
        ticket.fail();
    }
    match unanswered {
        Unanswered::Unheard | Unanswered::Bad => {
            refuse(502, "the server closed the connection or answered badly")
        }
        Unanswered::Slow => refuse(504, "the server took too long"),
        Unanswered::Cut => refuse(503, "cut off"),
    }
}
