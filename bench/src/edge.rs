//! Requests a second and tail latency of proxies in front of one upstream.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::json;

use crate::{
    hornero, peers,
    process::{self, Server},
    setting::Setting,
    table::{Better, HORNERO, Table},
};

/// Connections that wrk keeps open, and how long each run lasts.
const CONNECTIONS: &str = "64";
const SECONDS: &str = "5";
/// What the upstream answers: about the size of a small page or an API's answer.
const BODY_BYTES: usize = 1024;

/// A proxy, or the upstream itself, that runs.
pub struct Contestant {
    pub name: &'static str,
    pub address: SocketAddr,
    /// Ended with it.
    pub server: Option<Server>,
}

pub fn measure(setting: &Setting) -> Result<Table> {
    peers::install(peers::EDGE)?;
    let directory = setting.scratch.join("edge");
    fs::create_dir_all(&directory)?;
    let upstream = upstream(&directory)?;
    let mut contestants =
        vec![nginx(&directory, upstream.address)?, haproxy(&directory, upstream.address)?];
    if !setting.peers_only {
        // Ready once a request passes through it, not only once it listens.
        let answers = |address| hornero::get(address).is_ok_and(|answer| answer.contains("xxxx"));
        contestants.insert(0, edge(&directory, "http", upstream.address, answers)?);
    }
    contestants.push(Contestant { name: "no proxy", address: upstream.address, server: None });

    let mut table = Table::new("Edge: one upstream, 64 kept connections, 1 KiB answers");
    for run in 0..setting.runs {
        // Each run begins with another contestant, so that none is always the one after the idle machine.
        for offset in 0..contestants.len() {
            let contestant = &contestants[(run + offset) % contestants.len()];
            let (rate, p99_ms) = wrk(contestant.address)?;
            table.add("requests", "/s", Better::More, contestant.name, rate);
            table.add("p99", "ms", Better::Less, contestant.name, p99_ms);
        }
    }
    table.remark(format!(
        "wrk with 1 thread for {SECONDS} s a run; every proxy with one worker or thread a core; wrk, proxy and upstream \
         share the machine."
    ));
    Ok(table)
}

fn wrk(address: SocketAddr) -> Result<(f64, f64)> {
    let url = format!("http://{address}/");
    let arguments = ["-t1", "-c", CONNECTIONS, "-d", SECONDS, "--latency", &url];
    let text = process::read("wrk", &arguments)?;
    let word = |prefix: &str| {
        let line = text.lines().find_map(|line| line.trim().strip_prefix(prefix));
        line.map(str::trim).with_context(|| format!("wrk said nothing of `{prefix}`:\n{text}"))
    };
    // wrk mentions these lines only where there were some; then the figures would not compare.
    for bad in ["Non-2xx or 3xx responses:", "Socket errors:"] {
        anyhow::ensure!(!text.contains(bad), "requests to {address} failed:\n{text}");
    }
    Ok((word("Requests/sec:")?.parse()?, milliseconds(word("99%")?)?))
}

fn milliseconds(text: &str) -> Result<f64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let factor = match &text[digits.len()..] {
        "us" => 1e-3,
        "ms" => 1.0,
        "s" => 1e3,
        "m" => 6e4,
        _ => anyhow::bail!("`{text}` is no latency of wrk's"),
    };
    Ok(digits.parse::<f64>()? * factor)
}

fn upstream(directory: &Path) -> Result<Contestant> {
    let address = process::free_address()?;
    let body = "x".repeat(BODY_BYTES);
    let server =
        format!("server {{ listen {address} reuseport backlog=4096; return 200 \"{body}\"; }}");
    let server = start_nginx(directory, "upstream", "", &server, address)?;
    Ok(Contestant { name: "upstream", address, server: Some(server) })
}

