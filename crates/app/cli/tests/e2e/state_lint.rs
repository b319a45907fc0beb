//! What servers hold that would be lost with them: found before it runs, and in what runs, with real Debian packages.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpStream},
};

use serde_json::Value;

use crate::{
    home::{Home, until},
    site::{BASE, Site},
};

/// What is found, with this exit code.
#[track_caller]
fn found(home: &Home, arguments: &[&str], code: i32) -> Value {
    home.run(&[&["state-lint", "--json"], arguments].concat()).expect(code).json()
}

/// A database without a volume, with more lines of its file and of its service.
fn database(home: &Home, file: &str, service: &str) {
    let text = format!(
        r#"{BASE}
image "db" {{
  from     = image.base
  packages = ["postgresql-15"]
  user     = "postgres"
  command  = ["/usr/lib/postgresql/15/bin/postgres", "-c", "config_file=/etc/postgresql/15/main/postgresql.conf"]
}}
{file}
service "db" {{
  image = image.db
{service}
  port "pg" {{
    container = 5432
    protocol  = "tcp"
  }}
}}
"#
    );
    home.write("hornero.hcl", &text);
}

#[test]
fn a_database_without_a_volume_is_found_and_what_is_printed_mends_it() {
    let home = Home::new();
    database(&home, "", "");
    home.run(&["build"]).expect(0);
    let report = found(&home, &[], 1);
    let finding = &report["findings"][0];
    for (key, value) in [
        ("service", "db"),
        ("kind", "package"),
        ("path", "/var/lib/postgresql"),
        ("place", "read_only"),
    ] {
        assert_eq!(finding[key], value, "{report}");
    }
    assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report}");
    assert_eq!(report["services"][0]["baked"], true, "{report}");
    let plan = home.run(&["plan"]).expect(0).stderr;
    let warning = "warning: what is written to `/var/lib/postgresql` of `db` has no volume; `hornero state-lint` says more";
    assert!(plan.lines().any(|line| line == warning), "{plan}");
    let text = home.run(&["state-lint"]).expect(1);
    assert!(
        text.stdout.contains("the databases of PostgreSQL (package `postgresql-15`)"),
        "{}",
        text.stdout
    );
    assert!(text.stderr.contains("1 place holds data"), "{}", text.stderr);
    // What is printed is pasted as it is.
    let remedy = |name: &str| finding["remedy"][name].as_str().unwrap().to_owned();
    database(&home, &remedy("volume"), &remedy("service"));
    let report = found(&home, &[], 0);
    assert_eq!(report["findings"], Value::Array(Vec::new()), "{report}");
    let plan = home.run(&["plan"]).expect(0).stderr;
    assert!(!plan.contains("state-lint"), "{plan}");
    database(&home, "", &remedy("not_state"));
    found(&home, &[], 0);
}

#[test]
fn an_image_that_is_not_baked_is_known_by_its_declaration() {
    let home = Home::with_own_store();
    database(&home, "", "");
    let report = found(&home, &[], 1);
    assert_eq!(report["findings"][0]["path"], "/var/lib/postgresql", "{report}");
    assert_eq!(report["services"][0]["baked"], false, "{report}");
    let missed = report["missed"].to_string();
    assert!(
        missed.contains("image `db`") && missed.contains("no control process runs"),
        "{missed}"
    );
}

#[test]
fn a_web_server_holds_nothing() {
    let home = Home::new();
    Site::default().write(&home, "page");
    let up = home.run(&["up"]).expect(0).stderr;
    assert!(!up.contains("state-lint"), "{up}");
    for _ in 0..5 {
        assert_eq!(home.get("/").0, 200);
    }
    let report = found(&home, &["--watch", "0s"], 0);
    assert_eq!(report["services"][0]["instances"], 2, "{report}");
    assert_eq!(report["findings"], Value::Array(Vec::new()), "{report}");
    let text = home.run(&["state-lint", "--watch", "0s"]).expect(0).stdout;
    assert_eq!(text, "nothing would be lost: 1 services and 2 running servers looked at\n");
}

