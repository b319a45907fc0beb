//! A load counts every request once, says what failed, and sees when one page follows another.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener},
    time::{Duration, Instant},
};

use hornero_load::{Load, LoadPlan, LoadReport, Marker, Mode, Upstream, UpstreamOptions, Workers};

fn upstream(marker: &str) -> Upstream {
    let options = UpstreamOptions { marker: marker.to_owned(), ..UpstreamOptions::default() };
    Upstream::start(SocketAddr::from(([127, 0, 0, 1], 0)), options).expect("an upstream")
}

fn plan(address: SocketAddr, workers: Vec<Workers>, requests: u64) -> LoadPlan {
    let marker = Marker { before: "<!--release:".to_owned(), after: "-->".to_owned() };
    LoadPlan {
        requests: Some(requests),
        marker: Some(marker),
        duration: Duration::from_secs(60),
        ..LoadPlan::new(address, workers)
    }
}

fn fast(mode: Mode, count: u32, path: &str) -> Workers {
    Workers::new(mode, count, path).every(Duration::from_millis(1))
}

fn run(plan: LoadPlan) -> LoadReport {
    let report = Load::start(plan).expect("a load").wait();
    assert_eq!(report.started, report.ok + report.failed, "{report:?}");
    report
}

#[test]
fn every_mode_completes_and_is_counted_once() {
    let upstream = upstream("one");
    let workers = vec![
        fast(Mode::KeepAlive, 2, "/"),
        fast(Mode::NewConnection, 2, "/"),
        fast(Mode::Http2, 1, "/"),
        fast(Mode::WebSocket, 1, "/echo"),
        Workers { read_rate: 1 << 20, ..fast(Mode::Slow, 1, "/stream?bytes=100000&ms=20") },
    ];
    let report = run(plan(upstream.address(), workers, 400));
    assert_eq!((report.started, report.failed), (400, 0), "{:?}", report.failures);
    assert_eq!(report.modes.len(), 5);
    assert!(report.modes.values().all(|mode| mode.ok > 0), "{report:?}");
    let of = |mode| &report.modes[&mode];
    assert_eq!(of(Mode::KeepAlive).connections, 2);
    assert_eq!(of(Mode::Http2).connections, 1);
    assert_eq!(of(Mode::WebSocket).connections, 1);
    assert_eq!(of(Mode::NewConnection).connections, of(Mode::NewConnection).started);
    let pages = [Mode::KeepAlive, Mode::NewConnection, Mode::Http2].map(|mode| of(mode).ok);
    assert_eq!(report.marker("one").expect("the marker").count, pages.iter().sum::<u64>());
}

#[test]
fn failing_answers_and_refused_connections_are_failures() {
    let server = upstream("one");
    server.set_failing(true);
    let address = server.address();
    let report = run(plan(address, vec![fast(Mode::KeepAlive, 1, "/")], 5));
    assert_eq!((report.started, report.failed), (5, 5));
    assert_eq!(report.modes[&Mode::KeepAlive].statuses[&500], 5);
    assert_eq!(report.failures[0].reason, "status 500");
    drop(server);
    let modes = [Mode::KeepAlive, Mode::NewConnection, Mode::Http2, Mode::Slow, Mode::WebSocket];
    let workers = modes.iter().map(|mode| fast(*mode, 1, "/")).collect();
    let report = run(plan(address, workers, 50));
    assert_eq!((report.ok, report.failed), (0, 50));
    assert_eq!(report.failures.len(), 20, "only the first ones are kept");
    assert!(report.failures.iter().all(|failure| failure.reason.contains("refused")));
}

/// A server that sends `answer` to whatever it gets and closes.
fn answers(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { return };
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(answer);
        }
    });
    address
}

#[test]
fn answers_that_are_cut_short_are_failures() {
    for answer in [
        &b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf"[..],
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        b"HTTP/1.1 200",
        b"",
        b"nonsense\r\n\r\n",
    ] {
        for mode in [Mode::KeepAlive, Mode::NewConnection, Mode::Slow, Mode::WebSocket] {
            let report = run(plan(answers(answer), vec![fast(mode, 1, "/")], 3));
            assert_eq!((report.started, report.failed), (3, 3), "{mode}: {report:?}");
        }
    }
}

#[test]
fn a_silent_server_is_waited_for_no_longer_than_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut plan =
        plan(listener.local_addr().expect("an address"), vec![fast(Mode::KeepAlive, 1, "/")], 2);
    plan.timeout = Duration::from_millis(50);
    let report = run(plan);
    assert_eq!(report.failed, 2);
    assert!(report.failures[0].reason.contains("waited 50 ms"), "{:?}", report.failures);
}

#[test]
fn a_stop_waits_for_what_is_in_flight() {
    let upstream = upstream("one");
    let workers = vec![fast(Mode::KeepAlive, 3, "/wait?ms=300")];
    let load = Load::start(plan(upstream.address(), workers, 1_000)).expect("a load");
    let deadline = Instant::now() + Duration::from_secs(20);
    while load.report().started < 3 {
        assert!(Instant::now() < deadline, "nothing was started");
        std::thread::yield_now();
    }
    let report = load.stop();
    assert_eq!(report.started, report.ok, "{report:?}");
    assert!(report.ok >= 3);
}

#[test]
fn the_change_from_one_page_to_the_next_is_seen() {
    let first = upstream("one");
    let address = first.address();
    let load =
        Load::start(plan(address, vec![fast(Mode::NewConnection, 1, "/")], 100_000)).expect("load");
    let wait_for = |marker: &str| {
        let deadline = Instant::now() + Duration::from_secs(20);
        while load.report().marker(marker).is_none() {
            assert!(Instant::now() < deadline, "`{marker}` was never seen");
            std::thread::yield_now();
        }
    };
    wait_for("one");
    drop(first);
    let options = UpstreamOptions { marker: "two".to_owned(), ..UpstreamOptions::default() };
    let _second = Upstream::start(address, options).expect("the same port again");
    wait_for("two");
    let report = load.stop();
    let (one, two) = (report.marker("one").unwrap(), report.marker("two").unwrap());
    assert!(one.last_started_ms < two.first_seen_ms, "{report:?}");
    assert_eq!(one.count + two.count, report.ok);
}
