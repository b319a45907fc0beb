//! Sending a query on to the host's resolvers.

use std::{
    io::{self, Write},
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket},
    time::{Duration, Instant},
};

use super::{
    message::{Query, is_server_trouble, set_id},
    tcp::{read_message, remaining},
};

/// How long one server may take to answer once.
const TRY_TIMEOUT: Duration = Duration::from_millis(1500);
/// How long everything may take: below the 5 s after which clients ask again.
const TOTAL_TIMEOUT: Duration = Duration::from_millis(4500);
/// How often the list of servers is gone through.
const ROUNDS: usize = 2;
/// The largest message there is.
const RESPONSE_MAX_BYTES: usize = u16::MAX as usize;

/// How a query is sent on: the way it came, so that answers fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Transport {
    Udp,
    Tcp,
}

/// Asks one server after the other; `None` where none gives an answer. The answer has the client's
/// id, and may be one that says what is wrong with the server.
pub(super) fn forward(
    message: &[u8],
    query: &Query<'_>,
    servers: &[SocketAddr],
    transport: Transport,
) -> Option<Vec<u8>> {
    let deadline = Instant::now() + TOTAL_TIMEOUT;
    let mut troubled = None;
    for server in servers.iter().cycle().take(servers.len() * ROUNDS) {
        let until = deadline.min(Instant::now() + TRY_TIMEOUT);
        let answer = match transport {
            Transport::Udp => ask_udp(message, query, *server, until),
            Transport::Tcp => ask_tcp(message, query, *server, until),
        };
        // What stands against one server is no reason not to ask the next.
        if let Ok(mut answer) = answer {
            set_id(&mut answer, query.id());
            if !is_server_trouble(&answer) {
                return Some(answer);
            }
            troubled = Some(answer);
        }
        if Instant::now() >= deadline {
            break;
        }
    }
    troubled
}

/// Every try has a socket of its own, so that its port and its id are fresh: an answer can be
/// forged only by guessing both (RFC 5452). Connected, it gets packets of that server alone.
fn ask_udp(
    message: &[u8],
    query: &Query<'_>,
    server: SocketAddr,
    until: Instant,
) -> io::Result<Vec<u8>> {
    let socket = match server {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)),
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)),
    }?;
    socket.connect(server)?;
    let id = random_id()?;
    let mut sent = message.to_vec();
    set_id(&mut sent, id);
    socket.send(&sent)?;
    let mut buffer = vec![0; RESPONSE_MAX_BYTES];
    loop {
        socket.set_read_timeout(Some(remaining(until)?))?;
        let read = socket.recv(&mut buffer)?;
        if query.is_answered_by(&buffer[..read], id) {
            buffer.truncate(read);
            return Ok(buffer);
        }
    }
}

fn ask_tcp(
    message: &[u8],
    query: &Query<'_>,
    server: SocketAddr,
    until: Instant,
) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, remaining(until)?)?;
    stream.set_write_timeout(Some(remaining(until)?))?;
    let id = random_id()?;
    let mut sent = (message.len() as u16).to_be_bytes().to_vec();
    sent.extend_from_slice(message);
    set_id(&mut sent[2..], id);
    stream.write_all(&sent)?;
    let answer = read_message(&mut stream, RESPONSE_MAX_BYTES, until)?
        .ok_or(io::ErrorKind::UnexpectedEof)?;
    if query.is_answered_by(&answer, id) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn random_id() -> io::Result<u16> {
    let mut bytes = [0u8; 2];
    // SAFETY: the buffer is writable for the length given.
    let read = unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) };
    if read == bytes.len() as isize {
        Ok(u16::from_ne_bytes(bytes))
    } else {
        Err(io::Error::last_os_error())
    }
}
