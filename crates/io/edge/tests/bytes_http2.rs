//! HTTP/2 by the byte: each line is what a client sends, the section of the RFC that speaks of it, and what comes of it.

mod support;

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    time::Duration,
};

use hornero_model::Protocol;
use support::{
    TestEdge,
    backend::{Backend, odd},
    table_of, tcp_contract,
};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: u8 = 4;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;
const PROTOCOL_ERROR: u32 = 1;

/// What comes of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reaction {
    Status(u16),
    /// The stream is reset with PROTOCOL_ERROR, or the connection ends with it (RFC 9113, 8.1.1).
    Malformed,
    /// It ends without a word.
    Closed,
}
use Reaction::{Malformed, Status};

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut bytes = vec![length[1], length[2], length[3], kind, flags];
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Fields as literals that are never compressed (RFC 7541, 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127, "one byte of length");
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// The status at the beginning of a block of fields.
fn status(block: &[u8]) -> u16 {
    match block {
        [index @ 0x88..=0x8e, ..] => [200, 204, 206, 304, 400, 404, 500][usize::from(index - 0x88)],
        // A literal with the name of index 8; digits in Huffman's code: 5 bits up to `2`, else 6.
        [0x48 | 0x08, length, rest @ ..] if length & 0x80 != 0 => {
            let bits = rest
                .iter()
                .take(usize::from(length & 0x7f))
                .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
            let mut left = u32::from(length & 0x7f) * 8;
            (0..3).fold(0, |status, _| {
                let five = bits >> (left - 5) & 0x1f;
                let (digit, used) = match five {
                    0..=2 => (five, 5),
                    _ => ((bits >> (left - 6) & 0x3f) - 0x19 + 3, 6),
                };
                left -= used;
                status * 10 + u16::try_from(digit).unwrap()
            })
        }
        [0x48 | 0x08, 3, rest @ ..] => std::str::from_utf8(&rest[..3]).unwrap().parse().unwrap(),
        _ => panic!("no status in {block:x?}"),
    }
}

/// Reads frames until something has become of stream 1, or of the connection.
fn outcome(stream: &mut TcpStream) -> Reaction {
    loop {
        let mut head = [0; 9];
        if stream.read_exact(&mut head).is_err() {
            return Reaction::Closed;
        }
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        if stream.read_exact(&mut payload).is_err() {
            return Reaction::Closed;
        }
        let code = |at: usize| u32::from_be_bytes(payload[at..at + 4].try_into().unwrap());
        match head[3] {
            HEADERS => return Status(status(&payload)),
            RST_STREAM if code(0) == PROTOCOL_ERROR => return Malformed,
            GOAWAY if code(4) == PROTOCOL_ERROR => return Malformed,
            RST_STREAM | GOAWAY => panic!("other code in {payload:x?}"),
            _ => {}
        }
    }
}

fn connect(edge: &TestEdge) -> TcpStream {
    let stream = TcpStream::connect(edge.listener).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    stream
}

/// What comes of a request with these fields after the pseudo-header fields, or instead of them.
fn ask(edge: &TestEdge, block: &[u8]) -> Reaction {
    let mut stream = connect(edge);
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, b""));
    // END_STREAM and END_HEADERS.
    bytes.extend(frame(HEADERS, 5, 1, block));
    stream.write_all(&bytes).unwrap();
    outcome(&mut stream)
}

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const PATH: (&str, &str) = (":path", "/");
const AUTHORITY: (&str, &str) = (":authority", "a");

type Line = (&'static str, &'static [(&'static str, &'static str)], Reaction);

