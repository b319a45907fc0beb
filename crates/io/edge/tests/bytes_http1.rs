//! HTTP/1.1 by the byte: each line is what a client sends, the section of the RFC that speaks of it, and what comes of it.

mod support;

use support::{
    TestEdge,
    backend::Backend,
    client::{Answer, Client},
};

/// What comes of a request.
enum Expect {
    /// An answer with this status; the connection ends after it where it is an error.
    Status(u16),
    /// The server's answer, whose text says how the request reached it.
    Reaches(&'static str),
    /// The same, and this is not in it.
    ReachesWithout(&'static str),
}
use Expect::{Reaches, ReachesWithout, Status};

/// Section, what is sent, what comes of it.
type Line = (&'static str, &'static [u8], Expect);

const LINES: &[Line] = &[
    // RFC 9110: semantics.
    ("9110 2.5", b"GET /head HTTP/1.2\r\nhost: a\r\n\r\n", Reaches("GET /head\n")),
    ("9110 2.5", b"GET /head HTTP/1.9\r\nhost: a\r\n\r\n", Reaches("GET /head\n")),
    ("9110 2.5", b"GET / HTTP/2.0\r\nhost: a\r\n\r\n", Status(505)),
    ("9110 2.5", b"GET / HTTP/3.1\r\nhost: a\r\n\r\n", Status(505)),
    ("9110 7.6.1", b"GET /head HTTP/1.1\r\nhost: a\r\nconnection: x-hop\r\nx-hop: 1\r\n\r\n", ReachesWithout("x-hop")),
    ("9110 7.6.2", b"OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n", Status(200)),
    ("9110 7.6.2", b"TRACE / HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n", Status(405)),
    ("9110 7.6.2", b"OPTIONS /head HTTP/1.1\r\nhost: a\r\nmax-forwards: 7\r\n\r\n", Reaches("max-forwards: 6\n")),
    ("9110 7.6.2", b"OPTIONS / HTTP/1.1\r\nhost: a\r\nmax-forwards: -1\r\n\r\n", Status(400)),
    ("9110 7.6.2", b"GET /head HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n", Reaches("max-forwards: 0\n")),
    ("9110 7.6.3", b"GET /head HTTP/1.1\r\nhost: a\r\n\r\n", Reaches("via: 1.1 hornero\n")),
    ("9110 7.6.3", b"GET /head HTTP/1.0\r\nhost: a\r\n\r\n", Reaches("via: 1.0 hornero\n")),
    ("9110 7.6.3", b"GET /head HTTP/1.1\r\nhost: a\r\nvia: 1.1 cdn\r\n\r\n", Reaches("via: 1.1 cdn\nvia: 1.1 hornero\n")),
    ("9110 10.1.1", b"POST / HTTP/1.1\r\nhost: a\r\nexpect: more\r\ncontent-length: 1\r\n\r\n", Status(417)),
    ("9110 9.3.6", b"CONNECT a:443 HTTP/1.1\r\nhost: a:443\r\n\r\n", Status(405)),
    // RFC 9112: the message syntax.
    ("9112 2.2", b"GET /head HTTP/1.1\nhost: a\n\n", Status(400)),
    ("9112 2.2", b"GET /head HTTP/1.1\r\nhost: a\rx: b\r\n\r\n", Status(400)),
    ("9112 2.2", b"\r\nGET /head HTTP/1.1\r\nhost: a\r\n\r\n", Reaches("GET /head\n")),
    ("9112 2.3", b"GET / HTTP/1\r\nhost: a\r\n\r\n", Status(505)),
    ("9112 3", b"GET  / HTTP/1.1\r\nhost: a\r\n\r\n", Status(400)),
    ("9112 3.2", b"GET / HTTP/1.1\r\n\r\n", Status(400)),
    ("9112 3.2", b"GET / HTTP/1.1\r\nhost: a\r\nhost: a\r\n\r\n", Status(400)),
    ("9112 3.2", b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n", Status(400)),
    ("9112 3.2", b"GET / HTTP/1.1\r\nhost: u@a\r\n\r\n", Status(400)),
    ("9112 3.2.1", b"GET /head#x HTTP/1.1\r\nhost: a\r\n\r\n", Status(400)),
    ("9112 3.2.1", b"GET head HTTP/1.1\r\nhost: a\r\n\r\n", Status(400)),
    ("9112 3.2.2", b"GET http://b?q HTTP/1.1\r\nhost: a\r\n\r\n", Reaches("one")),
    ("9112 3.2.2", b"GET http://b/head?q HTTP/1.1\r\nhost: a\r\n\r\n", Reaches("GET /head?q\nhost: b\n")),
    ("9112 3.2.2", b"GET http:///head HTTP/1.1\r\nhost: a\r\n\r\n", Status(400)),
    ("9112 3.2.2", b"GET ftp://b/ HTTP/1.1\r\nhost: a\r\n\r\n", Status(400)),
    ("9112 3.2.4", b"GET * HTTP/1.1\r\nhost: a\r\n\r\n", Status(400)),
    ("9112 5", b"GET / HTTP/1.1\r\nhost : a\r\n\r\n", Status(400)),
    ("9112 5", b"GET / HTTP/1.1\r\nhost: a\r\n: b\r\n\r\n", Status(400)),
    ("9112 5.2", b"GET / HTTP/1.1\r\nhost: a\r\nx: b\r\n c\r\n\r\n", Status(400)),
    ("9110 5.5", b"GET / HTTP/1.1\r\nhost: a\r\nx: b\0c\r\n\r\n", Status(400)),
    ("9110 5.5", b"GET /head HTTP/1.1\r\nhost: a\r\nx: \t b \t\r\n\r\n", Reaches("x: b\n")),
    ("9112 6.1", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\ncontent-length: 3\r\n\r\n0\r\n\r\n", Status(400)),
    ("9112 6.1", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", Status(400)),
    ("9112 6.1", b"POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n", Status(400)),
    ("9112 6.1", b"POST / HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Status(400)),
    ("9112 6.2", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: +3\r\n\r\nabc", Status(400)),
    ("9112 6.2", b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\ncontent-length: 4\r\n\r\nabc", Status(400)),
    ("9112 6.2", b"POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc", Reaches("abc")),
    ("9112 7.1", b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", Reaches("abc")),
    ("9112 7.1", b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0000000000000000000000003\r\nabc\r\n0000000000000000000000000\r\n\r\n", Reaches("abc")),
    ("9112 7.1", b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n10000000000000003\r\nabc", Status(400)),
    ("9112 7.1", b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n-3\r\nabc", Status(400)),
    ("9112 7.1", b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0x3\r\nabc", Status(400)),
    ("9112 7.1", b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n", Status(400)),
    ("9112 7.1.1", b"POST /echo HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\n\r\n", Reaches("abc")),
];

fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

fn ask(edge: &TestEdge, bytes: &[u8]) -> (Client, Answer) {
    let mut client = Client::connect(edge.listener);
    client.send(bytes);
    let answer = client.answer().unwrap_or_else(|error| panic!("{}: {error}", show(bytes)));
    (client, answer)
}

#[test]
fn every_line_comes_to_what_the_rfc_says() {
    let backend = Backend::start("one");
    let edge = TestEdge::before(&[backend.address]);
    for (section, bytes, expect) in LINES {
        let (mut client, answer) = ask(&edge, bytes);
        let context = format!("RFC {section}: {}: {}{}", show(bytes), answer.head, answer.text());
        assert!(
            answer.header("date").is_some_and(|date| date.len() == 29),
            "RFC 9110 6.6.1: {context}"
        );
        match expect {
            Status(status) => {
                assert_eq!(answer.status, *status, "{context}");
                if *status != 200 && answer.header("connection") == Some("close") {
                    assert!(client.is_closed(), "{context}");
                }
            }
            Reaches(text) => {
                assert_eq!(answer.status, 200, "{context}");
                assert!(answer.text().contains(text), "{context}");
            }
            ReachesWithout(text) => {
                assert_eq!(answer.status, 200, "{context}");
                assert!(!answer.text().contains(text), "{context}");
            }
        }
    }
}
