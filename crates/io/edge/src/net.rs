//! Non-blocking sockets: listening ones, and connected ones that ask the kernel as seldom as possible.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    task::{Context, Poll, ready},
    time::Duration,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, bind, connect,
        getsockname, listen, recv, send, shutdown, socket_with, sockopt,
    },
    pipe::{SpliceFlags, splice},
};
use tokio::io::unix::AsyncFd;

use crate::{error::EdgeError, pipe::Pipe};

/// Connections that may wait to be accepted, per socket; the kernel lowers it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// How bytes are moved between sockets and pipes.
const MOVE: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

/// Opens `count` listening sockets on `address`, among which the kernel spreads connections.
///
/// With `exclusive` it first makes sure that nobody else listens there: sockets that share a port would otherwise
/// quietly share the requests of another process of the same user.
pub(crate) fn open_listeners(
    address: SocketAddr,
    count: usize,
    exclusive: bool,
) -> Result<Vec<OwnedFd>, EdgeError> {
    let open = || -> io::Result<Vec<OwnedFd>> {
        if exclusive {
            let probe = new_socket(address)?;
            sockopt::set_socket_reuseaddr(&probe, true)?;
            freebind(&probe, address)?;
            bind(&probe, &address)?;
        }
        (0..count).map(|_| open_listener(address)).collect()
    };
    open().map_err(|source| EdgeError::Listen { address, source })
}

/// Whether the host has no addresses of the kind that was to be listened on.
pub(crate) fn lacks_family(error: &EdgeError) -> bool {
    let EdgeError::Listen { source, .. } = error else { return false };
    [Errno::AFNOSUPPORT, Errno::ADDRNOTAVAIL, Errno::PROTONOSUPPORT]
        .iter()
        .any(|errno| source.raw_os_error() == Some(errno.raw_os_error()))
}

/// Whether this process or host lacks something for a connection, which says nothing about the other side.
pub(crate) fn is_own_want(error: &io::Error) -> bool {
    is_want_of_files(error)
        || [Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL]
            .iter()
            .any(|own| error.raw_os_error() == Some(own.raw_os_error()))
}

/// Whether it is files that it lacks.
pub(crate) fn is_want_of_files(error: &io::Error) -> bool {
    [Errno::MFILE, Errno::NFILE].iter().any(|own| error.raw_os_error() == Some(own.raw_os_error()))
}

fn open_listener(address: SocketAddr) -> io::Result<OwnedFd> {
    let socket = new_socket(address)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    // Accepted connections inherit it: no system call for each of them.
    sockopt::set_tcp_nodelay(&socket, true)?;
    freebind(&socket, address)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Service addresses may not be there yet when the last good table is put in force at boot.
fn freebind(socket: &OwnedFd, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(socket, true)?,
        SocketAddr::V6(_) => {
            sockopt::set_ipv6_v6only(socket, true)?;
            sockopt::set_ipv6_freebind(socket, true)?;
        }
    }
    Ok(())
}

fn new_socket(address: SocketAddr) -> io::Result<OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    Ok(socket_with(family, SocketType::STREAM, flags, None)?)
}

/// Registers a socket of the calling thread's runtime, for reading and writing.
pub(crate) fn watch(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an `OwnedFd` is open and means the same socket until it is dropped; `AsyncFd` owns it and is asked for
    // it back only by `into_inner`, which ends the registration.
    Ok(unsafe { AsyncFd::register(fd) }?)
}

/// A connected socket, registered once for reading and writing.
#[derive(Debug)]
pub(crate) struct Sock {
    fd: AsyncFd<OwnedFd>,
}

impl Sock {
    /// Takes a connected, non-blocking socket.
    pub(crate) fn new(fd: OwnedFd) -> io::Result<Self> {
        Ok(Self { fd: watch(fd)? })
    }

    /// Gives the socket back, no longer registered.
    pub(crate) fn into_inner(self) -> OwnedFd {
        self.fd.into_inner()
    }

