//! HAProxy and nginx, as Debian has them, in front of an edge and behind it.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
};

use hornero_model::{Protocol, ProxyProtocol};

use crate::{
    expect_headers,
    support::{
        TestEdge, address,
        backend::Backend,
        client::{Client, connect_from},
        table_of, tcp_contract, until,
    },
};

/// A program with a configuration, ended with the test.
struct Peer {
    process: Child,
    _dir: tempfile::TempDir,
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn start(mut command: Command, dir: tempfile::TempDir, listens: SocketAddr) -> Peer {
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let process = command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn();
    let log = dir.path().join("log");
    let mut peer = Peer { process: process.expect("`cargo xtask setup` installs it"), _dir: dir };
    until("it listens", || {
        let ended = peer.process.try_wait().unwrap();
        assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap());
        TcpStream::connect(listens).is_ok()
    });
    peer
}

fn haproxy(listens: SocketAddr, section: &str) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("haproxy.cfg");
    let text = format!(
        "defaults\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n{section}\n"
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(&file);
    start(command, dir, listens)
}

fn nginx(listens: SocketAddr, sections: &str) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nginx.conf");
    let place = dir.path().display();
    let text = format!(
        "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n\
         daemon off; master_process off; pid {place}/pid; error_log stderr;\n\
         events {{ worker_connections 64; }}\n{}",
        sections.replace("DIR", &place.to_string())
    );
    fs::write(&file, text).unwrap();
    let mut command = Command::new("/usr/sbin/nginx");
    command.arg("-e").arg("stderr").arg("-p").arg(dir.path()).arg("-c").arg(&file);
    start(command, dir, listens)
}

/// Paths of nginx's temporary files below its own directory.
const TEMPORARY: &str = "access_log off; client_body_temp_path DIR/a; proxy_temp_path DIR/b; \
     fastcgi_temp_path DIR/c; uwsgi_temp_path DIR/d; scgi_temp_path DIR/e;";

/// An edge that takes headers of everybody on this host.
fn edge_behind(backend: &Backend) -> TestEdge {
    let mut edge = TestEdge::before(&[backend.address]);
    expect_headers(&mut edge, &["127.0.0.0/8"], None);
    edge
}

/// What a server behind the edge sees of a client with an address of its own that asks `front`.
fn seen_through(front: SocketAddr) -> String {
    let client = connect_from([127, 7, 7, 7].into(), front).unwrap();
    Client::of(client).get("/head").unwrap().text()
}

#[test]
fn haproxy_in_front() {
    let backend = Backend::start("one");
    let edge = edge_behind(&backend);
    for (mode, words) in [
        ("tcp", "send-proxy"),
        ("tcp", "send-proxy-v2"),
        ("tcp", "send-proxy-v2 proxy-v2-options ssl,unique-id,crc32c"),
        ("http", "send-proxy"),
        ("http", "send-proxy-v2 check-send-proxy check inter 50ms"),
    ] {
        let front = address();
        let section = format!(
            "listen front\n mode {mode}\n bind {front}\n server edge {} {words}",
            edge.listener
        );
        let _haproxy = haproxy(front, &section);
        let seen = seen_through(front);
        assert!(seen.contains("x-forwarded-for: 127.7.7.7\n"), "{words}: {seen}");
    }
}

#[test]
fn nginx_in_front() {
    let backend = Backend::start("one");
    let edge = edge_behind(&backend);
    let front = address();
    let sections = format!(
        "stream {{ server {{ listen {front}; proxy_pass {}; proxy_protocol on; }} }}",
        edge.listener
    );
    let _nginx = nginx(front, &sections);
    let seen = seen_through(front);
    assert!(seen.contains("x-forwarded-for: 127.7.7.7\n"), "{seen}");
}

/// An edge before a server that speaks `http2` or not, by TCP or HTTP.
fn edge_before(
    server: SocketAddr,
    protocol: Protocol,
    version: ProxyProtocol,
    http2: bool,
) -> TestEdge {
    let mut edge = TestEdge::start();
    let mut table = table_of(1, edge.listener, protocol, Some(1), &[(1, &[server])], tcp_contract);
    table.pools[0].http2 = http2;
    let backend = &mut table.pools[0].backends[0];
    (backend.proxy_protocol, backend.health_proxy_protocol) = (Some(version), Some(version));
    edge.put(table);
    edge.until_healthy(1);
    edge
}

/// The answer that a client with a port of its own gets, and what it should be.
fn check_server(server: SocketAddr, http2: bool) {
    for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
        for protocol in [Protocol::Http, Protocol::Tcp] {
            if http2 && protocol == Protocol::Tcp {
                continue;
            }
            let edge = edge_before(server, protocol, version, http2);
            let mut clients = [Client::connect(edge.listener), Client::connect(edge.listener)];
            for _ in 0..2 {
                for client in &mut clients {
                    let port = client.stream.local_addr().unwrap().port();
                    let (ip, to) = (edge.listener.ip(), edge.listener.port());
                    let said = client.get("/who").unwrap().text();
                    assert_eq!(
                        said,
                        format!("127.0.0.1 {port} {ip} {to}"),
                        "{version:?} {protocol:?}"
                    );
                }
            }
        }
    }
}

#[test]
fn haproxy_behind() {
    let server = address();
    let section = format!(
        "frontend server\n mode http\n bind {server} accept-proxy\n http-request return status 200 content-type text/plain \
         lf-string \"%[src] %[src_port] %[dst] %[dst_port]\""
    );
    let _haproxy = haproxy(server, &section);
    check_server(server, false);
    check_server(server, true);
}

#[test]
fn nginx_behind() {
    for (http2, words) in [(false, "proxy_protocol"), (true, "proxy_protocol http2")] {
        let server = address();
        let sections = format!(
            "http {{ {TEMPORARY} server {{ listen {server} {words}; location / {{ return 200 \"$proxy_protocol_addr \
             $proxy_protocol_port $proxy_protocol_server_addr $proxy_protocol_server_port\"; }} }} }}"
        );
        let _nginx = nginx(server, &sections);
        check_server(server, http2);
    }
}
