//! The client of the API, over the control process's Unix socket or to one elsewhere.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Arc, Once, OnceLock},
    time::Duration,
};

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{
    HeaderMap, Method, Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1,
};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixStream;

use crate::{
    ANSWER_MAX_BYTES, LINE_MAX_BYTES, PROTOCOL, PROTOCOL_HEADER, VERSION_HEADER,
    message::Problem,
    remote::RemoteApi,
    spare::{RequestSender, SpareConnection},
    wire::Wire,
};

/// How long an answer may take to begin: checking the longest of ledgers needs seconds, so a control process that is
/// silent for longer hangs, and a person or a script has to know.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// Why a request had no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nothing answers on the socket.
    #[error("the control process can't be reached at `{}`", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Nothing answers where a control process elsewhere should.
    #[error("the control process can't be reached at `{url}`")]
    Away {
        /// The URL.
        url: String,
        /// Why.
        source: io::Error,
    },
    /// The control process said no.
    #[error("{}", .0.message)]
    Refused(Problem, StatusCode),
    /// The control process speaks another protocol, so that nothing was asked of it that both might not understand alike.
    #[error(
        "the control process is hornero {version} and speaks API protocol {protocol}; this command is hornero {own}, \
         which speaks {PROTOCOL}"
    )]
    OtherProtocol {
        /// The version of control.
        version: String,
        /// Its protocol.
        protocol: String,
        /// The version of this program.
        own: &'static str,
    },
    /// The connection broke, or what came back is not of the API.
    #[error("the control process's answer can't be read: {0}")]
    Broken(String),
}

impl ClientError {
    fn broken(error: impl std::fmt::Display) -> Self {
        Self::Broken(error.to_string())
    }
}

/// Who is told, once, of a control process of another version.
static ON_OTHER_VERSION: OnceLock<fn(Option<&str>)> = OnceLock::new();

/// Has `tell` called once with the version of a control process that is not of this program's; without one where the
/// control process is too old to tell.
pub fn on_other_version(tell: fn(Option<&str>)) {
    // A second one in one process, as tests make, changes nothing.
    let _ = ON_OTHER_VERSION.set(tell);
}

/// Looks at who answers.
fn meet(answer: &HeaderMap) -> Result<(), ClientError> {
    static TOLD: Once = Once::new();
    let said = |name| answer.get(name).and_then(|value| value.to_str().ok());
    let (version, own) = (said(VERSION_HEADER), hornero_model::program_version());
    if version != Some(own)
        && let Some(tell) = ON_OTHER_VERSION.get()
    {
        TOLD.call_once(|| tell(version));
    }
    match said(PROTOCOL_HEADER) {
        // The first versions don't say it.
        None => Ok(()),
        Some(protocol) if protocol == PROTOCOL.to_string() => Ok(()),
        Some(protocol) => Err(ClientError::OtherProtocol {
            version: version.unwrap_or("of an unknown version").to_owned(),
            protocol: protocol.to_owned(),
            own,
        }),
    }
}

/// A client for the control process of one home.
#[derive(Debug, Clone)]
pub struct Client {
    way: Way,
    timeout: Duration,
    /// Of the socket.
    spare: SpareConnection,
}

/// How it is reached.
#[derive(Debug, Clone)]
enum Way {
    Socket(PathBuf),
    Remote(Arc<RemoteApi>),
}

