//! Arbitrary bytes from clients and backends: no panic, no hang, no confusion afterwards.

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpStream},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::{collection::vec, prelude::*, sample::select};
use support::{
    TestEdge,
    backend::{Backend, odd},
    client::get,
    tcp_contract,
};

/// Pieces that mean something to a parser, mixed with some that do not.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let words: Vec<&'static [u8]> = vec![
        b"GET / HTTP/1.1\r\n",
        b"POST /echo HTTP/1.1\r\n",
        b"HEAD /",
        b" HTTP/1.0\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 101 Switching\r\n",
        b"HTTP/1.1 204 No\r\n",
        b"host: a\r\n",
        b"content-length: 5\r\n",
        b"content-length: 18446744073709551615\r\n",
        b"transfer-encoding: chunked\r\n",
        b"connection: close\r\n",
        b"connection: upgrade\r\nupgrade: websocket\r\n",
        b"expect: 100-continue\r\n",
        b"\r\n",
        b"\n",
        b"5\r\nhello\r\n",
        b"0\r\n\r\n",
        b"0\r\nx: y\r\n\r\n",
        b"ffffffffffffff\r\n",
        b"hello",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    ];
    let word = select(words).prop_map(<[u8]>::to_vec);
    vec(prop_oneof![8 => word, 1 => vec(any::<u8>(), 0..40)], 0..12)
        .prop_map(|pieces| pieces.concat())
}

/// Sends `bytes`, ends the sending direction, and reads to the end, which must come.
fn exchange(edge: &TestEdge, bytes: &[u8]) {
    let mut stream = TcpStream::connect(edge.listener).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // The edge may refuse and close before all is sent.
    let _ = stream.write_all(bytes);
    let _ = stream.shutdown(Shutdown::Write);
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => panic!("the edge hangs"),
        _ => {}
    }
}

#[test]
fn from_clients() {
    let backend = Backend::start("one");
    let edge = TestEdge::before(&[backend.address]);
    proptest!(ProptestConfig::with_cases(300), |(bytes in pieces())| {
        exchange(&edge, &bytes);
    });
    assert_eq!(get(edge.listener, "/").unwrap().text(), "one");
}

#[test]
fn from_backends() {
    let says = Arc::new(Mutex::new(Vec::new()));
    let address = odd({
        let says = says.clone();
        move |_, mut stream| {
            let mut bytes = [0; 4096];
            if stream.read(&mut bytes).is_ok_and(|count| count > 0) {
                let answer = says.lock().unwrap().clone();
                let _ = stream.write_all(&answer);
            }
        }
    });
    let mut edge = TestEdge::start();
    let mut table = support::table(0, edge.listener, Some(1), &[(1, &[address])]);
    table.pools[0].backends[0].health = Some(tcp_contract(address.port()));
    edge.put(table);
    edge.until_healthy(1);
    proptest!(ProptestConfig::with_cases(300), |(bytes in pieces())| {
        *says.lock().unwrap() = bytes;
        let request = b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close, upgrade\r\nupgrade: x\r\n\r\n";
        let mut stream = TcpStream::connect(edge.listener).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream.write_all(request).unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let hangs = read.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock);
        prop_assert!(!hangs, "the edge hangs");
    });
    *says.lock().unwrap() = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok".to_vec();
    assert_eq!(get(edge.listener, "/").unwrap().text(), "ok");
}
