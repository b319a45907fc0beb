//! What is done by itself when a time comes round, on real servers; every schedule here comes round every minute.

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::{
    document,
    home::{Home, free_port, signal, until},
    site::Site,
    traffic::Traffic,
};

/// A site whose drains are short, with these blocks beside it.
fn write(home: &Home, blocks: &str) {
    Site::default().write(home, "page");
    let text = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let text = text.replace("drain_timeout = \"20s\"", "drain_timeout = \"1s\"");
    home.write("hornero.hcl", &format!("{text}\n{blocks}"));
}

fn schedule(name: &str, action: &str) -> String {
    format!("schedule \"{name}\" {{\n  do   = \"{action}\"\n  when = \"* * * * *\"\n}}\n")
}

const FREEZE: &str =
    "freeze \"holidays\" {\n  from  = \"2020-01-01T00:00\"\n  until = \"2199-01-01T00:00\"\n}\n";

fn schedules(home: &Home) -> Value {
    home.run(&["schedule", "ls", "--json"]).expect(0).json()
}

/// Instances that serve.
fn serving(home: &Home) -> BTreeSet<String> {
    let status = home.status();
    let services = status["services"].as_array().unwrap().iter();
    let instances = services.flat_map(|service| service["instances"].as_array().unwrap());
    let serving = instances.filter(|instance| instance["state"] == "serving");
    serving.map(|instance| instance["id"].as_str().unwrap().to_owned()).collect()
}

/// The events of a kind in the ledger.
fn events(home: &Home, kind: &str) -> Vec<Value> {
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["body"]["kind"] == kind).collect()
}

/// What the plan says of schedules: each action and its reason.
fn planned(home: &Home) -> Vec<(String, String)> {
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let changes = plan["changes"].as_array().unwrap().iter();
    let text = |change: &Value, key: &str| change[key].as_str().unwrap().to_owned();
    let of_schedules = changes.filter(|change| change["kind"] == "schedule");
    of_schedules.map(|change| (text(change, "action"), text(change, "reason"))).collect()
}