const LINES: &[Line] = &[
    ("9113 8.3.1", &[METHOD, SCHEME, PATH, AUTHORITY], Status(200)),
    ("9113 8.3.1", &[METHOD, SCHEME, PATH, ("host", "a")], Status(200)),
    ("9113 8.3.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "A")], Status(200)),
    ("9113 8.3.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "b")], Status(400)),
    ("9113 8.3.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("host", "a"), ("host", "a")], Status(400)),
    ("9113 8.3.1", &[METHOD, SCHEME, PATH], Status(400)),
    ("9113 8.3.1", &[METHOD, SCHEME, PATH, (":authority", "u@a")], Status(400)),
    ("9113 8.3.1", &[METHOD, SCHEME, AUTHORITY], Malformed),
    ("9113 8.3.1", &[METHOD, PATH, AUTHORITY], Malformed),
    ("9113 8.3", &[METHOD, SCHEME, PATH, AUTHORITY, (":odd", "a")], Malformed),
    ("9113 8.3", &[METHOD, METHOD, SCHEME, PATH, AUTHORITY], Malformed),
    ("9113 8.3", &[SCHEME, PATH, AUTHORITY, ("x", "y"), METHOD], Malformed),
    ("9113 8.2", &[METHOD, SCHEME, PATH, AUTHORITY, ("X", "y")], Malformed),
    ("9113 8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("x", " y")], Status(400)),
    ("9113 8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("x", "y ")], Status(400)),
    ("9113 8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("x", "\ty")], Status(400)),
    ("9113 8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("x", "y z")], Status(200)),
    ("9113 8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("x", "y\nz")], Malformed),
    ("9113 8.2.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("x", "y\0z")], Malformed),
    ("9113 8.2.2", &[METHOD, SCHEME, PATH, AUTHORITY, ("connection", "x")], Malformed),
    ("9113 8.2.2", &[METHOD, SCHEME, PATH, AUTHORITY, ("te", "gzip")], Malformed),
    ("9113 8.2.2", &[METHOD, SCHEME, PATH, AUTHORITY, ("te", "trailers")], Status(200)),
    ("9110 10.1.1", &[METHOD, SCHEME, PATH, AUTHORITY, ("expect", "more")], Status(417)),
    (
        "9110 7.6.2",
        &[(":method", "OPTIONS"), SCHEME, PATH, AUTHORITY, ("max-forwards", "0")],
        Status(200),
    ),
    (
        "9110 7.6.2",
        &[(":method", "TRACE"), SCHEME, PATH, AUTHORITY, ("max-forwards", "0")],
        Status(405),
    ),
    (
        "9110 7.6.2",
        &[(":method", "OPTIONS"), SCHEME, PATH, AUTHORITY, ("max-forwards", "x")],
        Status(400),
    ),
    ("9110 9.3.6", &[(":method", "CONNECT"), AUTHORITY], Status(405)),
];

#[test]
fn every_line_comes_to_what_the_rfc_says() {
    let backend = Backend::start("one");
    let edge = TestEdge::before(&[backend.address]);
    for (section, list, expected) in LINES {
        assert_eq!(ask(&edge, &fields(list)), *expected, "RFC {section}: {list:?}");
    }
}

#[test]
fn as_many_fields_as_in_http1() {
    let backend = Backend::start("one");
    let edge = TestEdge::before(&[backend.address]);
    let with = |count: usize| {
        let mut list = vec![METHOD, SCHEME, PATH, AUTHORITY];
        list.extend((0..count).map(|_| ("x", "y")));
        ask(&edge, &fields(&list))
    };
    assert_eq!(with(90), Status(200));
    assert_eq!(with(200), Status(431));
}

#[test]
fn a_preface_that_breaks_off_ends_the_connection() {
    let backend = Backend::start("one");
    let edge = TestEdge::before(&[backend.address]);
    for preface in [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX"[..],
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"PRI * HTTP/1.1\r\nhost: a\r\n\r\n",
        b"PRI /x",
    ] {
        let mut stream = connect(&edge);
        stream.write_all(preface).unwrap();
        let context = preface.escape_ascii().to_string();
        assert_eq!(outcome(&mut stream), Malformed, "RFC 9113 3.4: {context}");
        assert_eq!(outcome(&mut stream), Reaction::Closed, "{context}");
    }
}

#[test]
fn interim_answers_are_passed_on() {
    let server = odd(|_, mut stream| {
        let mut head = [0; 4096];
        let Ok(1..) = stream.read(&mut head) else { return };
        let head = String::from_utf8_lossy(&head);
        assert!(head.contains("\r\nexpect: 100-continue\r\n"), "{head}");
        for part in [
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
        ] {
            stream.write_all(part.as_bytes()).unwrap();
        }
    });
    let mut edge = TestEdge::start();
    let sets: [(u32, &[std::net::SocketAddr]); 1] = [(1, &[server])];
    edge.put(table_of(0, edge.listener, Protocol::Http, Some(1), &sets, tcp_contract));
    edge.until_healthy(1);
    let mut stream = connect(&edge);
    let expects = [(":method", "POST"), SCHEME, PATH, AUTHORITY, ("expect", "100-continue")];
    let mut bytes = PREFACE.to_vec();
    bytes.extend(frame(SETTINGS, 0, 0, b""));
    // END_HEADERS: the body is still to come.
    bytes.extend(frame(HEADERS, 4, 1, &fields(&expects)));
    stream.write_all(&bytes).unwrap();
    for status in [103, 100, 200] {
        assert_eq!(outcome(&mut stream), Status(status), "RFC 9110 15.2");
    }
}
