//! TCP, HTTP/2 and TLS through the edge.

mod support;

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hornero_model::{Protocol, ReleaseNumber, RouteRule};
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{
    TestEdge,
    backend::{Backend, odd},
    client::Client,
    counters, service, table, table_of, tcp_contract, until,
};
use tokio::io::{AsyncRead, AsyncWrite};

fn tcp_edge(serve: impl Fn(usize, std::net::TcpStream) + Send + Sync + 'static) -> TestEdge {
    let address = odd(serve);
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[address])];
    edge.put(table_of(0, edge.listener, Protocol::Tcp, Some(1), &sets, tcp_contract));
    edge.until_healthy(1);
    edge
}

#[test]
fn tcp_ends_each_direction_by_itself() {
    // Answers only once the client has ended its direction.
    let mut edge = tcp_edge(|_, mut stream| {
        let mut all = Vec::new();
        if stream.read_to_end(&mut all).is_ok() && !all.is_empty() {
            all.reverse();
            let _ = stream.write_all(&all);
        }
    });
    let mut client = Client::connect(edge.listener);
    let sent: Vec<u8> = (0..3_000_000_u32).map(|number| (number % 251) as u8).collect();
    client.send(&sent);
    client.stream.shutdown(Shutdown::Write).unwrap();
    let mut received = client.read_to_end().unwrap();
    received.reverse();
    assert!(received == sent, "{} bytes came back", received.len());
    until("the connection has ended", || edge.counters(1) == (1, 0, 0, 0));
}

#[test]
fn tcp_survives_a_switch_and_can_be_cut_off() {
    let echo = |_, mut stream: std::net::TcpStream| {
        let mut bytes = [0; 1024];
        while let Ok(count) = stream.read(&mut bytes) {
            if count == 0 || stream.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    };
    let (one, two) = (odd(echo), odd(echo));
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one]), (2, &[two])];
    edge.put(table_of(0, edge.listener, Protocol::Tcp, Some(1), &sets, tcp_contract));
    edge.until_healthy(2);
    let mut client = Client::connect(edge.listener);
    client.send("a");
    assert_eq!(client.read_exact(1).unwrap(), b"a");
    edge.put(table_of(0, edge.listener, Protocol::Tcp, Some(2), &sets, tcp_contract));
    client.send("b");
    assert_eq!(client.read_exact(1).unwrap(), b"b");
    let status = edge.admin.status().unwrap();
    assert_eq!((counters(&status, 1).1, counters(&status, 2).0), (1, 0));
    assert_eq!(edge.admin.cut(&service(), ReleaseNumber(1)).unwrap(), 1);
    assert!(client.is_closed());
    until("it counts as failed", || edge.counters(1) == (1, 0, 1, 0));
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

async fn http2<T: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: T,
) -> SendRequest<Full<Bytes>> {
    let (sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    sender
}

fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Full<Bytes>> {
    let uri = format!("http://site.test{path}");
    Request::builder().method(method).uri(uri).body(Full::new(body.into())).unwrap()
}

#[test]
fn http2_requests_share_a_connection() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    block_on(async {
        let stream = tokio::net::TcpStream::connect(edge.listener).await.unwrap();
        let mut sender = http2(stream).await;
        let mut waiting = Vec::new();
        for number in 0..40 {
            sender.ready().await.unwrap();
            let body = format!("body {number}").repeat(2000);
            let answer = sender.send_request(request("POST", "/echo", body.clone()));
            waiting.push((body, tokio::spawn(answer)));
        }
        for (body, answer) in waiting {
            let answer = answer.await.unwrap().unwrap();
            assert_eq!(answer.status(), 200);
            assert_eq!(answer.into_body().collect().await.unwrap().to_bytes(), body);
        }
        let answer = sender.send_request(request("GET", "/head", "")).await.unwrap();
        let seen = answer.into_body().collect().await.unwrap().to_bytes();
        let seen = String::from_utf8(seen.to_vec()).unwrap();
        assert!(seen.contains("host: site.test\n"), "{seen}");
        assert!(seen.contains("x-forwarded-for: 127.0.0.1\n"), "{seen}");

        let answer = sender.send_request(request("HEAD", "/big?500", "")).await.unwrap();
        assert_eq!(answer.headers()["content-length"], "500");
        let answer = sender.send_request(request("GET", "/big?3000000", "")).await.unwrap();
        assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().len(), 3_000_000);
        for status in [204, 304, 500] {
            let answer = sender
                .send_request(request("GET", &format!("/status?{status}"), ""))
                .await
                .unwrap();
            assert_eq!(answer.status(), status);
        }
        let mut answer = sender.send_request(request("GET", "/slow?1000", "")).await.unwrap();
        assert!(answer.body_mut().frame().await.unwrap().is_ok());
        let dir = edge.dir.path().to_owned();
        let cut = tokio::task::spawn_blocking(move || {
            let mut admin = hornero_edge::EdgeClient::new(&dir);
            admin.cut(&service(), ReleaseNumber(1)).unwrap()
        });
        assert_eq!(cut.await.unwrap(), 1);
        while let Some(frame) = answer.body_mut().frame().await {
            if frame.is_err() {
                return;
            }
        }
        panic!("a cut answer looked complete");
    });
    until("all have ended", || edge.counters(1) == (47, 0, 1, 1));
}

