//! The API's server: one task a connection on the Unix socket, the caller known by socket credentials.

use std::{
    collections::VecDeque,
    convert::Infallible,
    path::Path,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hornero_api::{PROTOCOL, PROTOCOL_HEADER, REQUEST_MAX_BYTES, VERSION_HEADER, message::Problem};
use http_body_util::{BodyExt as _, Full, Limited, combinators::UnsyncBoxBody};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body as _, Bytes, Frame, Incoming},
    header::HeaderValue,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::{Semaphore, mpsc},
    task::AbortHandle,
};

/// An answer's body: whole or streamed.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;
/// An answer, or the problem to answer with and its status.
pub type Answer = Result<Response<Body>, Refusal>;

/// Connections served at once; a person and a few scripts need a handful, followers of logs some more.
const CONNECTIONS: usize = 256;
/// Lines in flight to a reader that is slower than the writer.
const STREAM_DEPTH: usize = 64;
/// How long a client may take over a request's head, and then over its body: a local one needs milliseconds, and one
/// that never ends must not keep its connection from others.
const READ_TIMEOUT: Duration = Duration::from_secs(10);

/// A request that is not answered well.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    problem: Problem,
}

impl Refusal {
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

/// Who calls.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The Unix user's name, or its number where it has none.
    pub user: String,
}

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(
        self: Arc<Self>,
        caller: Caller,
        request: Request<Incoming>,
    ) -> impl Future<Output = Answer> + Send;
}

/// Binds the socket at `path` (0600), which replaces one left by a process that died.
pub fn bind(path: &Path) -> std::io::Result<std::os::unix::net::UnixListener> {
    use std::os::unix::fs::PermissionsExt as _;
    // The caller holds the home's lock, so a socket that is there belongs to nobody.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std::os::unix::net::UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the future is dropped.
pub async fn serve<H: Handler>(listener: UnixListener, handler: Arc<H>) {
    serve_within(listener, handler, READ_TIMEOUT).await;
}

async fn serve_within<H: Handler>(listener: UnixListener, handler: Arc<H>, head: Duration) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut clients = VecDeque::new();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!("accepting on the control socket failed: {error}");
                // Out of file descriptors is the usual cause; give others time to close theirs.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        if clients.len() >= 2 * CONNECTIONS {
            clients.retain(|client: &Client| !client.task.is_finished());
        }
        if slots.available_permits() == 0 {
            give_up_one(&mut clients);
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let handler = Arc::clone(&handler);
        let progress = Arc::new(AtomicU8::new(SILENT));
        let seen = Arc::clone(&progress);
        let task = tokio::spawn(async move {
            let caller = caller_of(&stream);
            let service = service_fn(move |mut request: Request<Incoming>| {
                let (handler, caller) = (Arc::clone(&handler), caller.clone());
                let progress = Arc::clone(&progress);
                async move {
                    let is_whole = request.body().is_end_stream();
                    progress.store(if is_whole { WORKING } else { ASKING }, Ordering::Relaxed);
                    request.extensions_mut().insert(ClientProgress(Arc::clone(&progress)));
                    let answer = match same_protocol(request.headers()) {
                        Ok(()) => handler.handle(caller, request).await,
                        Err(refusal) => Err(refusal),
                    };
                    progress.store(ANSWERED, Ordering::Relaxed);
                    Ok::<_, Infallible>(answered(answer))
                }
            });
            // A connection that breaks concerns its client alone.
            let _ = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(head)
                .serve_connection(TokioIo::new(stream), service)
                .await;
            drop(slot);
        });
        clients.push_back(Client { task: task.abort_handle(), progress: seen });
    }
}

/// A connection, and how far its client has come.
struct Client {
    task: AbortHandle,
    progress: Arc<AtomicU8>,
}

/// It has not sent the head of a request.
const SILENT: u8 = 0;
/// It has, and some of the body is missing.
const ASKING: u8 = 1;
/// Its request is whole, and it waits for the answer: that is ours to give, however long it takes.
const WORKING: u8 = 2;
/// It is answered, or is being told what happens.
const ANSWERED: u8 = 3;

