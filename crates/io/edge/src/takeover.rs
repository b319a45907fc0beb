//! Handing over: a successor gets the listening sockets while they listen, and follows its predecessor to its end.

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

use hornero_model::{BackendStatus, ReleaseCounters, ReleaseNumber, RouteTable, ServiceName};
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
        protocol::{AdminReply, AdminRequest, admin_socket},
        server::read_line,
    },
    control::Control,
    error::EdgeError,
};

/// Descriptors in one message: the kernel's limit is 253.
const SOCKETS_PER_MESSAGE: usize = 128;
/// How long the predecessor may take for one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
/// How often a draining predecessor is asked for its counters.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// What a predecessor hands over.
pub(crate) struct Received {
    pub(crate) stream: UnixStream,
    pub(crate) table: RouteTable,
    pub(crate) version: u64,
    pub(crate) backends: Vec<BackendStatus>,
    pub(crate) counters: Vec<ReleaseCounters>,
    pub(crate) sockets: BTreeMap<SocketAddr, Vec<OwnedFd>>,
}

fn fault(text: impl ToString) -> EdgeError {
    EdgeError::Takeover(text.to_string())
}

/// Asks the edge that runs on `state_dir` for its sockets; none if no edge runs there.
pub(crate) async fn ask(state_dir: &Path) -> Result<Option<Received>, EdgeError> {
    let Ok(stream) = UnixStream::connect(admin_socket(state_dir)).await else { return Ok(None) };
    let predecessor = Predecessor::new(stream);
    let counters = match predecessor.ask(&AdminRequest::Status).await {
        Ok(AdminReply::Status(status)) => status.counters,
        Ok(_) => return Err(fault("it did not tell its status")),
        // It died, or is about to end, with its socket still there.
        Err(_) => return Ok(None),
    };
    let handover = match predecessor.ask(&AdminRequest::Takeover).await.map_err(fault)? {
        AdminReply::Handover(handover) => handover,
        AdminReply::Refused { message, .. } => return Err(fault(message)),
        _ => return Err(fault("it gave an unexpected answer")),
    };
    let mut stream = predecessor.into_stream().ok_or_else(|| fault("it sent too much"))?;
    let mut question = serde_json::to_vec(&AdminRequest::Sockets).map_err(fault)?;
    question.push(b'\n');
    stream.write_all(&question).await.map_err(fault)?;
    let received = receive_sockets(&stream, handover.sockets.len());
    let received = tokio::time::timeout(ANSWER_TIMEOUT, received)
        .await
        .map_err(|_| fault("its sockets did not come"))?
        .map_err(fault)?;
    let mut sockets: BTreeMap<SocketAddr, Vec<OwnedFd>> = BTreeMap::new();
    for (address, socket) in handover.sockets.into_iter().zip(received) {
        sockets.entry(address).or_default().push(socket);
    }
    Ok(Some(Received {
        stream,
        table: handover.table,
        version: handover.version,
        backends: handover.backends,
        counters,
        sockets,
    }))
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

    /// Tells it that the successor accepts connections.
    pub(crate) async fn release(&self) -> Result<(), EdgeError> {
        match self.ask(&AdminRequest::Release).await.map_err(fault)? {
            AdminReply::Done => Ok(()),
            _ => Err(fault("it did not let go")),
        }
    }

    /// Has its kept-alive connections follow a new table. If it is gone, it has none.
    pub(crate) async fn apply(&self, table: &RouteTable) {
        let asked = self.ask(&AdminRequest::Apply { table: table.clone() }).await;
        if let Ok(AdminReply::Refused { message, .. }) = asked {
            eprintln!("edge: the predecessor did not follow: {message}");
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
}

/// Takes over a predecessor's counters until it is gone.
pub(crate) async fn follow(control: Rc<Control>, predecessor: Rc<Predecessor>) {
    while let Ok(AdminReply::Status(status)) = predecessor.ask(&AdminRequest::Status).await {
        control.sets.inherit(&status.counters);
        tokio::time::sleep(FOLLOW_INTERVAL).await;
    }
    control.predecessor.borrow_mut().take();
    control.sets.settle_inherited();
}