    /// Connects to `address` within `timeout`.
    pub(crate) async fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let socket = new_socket(address)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        match connect(&socket, &address) {
            Ok(()) => return Self::new(socket),
            Err(Errno::INPROGRESS) => {}
            Err(error) => return Err(error.into()),
        }
        let sock = Self::new(socket)?;
        match tokio::time::timeout(timeout, sock.fd.writable()).await {
            Ok(ready) => drop(ready?),
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        }
        match sockopt::socket_error(sock.fd.get_ref())? {
            Ok(()) => Ok(sock),
            Err(error) => Err(error.into()),
        }
    }

    /// Receives into the whole of `buffer`; a short read means that the socket is empty, which saves the read that
    /// would only say so.
    pub(crate) fn poll_recv(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(context))?;
            match recv(self.fd.get_ref(), &mut *buffer, RecvFlags::empty()) {
                Ok((count, _)) => {
                    if count > 0 && count < buffer.len() {
                        guard.clear_ready();
                    }
                    return Poll::Ready(Ok(count));
                }
                Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Looks at what has come without taking it, once that is more than `seen` bytes or no more will come.
    pub(crate) fn poll_peek(
        &self,
        context: &mut Context<'_>,
        buffer: &mut [u8],
        seen: usize,
    ) -> Poll<io::Result<usize>> {
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(context))?;
            // Known before the look, so that it sees all that came before the end.
            let is_last = guard.ready().is_read_closed();
            match recv(self.fd.get_ref(), &mut *buffer, RecvFlags::PEEK) {
                Ok((count, _)) if count > seen || count == 0 || is_last => {
                    return Poll::Ready(Ok(count));
                }
                Ok(_) | Err(Errno::AGAIN) => guard.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Takes bytes that were looked at before.
    pub(crate) fn skip(&self, mut buffer: &mut [u8]) -> io::Result<()> {
        while !buffer.is_empty() {
            let (count, _) = recv(self.fd.get_ref(), &mut *buffer, RecvFlags::empty())?;
            if count == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[count..];
        }
        Ok(())
    }

    /// Sends what the socket takes at once.
    pub(crate) fn send_at_once(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(send(self.fd.get_ref(), bytes, SendFlags::NOSIGNAL)?)
    }

    /// The address of this side, where the kernel tells one.
    pub(crate) fn local_address(&self) -> Option<SocketAddr> {
        getsockname(self.fd.get_ref()).ok()?.try_into().ok()
    }

    /// Sends what the socket takes; tries before it asks whether it may.
    pub(crate) fn poll_send(
        &self,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        loop {
            let sent = match slices {
                [one] => send(self.fd.get_ref(), one, SendFlags::NOSIGNAL),
                many => rustix::io::writev(self.fd.get_ref(), many),
            };
            match sent {
                Ok(count) => return Poll::Ready(Ok(count)),
                Err(Errno::AGAIN) => ready!(self.fd.poll_write_ready(context))?.clear_ready(),
                Err(Errno::INTR) => {}
                Err(error) => return Poll::Ready(Err(error.into())),
            }
        }
    }

    /// Moves what has come into an empty pipe; 0 is the end.
    pub(crate) fn poll_recv_into(
        &self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        debug_assert_eq!(pipe.held(), 0, "a full pipe would be taken for an empty socket");
        loop {
            let mut guard = ready!(self.fd.poll_read_ready(context))?;
            let socket = self.fd.get_ref();
            match pipe.fill(|to, most| Ok(splice(socket, None, to, None, most, MOVE)?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                moved => return Poll::Ready(moved),
            }
        }
    }

    /// Sends what the socket takes of what is in a pipe; tries before it asks whether it may. A peer that is gone is an error
    /// and no SIGPIPE, which splice(2) has no flag against: Rust's runtime ignores that signal.
    pub(crate) fn poll_send_from(
        &self,
        context: &mut Context<'_>,
        pipe: &mut Pipe,
    ) -> Poll<io::Result<usize>> {
        loop {
            let socket = self.fd.get_ref();
            match pipe.drain(|from, most| Ok(splice(from, None, socket, None, most, MOVE)?)) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    ready!(self.fd.poll_write_ready(context))?.clear_ready();
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                moved => return Poll::Ready(moved),
            }
        }
    }

    /// Whether the peer has closed, or sent something that nobody asked for: one system call.
    pub(crate) fn is_stale(&self) -> bool {
        let mut byte = [MaybeUninit::uninit(); 1];
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        !matches!(recv(self.fd.get_ref(), &mut byte[..], flags), Err(Errno::AGAIN))
    }

    /// The same as far as the kernel has told already: no system call.
    pub(crate) fn may_be_stale(&self, context: &mut Context<'_>) -> bool {
        self.fd.poll_read_ready(context).is_ready()
    }

    /// Ends the sending direction.
    pub(crate) fn shutdown_send(&self) {
        // The peer may have closed already, which is just as well.
        let _ = shutdown(self.fd.get_ref(), Shutdown::Write);
    }

    /// Makes the coming close a reset, so that the peer does not take what it has for complete.
    pub(crate) fn reset_on_close(&self) {
        // Without it the peer sees an ordinary end: worse, but not wrong.
        let _ = sockopt::set_socket_linger(self.fd.as_fd(), Some(Duration::ZERO));
    }
}
