//! A real PostgreSQL with its data in a volume: replaced under writes, killed, taken down and brought up again, and never a row
//! that was acknowledged is lost.

use std::{
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
};

use crate::{
    home::{Home, signal, until},
    site::BASE,
};

/// Anybody may connect: the edge listens on loopback alone.
const ACCESS: &str = "host all all all trust\n";

/// A database whose image differs by `number`, and whose volume is declared as `volume`.
fn database(home: &Home, number: u32, volume: &str) {
    home.write("pg_hba.conf", ACCESS);
    let port = home.port;
    home.write(
        "hornero.hcl",
        &format!(
            r#"{BASE}
image "db" {{
  from     = image.base
  packages = ["postgresql-15"]
  copy "pg_hba.conf" {{ to = "/etc/postgresql/15/main/pg_hba.conf" }}
  user     = "postgres"
  env      = {{ IMAGE = "{number}" }}
  command  = [
    "/usr/lib/postgresql/15/bin/postgres",
    "-c", "config_file=/etc/postgresql/15/main/postgresql.conf",
    "-c", "listen_addresses=*",
    "-c", "unix_socket_directories=",
    "-c", "external_pid_file=",
    "-c", "ssl=off",
  ]
}}
volume "orders" {{
  size = "512MiB"
  {volume}
}}
service "db" {{
  image = image.db
  kind  = "stateful"
  mount "/var/lib/postgresql" {{ volume = volume.orders }}
  port "pg" {{
    container = 5432
    protocol  = "tcp"
  }}
  health {{
    tcp      = {{ port = "pg" }}
    interval = "100ms"
    healthy_after = 4
  }}
  route {{
    listen   = {port}
    address  = "127.0.0.1"
    port     = "pg"
    protocol = "tcp"
  }}
  rollout {{
    hold          = "2m"
    drain_timeout = "5s"
    watch         = "200ms"
  }}
  stop_signal = "SIGINT"
  stop_grace  = "60s"
  resources   = {{ memory = "512MiB", cpus = 1 }}
}}
"#
        ),
    );
}

