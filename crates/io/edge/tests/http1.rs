//! HTTP/1.1 through the edge: framing, streaming, upgrades, limits.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

mod support;

use std::{
    io::{Read, Write},
    net::Shutdown,
    time::Duration,
};

use support::{
    TestEdge,
    backend::{Backend, odd},
    client::{Client, get},
    tcp_contract, until,
};

fn plain() -> (Backend, TestEdge) {
    let backend = Backend::start("one");
    let edge = TestEdge::before(&[backend.address]);
    (backend, edge)
}

/// An edge before a server checked over TCP only.
fn before_odd(serve: impl Fn(usize, std::net::TcpStream) + Send + Sync + 'static) -> TestEdge {
    let address = odd(serve);
    let mut edge = TestEdge::start();
    let table = support::table_of(
        0,
        edge.listener,
        hornero_model::Protocol::Http,
        Some(1),
        &[(1, &[address])],
        tcp_contract,
    );
    edge.put(table);
    edge.until_healthy(1);
    edge
}

/// Reads a request head from a raw connection; none if it ends before.
fn request_head(stream: &mut std::net::TcpStream) -> Option<String> {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return None,
        }
    }
    Some(String::from_utf8(head).unwrap())
}

#[test]
fn keeps_connections_alive_on_both_sides() {
    let (backend, mut edge) = plain();
    let mut client = Client::connect(edge.listener);
    for _ in 0..50 {
        let answer = client.get("/").unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "one"));
    }
    assert_eq!(backend.connections.load(std::sync::atomic::Ordering::SeqCst), 1);
    until("the last request has ended", || edge.counters(1) == (50, 0, 0, 0));
}

#[test]
fn answers_pipelined_requests_in_order() {
    let (_backend, edge) = plain();
    let mut client = Client::connect(edge.listener);
    let mut all = String::new();
    for number in 0..20 {
        all.push_str(&format!(
            "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 8\r\n\r\nbody {number:03}"
        ));
    }
    client.send(&all);
    for number in 0..20 {
        assert_eq!(client.answer().unwrap().text(), format!("body {number:03}"));
    }
}

#[test]
fn streams_chunks_both_ways_with_trailers() {
    let (_backend, edge) = plain();
    let mut client = Client::connect(edge.listener);
    client.send(
        "POST /echo HTTP/1.1\r\nhost: a\r\nte: trailers\r\ntransfer-encoding: chunked\r\n\r\n",
    );
    let (status, head) = client.head().unwrap();
    assert_eq!(status, 200, "{head}");
    for part in ["one", "two", "three"] {
        client.send(format!("{:x};ext=\"1\"\r\n{part}\r\n", part.len()));
        let line = String::from_utf8(client.read_until(b"\r\n").unwrap()).unwrap();
        assert_eq!(line, format!("{:x}\r\n", part.len()), "each part comes back at once");
        assert_eq!(client.read_exact(part.len() + 2).unwrap(), format!("{part}\r\n").as_bytes());
    }
    client.send("0\r\nx-sum: 3\r\ncontent-length: 5\r\n\r\n");
    assert_eq!(client.read_until(b"\r\n\r\n").unwrap(), b"0\r\nx-sum: 3\r\n\r\n");
    assert_eq!(client.get("/").unwrap().text(), "one", "the connection goes on");
}

#[test]
fn gives_old_clients_what_they_understand() {
    let (_backend, edge) = plain();
    let mut client = Client::connect(edge.listener);
    client.send("GET /slow?3 HTTP/1.0\r\n\r\n");
    let answer = client.answer().unwrap();
    assert_eq!(answer.text(), "one-0;one-1;one-2;");
    assert_eq!(answer.header("transfer-encoding"), None);
    assert_eq!(answer.header("connection"), Some("close"));

    let mut client = Client::connect(edge.listener);
    for _ in 0..2 {
        client.send("GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n");
        let answer = client.answer().unwrap();
        assert_eq!(answer.header("connection"), Some("keep-alive"));
    }
}

