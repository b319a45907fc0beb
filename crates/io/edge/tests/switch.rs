//! Switches between releases, health, holding and cutting off.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

mod support;

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hornero_edge::{EdgeClientError, RefusalCode};
use hornero_model::{Health, Millis, ReleaseNumber};
use support::{
    TestEdge, address,
    backend::{Backend, odd_at},
    client::{Client, get},
    counters, service, table, until,
};

#[test]
fn every_request_after_the_answer_goes_to_the_new_set() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (2, &[two.address])];
    edge.apply(Some(1), &sets);
    edge.until_healthy(2);
    let mut kept: Vec<Client> = (0..8).map(|_| Client::connect(edge.listener)).collect();
    for turn in 0..20 {
        let (active, name) = if turn % 2 == 0 { (2, "two") } else { (1, "one") };
        let applied = edge.apply(Some(active), &sets);
        assert!(applied.switch_ms > 0.0 && applied.switch_ms < 1000.0);
        for client in &mut kept {
            assert_eq!(client.get("/").unwrap().text(), name, "kept alive, turn {turn}");
        }
        assert_eq!(get(edge.listener, "/").unwrap().text(), name, "new, turn {turn}");
    }
}

#[test]
fn what_is_in_flight_ends_where_it_began() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (2, &[two.address])];
    edge.apply(Some(1), &sets);
    edge.until_healthy(2);
    let mut slow = Client::connect(edge.listener);
    slow.send("GET /slow?10 HTTP/1.1\r\nhost: a\r\n\r\n");
    slow.head().unwrap();
    let mut socket = Client::connect(edge.listener);
    socket.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
    assert_eq!(socket.head().unwrap().0, 101);

    edge.apply(Some(2), &sets);
    assert_eq!(get(edge.listener, "/").unwrap().text(), "two");
    socket.send("still here");
    assert_eq!(socket.read_exact(10).unwrap(), b"still here");
    let rest = String::from_utf8(slow.read_until(b"0\r\n\r\n").unwrap()).unwrap();
    assert!(rest.contains("one-9;"), "{rest}");
    let status = edge.until_status("only the socket is left", |status| counters(status, 1).1 == 1);
    drop(socket);
    let ended = edge.until_status("the old set is empty", |status| counters(status, 1).1 == 0);
    assert!(ended.version > status.version, "the end of the last request is news");
    assert_eq!(counters(&ended, 1), (2, 0, 0, 0));
}

