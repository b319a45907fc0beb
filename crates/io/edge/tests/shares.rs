//! Several releases behind one pool, each with its part of what is new; and a pool that holds what is new back.

mod support;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::Mutex,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hornero_model::{
    Admission, LatencyBucket, Millis, PoolProbe, PreviewName, PreviewRule, Protocol,
    ReleaseCounters, ReleaseNumber, RouteTable, Share, Sticky, Timestamp,
};
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use support::{
    TestEdge,
    backend::{Backend, odd},
    client::{Client, get},
    counters, table, table_of, tcp_contract, until,
};

fn share(release: u32, weight: u32) -> Share {
    Share { release: ReleaseNumber(release), weight }
}

fn shared(mut table: RouteTable, traffic: &[Share]) -> RouteTable {
    table.pools[0].traffic = traffic.to_vec();
    table
}

fn held(mut table: RouteTable, span: Millis, at_most: u32) -> RouteTable {
    table.pools[0].admission = Admission::Held { until: Timestamp::now().after(span), at_most };
    table
}

/// An edge in front of release 1 and of release 2, which gets `weight` ten-thousandths.
fn split(one: &Backend, two: &Backend, weight: u32) -> TestEdge {
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (2, &[two.address])];
    let traffic = [share(1, Share::WHOLE - weight), share(2, weight)];
    edge.put(shared(table(0, edge.listener, None, &sets), &traffic));
    edge.until_healthy(2);
    edge
}

#[test]
fn requests_fall_on_releases_by_their_weights() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = split(&one, &two, 1_000);
    // Every second request is of another kind: each kind is shared out as all are.
    let mut client = Client::connect(edge.listener);
    let mut odd = 0;
    for number in 0..2_000 {
        let answer = client.get("/").unwrap();
        odd += usize::from(number % 2 == 1 && answer.text() == "two");
    }
    assert!((95..=105).contains(&odd), "{odd} of every second, a thousand in all");
    let status = edge.admin.status().unwrap();
    let (first, second) = (counters(&status, 1), counters(&status, 2));
    assert_eq!((first.0 + second.0, first.2 + second.2), (2_000, 0));
    assert!((195..=205).contains(&second.0), "{second:?}");
    // On a connection each, over all threads.
    let before = two.requests();
    for _ in 0..300 {
        assert_eq!(get(edge.listener, "/").unwrap().status, 200);
    }
    let fresh = two.requests() - before;
    assert!((20..=40).contains(&fresh), "{fresh} of 300");
}

#[test]
fn a_release_without_a_healthy_server_leaves_its_part_to_the_others() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = split(&one, &two, 5_000);
    drop(two);
    // Its connections are refused before a check has failed, and after.
    for _ in 0..100 {
        assert_eq!(get(edge.listener, "/").unwrap().text(), "one");
    }
    until("a check has failed", || {
        let status = edge.admin.status().unwrap();
        status.backends.iter().any(|of| of.health == hornero_model::Health::Unhealthy)
    });
    for _ in 0..100 {
        assert_eq!(get(edge.listener, "/").unwrap().text(), "one");
    }
    let status = edge.admin.status().unwrap();
    assert_eq!((counters(&status, 1).2, counters(&status, 2).2), (0, 0), "{status:?}");
    one.set_healthy(false);
    until("none is healthy", || get(edge.listener, "/").unwrap().status == 503);
}

#[test]
fn releases_that_share_requests_are_asked_by_the_edge_and_counted_apart() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (2, &[two.address])];
    let asking = |traffic: &[Share], listener| {
        let mut table = shared(table(0, listener, None, &sets), traffic);
        let (path, interval) = ("/status?503".to_owned(), Millis(10));
        table.pools[0].probe = Some(PoolProbe { path, interval });
        table
    };
    edge.put(asking(&[share(1, 9_000), share(2, 1_000)], edge.listener));
    edge.until_healthy(2);
    let probes = |edge: &mut TestEdge, release: u32| {
        let status = edge.admin.status().unwrap();
        let of = status.counters.iter().find(|of| of.release.0 == release).cloned().unwrap();
        assert_eq!((of.requests, of.failed, of.server_errors), (0, 0, 0), "{of:?}");
        of.probes.map(|probes| *probes).unwrap_or_default()
    };
    until("both were asked", || (1..=2).all(|release| probes(&mut edge, release).requests >= 5));
    for release in 1..=2 {
        let seen = probes(&mut edge, release);
        assert_eq!((seen.server_errors, seen.failed), (seen.requests, 0), "{seen:?}");
        assert_eq!(seen.latency.count(), seen.requests, "{seen:?}");
    }
    // One that is gone is none to ask: its health is told by its checks.
    drop(two);
    until("a check has failed", || {
        let status = edge.admin.status().unwrap();
        status.backends.iter().any(|of| of.health == hornero_model::Health::Unhealthy)
    });
    let before = (probes(&mut edge, 1).requests, probes(&mut edge, 2).requests);
    until("the other is asked on", || probes(&mut edge, 1).requests > before.0 + 5);
    assert!(probes(&mut edge, 2).requests <= before.1 + 1);
    // Nothing is shared any more.
    edge.put(asking(&[share(1, Share::WHOLE)], edge.listener));
    let (asked, begun) = (probes(&mut edge, 1).requests, one.requests());
    for _ in 0..20 {
        assert_eq!(get(edge.listener, "/").unwrap().status, 200);
    }
    until("twenty requests came", || one.requests() >= begun + 20);
    let status = edge.admin.status().unwrap();
    let probed = status.counters[0].probes.clone().unwrap().requests;
    assert!(probed <= asked + 1, "{probed} after {asked}");
}

