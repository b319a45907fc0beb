//! Connection limits: what a client that holds many connections takes from others, and what it costs.

mod support;

use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hornero_edge::EdgeClient;
use hornero_model::{EdgeConnections, Listener, RouteTable};
use support::{
    TestEdge, address,
    backend::Backend,
    client::{Client, connect_from, get},
    process::{EdgeProcess, HEAD_MS, INTERNAL},
    table, until,
};

/// How long an answer may take while others flood: some tenths of a second, on a machine that does much else as well.
const PATIENCE: Duration = Duration::from_secs(5);

/// Not a test by itself: the process that `EdgeProcess` starts.
#[test]
fn child_process() {
    support::process::become_edge();
}

/// Asks for `/` on a new connection all the time, until told to stop; the longest wait for an answer.
struct Visitor {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, Duration)>,
}

impl Visitor {
    fn start(listener: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let (mut count, mut longest) = (0, Duration::ZERO);
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let answer = get(listener, "/").unwrap();
                assert_eq!(answer.status, 200, "{}", answer.head);
                longest = longest.max(begun.elapsed());
                count += 1;
                // A visitor, and no flood of its own.
                std::thread::sleep(Duration::from_millis(5));
            }
            (count, longest)
        });
        Self { stop, thread }
    }

    /// Every answer was 200, within `limit`.
    fn finish(self, limit: Duration) {
        self.stop.store(true, Ordering::Relaxed);
        let (count, longest) = self.thread.join().unwrap();
        println!("{count} answers, the slowest took {longest:?}");
        assert!(count > 0 && longest < limit, "{count} answers, the slowest took {longest:?}");
    }
}

/// A table with one pool and these listeners.
fn listeners(addresses: &[SocketAddr], backend: &Backend) -> RouteTable {
    let mut table = table(1, addresses[0], Some(1), &[(1, &[backend.address])]);
    let first = (*table.listeners[0]).clone();
    table.listeners =
        addresses.iter().map(|address| Listener { address: *address, ..first.clone() }).collect();
    table
}

fn connections(admin: &mut EdgeClient) -> EdgeConnections {
    admin.status().unwrap().connections.unwrap()
}

/// What a process holds of the memory for itself, in KiB.
fn memory_kib(pid: u32) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The three listeners of an edge in a process of its own: two for the outside, the last one for its own servers.
struct Site {
    /// This process has files for one flood at a time.
    _alone: MutexGuard<'static, ()>,
    edge: EdgeProcess,
    admin: EdgeClient,
    listeners: [SocketAddr; 3],
    _backend: Backend,
    _dir: tempfile::TempDir,
}

impl Site {
    fn start() -> Self {
        Self::with_head_ms(60_000)
    }

    /// The same, where a head may take so long.
    fn with_head_ms(head_ms: u32) -> Self {
        static FLOOD: Mutex<()> = Mutex::new(());
        let alone = FLOOD.lock().unwrap_or_else(PoisonError::into_inner);
        let backend = Backend::start("one");
        let dir = tempfile::tempdir().unwrap();
        let listeners = [address(), address(), address()];
        let settings = [(INTERNAL, listeners[2].ip().to_string()), (HEAD_MS, head_ms.to_string())];
        let edge = EdgeProcess::start_with(dir.path(), &settings);
        let mut admin = EdgeClient::new(dir.path());
        admin.apply(&self::listeners(&listeners, &backend)).unwrap();
        for listener in listeners {
            until("it serves", || get(listener, "/").is_ok_and(|answer| answer.status == 200));
        }
        Self { _alone: alone, edge, admin, listeners, _backend: backend, _dir: dir }
    }
}

#[test]
fn ten_thousand_idle_connections_of_one_client_leave_other_routes_alone() {
    let mut site = Site::start();
    let [attacked, other, internal] = site.listeners;
    let before_kib = memory_kib(site.edge.id());
    let visitors = [other, internal].map(Visitor::start);
    let attacker = IpAddr::from([127, 99, 1, 1]);
    let mut held = Vec::new();
    for _ in 0..10_000 {
        held.extend(connect_from(attacker, attacked));
    }
    let counted = connections(&mut site.admin);
    assert!(counted.outside.given_up > 0, "{counted:?}");
    let slack = counted.outside.source_limit / 8;
    assert!(counted.outside.open <= counted.outside.source_limit + slack, "{counted:?}");
    assert_eq!((counted.internal.given_up, counted.internal.refused), (0, 0), "{counted:?}");
    // The listener itself still answers, the attacker too.
    assert_eq!(get(attacked, "/").unwrap().status, 200);
    let mut late = connect_from(attacker, attacked).unwrap();
    late.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    late.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    for visitor in visitors {
        visitor.finish(PATIENCE);
    }
    let during_kib = memory_kib(site.edge.id());
    drop(held);
    until("the connections have gone", || connections(&mut site.admin).outside.open < 10);
    until("the memory is back", || memory_kib(site.edge.id()) < before_kib + 4 * 1024);
    let after_kib = memory_kib(site.edge.id());
    println!("KiB before, during and after: {before_kib}, {during_kib}, {after_kib}; {counted:?}");
    assert!(during_kib < before_kib + 32 * 1024, "{before_kib} to {during_kib} KiB");
}