/// Requests without end on `listener` until told to stop; counts answers and failures.
struct Load {
    stop: Arc<AtomicBool>,
    answers: Arc<AtomicU64>,
    failures: Arc<AtomicU64>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Load {
    fn start(listener: SocketAddr, threads: usize) -> Self {
        let load = Self {
            stop: Arc::default(),
            answers: Arc::default(),
            failures: Arc::default(),
            threads: Vec::new(),
        };
        let workers = (0..threads).map(|number| {
            let (stop, answers, failures) =
                (load.stop.clone(), load.answers.clone(), load.failures.clone());
            std::thread::spawn(move || {
                let mut kept = Client::connect(listener);
                while !stop.load(Ordering::Relaxed) {
                    // Half on one connection, half each on its own.
                    let answer = if number % 2 == 0 { kept.get("/") } else { get(listener, "/") };
                    let good = answer.is_ok_and(|answer| answer.status == 200);
                    let counter = if good { &answers } else { &failures };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        Self { threads: workers.collect(), ..load }
    }

    fn stop(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().unwrap();
        }
        (self.answers.load(Ordering::Relaxed), self.failures.load(Ordering::Relaxed))
    }
}

#[test]
fn a_hundred_switches_under_load_fail_nothing() {
    let mut sets: [Vec<Backend>; 2] = [Vec::new(), Vec::new()];
    let mut edge = TestEdge::start();
    sets[0] = (0..2).map(|_| Backend::start("old")).collect();
    let mut release = 1;
    let addresses: Vec<SocketAddr> = sets[0].iter().map(|backend| backend.address).collect();
    edge.apply(Some(1), &[(1, &addresses)]);
    edge.until_healthy(2);
    let load = Load::start(edge.listener, 4);
    let mut old = (1, addresses);
    for turn in 0..100 {
        release += 1;
        // Every fifth switch goes to servers that were started just now; the others swing back and forth.
        let fresh: Vec<Backend> = (0..2).map(|_| Backend::start("new")).collect();
        let addresses: Vec<SocketAddr> = fresh.iter().map(|backend| backend.address).collect();
        edge.apply(Some(old.0), &[(old.0, &old.1), (release, &addresses)]);
        edge.until_healthy(4);
        edge.apply(Some(release), &[(old.0, &old.1), (release, &addresses)]);
        edge.until_status("the old set is drained", |status| counters(status, old.0).1 == 0);
        edge.apply(Some(release), &[(release, &addresses)]);
        // The old servers end for good.
        sets[turn % 2] = fresh;
        sets[(turn + 1) % 2].clear();
        old = (release, addresses);
    }
    let (answers, failures) = load.stop();
    assert_eq!(failures, 0, "of {answers}");
    assert!(answers > 100, "{answers}");
    let status = edge.admin.status().unwrap();
    assert!(status.counters.iter().all(|counter| counter.failed == 0), "{status:?}");
}

#[test]
fn no_request_reaches_a_server_that_has_not_passed_its_check() {
    let backend = Backend::start("one");
    backend.set_healthy(false);
    let mut edge = TestEdge::with(|options| options.limits.hold = Duration::from_millis(100));
    edge.apply(Some(1), &[(1, &[backend.address])]);
    for _ in 0..5 {
        assert_eq!(get(edge.listener, "/").unwrap().status, 503);
    }
    assert_eq!(backend.requests(), 0);
    until("an edge without healthy servers failed them", || edge.counters(1) == (5, 0, 5, 0));
    backend.set_healthy(true);
    edge.until_healthy(1);
    assert_eq!(get(edge.listener, "/").unwrap().status, 200);
    edge.apply(None, &[(1, &[backend.address])]);
    assert_eq!(get(edge.listener, "/").unwrap().status, 503, "no release is active");
}

#[test]
fn holds_requests_until_a_server_is_healthy() {
    let backend = Backend::start("one");
    backend.set_healthy(false);
    let mut edge = TestEdge::with(|options| options.limits.hold = Duration::from_secs(10));
    edge.apply(Some(1), &[(1, &[backend.address])]);
    let listener = edge.listener;
    let waiting: Vec<_> =
        (0..4).map(|_| std::thread::spawn(move || get(listener, "/").unwrap().status)).collect();
    let mut never = Client::connect(listener);
    never.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    backend.set_healthy(true);
    for request in waiting {
        assert_eq!(request.join().unwrap(), 200);
    }
    assert_eq!(never.answer().unwrap().status, 200);
    assert_eq!(edge.counters(1).2, 0);
}

#[test]
fn a_held_request_goes_to_the_set_that_is_active_when_it_is_sent() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    one.set_healthy(false);
    let mut edge = TestEdge::with(|options| options.limits.hold = Duration::from_secs(10));
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (2, &[two.address])];
    edge.apply(Some(1), &sets);
    edge.until_healthy(1);
    let mut held = Client::connect(edge.listener);
    held.send("GET / HTTP/1.1\r\nhost: a\r\n\r\n");
    edge.apply(Some(2), &sets);
    assert_eq!(held.answer().unwrap().text(), "two");
    assert_eq!(one.requests(), 0);
}

#[test]
fn a_new_server_is_found_at_once() {
    let place = address();
    let mut edge = TestEdge::start();
    edge.apply(Some(1), &[(1, &[place])]);
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    let _backend = Backend::start_at(place, "late");
    edge.until_healthy(1);
    // The pause between checks has grown to the contract's 20 ms at most.
    assert!(started.elapsed() < Duration::from_millis(500), "{:?}", started.elapsed());
}

#[test]
fn health_follows_the_contract() {
    let (good, bad) = (Backend::start("good"), Backend::start("bad"));
    let mut edge = TestEdge::before(&[good.address, bad.address]);
    bad.set_healthy(false);
    let status = edge.until_status("one is unhealthy", |status| {
        status.backends.iter().any(|backend| backend.health == Health::Unhealthy)
    });
    let unhealthy = status.backends.iter().find(|backend| backend.health == Health::Unhealthy);
    assert_eq!(unhealthy.unwrap().last_error.as_deref(), Some("answered 503, expected 200"));
    for _ in 0..10 {
        assert_eq!(get(edge.listener, "/").unwrap().text(), "good");
    }
    bad.set_healthy(true);
    edge.until_healthy(2);
}

#[test]
fn a_server_that_passes_every_other_check_never_gets_traffic() {
    let passes = Arc::new(AtomicU64::new(0));
    let place = address();
    odd_at(place, {
        let passes = passes.clone();
        move |_, mut stream| {
            let mut bytes = [0; 4096];
            while stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                let status = match passes.fetch_add(1, Ordering::SeqCst) % 2 {
                    0 => "200 OK",
                    _ => "503 Service Unavailable",
                };
                let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\n\r\n");
                if stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
            }
        }
    });
    let mut edge = TestEdge::with(|options| options.limits.hold = Duration::from_millis(10));
    let mut table = table(0, edge.listener, Some(1), &[(1, &[place])]);
    let with = |healthy_after, table: &mut hornero_model::RouteTable| {
        let contract = table.pools[0].backends[0].health.as_mut().unwrap();
        (contract.healthy_after, contract.interval) = (healthy_after, Millis(10));
    };
    with(2, &mut table);
    edge.put(table.clone());
    until("it was asked often", || passes.load(Ordering::SeqCst) > 40);
    let status = edge.admin.status().unwrap();
    assert_eq!(status.backends[0].health, Health::Unknown, "{status:?}");
    assert_eq!(get(edge.listener, "/").unwrap().status, 503);
    edge.until_status("a pass is told", |status| {
        status.backends[0].last_error.as_deref() == Some("passed 1 of 2 in a row")
    });
    // With one pass it is taken, as it is where nothing is said.
    with(1, &mut table);
    edge.put(table);
    edge.until_healthy(1);
}

#[test]
fn a_server_that_died_costs_no_request() {
    let (stays, dies) = (Backend::start("stays"), Backend::start("dies"));
    let mut table = table(0, address(), Some(1), &[(1, &[stays.address, dies.address])]);
    for backend in &mut table.pools[0].backends {
        // So slow that only the requests themselves can find out.
        backend.health.as_mut().unwrap().interval = Millis(600_000);
    }
    let mut edge = TestEdge::start();
    let listener = table.listeners[0].address;
    edge.put(table);
    edge.until_healthy(2);
    let mut kept = Client::connect(listener);
    for _ in 0..4 {
        assert_eq!(kept.get("/").unwrap().status, 200);
    }
    drop(dies);
    for _ in 0..20 {
        assert_eq!(kept.get("/").unwrap().text(), "stays");
        assert_eq!(get(listener, "/").unwrap().text(), "stays");
    }
    edge.until_status("the refusal had it checked", |status| {
        status.backends.iter().any(|backend| backend.health == Health::Unhealthy)
    });
    assert_eq!(edge.counters(1).2, 0);
}

#[test]
fn a_server_that_hangs_up_costs_a_request_only_when_it_is_the_last() {
    let (place, good) = (address(), Backend::start("good"));
    odd_at(place, |_, stream| drop(stream));
    let mut edge = TestEdge::with(|options| options.limits.hold = Duration::from_millis(50));
    let mut both = table(0, edge.listener, Some(1), &[(1, &[place, good.address])]);
    both.pools[0].backends[0].health = Some(support::tcp_contract(place.port()));
    let mut alone = both.clone();
    alone.pools[0].backends.pop();
    edge.put(both);
    edge.until_healthy(2);
    for _ in 0..10 {
        assert_eq!(get(edge.listener, "/").unwrap().text(), "good");
    }
    until("none failed", || edge.counters(1) == (10, 0, 0, 0));
    edge.put(alone);
    assert_eq!(get(edge.listener, "/").unwrap().status, 502);
    until("it counts as failed", || edge.counters(1) == (11, 0, 1, 0));
}

#[test]
fn connections_to_servers_that_left_the_table_are_closed() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = TestEdge::before(&[one.address]);
    for _ in 0..4 {
        get(edge.listener, "/").unwrap();
    }
    assert!(one.connections.load(Ordering::SeqCst) > 0);
    edge.apply(Some(2), &[(2, &[two.address])]);
    until("the connections are closed", || one.connections.load(Ordering::SeqCst) == 0);
}

#[test]
fn connections_to_servers_are_kept_for_as_long_as_is_said() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let mut table = edge.admin_table();
    table.pools[0].idle_timeout = Some(Millis(3_600_000));
    edge.put(table.clone());
    let open = || backend.connections.load(Ordering::SeqCst);
    get(edge.listener, "/").unwrap();
    // One that is younger and has the default of 4 s tells when that time is over.
    let usual = Backend::start("usual");
    let beside = TestEdge::before(&[usual.address]);
    get(beside.listener, "/").unwrap();
    until("the default closes one", || usual.connections.load(Ordering::SeqCst) == 0);
    assert!(open() > 0, "4 s are the default");
    table.pools[0].idle_timeout = Some(Millis(300));
    edge.put(table);
    until("they are closed, without a request", || open() == 0);
    assert_eq!(get(edge.listener, "/").unwrap().status, 200);
}

