//! WebSockets of clients of both versions, and what they are told when a set is cut off.

mod support;

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use h2::ext::Protocol;
use hornero_model::ReleaseNumber;
use http::{HeaderMap, Request};
use support::{
    TestEdge,
    backend::Backend,
    client::{Client, get},
    counters,
    h2c::H2cBackend,
    service, table, until,
};

const FRAME: &[u8] = b"\x82\x85\0\0\0\0hello";
const GOING_AWAY: &[u8] = b"\x88\x02\x03\xe9";

fn open(edge: &TestEdge) -> Client {
    let mut client = Client::connect(edge.listener);
    client.send("GET /ws HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: WebSocket\r\n\r\n");
    assert_eq!(client.head().unwrap().0, 101);
    client
}

#[test]
fn clients_are_told_that_the_server_goes_away() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let mut whole = open(&edge);
    whole.send(FRAME);
    assert_eq!(whole.read_exact(FRAME.len()).unwrap(), FRAME, "the server sends it back");
    let mut part = open(&edge);
    part.send(&FRAME[..8]);
    assert_eq!(part.read_exact(8).unwrap(), &FRAME[..8]);
    let mut over = open(&edge);
    over.send(GOING_AWAY);
    assert_eq!(over.read_exact(4).unwrap(), GOING_AWAY);
    assert_eq!(edge.admin.cut(&service(), ReleaseNumber(1)).unwrap(), 3);
    assert_eq!(whole.read_to_end().unwrap(), GOING_AWAY, "an end, no reset");
    assert!(part.read_to_end().is_err(), "no frame fits into another one");
    assert!(over.read_to_end().is_err(), "nothing follows a close");
    until("they count as failed", || edge.counters(1) == (3, 0, 3, 0));
    assert_eq!(get(edge.listener, "/").unwrap().text(), "one");
}

/// The next data that is not nothing: an end may come with a frame of its own.
async fn next(body: &mut h2::RecvStream) -> Option<Bytes> {
    loop {
        match body.data().await.map(Result::unwrap) {
            Some(data) if data.is_empty() => {}
            data => return data,
        }
    }
}

/// A connection by HTTP/2 after a first answer to `path`: by then the edge has told its settings.
async fn http2(listener: SocketAddr, path: &str) -> h2::client::SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(listener).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let mut requests = requests.ready().await.unwrap();
    let uri = format!("http://site.test{path}");
    let plain = Request::builder().uri(uri).body(()).unwrap();
    let (response, _) = requests.send_request(plain, true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    requests
}

fn connect(path: &str, protocol: Option<Protocol>) -> Request<()> {
    let uri = format!("http://site.test{path}");
    let mut request = Request::builder().method("CONNECT").uri(uri).body(()).unwrap();
    request.headers_mut().insert("sec-websocket-version", "13".parse().unwrap());
    request.headers_mut().insert("sec-websocket-protocol", "chat".parse().unwrap());
    request.extensions_mut().extend(
        protocol
            .map(|protocol| {
                let mut extensions = http::Extensions::new();
                extensions.insert(protocol);
                extensions
            })
            .unwrap_or_default(),
    );
    request
}

#[test]
fn clients_of_http2_have_websockets() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (dir, listener) = (edge.dir.path().to_owned(), edge.listener);
    runtime.block_on(async {
        let mut requests = http2(listener, "/").await;
        assert!(requests.is_extended_connect_protocol_enabled());

        let websocket = || Some(Protocol::from_static("websocket"));
        let (response, mut stream) =
            requests.send_request(connect("/ws", websocket()), false).unwrap();
        let answer = response.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().get("upgrade"), None);
        let mut body = answer.into_body();
        for turn in 0..20 {
            let message = [FRAME, &[0x82, 0x81, 0, 0, 0, 0, turn]].concat();
            stream.send_data(Bytes::from(message.clone()), false).unwrap();
            let mut heard = Vec::new();
            while heard.len() < message.len() {
                let data = body.data().await.unwrap().unwrap();
                body.flow_control().release_capacity(data.len()).unwrap();
                heard.extend_from_slice(&data);
            }
            assert_eq!(heard, message);
        }
        let cut = tokio::task::spawn_blocking(move || {
            hornero_edge::EdgeClient::new(&dir).cut(&service(), ReleaseNumber(1)).unwrap()
        });
        assert_eq!(cut.await.unwrap(), 1);
        assert_eq!(next(&mut body).await.unwrap(), GOING_AWAY);
        assert_eq!(next(&mut body).await, None, "an end, no reset");

        // What does not become a WebSocket is an ordinary answer.
        let (response, _) =
            requests.send_request(connect("/status?403", websocket()), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 403);
        // A success that opens none is none.
        let (response, _) = requests.send_request(connect("/", websocket()), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 502);
        let other = Some(Protocol::from_static("connect-udp"));
        let (response, _) = requests.send_request(connect("/ws", other), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 405);
    });
    until("one was cut off", || edge.counters(1) == (4, 0, 1, 0));
}