/// Which of these users' requests release 2 answers, asked twice each, by HTTP/1.1 or HTTP/2.
fn met_new(edge: &TestEdge, users: usize, by_http2: bool) -> Vec<bool> {
    let mut http2 = Http2::connect(edge.listener);
    let mut http1 = Client::connect(edge.listener);
    let mut ask = |cookie: &str| match by_http2 {
        true => http2.get_with("cookie", cookie).1,
        false => {
            http1.send(format!("GET / HTTP/1.1\r\nhost: test\r\ncookie: a=1; {cookie}\r\n\r\n"));
            http1.answer().unwrap().text()
        }
    };
    let user = |user: usize| {
        let cookie = format!("session=user-{user}");
        let (first, second) = (ask(&cookie), ask(&cookie));
        assert_eq!(first, second, "the requests of {cookie} stick to one side");
        first == "two"
    };
    (0..users).map(user).collect()
}

#[test]
fn clients_stick_to_their_side_and_a_larger_share_takes_none_back() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (2, &[two.address])];
    let plain = table(0, edge.listener, None, &sets);
    let mut before = vec![false; 300];
    for (weight, least, most) in [(1_000, 10, 55), (5_000, 110, 190), (9_000, 245, 290)] {
        let mut table = shared(plain.clone(), &[share(1, Share::WHOLE - weight), share(2, weight)]);
        table.pools[0].sticky = Some(Sticky::Cookie("session".to_owned()));
        edge.put(table);
        edge.until_healthy(2);
        let now = met_new(&edge, 300, false);
        assert_eq!(now, met_new(&edge, 300, true), "HTTP/2 is shared out as HTTP/1.1 is");
        let count = now.iter().filter(|met| **met).count();
        assert!((least..=most).contains(&count), "{count} of 300 at {weight}");
        let back = before.iter().zip(&now).filter(|(before, now)| **before && !**now).count();
        assert_eq!(back, 0, "nobody goes back at {weight}");
        before = now;
    }
    // Whoever has no such cookie is shared out request by request.
    let mut client = Client::connect(edge.listener);
    let old = (0..100).filter(|_| client.get("/").unwrap().text() == "one").count();
    assert!((5..=15).contains(&old), "{old} of 100");
    // One that sticks to a side without a server is answered all the same.
    drop(two);
    assert!(!met_new(&edge, 50, false).contains(&true));
}

#[test]
fn connections_of_a_tcp_pool_fall_on_releases_by_their_weights() {
    let saying = |name: &'static [u8]| {
        odd(move |_, mut stream| {
            let mut byte = [0];
            if stream.read_exact(&mut byte).is_ok() {
                let _ = stream.write_all(name);
            }
        })
    };
    let (one, two) = (saying(b"1"), saying(b"2"));
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one]), (2, &[two])];
    let table = table_of(0, edge.listener, Protocol::Tcp, None, &sets, tcp_contract);
    edge.put(shared(table, &[share(1, 7_500), share(2, 2_500)]));
    edge.until_healthy(2);
    let mut second = 0;
    for _ in 0..200 {
        let mut client = Client::connect(edge.listener);
        client.send("?");
        second += usize::from(client.read_exact(1).unwrap() == b"2");
    }
    assert!((40..=60).contains(&second), "{second} of 200");
}

