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

use hornero_model::{BackendStatus, EdgeStatus, ReleaseCounters, RouteTable};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::{
    io::{AsyncWriteExt, Interest},
    net::UnixStream,
};

use crate::{
    admin::{
        place,
        protocol::{
            AdminReply, AdminRequest, EdgeIdentity, Greeting, RefusalCode, TAKEOVER_PROTOCOL,
            TakeoverReport, admin_socket,
        },
    },
    control::Control,
    error::EdgeError,
    fault::{HandoverStep, pass},
    options::EdgeOptions,
    predecessor::{ANSWER_TIMEOUT, Predecessor},
};

/// Descriptors in one message: the kernel's limit is 253.
const SOCKETS_PER_MESSAGE: usize = 128;
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