/// Redis with its append-only file in scratch, with more lines of its service.
fn redis(home: &Home, service: &str) {
    let port = home.port;
    let text = format!(
        r#"{BASE}
image "redis" {{
  from     = image.base
  packages = ["redis-server"]
  user     = "redis"
  scratch  = ["/var/lib/redis"]
  command  = [
    "/usr/bin/redis-server", "--dir", "/var/lib/redis", "--appendonly", "yes", "--save", "",
    "--bind", "0.0.0.0", "--protected-mode", "no",
  ]
}}
service "redis" {{
  image = image.redis
  port "redis" {{
    container = 6379
    protocol  = "tcp"
  }}
  route {{
    listen   = {port}
    address  = "127.0.0.1"
    port     = "redis"
    protocol = "tcp"
  }}
  rollout {{
    watch = "100ms"
  }}
  {service}
}}
"#
    );
    home.write("hornero.hcl", &text);
}

#[test]
fn what_redis_appends_to_scratch_is_found_on_the_server() {
    let home = Home::new();
    redis(&home, "");
    let up = home.run(&["up"]).expect(0).stderr;
    assert!(up.contains("`/var/lib/redis` of `redis`") && up.contains("state-lint"), "{up}");
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, home.port)).unwrap();
    let mut answers = BufReader::new(client.try_clone().unwrap()).lines();
    for number in 0..100 {
        write!(client, "SET key{number} {}\r\n", "x".repeat(200)).unwrap();
        assert_eq!(answers.next().unwrap().unwrap(), "+OK");
    }
    let report = found(&home, &["--watch", "0s"], 1);
    let finding = &report["findings"][0];
    assert_eq!((&finding["kind"], &finding["place"]), (&"package".into(), &"scratch".into()));
    let written = &finding["written"];
    assert!(written["bytes"].as_u64().unwrap() > 20_000, "{report}");
    let largest = &written["largest"][0];
    assert!(
        largest["path"].as_str().unwrap().starts_with("/var/lib/redis/appendonlydir/"),
        "{report}"
    );
    assert_eq!(largest["open"], true, "{report}");
    // Whoever says that it is a cache is believed; the server need not be another one for that.
    redis(&home, r#"not_state = ["/var/lib/redis"]"#);
    found(&home, &["--watch", "0s"], 0);
    let plan = home.run(&["plan"]).expect(0);
    assert!(plan.stdout.contains("nothing to change"), "{}", plan.stdout);
}

#[test]
fn a_database_in_a_file_that_grows_in_scratch_is_found_on_the_server() {
    let home = Home::new();
    let text = format!(
        r#"{BASE}
image "shop" {{
  from     = image.base
  packages = ["sqlite3"]
  scratch  = ["/run", "/var/lib/shop"]
  copy "shop.sh" {{
    to   = "/srv/shop.sh"
    mode = "0755"
  }}
  command = ["/srv/shop.sh"]
}}
service "shop" {{
  image      = image.shop
  stop_grace = "100ms"
}}
"#
    );
    home.write("hornero.hcl", &text);
    let script = "#!/bin/sh\necho $$ > /run/shop.pid\n(echo 'create table orders (n);'\n\
                  while :; do echo 'insert into orders values (randomblob(4000));'; sleep 0.1; done)\n\
                  ";
    let script = script.replace("done)\n", "done) | sqlite3 /var/lib/shop/orders.db\n");
    home.write("shop.sh", &script);
    home.up();
    until("the database to be there", || {
        found_if_any(&home)
            .is_some_and(|report| report["findings"][0]["written"]["bytes"].as_u64() > Some(8_000))
    });
    let report = found(&home, &["--watch", "2s"], 1);
    assert_eq!(report["findings"].as_array().unwrap().len(), 1, "{report}");
    let finding = &report["findings"][0];
    assert_eq!((&finding["kind"], &finding["path"]), (&"written".into(), &"/var/lib/shop".into()));
    let written = &finding["written"];
    assert!(written["grown_bytes"].as_u64().unwrap() > 4_000, "{report}");
    let database = written["largest"].as_array().unwrap().iter();
    let mut database = database.filter(|file| file["path"] == "/var/lib/shop/orders.db");
    let database = database.next().unwrap();
    assert_eq!((&database["format"], &database["open"]), (&"sqlite".into(), &true.into()));
    let text = home.run(&["state-lint"]).expect(1).stdout;
    for told in [
        "/var/lib/shop/orders.db: ",
        "open for writing, SQLite database",
        "growing (",
        "mount \"/var/lib/shop\"",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
}

/// What is found now, where anything is.
fn found_if_any(home: &Home) -> Option<Value> {
    let answer = home.run(&["state-lint", "--json", "--watch", "0s"]);
    (answer.code == 1).then(|| answer.json())
}