/// Opens up to `count` connections from `attacker`, each of which says `first` and nothing more.
fn hold(count: usize, attacker: [u8; 4], to: SocketAddr, first: &[u8]) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..count {
        let Some(mut stream) = connect_from(attacker.into(), to) else { continue };
        if stream.write_all(first).is_ok() {
            held.push(stream);
        }
    }
    held
}

#[test]
fn heads_of_one_byte_take_no_more_than_idle_connections() {
    let mut site = Site::with_head_ms(4_000);
    let [attacked, other, _] = site.listeners;
    let before_kib = memory_kib(site.edge.id());
    let visitors = [other, attacked].map(Visitor::start);
    let held = hold(10_000, [127, 99, 1, 2], attacked, b"G");
    let counted = connections(&mut site.admin).outside;
    let during_kib = memory_kib(site.edge.id());
    assert!(counted.given_up > 0, "{counted:?}");
    for visitor in visitors {
        visitor.finish(PATIENCE);
    }
    println!("KiB before and during: {before_kib}, {during_kib}; {counted:?}");
    assert!(during_kib < before_kib + 64 * 1024, "{before_kib} to {during_kib} KiB");
    until("all heads have taken too long", || {
        let counted = connections(&mut site.admin).outside;
        counted.slow_heads > 0 && counted.open < 10
    });
    drop(held);
}

#[test]
fn large_heads_take_bounded_memory_that_is_given_back() {
    let mut site = Site::start();
    let [attacked, other, _] = site.listeners;
    let pid = site.edge.id();
    let before_kib = memory_kib(pid);
    let visitor = Visitor::start(other);
    let large = format!("GET / HTTP/1.1\r\nhost: a\r\nx: {}", "x".repeat(60 << 10));
    let mut held = hold(2_000, [127, 99, 1, 4], attacked, large.as_bytes());
    until("heads are held", || memory_kib(pid) > before_kib + 16 * 1024);
    let during_kib = memory_kib(pid);
    assert!(during_kib < before_kib + 56 * 1024, "{before_kib} to {during_kib} KiB");
    let mut refused = Client::of(held.pop().unwrap());
    let answer = refused.answer().unwrap();
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{}", answer.head);
    visitor.finish(PATIENCE);
    drop((held, refused));
    until("the connections have gone", || connections(&mut site.admin).outside.open < 10);
    until("the memory is back", || memory_kib(pid) < before_kib + 8 * 1024);
    let after_kib = memory_kib(pid);
    println!("KiB before, during and after: {before_kib}, {during_kib}, {after_kib}");
    let mut client = Client::connect(attacked);
    client.send(format!("{large}\r\n\r\n"));
    assert_eq!(client.answer().unwrap().status, 200, "one at a time is served");
}

#[test]
fn a_flood_from_inside_leaves_the_outside_alone() {
    let mut site = Site::start();
    let [first, second, internal] = site.listeners;
    let visitors = site.listeners.map(Visitor::start);
    let held = hold(9_500, [127, 99, 1, 3], internal, b"");
    let counted = connections(&mut site.admin);
    for visitor in visitors {
        visitor.finish(PATIENCE);
    }
    assert!(counted.internal.given_up > 0, "{counted:?}");
    assert_eq!((counted.outside.given_up, counted.outside.refused), (0, 0), "{counted:?}");
    for listener in [first, second, internal] {
        assert_eq!(get(listener, "/").unwrap().status, 200);
    }
    drop(held);
}

#[test]
fn an_edge_without_files_gives_up_idle_connections() {
    let mut site = Site::start();
    let [attacked, other, _] = site.listeners;
    let pid = site.edge.id();
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    let limit = Some(u64::try_from(open + 40).unwrap());
    rustix::process::prlimit(
        rustix::process::Pid::from_raw(pid.try_into().unwrap()),
        rustix::process::Resource::Nofile,
        rustix::process::Rlimit { current: limit, maximum: limit },
    )
    .unwrap();
    let held = hold(200, [127, 99, 1, 5], attacked, b"");
    for _ in 0..20 {
        assert_eq!(get(other, "/").unwrap().status, 200);
    }
    let counted = connections(&mut site.admin).outside;
    assert!(counted.given_up > 0, "{counted:?}");
    let status = site.admin.status().unwrap();
    assert!(
        status.backends.iter().all(|backend| backend.health == hornero_model::Health::Healthy),
        "want of files is no fault of a backend: {status:?}"
    );
    drop(held);
}