impl Client {
    /// A client for the socket at `path`; connects with each request that does not follow another at once.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self::by(Way::Socket(path.into()))
    }

    /// A client for a control process elsewhere.
    pub fn remote(remote: Arc<RemoteApi>) -> Self {
        Self::by(Way::Remote(remote))
    }

    fn by(way: Way) -> Self {
        Self { way, timeout: ANSWER_TIMEOUT, spare: SpareConnection::default() }
    }

    /// The socket, where it is reached by one.
    pub fn socket(&self) -> Option<&Path> {
        match &self.way {
            Way::Socket(path) => Some(path),
            Way::Remote(_) => None,
        }
    }

    /// Asks and reads the whole answer.
    pub async fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.whole(Method::GET, path, Bytes::new()).await
    }

    /// Sends `body` and reads the whole answer.
    pub async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::broken)?;
        self.whole(Method::POST, path, body.into()).await
    }

    async fn whole<A: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<A, ClientError> {
        let (answer, sender) = self.send(method, path, body).await?;
        let whole = collect(answer).await?;
        if self.socket().is_some() {
            self.spare.keep(sender);
        }
        serde_json::from_slice(&whole).map_err(ClientError::broken)
    }

    /// Sends `body` (empty for a GET) and reads the answer line by line.
    pub async fn stream<L: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Lines<L>, ClientError> {
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(ClientError::broken)?.into(),
            None => Bytes::new(),
        };
        let (answer, _) = self.send(method, path, body).await?;
        Ok(Lines {
            body: answer.into_body(),
            buffer: Vec::new(),
            searched: 0,
            of: std::marker::PhantomData,
        })
    }

    async fn connect(&self) -> Result<RequestSender, ClientError> {
        let stream: Box<dyn Wire> = match &self.way {
            Way::Socket(path) => {
                let unreachable = |source| ClientError::Unreachable { path: path.clone(), source };
                Box::new(UnixStream::connect(path).await.map_err(unreachable)?)
            }
            Way::Remote(remote) => {
                let away = |source| ClientError::Away { url: remote.url().to_owned(), source };
                remote.connect().await.map_err(away)?
            }
        };
        let (sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::broken)?;
        tokio::spawn(connection);
        Ok(sender)
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        let (host, authorization) = match &self.way {
            Way::Socket(_) => ("localhost".to_owned(), None),
            Way::Remote(remote) => (remote.authority(), remote.authorization()),
        };
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        request
            .header(VERSION_HEADER, hornero_model::program_version())
            .header(PROTOCOL_HEADER, PROTOCOL)
            .body(Full::new(body))
            .map_err(ClientError::broken)
    }

    /// Asks, and gives a good answer with what can ask again once all of it is read.
    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(Response<Incoming>, RequestSender), ClientError> {
        let mut request = self.request(method, path, body)?;
        if let Some(mut sender) = self.spare.take().await {
            request = match self.in_time(sender.try_send_request(request)).await? {
                Ok(answer) => return Ok((good(answer).await?, sender)),
                // It was closed before anything of the request went out.
                Err(mut error) => match error.take_message() {
                    Some(unsent) => unsent,
                    None => return Err(ClientError::broken(error.into_error())),
                },
            };
        }
        let mut sender = self.connect().await?;
        let answer = self.in_time(sender.send_request(request)).await?;
        Ok((good(answer.map_err(ClientError::broken)?).await?, sender))
    }

    async fn in_time<T>(&self, answer: impl Future<Output = T>) -> Result<T, ClientError> {
        let answered = tokio::time::timeout(self.timeout, answer).await;
        answered.map_err(|_| ClientError::Broken(format!("none came within {:?}", self.timeout)))
    }
}

/// An answer, if it is a good one.
async fn good(answer: Response<Incoming>) -> Result<Response<Incoming>, ClientError> {
    meet(answer.headers())?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let problem = serde_json::from_slice(&collect(answer).await?).unwrap_or_else(|_| Problem {
        code: "unknown".into(),
        message: format!("status {status}"),
        hint: None,
    });
    Err(ClientError::Refused(problem, status))
}

async fn collect(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES);
    Ok(body.collect().await.map_err(ClientError::broken)?.to_bytes())
}

/// One line of a stream; a problem instead is how a stream ends that can't go on.
fn line_of<L: DeserializeOwned>(line: &[u8]) -> Result<L, ClientError> {
    serde_json::from_slice(line).map_err(|error| match serde_json::from_slice::<Problem>(line) {
        Ok(problem) => ClientError::Refused(problem, StatusCode::INTERNAL_SERVER_ERROR),
        Err(_) => ClientError::broken(error),
    })
}

