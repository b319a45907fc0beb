//! Successors that die, predecessors that die, and what stays open at a predecessor: with requests all the while.

mod support;

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    os::unix::net::UnixListener,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use hornero_edge::{Edge, EdgeClient, EdgeOptions, HandoverStep, TAKEOVER_PROTOCOL};
use hornero_model::{Millis, PoolProbe, Protocol, ReleaseNumber, Share};
use support::{
    address,
    backend::{Backend, odd},
    client::{Client, get},
    counters, options,
    process::EdgeProcess,
    table, table_of, tcp_contract, until,
};

/// Not a test by itself: the process that `EdgeProcess` starts.
#[test]
fn child_process() {
    support::process::become_edge();
}

/// Threads of a load; each has one request in flight at a time.
const CLIENTS: u32 = 4;

/// Requests without pause, half of them on connections of their own.
struct Requests {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU32>,
    broken: Arc<AtomicU32>,
    refused: Arc<AtomicU32>,
    threads: Vec<JoinHandle<()>>,
}

impl Requests {
    fn start(listener: SocketAddr) -> Self {
        let [answered, broken, refused] = [(); 3].map(|()| Arc::new(AtomicU32::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for number in 0..CLIENTS {
            let (stop, answered) = (stop.clone(), answered.clone());
            let (broken, refused) = (broken.clone(), refused.clone());
            threads.push(std::thread::spawn(move || {
                let mut kept: Option<TcpStream> = None;
                while !stop.load(Ordering::Relaxed) {
                    let stream = match kept.take() {
                        Some(stream) => stream,
                        None => match TcpStream::connect(listener) {
                            Ok(stream) => stream,
                            Err(_) => {
                                refused.fetch_add(1, Ordering::Relaxed);
                                std::thread::sleep(Duration::from_millis(1));
                                continue;
                            }
                        },
                    };
                    match ask(stream) {
                        Some(stream) => {
                            answered.fetch_add(1, Ordering::Relaxed);
                            kept = stream.filter(|_| number % 2 == 0);
                        }
                        None => {
                            broken.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                }
            }));
        }
        Self { stop, answered, broken, refused, threads }
    }

    /// Waits until so many more were answered.
    fn go_on(&self, more: u32) {
        let before = self.answered.load(Ordering::Relaxed);
        until("requests are answered", || self.answered.load(Ordering::Relaxed) >= before + more);
    }

    /// Ends it: answered, broken off, refused.
    fn end(self) -> (u32, u32, u32) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        let read = |count: &AtomicU32| count.load(Ordering::Relaxed);
        (read(&self.answered), read(&self.broken), read(&self.refused))
    }
}

/// One request; the connection where it may be used again, nothing where there was no good answer.
fn ask(stream: TcpStream) -> Option<Option<TcpStream>> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut stream = stream;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").ok()?;
    let (mut answer, mut bytes) = (Vec::new(), [0; 4096]);
    while !answer.ends_with(b"\r\n\r\none") {
        let count = stream.read(&mut bytes).ok().filter(|count| *count > 0)?;
        answer.extend_from_slice(&bytes[..count]);
    }
    let answer = String::from_utf8(answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Some((!answer.contains("connection: close")).then_some(stream))
}

/// An edge in a process of its own before one backend.
struct Scene {
    dir: tempfile::TempDir,
    listener: SocketAddr,
    backend: Backend,
    admin: EdgeClient,
}

impl Scene {
    fn new(start: impl FnOnce(&Path) -> EdgeProcess) -> (Self, EdgeProcess) {
        let dir = tempfile::tempdir().unwrap();
        let first = start(dir.path());
        let (listener, backend) = (address(), Backend::start("one"));
        let mut admin = EdgeClient::new(dir.path());
        let sets: [(u32, &[SocketAddr]); 1] = [(1, &[backend.address])];
        admin.apply(&table(1, listener, Some(1), &sets)).unwrap();
        until("it serves", || get(listener, "/").is_ok_and(|answer| answer.status == 200));
        (Self { dir, listener, backend, admin }, first)
    }

    fn pid(&mut self) -> Option<u32> {
        self.admin.status().ok().map(|status| status.pid)
    }

    /// What there is beside the table and the lock: sockets.
    fn sockets(&self) -> Vec<String> {
        let entries = fs::read_dir(self.dir.path()).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().into_string().unwrap());
        let mut names: Vec<String> =
            names.filter(|name| name.contains(".s") && !name.contains("lock")).collect();
        names.sort();
        names
    }
}

#[test]
fn a_successor_that_dies_at_any_step_leaves_its_predecessor_serving() {
    for step in HandoverStep::ALL {
        // Nothing is called so on the successor's side.
        if step == HandoverStep::Releasing {
            continue;
        }
        let (mut scene, mut first) = Scene::new(EdgeProcess::start);
        let load = Requests::start(scene.listener);
        load.go_on(50);
        let mut dying = EdgeProcess::spawn_dying(scene.dir.path(), step);
        until("the successor dies", || dying.has_ended());
        load.go_on(200);
        until("the predecessor has its name again", || scene.pid() == Some(first.id()));
        assert!(!scene.admin.hello("x").unwrap().unwrap().leaving, "{step:?}");
        // And it hands over to a better one.
        let second = EdgeProcess::start(scene.dir.path());
        load.go_on(200);
        until("the predecessor has ended", || first.has_ended());
        assert_eq!(scene.pid(), Some(second.id()));
        let (_, broken, refused) = load.end();
        assert_eq!(refused, 0, "{step:?}");
        let allowed = match step {
            HandoverStep::Asked | HandoverStep::Sockets => 0,
            // What the successor had accepted died with it.
            _ => CLIENTS,
        };
        assert!(broken <= allowed, "{step:?}: {broken} requests broke");
        assert_eq!(scene.sockets(), [format!("{}.s", second.id()), "admin.sock".to_owned()]);
    }
}

#[test]
fn a_predecessor_that_dies_at_any_step_leaves_its_successor_serving() {
    for step in HandoverStep::ALL {
        // Nothing is called so on the predecessor's side.
        if matches!(step, HandoverStep::Accepting | HandoverStep::Published) {
            continue;
        }
        let dying = |dir: &Path| EdgeProcess::start_dying(dir, step);
        let (mut scene, mut first) = Scene::new(dying);
        let load = Requests::start(scene.listener);
        load.go_on(50);
        let second = EdgeProcess::start(scene.dir.path());
        until("the predecessor dies", || first.has_ended());
        load.go_on(200);
        assert_eq!(scene.pid(), Some(second.id()), "{step:?}");
        let (_, broken, refused) = load.end();
        // Before its sockets were sent, they died with it.
        if step != HandoverStep::Asked {
            assert_eq!(refused, 0, "{step:?}");
            assert!(broken <= CLIENTS, "{step:?}: {broken} requests broke");
        }
    }
}

#[test]
fn a_predecessor_with_something_open_comes_back_when_its_successor_dies() {
    let (mut scene, mut first) = Scene::new(EdgeProcess::start);
    let mut slow = Client::connect(scene.listener);
    slow.send("GET /slow?100000 HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.head().unwrap();
    let second = EdgeProcess::start(scene.dir.path());
    until("its request in flight is known", || counters(&scene.admin.status().unwrap(), 1).1 == 1);
    let load = Requests::start(scene.listener);
    load.go_on(50);
    second.signal(rustix::process::Signal::KILL);
    until("the predecessor serves again", || scene.pid() == Some(first.id()));
    load.go_on(50);
    // A third takes over from the first, whose request is still under way.
    let third = EdgeProcess::start(scene.dir.path());
    load.go_on(50);
    until("its request in flight is known", || counters(&scene.admin.status().unwrap(), 1).1 >= 1);
    assert!(slow.read_until(b";").is_ok());
    assert!(!first.has_ended());
    let (_, broken, refused) = load.end();
    assert_eq!(refused, 0);
    assert!(broken <= CLIENTS, "{broken} requests broke");
    // Stopping the one that serves stops the one before it.
    scene.admin.cut(&support::service(), hornero_model::ReleaseNumber(1)).unwrap();
    scene.admin.stop().unwrap();
    until("both have ended", || first.has_ended() && scene.pid().is_none());
    drop(third);
    assert!(scene.sockets().is_empty(), "{:?}", scene.sockets());
}

#[test]
fn latencies_and_bytes_pass_on_to_a_successor() {
    let (mut scene, mut first) = Scene::new(EdgeProcess::start);
    let counted = |scene: &mut Scene| scene.admin.status().unwrap().counters.remove(0);
    for _ in 0..3 {
        get(scene.listener, "/").unwrap();
    }
    // A client has its answer before the request counts as ended.
    until("the last request has ended", || counted(&mut scene).in_flight == 0);
    let before = counted(&mut scene);
    assert!(before.latency.count() >= 4 && before.bytes_out > Some(0), "{before:?}");
    let second = EdgeProcess::start(scene.dir.path());
    until("the first has ended", || first.has_ended());
    until("its counters are settled", || counted(&mut scene) == before);
    get(scene.listener, "/").unwrap();
    let after = counted(&mut scene);
    assert_eq!(after.latency.count(), before.latency.count() + 1);
    assert!(after.latency.since(&before.latency).is_some() && after.bytes_in > before.bytes_in);
    drop(second);
}

#[test]
fn what_is_open_survives_several_hand_overs_and_a_death_between() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = EdgeProcess::start(dir.path());
    let mut admin = EdgeClient::new(dir.path());
    let echo = |_, mut stream: TcpStream| {
        stream.set_read_timeout(None).unwrap();
        let mut bytes = [0; 1024];
        while let Ok(count) = stream.read(&mut bytes) {
            if count == 0 || stream.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    };
    let (listener, backend) = (address(), odd(echo));
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[backend])];
    admin.apply(&table_of(1, listener, Protocol::Tcp, Some(1), &sets, tcp_contract)).unwrap();
    let said = |tunnel: &mut Client| {
        tunnel.send("x");
        tunnel.read_exact(1).unwrap() == b"x"
    };
    let mut tunnel = Client::connect(listener);
    assert!(said(&mut tunnel));
    let second = EdgeProcess::start(dir.path());
    // Until then both accept, and what comes next could be the first one's.
    until("the first has let go", || {
        let hello = EdgeClient::new(dir.path()).hello("x").unwrap().unwrap();
        hello.succession.is_some()
    });
    let mut other = Client::connect(listener);
    assert!(said(&mut tunnel) && said(&mut other));
    let mut third = EdgeProcess::start(dir.path());
    assert!(said(&mut tunnel) && said(&mut other));
    until("both are known to be open", || counters(&admin.status().unwrap(), 1).1 == 2);
    // The one in the middle dies, with what was open there; the first goes on and does not accept again.
    second.signal(rustix::process::Signal::KILL);
    assert!(other.is_closed());
    let fourth = EdgeProcess::start(dir.path());
    until("the third has ended", || third.has_ended());
    assert!(said(&mut tunnel) && said(&mut Client::connect(listener)));
    assert_eq!(admin.status().unwrap().pid, fourth.id());
    assert!(!first.has_ended());
    drop(tunnel);
    until("the first has ended", || first.has_ended());
}

#[test]
fn what_stays_open_at_a_predecessor_has_a_bound_that_the_successor_sets() {
    let (mut scene, mut first) = Scene::new(EdgeProcess::start);
    let mut slow = Client::connect(scene.listener);
    slow.send("GET /slow?100000 HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.head().unwrap();
    let _second = EdgeProcess::start_with_handover(scene.dir.path(), 300);
    let hello = || EdgeClient::new(scene.dir.path()).hello("x").unwrap().unwrap();
    until("the predecessor has let go", || hello().succession.is_some());
    let report = || {
        let identity = hello();
        (identity.greeting.version, identity.succession.unwrap())
    };
    let (version, succession) = report();
    assert_eq!(version, "7.8.9");
    assert_eq!(succession.predecessor, first.id());
    assert_eq!(succession.version.as_deref(), Some("7.8.9"));
    assert!(succession.connections >= Some(1), "{succession:?}");
    assert!(slow.read_until(b"0\r\n\r\n").is_err(), "cut off");
    until("the predecessor has ended", || first.has_ended());
    until("that is told", || report().1.ended);
    assert_eq!(scene.backend.requests(), 2);
    assert_eq!(counters(&scene.admin.status().unwrap(), 1).2, 1, "it counts as failed");
}

/// Answers the first line of each connection like an edge of another take-over protocol.
fn edge_of_the_future(dir: &Path) -> Arc<AtomicU32> {
    let listener = UnixListener::bind(hornero_edge::admin_socket(dir)).unwrap();
    let asked = Arc::new(AtomicU32::new(0));
    let counted = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut bytes = [0; 4096];
            while let Ok(count) = stream.read(&mut bytes) {
                if count == 0 {
                    break;
                }
                counted.fetch_add(1, Ordering::SeqCst);
                let answer = format!(
                    "{{\"answer\":\"identity\",\"version\":\"99.1.0\",\"admin\":1,\"takeover\":{},\
                     \"pid\":1,\"connections\":0,\"leaving\":false,\"mood\":\"fine\"}}\n",
                    TAKEOVER_PROTOCOL + 1
                );
                if stream.write_all(answer.as_bytes()).is_err() {
                    break;
                }
            }
        }
    });
    asked
}

