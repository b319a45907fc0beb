//! Headers from proxies in front.

use std::{
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use hornero_model::Protocol;

use crate::{
    LOCAL, expect_headers,
    support::{
        TestEdge, address, backend,
        backend::Backend,
        client::{Client, connect_from},
        table_of, tcp_contract, tls, until,
    },
    v2,
};

const REQUEST: &[u8] = b"GET /head HTTP/1.1\r\nhost: a\r\n\r\n";

/// An edge that takes headers of 127.0.0.1.
fn edge(backend: &Backend) -> TestEdge {
    let mut edge = TestEdge::before(&[backend.address]);
    expect_headers(&mut edge, &["127.0.0.1"], None);
    edge
}

fn bad_headers(edge: &mut TestEdge) -> u64 {
    edge.admin.status().unwrap().connections.unwrap().outside.bad_proxy_headers
}

/// Whether the edge ends a connection without a byte.
fn is_refused(stream: &mut TcpStream) -> bool {
    match stream.read(&mut [0]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

#[test]
fn servers_learn_whom_the_proxy_speaks_for() {
    let backend = Backend::start("one");
    let edge = edge(&backend);
    for (header, client) in [
        (b"PROXY TCP4 203.0.113.7 198.51.100.1 4000 443\r\n".to_vec(), "203.0.113.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4000 443\r\n".to_vec(), "2001:db8::7"),
        (v2("203.0.113.8:4000", "198.51.100.1:443"), "203.0.113.8"),
        // Those of nobody: the connection is the proxy's own.
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (LOCAL.to_vec(), "127.0.0.1"),
    ] {
        let mut client_of_edge = Client::connect(edge.listener);
        client_of_edge.send([&header[..], REQUEST].concat());
        let seen = client_of_edge.answer().unwrap().text();
        assert!(seen.contains(&format!("x-forwarded-for: {client}\n")), "{seen}");
        // The header is the connection's, not the request's.
        let again = client_of_edge.get("/head").unwrap().text();
        assert!(again.contains(&format!("x-forwarded-for: {client}\n")), "{again}");
    }
    // What the client says of itself counts as little as ever.
    let mut client = Client::connect(edge.listener);
    client.send(b"PROXY TCP4 203.0.113.7 198.51.100.1 4000 443\r\n");
    client.send("GET /head HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\n\r\n");
    let seen = client.answer().unwrap().text();
    assert!(seen.contains("x-forwarded-for: 203.0.113.7\n"), "{seen}");
    // But that of the proxy itself, where it speaks for itself.
    let mut client = Client::connect(edge.listener);
    client.send(LOCAL);
    client.send("GET /head HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 192.0.2.1\r\n\r\n");
    let seen = client.answer().unwrap().text();
    assert!(seen.contains("x-forwarded-for: 192.0.2.1, 127.0.0.1\n"), "{seen}");
}

#[test]
fn a_header_may_come_byte_by_byte() {
    let backend = Backend::start("one");
    let edge = edge(&backend);
    for header in [
        b"PROXY TCP4 203.0.113.7 198.51.100.1 4000 443\r\n".to_vec(),
        v2("203.0.113.7:4000", "198.51.100.1:443"),
    ] {
        let mut client = Client::connect(edge.listener);
        for byte in [&header[..], REQUEST].concat() {
            client.send([byte]);
            std::thread::yield_now();
        }
        let seen = client.answer().unwrap().text();
        assert!(seen.contains("x-forwarded-for: 203.0.113.7\n"), "{seen}");
    }
}

#[test]
fn a_trusted_proxy_without_a_header_is_refused() {
    let backend = Backend::start("one");
    let mut edge = edge(&backend);
    let long = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff"[..], &[0; 64]].concat();
    for (count, bad) in [
        REQUEST,
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\0\x01\0",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 4000 443\nGET / HTTP/1.1\r\n\r\n",
        b"PROXY TCP4 203.0.113.7 198.51.100.1 4000\r\nGET / HTTP/1.1\r\n\r\n",
        b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0",
        &long,
    ]
    .into_iter()
    .enumerate()
    {
        let mut client = Client::connect(edge.listener);
        client.send(bad);
        assert!(is_refused(&mut client.stream), "{}", String::from_utf8_lossy(bad));
        until("it is counted", || bad_headers(&mut edge) == count as u64 + 1);
    }
    // One that ends in the middle.
    let mut client = Client::connect(edge.listener);
    client.send(b"PROXY TCP4 203.0.113.7");
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(is_refused(&mut client.stream));
    until("it is counted", || bad_headers(&mut edge) == 8);
    // One that says nothing at all only looks whether the port is there.
    let mut client = Client::connect(edge.listener);
    client.stream.shutdown(std::net::Shutdown::Write).unwrap();
    assert!(is_refused(&mut client.stream));
    assert_eq!(bad_headers(&mut edge), 8);
    assert_eq!(backend.requests(), 0);
}

#[test]
fn others_are_served_as_who_they_are_and_can_be_nobody_else() {
    let backend = Backend::start("one");
    let edge = edge(&backend);
    let other = || {
        let stream = connect_from([127, 0, 0, 9].into(), edge.listener);
        Client::of(stream.unwrap())
    };
    let mut client = other();
    client.send(REQUEST);
    let seen = client.answer().unwrap().text();
    assert!(seen.contains("x-forwarded-for: 127.0.0.9\n"), "{seen}");
    for header in [
        b"PROXY TCP4 203.0.113.7 198.51.100.1 4000 443\r\n".to_vec(),
        v2("203.0.113.7:4000", "198.51.100.1:443"),
    ] {
        let mut client = other();
        client.send([&header[..], REQUEST].concat());
        let status = client.answer().unwrap().status;
        assert!(matches!(status, 400 | 505), "{status}");
    }
}

#[test]
fn a_header_that_does_not_come_is_not_waited_for() {
    let backend = Backend::start("one");
    let mut edge =
        TestEdge::with(|options| options.limits.head_timeout = Duration::from_millis(300));
    edge.apply(Some(1), &[(1, &[backend.address])]);
    expect_headers(&mut edge, &["127.0.0.1"], None);
    for begun in [&b""[..], b"PROXY TCP4 ", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"] {
        let mut client = Client::connect(edge.listener);
        client.send(begun);
        assert!(is_refused(&mut client.stream));
    }
    until("all are counted", || bad_headers(&mut edge) == 3);
}

#[test]
fn tls_comes_after_the_header() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let certificate = tls::certificate(edge.dir.path(), "localhost");
    expect_headers(&mut edge, &["127.0.0.1"], Some(certificate));
    // curl's header has the addresses of its own connection.
    for version in ["--http1.1", "--http2"] {
        let curl = Command::new("curl")
            .args(["-sk", version, "--haproxy-protocol", "-w", "%{local_port} %{http_version}"])
            .arg(format!("https://{}/head", edge.listener))
            .output()
            .unwrap();
        let seen = String::from_utf8(curl.stdout).unwrap();
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\n"), "{version}: {seen}");
        assert!(seen.contains("x-forwarded-proto: https\n"), "{version}: {seen}");
    }
    // Without the header there is no handshake.
    assert!(tls::shown(edge.listener).is_none());
}

#[test]
fn connections_are_counted_by_the_client_and_not_by_the_proxy() {
    let backend = Backend::start("one");
    // Four at once for each source.
    let mut edge = TestEdge::with(|options| {
        (options.threads, options.limits.max_connections) = (1, 8);
    });
    edge.apply(Some(1), &[(1, &[backend.address])]);
    edge.until_healthy(1);
    expect_headers(&mut edge, &["127.0.0.1"], None);
    let busy = |client: &str| {
        let mut connection = Client::connect(edge.listener);
        connection.send(format!("PROXY TCP4 {client} 198.51.100.1 4000 443\r\n"));
        connection.send("GET /slow?200 HTTP/1.1\r\nhost: a\r\n\r\n");
        connection.head().map(|(status, _)| (status, connection))
    };
    let mut held: Vec<_> = (0..4).map(|_| busy("203.0.113.7").unwrap()).collect();
    assert!(held.iter().all(|(status, _)| *status == 200));
    assert_eq!(busy("203.0.113.7").unwrap().0, 429);
    held.push(busy("203.0.113.8").unwrap());
    assert_eq!(held[4].0, 200);
    let counted = edge.admin.status().unwrap().connections.unwrap().outside;
    assert_eq!((counted.refused_by_source, counted.open), (1, 5), "{counted:?}");
    drop(held);
    until("all have left", || edge.admin.status().unwrap().connections.unwrap().outside.open == 0);
    assert_eq!(busy("203.0.113.7").unwrap().0, 200);
}

#[test]
fn the_header_is_taken_off_what_tcp_passes_on() {
    let server = backend::odd(|_, mut stream| {
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut bytes) {
            let _ = stream.write_all(&bytes[..count]);
        }
    });
    let mut edge = TestEdge::start();
    edge.listener = address();
    let table = table_of(1, edge.listener, Protocol::Tcp, Some(1), &[(1, &[server])], tcp_contract);
    edge.put(table);
    edge.until_healthy(1);
    expect_headers(&mut edge, &["127.0.0.1"], None);
    let mut client = Client::connect(edge.listener);
    client.send([&v2("203.0.113.7:4000", "198.51.100.1:25")[..], b"EHLO"].concat());
    assert_eq!(client.read_exact(4).unwrap(), b"EHLO");
}