#[test]
fn an_edge_that_stops_says_goodbye() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::with(|options| {
        options.limits.drain_timeout = Duration::from_millis(300);
    });
    edge.apply(Some(1), &[(1, &[backend.address])]);
    edge.until_healthy(1);
    let mut by_http1 = open(&edge);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut requests = http2(edge.listener, "/").await;
        let protocol = Some(Protocol::from_static("websocket"));
        let (response, _stream) = requests.send_request(connect("/ws", protocol), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        let stopping = edge.edge.take().unwrap();
        let stopped = tokio::task::spawn_blocking(move || stopping.stop().unwrap());
        assert_eq!(next(&mut body).await.unwrap(), GOING_AWAY);
        assert_eq!(next(&mut body).await, None);
        stopped.await.unwrap();
    });
    assert_eq!(by_http1.read_to_end().unwrap(), GOING_AWAY);
}

#[test]
fn a_client_that_ends_its_websocket_ends_it_at_the_server() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let (dir, listener) = (edge.dir.path().to_owned(), edge.listener);
    runtime.block_on(async {
        let mut requests = http2(listener, "/").await;
        for resets in [false, true] {
            let protocol = Some(Protocol::from_static("websocket"));
            let (response, mut stream) =
                requests.send_request(connect("/ws", protocol), false).unwrap();
            let mut body = response.await.unwrap().into_body();
            match resets {
                true => stream.send_reset(h2::Reason::CANCEL),
                false => {
                    stream.send_data(Bytes::from_static(FRAME), true).unwrap();
                    assert_eq!(next(&mut body).await.unwrap(), FRAME);
                    assert_eq!(next(&mut body).await, None);
                    assert_eq!(body.trailers().await.unwrap(), None::<HeaderMap>);
                }
            }
            let mut admin = hornero_edge::EdgeClient::new(&dir);
            let ended = tokio::task::spawn_blocking(move || {
                until("it has ended", || counters(&admin.status().unwrap(), 1).1 == 0);
            });
            ended.await.unwrap();
        }
    });
    assert_eq!(edge.counters(1), (3, 0, 0, 0));
}

/// An edge before a server that is asked by HTTP/2.
fn before_http2(server: &H2cBackend) -> TestEdge {
    let mut edge = TestEdge::start();
    let mut table = table(1, edge.listener, Some(1), &[(1, &[server.address])]);
    table.pools[0].http2 = true;
    table.pools[0].backends[0].health = Some(support::tcp_contract(server.address.port()));
    edge.put(table);
    edge.until_healthy(1);
    edge
}

#[test]
fn servers_of_http2_have_websockets() {
    let server = H2cBackend::with_websockets();
    let mut edge = before_http2(&server);
    let listener = edge.listener;
    let open = |path: &str| {
        let mut client = Client::connect(listener);
        client.send(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n"));
        client.send("upgrade: websocket\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n");
        client.send("sec-websocket-version: 13\r\nsec-websocket-protocol: chat\r\n\r\n");
        let (status, head) = client.head().unwrap();
        (status, head.to_ascii_lowercase(), client)
    };
    // That of RFC 6455, 1.3.
    let (status, head, mut client) = open("/");
    assert_eq!(status, 101);
    for field in [
        "sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=",
        "upgrade: websocket",
        "connection: upgrade",
        "sec-websocket-protocol: chat",
    ] {
        assert!(head.contains(&format!("\r\n{field}\r\n")), "{head}");
    }
    for _ in 0..20 {
        client.send(FRAME);
        assert_eq!(client.read_exact(FRAME.len()).unwrap(), FRAME);
    }
    let (status, _, _) = open("/decline");
    assert_eq!(status, 403);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut requests = http2(listener, "/refuse").await;
        let websocket = || Some(Protocol::from_static("websocket"));
        let (response, mut stream) =
            requests.send_request(connect("/", websocket()), false).unwrap();
        let answer = response.await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.headers().get("sec-websocket-accept"), None);
        assert_eq!(answer.headers()["sec-websocket-protocol"], "chat");
        let mut body = answer.into_body();
        stream.send_data(Bytes::from_static(FRAME), false).unwrap();
        assert_eq!(next(&mut body).await.unwrap(), FRAME);
        stream.send_data(Bytes::new(), true).unwrap();
        assert_eq!(next(&mut body).await, None, "its end is passed on, and comes back");
        let (response, _) = requests.send_request(connect("/decline", websocket()), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 403);
    });
    assert_eq!(edge.admin.cut(&service(), ReleaseNumber(1)).unwrap(), 1);
    assert_eq!(client.read_to_end().unwrap(), GOING_AWAY);
}

#[test]
fn servers_of_http2_that_open_none_are_asked_for_none() {
    let server = H2cBackend::start();
    let edge = before_http2(&server);
    let mut client = Client::connect(edge.listener);
    client.send("GET /head HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n");
    client.send("sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
    let answer = client.answer().unwrap();
    assert_eq!(answer.status, 200, "an upgrade may be ignored");
    assert!(answer.text().starts_with("GET http://a/head"), "{}", answer.text());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut requests = http2(edge.listener, "/refuse").await;
        let websocket = Some(Protocol::from_static("websocket"));
        let (response, _) = requests.send_request(connect("/head", websocket), false).unwrap();
        assert_eq!(response.await.unwrap().status(), 501);
    });
}