/// How far the client of a request has come.
#[derive(Debug, Clone)]
struct ClientProgress(Arc<AtomicU8>);

/// Ends the oldest connection that has asked for nothing yet, or else the oldest whose request is not whole: clients that
/// begin requests and never end them must not keep others waiting.
fn give_up_one(clients: &mut VecDeque<Client>) {
    clients.retain(|client| !client.task.is_finished());
    for wanted in [SILENT, ASKING] {
        let is = |client: &Client| client.progress.load(Ordering::Relaxed) == wanted;
        if let Some(at) = clients.iter().position(is) {
            if let Some(client) = clients.remove(at) {
                client.task.abort();
            }
            return;
        }
    }
}

fn answered(answer: Answer) -> Response<Body> {
    let mut response = answer.unwrap_or_else(|refusal| {
        let mut response = json_response(&refusal.problem);
        *response.status_mut() = refusal.status;
        response
    });
    let version = HeaderValue::from_static(hornero_model::program_version());
    response.headers_mut().insert(VERSION_HEADER, version);
    response.headers_mut().insert(PROTOCOL_HEADER, PROTOCOL.into());
    response
}

/// Refuses a client that says that it speaks another protocol; the first versions don't say it, and speak 1.
fn same_protocol(headers: &HeaderMap) -> Result<(), Refusal> {
    let said = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
    match said(PROTOCOL_HEADER) {
        Some(protocol) if protocol != PROTOCOL.to_string() => {
            let text = format!(
                "the command is hornero {} and speaks API protocol {protocol}; the control process is hornero {}, \
                 which speaks {PROTOCOL}",
                said(VERSION_HEADER).unwrap_or("of an unknown version"),
                hornero_model::program_version()
            );
            let hint = "nothing was done; `hornero upgrade` of the newer version moves control and edge to it";
            Err(Refusal::new(StatusCode::CONFLICT, "other_protocol", text).hint(hint))
        }
        Some(_) | None => Ok(()),
    }
}

fn caller_of(stream: &UnixStream) -> Caller {
    let user = match stream.peer_cred() {
        Ok(credentials) => user_name(credentials.uid()),
        Err(error) => format!("unknown ({error})"),
    };
    Caller { user }
}

/// The name of a Unix user by `/etc/passwd`, or its number.
fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.get(2).is_some_and(|field| field.parse() == Ok(uid)))
        .map_or_else(|| uid.to_string(), |fields| fields[0].to_owned())
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

/// The request's JSON body, within limits.
pub async fn body<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, Refusal> {
    let bytes = whole(request).await?;
    parsed(&bytes).map_err(|error| bad(format!("the body is not of this request: {error}")))
}

