//! What servers use and releases answer is seen, kept, and read by tools that others wrote.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{
    document,
    home::{Home, get, until},
    site::Site,
    validators,
};

const SERVICE: &str = r#"
  labels    = { owner = "shop" }
  metrics { path = "/figures.txt" }
"#;

fn site() -> Site<'static> {
    Site { service: SERVICE, rollout: r#"keep_warm = "1s""#, ..Site::default() }
}

/// Asks the API.
fn asked(home: &Home, path: &str) -> (String, String) {
    let mut stream = UnixStream::connect(home.path().join("control.sock")).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let head = format!("GET {path} HTTP/1.1\r\nhost: hornero\r\nconnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{answer}");
    (head.to_ascii_lowercase(), body.to_owned())
}

/// The value of a series; `labels` are parts of its name.
fn value(text: &str, family: &str, labels: &[&str]) -> Option<f64> {
    let is_it = |line: &&str| {
        let name = line.split(['{', ' ']).next();
        name == Some(family) && labels.iter().all(|label| line.contains(label))
    };
    text.lines().find(is_it)?.rsplit(' ').next()?.parse().ok()
}

/// Has promtool read what is exposed.
#[track_caller]
fn check_metrics(text: &str) {
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
}

fn releases_of(text: &str) -> Vec<&str> {
    let lines = text.lines().filter(|line| line.starts_with("hornero_requests_total{"));
    let mut releases: Vec<&str> =
        lines.filter_map(|line| line.split("release=\"").nth(1)?.split('"').next()).collect();
    releases.sort_unstable();
    releases.dedup();
    releases
}

#[test]
fn figures_are_told_to_people_and_to_prometheus_and_found_when_a_server_is_gone() {
    let home = Home::new();
    home.write("public/figures.txt", "site_pages 3\n");
    site().write(&home, "one");
    home.up();
    for _ in 0..30 {
        assert_eq!(get(home.port, "/").0, 200);
        assert_eq!(get(home.port, "/nothing").0, 404);
    }
    until("the edge's counts to be told", || {
        let text = asked(&home, "/metrics").1;
        value(&text, "hornero_responses_total", &["service=\"site\"", "class=\"4xx\""])
            == Some(30.0)
    });
    exposed(&home);
    shown_live(&home);
    inventories(&home);
    let first = home.status()["services"][0]["instances"][0]["id"].as_str().unwrap().to_owned();
    labelled_anew(&home, &first);
    until("a look at them to be kept", || {
        let told = home.run(&["top", &first, "--since", "1h", "--json"]);
        told.code == 0 && told.json()["points"][0]["memory_bytes"].is_number()
    });
    document::run(&home, "guides/metrics.md", &[]);
    // Of what is gone series leave, and what was is found.
    site().write(&home, "two");
    home.up();
    until("the first release to be told of no more", || {
        let text = asked(&home, "/metrics").1;
        releases_of(&text).len() == 1 && !text.contains(&first)
    });
    crate::home::signal(home.control_pid(), "KILL");
    home.up();
    let gone = home.run(&["top", &first, "--since", "1h", "--json"]).expect(0).json();
    assert!(gone["points"][0]["memory_bytes"].as_u64().unwrap() > 100_000, "{gone}");
    let whole = home.run(&["top", "site", "--since", "1h", "--json"]).expect(0).json();
    let mut rates = whole["points"].as_array().unwrap().iter();
    assert!(rates.any(|one| one["requests_per_second"].as_f64() > Some(0.0)), "{whole}");
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

/// What Prometheus reads.
fn exposed(home: &Home) {
    let (head, text) = asked(home, "/metrics");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    check_metrics(&text);
    let known = |family: &str, labels: &[&str]| value(&text, family, labels).unwrap();
    assert!(known("hornero_responses_total", &["class=\"2xx\""]) >= 30.0);
    assert_eq!(known("hornero_rollouts_total", &["outcome=\"finished\""]), 1.0);
    assert_eq!(known("hornero_service_labels", &["label_owner=\"shop\""]), 1.0);
    assert_eq!(known("hornero_instances_created_total", &["service=\"site\""]), 2.0);
    let bounds = |le: &str| known("hornero_request_duration_seconds_bucket", &["site", le]);
    let count = known("hornero_request_duration_seconds_count", &["site"]);
    assert!(count >= 60.0 && bounds("le=\"+Inf\"") == count && bounds("le=\"16.777216\"") == count);
    assert!(known("hornero_request_duration_seconds_sum", &["site"]) > 0.0);
    let memory = known("hornero_instance_memory_bytes", &["site-1-"]);
    assert!(memory > 100_000.0 && memory < 256e6, "{memory}");
    assert!(known("hornero_instance_open_descriptors", &["site-1-"]) > 3.0);
    assert!(known("hornero_instance_cpu_seconds_total", &["site-1-"]) > 0.0);
    let pressure =
        Path::new("/proc/pressure/cpu").exists() && fs::read("/proc/pressure/cpu").is_ok();
    assert_eq!(text.contains("hornero_instance_pressure_seconds_total{"), pressure);
}

/// What people see.
fn shown_live(home: &Home) {
    let top = home.run(&["top", "site", "--once", "--json"]).expect(0).json();
    assert_eq!(top["instances"].as_array().unwrap().len(), 2, "{top}");
    let first = &top["instances"][0];
    assert!(first["usage"]["processes"].as_u64().unwrap() >= 2, "{top}");
    assert!(first["cpu"].is_number(), "{top}");
    assert!(top["releases"][0]["lately"]["requests_per_second"].is_number(), "{top}");
    home.run(&["top", "nobody", "--once"]).expect(5);
    home.run(&["top", "--since", "1h"]).expect(2);
}

/// Other words about a service make no other server.
fn labelled_anew(home: &Home, instance: &str) {
    let text = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", &text.replace("\"shop\"", "\"till\""));
    home.up();
    let serving = home.status();
    let instances = serving["services"][0]["instances"].as_array().unwrap();
    assert!(instances.iter().any(|one| one["id"] == instance), "{serving}");
    // What is told may be a second old.
    until("the label to be told", || asked(home, "/metrics").1.contains("label_owner=\"till\""));
    home.write("hornero.hcl", &text);
    home.up();
}