#[test]
fn a_thousand_hosts_are_told_apart() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = TestEdge::before(&[one.address]);
    let mut all = table(0, edge.listener, Some(1), &[(1, &[one.address])]);
    let mut other = table(0, edge.listener, Some(1), &[(1, &[two.address])]).pools.remove(0);
    other.name.service = hornero_model::ServiceName::new("other").unwrap();
    all.listeners[0].rules = (0..1000)
        .map(|number| hornero_model::RouteRule {
            host: Some(format!("h{number}.test")),
            ..hornero_model::RouteRule::new(match number % 2 {
                0 => all.pools[0].name.clone(),
                _ => other.name.clone(),
            })
        })
        .collect();
    all.pools.push(other);
    edge.put(all);
    edge.until_healthy(2);
    let mut client = Client::connect(edge.listener);
    for (host, said) in
        [("h0.test", "one"), ("h999.test", "two"), ("H500.Test", "one"), ("h501.test:80", "two")]
    {
        client.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        assert_eq!(client.answer().unwrap().text(), said, "{host}");
    }
    for host in ["h1000.test", "h.test", "zzz", "", "h5000.test"] {
        client.send(format!("GET / HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        assert_eq!(client.answer().unwrap().status, 404, "{host}");
    }
}

#[test]
fn cutting_off_ends_what_is_in_flight_and_counts_it() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let mut clients: Vec<Client> = (0..3).map(|_| Client::connect(edge.listener)).collect();
    for client in &mut clients {
        client.send("GET /slow?1000 HTTP/1.1\r\nhost: a\r\n\r\n");
        client.head().unwrap();
    }
    let mut idle = Client::connect(edge.listener);
    idle.get("/").unwrap();
    assert_eq!(edge.admin.cut(&service(), ReleaseNumber(2)).unwrap(), 0);
    // An order from before another table came into force is refused, and cuts off nothing.
    let current = edge.admin.status().unwrap().generation;
    let late = edge.admin.cut_under(&service(), ReleaseNumber(1), current - 1).unwrap_err();
    let EdgeClientError::Refused { code, .. } = late else { panic!("{late}") };
    assert_eq!(code, RefusalCode::StaleGeneration);
    assert_eq!(edge.counters(1).1, 3);
    assert_eq!(edge.admin.cut_under(&service(), ReleaseNumber(1), current).unwrap(), 3);
    for client in &mut clients {
        assert!(client.read_until(b"0\r\n\r\n").is_err());
    }
    until("nothing is in flight", || edge.counters(1) == (4, 0, 3, 0));
    assert_eq!(idle.get("/").unwrap().status, 200, "an idle connection is not in flight");
}

