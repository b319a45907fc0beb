//! One-off work: a command runs once, sees what the servers of its service see, and ends as it ended.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::{Child, Stdio},
};

use serde_json::Value;

use crate::{
    document,
    home::{Answer, Home, signal, until},
    site::Site,
};

/// A service with an environment, a file and a secret; run as the user of its image.
fn home() -> Home {
    let home = Home::new();
    let mut set = home.command(&["secret", "set", "db-password"]);
    let mut set = set.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    set.stdin.take().unwrap().write_all(b"hunter2").unwrap();
    assert!(set.wait().unwrap().success());
    let service = r#"
  env = { GREETING = "of the service" }
  config "/etc/shop.conf" { content = "shop=open\n" }
  secret "db-password" { path = "/run/secrets/db" }
"#;
    Site { instances: 1, image: "", service, ..Site::default() }.write(&home, "page");
    home
}

/// The events of runs in the ledger.
fn events(home: &Home, kind: &str) -> Vec<Value> {
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["body"]["kind"] == kind).collect()
}

/// A run under way whose command has said `begun`, and what reads the rest.
struct Begun {
    child: Child,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Begun {
    #[track_caller]
    fn new(home: &Home, script: &str) -> Self {
        let mut command = home.command(&["run", "site", "--", "sh", "-c", script]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut first = String::new();
        stdout.read_line(&mut first).unwrap();
        assert_eq!(first, "begun\n");
        Self { child, stdout }
    }

    /// What it wrote after that, and its end.
    fn ended(mut self) -> Answer {
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        Answer { stdout: rest, ..Answer::of(&self.child.wait_with_output().unwrap()) }
    }
}

/// Goes on until it is asked to end.
const WAITS: &str = r#"trap 'echo bye; exit 0' TERM; echo begun; while :; do sleep 0.1; done"#;

#[test]
fn a_command_runs_once_with_what_its_service_has() {
    let home = home();
    home.up();
    let script =
        "echo $GREETING; cat /etc/shop.conf; wc -c </run/secrets/db; id -un; echo oops >&2; exit 7";
    let ran = home.run(&["run", "site", "--reason", "look", "--", "sh", "-c", script]).expect(7);
    assert_eq!(ran.stdout, "of the service\nshop=open\n7\nwww-data\n");
    assert_eq!(ran.stderr.lines().filter(|line| *line == "oops").count(), 1, "{}", ran.stderr);

    let ran = home.run(&["run", "site", "--json", "--", "echo", "out"]).expect(0);
    let report = ran.json();
    assert_eq!((&report["service"], &report["release"]), (&"site".into(), &1.into()), "{report}");
    assert_eq!((&report["exit"], &report["command"][1]), (&0.into(), &"out".into()), "{report}");
    assert!(ran.stderr.lines().any(|line| line == "out"), "{}", ran.stderr);

    home.run(&["run", "site@1", "--", "sh", "-c", "kill -KILL $$"]).expect(137);
    let slow = home.run(&["run", "site", "--timeout", "1s", "--json", "--", "sleep", "600"]);
    let slow = slow.expect(124).json();
    assert_eq!((&slow["cut_off"], &slow["exit"]), (&"timeout".into(), &124.into()), "{slow}");
    let none = home.run(&["run", "site", "--", "/no/such/program"]).expect(125);
    assert!(none.stderr.contains("/no/such/program"), "{}", none.stderr);
    home.run(&["run", "nobody", "--", "true"]).expect(5);
    home.run(&["run", "site@9", "--", "true"]).expect(5);
    home.run(&["run", "site", "true"]).expect(2);
    let image = home.run(&["run", "base", "--", "cat", "/etc/os-release"]).expect(0);
    assert!(image.stdout.contains("VERSION_CODENAME=bookworm"), "{}", image.stdout);

    // Each began once and ended once; nothing of them is left, and none got requests.
    let (begun, ended) = (events(&home, "run_started"), events(&home, "run_ended"));
    assert_eq!((begun.len(), ended.len()), (6, 6), "{begun:?} {ended:?}");
    let first = &begun[0];
    assert_eq!((&first["who"], &first["why"]), (&"root".into(), &"look".into()), "{first}");
    assert_eq!(first["body"]["run"]["release"]["number"], 1, "{first}");
    assert_eq!(ended[0]["body"]["end"]["cause"]["code"], 7, "{ended:?}");
    let status = home.status();
    assert_eq!(status["runs"], Value::Null, "{status}");
    assert_eq!(status["services"][0]["instances"].as_array().unwrap().len(), 1, "{status}");
    // What it wrote is kept as the logs of servers are.
    let log = home.run(&["logs", first["body"]["run"]["id"].as_str().unwrap()]).expect(0);
    assert!(log.stdout.contains("shop=open"), "{}", log.stdout);
    home.run(&["audit", "verify"]).expect(0);
}

#[test]
fn a_run_goes_on_without_control_and_ends_when_somebody_wants_it() {
    let home = home();
    home.up();
    let run = Begun::new(&home, "echo begun; sleep 4; echo done; exit 9");
    let control = home.control_pid();
    signal(control, "KILL");
    let ended = run.ended().expect(9);
    assert_eq!(ended.stdout, "done\n", "{}", ended.stderr);
    assert_ne!(home.control_pid(), control);
    assert_eq!((events(&home, "run_started").len(), events(&home, "run_ended").len()), (1, 1));

    let run = Begun::new(&home, WAITS);
    signal(i32::try_from(run.child.id()).unwrap(), "INT");
    let ended = run.ended().expect(130);
    assert_eq!(ended.stdout, "bye\n", "{}", ended.stderr);

    let run = Begun::new(&home, WAITS);
    let id = home.status()["runs"][0]["id"].as_str().unwrap().to_owned();
    let cancelled = home.run(&["cancel", &id, "--reason", "wrong one", "--json"]).expect(0).json();
    assert_eq!(cancelled["cut_off"], "cancelled", "{cancelled}");
    run.ended().expect(130);
    let last = events(&home, "run_ended").pop().unwrap();
    assert_eq!((&last["who"], &last["why"]), (&"root".into(), &"wrong one".into()), "{last}");

    // With its client gone it goes on; taking everything down ends it.
    let mut run = Begun::new(&home, WAITS);
    run.child.kill().unwrap();
    run.child.wait().unwrap();
    assert_eq!(home.status()["runs"].as_array().unwrap().len(), 1);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn the_guide_runs_as_printed() {
    let home = home();
    home.up();
    // The job that the guide shows, as it is printed.
    let page = std::fs::read_to_string(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../../docs/guides/jobs.md"
    ));
    let page = page.unwrap();
    let job = page.split("```hcl\n").nth(1).unwrap().split("```").next().unwrap();
    let hcl = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", &format!("{hcl}\n{job}"));
    document::run(&home, "guides/jobs.md", &[]);
    until("control to be the one that serves", || home.run(&["status"]).code == 0);
}

/// A job beside the service, whose command is `script`.
fn with_job(home: &Home, keys: &str) {
    let hcl = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let services = hcl.split("\njob ").next().unwrap();
    let job = format!(
        r#"
job "report" {{
  image = image.base
  env   = {{ GREETING = "of the job" }}
  config "/etc/report.conf" {{ content = "rows=3\n" }}
  secret "db-password" {{ path = "/run/secrets/db" }}
{keys}
}}
"#
    );
    home.write("hornero.hcl", &format!("{services}{job}"));
}

fn jobs(home: &Home) -> Value {
    home.run(&["job", "ls", "--json"]).expect(0).json()
}

#[test]
fn a_job_is_declared_run_changed_and_removed() {
    let home = home();
    let command = |script: &str| format!("  command = [\"sh\", \"-c\", \"{script}\"]\n");
    let greets = command("echo $GREETING; cat /etc/report.conf; wc -c </run/secrets/db; exit 4");
    with_job(
        &home,
        &format!("{greets}  schedule = \"0 3 29 2 *\"\n  timezone = \"Europe/Berlin\""),
    );
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let of_job = |plan: &Value| {
        let changes = plan["changes"].as_array().unwrap().iter();
        changes
            .filter(|change| change["kind"] == "job")
            .map(|change| change["action"].clone())
            .next()
    };
    assert_eq!(of_job(&plan), Some("create".into()), "{plan}");
    home.up();
    let listed = jobs(&home);
    let (next, last) = (&listed[0]["next"], &listed[0]["last"]);
    assert!(next.as_str().unwrap().ends_with("-02-29T02:00:00.000Z"), "{listed}");
    assert_eq!(last, &Value::Null, "{listed}");

    let ran = home.run(&["job", "run", "report", "--reason", "now"]).expect(4);
    assert_eq!(ran.stdout, "of the job\nrows=3\n7\n", "{}", ran.stderr);
    let last = &jobs(&home)[0]["last"];
    assert_eq!((&last["exit"], &last["attempt"]), (&4.into(), &1.into()), "{last}");
    assert_eq!(home.status()["jobs"][0]["last"]["exit"], 4);
    let begun = events(&home, "run_started").pop().unwrap();
    assert_eq!(
        (&begun["body"]["run"]["job"]["job"], &begun["why"]),
        (&"report".into(), &"now".into())
    );
    home.run(&["job", "run", "nobody"]).expect(5);

    // What runs is not begun a second time; a job that is no longer declared is ended.
    with_job(&home, &command("echo begun; sleep 600"));
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    assert_eq!(of_job(&plan), Some("adjust".into()), "{plan}");
    home.up();
    assert_eq!(jobs(&home)[0]["next"], Value::Null);
    let long = home.command(&["job", "run", "report"]).stdout(Stdio::piped()).spawn().unwrap();
    until("the run to begin", || jobs(&home)[0]["running"].is_string());
    let refused = home.run(&["job", "run", "report"]).expect(3);
    assert!(refused.stderr.contains("goes on"), "{}", refused.stderr);
    let hcl = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", hcl.split("\njob ").next().unwrap());
    assert_eq!(of_job(&home.run(&["plan", "--json"]).expect(0).json()), Some("remove".into()));
    home.up();
    assert_eq!(Answer::of(&long.wait_with_output().unwrap()).code, 130);
    assert_eq!(jobs(&home), Value::Array(Vec::new()));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
