//! Programs that others have written to speak HTTP, gRPC and WebSockets, against an edge in a process of its own.

#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use hornero_edge::EdgeClient;
use hornero_model::{Health, Listener};
use hornero_python::Python;
use support::{
    address, backend::Backend, process::EdgeProcess, table_of, tcp_contract, tls::certificate,
    until_within,
};

/// How long a server may take until it can be asked: Python reads its libraries first.
const PATIENCE: Duration = Duration::from_secs(60);

/// Not a test by itself: the process that `EdgeProcess` starts.
#[test]
fn child_process() {
    support::process::become_edge();
}

fn python() -> &'static Python {
    static PYTHON: OnceLock<Python> = OnceLock::new();
    let requirements = script("requirements.txt");
    PYTHON.get_or_init(|| Python::with(&requirements, Path::new(env!("CARGO_TARGET_TMPDIR"))))
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suites").join(name)
}

/// A server in Python, ended with the test.
struct Server(Child);

impl Server {
    fn start(name: &str, arguments: &[&str], listens: SocketAddr) -> Self {
        let mut command = python().script(&script(name));
        // What it says of connections that break is of no use.
        let process = command.arg("serve").args(arguments).stderr(Stdio::null()).spawn();
        let server = Self(process.unwrap());
        until_within(PATIENCE, "the server listens", || TcpStream::connect(listens).is_ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // `timeout` passes it on to what it runs.
        let pid = rustix::process::Pid::from_child(&self.0);
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}

/// An edge before a server, with one listener in the clear and one with TLS.
struct Site {
    clear: SocketAddr,
    secure: SocketAddr,
    _edge: EdgeProcess,
    dir: tempfile::TempDir,
}

impl Site {
    fn before(server: SocketAddr, http2: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let edge = EdgeProcess::start(dir.path());
        let (clear, secure) = (address(), address());
        let protocol = hornero_model::Protocol::Http;
        let mut table = table_of(1, clear, protocol, Some(1), &[(1, &[server])], tcp_contract);
        let tls = Some(certificate(dir.path(), "localhost"));
        let first = (*table.listeners[0]).clone();
        table.listeners.push(Listener { address: secure, tls, ..first }.into());
        table.pools[0].http2 = http2;
        let mut admin = EdgeClient::new(dir.path());
        admin.apply(&table).unwrap();
        until_within(PATIENCE, "the server is healthy", || {
            let status = admin.status().unwrap();
            status.backends.iter().all(|backend| backend.health == Health::Healthy)
        });
        Self { clear, secure, _edge: edge, dir }
    }

    /// The same page in the clear and by TLS.
    fn urls(&self, path: &str) -> [String; 2] {
        [format!("http://{}{path}", self.clear), format!("https://{}{path}", self.secure)]
    }
}

/// Runs a program of the host; what it said.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> String {
    let mut command = Command::new("timeout");
    let output = command.arg("120").arg(program).args(arguments).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments:?}\n{said}{complained}");
    said
}

#[test]
fn hostile_http2() {
    let backend = Backend::start("one");
    let site = Site::before(backend.address, false);
    let (ip, port) = (site.clear.ip().to_string(), site.clear.port().to_string());
    python().run(&script("hostile.py"), &[&ip, &port]);
}

#[test]
fn grpc() {
    let server = address();
    let _server = Server::start("grpc_calls.py", &[&server.to_string()], server);
    let site = Site::before(server, true);
    let said = python().run(&script("grpc_calls.py"), &["call", &site.clear.to_string()]);
    assert_eq!(said, "every call");
}

#[test]
fn websockets() {
    let server = address();
    let of = |address: SocketAddr| [address.ip().to_string(), address.port().to_string()];
    let [ip, port] = of(server);
    let _server = Server::start("sockets.py", &[&ip, &port], server);
    let site = Site::before(server, false);
    let [ip, port] = of(site.clear);
    assert_eq!(python().run(&script("sockets.py"), &["call", &ip, &port]), "every socket");
}

#[test]
fn curl() {
    let backend = Backend::start("one");
    let site = Site::before(backend.address, false);
    let body: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_be_bytes).collect();
    let (file, got) = (site.dir.path().join("body"), site.dir.path().join("got"));
    fs::write(&file, &body).unwrap();
    let upload = format!("@{}", file.display());
    for (secure, versions) in
        [(0, ["--http1.1", "--http2-prior-knowledge"]), (1, ["--http1.1", "--http2"])]
    {
        for version in versions {
            let ask = |path: &str, more: &[&str]| {
                let url = site.urls(path)[secure].clone();
                let always = ["-skS", version, "-o", got.to_str().unwrap()];
                let told = ["-w", "%{http_code} %{http_version}", url.as_str()];
                run("curl", &[&always[..], more, &told].concat())
            };
            let spoken = if version == "--http1.1" { "1.1" } else { "2" };
            assert_eq!(ask("/", &[]), format!("200 {spoken}"));
            assert_eq!(fs::read(&got).unwrap(), b"one");
            // Of this size curl waits for `100 Continue`.
            assert_eq!(ask("/echo", &["--data-binary", &upload]), format!("200 {spoken}"));
            assert!(fs::read(&got).unwrap() == body, "{version}");
            assert_eq!(ask("/status?404", &[]), format!("404 {spoken}"));
            assert_eq!(ask("/big?1000", &["-I"]), format!("200 {spoken}"));
        }
    }
}

#[test]
fn nghttp() {
    let backend = Backend::start("one");
    let site = Site::before(backend.address, false);
    for url in site.urls("/big?300000") {
        let said = run("nghttp", &["-nv", "-m", "20", "--no-dep", &url]);
        assert_eq!(said.matches(":status: 200").count(), 20, "{said}");
        assert!(!said.contains("RST_STREAM") && said.contains("error_code=NO_ERROR"), "{said}");
    }
}

#[test]
fn h2load() {
    let backend = Backend::start("one");
    let site = Site::before(backend.address, false);
    for url in site.urls("/") {
        for version in [&[][..], &["--h1"]] {
            let load = ["-n", "2000", "-c", "20", "-m", "10", "-t", "2"];
            let said = run("h2load", &[&load[..], version, &[url.as_str()]].concat());
            let all = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout";
            assert!(said.contains(all), "{said}");
            assert!(said.contains("2000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{said}");
        }
    }
}