#[test]
fn only_a_newer_table_is_taken_and_only_whole() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::start();
    let first = table(5, edge.listener, Some(1), &[(1, &[backend.address])]);
    edge.admin.apply(&first).unwrap();
    let again = edge.admin.apply(&first).unwrap();
    assert_eq!((again.generation, again.switch_ms), (5, 0.0), "repeating is safe");
    for generation in [4, 5] {
        let other = table(generation, edge.listener, None, &[]);
        let refused = edge.admin.apply(&other).unwrap_err();
        let EdgeClientError::Refused { code, message } = refused else { panic!("{refused}") };
        assert_eq!(code, RefusalCode::StaleGeneration);
        assert!(message.contains("5 in force"), "{message}");
    }
    let mut broken = table(6, edge.listener, Some(1), &[(1, &[backend.address])]);
    let first = broken.listeners[0].clone();
    broken.listeners.push(first);
    let refused = edge.admin.apply(&broken).unwrap_err();
    assert!(refused.to_string().contains("two listeners on"), "{refused}");

    let taken = TcpListener::bind(address()).unwrap();
    let free = address();
    let mut clash = table(7, free, Some(1), &[(1, &[backend.address])]);
    let first = (*clash.listeners[0]).clone();
    let address = taken.local_addr().unwrap();
    clash.listeners.push(hornero_model::Listener { address, ..first }.into());
    edge.admin.apply(&clash).unwrap();
    let status = edge.admin.status().unwrap();
    assert_eq!(status.generation, 7);
    let [fault] = status.faults.as_slice() else { panic!("{:?}", status.faults) };
    assert_eq!(fault.address, taken.local_addr().unwrap());
    assert!(fault.reason.contains("can't listen on"), "{}", fault.reason);
    assert_eq!(get(free, "/").unwrap().status, 200, "the others serve");
    drop(taken);
    edge.until_status("what was taken serves by itself", |status| status.faults.is_empty());
}