/// What runs in the formats of others, read by their programs.
fn inventories(home: &Home) {
    let report = home.run(&["inventory", "--json"]).expect(0).json();
    let image = report["services"][0]["image"].as_str().unwrap();
    assert_eq!(report["services"][0]["id"], "service/site");
    assert_eq!(report["services"][0]["labels"]["owner"], "shop");
    let listed = report["images"].as_array().unwrap();
    let own = listed.iter().find(|one| one["digest"] == image).unwrap();
    let packages = own["packages"].as_array().unwrap();
    assert!(packages.iter().any(|one| one["name"] == "nginx-light"), "{own}");
    assert_eq!(report["instances"].as_array().unwrap().len(), 2);
    let written = |format: &str| home.run(&["inventory", "--format", format]).expect(0).stdout;
    let document = home.project().join("inventory.cdx.json");
    fs::write(&document, written("cyclonedx")).unwrap();
    let found = validators::check(&["cyclonedx", document.to_str().unwrap()]);
    assert_eq!(found.trim(), packages.len().to_string(), "a package URL for each package");
    check_metrics(&written("prometheus"));
    let csv = written("csv");
    assert_eq!(csv.lines().count(), 3, "{csv}");
    assert!(csv.contains("\"owner=shop\""), "{csv}");
    // Ansible runs a program for its inventory.
    let (data, program) = (home.project().join("hosts.json"), home.project().join("hosts"));
    fs::write(&data, written("ansible")).unwrap();
    fs::write(&program, format!("#!/bin/sh\nexec cat {}\n", data.display())).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let output = Command::new("ansible-inventory").arg("-i").arg(&program).arg("--list").output();
    let output = output.unwrap();
    assert!(output.status.success(), "{output:?}");
    let read: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(read["label_owner_shop"]["hosts"].as_array().unwrap().len(), 2, "{read}");
    let id = read["service_site"]["hosts"][0].as_str().unwrap();
    assert_eq!(read["_meta"]["hostvars"][id]["hornero_service"], "site");
    for file in [document, data, program] {
        fs::remove_file(file).unwrap();
    }
}

