//! A server in quarantine is replaced first, stands still, and goes when its time is up, whoever was killed meanwhile.

use std::{fs, path::PathBuf};

use serde_json::Value;

use crate::{
    home::{Home, get, pid, signal, until},
    site::Site,
    traffic::Traffic,
};

fn serving(home: &Home) -> Vec<Value> {
    let status = home.status();
    let instances = status["services"][0]["instances"].as_array().unwrap().clone();
    instances.into_iter().filter(|of| of["state"] == "serving").collect()
}

fn is_frozen(home: &Home, id: &str) -> bool {
    let groups = home.control_groups().into_iter().map(|group: PathBuf| group.join(id));
    let mut events =
        groups.filter_map(|group| fs::read_to_string(group.join("cgroup.events")).ok());
    events.any(|text| text.contains("frozen 1"))
}

fn listed(home: &Home) -> Vec<Value> {
    home.run(&["quarantine", "ls", "--json"]).expect(0).json().as_array().unwrap().clone()
}

#[test]
fn it_is_replaced_stands_still_and_goes_when_its_time_is_up() {
    let home = Home::new();
    Site::default().write(&home, "x");
    home.up();
    let one = serving(&home)[0].clone();
    let id = one["id"].as_str().unwrap();
    home.run(&["quarantine", "site-9-nobody", "--for", "1h", "--reason", "x"]).expect(5);
    home.run(&["quarantine", id, "--for", "8d", "--reason", "x"]).expect(2);
    home.run(&["quarantine", id, "--for", "1h"]).expect(2);
    let traffic = Traffic::start(home.port);
    let arguments = ["quarantine", id, "--for", "60s", "--reason", "odd latencies", "--json"];
    let kept = home.run(&arguments).expect(0).json();
    assert_eq!(
        (&kept["state"], &kept["why"]),
        (&"frozen".into(), &"odd latencies".into()),
        "{kept}"
    );
    traffic.stop_whole();
    let now = serving(&home);
    assert!(now.len() == 2 && now.iter().all(|of| of["id"] != id), "{now:?}");
    assert!(is_frozen(&home, id), "it stands still");
    let process = pid(&kept["pid"]);
    assert!(fs::metadata(format!("/proc/{process}/root/srv/site/index.html")).is_ok());
    let again = home.run(&["quarantine", id, "--for", "1h", "--reason", "x", "--json"]).expect(3);
    assert_eq!(again.json()["error"]["code"], "quarantined_already");
    // Whoever is killed meanwhile, it stays, and goes in time.
    signal(home.control_pid(), "KILL");
    // Until it is gone it may still take a connection.
    until("the ledger to be read", || home.run(&["quarantine", "ls"]).code == 0);
    assert_eq!(listed(&home)[0]["instance"], id, "the ledger has it");
    home.run(&["up"]).expect(0);
    until("control to have looked", || listed(&home)[0]["state"] == "frozen");
    assert!(is_frozen(&home, id));
    until("its time to be up", || listed(&home).is_empty());
    until("it to be gone", || fs::metadata(format!("/proc/{process}")).is_err());
    assert_eq!(serving(&home).len(), 2);
    assert_eq!(get(home.port, "/").0, 200);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn it_is_released_and_a_service_that_goes_takes_it_along() {
    let home = Home::new();
    Site::default().write(&home, "x");
    home.up();
    let quarantine = |id: &str| {
        home.run(&["quarantine", id, "--for", "1h", "--reason", "look", "--json"]).expect(0).json()
    };
    let one = serving(&home)[0]["id"].as_str().unwrap().to_owned();
    let process = pid(&quarantine(&one)["pid"]);
    home.run(&["quarantine", "release", &one, "--json"]).expect(0);
    until("it to be gone", || fs::metadata(format!("/proc/{process}")).is_err());
    home.run(&["quarantine", "release", &one]).expect(5);
    let other = serving(&home)[0]["id"].as_str().unwrap().to_owned();
    quarantine(&other);
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains(&format!("quarantined: `{other}`")), "{text}");
    // A new release does not wait for it, and leaves it be.
    Site::default().write(&home, "y");
    home.up();
    assert_eq!(listed(&home)[0]["instance"], other.as_str());
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