#[test]
fn several_edges_prepare_a_table_before_any_of_them_serves_it() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (2, &[two.address])];
    let mut edges = [TestEdge::start(), TestEdge::start()];
    for edge in &mut edges {
        edge.apply(Some(1), &sets);
        edge.until_healthy(2);
    }
    let next = |edge: &TestEdge, generation| table(generation, edge.listener, Some(2), &sets);
    let answers = |edge: &TestEdge| get(edge.listener, "/").unwrap().text();
    for edge in &mut edges {
        let table = next(edge, 2);
        assert_eq!(edge.admin.prepare(&table).unwrap(), 2);
        assert_eq!(edge.admin.prepare(&table).unwrap(), 2, "repeating is safe");
    }
    for edge in &mut edges {
        assert_eq!(edge.admin.status().unwrap().generation, 1);
        assert_eq!(answers(edge), "one", "what is prepared is not served");
    }
    for edge in &mut edges {
        let table = next(edge, 2);
        assert_eq!(edge.admin.commit(&table).unwrap().generation, 2);
        assert_eq!(answers(edge), "two");
        let again = edge.admin.commit(&table).unwrap();
        assert_eq!((again.generation, again.switch_ms), (2, 0.0), "repeating is safe");
    }
}

#[test]
fn what_is_prepared_is_refused_as_what_is_applied_and_goes_with_the_table_before_it() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let next = |edge: &TestEdge, generation| {
        table(generation, edge.listener, None, &[(1, &[backend.address])])
    };
    let mut broken = next(&edge, 2);
    let first = broken.listeners[0].clone();
    broken.listeners.push(first);
    let older = next(&edge, 1);
    for (table, expected) in
        [(&broken, RefusalCode::InvalidTable), (&older, RefusalCode::StaleGeneration)]
    {
        let refused = edge.admin.prepare(table).unwrap_err();
        let EdgeClientError::Refused { code, .. } = refused else { panic!("{refused}") };
        assert_eq!(code, expected);
    }
    assert_eq!(get(edge.listener, "/").unwrap().status, 200, "all is as it was");
    // Another table came in between: what was prepared beside the one before is not ready any more, and is taken as it is.
    let late = next(&edge, 3);
    edge.admin.prepare(&late).unwrap();
    edge.apply(Some(1), &[(1, &[backend.address])]);
    assert_eq!(edge.admin.commit(&late).unwrap().generation, 3);
    assert_eq!(get(edge.listener, "/").unwrap().status, 503);
    // So is one that an edge has lost because it was started again.
    let lost = table(4, edge.listener, Some(1), &[(1, &[backend.address])]);
    assert_eq!(edge.admin.commit(&lost).unwrap().generation, 4);
    assert_eq!(get(edge.listener, "/").unwrap().text(), "one");
}

