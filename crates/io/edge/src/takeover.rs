//! Taking over: a successor gets the listening sockets while they listen, and follows its predecessor to its end.

use std::{
    collections::BTreeMap,
    io::{self, IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    rc::Rc,
    time::Duration,
};

use hornero_model::{
    BackendStatus, EdgeStatus, ReleaseCounters, ReleaseNumber, RouteTable, ServiceName,
};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{
    io::{AsyncWriteExt, BufReader, Interest},
    net::UnixStream,
    sync::Mutex,
};

use crate::{
    admin::{
        place,
        protocol::{
            AdminReply, AdminRequest, EdgeIdentity, Greeting, RefusalCode, TAKEOVER_PROTOCOL,
            TakeoverReport, admin_socket,
        },
        server::read_line,
    },
    control::Control,
    edge::EdgeOptions,
    error::EdgeError,
    fault::{HandoverStep, pass},
};

/// Descriptors in one message: the kernel's limit is 253.
const SOCKETS_PER_MESSAGE: usize = 128;
/// How long the predecessor may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the edge by the well-known name may take to say that it is there.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);
/// How often a draining predecessor is asked for its counters.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// How often a predecessor is looked for anew where the one that was found died.
const ATTEMPTS: usize = 8;

/// What a predecessor hands over.
pub(crate) struct Received {
    pub(crate) predecessor: Rc<Predecessor>,
    pub(crate) identity: Option<EdgeIdentity>,
    pub(crate) table: RouteTable,
    pub(crate) version: u64,
    pub(crate) backends: Vec<BackendStatus>,
    pub(crate) counters: Vec<ReleaseCounters>,
    pub(crate) sockets: BTreeMap<SocketAddr, Vec<OwnedFd>>,
}

/// An edge that answers.
struct Found {
    predecessor: Rc<Predecessor>,
    identity: Option<EdgeIdentity>,
    status: EdgeStatus,
}

/// Why an edge was not taken over.
enum NotTaken {
    /// It is gone: there may be another, or none.
    Died,
    /// It goes on.
    Refused(EdgeError),
}

impl From<io::Error> for NotTaken {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            // One that is slow is not dead: it goes on, and so do its listeners.
            io::ErrorKind::TimedOut => Self::Refused(fault("it did not answer in time")),
            io::ErrorKind::InvalidData => Self::Refused(fault(error)),
            _ => Self::Died,
        }
    }
}

fn fault(text: impl ToString) -> EdgeError {
    EdgeError::Takeover(text.to_string())
}

/// Asks the edge that runs on the options' directory for its sockets; none if no edge runs there.
pub(crate) async fn ask(options: &EdgeOptions) -> Result<Option<Received>, EdgeError> {
    for _ in 0..ATTEMPTS {
        let Some(found) = find(options).await? else { return Ok(None) };
        match take(options, found).await {
            Ok(received) => return Ok(Some(received)),
            Err(NotTaken::Refused(error)) => return Err(error),
            Err(NotTaken::Died) => {}
        }
    }
    Err(fault(format!("each of {ATTEMPTS} that answered died")))
}