#[test]
fn knows_answers_without_bodies() {
    let (_backend, edge) = plain();
    let mut client = Client::connect(edge.listener);
    client.send("HEAD /big?1000 HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.answer_to(true).unwrap().header("content-length"), Some("1000"));
    for status in [204, 304] {
        assert_eq!(client.get(&format!("/status?{status}")).unwrap().status, status);
    }
    assert_eq!(client.get("/").unwrap().text(), "one");
}

#[test]
fn passes_interim_answers_and_expectations_on() {
    let edge = before_odd(|_, mut stream| {
        let Some(head) = request_head(&mut stream) else { return };
        assert!(head.contains("expect: 100-continue\r\n"), "{head}");
        stream.write_all(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n").unwrap();
        stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        let mut body = [0; 5];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n").unwrap();
        stream.write_all(&body).unwrap();
    });
    let mut client = Client::connect(edge.listener);
    client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    let (status, head) = client.head().unwrap();
    assert!(status == 103 && head.contains("link: </a>\r\n"), "{head}");
    assert_eq!(client.head().unwrap().0, 100);
    client.send("hello");
    assert_eq!(client.answer().unwrap().text(), "hello");
    client.send("GET / HTTP/1.1\r\nhost: a\r\nexpect: magic\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 417);
}

#[test]
fn tells_the_backend_who_asked_and_believes_no_client() {
    let (_backend, edge) = plain();
    let mut client = Client::connect(edge.listener);
    client.send(
        "GET /head HTTP/1.1\r\nhost: shop.example:8080\r\nx-forwarded-for: 6.6.6.6\r\n\
         X-Forwarded-Proto: https\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n\
         x_forwarded_for: 6.6.6.6\r\nconnection: keep-alive, x-secret\r\nx-secret: 1\r\nkeep-alive: 5\r\nx-kept: 1\r\n\r\n",
    );
    let seen = client.answer().unwrap().text();
    assert!(seen.contains("x-forwarded-for: 127.0.0.1\n"), "{seen}");
    assert!(seen.contains("x-forwarded-proto: http\n"), "{seen}");
    assert!(seen.contains("x-forwarded-host: shop.example:8080\n"), "{seen}");
    assert!(seen.contains("host: shop.example:8080\n") && seen.contains("x-kept: 1\n"), "{seen}");
    for gone in ["6.6.6.6", "x-secret", "keep-alive", "connection"] {
        assert!(!seen.contains(gone), "{gone} in {seen}");
    }
}

#[test]
fn takes_the_host_of_an_absolute_target() {
    let (_backend, edge) = plain();
    let mut client = Client::connect(edge.listener);
    client.send("GET http://real.example/head?x HTTP/1.1\r\nhost: other\r\n\r\n");
    let seen = client.answer().unwrap().text();
    assert!(seen.starts_with("GET /head?x\n") && seen.contains("host: real.example\n"), "{seen}");
}

#[test]
fn tunnels_upgrades_but_never_to_http2() {
    let (_backend, mut edge) = plain();
    let mut client = Client::connect(edge.listener);
    client.send(
        "GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\nearly",
    );
    let (status, head) = client.head().unwrap();
    assert_eq!(status, 101, "{head}");
    assert_eq!(client.read_exact(5).unwrap(), b"early");
    client.send("ping");
    assert_eq!(client.read_exact(4).unwrap(), b"ping");
    assert_eq!(edge.counters(1), (1, 1, 0, 0));
    drop(client);
    until("the tunnel has ended", || edge.counters(1) == (1, 0, 0, 0));

    let mut client = Client::connect(edge.listener);
    client.send(
        "GET /head HTTP/1.1\r\nhost: a\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
         http2-settings: AAMAAABkAARAAAAAAAIAAAAA\r\n\r\n",
    );
    let seen = client.answer().unwrap().text();
    assert!(!seen.contains("upgrade") && !seen.contains("http2"), "{seen}");
}

#[test]
fn refuses_what_two_servers_could_read_differently() {
    let (backend, edge) = plain();
    let corpus: &[(&str, &str)] = &[
        ("both lengths", "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"),
        ("two lengths", "content-length: 5\r\ncontent-length: 6\r\n\r\nhello"),
        ("length list", "content-length: 5, 5\r\n\r\nhello"),
        ("signed length", "content-length: +5\r\n\r\nhello"),
        ("negative length", "content-length: -1\r\n\r\n"),
        ("hex length", "content-length: 0x5\r\n\r\nhello"),
        ("empty length", "content-length: \r\n\r\n"),
        ("huge length", "content-length: 99999999999999999999\r\n\r\n"),
        ("blank before colon", "transfer-encoding : chunked\r\n\r\n0\r\n\r\n"),
        ("folded line", "x-a: b\r\n transfer-encoding: chunked\r\n\r\n"),
        ("folded first line", " x-a: b\r\n\r\n"),
        ("bare LF", "x-a: b\nx-c: d\r\n\r\n"),
        ("bare LF at the end", "x-a: b\r\n\n"),
        ("bare CR", "x-a: b\rx-c: d\r\n\r\n"),
        ("NUL", "x-a: b\0c\r\n\r\n"),
        ("bad name", "x(a): b\r\n\r\n"),
        ("empty name", ": b\r\n\r\n"),
        ("no colon", "x-a\r\n\r\n"),
        ("other coding", "transfer-encoding: gzip\r\n\r\n"),
        ("coding list", "transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n"),
        (
            "chunked twice",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        ),
        ("chunked in disguise", "transfer-encoding: xchunked\r\n\r\n"),
        ("coding with VT", "transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n"),
        ("second host", "host: b\r\n\r\n"),
        ("bad chunk size", "transfer-encoding: chunked\r\n\r\nxyz\r\n"),
        ("signed chunk size", "transfer-encoding: chunked\r\n\r\n+5\r\nhello\r\n0\r\n\r\n"),
        ("0x chunk size", "transfer-encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n"),
        ("huge chunk size", "transfer-encoding: chunked\r\n\r\n10000000000000005\r\nhello\r\n"),
        ("blank chunk size", "transfer-encoding: chunked\r\n\r\n 5\r\nhello\r\n0\r\n\r\n"),
        ("chunk with LF", "transfer-encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n"),
        ("chunk too long", "transfer-encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n"),
        ("LF in extension", "transfer-encoding: chunked\r\n\r\n5;a\nb\r\nhello\r\n0\r\n\r\n"),
        ("bare CR in extension", "transfer-encoding: chunked\r\n\r\n5;a\rb\r\nhello\r\n0\r\n\r\n"),
        ("bad trailer", "transfer-encoding: chunked\r\n\r\n0\r\nx y: 1\r\n\r\n"),
    ];
    for (what, rest) in corpus {
        let mut client = Client::connect(edge.listener);
        client.send(format!("POST /wait?5000 HTTP/1.1\r\nhost: a\r\n{rest}"));
        let answer = client.answer().unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.status, 400, "{what}: {}", answer.head);
        assert!(client.is_closed(), "{what}: the connection must end");
    }
    let heads: &[(&str, &str, u16)] = &[
        ("no host", "GET / HTTP/1.1\r\n\r\n", 400),
        ("bad host", "GET / HTTP/1.1\r\nhost: a/b\r\n\r\n", 400),
        ("host with user", "GET / HTTP/1.1\r\nhost: a@b\r\n\r\n", 400),
        ("bad port", "GET / HTTP/1.1\r\nhost: a:b\r\n\r\n", 400),
        ("two blanks", "GET  / HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("relative target", "GET x HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("other scheme", "GET ftp://a/ HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("fragment", "GET /#x HTTP/1.1\r\nhost: a\r\n\r\n", 400),
        ("version 2.0", "GET / HTTP/2.0\r\nhost: a\r\n\r\n", 505),
        ("version 0.9", "GET /\r\n\r\n", 400),
        ("tunnel", "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n", 405),
        ("chunks in 1.0", "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("TLS", "\x16\x03\x01\x02\x00\x01\x00\x01\u{7c}\x03\x03\r\n\r\n", 400),
    ];
    for (what, head, status) in heads {
        let answer = {
            let mut client = Client::connect(edge.listener);
            client.send(head);
            client.answer().unwrap_or_else(|error| panic!("{what}: {error}"))
        };
        assert_eq!(answer.status, *status, "{what}: {}", answer.head);
    }
    // Those with a good head and a bad body may have begun; none may have become a second request.
    assert!(backend.requests() <= corpus.len());
}

#[test]
fn limits_heads() {
    let (_backend, edge) = plain();
    let mut client = Client::connect(edge.listener);
    let long = "x".repeat(30_000);
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\nx-a: {long}\r\nx-b: {long}\r\n\r\n"));
    assert_eq!(client.answer().unwrap().status, 200, "60 kB of head are allowed");
    let mut client = Client::connect(edge.listener);
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\nx-a: {}\r\n\r\n", "x".repeat(70_000)));
    assert_eq!(client.answer().unwrap().status, 431);
    let mut client = Client::connect(edge.listener);
    client.send(format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x-a: b\r\n".repeat(128)));
    assert_eq!(client.answer().unwrap().status, 431);
    let mut client = Client::connect(edge.listener);
    client.send(format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "x".repeat(20_000)));
    assert_eq!(client.answer().unwrap().status, 414);
}

#[test]
fn limits_time() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::with(|options| {
        options.limits.head_timeout = Duration::from_millis(1500);
        options.limits.idle_timeout = Duration::from_millis(500);
    });
    edge.apply(Some(1), &[(1, &[backend.address])]);
    edge.until_healthy(1);
    let mut silent = Client::connect(edge.listener);
    let mut slow = Client::connect(edge.listener);
    slow.send("GET / HTTP/1.1\r\nhost:");
    let mut idle = Client::connect(edge.listener);
    assert_eq!(idle.get("/").unwrap().status, 200);
    assert_eq!(slow.answer().unwrap().status, 408);
    assert!(idle.is_closed() && silent.is_closed());
}

#[test]
fn passes_big_bodies_at_the_pace_of_the_slower_side() {
    let (_backend, mut edge) = plain();
    let size: usize = 64 << 20;
    let mut client = Client::connect(edge.listener);
    client.send(format!("GET /big?{size} HTTP/1.1\r\nhost: a\r\n\r\n"));
    let (_, head) = client.head().unwrap();
    assert!(head.contains(&format!("content-length: {size}")), "{head}");
    let body = client.read_exact(size).unwrap();
    assert!(body.iter().all(|byte| *byte == b'x'));

    // An echo of 16 MiB that is not read for a while: the edge must not take it all in.
    let mut sender = client.stream.try_clone().unwrap();
    let upload = std::thread::spawn(move || {
        let part = vec![b'y'; 1 << 20];
        sender
            .write_all(b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 16777216\r\n\r\n")
            .unwrap();
        for _ in 0..16 {
            sender.write_all(&part).unwrap();
        }
    });
    until("the request is under way", || edge.counters(1).1 == 1);
    let answer = client.answer().unwrap();
    assert_eq!(answer.body.len(), 16 << 20);
    upload.join().unwrap();
}

#[test]
fn a_client_that_goes_away_is_no_failure() {
    let (_backend, mut edge) = plain();
    let mut client = Client::connect(edge.listener);
    client.send("GET /wait?60000 HTTP/1.1\r\nhost: a\r\n\r\n");
    until("the request is in flight", || edge.counters(1).1 == 1);
    rustix::net::sockopt::set_socket_linger(&client.stream, Some(Duration::ZERO)).unwrap();
    drop(client);
    until("it has ended", || edge.counters(1) == (1, 0, 0, 0));
}

#[test]
fn repeats_what_is_safe_on_a_connection_that_was_closed() {
    // Answers one request a connection, claims to keep it, and closes when the next has come.
    let edge = before_odd(|_, mut stream| {
        if request_head(&mut stream).is_none() {
            return;
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").unwrap();
        request_head(&mut stream);
    });
    let mut client = Client::connect(edge.listener);
    for _ in 0..10 {
        assert_eq!(client.get("/").unwrap().status, 200);
    }
    // A POST may have been done: it is not repeated.
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 502);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(client.answer().unwrap().status, 200, "a fresh connection");
}

#[test]
fn answers_502_to_what_is_no_answer() {
    let bad: &[&str] = &[
        "nonsense\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n",
        "HTTP/1.1 200 OK\nx: y\n\n",
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n",
        "",
    ];
    for answer in bad {
        let mut edge = before_odd(move |_, mut stream| {
            if request_head(&mut stream).is_some() {
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        assert_eq!(get(edge.listener, "/").unwrap().status, 502, "{answer:?}");
        until("it counts as failed", || edge.counters(1) == (1, 0, 1, 0));
    }
}

#[test]
fn a_cut_answer_does_not_look_complete() {
    for framing in ["content-length: 100", "transfer-encoding: chunked"] {
        let mut edge = before_odd(move |_, mut stream| {
            if request_head(&mut stream).is_some() {
                let head = format!("HTTP/1.1 200 OK\r\n{framing}\r\n\r\n5\r\nhello\r\n");
                stream.write_all(head.as_bytes()).unwrap();
            }
        });
        let mut client = Client::connect(edge.listener);
        assert!(client.get("/").is_err(), "{framing}");
        until("it counts as failed", || edge.counters(1) == (1, 0, 1, 0));
    }
}

#[test]
fn an_answer_without_length_ends_with_the_connection() {
    let mut edge = before_odd(|_, mut stream| {
        if request_head(&mut stream).is_some() {
            stream.write_all(b"HTTP/1.0 200 OK\r\n\r\nall of it").unwrap();
        }
    });
    let mut client = Client::connect(edge.listener);
    for _ in 0..2 {
        let answer = client.get("/").unwrap();
        assert_eq!(answer.text(), "all of it");
        assert_eq!(answer.header("transfer-encoding"), Some("chunked"));
    }
    until("both have ended", || edge.counters(1) == (2, 0, 0, 0));
}

#[test]
fn an_early_refusal_reaches_a_client_that_is_still_sending() {
    let edge = before_odd(|_, mut stream| {
        if request_head(&mut stream).is_some() {
            stream
                .write_all(
                    b"HTTP/1.1 413 Too Large\r\ncontent-length: 3\r\nconnection: close\r\n\r\nno\n",
                )
                .unwrap();
        }
    });
    let mut client = Client::connect(edge.listener);
    client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 50000\r\n\r\n");
    client.send(vec![b'x'; 20_000]);
    assert_eq!(client.answer().unwrap().status, 413);
}

#[test]
fn times_out_a_server_that_does_not_answer() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::with(|options| {
        options.limits.answer_timeout = Duration::from_millis(200);
    });
    edge.apply(Some(1), &[(1, &[backend.address])]);
    edge.until_healthy(1);
    assert_eq!(get(edge.listener, "/wait?60000").unwrap().status, 504);
    until("it counts as failed", || edge.counters(1) == (1, 0, 1, 0));
    assert_eq!(get(edge.listener, "/status?503").unwrap().status, 503);
    until("its own error does not", || edge.counters(1) == (2, 0, 1, 1));
}

#[test]
fn an_early_answer_reaches_a_client_that_still_sends() {
    let edge = before_odd(|_, mut stream| {
        if request_head(&mut stream).is_none() {
            return;
        }
        let answer =
            b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 6\r\nconnection: close\r\n\r\nno way";
        stream.write_all(answer).unwrap();
    });
    for _ in 0..20 {
        let mut client = Client::connect(edge.listener);
        client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 10485760\r\n\r\n");
        let part = vec![b'x'; 64 << 10];
        for _ in 0..160 {
            client.stream.write_all(&part).unwrap();
        }
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (401, "no way"));
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(client.is_closed());
    }
}

#[test]
fn a_body_that_is_wrong_from_the_first_is_no_answer() {
    let edge = before_odd(|_, mut stream| {
        while request_head(&mut stream).is_some() {
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n")
                .unwrap();
        }
    });
    let mut client = Client::connect(edge.listener);
    assert_eq!(client.get("/").unwrap().status, 502);
    assert_eq!(client.get("/").unwrap().status, 502, "the client's connection goes on");
}

#[test]
fn a_client_that_ends_its_sending_gets_its_answer() {
    let (_backend, mut edge) = plain();
    for path in ["/wait?300", "/slow?3"] {
        let mut client = Client::connect(edge.listener);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n"));
        client.stream.shutdown(Shutdown::Write).unwrap();
        let answer = client.answer().unwrap();
        assert_eq!(answer.status, 200, "{path}");
        assert!(client.is_closed());
    }
    until("both have ended", || edge.counters(1) == (2, 0, 0, 0));
}

#[test]
fn answers_have_a_date_and_keep_their_own() {
    let edge = before_odd(|_, mut stream| {
        while let Some(head) = request_head(&mut stream) {
            let date = match head.contains("/dated") {
                true => "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n",
                false => "",
            };
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{date}content-length: 0\r\n\r\n").as_bytes())
                .unwrap();
        }
    });
    let mut client = Client::connect(edge.listener);
    let dated = client.get("/dated").unwrap();
    assert_eq!(dated.header("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_eq!(dated.head.to_ascii_lowercase().matches("date:").count(), 1, "{}", dated.head);
    let undated = client.get("/").unwrap();
    let date = undated.header("date").unwrap();
    assert!(date.ends_with(" GMT") && !date.contains("1994"), "{date}");
}

#[test]
fn every_address_is_ipv4_and_ipv6() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::start();
    let port = std::net::TcpListener::bind("[::]:0").unwrap().local_addr().unwrap().port();
    let mut table = support::table(0, edge.listener, Some(1), &[(1, &[backend.address])]);
    let listener = table.listeners.remove(0);
    for every in ["0.0.0.0", "::"] {
        let address = std::net::SocketAddr::new(every.parse().unwrap(), port);
        table.listeners.push(hornero_model::Listener { address, ..(*listener).clone() }.into());
    }
    edge.put(table);
    edge.until_healthy(1);
    for (ip, seen) in
        [("127.0.0.1", "x-forwarded-for: 127.0.0.1\n"), ("::1", "x-forwarded-for: ::1\n")]
    {
        let text =
            get(std::net::SocketAddr::new(ip.parse().unwrap(), port), "/head").unwrap().text();
        assert!(text.contains(seen), "{text}");
    }
}