#[test]
fn listeners_come_and_go_with_the_table() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let (first, second) = (edge.listener, address());
    edge.listener = second;
    edge.apply(Some(1), &[(1, &[backend.address])]);
    assert_eq!(get(second, "/").unwrap().status, 200);
    until("the first is closed", || std::net::TcpStream::connect(first).is_err());
    edge.listener = first;
    edge.apply(Some(1), &[(1, &[backend.address])]);
    assert_eq!(get(first, "/").unwrap().status, 200);
}

#[test]
fn rules_go_by_host_then_by_the_longest_path() {
    let names = ["plain", "api", "host", "host-api", "below", "far-below"];
    let backends: Vec<Backend> = names.iter().map(|name| Backend::start(name)).collect();
    let mut edge = TestEdge::start();
    let mut all = table(0, edge.listener, None, &[]);
    all.pools.clear();
    all.listeners[0].rules.clear();
    let conditions = [
        (None, None),
        (None, Some("/api")),
        (Some("a.test"), None),
        (Some("a.test"), Some("/api")),
        (Some("*.test"), None),
        (Some("*.a.test"), None),
    ];
    for (index, (host, prefix)) in conditions.iter().enumerate() {
        let mut one = table(0, edge.listener, Some(1), &[(1, &[backends[index].address])]);
        let mut pool = one.pools.remove(0);
        pool.name.service = hornero_model::ServiceName::new(names[index]).unwrap();
        all.listeners[0].rules.push(hornero_model::RouteRule {
            host: host.map(str::to_owned),
            path_prefix: prefix.map(str::to_owned),
            ..hornero_model::RouteRule::new(pool.name.clone())
        });
        all.pools.push(pool);
    }
    edge.put(all);
    edge.until_healthy(6);
    let mut client = Client::connect(edge.listener);
    for (host, path, name) in [
        ("b", "/", "plain"),
        ("b", "/api", "api"),
        ("b", "/api/x", "api"),
        ("b", "/api?x", "api"),
        ("b", "/apix", "plain"),
        ("b", "/api/../id", "plain"),
        ("b", "/api/%2e%2e/id", "plain"),
        ("b", "/id/../api/x", "api"),
        ("b", "/%61pi", "api"),
        ("b", "/x?/../api", "plain"),
        ("test", "/", "plain"),
        (".test", "/", "plain"),
        ("b.test", "/", "below"),
        ("c.b.TEST", "/api", "below"),
        ("b.a.test", "/", "far-below"),
        ("a.test", "/", "host"),
        ("A.Test:8080", "/api/", "host-api"),
        ("a.test.", "/x", "host"),
        ("b", "//api///x", "api"),
        ("b", "/x;y=/api", "plain"),
        ("b", "/api/a%2Fb;v=1", "api"),
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        assert_eq!(client.answer().unwrap().text(), name, "{host}{path}");
    }
    // Each leads past a rule where one server or another stands behind it.
    for path in [
        "/api//../id",
        "/a//../api",
        "/api%2fx",
        "/api/..%2Fid",
        "/api/..;/id",
        "/;/api/x",
        "/api/..\\id",
    ] {
        client.send(format!("GET {path} HTTP/1.1\r\nhost: b\r\n\r\n"));
        assert_eq!(client.answer().unwrap().status, 400, "{path}");
    }
}