fn nginx(directory: &Path, upstream: SocketAddr) -> Result<Contestant> {
    let address = process::free_address()?;
    let upstream = format!(
        "upstream backend {{ server {upstream}; keepalive 128; keepalive_requests 1000000000; }}"
    );
    let server = format!(
        "server {{ listen {address} reuseport backlog=4096; location / {{ proxy_pass http://backend; \
         proxy_http_version 1.1; proxy_set_header Connection \"\"; proxy_set_header Host $host; }} }}"
    );
    let server = start_nginx(directory, "nginx", &upstream, &server, address)?;
    Ok(Contestant { name: "nginx", address, server: Some(server) })
}

fn start_nginx(
    directory: &Path,
    name: &str,
    upstream: &str,
    server: &str,
    address: SocketAddr,
) -> Result<Server> {
    let prefix = directory.join(name);
    fs::create_dir_all(&prefix)?;
    let at = prefix.display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|kind| format!("{kind}_temp_path {at}/{kind};\n"))
        .collect();
    let config = format!(
        "daemon off; user root; worker_processes auto; worker_rlimit_nofile 1024; pid {at}/pid; error_log stderr;\n\
         events {{ worker_connections 500; }}\n\
         http {{ access_log off; keepalive_requests 1000000000; default_type text/plain;\n{temporary}{upstream}\n{server} }}\n"
    );
    let path = prefix.join("nginx.conf");
    fs::write(&path, config)?;
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&path).arg("-p").arg(&prefix);
    let mut started = Server::start(name, &mut command, &prefix.join("log"))?;
    started.wait_for(address)?;
    Ok(started)
}

fn haproxy(directory: &Path, upstream: SocketAddr) -> Result<Contestant> {
    let address = process::free_address()?;
    let threads = std::thread::available_parallelism()?;
    let config = format!(
        "global\n  nbthread {threads}\n  maxconn 400\n  no log\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\n\
         frontend front\n  bind {address}\n  default_backend back\n\
         backend back\n  server one {upstream} pool-max-conn 128\n"
    );
    let path = directory.join("haproxy.cfg");
    fs::write(&path, config)?;
    let mut command = Command::new("/usr/sbin/haproxy");
    command.arg("-db").arg("-f").arg(&path);
    let mut server = Server::start("haproxy", &mut command, &directory.join("haproxy.log"))?;
    server.wait_for(address)?;
    Ok(Contestant { name: "haproxy", address, server: Some(server) })
}

/// The start of the host, as the edge is told.
const BOOT: &str = "bench";

/// Hornero's edge by itself, with the route table that it finds on disk, once it `answers` at its address.
pub fn edge(
    directory: &Path,
    protocol: &str,
    upstream: SocketAddr,
    answers: impl Fn(SocketAddr) -> bool,
) -> Result<Contestant> {
    let address = process::free_address()?;
    let home = directory.join("home");
    fs::create_dir_all(home.join("edge"))?;
    let pool = json!({"service": "bench", "port": protocol});
    let table = json!({
        "generation": 1,
        "listeners": [{"address": address, "protocol": protocol, "rules": [{"pool": pool}]}],
        "pools": [{
            "name": pool,
            "protocol": protocol,
            "active": 1,
            "backends": [{"instance": "bench-1-one", "release": 1, "address": upstream}],
            "health": null,
        }],
    });
    // An older and the present form of a backend differ in one field; the type decides.
    let table: hornero_model::RouteTable =
        serde_json::from_value(table).context("the route table")?;
    // A table of another start of the host names servers that are gone.
    let stored = serde_json::to_vec(&json!({"format": 1, "boot": BOOT, "table": table}))?;
    fs::write(home.join("edge/routes.json"), stored)?;
    let mut command = hornero::command(&home)?;
    command.arg("edge").env("HORNERO_BOOT_ID", BOOT);
    let mut server = Server::start("hornero edge", &mut command, &directory.join("edge.log"))?;
    server.wait_until(|| answers(address))?;
    Ok(Contestant { name: HORNERO, address, server: Some(server) })
}
