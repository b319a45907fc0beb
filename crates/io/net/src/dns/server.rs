//! The server itself: its sockets, its threads, and who answers what.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use hornero_model::ServiceName;
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType, bind, listen, sockopt};

use super::{
    Names, Upstreams,
    forward::{Transport, forward},
    message::{Code, QUERY_MAX_BYTES, Query, Rejection},
    permits::{Permit, Permits},
    tcp,
};

/// The zone that this server answers for itself; ICANN has set it aside for private use.
const ZONE: &str = "internal";
/// Queries sent on at once: each has a thread and a socket for at most 4.5 s.
const FORWARDED_MAX: usize = 256;
/// One instance must not use up what all have.
const FORWARDED_PER_CLIENT_MAX: usize = 64;
/// TCP connections at once: each has a thread.
const CONNECTIONS_MAX: usize = 128;
const CONNECTIONS_PER_CLIENT_MAX: usize = 16;
const BACKLOG: i32 = 128;
/// The threads hold large buffers on the heap; their frames are small.
const STACK_BYTES: usize = 256 << 10;

/// A running name server; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    udp: Arc<UdpSocket>,
    tcp: Arc<TcpListener>,
    stopping: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

/// What all threads share.
struct Shared {
    names: Box<dyn Names>,
    upstreams: Upstreams,
    own_address: SocketAddr,
    forwarded: Arc<Permits>,
}

/// What is to be done with a message.
enum Step {
    Answer(Vec<u8>),
    Silence,
    Forward,
}