#[test]
fn http2_clients_that_go_away_are_no_failures() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    block_on(async {
        let stream = tokio::net::TcpStream::connect(edge.listener).await.unwrap();
        let mut sender = http2(stream).await;
        let answer = tokio::spawn(sender.send_request(request("GET", "/wait?60000", "")));
        while edge.counters(1).1 != 1 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        answer.abort();
        // The abort is sent by the connection's task, which needs this thread.
        while edge.counters(1) != (1, 0, 0, 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
}

#[test]
fn http2_answers_to_clients_that_take_nothing_can_be_cut_off() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    block_on(async {
        let stream = tokio::net::TcpStream::connect(edge.listener).await.unwrap();
        let mut sender = http2(stream).await;
        let mut answer = sender.send_request(request("GET", "/big?30000000", "")).await.unwrap();
        // Nothing is read, so the window is soon full.
        let taken = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap().len();
        // Nothing tells that it is full; a cut before that has to do the same.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let dir = edge.dir.path().to_owned();
        let cut = tokio::task::spawn_blocking(move || {
            let mut admin = hornero_edge::EdgeClient::new(&dir);
            admin.cut(&service(), ReleaseNumber(1)).unwrap()
        });
        assert_eq!(cut.await.unwrap(), 1);
        while edge.counters(1) != (1, 0, 1, 0) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let mut rest = 0;
        while let Some(frame) = answer.body_mut().frame().await {
            match frame {
                Ok(frame) => rest += frame.into_data().unwrap().len(),
                Err(_) => return,
            }
        }
        panic!("a cut answer of {taken} and {rest} bytes looked complete");
    });
}

#[test]
fn http2_says_goodbye_when_the_edge_drains() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let running = edge.edge.take().unwrap();
    block_on(async {
        let stream = tokio::net::TcpStream::connect(edge.listener).await.unwrap();
        let mut sender = http2(stream).await;
        let mut request_slow = request("GET", "/slow?10", "");
        request_slow.headers_mut().insert("te", "trailers".parse().unwrap());
        let answer = sender.send_request(request_slow).await.unwrap();
        let stopped = tokio::task::spawn_blocking(move || running.stop());
        let body = answer.into_body().collect().await.unwrap();
        assert_eq!(body.trailers().unwrap()["x-sum"], "10");
        stopped.await.unwrap().unwrap();
        assert!(sender.send_request(request("GET", "/", "")).await.is_err());
    });
}

#[test]
fn tls_carries_both_versions() {
    use tokio_rustls::rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    };
    let backend = Backend::start("one");
    let mut edge = TestEdge::start();
    let tls = support::tls::certificate(edge.dir.path(), "localhost");
    let mut table = table(0, edge.listener, Some(1), &[(1, &[backend.address])]);
    table.listeners[0].tls = Some(tls.clone());
    edge.put(table.clone());
    edge.until_healthy(1);
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&tls.certificate).unwrap()).unwrap();
    for alpn in ["h2", "http/1.1"] {
        let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
        let seen = block_on(async {
            let stream = tokio::net::TcpStream::connect(edge.listener).await.unwrap();
            let name = ServerName::try_from("localhost").unwrap();
            let stream = tokio_rustls::TlsConnector::from(Arc::new(config))
                .connect(name, stream)
                .await
                .unwrap();
            let mut answer = if alpn == "h2" {
                http2(stream).await.send_request(request("GET", "/head", "")).await.unwrap()
            } else {
                let (mut sender, connection) =
                    hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
                tokio::spawn(connection);
                let mut request = request("GET", "/head", "");
                *request.uri_mut() = "/head".parse().unwrap();
                request.headers_mut().insert("host", "localhost".parse().unwrap());
                sender.send_request(request).await.unwrap()
            };
            answer.body_mut().collect().await.unwrap().to_bytes()
        });
        let seen = String::from_utf8(seen.to_vec()).unwrap();
        assert!(seen.contains("x-forwarded-proto: https\n"), "{alpn}: {seen}");
    }
}

