//! A blocking client of the admin socket, for the control process.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    time::Duration,
};

use hornero_model::{EdgeCalls, EdgeStatus, Millis, ReleaseNumber, RouteTable, ServiceName, Term};

use super::change::TableChange;
use super::protocol::{
    AdminReply, AdminRequest, Applied, EdgeIdentity, Greeting, LINE_LIMIT, RefusalCode,
    WAIT_LIMIT_MS, admin_socket,
};

/// How long the edge may take beyond the time a question itself asks for: opening listeners and an fsync on a slow disk.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// Why a question to the edge got no useful answer.
#[derive(Debug, thiserror::Error)]
pub enum EdgeClientError {
    /// Nothing answers on the socket.
    #[error("can't reach the edge on `{}`", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The connection broke before the answer was complete; what was asked may have been done.
    #[error("connection to the edge on `{}` broke", path.display())]
    Broken {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The answer is none that this version knows.
    #[error("the edge on `{}` answered `{text}`", path.display())]
    Unexpected {
        /// The socket.
        path: PathBuf,
        /// The answer, shortened.
        text: String,
    },
    /// The edge refused.
    #[error("the edge refused: {message}")]
    Refused {
        /// Which rule the question broke.
        code: RefusalCode,
        /// Why.
        message: String,
    },
}

/// A connection to the admin socket, opened when first needed and again when it broke.
///
/// One question at a time; a thread that waits for changes takes a client of its own.
#[derive(Debug)]
pub struct EdgeClient {
    path: PathBuf,
    term: Term,
    stream: Option<BufReader<UnixStream>>,
}

impl EdgeClient {
    /// A client of the edge whose state lies in `state_dir` (`HOME/edge`). Connects with the first question.
    pub fn new(state_dir: &Path) -> Self {
        Self::of_term(state_dir, Term::default())
    }

    /// The same for a control of this term, which everything names that it asks.
    pub fn of_term(state_dir: &Path, term: Term) -> Self {
        Self { path: admin_socket(state_dir), term, stream: None }
    }

    /// Says that this control has begun: what an older one asks is refused from now on. An edge that knows of no terms
    /// takes no notice.
    pub fn obey(&mut self) -> Result<(), EdgeClientError> {
        match self.ask(&AdminRequest::Obey { term: self.term }, Duration::ZERO) {
            Ok(AdminReply::Done)
            | Err(EdgeClientError::Refused { code: RefusalCode::BadRequest, .. }) => Ok(()),
            Ok(other) => Err(self.unexpected(&other)),
            Err(error) => Err(error),
        }
    }

    /// Puts `table` in force. When this returns, every new request follows it, and it survives a crash.
    pub fn apply(&mut self, table: &RouteTable) -> Result<Applied, EdgeClientError> {
        match self
            .ask(&AdminRequest::Apply { table: table.clone(), term: self.term }, Duration::ZERO)?
        {
            AdminReply::Applied(applied) => Ok(applied),
            other => Err(self.unexpected(&other)),
        }
    }

    /// The same where `before` was put in force by this control last: the edge is told what `table` changes of it, and all of
    /// it where it has another one by now.
    pub fn apply_after(
        &mut self,
        before: &RouteTable,
        table: &RouteTable,
    ) -> Result<Applied, EdgeClientError> {
        let change = (!self.term.is_first()).then(|| TableChange::between(before, table));
        let Some(change) = change.flatten() else { return self.apply(table) };
        let request = AdminRequest::Change { change, term: self.term };
        match self.ask(&request, Duration::ZERO) {
            Ok(AdminReply::Applied(applied)) => Ok(applied),
            Err(EdgeClientError::Refused {
                code: RefusalCode::UnknownTable | RefusalCode::BadRequest,
                ..
            }) => self.apply(table),
            Ok(other) => Err(self.unexpected(&other)),
            Err(error) => Err(error),
        }
    }

