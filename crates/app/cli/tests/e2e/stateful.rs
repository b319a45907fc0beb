//! A real PostgreSQL with its data in a volume: replaced under writes, killed, taken down and brought up again, and never a row
//! that was acknowledged is lost.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use hornero_load::{
    StatefulExample, Trial, TrialReport, Victim,
    writes::{PostgresStore, Writers},
};

use crate::{
    home::{Home, PATIENCE, signal, until},
    site::BASE,
};

/// Anybody may connect: the edge listens on loopback alone.
const ACCESS: &str = "host all all all trust\n";

/// A database whose image differs by `number`, and whose volume is declared as `volume`.
pub fn database(home: &Home, number: u32, volume: &str) {
    database_with(home, number, volume, "");
}

/// The same with more lines of its `rollout`.
fn database_with(home: &Home, number: u32, volume: &str, rollout: &str) {
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
    {rollout}
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
pub fn psql(port: u16, sql: &str) -> Result<String, String> {
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

/// Every acknowledged row is there.
#[track_caller]
fn nothing_lost(port: u16, acknowledged: &[u64]) {
    let rows = psql(port, "select n from acks").unwrap();
    let rows: std::collections::BTreeSet<u64> =
        rows.lines().map(|line| line.parse().unwrap()).collect();
    let lost: Vec<&u64> = acknowledged.iter().filter(|number| !rows.contains(number)).collect();
    assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
}

pub fn server(home: &Home) -> Option<(String, u32)> {
    let status = home.status();
    let instance = status["services"][0]["instances"].as_array()?.first()?.clone();
    let pid = u32::try_from(instance["pid"].as_u64()?).ok()?;
    let serves = instance["state"] == "serving" && instance["health"] == "healthy";
    serves.then(|| (instance["id"].as_str().unwrap().to_owned(), pid))
}

fn volume(home: &Home) -> serde_json::Value {
    home.run(&["volume", "inspect", "orders", "--json"]).expect(0).json()
}

fn store(home: &Home) -> Arc<PostgresStore> {
    Arc::new(PostgresStore { address: SocketAddr::from((Ipv4Addr::LOCALHOST, home.port)) })
}

/// A seed that a failure names: with `HORNERO_TRIAL_SEED` it is tried again.
fn seed() -> u64 {
    let named = std::env::var("HORNERO_TRIAL_SEED").ok().and_then(|seed| seed.parse().ok());
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos().into();
    let seed = named.unwrap_or_else(clock);
    println!("HORNERO_TRIAL_SEED={seed}");
    seed
}

#[test]
fn a_database_is_replaced_under_writes_and_kills_and_loses_nothing() {
    let home = Home::new();
    database(&home, 0, "");
    home.up();
    let trial = Trial {
        program: Path::new(env!("CARGO_BIN_EXE_hornero")),
        home: &home.path(),
        project: &home.project(),
        volume: "orders",
        release: &|number| database(&home, number, ""),
        store: store(&home),
        clients: 3,
        seed: seed(),
    };
    let kills = [Victim::Control, Victim::Edge, Victim::Server, Victim::Shim].map(Some);
    let report = trial.run(&[&[None][..], &kills].concat()).unwrap();
    let told = format!("{:#?}\n{:#?}", report.rounds, report.writes.refusals);
    assert_eq!(report.checked.wrong, Vec::<String>::new(), "{told}");
    assert_eq!(report.most_writers, 1, "{told}");
    assert_eq!(report.refused, 0, "{told}");
    assert!(report.checked.acknowledged > 100, "{:?}", report.checked);
    let plain = &report.rounds[0];
    assert_eq!(plain.codes, [0], "{told}");
    let unavailable_ms = plain.unavailable_ms.unwrap();
    let gap_ms = plain.gap.as_secs_f64() * 1000.0;
    assert!(unavailable_ms > 0.0 && unavailable_ms <= gap_ms + 50.0, "{told}");
    let receipts = home.run(&["receipt", "--json"]).expect(0).json();
    let held = |receipt: &serde_json::Value| receipt["held"].as_u64().is_some_and(|held| held > 0);
    assert!(receipts.as_array().unwrap().iter().any(held), "{receipts}");
    let text = home.run(&["receipt", "2"]).expect(0).stdout;
    assert!(text.contains("replaced   without service for "), "{text}");
    assert_eq!(receipts[0]["requests_failed"].as_u64(), Some(0), "{receipts}");
    let rolled_back = home.run(&["rollback", "db", "--json"]).expect(0).json();
    assert!(rolled_back["unavailable_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{rolled_back}");
    let checked = report.writes.check(&*store(&home)).unwrap();
    assert_eq!(checked.wrong, Vec::<String>::new());
    home.run(&["audit", "verify"]).expect(0);
}

/// An example on the base of all tests, with a port of its own, and an image that differs by `number`, with this in the place
/// of its guard.
pub fn example(home: &Home, example: &StatefulExample, number: u32, guard: &str) {
    for (name, text) in example.files {
        home.write(name, text);
    }
    let text = example.text(home.port, number, guard);
    let debian = "  debian   = \"bookworm\"\n";
    assert!(text.contains(debian), "the example has no `{debian}`");
    let text = text.replace(debian, "  from     = image.base\n");
    home.write("hornero.hcl", &format!("{BASE}{text}"));
}

/// Replaces an example under writes, once as it is and once while its server is killed; nothing may be lost.
pub fn replaced_under_writes(home: &Home, known: &StatefulExample) -> TrialReport {
    example(home, known, 0, "");
    home.up();
    let trial = Trial {
        program: Path::new(env!("CARGO_BIN_EXE_hornero")),
        home: &home.path(),
        project: &home.project(),
        volume: known.volume,
        release: &|number| example(home, known, number, ""),
        store: known.store(SocketAddr::from((Ipv4Addr::LOCALHOST, home.port))),
        clients: 3,
        seed: seed(),
    };
    let report = trial.run(&[None, Some(Victim::Server)]).unwrap();
    let told = format!("{:#?}\n{:#?}", report.rounds, report.writes.refusals);
    assert_eq!(report.checked.wrong, Vec::<String>::new(), "{told}");
    assert_eq!((report.most_writers, report.refused), (1, 0), "{told}");
    assert_eq!(report.rounds[0].codes, [0], "{told}");
    assert!(report.checked.acknowledged > 100, "{:?}", report.checked);
    report
}

/// The example of Redis.
pub fn redis(home: &Home, number: u32) {
    example(home, &StatefulExample::named("redis").unwrap(), number, "");
}

#[test]
fn redis_has_what_it_acknowledged_after_replacements_and_kills() {
    let home = Home::new();
    replaced_under_writes(&home, &StatefulExample::named("redis").unwrap());
}

#[test]
fn a_database_that_is_killed_comes_back_on_its_volume_under_a_new_lease() {
    let home = Home::new();
    database(&home, 0, "");
    home.up();
    let before = volume(&home)["lease"]["lease"].as_u64().unwrap();
    let (first, pid) = server(&home).unwrap();
    let writers = Writers::start(store(&home), 2).unwrap();
    until("some rows", || psql(home.port, "select count(*) > 5 from acks").unwrap() == "t");
    signal(i32::try_from(pid).unwrap(), "KILL");
    until("another server to serve", || server(&home).is_some_and(|(id, _)| id != first));
    assert!(writers.until_served(PATIENCE));
    let checked = writers.stop().check(&*store(&home)).unwrap();
    assert_eq!(checked.wrong, Vec::<String>::new());
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

/// What `psql` of the image does to the server that is about to go.
fn quiesce(sql: &str) -> String {
    format!(
        r#"quiesce = ["/usr/lib/postgresql/15/bin/psql", "-h", "db.internal", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c", "{sql}"]
    on_failure = "snapshot""#
    )
}

#[test]
fn a_database_is_quiesced_once_and_a_bad_image_leaves_its_data_as_it_was() {
    let home = Home::new();
    database(&home, 0, "");
    home.up();
    psql(home.port, "create table quiesced (n bigint)").unwrap();
    let quiesced = || psql(home.port, "select count(*) from quiesced").unwrap();
    database_with(&home, 1, "", &quiesce("insert into quiesced values (1)"));
    home.up();
    assert_eq!(quiesced(), "1");
    let receipt = home.run(&["receipt", "--json"]).expect(0).json()[0].clone();
    assert_eq!(receipt["snapshot"], "orders@1", "{receipt}");
    let shown = home.run(&["volume", "inspect", "orders"]).expect(0).stdout;
    assert!(shown.contains("before rollout 2: db@1 to db@2; kept until "), "{shown}");
    // A command that fails: nothing is touched.
    let (before, _) = server(&home).unwrap();
    database_with(&home, 2, "", &quiesce("select failed from nowhere"));
    let failed = home.run(&["up"]);
    assert_ne!(failed.code, 0, "{}", failed.stderr);
    let why = "relation \"nowhere\" does not exist";
    for told in ["the quiesce command", "exited with code 1", why] {
        assert!(failed.stderr.contains(told), "{told}: {}", failed.stderr);
    }
    assert_eq!(server(&home).unwrap().0, before);
    // An image that ruins the data and ends, as a migration does that fails.
    database_with(&home, 3, "", &quiesce("insert into quiesced values (2)"));
    let text = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let ruins = r#""/bin/sh", "-c", "rm /var/lib/postgresql/15/main/PG_VERSION; exit 3","#;
    home.write("hornero.hcl", &text.replace(r#""/usr/lib/postgresql/15/bin/postgres","#, ruins));
    let failed = home.run(&["up"]).expect(4);
    assert!(
        failed.stderr.contains("the data is as it was before, by orders@2"),
        "{}",
        failed.stderr
    );
    assert_eq!(quiesced(), "2");
    home.run(&["audit", "verify"]).expect(0);
}