#[test]
fn the_word_of_a_trusted_proxy_is_taken() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let mut table = edge.admin_table();
    let ask = "GET /head HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 203.0.113.9\r\nX-Forwarded-For: 10.1.2.3\r\n\
        x-forwarded-proto: https\r\nx-forwarded-host: shop.test\r\nx-forwarded-port: 443\r\nforwarded: for=x\r\n\
        x-real-ip: 9.9.9.9\r\n\r\n";
    let mut seen = |networks: &[&str]| {
        table.listeners[0].trusted_proxies =
            networks.iter().map(|text| (*text).to_owned()).collect();
        edge.put(table.clone());
        let mut client = Client::connect(edge.listener);
        client.send(ask);
        let by_http1 = client.answer().unwrap().text();
        let curl = std::process::Command::new("curl")
            .args(["-s", "--http2-prior-knowledge", "-H", "x-forwarded-for: 203.0.113.9"])
            .args(["-H", "x-forwarded-proto: https"])
            .arg(format!("http://{}/head", edge.listener))
            .output()
            .unwrap();
        (by_http1, String::from_utf8(curl.stdout).unwrap())
    };
    for networks in [&[][..], &["192.0.2.0/24"], &["127.0.0.2", "::/0"]] {
        let (http1, http2) = seen(networks);
        for text in [&http1, &http2] {
            assert!(text.contains("x-forwarded-for: 127.0.0.1\n"), "{text}");
            assert!(text.contains("x-forwarded-proto: http\n"), "{text}");
        }
        assert!(!http1.contains("shop.test") && !http1.contains("443"), "{http1}");
    }
    for networks in [&["127.0.0.0/8"][..], &["10.0.0.0/8", "127.0.0.1"]] {
        let (http1, http2) = seen(networks);
        assert!(http1.contains("x-forwarded-for: 203.0.113.9, 10.1.2.3, 127.0.0.1\n"), "{http1}");
        assert!(http2.contains("x-forwarded-for: 203.0.113.9, 127.0.0.1\n"), "{http2}");
        for field in ["proto: https\n", "host: shop.test\n", "port: 443\n"] {
            assert!(http1.contains(&format!("x-forwarded-{field}")), "{http1}");
        }
        assert!(http2.contains("x-forwarded-proto: https\n"), "{http2}");
        for text in [&http1, &http2] {
            assert!(!text.contains("for=x") && !text.contains("x-real-ip"), "{text}");
            assert_eq!(text.matches("x-forwarded-for").count(), 1, "{text}");
        }
    }
    table.listeners[0].trusted_proxies = vec!["127.0.0.0/33".to_owned()];
    table.generation += 100;
    let refused = edge.admin.apply(&table).unwrap_err().to_string();
    assert!(refused.contains("is no network"), "{refused}");
}

#[test]
fn cleartext_is_redirected_to_tls() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let mut table = edge.admin_table();
    let rules = &mut table.listeners[0].rules;
    rules[0].redirect_to = Some(443);
    let other = RouteRule {
        path_prefix: Some("/other".to_owned()),
        redirect_to: Some(8443),
        ..rules[0].clone()
    };
    rules.push(other);
    edge.put(table);
    let mut client = Client::connect(edge.listener);
    for (host, target, location) in [
        ("a.test", "/x/%41?b=c&d", "https://a.test/x/%41?b=c&d"),
        ("a.test:8080", "/", "https://a.test/"),
        ("a.test", "//elsewhere.test/", "https://a.test//elsewhere.test/"),
        ("a.test", "/other/x", "https://a.test:8443/other/x"),
        ("a.test", "http://b.test?x", "https://b.test/?x"),
        ("[::1]:80", "/x", "https://[::1]/x"),
    ] {
        client.send(format!("GET {target} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
        let answer = client.answer().unwrap();
        assert_eq!((answer.status, answer.header("location")), (308, Some(location)), "{target}");
    }
    client.send("POST /x HTTP/1.1\r\nhost: a.test\r\ncontent-length: 5\r\n\r\nhello");
    assert_eq!(client.answer().unwrap().status, 308, "the body is not waited for");
    let mut old = Client::connect(edge.listener);
    old.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(old.answer().unwrap().status, 400, "there is no host to send anybody to");
    let curl = std::process::Command::new("curl")
        .args(["-s", "--http2-prior-knowledge", "-o", "/dev/null"])
        .args(["-w", "%{http_version} %{http_code} %{redirect_url}"])
        .arg(format!("http://{}/x?y", edge.listener))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&curl.stdout).into_owned();
    assert_eq!(said, format!("2 308 https://{}/x?y", edge.listener.ip()));
    assert_eq!(backend.requests(), 0);
}