/// What `psql` answers, or what it says on a connection of its own through the edge.
fn psql(port: u16, sql: &str) -> Result<String, String> {
    let output = Command::new("psql")
        .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres", "-tAc", sql])
        .env("PGCONNECT_TIMEOUT", "120")
        .stdin(Stdio::null())
        .output()
        .expect("`psql` of postgresql-client is there");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// A client that writes one row a connection, and remembers which were acknowledged.
struct Writer {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<(Vec<u64>, Vec<String>)>,
}

impl Writer {
    fn start(port: u16, first: u64) -> Self {
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let thread = std::thread::spawn(move || {
            let (mut acknowledged, mut errors) = (Vec::new(), Vec::new());
            let mut number = first;
            while !told.load(Ordering::Acquire) {
                match psql(port, &format!("insert into acks values ({number})")) {
                    Ok(_) => acknowledged.push(number),
                    Err(error) => errors.push(error),
                }
                number += 2;
            }
            (acknowledged, errors)
        });
        Self { ended, thread }
    }

    /// The rows that were acknowledged, and what went wrong with others.
    fn stop(self) -> (Vec<u64>, Vec<String>) {
        self.ended.store(true, Ordering::Release);
        self.thread.join().unwrap()
    }
}

/// Every acknowledged row is there.
#[track_caller]
fn nothing_lost(port: u16, acknowledged: &[u64]) {
    let rows = psql(port, "select n from acks").unwrap();
    let rows: std::collections::BTreeSet<u64> =
        rows.lines().map(|line| line.parse().unwrap()).collect();
    let lost: Vec<&u64> = acknowledged.iter().filter(|number| !rows.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

fn server(home: &Home) -> Option<(String, u32)> {
    let status = home.status();
    let instance = status["services"][0]["instances"].as_array()?.first()?.clone();
    let pid = u32::try_from(instance["pid"].as_u64()?).ok()?;
    let serves = instance["state"] == "serving" && instance["health"] == "healthy";
    serves.then(|| (instance["id"].as_str().unwrap().to_owned(), pid))
}

fn volume(home: &Home) -> serde_json::Value {
    home.run(&["volume", "inspect", "orders", "--json"]).expect(0).json()
}

#[test]
fn a_database_is_replaced_under_its_data_and_loses_nothing() {
    let home = Home::new();
    database(&home, 0, "");
    home.up();
    psql(home.port, "create table acks (n bigint primary key)").unwrap();
    let writers = [Writer::start(home.port, 0), Writer::start(home.port, 1)];
    for number in 1..=3 {
        database(&home, number, "");
        home.up();
    }
    // Control dies in the middle of one.
    database(&home, 4, "");
    let mut command = home.command(&["up"]);
    let mut up = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the rollout to begin", || home.status()["services"][0]["rollout"]["phase"].is_string());
    signal(home.control_pid(), "KILL");
    up.wait().unwrap();
    home.up();
    let written = writers.map(Writer::stop);
    let errors: Vec<&String> = written.iter().flat_map(|(_, errors)| errors).collect();
    assert!(errors.is_empty(), "connections wait while the server is replaced: {errors:?}");
    let acknowledged: Vec<u64> = written.iter().flat_map(|(rows, _)| rows.clone()).collect();
    assert!(acknowledged.len() > 20, "{}", acknowledged.len());
    nothing_lost(home.port, &acknowledged);
    let receipt = home.run(&["receipt", "--json"]).expect(0).json()[0].clone();
    assert_eq!(receipt["requests_failed"], 0, "{receipt}");
    let lease = volume(&home)["lease"]["lease"].as_u64().unwrap();
    assert!(lease >= 5, "each server had a lease of its own: {lease}");
    home.run(&["rollback", "db"]).expect(0);
    nothing_lost(home.port, &acknowledged);
    home.run(&["audit", "verify"]).expect(0);
}

#[test]
fn a_database_that_is_killed_comes_back_on_its_volume_under_a_new_lease() {
    let home = Home::new();
    database(&home, 0, "");
    home.up();
    psql(home.port, "create table acks (n bigint primary key)").unwrap();
    let before = volume(&home)["lease"]["lease"].as_u64().unwrap();
    let (first, pid) = server(&home).unwrap();
    let writer = Writer::start(home.port, 0);
    until("some rows", || psql(home.port, "select count(*) > 5 from acks").unwrap() == "t");
    signal(i32::try_from(pid).unwrap(), "KILL");
    until("another server to serve", || server(&home).is_some_and(|(id, _)| id != first));
    until("rows to be read", || psql(home.port, "select 1").is_ok());
    let (acknowledged, _) = writer.stop();
    nothing_lost(home.port, &acknowledged);
    let lease = volume(&home)["lease"].clone();
    assert_eq!(lease["lease"], before + 1, "{lease}");
    assert_ne!(lease["instance"], first.as_str());
}

#[test]
fn data_outlives_its_service_and_is_removed_by_name_alone() {
    let home = Home::new();
    database(&home, 0, "");
    home.up();
    psql(home.port, "create table acks (n bigint primary key)").unwrap();
    psql(home.port, "insert into acks values (7)").unwrap();
    for refused in [&["volume", "rm", "orders"][..], &["volume", "restore", "orders", "1"]] {
        let answer = home.run(refused).expect(3);
        assert!(answer.stderr.contains("orders"), "{}", answer.stderr);
    }
    let down = home.run(&["down"]).expect(0);
    assert!(down.stderr.contains("volume `orders` stays"), "{}", down.stderr);
    let refused = home.run(&["volume", "rm", "orders"]).expect(3);
    assert!(refused.stderr.contains("prevent_destroy = false"), "{}", refused.stderr);
    let taken = home.run(&["volume", "snapshot", "orders", "--reason", "kept", "--json"]);
    assert_eq!(taken.expect(0).json()["volume"]["snapshots"][0]["why"], "kept");
    home.up();
    nothing_lost(home.port, &[7]);
    psql(home.port, "insert into acks values (8)").unwrap();
    home.run(&["down"]).expect(0);
    home.run(&["volume", "restore", "orders", "1"]).expect(0);
    home.run(&["volume", "clone", "orders", "copy", "--snapshot", "2"]).expect(0);
    database(&home, 0, "prevent_destroy = false");
    home.up();
    assert_eq!(psql(home.port, "select string_agg(n::text, ',') from acks").unwrap(), "7");
    // Smaller is refused before anything is done, larger comes with the next server.
    let text = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", &text.replace("512MiB\"\n  prevent", "256MiB\"\n  prevent"));
    let shrunk = home.run(&["up"]).expect(3);
    assert!(shrunk.stderr.contains("can't shrink"), "{}", shrunk.stderr);
    home.run(&["down"]).expect(0);
    home.run(&["volume", "rm", "orders"]).expect(0);
    home.run(&["volume", "rm", "copy"]).expect(0);
    assert_eq!(home.run(&["volume", "ls", "--json"]).expect(0).json(), serde_json::json!([]));
    home.run(&["down"]).expect(0);
}
