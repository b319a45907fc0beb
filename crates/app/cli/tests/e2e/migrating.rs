//! Schema steps against a real PostgreSQL: expanded before a release, contracted after the one before it, each once, and no way
//! back once what that needs is gone.

use std::{
    fs,
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{
    home::{Answer, Home, signal, until},
    stateful::{database, psql},
};

/// A command of `psql` against the database, as a step has it.
fn sql(statement: &str) -> String {
    format!(
        r#"["/usr/lib/postgresql/15/bin/psql", "-h", "db.internal", "-U", "postgres", "-v", "ON_ERROR_STOP=1", "-c", "{statement}"]"#
    )
}

/// The database, and an app of which the image differs by `number`.
fn app(home: &Home, number: u32, migrate: &str) {
    database(home, 0, "");
    let text = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let app = format!(
        r#"
image "app" {{
  from    = image.db
  env     = {{ IMAGE = "app {number}" }}
  command = ["/bin/sleep", "infinity"]
}}
service "app" {{
  image      = image.app
  depends_on = [service.db]
  rollout {{
    keep_warm = "8s"
    watch     = "100ms"
  }}
  stop_grace = "100ms"
  {migrate}
}}
"#
    );
    home.write("hornero.hcl", &format!("{text}{app}"));
}

fn service(home: &Home) -> Value {
    let status = home.status();
    let services = status["services"].as_array().unwrap();
    services.iter().find(|service| service["name"] == "app").unwrap().clone()
}

/// How far the app's steps are, by name.
fn steps(home: &Home) -> Vec<(String, String)> {
    let service = service(home);
    let steps = service["steps"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    steps.iter().map(|step| (text(&step["step"]), text(&step["state"]))).collect()
}

fn columns(home: &Home) -> String {
    let query = "select string_agg(column_name, ' ' order by column_name) from information_schema.columns \
                 where table_name = 'people'";
    psql(home.port, query).unwrap()
}

fn pair(step: &str, state: &str) -> (String, String) {
    (step.to_owned(), state.to_owned())
}

#[test]
fn a_column_comes_before_a_release_and_another_goes_when_nothing_needs_it() {
    let home = Home::new();
    app(&home, 0, "");
    home.up();
    psql(home.port, "create table people (first text, last text)").unwrap();
    let expand = sql("alter table people add column name text");
    let contract = sql("alter table people drop column first");
    let migrate = format!("migrate {{\n expand = [{expand}]\n contract = [{contract}]\n}}");
    app(&home, 1, &migrate);
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let planned: Vec<&str> = plan["changes"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|change| change["kind"] == "step")
        .map(|change| change["object"].as_str().unwrap())
        .collect();
    assert_eq!(planned, ["app.expand.1", "app.contract.1"], "{plan}");
    home.up();
    assert_eq!(columns(&home), "first last name");
    assert_eq!(steps(&home), [pair("expand.1", "done"), pair("contract.1", "waits")]);
    // What served before is kept warm, and all that it needs is there.
    home.run(&["rollback", "app"]).expect(0);
    home.up();
    assert_eq!(service(&home)["release"], 2);
    until("the column to go", || columns(&home) == "last name");
    until("the end of the step to be known", || {
        steps(&home) == [pair("expand.1", "done"), pair("contract.1", "done")]
    });
    let refused = home.run(&["rollback", "app", "--json"]).expect(3).json();
    let why = refused["error"]["message"].as_str().unwrap();
    assert!(
        why.contains("`app` can't go back to `app@1`: step `contract.1` of `app@2` was begun"),
        "{why}"
    );
    assert_eq!(service(&home)["release"], 2);
    // A step that fails: the rollout ends with what it wrote, and is not tried again by itself.
    app(&home, 2, &format!("migrate {{\n expand = [{}]\n}}", sql("select 1 from nowhere")));
    let failed = home.run(&["up"]).expect(4).stderr;
    for told in
        ["step `expand.1` (`step-app-", "exited with code", "relation \"nowhere\" does not exist"]
    {
        assert!(failed.contains(told), "{told}: {failed}");
    }
    assert_eq!(service(&home)["release"], 2);
    let again = home.run(&["up"]).expect(3).stderr;
    assert!(again.contains("--rerun-step expand.1"), "{again}");
    psql(home.port, "create table nowhere ()").unwrap();
    home.run(&["up", "--rerun-step", "expand.1"]).expect(0);
    assert_eq!(service(&home)["release"], 3);
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
}

/// The process of the host that has this in its command line.
fn process(word: &str) -> Option<u32> {
    fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let id: u32 = entry.file_name().to_str()?.parse().ok()?;
        let line = fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).into_owned();
        (line.contains(word) && line.starts_with("/usr/lib/postgresql")).then_some(id)
    })
}