/// An edge in this process that takes few connections.
fn small(backend: &Backend, adjust: impl FnOnce(&mut hornero_edge::Limits)) -> TestEdge {
    let mut edge = TestEdge::with(|options| {
        options.limits.max_connections = 8;
        adjust(&mut options.limits);
    });
    edge.apply(Some(1), &[(1, &[backend.address])]);
    edge.until_healthy(1);
    edge
}

#[test]
fn requests_under_way_are_never_given_up() {
    let backend = Backend::start("one");
    let mut edge = small(&backend, |_| {});
    let attacker = IpAddr::from([127, 99, 1, 6]);
    let listener = edge.listener;
    let busy = |source: IpAddr| -> Vec<Client> {
        (0..4)
            .map(|_| {
                let mut client = Client::of(connect_from(source, listener).unwrap());
                client.send("GET /wait?2500 HTTP/1.1\r\nhost: a\r\n\r\n");
                client
            })
            .collect()
    };
    let mut first = busy(attacker);
    until("all are under way", || edge.counters(1).1 == 4);
    let mut fifth = Client::of(connect_from(attacker, listener).unwrap());
    fifth.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    let answer = fifth.answer().unwrap();
    assert_eq!(answer.status, 429, "{}", answer.head);
    assert_eq!(answer.header("retry-after"), Some("1"));
    assert_eq!(answer.header("connection"), Some("close"));
    assert_eq!(get(listener, "/").unwrap().status, 200, "another source has its share");
    let mut second = busy([127, 99, 1, 7].into());
    until("all are under way", || edge.counters(1).1 == 8);
    let mut ninth = Client::connect(listener);
    ninth.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(ninth.answer().unwrap().status, 503);
    let counted = connections(&mut edge.admin).outside;
    assert_eq!((counted.refused_by_source, counted.given_up, counted.refused), (1, 0, 1));
    for client in first.iter_mut().chain(&mut second) {
        assert_eq!(client.answer().unwrap().text(), "one");
    }
    until("there is room again", || get(listener, "/").is_ok_and(|answer| answer.status == 200));
}

#[test]
fn a_full_edge_gives_up_the_oldest_first() {
    let backend = Backend::start("one");
    // One thread: which one a connection comes to is the kernel's choice.
    let mut edge = TestEdge::with(|options| {
        options.threads = 1;
        options.limits.max_connections = 8;
    });
    edge.apply(Some(1), &[(1, &[backend.address])]);
    edge.until_healthy(1);
    let mut kept: Vec<Client> = (0..8_u8)
        .map(|number| {
            let source = IpAddr::from([127, 99, 2, 1 + number]);
            let mut client = Client::of(connect_from(source, edge.listener).unwrap());
            assert_eq!(client.get("/").unwrap().status, 200);
            // The edge knows ages by its tick of a tenth of a second: the order is that in which they came.
            std::thread::sleep(Duration::from_millis(120));
            client
        })
        .collect();
    // The first is the newest now.
    assert_eq!(kept[0].get("/").unwrap().status, 200);
    let mut newest = Client::of(connect_from([127, 99, 2, 99].into(), edge.listener).unwrap());
    assert_eq!(newest.get("/").unwrap().status, 200);
    assert!(kept[1].is_closed(), "the one that was idle for longest");
    for (number, client) in kept.iter_mut().enumerate().filter(|(number, _)| *number != 1) {
        assert_eq!(client.get("/").unwrap().status, 200, "connection {number}");
    }
}

#[test]
fn a_head_that_trickles_in_has_a_deadline_as_a_whole() {
    let backend = Backend::start("one");
    let mut edge = small(&backend, |limits| limits.head_timeout = Duration::from_millis(600));
    let begun = Instant::now();
    let mut client = Client::connect(edge.listener);
    for byte in b"GET / HTTP/1.1\r\nx-long: ".iter().chain(std::iter::repeat(&b'x')) {
        if client.stream.write_all(&[*byte]).is_err() || begun.elapsed() > Duration::from_secs(5) {
            break;
        }
        // The pace of one who sends slowly on purpose.
        std::thread::sleep(Duration::from_millis(50));
        if client.has_answer() {
            break;
        }
    }
    let took = begun.elapsed();
    assert_eq!(client.answer().unwrap().status, 408);
    assert!(took < Duration::from_secs(2), "{took:?}");
    assert_eq!(connections(&mut edge.admin).outside.slow_heads, 1);
}
