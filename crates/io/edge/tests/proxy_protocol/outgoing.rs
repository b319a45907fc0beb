//! Headers for servers.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use hornero_model::{Protocol, ProxyProtocol};
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::{TokioExecutor, TokioIo};

use crate::{
    LOCAL, expect_headers,
    support::{TestEdge, address, backend, client::Client, table_of, tcp_contract, until},
    v2,
};

/// A server that reads a header and answers each request with its number on the connection and the header.
struct Told {
    address: SocketAddr,
    /// Connections that asked for something.
    connections: Arc<AtomicUsize>,
    /// Headers of checks.
    checks: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// The bytes of a header, read without a byte too many.
fn read_header(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let mut header = vec![0; 8];
    stream.read_exact(&mut header).ok()?;
    let mut more = |header: &mut Vec<u8>, count: usize| {
        let begun = header.len();
        header.resize(begun + count, 0);
        stream.read_exact(&mut header[begun..]).ok()
    };
    if header.starts_with(b"PROXY ") {
        while !header.ends_with(b"\r\n") {
            more(&mut header, 1)?;
        }
    } else {
        assert!(header.starts_with(b"\r\n\r\n\0\r\nQ"), "{header:?}");
        more(&mut header, 8)?;
        let length = u16::from_be_bytes([header[14], header[15]]);
        more(&mut header, length.into())?;
    }
    Some(header)
}

impl Told {
    fn start() -> Self {
        let (connections, checks) =
            (Arc::new(AtomicUsize::new(0)), Arc::<Mutex<Vec<_>>>::default());
        let (counted, checked) = (connections.clone(), checks.clone());
        let address = backend::odd(move |_, mut stream| {
            let Some(header) = read_header(&mut stream) else { return };
            let (mut client, mut requests) = (Client::of(stream), 0);
            while let Ok(head) = client.read_until(b"\r\n\r\n") {
                if head.starts_with(b"GET /health") {
                    checked.lock().unwrap().push(header.clone());
                } else if requests == 0 {
                    counted.fetch_add(1, Ordering::SeqCst);
                }
                requests += 1;
                let body = [format!("{requests} ").as_bytes(), &header].concat();
                let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                client.send([head.as_bytes(), &body].concat());
            }
        });
        Self { address, connections, checks }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// An edge whose server is told by a header.
fn edge(server: SocketAddr, version: ProxyProtocol) -> TestEdge {
    let mut edge = TestEdge::start();
    let mut table = crate::support::table(1, edge.listener, Some(1), &[(1, &[server])]);
    let backend = &mut table.pools[0].backends[0];
    (backend.proxy_protocol, backend.health_proxy_protocol) = (Some(version), Some(version));
    edge.put(table);
    edge.until_healthy(1);
    edge
}

#[test]
fn a_connection_to_a_server_is_for_one_client() {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        let server = Told::start();
        let edge = edge(server.address, version);
        let expected = |number: u32, client: &Client| {
            let ends = [client.stream.local_addr().unwrap(), edge.listener];
            let header = match version {
                ProxyProtocol::V1 => {
                    let [from, to] = ends;
                    let (from_ip, to_ip) = (from.ip(), to.ip());
                    format!("PROXY TCP4 {from_ip} {to_ip} {} {}\r\n", from.port(), to.port())
                        .into_bytes()
                }
                ProxyProtocol::V2 => v2(&ends[0].to_string(), &ends[1].to_string()),
            };
            [format!("{number} ").as_bytes(), &header].concat()
        };
        let (mut one, mut other) = (Client::connect(edge.listener), Client::connect(edge.listener));
        for number in 1..=3 {
            for client in [&mut one, &mut other] {
                let body = client.get("/").unwrap().body;
                assert_eq!(body, expected(number, client), "{version:?}");
            }
        }
        assert_eq!(server.connections(), 2, "each has its own, and keeps it");
        // One that comes later gets none of those that lie idle.
        drop((one, other));
        let mut late = Client::connect(edge.listener);
        assert_eq!(late.get("/").unwrap().body, expected(1, &late));
        let checks = server.checks.lock().unwrap();
        match version {
            ProxyProtocol::V1 => {
                assert!(checks.iter().all(|header| header.starts_with(b"PROXY TCP4 127.")));
            }
            ProxyProtocol::V2 => assert!(checks.iter().all(|header| header == LOCAL)),
        }
        assert!(!checks.is_empty());
    }
}

#[test]
fn streams_of_one_http2_client_share_no_connection_with_others() {
    let server = Told::start();
    let edge = edge(server.address, ProxyProtocol::V1);
    let ask = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(edge.listener).await.unwrap();
            let port = stream.local_addr().unwrap().port();
            let (mut sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            for number in 1..=2 {
                let request = Request::get(format!("http://{}/", edge.listener));
                let request = request.body(Empty::<Bytes>::new()).unwrap();
                let answer = sender.send_request(request).await.unwrap();
                let body = answer.into_body().collect().await.unwrap().to_bytes();
                let to = edge.listener;
                let (ip, to) = (to.ip(), to.port());
                let header = format!("{number} PROXY TCP4 127.0.0.1 {ip} {port} {to}\r\n");
                assert_eq!(body, header.as_bytes());
            }
        });
    };
    (0..2).for_each(|_| ask());
    assert_eq!(server.connections(), 2);
}

#[test]
fn tcp_passes_on_whom_a_proxy_in_front_speaks_for() {
    let seen = Arc::<Mutex<Vec<Vec<u8>>>>::default();
    let kept = seen.clone();
    let server = backend::odd(move |_, mut stream| {
        let Some(header) = read_header(&mut stream) else { return };
        let mut bytes = [0; 4];
        if stream.read_exact(&mut bytes).is_ok() {
            kept.lock().unwrap().push(header);
            let _ = stream.write_all(&bytes);
        }
    });
    let mut edge = TestEdge::start();
    edge.listener = address();
    let mut table =
        table_of(1, edge.listener, Protocol::Tcp, Some(1), &[(1, &[server])], tcp_contract);
    let backend = &mut table.pools[0].backends[0];
    backend.proxy_protocol = Some(ProxyProtocol::V2);
    backend.health_proxy_protocol = Some(ProxyProtocol::V2);
    edge.put(table);
    edge.until_healthy(1);
    let say = |header: &[u8]| {
        let mut client = Client::connect(edge.listener);
        client.send([header, b"EHLO"].concat());
        assert_eq!(client.read_exact(4).unwrap(), b"EHLO");
        client.stream.local_addr().unwrap().to_string()
    };
    let own = say(b"");
    let mut expected = vec![v2(&own, &edge.listener.to_string())];
    assert_eq!(*seen.lock().unwrap(), expected);
    let relayed = v2("203.0.113.7:4000", "198.51.100.1:25");
    expect_headers(&mut edge, &["127.0.0.1"], None);
    let mut client = Client::connect(edge.listener);
    client.send([&relayed[..], b"EHLO"].concat());
    assert_eq!(client.read_exact(4).unwrap(), b"EHLO");
    expected.push(relayed);
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[test]
fn a_server_that_is_told_otherwise_by_a_new_table_is_checked_anew() {
    let server = Told::start();
    let mut edge = edge(server.address, ProxyProtocol::V2);
    let mut table = edge.admin_table();
    table.pools[0].backends[0].health_proxy_protocol = Some(ProxyProtocol::V1);
    edge.put(table);
    edge.until_healthy(1);
    until("a check has the other header", || {
        let checks = server.checks.lock().unwrap();
        checks.last().is_some_and(|header| header.starts_with(b"PROXY "))
    });
}
