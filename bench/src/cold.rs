//! The first answer of a service of which nothing runs, beside a server that systemd's socket activation starts.

use std::{
    fs,
    net::SocketAddr,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use crate::{
    hornero::{self, Home},
    process::{self, Server},
    setting::Setting,
    small::Small,
    table::{Better, HORNERO, Table},
};

/// Cold requests for each run that is asked for: one of them alone says little.
const EACH: usize = 4;
/// How long the service may take until nothing of it runs.
const PATIENCE: Duration = Duration::from_secs(60);
const PEER: &str = "nginx by systemd-socket-activate";

/// Instead of a number of servers.
const SCALE: &str = r#"scale {
    minimum   = 0
    maximum   = 2
    in_flight = 100
    idle      = "3s"
  }
  budget {
    per_hour = 1000
    per_day  = 10000
  }"#;

pub fn measure(setting: &Setting) -> Result<Table> {
    let mut table = Table::new("Cold: the first answer where nothing runs");
    let small = Small::scaled(setting, "cold", SCALE)?;
    small.up()?;
    let directory = setting.scratch.join("cold");
    let (mut cold, mut peer) = (Vec::new(), Vec::new());
    for _ in 0..setting.runs * EACH {
        until_idle(&small.home)?;
        let (ms, answer) = process::timed(|| hornero::get(small.address))?;
        ensure!(answer.starts_with("HTTP/1.1 200"), "it answered {answer:?}");
        table.add("request to answer, nothing runs", "ms", Better::Less, HORNERO, ms);
        cold.push(ms);
        let (ms, _) = process::timed(|| hornero::get(small.address))?;
        table.add("request to answer, it runs", "ms", Better::Less, HORNERO, ms);
        peer.push(socket_activated(&directory)?);
        let last = peer.last().copied().unwrap_or_default();
        table.add("request to answer, nothing runs", "ms", Better::Less, PEER, last);
    }
    for (who, mut values) in [(HORNERO, cold), (PEER, peer)] {
        values.sort_by(f64::total_cmp);
        let most = values.last().copied().unwrap_or_default();
        table.add("the longest of them", "ms", Better::Less, who, most);
    }
    table.remark(format!(
        "{} requests, each over a new connection, the clock from before the connection to the end of the answer. Hornero's \
         finds a gate at the edge: control decides and writes to its ledger, the server is started from its image in \
         namespaces of its own, put into a table, and checked. The peer is a process that is executed on the same host \
         without any isolation, and inherits the socket.",
        setting.runs * EACH
    ));
    Ok(table)
}

/// Waits until nothing of the service runs.
fn until_idle(home: &Home) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let status = home.run(&["status"])?.1;
        let service = &status["services"][0];
        let none = service["instances"].as_array().is_some_and(Vec::is_empty);
        if service["scale"]["now"] == 0 && none {
            return Ok(());
        }
        ensure!(Instant::now() < deadline, "it does not sleep: {service}");
        // A command says when; there is nothing to wait on.
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Milliseconds to the answer of an nginx that the connection starts.
fn socket_activated(directory: &Path) -> Result<f64> {
    let address = process::free_address()?;
    let (conf, log) = (directory.join("nginx.conf"), directory.join("activate.log"));
    fs::write(&conf, configuration(directory, address))?;
    let mut command = Command::new("systemd-socket-activate");
    command.args(["-l", &address.to_string(), "-E", "NGINX=3;"]);
    command.args(["/usr/sbin/nginx", "-c"]).arg(&conf);
    let _server = Server::start("systemd-socket-activate", &mut command, &log)?;
    let deadline = Instant::now() + PATIENCE;
    while !fs::read_to_string(&log).is_ok_and(|text| text.contains("Listening on")) {
        ensure!(Instant::now() < deadline, "it does not listen");
        // What it says is in a file.
        std::thread::sleep(Duration::from_millis(5));
    }
    let (ms, answer) = process::timed(|| hornero::get(address))?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "nginx answered {answer:?}");
    Ok(ms)
}

fn configuration(directory: &Path, address: SocketAddr) -> String {
    let directory = directory.display();
    format!(
        "daemon off; worker_processes 1; pid {directory}/nginx.pid; error_log {directory}/error.log;\n\
         events {{}}\n\
         http {{ access_log off; server {{ listen {address}; location / {{ return 200 \"here\\n\"; }} }} }}\n"
    )
}
