//! Answers to clients: whole or in lines, or why there is none.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use hornero_api::message::Problem;
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use hyper::{
    Response, StatusCode,
    body::{Bytes, Frame},
};
use serde::Serialize;
use tokio::sync::mpsc::{self, error::TrySendError};

/// An answer's body: whole or streamed.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;
/// An answer, or the problem to answer with and its status.
pub type Answer = Result<Response<Body>, ApiRefusal>;

/// Lines in flight to a reader that is slower than the writer.
const STREAM_DEPTH: usize = 64;

/// Between two looks whether a slow reader has room.
const FULL_PAUSE: Duration = Duration::from_millis(5);

/// A request that is not answered well.
#[derive(Debug)]
pub struct ApiRefusal {
    status: StatusCode,
    pub(crate) problem: Problem,
}

impl ApiRefusal {
    /// A refusal with a stable code word and a message.
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            problem: Problem { code: code.to_owned(), message: message.into(), hint: None },
        }
    }

    /// The same with what to do about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.problem.hint = Some(hint.into());
        self
    }

    /// Something on this side failed.
    pub fn internal(error: impl std::fmt::Display) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", error.to_string())
    }
}

/// The answer with its status, whichever it is.
pub fn told(answer: Answer) -> Response<Body> {
    answer.unwrap_or_else(|refusal| {
        let mut response = json_response(&refusal.problem);
        *response.status_mut() = refusal.status;
        response
    })
}

fn json_response(value: &impl Serialize) -> Response<Body> {
    let bytes = serde_json::to_vec(value).unwrap_or_else(|error| {
        serde_json::json!({ "message": error.to_string() }).to_string().into()
    });
    let mut response = Response::new(Full::new(Bytes::from(bytes)).boxed_unsync());
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}

/// A whole JSON answer.
pub fn json(value: &impl Serialize) -> Answer {
    Ok(json_response(value))
}

/// Sends lines to a streamed answer; fails once the reader has gone.
pub struct LineSender(mpsc::Sender<Bytes>);

impl LineSender {
    /// Sends one value as a line; false once the reader has gone.
    pub async fn send(&self, value: &impl Serialize) -> bool {
        self.0.send(line(value)).await.is_ok()
    }

    /// The same from a thread that may block.
    pub fn send_blocking(&self, value: &impl Serialize) -> bool {
        self.0.blocking_send(line(value)).is_ok()
    }

    /// The same; false as well where nobody takes it within `patience`.
    pub fn send_within(&self, value: &impl Serialize, patience: Duration) -> bool {
        let (mut line, deadline) = (line(value), Instant::now() + patience);
        loop {
            match self.0.try_send(line) {
                Ok(()) => return true,
                Err(TrySendError::Full(back)) if Instant::now() < deadline => line = back,
                Err(TrySendError::Full(_) | TrySendError::Closed(_)) => return false,
            }
            // A reader that is slower than the writer is looked for again; nothing tells a thread that it has room.
            std::thread::sleep(FULL_PAUSE);
        }
    }

    /// Ends a stream that can't go on: its last line is the problem, so that nobody takes the part for the whole.
    pub fn fail_blocking(&self, code: &str, message: impl Into<String>) {
        let problem = Problem { code: code.to_owned(), message: message.into(), hint: None };
        // A reader that has gone misses nothing.
        let _ = self.send_blocking(&problem);
    }

    /// Returns once the reader has gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }

    /// Whether the reader has gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }
}

fn line(value: &impl Serialize) -> Bytes {
    let mut bytes = serde_json::to_vec(value).unwrap_or_else(|error| {
        serde_json::json!({ "error": error.to_string() }).to_string().into()
    });
    bytes.push(b'\n');
    bytes.into()
}

/// A streamed answer and what fills it.
pub fn stream() -> (LineSender, Answer) {
    let (sender, receiver) = mpsc::channel(STREAM_DEPTH);
    let mut response = Response::new(LineBody(receiver).boxed_unsync());
    response
        .headers_mut()
        .insert("content-type", http::HeaderValue::from_static("application/x-ndjson"));
    (LineSender(sender), Ok(response))
}

/// A streamed answer of some other kind, and what fills it, piece by piece.
pub fn pieces(kind: &'static str, depth: usize) -> (mpsc::Sender<Bytes>, Response<Body>) {
    let (sender, receiver) = mpsc::channel(depth);
    let mut response = Response::new(LineBody(receiver).boxed_unsync());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(kind));
    (sender, response)
}

/// The lines as a body.
struct LineBody(mpsc::Receiver<Bytes>);

impl hyper::body::Body for LineBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
    }
}