/// The lines of a streamed answer.
pub struct Lines<L> {
    body: Incoming,
    buffer: Vec<u8>,
    /// How much of it has no line end.
    searched: usize,
    of: std::marker::PhantomData<L>,
}

impl<L: DeserializeOwned> Lines<L> {
    /// The next line; none at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<L>, ClientError> {
        loop {
            let rest = &self.buffer[self.searched..];
            if let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=self.searched + end).collect();
                self.searched = 0;
                return line_of(&line).map(Some);
            }
            self.searched = self.buffer.len();
            if self.buffer.len() > LINE_MAX_BYTES {
                return Err(ClientError::Broken(format!(
                    "a line is longer than {LINE_MAX_BYTES} bytes"
                )));
            }
            match self.body.frame().await {
                Some(frame) => {
                    if let Ok(data) = frame.map_err(ClientError::broken)?.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => {
                    return Err(ClientError::Broken(
                        "the stream ended in the middle of a line".into(),
                    ));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Nothing, OperationLine};

    #[tokio::test]
    async fn a_control_process_that_hangs_is_not_waited_for_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.sock");
        // Connections wait in its queue, and nobody takes them.
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let client = Client { timeout: Duration::from_millis(20), ..Client::new(path) };
        let error = client.get::<Nothing>("/v1/status").await.unwrap_err();
        assert!(matches!(&error, ClientError::Broken(why) if why.contains("20ms")), "{error}");
    }

    /// What listens answers so many requests on each connection, then closes it; gives how many connections there were.
    async fn connections(path: &Path, on_each: usize, requests: usize) -> usize {
        use std::io::{BufRead as _, BufReader, Write as _};
        let listener = std::os::unix::net::UnixListener::bind(path).unwrap();
        let answers = std::thread::spawn(move || {
            let (mut left, mut connections) = (requests, 0);
            while left > 0 {
                let mut stream = BufReader::new(listener.accept().unwrap().0);
                connections += 1;
                for _ in 0..on_each.min(left) {
                    let mut line = String::new();
                    while line != "\r\n" {
                        line.clear();
                        assert!(stream.read_line(&mut line).unwrap() > 0);
                    }
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
                    stream.get_mut().write_all(answer).unwrap();
                    left -= 1;
                }
            }
            connections
        });
        let client = Client::new(path);
        for _ in 0..requests {
            client.get::<Nothing>("/v1/health").await.unwrap();
        }
        answers.join().unwrap()
    }

    #[tokio::test]
    async fn a_request_that_follows_at_once_takes_the_connection_of_the_one_before() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(connections(&directory.path().join("kept"), 9, 4).await, 1);
        // One that was closed meanwhile is no failure.
        assert_eq!(connections(&directory.path().join("closed"), 1, 4).await, 4);
    }

    #[test]
    fn another_protocol_is_refused_with_both_versions() {
        let headers = |protocol: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(VERSION_HEADER, "9.9.9".parse().unwrap());
            headers.insert(PROTOCOL_HEADER, protocol.parse().unwrap());
            headers
        };
        assert!(meet(&HeaderMap::new()).is_ok(), "the first versions say nothing and speak 1");
        assert!(meet(&headers("1")).is_ok());
        let error = meet(&headers("2")).unwrap_err().to_string();
        assert!(error.contains("hornero 9.9.9 and speaks API protocol 2"), "{error}");
        assert!(error.contains(hornero_model::program_version()), "{error}");
    }

    #[test]
    fn a_problem_in_a_stream_is_no_line_of_it() {
        let good = line_of::<OperationLine>(br#"{"type":"accepted","operation":1}"#);
        assert!(matches!(good, Ok(OperationLine::Accepted { operation: 1 })));
        let problem = line_of::<OperationLine>(br#"{"code":"ledger","message":"disk full"}"#);
        assert!(
            matches!(problem, Err(ClientError::Refused(problem, _)) if problem.message == "disk full")
        );
        assert!(matches!(line_of::<OperationLine>(b"{}"), Err(ClientError::Broken(_))));
    }
}