    /// Has the edge check `table` and make it ready, without putting it in force; its generation.
    pub fn prepare(&mut self, table: &RouteTable) -> Result<u64, EdgeClientError> {
        let request = AdminRequest::Prepare { table: table.clone(), term: self.term };
        match self.ask(&request, Duration::ZERO)? {
            AdminReply::Prepared { generation } => Ok(generation),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Puts `table` in force, which was prepared. An edge that has lost it since, as by a start, takes it as it is: it is
    /// known to be good, and other edges may follow it already.
    pub fn commit(&mut self, table: &RouteTable) -> Result<Applied, EdgeClientError> {
        let request = AdminRequest::Commit { generation: table.generation, term: self.term };
        match self.ask(&request, Duration::ZERO) {
            Ok(AdminReply::Applied(applied)) => Ok(applied),
            Err(EdgeClientError::Refused {
                code: RefusalCode::NotPrepared | RefusalCode::BadRequest,
                ..
            }) => self.apply(table),
            Ok(other) => Err(self.unexpected(&other)),
            Err(error) => Err(error),
        }
    }

    /// Which edge answers, asked by a program of `version`; none by one of the first, which can't tell.
    pub fn hello(&mut self, version: &str) -> Result<Option<EdgeIdentity>, EdgeClientError> {
        match self.ask(&AdminRequest::Hello(Greeting::of(version)), Duration::ZERO) {
            Ok(AdminReply::Identity(identity)) => Ok(Some(identity)),
            Err(EdgeClientError::Refused { code: RefusalCode::BadRequest, .. }) => Ok(None),
            Ok(other) => Err(self.unexpected(&other)),
            Err(error) => Err(error),
        }
    }

    /// How the edge is.
    pub fn status(&mut self) -> Result<EdgeStatus, EdgeClientError> {
        self.status_of(&AdminRequest::Status, Duration::ZERO)
    }

    /// Which of the home's own servers called what; nothing of an edge that is too old to tell.
    pub fn calls(&mut self) -> Result<EdgeCalls, EdgeClientError> {
        match self.ask(&AdminRequest::Calls, Duration::ZERO) {
            Ok(AdminReply::Calls(calls)) => Ok(calls),
            Err(EdgeClientError::Refused { code: RefusalCode::BadRequest, .. }) => {
                Ok(EdgeCalls::default())
            }
            Ok(other) => Err(self.unexpected(&other)),
            Err(error) => Err(error),
        }
    }

    /// The status once its version is larger than `after_version`, or as it is after `timeout` (at most 10 minutes).
    pub fn wait(
        &mut self,
        after_version: u64,
        timeout: Millis,
    ) -> Result<EdgeStatus, EdgeClientError> {
        let timeout_ms = timeout.0.min(WAIT_LIMIT_MS);
        let request = AdminRequest::Wait { after_version, timeout_ms };
        self.status_of(&request, Duration::from_millis(timeout_ms))
    }

    /// Cuts off what is in flight on `release` of `service`; the number of requests that were.
    pub fn cut(
        &mut self,
        service: &ServiceName,
        release: ReleaseNumber,
    ) -> Result<u64, EdgeClientError> {
        self.cut_by(service, release, None)
    }

    /// The same while the table of `generation` is in force; with another one it is refused, so that an order that comes
    /// late cuts off nothing that was given to the release since.
    pub fn cut_under(
        &mut self,
        service: &ServiceName,
        release: ReleaseNumber,
        generation: u64,
    ) -> Result<u64, EdgeClientError> {
        self.cut_by(service, release, Some(generation))
    }

    fn cut_by(
        &mut self,
        service: &ServiceName,
        release: ReleaseNumber,
        generation: Option<u64>,
    ) -> Result<u64, EdgeClientError> {
        let (service, term) = (service.clone(), self.term);
        let request = AdminRequest::Cut { service, release, generation, term };
        match self.ask(&request, Duration::ZERO)? {
            AdminReply::Cut { count } => Ok(count),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Tells the edge to drain and exit; returns at once.
    pub fn stop(&mut self) -> Result<(), EdgeClientError> {
        match self.ask(&AdminRequest::Stop { term: self.term }, Duration::ZERO)? {
            AdminReply::Done => Ok(()),
            other => Err(self.unexpected(&other)),
        }
    }

    fn status_of(
        &mut self,
        request: &AdminRequest,
        extra: Duration,
    ) -> Result<EdgeStatus, EdgeClientError> {
        match self.ask(request, extra)? {
            AdminReply::Status(status) => Ok(status),
            other => Err(self.unexpected(&other)),
        }
    }

    /// Asks by the term of this control.
    fn ask(
        &mut self,
        request: &AdminRequest,
        extra: Duration,
    ) -> Result<AdminReply, EdgeClientError> {
        let refused = match self.ask_anew(request, extra) {
            Err(refused @ EdgeClientError::Refused { code: RefusalCode::BadRequest, .. })
                if !self.term.is_first() =>
            {
                refused
            }
            other => return other,
        };
        // The first edges refuse what they don't know, terms among it; one of this program takes over from them soon.
        match request.without_term().filter(|without| without != request) {
            Some(without) => self.ask_anew(&without, extra),
            None => Err(refused),
        }
    }

    /// Every question is safe to repeat, so when the connection breaks (an edge that hands over ends them all) the
    /// same is asked once more.
    fn ask_anew(
        &mut self,
        request: &AdminRequest,
        extra: Duration,
    ) -> Result<AdminReply, EdgeClientError> {
        let mut line = serde_json::to_vec(request).map_err(|error| self.broken(error.into()))?;
        line.push(b'\n');
        let reply = match self.ask_once(&line, extra) {
            Err(EdgeClientError::Broken { .. }) => self.ask_once(&line, extra)?,
            other => other?,
        };
        match reply {
            AdminReply::Refused { code, message } => {
                Err(EdgeClientError::Refused { code, message })
            }
            reply => Ok(reply),
        }
    }

    fn ask_once(&mut self, line: &[u8], extra: Duration) -> Result<AdminReply, EdgeClientError> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => BufReader::new(UnixStream::connect(&self.path).map_err(|source| {
                EdgeClientError::Unreachable { path: self.path.clone(), source }
            })?),
        };
        let timeout = Some(ANSWER_TIMEOUT + extra);
        let mut answer = Vec::new();
        let exchange = |stream: &mut BufReader<UnixStream>, answer: &mut Vec<u8>| {
            stream.get_ref().set_read_timeout(timeout)?;
            stream.get_ref().set_write_timeout(timeout)?;
            stream.get_mut().write_all(line)?;
            stream.by_ref().take(LINE_LIMIT as u64).read_until(b'\n', answer)?;
            if answer.last() == Some(&b'\n') {
                return Ok(());
            }
            Err(io::Error::from(io::ErrorKind::UnexpectedEof))
        };
        exchange(&mut stream, &mut answer).map_err(|source| self.broken(source))?;
        let reply = serde_json::from_slice(&answer).map_err(|_| EdgeClientError::Unexpected {
            path: self.path.clone(),
            text: String::from_utf8_lossy(&answer).chars().take(200).collect(),
        })?;
        self.stream = Some(stream);
        Ok(reply)
    }

    fn broken(&self, source: io::Error) -> EdgeClientError {
        EdgeClientError::Broken { path: self.path.clone(), source }
    }

    fn unexpected(&self, reply: &AdminReply) -> EdgeClientError {
        let text = serde_json::to_string(reply).unwrap_or_default().chars().take(200).collect();
        EdgeClientError::Unexpected { path: self.path.clone(), text }
    }
}
