//! The edge's own life: start from disk, death, drain, and a successor under load.

mod support;

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hornero_edge::{Edge, EdgeClient, EdgeClientError, RefusalCode};
use hornero_model::{ReleaseNumber, Term};
use support::{
    TestEdge, address,
    backend::Backend,
    client::{Client, get},
    counters, options,
    process::EdgeProcess,
    service, table, until,
};

/// Not a test by itself: the process that `EdgeProcess` starts.
#[test]
fn child_process() {
    support::process::become_edge();
}

#[test]
fn serves_its_last_good_table_after_a_kill() {
    let backend = Backend::start("one");
    let dir = tempfile::tempdir().unwrap();
    let listener = address();
    let first = EdgeProcess::start(dir.path());
    let mut admin = EdgeClient::new(dir.path());
    admin.apply(&table(7, listener, Some(1), &[(1, &[backend.address])])).unwrap();
    until("it serves", || get(listener, "/").is_ok_and(|answer| answer.status == 200));
    // Dropped by SIGKILL, with its socket left behind.
    drop(first);
    let _second = EdgeProcess::start(dir.path());
    assert_eq!(get(listener, "/").unwrap().text(), "one", "held until the first check");
    assert_eq!(admin.status().unwrap().generation, 7);
}

#[test]
fn an_older_control_is_refused_also_after_a_kill_and_by_a_successor() {
    let backend = Backend::start("one");
    let dir = tempfile::tempdir().unwrap();
    let listener = address();
    let next = |generation| table(generation, listener, Some(1), &[(1, &[backend.address])]);
    let of_term = |term| EdgeClient::of_term(dir.path(), Term(term));
    let refuses = || {
        for older in [0, 3] {
            let mut older = of_term(older);
            let asked = [
                older.obey().err(),
                older.apply(&next(9)).err(),
                older.prepare(&next(9)).err(),
                older.commit(&next(9)).err(),
                older.cut(&service(), ReleaseNumber(1)).err(),
                older.stop().err(),
            ];
            for refused in asked {
                let Some(EdgeClientError::Refused { code, message }) = refused else {
                    panic!("{refused:?}")
                };
                assert_eq!(code, RefusalCode::TermOver);
                assert!(message.contains("taken over with term 4"), "{message}");
            }
        }
        let status = of_term(0).status().unwrap();
        assert_eq!((status.term, status.generation), (Term(4), 1));
    };
    let first = EdgeProcess::start(dir.path());
    of_term(3).apply(&next(1)).unwrap();
    of_term(4).obey().unwrap();
    refuses();
    drop(first);
    let mut second = EdgeProcess::start(dir.path());
    refuses();
    let mut third = EdgeProcess::start(dir.path());
    until("the predecessor has ended", || second.has_ended());
    refuses();
    of_term(4).apply(&next(2)).unwrap();
    assert_eq!(get(listener, "/").unwrap().status, 200);
    of_term(4).stop().unwrap();
    until("it has ended", || third.has_ended());
}

#[test]
fn a_port_that_was_taken_at_boot_holds_up_no_other_change() {
    let backend = Backend::start("one");
    let taken = [(); 2].map(|()| std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let [at_start, later] = [0, 1].map(|index: usize| taken[index].local_addr().unwrap());
    let free = address();
    let both = |generation, backends: &[SocketAddr]| {
        let mut both = table(generation, free, Some(1), &[(1, backends)]);
        let mut other = both.listeners[0].clone();
        other.address = at_start;
        both.listeners.push(other);
        both
    };
    let dir = tempfile::tempdir().unwrap();
    let stored = serde_json::json!({ "format": 1, "table": both(7, &[]) });
    fs::write(dir.path().join("routes.json"), stored.to_string()).unwrap();
    let edge = Edge::start(options(dir.path())).unwrap();
    let mut admin = EdgeClient::new(dir.path());
    assert_eq!(admin.status().unwrap().generation, 7);
    admin.apply(&both(8, &[backend.address])).unwrap();
    until("it serves", || get(free, "/").is_ok_and(|answer| answer.status == 200));
    // Nor does one that was never in force: the status tells of each.
    let mut more = both(9, &[backend.address]);
    let second = (*more.listeners[1]).clone();
    more.listeners.push(hornero_model::Listener { address: later, ..second }.into());
    admin.apply(&more).unwrap();
    let told: Vec<SocketAddr> =
        admin.status().unwrap().faults.iter().map(|fault| fault.address).collect();
    assert_eq!(told, [at_start, later]);
    // The edge is asked, not the port: while another test forks, its child holds a copy of the sockets in `taken`,
    // which takes connections and resets them when the child's program starts.
    drop(taken);
    until("the ports are had", || admin.status().unwrap().faults.is_empty());
    for port in [at_start, later] {
        assert_eq!(get(port, "/").unwrap().status, 200);
    }
    edge.stop().unwrap();
}

#[test]
fn starts_empty_from_a_broken_file() {
    for text in
        ["", "{", "{\"format\":1,\"table\":{\"generation\":-1}}", "{\"format\":9,\"table\":{}}"]
    {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("routes.json"), text).unwrap();
        let edge = Edge::start(options(dir.path())).unwrap();
        let mut admin = EdgeClient::new(dir.path());
        assert_eq!(admin.status().unwrap().generation, 0, "{text}");
        assert_eq!(fs::read_to_string(dir.path().join("routes.json.bad")).unwrap(), text);
        edge.stop().unwrap();
    }
}

