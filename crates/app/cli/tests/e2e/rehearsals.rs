//! Whether a service could go back is tried on real servers, and counts where it asks for it.

use std::{fs, process::Stdio};

use serde_json::Value;

use crate::{
    document,
    home::{Home, signal, until},
    site::Site,
    traffic::Traffic,
};

/// A site that wants a fresh proof, with these lines in its service and this page.
fn write(home: &Home, lines: &str, page: &str) {
    let service = format!("require_fresh_rollback = \"7d\"\n  {lines}");
    // It takes a while to become healthy.
    let command = r#"["/bin/sh", "-c", "sleep 1; exec /usr/sbin/nginx -g 'daemon off;'"]"#;
    let rollout = "keep_warm = \"0s\"";
    let site = Site { instances: 1, service: &service, command, rollout, ..Site::default() };
    site.write(home, page);
    let text = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", &text.replace("drain_timeout = \"20s\"", "drain_timeout = \"1s\""));
}

fn service(home: &Home) -> Value {
    home.status()["services"][0].clone()
}

/// The events of a kind in the ledger.
fn events(home: &Home, kind: &str) -> Vec<Value> {
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    events.filter(|event| event["body"]["kind"] == kind).collect()
}

#[test]
fn a_release_waits_for_a_rollback_that_was_rehearsed() {
    let home = Home::new();
    write(&home, "", "one");
    home.up();
    let nothing = home.run(&["rehearse", "site", "--json"]).expect(3).json();
    assert_eq!(nothing["error"]["code"], "nothing_before", "{nothing}");
    home.run(&["rehearse", "shop"]).expect(5);
    write(&home, "", "two");
    home.up();
    assert_eq!(service(&home)["proof"], Value::Null);

    write(&home, "", "three");
    let refused = home.run(&["up", "--json"]).expect(3).json();
    assert_eq!(refused["error"]["code"], "fresh_rollback", "{refused}");
    assert!(refused["error"]["hint"].as_str().unwrap().contains("rehearse site"));
    assert_eq!(home.get("/"), (200, "two".to_owned()));
    assert_eq!(service(&home)["release"], 2);
    let plan = home.run(&["plan", "--json"]).json();
    let problems = plan["problems"].as_array().unwrap();
    assert!(problems.iter().any(|one| one["guard"] == "fresh_rollback"), "{plan}");
    home.run(&["up", "--override", "fresh_rollback"]).expect(2);

    let traffic = Traffic::start(home.port);
    let rehearsed = home.run(&["rehearse", "site", "--json"]).expect(0).json();
    traffic.stop_whole();
    assert_eq!((&rehearsed["service"], &rehearsed["release"]), (&"site".into(), &1.into()));
    let seconds = rehearsed["seconds"].as_f64().unwrap();
    assert!((1.0..60.0).contains(&seconds), "its server sleeps for a second: {rehearsed}");
    let proof = &service(&home)["proof"];
    assert_eq!(proof["seconds"], rehearsed["seconds"], "{proof}");
    assert!(proof["age_seconds"].as_u64().unwrap() < 60, "{proof}");
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains("proof: `site` could go back"), "{text}");
    let id = rehearsed["id"].as_str().unwrap();
    assert_eq!(service(&home)["instances"].as_array().unwrap().len(), 1, "it is none of them");
    home.run(&["logs", id]).expect(0);
    home.up();
    assert_eq!(home.get("/"), (200, "three".to_owned()));

    // A rollback that happened is a proof, too.
    home.run(&["rollback", "site", "--to", "2"]).expect(0);
    assert_ne!(service(&home)["proof"]["seconds"], rehearsed["seconds"]);
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_rehearsal_that_fails_is_loud_and_changes_nothing_for_users() {
    let home = Home::new();
    let set = |value: &str| {
        home.write("value", value);
        let file = fs::File::open(home.project().join("value")).unwrap();
        let mut set = home.command(&["secret", "set", "db"]);
        assert!(set.stdin(file).stdout(Stdio::null()).status().unwrap().success());
    };
    set("old");
    write(&home, "secret \"db\" { path = \"/run/secrets/db\" }", "one");
    home.up();
    write(&home, "", "two");
    home.up();
    home.run(&["rehearse", "site"]).expect(0);

    // Control dies while the next one goes on: its server is removed, it is not begun again, and it proves nothing.
    let mut command = home.command(&["rehearse", "site"]);
    let mut client = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("it to begin", || events(&home, "rehearsal_started").len() == 2);
    signal(home.control_pid(), "KILL");
    home.up();
    until("its end to be told", || service(&home)["rehearsal"]["ended"].is_string());
    let failure = service(&home)["rehearsal"]["failure"].clone();
    assert_eq!(failure, "the control process ended while it went on");
    assert!(!client.wait().unwrap().success());
    assert_eq!(events(&home, "rehearsal_started").len(), 2);

    home.run(&["secret", "rm", "db", "--force"]).expect(0);
    let traffic = Traffic::start(home.port);
    let failed = home.run(&["rehearse", "site", "--json"]).expect(1).json();
    traffic.stop_whole();
    assert_eq!(failed["error"]["code"], "rehearsal_failed", "{failed}");
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains("warning: `site` may not be able to go back to site@1"), "{text}");
    write(&home, "", "three");
    let refused = home.run(&["up", "--json"]).expect(3).json();
    let message = refused["error"]["message"].as_str().unwrap();
    assert!(message.contains("the last rehearsal failed"), "{message}");
    let overridden = ["up", "--override", "fresh_rollback", "--reason", "the secret is gone"];
    home.run(&overridden).expect(0);
    assert_eq!(home.get("/"), (200, "three".to_owned()));
    let event = &events(&home, "guard_overridden")[0];
    assert_eq!(
        (&event["body"]["guard"], &event["why"]),
        (&"fresh_rollback".into(), &"the secret is gone".into())
    );
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn rollbacks_are_rehearsed_when_it_comes_round_as_the_guide_says() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "one");
    document::run(&home, "guides/rehearsals.md", &[]);
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/guides/rehearsals.md");
    let page = fs::read_to_string(page).unwrap();
    let block = page.split("```hcl\n").nth(1).unwrap().split("```").next().unwrap();
    let text = fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let block = block.replace("0 5 * * 1", "* * * * *");
    home.write("hornero.hcl", &format!("{text}\n{block}"));
    home.up();
    let begun = events(&home, "rehearsal_started").len();
    until("a rehearsal by schedule", || {
        let schedules = home.run(&["schedule", "ls", "--json"]).expect(0).json();
        schedules[0]["last"]["result"] == "done"
    });
    let all = events(&home, "rehearsal_started");
    assert!(all.len() > begun, "{all:?}");
    assert_eq!(all[begun]["who"], "schedule ways-back", "{all:?}");
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