/// The edge by the well-known name, or where that one is gone the newest of those that still serve what they have open.
async fn find(options: &EdgeOptions) -> Result<Option<Found>, EdgeError> {
    if let Some(found) = greet(&admin_socket(&options.state_dir), options).await? {
        return Ok(Some(found));
    }
    let mut newest: Option<Found> = None;
    for path in place::own_sockets(&options.state_dir) {
        match greet(&path, options).await {
            Ok(Some(found)) => {
                let version = |found: &Found| found.status.version;
                if newest.as_ref().is_none_or(|newest| version(newest) < version(&found)) {
                    newest = Some(found);
                }
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("{}: {error}", path.display()),
        }
    }
    Ok(newest)
}

/// Asks whoever listens at `path` how it is; none where nobody does.
async fn greet(path: &Path, options: &EdgeOptions) -> Result<Option<Found>, EdgeError> {
    let Ok(stream) = UnixStream::connect(path).await else { return Ok(None) };
    let predecessor = Predecessor::new(stream);
    let greeting = Greeting {
        handover_timeout_ms: u64::try_from(options.limits.handover_timeout.as_millis()).ok(),
        ..Greeting::of(&options.version)
    };
    let asked = async {
        let identity = match predecessor.ask(&AdminRequest::Hello(greeting)).await? {
            AdminReply::Identity(identity) => Some(identity),
            // One of the first.
            AdminReply::Refused { code: RefusalCode::BadRequest, .. } => None,
            AdminReply::Refused { message, .. } => return Err(NotTaken::Refused(fault(message))),
            _ => return Err(NotTaken::Refused(fault("it gave an unexpected answer"))),
        };
        if let Some(Greeting { version, takeover, .. }) =
            identity.as_ref().map(|identity| &identity.greeting)
            && *takeover != TAKEOVER_PROTOCOL
        {
            return Err(NotTaken::Refused(EdgeError::OtherProtocol {
                version: version.clone(),
                protocol: *takeover,
                own: options.version.clone(),
                own_protocol: TAKEOVER_PROTOCOL,
            }));
        }
        match predecessor.ask(&AdminRequest::Status).await? {
            AdminReply::Status(status) => Ok((identity, status)),
            _ => Err(NotTaken::Refused(fault("it did not tell its status"))),
        }
    };
    match asked.await {
        Ok((identity, status)) => Ok(Some(Found { predecessor, identity, status })),
        Err(NotTaken::Died) => Ok(None),
        Err(NotTaken::Refused(error)) => Err(error),
    }
}

async fn take(options: &EdgeOptions, found: Found) -> Result<Received, NotTaken> {
    let Found { predecessor, identity, status } = found;
    let handover = match predecessor.ask(&AdminRequest::Takeover).await? {
        AdminReply::Handover(handover) => handover,
        AdminReply::Refused { message, .. } => return Err(NotTaken::Refused(fault(message))),
        _ => return Err(NotTaken::Refused(fault("it gave an unexpected answer"))),
    };
    pass(options.die_at, HandoverStep::Asked);
    let sent_too_much = || NotTaken::Refused(fault("it sent too much"));
    let mut stream = predecessor.into_stream().ok_or_else(sent_too_much)?;
    let mut question = serde_json::to_vec(&AdminRequest::Sockets).map_err(io::Error::from)?;
    question.push(b'\n');
    stream.write_all(&question).await?;
    let received = receive_sockets(&stream, handover.sockets.len());
    let received = tokio::time::timeout(ANSWER_TIMEOUT, received)
        .await
        .map_err(|_| NotTaken::Refused(fault("its sockets did not come")))??;
    let mut sockets: BTreeMap<SocketAddr, Vec<OwnedFd>> = BTreeMap::new();
    for (address, socket) in handover.sockets.into_iter().zip(received) {
        sockets.entry(address).or_default().push(socket);
    }
    pass(options.die_at, HandoverStep::Sockets);
    Ok(Received {
        predecessor: Predecessor::new(stream),
        identity,
        table: handover.table,
        version: handover.version,
        backends: handover.backends,
        counters: status.counters,
        sockets,
    })
}

/// The process id of the edge by the well-known name, if one answers soon.
pub(crate) async fn serving_pid(state_dir: &Path) -> Option<u32> {
    let asked = async {
        let stream = UnixStream::connect(admin_socket(state_dir)).await.ok()?;
        match Predecessor::new(stream).ask(&AdminRequest::Status).await.ok()? {
            AdminReply::Status(status) => Some(status.pid),
            _ => None,
        }
    };
    tokio::time::timeout(LOOK_TIMEOUT, asked).await.ok().flatten()
}

/// Sends descriptors, each batch with one byte.
pub(crate) async fn send_sockets(
    stream: &UnixStream,
    sockets: &[BorrowedFd<'_>],
) -> io::Result<()> {
    for batch in sockets.chunks(SOCKETS_PER_MESSAGE) {
        loop {
            stream.writable().await?;
            let sent = stream.try_io(Interest::WRITABLE, || {
                let mut space =
                    [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                ancillary.push(SendAncillaryMessage::ScmRights(batch));
                let bytes = [IoSlice::new(b"s")];
                Ok(sendmsg(stream.as_fd(), &bytes, &mut ancillary, SendFlags::NOSIGNAL)?)
            });
            match sent {
                Ok(_) => break,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

async fn receive_sockets(stream: &UnixStream, count: usize) -> io::Result<Vec<OwnedFd>> {
    let mut sockets = Vec::new();
    while sockets.len() < count {
        stream.readable().await?;
        let received = stream.try_io(Interest::READABLE, || {
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(SOCKETS_PER_MESSAGE))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let mut byte = [0];
            let mut bytes = [IoSliceMut::new(&mut byte)];
            let message =
                recvmsg(stream.as_fd(), &mut bytes, &mut ancillary, RecvFlags::CMSG_CLOEXEC)?;
            if message.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut fresh: Vec<OwnedFd> = Vec::new();
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(descriptors) = message {
                    fresh.extend(descriptors);
                }
            }
            Ok(fresh)
        });
        match received {
            Ok(fresh) => sockets.extend(fresh),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    Ok(sockets)
}

/// The connection to a predecessor that drains.
pub(crate) struct Predecessor {
    stream: Mutex<Option<BufReader<UnixStream>>>,
}

impl Predecessor {
    pub(crate) fn new(stream: UnixStream) -> Rc<Self> {
        Rc::new(Self { stream: Mutex::new(Some(BufReader::new(stream))) })
    }

    /// The bare stream; none if something was read beyond the last answer.
    fn into_stream(self: Rc<Self>) -> Option<UnixStream> {
        let stream = Rc::into_inner(self)?.stream.into_inner()?;
        stream.buffer().is_empty().then(|| stream.into_inner())
    }

    async fn ask(&self, request: &AdminRequest) -> io::Result<AdminReply> {
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
        match self.ask(&AdminRequest::Release).await.map_err(fault)? {
            AdminReply::Released { connections } => Ok(Some(connections)),
            AdminReply::Done => Ok(None),
            _ => Err(fault("it did not let go")),
        }
    }

    /// Has it end as soon as what it has open has come to an end in good order.
    pub(crate) async fn stop(&self) {
        // One that is gone has stopped.
        let _ = self.ask(&AdminRequest::Stop).await;
    }

    /// Has its kept-alive connections follow a new table. If it is gone, it has none.
    pub(crate) async fn apply(&self, table: &RouteTable) {
        let asked = self.ask(&AdminRequest::Apply { table: table.clone() }).await;
        if let Ok(AdminReply::Refused { message, .. }) = asked {
            tracing::warn!("the predecessor did not follow: {message}");
        }
    }

    /// Cuts off what it has in flight on a release.
    pub(crate) async fn cut(&self, service: &ServiceName, release: ReleaseNumber) -> u64 {
        let request = AdminRequest::Cut { service: service.clone(), release };
        match self.ask(&request).await {
            Ok(AdminReply::Cut { count }) => count,
            Ok(_) | Err(_) => 0,
        }
    }

    /// How many client connections are open there.
    async fn open(&self) -> Option<u64> {
        let hello = AdminRequest::Hello(Greeting::of(""));
        match self.ask(&hello).await {
            Ok(AdminReply::Identity(identity)) => Some(identity.connections),
            Ok(_) | Err(_) => None,
        }
    }
}

/// Takes over a predecessor's counters until it is gone.
pub(crate) async fn follow(control: Rc<Control>, predecessor: Rc<Predecessor>) {
    let report = |change: &dyn Fn(&mut TakeoverReport)| {
        if let Some(report) = &mut *control.takeover.borrow_mut() {
            change(report);
        }
    };
    let tells = control.takeover.borrow().as_ref().is_some_and(|report| report.open.is_some());
    while let Ok(AdminReply::Status(status)) = predecessor.ask(&AdminRequest::Status).await {
        control.sets.inherit(&status.counters);
        if tells {
            let open = predecessor.open().await;
            report(&|report| report.open = open);
        }
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
    control.predecessor.borrow_mut().take();
    control.predecessor_gone.notify_waiters();
    report(&|report| (report.open, report.ended) = (None, true));
    control.sets.settle_inherited();
}