#[test]
fn another_take_over_protocol_is_refused_by_name_and_nothing_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let asked = edge_of_the_future(dir.path());
    let options = EdgeOptions { version: "7.8.9".to_owned(), ..options(dir.path()) };
    let refused = Edge::start(options).unwrap_err().to_string();
    assert!(refused.contains("the running edge is hornero 99.1.0"), "{refused}");
    assert!(refused.contains("this is hornero 7.8.9"), "{refused}");
    assert!(refused.contains("hornero down"), "{refused}");
    assert_eq!(asked.load(Ordering::SeqCst), 1, "nothing but its name was asked for");
    let identity = EdgeClient::new(dir.path()).hello("7.8.9").unwrap().unwrap();
    assert_eq!(identity.greeting.version, "99.1.0", "fields that came later are ignored");
}

/// A server that answers all that it is asked; how many checks of its health, and how many other requests.
fn asked() -> (SocketAddr, [Arc<AtomicU32>; 2]) {
    let counts = [(); 2].map(|()| Arc::new(AtomicU32::new(0)));
    let [checks, others] = counts.clone();
    let address = odd(move |_, mut stream: TcpStream| {
        let (mut request, mut bytes) = (Vec::new(), [0; 4096]);
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read(&mut bytes) {
                Ok(count) if count > 0 => request.extend_from_slice(&bytes[..count]),
                _ => return,
            }
        }
        let count = if request.starts_with(b"GET /health") { &checks } else { &others };
        count.fetch_add(1, Ordering::SeqCst);
        let head = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
        let _ = stream.write_all(head.as_bytes());
    });
    (address, counts)
}

