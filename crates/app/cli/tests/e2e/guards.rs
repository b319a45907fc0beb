//! Real PostgreSQL and Redis servers that are asked before they are replaced or taken down.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
};

use crate::{
    home::{Home, until},
    stateful::{database, psql, redis, server},
};

/// Puts a guard into the service of the file that is there.
fn guard(home: &Home, guard: &str) {
    let text = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    assert!(text.contains("  stop_"), "{text}");
    home.write("hornero.hcl", &text.replacen("  stop_", &format!("  {guard}\n  stop_"), 1));
}

/// A client with a transaction open, which it commits once it is told to.
struct OpenTransaction(Child, BufReader<ChildStdout>);

impl OpenTransaction {
    fn begin(port: u16) -> Self {
        let mut child = Command::new("psql")
            .args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "postgres", "-tA"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("`psql` of postgresql-client is there");
        let input = child.stdin.as_mut().unwrap();
        writeln!(input, "begin; insert into orders values (1) returning 'inserted';").unwrap();
        input.flush().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        assert!(output.by_ref().lines().any(|line| line.unwrap() == "inserted"));
        Self(child, output)
    }

    fn commit(mut self) {
        let input = self.0.stdin.as_mut().unwrap();
        writeln!(input, "commit;\n\\q").unwrap();
        drop(self.0.stdin.take());
        let said: Vec<String> = self.1.by_ref().lines().map(Result::unwrap).collect();
        assert!(said.iter().any(|line| line == "COMMIT"), "{said:?}");
        assert!(self.0.wait().unwrap().success());
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

const QUIET: &str = r#"guard "quiet" { postgres = { open_transactions = 0, within = "2s" } }"#;

#[test]
fn an_open_transaction_keeps_a_database_from_being_replaced_until_it_is_committed() {
    let home = Home::new();
    database(&home, 0, "");
    guard(&home, QUIET);
    home.up();
    psql(home.port, "create table orders (n bigint)").unwrap();
    let (before, _) = server(&home).unwrap();
    let client = OpenTransaction::begin(home.port);
    let asked = home.run(&["guard", "check", "db", "--json"]).expect(3).json();
    assert_eq!(asked["answers"][0]["verdict"], "refuses", "{asked}");
    assert_eq!(asked["answers"][0]["seen"], "1 open transactions (at most 0)", "{asked}");
    database(&home, 1, "");
    guard(&home, QUIET);
    for refused in [&["up"][..], &["down"]] {
        let answer = home.run(refused).expect(3).stderr;
        for told in [
            "guard `quiet` of `db` refuses",
            "1 open transactions (at most 0)",
            "--override guard.quiet --reason",
        ] {
            assert!(answer.contains(told), "{told}: {answer}");
        }
        assert_eq!(server(&home).unwrap().0, before);
    }
    client.commit();
    until("the transaction to be over", || home.run(&["guard", "check", "db"]).code == 0);
    home.up();
    let (after, _) = server(&home).unwrap();
    assert_ne!(after, before);
    assert_eq!(psql(home.port, "select count(*) from orders").unwrap(), "1");
    // Back it goes as well, with somebody's word against the guard's, which stands in the ledger.
    let client = OpenTransaction::begin(home.port);
    home.run(&["rollback", "db"]).expect(3);
    home.run(&["rollback", "db", "--override", "guard.quiet"]).expect(2);
    let named = ["rollback", "db", "--override", "guard.other", "--reason", "no time"];
    home.run(&named).expect(5);
    home.run(&["rollback", "db", "--override", "guard.quiet", "--reason", "no time"]).expect(0);
    drop(client);
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let mut events =
        audit.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let overridden = events.find(|event| event["body"]["kind"] == "data_guard_overridden");
    let overridden = overridden.unwrap_or_else(|| panic!("{audit}"));
    assert_eq!(overridden["why"], "no time", "{overridden}");
    assert_eq!(psql(home.port, "select count(*) from orders").unwrap(), "1");
    home.run(&["down"]).expect(0);
}

#[test]
fn a_guard_logs_in_by_a_secret_however_the_database_keeps_the_password() {
    let home = Home::new();
    let mut set = home.command(&["secret", "set", "watch"]);
    let mut set = set.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    set.stdin.take().unwrap().write_all(b"open sesame").unwrap();
    assert!(set.wait().unwrap().success());
    database(&home, 0, "");
    home.write("pg_hba.conf", "host all postgres all trust\nhost all all all md5\n");
    let guard_of = |user: &str| {
        format!(
            r#"guard "{user}" {{ postgres = {{ connections = 9, user = "{user}", password = "watch", within = "1s" }} }}"#
        )
    };
    let secret = r#"secret "watch" { path = "/run/watch" }"#;
    guard(&home, &[secret.to_owned(), guard_of("by-md5"), guard_of("by-scram")].join("\n  "));
    home.up();
    for (role, kept) in [("by-md5", "md5"), ("by-scram", "scram-sha-256")] {
        psql(home.port, &format!("create role \"{role}\" login; grant pg_monitor to \"{role}\""))
            .unwrap();
        let password = |value: &str| {
            let sql = format!(
                "set password_encryption = '{kept}'; alter role \"{role}\" password '{value}'"
            );
            psql(home.port, &sql).unwrap();
        };
        let answer = || {
            let asked = home.run(&["guard", "check", "db", "--json"]).json();
            let mut answers = asked["answers"].as_array().unwrap().iter();
            answers.find(|answer| answer["guard"] == role).unwrap().clone()
        };
        password("open sesame");
        let passes = answer();
        assert_eq!(passes["verdict"], "passes", "{passes}");
        password("another");
        let seen = answer()["seen"].as_str().unwrap().to_owned();
        assert!(seen.contains("password authentication failed"), "{seen}");
    }
    home.run(&["down"]).expect(3);
}

#[test]
fn a_client_of_redis_and_a_login_that_fails_keep_it_as_it_is() {
    let home = Home::new();
    redis(&home, 0);
    let alone =
        r#"guard "alone" { redis = { clients = 0, pending_persistence = 0, within = "1s" } }"#;
    guard(&home, alone);
    home.up();
    let status = || home.status()["services"][0]["instances"][0]["id"].clone();
    let before = status();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, home.port)).unwrap();
    client.write_all(b"PING\r\n").unwrap();
    let mut answer = String::new();
    BufReader::new(&client).read_line(&mut answer).unwrap();
    assert_eq!(answer, "+PONG\r\n");
    redis(&home, 1);
    guard(&home, alone);
    let refused = home.run(&["up"]).expect(3).stderr;
    assert!(refused.contains("1 clients (at most 0)"), "{refused}");
    assert_eq!(status(), before);
    drop(client);
    until("the client to be gone", || home.run(&["guard", "check", "redis"]).code == 0);
    home.up();
    assert_ne!(status(), before);
    // Nobody can tell is no pass either; what is rolled out next mends the guard itself.
    let wrong = r#"guard "alone" { redis = { clients = 0, port = 6380, within = "1s" } }"#;
    redis(&home, 2);
    guard(&home, wrong);
    let unasked = home.run(&["up"]).expect(3).stderr;
    assert!(unasked.contains("guard `alone` of `redis` can't be asked"), "{unasked}");
    redis(&home, 2);
    guard(&home, alone);
    home.up();
    home.run(&["down"]).expect(0);
}