#[test]
fn shares_that_are_not_the_whole_are_refused() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[backend.address])];
    for traffic in [vec![share(1, 9_999)], vec![share(1, 5_000), share(1, 5_000)]] {
        let mut bad = shared(table(9, edge.listener, None, &sets), &traffic);
        bad.generation = 9;
        let error = edge.admin.apply(&bad).unwrap_err().to_string();
        assert!(error.contains("the shares of pool `site/http` are not the whole"), "{error}");
    }
    assert_eq!(get(edge.listener, "/").unwrap().status, 200);
}

/// The same edge with a preview of release 9 that gets `weight` ten-thousandths, and is named by `new`.
fn previewed(one: &Backend, shown: &Backend, weight: u32) -> TestEdge {
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (9, &[shown.address])];
    let mut table = shared(table(0, edge.listener, None, &sets), &[Share::whole(ReleaseNumber(1))]);
    table.pools[0].previews.extend((weight > 0).then(|| share(9, weight)));
    let mut own = table.pools[0].clone();
    own.name.service = "new.site".parse().unwrap();
    own.backends.retain(|of| of.release.0 == 9);
    (own.traffic, own.previews) = (vec![Share::whole(ReleaseNumber(9))], Vec::new());
    let name = PreviewName::new("new").unwrap();
    let rule = PreviewRule { name, pool: own.name.clone() };
    table.listeners[0].rules[0].previews.push(rule);
    table.pools.push(own);
    edge.put(table);
    edge.until_healthy(3);
    edge
}

/// A request that names a preview.
fn naming(client: &mut Client, name: &str) -> (u16, String) {
    client.send(format!("GET / HTTP/1.1\r\nhost: test\r\nx-hornero-PREVIEW: {name}\r\n\r\n"));
    let answer = client.answer().unwrap();
    (answer.status, answer.text())
}

#[test]
fn a_preview_gets_what_names_it_and_its_share() {
    let (one, shown) = (Backend::start("one"), Backend::start("shown"));
    let edge = previewed(&one, &shown, 0);
    let mut client = Client::connect(edge.listener);
    for _ in 0..50 {
        assert_eq!(client.get("/").unwrap().text(), "one");
        assert_eq!(naming(&mut client, "new").1, "shown");
        assert_eq!(naming(&mut client, "newer").1, "one", "nobody\'s name is production\'s");
    }
    let edge = previewed(&one, &shown, 1_000);
    let mut client = Client::connect(edge.listener);
    let got = (0..1_000).filter(|_| client.get("/").unwrap().text() == "shown").count();
    assert!((95..=105).contains(&got), "{got} of 1000");
}

#[test]
fn a_sick_preview_gives_back_its_share_and_production_never_falls_on_it() {
    let (one, shown) = (Backend::start("one"), Backend::start("shown"));
    let mut edge = previewed(&one, &shown, 5_000);
    shown.set_healthy(false);
    until("a check has failed", || {
        let status = edge.admin.status().unwrap();
        status.backends.iter().filter(|of| of.health == hornero_model::Health::Unhealthy).count()
            == 2
    });
    let mut client = Client::connect(edge.listener);
    for _ in 0..100 {
        assert_eq!(client.get("/").unwrap().text(), "one");
    }
    assert_eq!(naming(&mut client, "new").0, 503, "who asks for it is told");
    shown.set_healthy(true);
    edge.until_healthy(3);
    one.set_healthy(false);
    // What falls on production is refused, though the preview is well; what falls on the preview is answered.
    until("production is sick", || {
        let status = edge.admin.status().unwrap();
        status.backends.iter().any(|of| of.health == hornero_model::Health::Unhealthy)
    });
    let before = shown.requests();
    let mut client = Client::connect(edge.listener);
    let refused = (0..100).filter(|_| client.get("/").unwrap().status == 503).count();
    assert!((45..=55).contains(&refused), "{refused} of 100");
    assert!(shown.requests() > before);
}

#[test]
fn the_share_of_a_preview_costs_no_request_when_its_server_is_gone() {
    let (one, shown) = (Backend::start("one"), Backend::start("shown"));
    let mut edge = previewed(&one, &shown, 5_000);
    drop(shown);
    for _ in 0..100 {
        assert_eq!(get(edge.listener, "/").unwrap().text(), "one");
    }
    let status = edge.admin.status().unwrap();
    assert_eq!(counters(&status, 1).2, 0, "{status:?}");
}

#[test]
fn previews_that_leave_nothing_or_have_another_share_are_refused() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[backend.address])];
    for previews in [
        vec![share(9, 10_000)],
        vec![share(1, 5)],
        vec![share(9, 0)],
        vec![share(9, 1), share(9, 1)],
    ] {
        let mut bad = table(9, edge.listener, Some(1), &sets);
        bad.pools[0].previews = previews;
        assert!(edge.admin.apply(&bad).is_err(), "{:?}", bad.pools[0].previews);
    }
}