impl Server {
    /// Listens on UDP and TCP at the address, the home's gateway with [`super::PORT`], and serves
    /// on threads of its own. A second server may listen at the same address, so that a process can
    /// be replaced by its successor without a lost query.
    ///
    /// Errors are those of the sockets: the address must exist on the host.
    pub fn bind(
        address: SocketAddr,
        names: impl Names + 'static,
        upstreams: Upstreams,
    ) -> io::Result<Self> {
        let udp = socket(address, SocketType::DGRAM)?;
        let udp = UdpSocket::from(udp);
        // The kernel has chosen the port where none was given; TCP gets the same.
        let address = udp.local_addr()?;
        let tcp = socket(address, SocketType::STREAM)?;
        listen(&tcp, BACKLOG)?;
        let (udp, tcp) = (Arc::new(udp), Arc::new(TcpListener::from(tcp)));
        let shared = Arc::new(Shared {
            names: Box::new(names),
            upstreams,
            own_address: address,
            forwarded: Permits::new(FORWARDED_MAX, FORWARDED_PER_CLIENT_MAX),
        });
        let stopping = Arc::new(AtomicBool::new(false));
        let mut server = Self { udp, tcp, stopping, threads: Vec::new() };
        let (udp, stopping) = (Arc::clone(&server.udp), Arc::clone(&server.stopping));
        let of_udp = Arc::clone(&shared);
        server.threads.push(spawn("dns-udp", move || serve_udp(&udp, &of_udp, &stopping))?);
        let (tcp, stopping) = (Arc::clone(&server.tcp), Arc::clone(&server.stopping));
        server.threads.push(spawn("dns-tcp", move || serve_tcp(&tcp, &shared, &stopping))?);
        Ok(server)
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.udp.local_addr()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // Connected to itself the socket gets no more queries: they go to a successor. Those in its
        // queue are still answered; then the shutdown ends the thread's wait.
        if let Ok(address) = self.udp.local_addr() {
            let _ = self.udp.connect(address);
        }
        let _ = rustix::net::shutdown(&self.udp, Shutdown::Read);
        let _ = rustix::net::shutdown(&self.tcp, Shutdown::Both);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn socket(address: SocketAddr, kind: SocketType) -> io::Result<std::os::fd::OwnedFd> {
    let family = match address {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let socket = rustix::net::socket_with(family, kind, SocketFlags::CLOEXEC, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    sockopt::set_socket_reuseport(&socket, true)?;
    bind(&socket, &address)?;
    Ok(socket)
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.to_owned()).stack_size(STACK_BYTES).spawn(work)
}

fn serve_udp(socket: &Arc<UdpSocket>, shared: &Arc<Shared>, stopping: &AtomicBool) {
    // One byte more shows what is too large.
    let mut buffer = vec![0; QUERY_MAX_BYTES + 1];
    loop {
        let (read, client) = match socket.recv_from(&mut buffer) {
            Ok(received) => received,
            Err(_) if stopping.load(Ordering::Acquire) => return,
            // An answer that could not be delivered is reported here, once.
            Err(_) => continue,
        };
        if read == 0 && stopping.load(Ordering::Acquire) {
            return;
        }
        let message = &buffer[..read];
        match shared.step(message, client.ip()) {
            Step::Silence => {}
            Step::Answer(answer) => send(socket, &answer, client),
            Step::Forward => forward_udp(socket, shared, message.to_vec(), client),
        }
    }
}

/// Sends the query on, on a thread of its own, if there may be one more.
fn forward_udp(
    socket: &Arc<UdpSocket>,
    shared: &Arc<Shared>,
    message: Vec<u8>,
    client: SocketAddr,
) {
    let Some(permit) = shared.forwarded.take(client.ip()) else {
        return send(socket, &failure(&message), client);
    };
    let failed = failure(&message);
    let (reply, shared) = (Arc::clone(socket), Arc::clone(shared));
    let spawned = spawn("dns-query", move || {
        let answer = shared.forward(&message, Transport::Udp, permit);
        send(&reply, &answer, client);
    });
    if spawned.is_err() {
        send(socket, &failed, client);
    }
}

/// A client that can't be reached asks again, or is gone.
fn send(socket: &UdpSocket, answer: &[u8], client: SocketAddr) {
    let _ = socket.send_to(answer, client);
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>, stopping: &AtomicBool) {
    let connections = Permits::new(CONNECTIONS_MAX, CONNECTIONS_PER_CLIENT_MAX);
    loop {
        let (stream, client) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(_) if stopping.load(Ordering::Acquire) => return,
            Err(_) => {
                // Out of descriptors, or the connection is gone: a moment later is soon enough.
                thread::sleep(std::time::Duration::from_millis(10));
                continue;
            }
        };
        // Closing tells a client that there is no room; it asks again.
        let Some(permit) = connections.take(client.ip()) else { continue };
        let shared = Arc::clone(shared);
        let _ = spawn("dns-client", move || serve_connection(stream, client.ip(), &shared, permit));
    }
}

fn serve_connection(stream: TcpStream, client: IpAddr, shared: &Shared, _permit: Permit) {
    // What is wrong with a connection ends it, and nothing else.
    let _ = tcp::serve(stream, &|message| match shared.step(message, client) {
        Step::Silence => None,
        Step::Answer(answer) => Some(answer),
        Step::Forward => Some(match shared.forwarded.take(client) {
            Some(permit) => shared.forward(message, Transport::Tcp, permit),
            None => failure(message),
        }),
    });
}

impl Shared {
    fn step(&self, message: &[u8], client: IpAddr) -> Step {
        let query = match Query::parse(message) {
            Ok(query) => query,
            Err(Rejection::Silent) => return Step::Silence,
            Err(Rejection::Answer(answer)) => return Step::Answer(answer),
        };
        if query.asks_for_zone() {
            return Step::Answer(query.respond(Code::Refused, None));
        }
        match query.labels.as_slice() {
            [.., zone] if zone.eq_ignore_ascii_case(ZONE.as_bytes()) => {
                Step::Answer(self.internal(&query))
            }
            _ if self.names.may_ask_outside(client) => Step::Forward,
            _ => Step::Answer(query.respond(Code::Refused, None)),
        }
    }

    fn internal(&self, query: &Query<'_>) -> Vec<u8> {
        let service = match query.labels.as_slice() {
            [_zone] => return query.respond(Code::NoError, None),
            [service, _zone] => std::str::from_utf8(service)
                .ok()
                .and_then(|name| ServiceName::new(name.to_ascii_lowercase()).ok()),
            _ => None,
        };
        match service.and_then(|service| self.names.address(&service)) {
            Some(address) => {
                query.respond(Code::NoError, query.asks_for_address().then_some(address))
            }
            None => query.respond(Code::NameError, None),
        }
    }

    fn forward(&self, message: &[u8], transport: Transport, _permit: Permit) -> Vec<u8> {
        let Ok(query) = Query::parse(message) else { return failure(message) };
        let mut servers = self.upstreams.servers();
        // A host whose resolver is this very server would ask it for ever.
        servers.retain(|server| *server != self.own_address);
        if servers.is_empty() {
            return query.respond(Code::Refused, None);
        }
        match forward(message, &query, &servers, transport) {
            Some(answer) if transport == Transport::Udp && answer.len() > query.udp_max_bytes() => {
                query.truncated()
            }
            Some(answer) => answer,
            None => query.respond(Code::ServerFailure, None),
        }
    }
}

/// The answer to a query that could not be seen to.
fn failure(message: &[u8]) -> Vec<u8> {
    Query::parse(message)
        .map(|query| query.respond(Code::ServerFailure, None::<Ipv4Addr>))
        .unwrap_or_default()
}
