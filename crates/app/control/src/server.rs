//! The API's server: one task a connection, whichever way it came in by.

use std::{collections::VecDeque, convert::Infallible, io, path::Path, sync::Arc, time::Duration};

use hornero_api::{PROTOCOL, PROTOCOL_HEADER, VERSION_HEADER, Wire};
use hyper::{
    HeaderMap, Request, Response, StatusCode,
    body::{Body as _, Incoming},
    header::HeaderValue,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{sync::Semaphore, task::AbortHandle};

use crate::{
    access::{gate::AccessGate, rates::Source},
    answer::{Answer, ApiRefusal, Body, told},
    request::{Caller, ClientProgress, ClientStage, HangUp, READ_TIMEOUT, RemotePeer},
};

/// Connections served at once; a person and a few scripts need a handful, followers of logs some more.
const CONNECTIONS: usize = 256;

/// Connections of one source at once: a browser has six, and what stands before many has some more.
const OF_ONE_SOURCE: usize = 64;
/// Bytes of a request's head beyond which no more is read; with what came last it has twice as many at most. A search in
/// logs is the longest there is.
const HEAD_BYTES: usize = 32 << 10;

/// Who is at the other end of a connection.
#[derive(Debug, Clone)]
pub enum Peer {
    /// A process of this host, by a Unix socket.
    Local(Caller),
    /// Somebody by TCP, and who decides on what they send.
    Remote(RemotePeer, Arc<AccessGate>),
}

/// A connection that was let in.
pub struct Welcomed {
    /// The connection.
    pub stream: Box<dyn Wire>,
    /// Who is at its other end.
    pub peer: Peer,
}

/// A way in.
pub trait Door: Send + Sync + 'static {
    /// A connection that nothing was said by yet.
    type Knock: Send + 'static;

    /// The next connection.
    fn knock(&self) -> impl Future<Output = io::Result<Self::Knock>> + Send;

    /// Whose connections are counted together; none where they are not counted.
    fn source(&self, knock: &Self::Knock) -> Option<Source>;

    /// What it is once both have shaken hands; none where they don't.
    fn welcome(&self, knock: Self::Knock) -> impl Future<Output = Option<Welcomed>> + Send;
}

/// Marks an answer that anybody gets: its client has shown nothing for which others should wait.
#[derive(Debug, Clone, Copy)]
pub struct ForNobody;

