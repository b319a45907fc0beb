//! The edge that ran before this one, as its successor talks to it.

use std::{io, rc::Rc, time::Duration};

use hornero_model::{ReleaseNumber, RouteTable, ServiceName, Term};
use tokio::{
    io::{AsyncWriteExt, BufReader},
    net::UnixStream,
    sync::Mutex,
};

use crate::{
    admin::protocol::{AdminReply, AdminRequest, Greeting, read_line},
    error::EdgeError,
};

/// How long the predecessor may take for one answer.
pub(crate) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The connection to a predecessor that drains. What is asked of it names no term: an edge follows its successor, whose
/// control was let in there.
pub(crate) struct Predecessor {
    stream: Mutex<Option<BufReader<UnixStream>>>,
}

impl Predecessor {
    pub(crate) fn new(stream: UnixStream) -> Rc<Self> {
        Rc::new(Self { stream: Mutex::new(Some(BufReader::new(stream))) })
    }

    /// The bare stream; none if something was read beyond the last answer.
    pub(crate) fn into_stream(self: Rc<Self>) -> Option<UnixStream> {
        let stream = Rc::into_inner(self)?.stream.into_inner()?;
        stream.buffer().is_empty().then(|| stream.into_inner())
    }

    /// Asks one question.
    pub(crate) async fn ask(&self, request: &AdminRequest) -> io::Result<AdminReply> {
        let mut guard = self.stream.lock().await;
        // Taken out: an answer that comes too late must not be read as that to the next question.
        let mut stream = guard.take().ok_or(io::ErrorKind::NotConnected)?;
        let exchange = async {
            let mut line = serde_json::to_vec(request)?;
            line.push(b'\n');
            stream.get_mut().write_all(&line).await?;
            let answer = read_line(&mut stream).await?;
            let answer = answer.ok_or(io::ErrorKind::UnexpectedEof)?;
            Ok::<_, io::Error>(serde_json::from_slice(&answer)?)
        };
        let reply = tokio::time::timeout(ANSWER_TIMEOUT, exchange).await;
        let reply = reply.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        *guard = Some(stream);
        Ok(reply)
    }

    /// Tells it that the successor accepts connections; gives how many are open there, where it tells.
    pub(crate) async fn release(&self) -> Result<Option<u64>, EdgeError> {
        match self
            .ask(&AdminRequest::Release)
            .await
            .map_err(|error| EdgeError::Takeover(error.to_string()))?
        {
            AdminReply::Released { connections } => Ok(Some(connections)),
            AdminReply::Done => Ok(None),
            _ => Err(EdgeError::Takeover("it did not let go".to_owned())),
        }
    }

    /// Has it end as soon as what it has open has come to an end in good order.
    pub(crate) async fn stop(&self) {
        // One that is gone has stopped.
        let _ = self.ask(&AdminRequest::Stop { term: Term::default() }).await;
    }

    /// Has its kept-alive connections follow a new table. If it is gone, it has none.
    pub(crate) async fn apply(&self, table: &RouteTable) {
        let request = AdminRequest::Apply { table: table.clone(), term: Term::default() };
        let asked = self.ask(&request).await;
        if let Ok(AdminReply::Refused { message, .. }) = asked {
            tracing::warn!("the predecessor did not follow: {message}");
        }
    }

    /// Cuts off what it has in flight on a release.
    pub(crate) async fn cut(&self, service: &ServiceName, release: ReleaseNumber) -> u64 {
        let (service, term) = (service.clone(), Term::default());
        let request = AdminRequest::Cut { service, release, generation: None, term };
        match self.ask(&request).await {
            Ok(AdminReply::Cut { count }) => count,
            Ok(_) | Err(_) => 0,
        }
    }

    /// How many client connections are open there.
    pub(crate) async fn open(&self) -> Option<u64> {
        let hello = AdminRequest::Hello(Greeting::of(""));
        match self.ask(&hello).await {
            Ok(AdminReply::Identity(identity)) => Some(identity.connections),
            Ok(_) | Err(_) => None,
        }
    }
}
