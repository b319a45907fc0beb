//! What the edge speaks with servers: HTTP/2 without TLS.

mod support;

use std::{future::Future, net::SocketAddr, sync::atomic::Ordering};

use bytes::Bytes;
use h2::client::SendRequest;
use hornero_model::Protocol;
use http::{HeaderMap, Request};
use support::{
    TestEdge,
    client::Client,
    h2c::{H2cBackend, send},
    table_of, tcp_contract, until,
};

fn before(backend: &H2cBackend) -> TestEdge {
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[backend.address])];
    let mut table = table_of(0, edge.listener, Protocol::Http, Some(1), &sets, tcp_contract);
    table.pools[0].http2 = true;
    edge.put(table);
    edge.until_healthy(1);
    edge
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn connect(edge: &TestEdge) -> SendRequest<Bytes> {
    let stream = tokio::net::TcpStream::connect(edge.listener).await.unwrap();
    let (requests, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    requests.ready().await.unwrap()
}

fn post(path: &str) -> Request<()> {
    let uri = format!("http://site.test{path}");
    Request::builder().method("POST").uri(uri).header("te", "trailers").body(()).unwrap()
}

/// Status, body and trailers.
async fn read(response: h2::client::ResponseFuture) -> (http::response::Parts, Bytes, HeaderMap) {
    let (parts, mut body) = response.await.unwrap().into_parts();
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        whole.extend_from_slice(&data);
    }
    let trailers = body.trailers().await.unwrap().unwrap_or_default();
    (parts, whole.into(), trailers)
}

#[test]
fn trailers_pass_in_both_directions() {
    let backend = H2cBackend::start();
    let mut edge = before(&backend);
    block_on(async {
        let mut requests = connect(&edge).await;
        let (response, mut stream) = requests.send_request(post("/echo"), false).unwrap();
        let body = Bytes::from("message ".repeat(100_000));
        let sent = body.clone();
        tokio::spawn(async move {
            send(&mut stream, sent).await;
            let mut trailers = HeaderMap::new();
            trailers.insert("x-checksum", "abc".parse().unwrap());
            stream.send_trailers(trailers).unwrap();
        });
        let (parts, echoed, trailers) = read(response).await;
        assert_eq!((parts.status.as_u16(), echoed == body), (200, true));
        assert_eq!(trailers["grpc-status"], "0");
        assert_eq!(trailers["x-checksum"], "abc");

        let (response, _) = requests.send_request(post("/refuse"), true).unwrap();
        let (parts, body, trailers) = read(response).await;
        assert_eq!((parts.status.as_u16(), body.len(), trailers.len()), (200, 0, 0));
        assert_eq!(parts.headers["grpc-status"], "12");

        let (response, _) = requests.send_request(post("/head"), true).unwrap();
        let seen = String::from_utf8(read(response).await.1.to_vec()).unwrap();
        assert!(seen.starts_with("POST http://site.test/head HTTP/2.0\n"), "{seen}");
        for field in [
            "te: trailers\n",
            "via: 2 hornero\n",
            "x-forwarded-for: 127.0.0.1\n",
            "x-forwarded-host: site.test\n",
        ] {
            assert!(seen.contains(field), "{seen}");
        }
        assert!(!seen.contains("connection") && !seen.contains("\nhost:"), "{seen}");

        let (mut response, _) = requests.send_request(post("/early"), true).unwrap();
        let hint = std::future::poll_fn(|context| response.poll_informational(context)).await;
        assert_eq!(hint.unwrap().unwrap().status(), 103);
        assert_eq!(read(response).await.0.status, 200);

        let (response, _) = requests.send_request(post("/reset"), true).unwrap();
        assert_eq!(read(response).await.0.status, 502);
    });
    until("all have ended", || edge.counters(1) == (5, 0, 1, 0));
    // One a thread at most.
    assert!(backend.connections.load(Ordering::SeqCst) <= 2);
}