#[test]
fn the_admin_socket_is_its_owners_and_bears_nonsense() {
    use std::{io::Write, os::unix::fs::PermissionsExt};
    let mut edge = TestEdge::start();
    let path = hornero_edge::admin_socket(edge.dir.path());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(edge.dir.path()).unwrap().permissions().mode() & 0o777, 0o700);
    for nonsense in ["\n", "{}\n", "[1]\n", "{\"op\":\"release\"}\n", "no line"] {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.write_all(nonsense.as_bytes()).unwrap();
    }
    assert_eq!(edge.admin.status().unwrap().generation, 0);
}

#[test]
fn drains_on_sigterm() {
    let backend = Backend::start("one");
    let dir = tempfile::tempdir().unwrap();
    let listener = address();
    let mut process = EdgeProcess::start(dir.path());
    let mut admin = EdgeClient::new(dir.path());
    admin.apply(&table(1, listener, Some(1), &[(1, &[backend.address])])).unwrap();
    let mut slow = Client::connect(listener);
    slow.send("GET /slow?10 HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.head().unwrap();
    let mut kept = Client::connect(listener);
    kept.get("/").unwrap();
    process.signal(rustix::process::Signal::TERM);
    until("it accepts nothing more", || std::net::TcpStream::connect(listener).is_err());
    let answer = kept.get("/").unwrap();
    assert_eq!((answer.status, answer.header("connection")), (200, Some("close")));
    let rest = String::from_utf8(slow.read_until(b"0\r\n\r\n").unwrap()).unwrap();
    assert!(rest.contains("one-9;"), "{rest}");
    until("it has ended", || process.has_ended());
}

#[test]
fn draining_ends_when_its_time_is_up() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::with(|options| {
        options.limits.drain_timeout = Duration::from_millis(200);
    });
    edge.apply(Some(1), &[(1, &[backend.address])]);
    let mut slow = Client::connect(edge.listener);
    slow.send("GET /slow?10000 HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.head().unwrap();
    edge.edge.take().unwrap().stop().unwrap();
    assert!(slow.read_until(b"0\r\n\r\n").is_err());
}

#[test]
fn a_successor_takes_over_under_load_without_a_refused_connection() {
    let backends = [Backend::start("one"), Backend::start("two")];
    let dir = tempfile::tempdir().unwrap();
    let listener = address();
    let mut process = EdgeProcess::start(dir.path());
    let mut admin = EdgeClient::new(dir.path());
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[backends[0].address])];
    admin.apply(&table(1, listener, Some(1), &sets)).unwrap();
    get(listener, "/").unwrap();

    let stop = Arc::new(AtomicBool::new(false));
    let load: Vec<_> = (0..4)
        .map(|number| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let (mut answers, mut kept) = (0_u32, Client::connect(listener));
                while !stop.load(Ordering::Relaxed) {
                    if number % 2 == 1 {
                        kept = Client::connect(listener);
                    }
                    let answer = kept.get("/").unwrap();
                    assert_eq!(answer.status, 200);
                    if answer.header("connection") == Some("close") {
                        kept = Client::connect(listener);
                    }
                    answers += 1;
                }
                answers
            })
        })
        .collect();
    for _ in 0..5 {
        let successor = EdgeProcess::start(dir.path());
        until("the predecessor has ended", || process.has_ended());
        process = successor;
    }
    stop.store(true, Ordering::Relaxed);
    let answers: u32 = load.into_iter().map(|thread| thread.join().unwrap()).sum();
    assert!(answers > 100, "{answers}");
    let mut last = (0, 0, 0, 0);
    until("the counters of all six are summed", || {
        last = counters(&admin.status().unwrap(), 1);
        last == (u64::from(answers) + 1, 0, 0, 0)
    });
    assert_eq!(admin.status().unwrap().generation, 1);
}

#[test]
fn what_a_predecessor_has_in_flight_is_still_governed() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let dir = tempfile::tempdir().unwrap();
    let listener = address();
    let mut first = EdgeProcess::start(dir.path());
    let mut admin = EdgeClient::new(dir.path());
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (2, &[two.address])];
    admin.apply(&table(1, listener, Some(1), &sets)).unwrap();
    let mut slow = Client::connect(listener);
    slow.send("GET /slow?100000 HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.head().unwrap();
    let mut kept = Client::connect(listener);
    assert_eq!(kept.get("/").unwrap().text(), "one");

    let _second = EdgeProcess::start(dir.path());
    until("its request in flight is known", || counters(&admin.status().unwrap(), 1).1 == 1);
    admin.apply(&table(2, listener, Some(2), &sets)).unwrap();
    let answer = kept.get("/").unwrap();
    assert_eq!(answer.text(), "two", "a kept-alive connection of the old process follows");
    assert_eq!(answer.header("connection"), Some("close"));
    let site = support::service();
    assert_eq!(admin.cut(&site, hornero_model::ReleaseNumber(1)).unwrap(), 1);
    assert!(slow.read_until(b"0\r\n\r\n").is_err());
    until("the old process has ended", || first.has_ended());
    until("the cut one counts as failed", || counters(&admin.status().unwrap(), 1) == (2, 0, 1, 0));
}