/// Has `count` clients send a request each.
fn waiting(edge: &TestEdge, count: usize) -> Vec<Client> {
    let mut clients: Vec<Client> = (0..count).map(|_| Client::connect(edge.listener)).collect();
    for client in &mut clients {
        client.send("GET / HTTP/1.1\r\nhost: test\r\n\r\n");
    }
    clients
}

#[test]
fn a_held_pool_answers_what_waited_once_it_is_let_in() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 2] = [(1, &[one.address]), (2, &[two.address])];
    let plain = table(0, edge.listener, Some(1), &sets);
    edge.put(plain.clone());
    edge.until_healthy(2);
    edge.put(held(plain.clone(), Millis(60_000), 3));
    let mut clients = waiting(&edge, 4);
    let mut http2 = Http2::connect(edge.listener);
    let mut found = None;
    until("one of four finds no room", || {
        found = clients.iter_mut().position(Client::has_answer);
        found.is_some()
    });
    let refused = clients.swap_remove(found.unwrap()).answer().unwrap();
    assert_eq!(refused.status, 503);
    assert_eq!(refused.header("retry-after"), Some("1"), "{}", refused.head);
    assert_eq!(http2.get().0, StatusCode::SERVICE_UNAVAILABLE);
    assert!(clients.iter_mut().all(|client| !client.has_answer()));
    assert_eq!(edge.counters(1).1, 0, "what waits is in flight on no release");
    // Held on by the next table, with the places that are taken, and let in to another release by the one after.
    edge.put(held(plain.clone(), Millis(60_000), 3));
    assert_eq!(get(edge.listener, "/").unwrap().status, 503);
    edge.put(shared(plain, &[Share::whole(ReleaseNumber(2))]));
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().text(), "two");
    }
    assert_eq!(http2.get(), (StatusCode::OK, "two".to_owned()));
    assert_eq!(one.requests(), 0);
    let held = (counted(&mut edge, 1).held, counted(&mut edge, 2).held);
    assert_eq!(held, (0, 3), "who waited and was let in, and nobody else");
}

#[test]
fn what_waits_at_a_held_pool_is_refused_when_its_time_is_up() {
    let backend = Backend::start("one");
    let mut edge = TestEdge::before(&[backend.address]);
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[backend.address])];
    let begun = Instant::now();
    edge.put(held(table(0, edge.listener, Some(1), &sets), Millis(500), 10));
    let mut clients = waiting(&edge, 2);
    let mut http2 = Http2::connect(edge.listener);
    assert_eq!(http2.get().0, StatusCode::SERVICE_UNAVAILABLE);
    for client in &mut clients {
        assert_eq!(client.answer().unwrap().status, 503);
    }
    assert!(begun.elapsed() >= Duration::from_millis(500));
    assert_eq!(backend.requests(), 0);
    // Its time being up, it refuses at once; a table later it serves.
    assert_eq!(get(edge.listener, "/").unwrap().status, 503);
    edge.put(table(0, edge.listener, Some(1), &sets));
    assert_eq!(clients[0].get("/").unwrap().status, 200);
}

#[test]
fn connections_wait_at_a_held_tcp_pool() {
    let seen = std::sync::Arc::new(Mutex::new(0));
    let count = seen.clone();
    let address = odd(move |_, mut stream| {
        let mut byte = [0];
        if stream.read_exact(&mut byte).is_ok() {
            *count.lock().unwrap() += 1;
            let _ = stream.write_all(&byte);
        }
    });
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[address])];
    let plain = table_of(0, edge.listener, Protocol::Tcp, Some(1), &sets, tcp_contract);
    edge.put(plain.clone());
    edge.until_healthy(1);
    edge.put(held(plain.clone(), Millis(60_000), 1));
    let mut clients: Vec<Client> = (0..2).map(|_| Client::connect(edge.listener)).collect();
    for client in &mut clients {
        client.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    }
    let mut found = None;
    until("one of two finds no room", || {
        found = clients.iter_mut().position(Client::is_closed);
        found.is_some()
    });
    clients.swap_remove(found.unwrap());
    let mut first = Client::of(clients.remove(0).stream);
    first.send("a");
    assert_eq!(*seen.lock().unwrap(), 0);
    edge.put(plain);
    assert_eq!(first.read_exact(1).unwrap(), b"a");
    assert_eq!(counted(&mut edge, 1).held, 1);
}

/// A client that speaks HTTP/2 without TLS.
struct Http2 {
    runtime: tokio::runtime::Runtime,
    sender: hyper::client::conn::http2::SendRequest<Full<Bytes>>,
}