/// A way from a port of this host to the API's socket, for as long as it lives.
struct Forwarder(u16);

impl Forwarder {
    fn to(socket: PathBuf) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let Ok(server) = UnixStream::connect(&socket) else { continue };
                let (mut asks, mut answers) = (client.try_clone().unwrap(), client);
                let (mut to, mut from) = (server.try_clone().unwrap(), server);
                thread::spawn(move || std::io::copy(&mut asks, &mut to));
                thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut answers);
                    let _ = answers.shutdown(std::net::Shutdown::Both);
                });
            }
        });
        Self(port)
    }
}

/// Prometheus on loopback, ended when this is dropped.
struct Prometheus {
    process: Child,
    port: u16,
    directory: tempfile::TempDir,
}

impl Prometheus {
    fn start(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("prometheus.yml");
        fs::write(&file, configuration).unwrap();
        let port = crate::home::free_port();
        let checked =
            Command::new("promtool").args(["check", "config"]).arg(&file).output().unwrap();
        assert!(checked.status.success(), "{checked:?}");
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let process = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Self { process, port, directory }
    }

    /// The value of a query; none while there is none.
    fn value(&self, query: &str) -> Option<f64> {
        let query: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        // It listens a moment after its start.
        TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).ok()?;
        let (status, body) = get(self.port, &format!("/api/v1/query?query={query}"));
        let answer: Value = serde_json::from_str(&body).ok().filter(|_| status == 200)?;
        answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log"));
            eprintln!("{}", log.unwrap_or_default());
        }
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn prometheus_finds_servers_by_http_and_by_file_and_follows_a_rollout() {
    let home = Home::new();
    home.write("public/figures.txt", "site_pages 3\n");
    site().write(&home, "one");
    home.up();
    let forwarder = Forwarder::to(home.path().join("control.sock"));
    let targets = home.path().join("metrics/targets.json");
    until("the file of targets", || {
        let text = fs::read_to_string(&targets).unwrap_or_default();
        serde_json::from_str(&text).is_ok_and(|of: Vec<Value>| of.len() == 2)
    });
    let relabel = "\n    relabel_configs:\n      - source_labels: [__meta_hornero_label_owner]\n        target_label: owner\n";
    let prometheus = Prometheus::start(&format!(
        "global:\n  scrape_interval: 1s\nscrape_configs:\n  - job_name: by-http\n    http_sd_configs:\n      - url: \
         http://127.0.0.1:{0}/v1/sd\n        refresh_interval: 1s{relabel}  - job_name: by-file\n    file_sd_configs:\n      \
         - files: [\"{1}\"]{relabel}  - job_name: hornero\n    static_configs:\n      - targets: [\"127.0.0.1:{0}\"]\n",
        forwarder.0,
        targets.display(),
    ));
    let has = |query: &str, expected: f64| prometheus.value(query) == Some(expected);
    for job in ["by-http", "by-file"] {
        until("both servers to be scraped", || {
            has(
                &format!("count(site_pages{{job=\"{job}\",owner=\"shop\",release=\"1\"}} == 3)"),
                2.0,
            )
        });
    }
    until("Hornero itself to be scraped", || {
        has("sum(hornero_service_instances{state=\"serving\",health=\"healthy\"})", 2.0)
            && has("up{job=\"hornero\"}", 1.0)
    });
    site().write(&home, "two");
    home.up();
    for job in ["by-http", "by-file"] {
        until("the new servers to be scraped, and the old ones no more", || {
            has(&format!("count(site_pages{{job=\"{job}\",release=\"2\"}})"), 2.0)
                && prometheus
                    .value(&format!("count(site_pages{{job=\"{job}\",release=\"1\"}})"))
                    .is_none()
        });
    }
    home.run(&["down"]).expect(0);
    drop(prometheus);
    home.assert_clean();
}
