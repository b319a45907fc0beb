//! Changes that need no new server: the ones that run keep running, and no request notices.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{
    home::{Home, free_port, get},
    site::Site,
    traffic::Traffic,
};

/// The ids of what serves, and the release that it serves as.
fn serving(home: &Home) -> (BTreeSet<String>, Value) {
    let service = home.status()["services"][0].clone();
    let ids = service["instances"].as_array().unwrap().iter();
    let ids = ids.map(|instance| instance["id"].as_str().unwrap().to_owned());
    (ids.collect(), service["release"].clone())
}

/// Changes a text in `hornero.hcl`.
fn edit(home: &Home, from: &str, to: &str) {
    let text = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    assert!(text.contains(from), "{text}");
    home.write("hornero.hcl", &text.replace(from, to));
}

/// What a plan would do, in one word and why.
fn plan(home: &Home) -> (String, String) {
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let changes = plan["changes"].as_array().unwrap();
    assert_eq!(changes.len(), 1, "{plan}");
    let text = |key: &str| changes[0][key].as_str().unwrap().to_owned();
    (text("action"), text("reason"))
}

#[test]
fn scale_routes_and_timing_change_under_load_without_a_new_server() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.up();
    let (first, release) = serving(&home);
    assert_eq!((first.len(), release), (2, json!(1)));
    let traffic = Traffic::start(home.port);

    edit(&home, "drain_timeout = \"20s\"", "drain_timeout = \"1s\"\n    keep_warm = \"1m\"");
    let (action, why) = plan(&home);
    assert_eq!(action, "adjust", "{why}");
    assert!(why.contains("`rollout.drain_timeout` changed from 20s to 1s"), "{why}");
    let up = home.up();
    let service = &up["services"][0];
    assert_eq!((&service["release"], &service["adjusted"]), (&json!(2), &json!(true)), "{up}");
    assert_eq!((&service["rollout"], &service["receipt"]), (&json!(null), &json!(null)), "{up}");
    assert_eq!(serving(&home), (first.clone(), json!(2)));

    edit(&home, "instances = 2", "instances = 4");
    let (action, why) = plan(&home);
    assert_eq!(action, "scale", "{why}");
    assert!(why.contains("2 instances are started"), "{why}");
    home.up();
    let (more, _) = serving(&home);
    assert!(more.len() == 4 && more.is_superset(&first), "{first:?} {more:?}");

    edit(&home, "instances = 4", "instances = 1");
    home.up();
    let (one, release) = serving(&home);
    assert!(one.len() == 1 && one.is_subset(&more), "{more:?} {one:?}");
    assert_eq!(release, json!(4));
    traffic.stop_whole();

    let port = free_port();
    edit(&home, &format!("listen  = {}", home.port), &format!("listen  = {port}"));
    home.up();
    assert_eq!(get(port, "/"), (200, "page".to_owned()));
    assert_eq!(home.get("/").0, 0, "the way in from before is closed");
    assert_eq!(serving(&home), (one.clone(), json!(5)));

    // Back to the release before: the way in from before, and still no new server.
    home.run(&["rollback", "site"]).expect(0);
    assert_eq!(home.get("/"), (200, "page".to_owned()));
    assert_eq!(serving(&home), (one, json!(4)));
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_port_that_another_program_has_leaves_the_ways_in_as_they_were() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "page");
    home.up();
    let before = serving(&home);
    let taken = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    edit(&home, &format!("listen  = {}", home.port), &format!("listen  = {port}"));
    let refused = home.run(&["up"]).expect(1);
    assert!(refused.stderr.contains(&port.to_string()), "{}", refused.stderr);
    assert_eq!(home.get("/"), (200, "page".to_owned()));
    assert_eq!(serving(&home), before);
    drop(taken);
    home.up();
    assert_eq!(get(port, "/"), (200, "page".to_owned()));
    let (ids, release) = serving(&home);
    assert_eq!((ids, release), (before.0, json!(2)));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
