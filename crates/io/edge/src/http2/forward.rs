//! A request on its way to a server: its body sent while the head of its answer is awaited.

use std::{cell::RefCell, future::poll_fn, io, rc::Rc, task::Poll};

use bytes::Bytes;
use h2::{RecvStream, server::SendResponse};
use http::{HeaderMap, Response};

use super::answer::{Reading, response};
use crate::{
    http1::{
        answer::{AnswerHead, field_storage, parse_answer},
        body::{Decoder, Framing, may_trail, write_chunk},
        field::write_field,
    },
    limits::INTERIM_ANSWERS,
    link::Link,
    slot::Signal,
    slots::SlotGuard,
    stream::send_all,
};

/// How a client gets its answers.
pub(super) type Responder = RefCell<SendResponse<Bytes>>;

/// Why there is no answer to pass on.
pub(super) enum Unanswered {
    /// The connection ended before a byte of an answer.
    Unheard,
    Bad,
    Slow,
    Cut,
}

/// What must be known of a request to read its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Expected {
    /// Most bytes of its head.
    pub(super) head_bytes: usize,
    /// Whether it has no body whatever it says.
    pub(super) to_head: bool,
    /// Whether it may agree to another protocol.
    pub(super) upgrades: bool,
}

/// Sends a request with its body.
pub(super) async fn send(
    link: Rc<Link>,
    head: Vec<u8>,
    framing: Framing,
    body: Option<RecvStream>,
) -> io::Result<()> {
    send_all(&*link, &head, &[]).await?;
    let Some(mut body) = body else { return Ok(()) };
    let mut chunk = Vec::new();
    let mut trailers = HeaderMap::new();
    while let Some(data) = body.data().await {
        let data = data.map_err(io::Error::other)?;
        if framing == Framing::Chunked {
            chunk.clear();
            write_chunk(&mut chunk, &data);
            send_all(&*link, &chunk, &[]).await?;
        } else {
            send_all(&*link, &data, &[]).await?;
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
            if may_trail(name.as_str()) {
                write_field(&mut chunk, name.as_str(), value.as_bytes());
            }
        }
        chunk.extend_from_slice(b"\r\n");
        send_all(&*link, &chunk, &[]).await?;
    }
    Ok(())
}

/// Sends and waits for a head that is no interim one; those are passed on (RFC 9110, 15.2).
pub(super) async fn read_head(
    reading: &mut Reading,
    slot: &SlotGuard,
    expected: Expected,
    respond: &Responder,
) -> Result<(AnswerHead, Response<()>), Unanswered> {
    let mut heard = false;
    for _ in 0..=INTERIM_ANSWERS {
        let (head, response) = loop {
            if !reading.input.is_empty() {
                let mut storage = field_storage();
                let parsed = parse_answer(reading.input.filled(), expected.to_head, &mut storage);
                if let Some((head, _, fields)) = parsed.map_err(|_| Unanswered::Bad)? {
                    let response = response(&head, fields).ok_or(Unanswered::Bad)?;
                    break (head, response);
                }
                if reading.input.is_full() && !reading.input.grow(expected.head_bytes) {
                    return Err(Unanswered::Bad);
                }
            }
            receive(reading, slot, heard).await?;
            heard = true;
        };
        reading.input.consume(head.used);
        if head.status == 101 && !expected.upgrades {
            return Err(Unanswered::Bad);
        }
        if !head.is_interim() {
            // A body that is wrong from its first byte is known before the head goes out.
            let mut decoder = Decoder::new(head.body);
            decoder.next(reading.input.filled()).map_err(|_| Unanswered::Bad)?;
            return Ok((head, response));
        }
        // A client that has gone is found gone where it is waited for.
        let _ = respond.borrow_mut().send_informational(response);
    }
    Err(Unanswered::Bad)
}

/// Goes on with sending and receives more; `heard` says whether anything has come before.
async fn receive(reading: &mut Reading, slot: &SlotGuard, heard: bool) -> Result<(), Unanswered> {
    poll_fn(|context| {
        slot.register(context);
        match slot.signal() {
            Some(Signal::Cut) => return Poll::Ready(Err(Unanswered::Cut)),
            Some(Signal::Expired | Signal::GivenUp) => {
                return Poll::Ready(Err(Unanswered::Slow));
            }
            None => {}
        }
        reading.poll_send(context);
        reading.input.poll_fill(context, &*reading.link).map(|count| match count {
            Ok(count) if count > 0 => Ok(()),
            Ok(_) | Err(_) if heard => Err(Unanswered::Bad),
            Ok(_) | Err(_) => Err(Unanswered::Unheard),
        })
    })
    .await
}