#[test]
fn an_edge_that_leaves_asks_no_releases_until_it_comes_back() {
    let (mut scene, mut first) = Scene::new(EdgeProcess::start);
    // It has something open, so that it stays beside its successor.
    let mut slow = Client::connect(scene.listener);
    slow.send("GET /slow?100000 HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.head().unwrap();
    let (two, [checks, asked]) = asked();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[scene.backend.address]), (2, &[two])];
    let mut shared = table(2, scene.listener, Some(1), &sets);
    let share = |release, weight| Share { release: ReleaseNumber(release), weight };
    shared.pools[0].traffic = vec![share(1, Share::WHOLE - 1), share(2, 1)];
    shared.pools[0].probe = Some(PoolProbe { path: "/probe".to_owned(), interval: Millis(10) });
    scene.admin.apply(&shared).unwrap();
    let read = |count: &AtomicU32| count.load(Ordering::SeqCst);
    let more = |count: &AtomicU32, what| {
        let before = read(count);
        until(what, || read(count) >= before + 20);
    };
    more(&asked, "it is asked");
    let second = EdgeProcess::start(scene.dir.path());
    until("the first has let go", || {
        let hello = EdgeClient::new(scene.dir.path()).hello("x").unwrap().unwrap();
        hello.succession.is_some()
    });
    more(&asked, "the second asks");
    // Of the two only the first goes on, and with it its checks.
    second.signal(rustix::process::Signal::STOP);
    more(&checks, "the first checks on");
    let before = read(&asked);
    more(&checks, "the first checks on");
    assert_eq!(read(&asked), before, "nobody is left to ask");
    second.signal(rustix::process::Signal::KILL);
    until("the first serves again", || scene.pid() == Some(first.id()));
    more(&asked, "the first asks again");
    assert!(!first.has_ended());
}