impl Http2 {
    fn connect(address: SocketAddr) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let sender = runtime.block_on(async {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (sender, connection) =
                hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            sender
        });
        Self { runtime, sender }
    }

    fn get(&mut self) -> (StatusCode, String) {
        self.get_with("accept", "*/*")
    }

    fn get_with(&mut self, field: &str, value: &str) -> (StatusCode, String) {
        let request = Request::get("http://site.test/").header(field, value);
        let request = request.body(Full::default()).unwrap();
        self.runtime.block_on(async {
            let answer = self.sender.send_request(request).await.unwrap();
            let status = answer.status();
            let body = answer.into_body().collect().await.unwrap().to_bytes();
            (status, String::from_utf8_lossy(&body).into_owned())
        })
    }
}

/// What the edge counted of a release.
fn counted(edge: &mut TestEdge, release: u32) -> ReleaseCounters {
    let status = edge.admin.status().unwrap();
    status.counters.into_iter().find(|counters| counters.release.0 == release).unwrap()
}

#[test]
fn latencies_and_bytes_count_for_the_release_that_answered() {
    let (one, two) = (Backend::start("one"), Backend::start("two"));
    let mut edge = split(&one, &two, 1);
    let mut client = Client::connect(edge.listener);
    for path in ["/", "/status?500", "/wait?300"] {
        client.get(path).unwrap();
    }
    assert_eq!(Http2::connect(edge.listener).get().0, StatusCode::OK);
    let counters = counted(&mut edge, 1);
    let slow = counters.latency.count_over(LatencyBucket::ended_by(300_000));
    assert_eq!((counters.latency.count(), slow, counters.server_errors), (4, 1, 1));
    assert_eq!((counters.answers.success, counters.answers.client_error), (3, 0));
    assert!((300_000..30_000_000).contains(&counters.latency_sum_us), "{counters:?}");
    assert_eq!(counters.retries, 0);
    // A large body, either way, over both versions; heads are small beside it.
    let begin = counters;
    client.get("/big?1000000").unwrap();
    let end = counted(&mut edge, 1);
    let grown = |end: Option<u64>, begin: Option<u64>| end.unwrap() - begin.unwrap();
    assert!((1_000_000..1_001_000).contains(&grown(end.bytes_out, begin.bytes_out)));
    assert!((40..1_000).contains(&grown(end.bytes_in, begin.bytes_in)));
    client.send(format!(
        "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n{}",
        "x".repeat(200_000)
    ));
    assert_eq!(client.answer().unwrap().body.len(), 200_000);
    let last = counted(&mut edge, 1);
    assert!((200_000..201_000).contains(&grown(last.bytes_in, end.bytes_in)));
    let idle = counted(&mut edge, 2);
    assert_eq!((idle.latency.is_empty(), idle.bytes_in, idle.bytes_out), (true, Some(0), Some(0)));
    // A switch is not kept waiting by what only a status tells.
    let applied = edge.put(shared(
        table(0, edge.listener, None, &[(1, &[one.address])]),
        &[share(1, Share::WHOLE)],
    ));
    assert!(applied.counters.iter().all(|counters| counters.latency.is_empty()));
}

#[test]
fn what_no_server_answered_has_no_latency() {
    let silent = odd(|_, stream| drop(stream));
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[silent])];
    edge.put(table_of(0, edge.listener, Protocol::Http, Some(1), &sets, tcp_contract));
    edge.until_healthy(1);
    assert_eq!(get(edge.listener, "/").unwrap().status, 502);
    let counters = counted(&mut edge, 1);
    assert_eq!((counters.failed, counters.latency.count()), (1, 0));
}

#[test]
fn bytes_of_tcp_connections_are_counted_while_they_are_open() {
    let echo = odd(|_, mut stream| {
        let mut bytes = [0; 16];
        while let Ok(count) = stream.read(&mut bytes) {
            if count == 0 || stream.write_all(&bytes[..count]).is_err() {
                return;
            }
        }
    });
    let mut edge = TestEdge::start();
    let sets: [(u32, &[SocketAddr]); 1] = [(1, &[echo])];
    edge.put(table_of(0, edge.listener, Protocol::Tcp, Some(1), &sets, tcp_contract));
    edge.until_healthy(1);
    let mut client = Client::connect(edge.listener);
    client.send("hello");
    assert_eq!(client.read_exact(5).unwrap(), b"hello");
    let counters = counted(&mut edge, 1);
    assert_eq!(
        (counters.bytes_in, counters.bytes_out, counters.latency.count()),
        (Some(5), Some(5), 0)
    );
}