#[test]
fn a_step_is_run_once_though_control_is_killed_and_one_that_was_killed_is_named() {
    let home = Home::new();
    app(&home, 0, "");
    home.up();
    psql(home.port, "create table counted (n bigint)").unwrap();
    let counted = || psql(home.port, "select count(*) from counted").unwrap();
    let tag = format!("{}", home.port);
    let slow = sql(&format!("insert into counted values (1); select pg_sleep(4), {tag}"));
    let mut slow_twice = slow.clone();
    slow_twice.push_str(&format!(", {}", sql("insert into counted values (2)")));
    app(&home, 1, &format!("migrate {{\n expand = [{slow_twice}]\n}}"));
    let up = home.command(&["up"]).stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("the step to run", || process(&format!("pg_sleep(4), {tag}")).is_some());
    signal(home.control_pid(), "KILL");
    let ended = up.wait_with_output().unwrap();
    assert_ne!(ended.status.code(), Some(0));
    home.run(&["up"]).expect(0);
    assert_eq!((counted().as_str(), service(&home)["release"].as_u64()), ("2", Some(2)));
    // Somebody kills the command half-way.
    let killed = sql(&format!("insert into counted values (3); select pg_sleep(60), {tag}"));
    app(&home, 2, &format!("migrate {{\n expand = [{killed}]\n}}"));
    let up = home.command(&["up"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("the step to run", || process(&format!("pg_sleep(60), {tag}")).is_some());
    let command = process(&format!("pg_sleep(60), {tag}")).unwrap();
    assert!(Command::new("kill").args(["-9", &command.to_string()]).status().unwrap().success());
    let ended = Answer::of(&up.wait_with_output().unwrap()).expect(4);
    assert!(ended.stderr.contains("nobody knows how far it came"), "{}", ended.stderr);
    let again = home.run(&["up"]).expect(3).stderr;
    assert!(again.contains("step `expand.1` of `app@3`"), "{again}");
    home.run(&["up", "--override", "step.expand.1"]).expect(2);
    home.run(&["up", "--override", "step.expand.1", "--reason", "looked"]).expect(0);
    assert_eq!(service(&home)["release"], 3);
    home.run(&["down"]).expect(0);
}

#[test]
fn a_cancel_ends_the_step_that_runs_and_is_over_with_it() {
    let home = Home::new();
    app(&home, 0, "");
    home.up();
    let tag = format!("{}", home.port);
    let slow = sql(&format!("select pg_sleep(300), {tag}"));
    app(&home, 1, &format!("migrate {{\n expand = [{slow}]\n}}"));
    let up = home.command(&["up"]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let runs = || process(&format!("pg_sleep(300), {tag}")).is_some();
    until("the step to run", runs);
    home.run(&["cancel", "app", "--reason", "wrong branch"]).expect(0);
    assert!(!runs(), "its command goes on beside what comes next");
    assert!(home.status()["runs"].as_array().is_none_or(Vec::is_empty), "{}", home.status());
    let ended = Answer::of(&up.wait_with_output().unwrap()).expect(1);
    assert!(ended.stderr.contains("cancelled by `root`: wrong branch"), "{}", ended.stderr);
    assert_eq!(service(&home)["release"], 1);
    let again = home.run(&["up"]).expect(3).stderr;
    assert!(again.contains("step `expand.1` of `app@2`"), "{again}");
    home.run(&["down"]).expect(0);
}

#[test]
fn what_guards_keep_from_going_down_goes_on_with_its_step() {
    let home = Home::new();
    app(&home, 0, "");
    home.up();
    psql(home.port, "create table allowed ()").unwrap();
    let tag = format!("{}", home.port);
    let contract = sql(&format!("select pg_sleep(300), {tag}"));
    let asked = sql("select from allowed");
    let guarded = format!(
        "migrate {{\n contract = [{contract}]\n}}\nguard \"quiet\" {{\n command = {asked}\n within = \"2s\"\n}}"
    );
    app(&home, 1, &guarded);
    home.up();
    let runs = || process(&format!("pg_sleep(300), {tag}")).is_some();
    until("the step to run", runs);
    psql(home.port, "drop table allowed").unwrap();
    let refused = home.run(&["down"]).expect(3).stderr;
    assert!(refused.contains("guard `quiet` of `app`"), "{refused}");
    assert!(runs(), "what was refused ended it");
    assert_eq!(steps(&home), [pair("contract.1", "running")]);
    psql(home.port, "create table allowed ()").unwrap();
    home.run(&["down"]).expect(0);
    assert!(!runs());
    home.assert_clean();
}