#[test]
fn both_directions_flow_at_once() {
    let backend = H2cBackend::start();
    let edge = before(&backend);
    block_on(async {
        let mut requests = connect(&edge).await;
        let (response, mut stream) = requests.send_request(post("/echo"), false).unwrap();
        let mut body = response.await.unwrap().into_body();
        for turn in 0..50 {
            let said = format!("turn {turn}");
            send(&mut stream, Bytes::from(said.clone())).await;
            let heard = body.data().await.unwrap().unwrap();
            body.flow_control().release_capacity(heard.len()).unwrap();
            assert_eq!(heard, said);
        }
        stream.send_data(Bytes::new(), true).unwrap();
        assert!(body.data().await.is_none());
        assert_eq!(body.trailers().await.unwrap().unwrap()["grpc-status"], "0");
    });
}

#[test]
fn clients_of_http1_are_answered_as_well() {
    let backend = H2cBackend::start();
    let mut edge = before(&backend);
    let mut client = Client::connect(edge.listener);
    let answer = client.get("/length").unwrap();
    assert_eq!((answer.status, answer.text().as_str()), (200, "hello"));
    assert_eq!(answer.header("content-length"), Some("5"));
    client.send("HEAD /length HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_eq!(client.answer_to(true).unwrap().header("content-length"), Some("5"));
    client.send("POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello");
    let answer = client.answer().unwrap();
    assert_eq!((answer.text().as_str(), answer.trailers.as_str()), ("hello", "grpc-status: 0\r\n"));
    let chunks = "5\r\nhello\r\n4\r\n you\r\n0\r\nx-sum: 1\r\n\r\n".to_owned();
    client.send("POST /echo HTTP/1.1\r\nhost: a\r\nte: trailers\r\nconnection: te\r\n");
    client.send(format!("transfer-encoding: chunked\r\n\r\n{chunks}"));
    let answer = client.answer().unwrap();
    assert_eq!(answer.text(), "hello you");
    assert_eq!(answer.trailers, "grpc-status: 0\r\nx-sum: 1\r\n");
    // What HTTP/2 has no way to say is left out.
    client.send(
        "GET /head HTTP/1.1\r\nhost: a:80\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n",
    );
    let seen = client.answer().unwrap().text();
    assert!(seen.starts_with("GET http://a:80/head HTTP/2.0\n"), "{seen}");
    assert!(!seen.contains("upgrade"), "{seen}");
    until("all have ended", || edge.counters(1) == (5, 0, 0, 0));
}

#[test]
fn a_server_that_ends_its_connection_is_asked_on_another() {
    let backend = H2cBackend::start();
    let mut edge = before(&backend);
    let mut client = Client::connect(edge.listener);
    for _ in 0..20 {
        // It says goodbye with this answer.
        assert_eq!(client.get("/last").unwrap().status, 200);
    }
    assert_eq!(client.get("/break").unwrap().status, 502, "twice, then no more");
    assert_eq!(client.get("/echo").unwrap().status, 200);
    assert_eq!(edge.counters(1).2, 1);
}

#[test]
fn many_requests_share_few_connections() {
    let backend = H2cBackend::start();
    let mut edge = before(&backend);
    block_on(async {
        let mut waiting = Vec::new();
        for _ in 0..4 {
            let mut requests = connect(&edge).await;
            for _ in 0..60 {
                requests = requests.ready().await.unwrap();
                let (response, mut stream) = requests.send_request(post("/echo"), false).unwrap();
                waiting.push(tokio::spawn(async move {
                    send(&mut stream, Bytes::from_static(&[7; 3000])).await;
                    stream.send_data(Bytes::new(), true).unwrap();
                    read(response).await
                }));
            }
        }
        for answer in waiting {
            let (parts, body, _) = answer.await.unwrap();
            assert_eq!((parts.status.as_u16(), body.len()), (200, 3000));
        }
    });
    until("all have ended", || edge.counters(1) == (240, 0, 0, 0));
    assert!(backend.connections.load(Ordering::SeqCst) <= 6, "a hundred streams each, two threads");
}