#[test]
fn servers_are_recycled_when_it_comes_round_and_a_freeze_holds_that_back() {
    let home = Home::new();
    write(&home, &schedule("fresh", "recycle"));
    let plan = planned(&home);
    assert_eq!(plan, [("create".to_owned(), "recycle at `* * * * *` UTC".to_owned())]);
    home.up();
    assert!(planned(&home).is_empty());
    let first = serving(&home);
    let listed = schedules(&home);
    assert!(listed[0]["next"].is_string() && listed[0]["last"].is_null(), "{listed}");
    let traffic = Traffic::start(home.port);
    until("a time to be done", || schedules(&home)[0]["last"]["result"] == "done");
    traffic.stop_whole();
    let second = serving(&home);
    assert!(second.len() == 2 && second.is_disjoint(&first), "{second:?}");
    let recycled = events(&home, "recycle_set");
    assert_eq!(recycled[0]["who"], "schedule fresh", "{recycled:?}");
    assert!(recycled[0]["why"].as_str().unwrap().starts_with("schedule `fresh` came round at"));
    let listed = schedules(&home);
    let log = fs::read_to_string(listed[0]["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("$ hornero recycle site") && log.contains("2 instances"), "{log}");

    // Control is killed while it is done: nobody saw its end, it is not done again, and what had begun goes on.
    let begun = events(&home, "schedule_begun").len();
    until("the next time to begin", || schedules(&home)[0]["running"].is_string());
    signal(home.control_pid(), "KILL");
    home.up();
    until("its end to be told", || schedules(&home)[0]["last"]["result"] == "unknown");
    let all = events(&home, "schedule_begun");
    assert_eq!(all.len(), begun + 1, "{all:?}");
    let text = home.run(&["schedule", "ls"]).expect(0).stdout;
    assert!(text.contains("unknown") && text.contains("control process ended"), "{text}");

    write(&home, &(schedule("fresh", "recycle") + FREEZE));
    home.run(&["up", "--override", "freeze.holidays", "--reason", "to try it"]).expect(0);
    until("a time to be left out", || {
        let why = schedules(&home)[0]["skipped"]["why"].as_str().unwrap_or_default().to_owned();
        why.starts_with("freeze `holidays` holds until 2199-01-01")
    });
    let held = schedules(&home);
    let last = held[0]["last"]["planned"].as_str().unwrap();
    assert!(held[0]["skipped"]["planned"].as_str().unwrap() > last, "{held}");
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains("SCHEDULE") && text.contains("freeze `holidays` holds"), "{text}");

    // Another thing to do is a change, and what is no longer declared goes.
    write(&home, &(schedule("fresh", "redeploy") + FREEZE));
    assert_eq!(planned(&home), [("adjust".to_owned(), "`do` changed".to_owned())]);
    write(&home, FREEZE);
    assert_eq!(planned(&home)[0].0, "remove");
    home.run(&["up", "--override", "freeze.holidays", "--reason", "to try it"]).expect(0);
    assert_eq!(schedules(&home), Value::Array(Vec::new()));
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_directory_is_patched_when_it_comes_round_as_long_as_it_is_roots_alone() {
    let home = Home::new();
    write(&home, &schedule("patch", "patch"));
    home.up();
    until("a patch to be done", || schedules(&home)[0]["last"]["result"] == "done");
    let listed = schedules(&home);
    let log = fs::read_to_string(listed[0]["log"].as_str().unwrap()).unwrap();
    assert!(log.contains("$ hornero patch ") && log.contains(" --deploy "), "{log}");
    assert_eq!(home.get("/"), (200, "page".to_owned()));

    let mode = |mode| {
        fs::set_permissions(home.project(), fs::Permissions::from_mode(mode)).unwrap();
    };
    mode(0o777);
    until("a patch to be refused", || schedules(&home)[0]["last"]["result"] == "failed");
    let refused = schedules(&home);
    let detail = refused[0]["last"]["detail"].as_str().unwrap();
    assert!(detail.contains("refused") && detail.contains("not root's alone"), "{detail}");
    mode(0o755);
    // Going down ends what is done just then, and nothing of it comes back.
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

/// `alpha`, which needs `site`, beside it: its name comes first, its turn does not.
fn write_two(home: &Home, blocks: &str) {
    write(home, blocks);
    let service = "depends_on = [service.site]";
    let alpha = Site { name: "alpha", instances: 1, image: "", service, ..Site::default() };
    let text = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", &format!("{text}{}", alpha.blocks(free_port())));
}

#[test]
fn services_are_redeployed_after_those_that_they_depend_on() {
    let home = Home::new();
    write_two(&home, &schedule("fresh", "redeploy"));
    home.up();
    let first = serving(&home);
    let traffic = Traffic::start(home.port);
    until("a time to be done", || schedules(&home)[0]["last"]["result"] == "done");
    traffic.stop_whole();
    assert_eq!(first.intersection(&serving(&home)).count(), 0);
    let listed = schedules(&home);
    let log = fs::read_to_string(listed[0]["log"].as_str().unwrap()).unwrap();
    let place = |service: &str| log.find(&format!("$ hornero recycle {service}"));
    let (site, alpha) = (place("site"), place("alpha"));
    assert!(site.is_some() && site < alpha, "{log}");
    // Releases are as they were: nothing new was made.
    for service in ["site", "alpha"] {
        let history = home.run(&["history", service, "--json"]).expect(0).json();
        assert_eq!(history.as_array().unwrap().len(), 1, "{history}");
    }
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn the_guide_runs_as_printed() {
    let home = Home::new();
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/guides/schedules.md");
    let page = fs::read_to_string(page).unwrap();
    let block = page.split("```hcl\n").nth(1).unwrap().split("```").next().unwrap();
    write(&home, block);
    document::run(&home, "guides/schedules.md", &[]);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
