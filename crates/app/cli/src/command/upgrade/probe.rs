//! How long the edge leaves a request unanswered, seen from outside.

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hornero_api::message::RouteStatus;
use hornero_model::Protocol;

/// A request without a host, which the edge refuses by itself (RFC 9112, 3.2): no server sees it, and nothing counts it.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\n\r\n";
/// Between two requests.
const INTERVAL: Duration = Duration::from_millis(1);
/// After so long a request counts as not answered.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Requests one after the other, each on a connection of its own.
pub struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Seen>,
}

/// What was seen.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The longest from a connection's begin to the first byte of its answer.
    pub longest: Duration,
    /// Requests that were refused, broken off or too long without an answer.
    pub unanswered: u64,
}

impl Probe {
    /// Begins on the first listener that speaks HTTP; none where there is none.
    pub fn start(routes: &[RouteStatus]) -> Option<Self> {
        let route = routes.iter().find(|route| route.protocol == Protocol::Http)?;
        let ip = match route.listen.ip() {
            ip if !ip.is_unspecified() => ip,
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        };
        let address = SocketAddr::new(ip, route.listen.port());
        // One that speaks TLS says no to this in its own words, or nothing in time.
        ask(address)?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("probe".to_owned())
            .spawn(move || {
                let mut seen = Seen::default();
                while !stopped.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    match ask(address) {
                        Some(()) => seen.longest = seen.longest.max(begun.elapsed()),
                        None => seen.unanswered += 1,
                    }
                    std::thread::sleep(INTERVAL);
                }
                seen
            })
            .ok()?;
        Some(Self { stop, thread })
    }

    /// Ends it.
    pub fn end(self) -> Seen {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_default()
    }
}

fn ask(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT).ok()?;
    stream.set_read_timeout(Some(TIMEOUT)).ok()?;
    stream.write_all(REQUEST).ok()?;
    let mut bytes = [0; 256];
    let count = stream.read(&mut bytes).ok()?;
    (count > 0).then_some(())
}
