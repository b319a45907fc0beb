//! Limits that a route sets for its port, changed while the edge runs.

mod support;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    time::{Duration, Instant},
};

use hornero_model::{ListenerLimits, Millis, Protocol};
use support::{
    TestEdge, address, backend,
    backend::Backend,
    client::{Client, connect_from, get},
    table_of, tcp_contract, until,
};

/// An edge of one thread, so that every connection can be seen from it.
fn edge(backend: &Backend) -> TestEdge {
    let mut edge = TestEdge::with(|options| options.threads = 1);
    edge.apply(Some(1), &[(1, &[backend.address])]);
    edge.until_healthy(1);
    edge
}

fn limit(edge: &mut TestEdge, limits: ListenerLimits) {
    let mut table = edge.admin_table();
    table.listeners[0].limits = limits;
    edge.put(table);
}

/// A connection on which a request is under way, or the status that it is refused with.
fn busy(listener: SocketAddr, source: [u8; 4]) -> Result<Client, u16> {
    let mut client = Client::of(connect_from(source.into(), listener).unwrap());
    client.send("GET /slow?400 HTTP/1.1\r\nhost: a\r\n\r\n");
    match client.head().unwrap().0 {
        200 => Ok(client),
        status => Err(status),
    }
}

fn open(edge: &mut TestEdge) -> u64 {
    edge.admin.status().unwrap().connections.unwrap().outside.open
}

#[test]
fn a_port_has_as_many_connections_as_its_route_says() {
    let backend = Backend::start("one");
    let mut edge = edge(&backend);
    let mut table = edge.admin_table();
    let other = address();
    let free = hornero_model::Listener { address: other, ..(*table.listeners[0]).clone() };
    table.listeners.push(free.into());
    table.listeners[0].limits.connections = Some(3);
    edge.put(table);
    let listener = edge.listener;
    let mut held: Vec<Client> =
        (1..=2).map(|last| busy(listener, [127, 3, 0, last]).unwrap()).collect();
    // A third one that lies idle makes room for a new one, which then holds the last place.
    let mut idle = Client::connect(listener);
    assert_eq!(idle.get("/").unwrap().status, 200);
    held.push(busy(listener, [127, 3, 0, 3]).unwrap());
    assert!(idle.is_closed());
    until("the idle one is gone", || open(&mut edge) == 3);
    assert_eq!(busy(listener, [127, 3, 0, 4]).err(), Some(503));
    assert_eq!(get(other, "/").unwrap().status, 200, "another port is another matter");
    // More are let in by the next table, those that are there stay.
    limit(&mut edge, ListenerLimits { connections: Some(4), ..ListenerLimits::default() });
    held.push(busy(listener, [127, 3, 0, 4]).unwrap());
    assert_eq!(busy(listener, [127, 3, 0, 5]).err(), Some(503));
    limit(&mut edge, ListenerLimits::default());
    held.push(busy(listener, [127, 3, 0, 5]).unwrap());
    for client in &mut held {
        assert!(client.read_until(b"one-1").is_ok());
    }
}

#[test]
fn one_source_has_as_many_as_its_route_says() {
    let backend = Backend::start("one");
    let mut edge = edge(&backend);
    let listener = edge.listener;
    let one = [127, 3, 0, 1];
    // These were not counted by source, and are not when they leave.
    let before = [busy(listener, one).unwrap(), busy(listener, one).unwrap()];
    let limits = ListenerLimits { connections_per_source: Some(2), ..ListenerLimits::default() };
    limit(&mut edge, limits);
    let mut held = vec![busy(listener, one).unwrap(), busy(listener, one).unwrap()];
    assert_eq!(busy(listener, one).err(), Some(429));
    held.push(busy(listener, [127, 3, 0, 2]).unwrap());
    drop(before);
    until("they have left", || open(&mut edge) == 3);
    assert_eq!(busy(listener, one).err(), Some(429));
    held.remove(0);
    until("it has left", || open(&mut edge) == 2);
    held.push(busy(listener, one).unwrap());
    // One that lies idle gives way to the next of its source, and to no other's.
    let mut idle = Client::of(connect_from([127, 3, 0, 2].into(), listener).unwrap());
    assert_eq!(idle.get("/").unwrap().status, 200);
    assert_eq!(busy(listener, one).err(), Some(429));
    held.push(busy(listener, [127, 3, 0, 2]).unwrap());
    assert!(idle.is_closed());
}

#[test]
fn a_port_waits_as_long_as_its_route_says() {
    let backend = Backend::start("one");
    let mut edge = edge(&backend);
    let soon = Some(Millis(300));
    limit(&mut edge, ListenerLimits { head_timeout: soon, ..ListenerLimits::default() });
    let begun = Instant::now();
    let mut slow = Client::connect(edge.listener);
    slow.send("GET / HT");
    assert_eq!(slow.answer().unwrap().status, 408);
    let mut silent = Client::connect(edge.listener);
    assert!(silent.is_closed());
    // Both by far sooner than the 10 s of the edge itself.
    assert!(begun.elapsed() < Duration::from_secs(9));
    let mut kept = Client::connect(edge.listener);
    assert_eq!(kept.get("/").unwrap().status, 200);
    limit(&mut edge, ListenerLimits { idle_timeout: soon, ..ListenerLimits::default() });
    let mut idle = Client::connect(edge.listener);
    assert_eq!(idle.get("/").unwrap().status, 200);
    assert!(idle.is_closed());
    // A client keeps what held when it came.
    assert_eq!(kept.get("/").unwrap().status, 200);
    let curl = std::process::Command::new("curl")
        .args(["-s", "--http2-prior-knowledge", "-w", "%{http_version}"])
        .arg(format!("http://{}/", edge.listener))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(curl.stdout).unwrap(), "one2");
}

#[test]
fn tcp_is_silent_for_as_long_as_its_route_says() {
    let server = backend::odd(|_, mut stream| {
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let _ = stream.write_all(&bytes[..count]);
        }
    });
    let mut edge = TestEdge::start();
    let mut table =
        table_of(1, edge.listener, Protocol::Tcp, Some(1), &[(1, &[server])], tcp_contract);
    table.listeners[0].limits.idle_timeout = Some(Millis(300));
    edge.put(table);
    edge.until_healthy(1);
    let mut client = Client::connect(edge.listener);
    client.send("a");
    assert_eq!(client.read_exact(1).unwrap(), b"a");
    assert!(client.is_closed());
}
