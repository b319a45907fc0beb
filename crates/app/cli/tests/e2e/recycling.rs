//! Servers are replaced for their age and by hand, and no request notices.

use std::{collections::BTreeSet, process::Stdio};

use serde_json::{Value, json};

use crate::{
    home::{Home, signal, until},
    site::Site,
    traffic::Traffic,
};

/// Writes a site whose drains are short: constant traffic never lets one end early.
fn write(home: &Home, service: &str) {
    Site { service, ..Site::default() }.write(home, "page");
    let text = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write("hornero.hcl", &text.replace("drain_timeout = \"20s\"", "drain_timeout = \"1s\""));
}

/// Instances of `site` that serve.
fn serving(status: &Value) -> BTreeSet<String> {
    let instances = status["services"][0]["instances"].as_array().unwrap().iter();
    let serving = instances.filter(|instance| instance["state"] == "serving");
    serving.map(|instance| instance["id"].as_str().unwrap().to_owned()).collect()
}

/// The reasons of all events of a kind, with who is behind them.
fn reasons(home: &Home, kind: &str) -> Vec<(String, String)> {
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let text = |event: &Value, key: &str| event[key].as_str().unwrap().to_owned();
    let of_kind = events.filter(|event| event["body"]["kind"] == kind);
    of_kind.map(|event| (text(&event, "who"), text(&event, "why"))).collect()
}

#[test]
fn what_is_too_old_is_replaced_under_load_without_losing_a_request() {
    let home = Home::new();
    write(&home, "max_age = \"10s\"");
    home.up();
    let status = home.status();
    let first = serving(&status);
    assert!(status["services"][0]["instances"][0]["recycle_due"].is_string(), "{status}");
    let shown = home.run(&["status"]).expect(0).stdout;
    assert!(shown.contains("REPLACED"), "{shown}");
    let traffic = Traffic::start(home.port);
    until("every first server to be replaced", || {
        let serving = serving(&home.status());
        assert!(serving.len() >= 2, "{serving:?}");
        serving.is_disjoint(&first)
    });
    traffic.stop_whole();
    let recycled = reasons(&home, "recycle_set");
    assert!(!recycled.is_empty());
    let by_itself = |(who, why): &(String, String)| who == "hornero" && why.contains("`max_age`");
    assert!(recycled.iter().all(by_itself), "{recycled:?}");
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn servers_are_replaced_by_hand_and_go_on_being_so_after_control_was_killed() {
    let home = Home::new();
    write(&home, "");
    home.up();
    let first = serving(&home.status());
    let traffic = Traffic::start(home.port);
    let report = home.run(&["recycle", "site", "--reason", "it leaks", "--json"]).expect(0).json();
    let service = &report["services"][0];
    assert_eq!((&service["name"], &service["release"]), (&json!("site"), &json!(1)), "{report}");
    let recycled = service["recycled"].as_array().unwrap().iter();
    let recycled: BTreeSet<String> = recycled.map(|id| id.as_str().unwrap().to_owned()).collect();
    assert_eq!(recycled, first);
    let second = serving(&home.status());
    assert!(second.len() == 2 && second.is_disjoint(&first), "{second:?}");
    let asked = reasons(&home, "recycle_set");
    assert_eq!(asked, [("root".to_owned(), "it leaks".to_owned())]);

    // One alone, and then all of them with a control process that dies on the way.
    let one = second.first().unwrap();
    home.run(&["recycle", one]).expect(0);
    let third = serving(&home.status());
    assert!(!third.contains(one) && third.intersection(&second).count() == 1, "{third:?}");
    let mut command = home.command(&["recycle", "site"]);
    let mut client = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("a first new server", || serving(&home.status()).iter().any(|id| !third.contains(id)));
    signal(home.control_pid(), "KILL");
    client.wait().unwrap();
    home.up();
    until("the rest to be replaced", || {
        let serving = serving(&home.status());
        serving.len() == 2 && serving.is_disjoint(&third)
    });
    traffic.stop_whole();

    let unknown = home.run(&["recycle", "shop"]).expect(5);
    assert!(unknown.stderr.contains("shop"), "{}", unknown.stderr);
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