/// What answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request.
    fn handle(
        self: Arc<Self>,
        peer: Peer,
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
pub async fn serve<H: Handler>(door: impl Door, handler: Arc<H>) {
    serve_within(door, handler, READ_TIMEOUT).await;
}

async fn serve_within<D: Door, H: Handler>(door: D, handler: Arc<H>, head: Duration) {
    let door = Arc::new(door);
    let slots = Arc::new(Semaphore::new(CONNECTIONS));
    let mut clients = VecDeque::new();
    loop {
        let knock = match door.knock().await {
            Ok(knock) => knock,
            Err(error) => {
                tracing::warn!("accepting a connection to the API failed: {error}");
                // Out of file descriptors is the usual cause; give others time to close theirs.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let source = door.source(&knock);
        if clients.len() >= 2 * CONNECTIONS || source.is_some() {
            clients.retain(|client: &Client| !client.task.is_finished());
        }
        let of_source = |client: &&Client| source.is_some() && client.source == source;
        if clients.iter().filter(of_source).count() >= OF_ONE_SOURCE
            && !give_up_one(&mut clients, |client| client.source == source)
        {
            // All of its connections are in use; an answer would take as much as one more.
            continue;
        }
        if slots.available_permits() == 0 {
            give_up_one(&mut clients, |_| true);
        }
        let Ok(slot) = Arc::clone(&slots).acquire_owned().await else { return };
        let (handler, door) = (Arc::clone(&handler), Arc::clone(&door));
        let progress = ClientProgress::silent();
        let seen = progress.clone();
        let task = tokio::spawn(async move {
            let welcomed = tokio::time::timeout(head, door.welcome(knock)).await;
            if let Ok(Some(welcomed)) = welcomed {
                converse(welcomed, handler, progress, head).await;
            }
            drop(slot);
        });
        clients.push_back(Client { task: task.abort_handle(), progress: seen, source });
    }
}

/// Answers what comes by one connection, to its end.
async fn converse<H: Handler>(
    Welcomed { stream, peer }: Welcomed,
    handler: Arc<H>,
    progress: ClientProgress,
    head: Duration,
) {
    let ends = HangUp::default();
    let ended = ends.clone();
    let service = service_fn(move |mut request: Request<Incoming>| {
        let (handler, peer, ends) = (Arc::clone(&handler), peer.clone(), ends.clone());
        let progress = progress.clone();
        async move {
            progress.set(match request.body().is_end_stream() {
                true => ClientStage::Working,
                false => ClientStage::Asking,
            });
            request.extensions_mut().insert(progress.clone());
            request.extensions_mut().insert(ends);
            let answer = answered(handler.handle(peer, request).await);
            // Whoever was refused, or never said who they are, waits for nothing more.
            let is_of_nobody = answer.extensions().get::<ForNobody>().is_some();
            progress.set(match is_of_nobody || answer.status().is_client_error() {
                true => ClientStage::Silent,
                false => ClientStage::Answered,
            });
            Ok::<_, Infallible>(answer)
        }
    });
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // A connection that breaks concerns its client alone.
    tokio::select! {
        _ = conversation => {}
        () = ended.hung_up() => {}
    }
}

/// A connection, and how far its client has come.
struct Client {
    task: AbortHandle,
    progress: ClientProgress,
    source: Option<Source>,
}

/// Ends the oldest connection that has asked for nothing yet, or else the oldest whose request is not whole: clients that
/// begin requests and never end them must not keep others waiting. False where there is none of those that are meant.
fn give_up_one(clients: &mut VecDeque<Client>, is_meant: impl Fn(&Client) -> bool) -> bool {
    clients.retain(|client| !client.task.is_finished());
    for wanted in [ClientStage::Silent, ClientStage::Asking] {
        let is = |client: &Client| client.progress.is(wanted) && is_meant(client);
        if let Some(at) = clients.iter().position(is) {
            if let Some(client) = clients.remove(at) {
                client.task.abort();
            }
            return true;
        }
    }
    false
}

fn answered(answer: Answer) -> Response<Body> {
    let mut response = told(answer);
    let version = HeaderValue::from_static(hornero_model::program_version());
    response.headers_mut().insert(VERSION_HEADER, version);
    response.headers_mut().insert(PROTOCOL_HEADER, PROTOCOL.into());
    response
}

/// Refuses a client that says that it speaks another protocol; the first versions don't say it, and speak 1.
pub fn same_protocol(headers: &HeaderMap) -> Result<(), ApiRefusal> {
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
            Err(ApiRefusal::new(StatusCode::CONFLICT, "other_protocol", text).hint(hint))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{access::local_door::LocalDoor, answer::json, request::body};
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::{UnixListener, UnixStream},
    };

    struct Echo;

    impl Handler for Echo {
        async fn handle(self: Arc<Self>, _: Peer, request: Request<Incoming>) -> Answer {
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
        async fn handle(self: Arc<Self>, _: Peer, request: Request<Incoming>) -> Answer {
            let value = body::<serde_json::Value>(request).await?;
            let _place = self.0.acquire().await.map_err(ApiRefusal::internal)?;
            json(&value)
        }
    }

    #[tokio::test]
    async fn a_whole_request_that_waits_for_its_answer_is_not_given_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        let listener = LocalDoor::own(UnixListener::from_std(bind(&path).unwrap()).unwrap());
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
        let listener = LocalDoor::own(UnixListener::from_std(bind(&path).unwrap()).unwrap());
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
