//! The client of the API: one request a connection, over the control process's Unix socket or to one elsewhere.

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
    ANSWER_MAX_BYTES, LINE_MAX_BYTES, PROTOCOL, PROTOCOL_HEADER, VERSION_HEADER, message::Problem,
    remote::RemoteApi, wire::Wire,
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
}

/// How it is reached.
#[derive(Debug, Clone)]
enum Way {
    Socket(PathBuf),
    Remote(Arc<RemoteApi>),
}

impl Client {
    /// A client for the socket at `path`; connects with each request.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { way: Way::Socket(path.into()), timeout: ANSWER_TIMEOUT }
    }

    /// A client for a control process elsewhere.
    pub fn remote(remote: Arc<RemoteApi>) -> Self {
        Self { way: Way::Remote(remote), timeout: ANSWER_TIMEOUT }
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
        whole(self.send(Method::GET, path, Bytes::new()).await?).await
    }

    /// Sends `body` and reads the whole answer.
    pub async fn post<A: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).map_err(ClientError::broken)?;
        whole(self.send(Method::POST, path, body.into()).await?).await
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
        let answer = self.send(method, path, body).await?;
        Ok(Lines {
            body: answer.into_body(),
            buffer: Vec::new(),
            searched: 0,
            of: std::marker::PhantomData,
        })
    }

    /// A connection, what the host is called there, and what says who asks.
    async fn connect(&self) -> Result<(Box<dyn Wire>, String, Option<String>), ClientError> {
        match &self.way {
            Way::Socket(path) => {
                let unreachable = |source| ClientError::Unreachable { path: path.clone(), source };
                let stream = UnixStream::connect(path).await.map_err(unreachable)?;
                Ok((Box::new(stream), "localhost".to_owned(), None))
            }
            Way::Remote(remote) => {
                let away = |source| ClientError::Away { url: remote.url().to_owned(), source };
                let stream = remote.connect().await.map_err(away)?;
                Ok((stream, remote.authority(), remote.authorization()))
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let (stream, host, authorization) = self.connect().await?;
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(ClientError::broken)?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header("host", host);
        if let Some(authorization) = authorization {
            request = request.header("authorization", authorization);
        }
        let request = request
            .header(VERSION_HEADER, hornero_model::program_version())
            .header(PROTOCOL_HEADER, PROTOCOL)
            .body(Full::new(body))
            .map_err(ClientError::broken)?;
        let answer = tokio::time::timeout(self.timeout, sender.send_request(request))
            .await
            .map_err(|_| ClientError::Broken(format!("none came within {:?}", self.timeout)))?
            .map_err(ClientError::broken)?;
        meet(answer.headers())?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let bytes = collect(answer).await?;
        let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| Problem {
            code: "unknown".into(),
            message: format!("status {status}"),
            hint: None,
        });
        Err(ClientError::Refused(problem, status))
    }
}

async fn collect(answer: Response<Incoming>) -> Result<Bytes, ClientError> {
    let body = Limited::new(answer.into_body(), ANSWER_MAX_BYTES);
    Ok(body.collect().await.map_err(ClientError::broken)?.to_bytes())
}

async fn whole<A: DeserializeOwned>(answer: Response<Incoming>) -> Result<A, ClientError> {
    serde_json::from_slice(&collect(answer).await?).map_err(ClientError::broken)
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
        let client = Client { way: Way::Socket(path), timeout: Duration::from_millis(20) };
        let error = client.get::<Nothing>("/v1/status").await.unwrap_err();
        assert!(matches!(&error, ClientError::Broken(why) if why.contains("20ms")), "{error}");
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