fn bad(message: String) -> Refusal {
    Refusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

/// The bytes of a request's body, within limits; its client has nothing more to send then.
pub async fn whole(request: Request<Incoming>) -> Result<Bytes, Refusal> {
    let progress = request.extensions().get::<ClientProgress>().cloned();
    let limited = Limited::new(request.into_body(), REQUEST_MAX_BYTES);
    let bytes = tokio::time::timeout(READ_TIMEOUT, limited.collect())
        .await
        .map_err(|_| bad("the body did not come in time".to_owned()))?
        .map_err(|error| bad(format!("the body can't be read: {error}")))?
        .to_bytes();
    if let Some(ClientProgress(progress)) = progress {
        progress.store(WORKING, Ordering::Relaxed);
    }
    Ok(bytes)
}

/// A request's body. Every one is an object: serde would take a list for the fields in their order as well, and an
/// empty one for a request with nothing but defaults, such as to take everything down.
fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, serde_json::Error> {
    match bytes.iter().find(|byte| !byte.is_ascii_whitespace()) {
        Some(b'[') => Err(serde::de::Error::custom("expected an object, not a list")),
        Some(_) | None => serde_json::from_slice(bytes),
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use hornero_api::message::DownRequest;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    #[test]
    fn a_list_is_no_request() {
        for body in ["[]", " []", "\n[null, {}]"] {
            let error = parsed::<DownRequest>(body.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("not a list"), "{body}: {error}");
        }
        assert_eq!(parsed::<DownRequest>(b"{\"services\": null}").unwrap().services, None);
    }

    struct Echo;

    impl Handler for Echo {
        async fn handle(self: Arc<Self>, _: Caller, request: Request<Incoming>) -> Answer {
            json(&body::<serde_json::Value>(request).await?)
        }
    }

    #[test]
    fn another_protocol_is_refused_with_both_versions() {
        let mut headers = HeaderMap::new();
        assert!(same_protocol(&headers).is_ok(), "the first versions say nothing and speak 1");
        headers.insert(VERSION_HEADER, HeaderValue::from_static("9.9.9"));
        headers.insert(PROTOCOL_HEADER, PROTOCOL.into());
        assert!(same_protocol(&headers).is_ok());
        headers.insert(PROTOCOL_HEADER, (PROTOCOL + 1).into());
        let refused = same_protocol(&headers).unwrap_err();
        assert_eq!(refused.problem.code, "other_protocol");
        assert!(refused.problem.message.contains("hornero 9.9.9"), "{:?}", refused.problem);
        assert!(refused.problem.message.contains(hornero_model::program_version()));
    }

    /// Answers once it is let go on.
    struct Slow(Arc<Semaphore>);

    impl Handler for Slow {
        async fn handle(self: Arc<Self>, _: Caller, request: Request<Incoming>) -> Answer {
            let value = body::<serde_json::Value>(request).await?;
            let _place = self.0.acquire().await.map_err(Refusal::internal)?;
            json(&value)
        }
    }

    #[tokio::test]
    async fn a_whole_request_that_waits_for_its_answer_is_not_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = UnixListener::from_std(bind(&path).unwrap()).unwrap();
        let go = Arc::new(Semaphore::new(0));
        let handler = Arc::new(Slow(Arc::clone(&go)));
        let server = tokio::spawn(serve_within(listener, handler, Duration::from_secs(3_600)));
        let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n";
        let mut clients = Vec::new();
        for number in 0..CONNECTIONS + 8 {
            let mut stream = UnixStream::connect(&path).await.unwrap();
            // Of the last ones, every other never sends its body.
            let is_whole = number < CONNECTIONS || number % 2 == 0;
            let body = if is_whole { "{}" } else { "" };
            stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
            clients.push((is_whole, stream));
            tokio::task::yield_now().await;
        }
        go.add_permits(clients.len());
        for (number, (is_whole, mut stream)) in clients.into_iter().enumerate() {
            if !is_whole {
                continue;
            }
            let mut answer = String::new();
            let read = stream.read_to_string(&mut answer);
            tokio::time::timeout(READ_TIMEOUT, read).await.unwrap().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "client {number}: {answer:?}");
        }
        server.abort();
    }

    #[tokio::test]
    async fn clients_that_never_end_their_request_keep_no_connection_from_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = UnixListener::from_std(bind(&path).unwrap()).unwrap();
        let served = serve_within(listener, Arc::new(Echo), Duration::from_secs(3_600));
        let server = tokio::spawn(served);
        let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n";
        let mut stalled = Vec::new();
        for begun in ["", "GET /v1/sta", head] {
            for _ in 0..CONNECTIONS {
                let mut stream = UnixStream::connect(&path).await.unwrap();
                stream.write_all(begun.as_bytes()).await.unwrap();
                stalled.push(stream);
            }
            let mut good = UnixStream::connect(&path).await.unwrap();
            good.write_all(format!("{head}{{}}").as_bytes()).await.unwrap();
            let mut answer = String::new();
            let read = good.read_to_string(&mut answer);
            tokio::time::timeout(READ_TIMEOUT / 2, read).await.unwrap().unwrap();
            assert!(answer.starts_with("HTTP/1.1 200"), "{begun}: {answer}");
        }
        drop(stalled);
        server.abort();
    }
}
