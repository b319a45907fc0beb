//! `kill -9` of everything that can be killed: the rollout ends in the new or in the old state, whole.

use std::time::Duration;

use crate::{
    home::{Home, pid, signal, until},
    site::Site,
    traffic::Traffic,
};

/// Appends of the longest rollout are far below; the loop ends at the first run that meets no crash.
const MOST_APPENDS: u64 = 60;

/// Ends control and waits until it is gone, so that the next command starts one with its own environment.
fn kill_control(home: &Home) {
    let control = home.control_pid();
    signal(control, "KILL");
    until("control to be gone", || !std::path::Path::new(&format!("/proc/{control}/exe")).exists());
}

/// Ends the control whose fault hook is at a point that the command never came to. What it does afterwards, such as to end
/// the old set, may come to that point before this does.
fn end_control_with_hook(home: &Home) {
    let status = home.run(&["status", "--json"]);
    if status.code == 0 {
        signal(pid(&status.json()["control"]["pid"]), "KILL");
    } else {
        status.expect(6);
    }
    until("control to be gone", || home.run(&["status"]).code == 6);
}

/// The page served is one of two, and after another `up` it is the new one, by a whole set.
fn ends_whole(home: &Home, old: &str, new: &str) {
    let (status, body) = home.get("/");
    assert_eq!(status, 200, "{body}");
    assert!(body == old || body == new, "{body}");
    home.run(&["up", "--json"]).expect(0);
    assert_eq!(home.get("/"), (200, new.to_owned()));
    let report = home.status();
    let instances = report["services"][0]["instances"].as_array().unwrap();
    let serving = instances.iter().filter(|instance| instance["state"] == "serving").count();
    assert_eq!(serving, 2, "{report}");
    home.run(&["audit", "verify"]).expect(0);
}

#[test]
fn control_may_be_killed_at_every_journal_write() {
    let home = Home::new();
    let mut old = "page 0".to_owned();
    Site::default().write(&home, &old);
    home.up();
    let traffic = Traffic::start(home.port);
    let mut crashes = 0;
    for append in 1..=MOST_APPENDS {
        kill_control(&home);
        let new = format!("page {append}");
        home.write("public/index.html", &new);
        let mut command = home.command(&["up", "--json"]);
        command.env("HORNERO_CRASH_AT_APPEND", append.to_string());
        let output = command.output().unwrap();
        if output.status.success() {
            assert_eq!(home.get("/"), (200, new));
            break;
        }
        println!("point {append}: {}", String::from_utf8_lossy(&output.stderr));
        crashes += 1;
        ends_whole(&home, &old, &new);
        old = new;
    }
    assert!(crashes >= 4, "a rollout writes its journal more than {crashes} times");
    assert!(crashes < MOST_APPENDS, "no run got to its end");
    end_control_with_hook(&home);
    traffic.stop_whole();
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn control_may_be_killed_at_every_journal_write_of_a_rollback() {
    let home = Home::new();
    Site::default().write(&home, "old");
    home.up();
    home.write("public/index.html", "new");
    home.up();
    let traffic = Traffic::start(home.port);
    let mut crashes = 0;
    for append in 1..=MOST_APPENDS {
        kill_control(&home);
        let mut command = home.command(&["rollback", "site", "--to", "1"]);
        command.env("HORNERO_CRASH_AT_APPEND", append.to_string());
        let output = command.output().unwrap();
        if output.status.success() {
            assert_eq!(home.get("/"), (200, "old".to_owned()));
            break;
        }
        println!("point {append}: {}", String::from_utf8_lossy(&output.stderr));
        crashes += 1;
        ends_whole(&home, "old", "new");
    }
    assert!((4..MOST_APPENDS).contains(&crashes), "{crashes} crashes");
    end_control_with_hook(&home);
    traffic.stop_whole();
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_client_may_be_killed_in_the_middle() {
    let home = Home::new();
    Site::default().write(&home, "one");
    home.up();
    let traffic = Traffic::start(home.port);
    for (round, page) in ["two", "three", "four", "five"].into_iter().enumerate() {
        home.write("public/index.html", page);
        let client = home.spawn(&["up"]);
        // Rounds end the client at different points of its work.
        std::thread::sleep(Duration::from_millis(60 * round as u64));
        signal(client.pid(), "KILL");
        drop(client);
        let (status, _) = home.get("/");
        assert_eq!(status, 200);
    }
    home.up();
    assert_eq!(home.get("/"), (200, "five".to_owned()));
    traffic.stop_whole();
    home.run(&["audit", "verify"]).expect(0);
}

#[test]
fn a_killed_shim_costs_its_instance_which_is_replaced() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.up();
    let before = home.status();
    let instance = &before["services"][0]["instances"][0];
    let command_pid = pid(&instance["pid"]);
    let shim = parent_of(command_pid);
    signal(shim, "KILL");
    until("a replacement", || {
        let now = home.status();
        let instances = now["services"][0]["instances"].as_array().unwrap();
        let serving: Vec<_> = instances.iter().filter(|one| one["state"] == "serving").collect();
        serving.len() == 2 && serving.iter().all(|one| one["id"] != instance["id"])
    });
    assert!(
        !std::path::Path::new(&format!("/proc/{command_pid}")).exists(),
        "it ended with its shim"
    );
    assert_eq!(home.get("/"), (200, "page".to_owned()));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_killed_edge_comes_back_with_its_last_table() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.up();
    let edge = pid(&home.status()["edge"]["pid"]);
    signal(edge, "KILL");
    until("the edge to serve again", || home.get("/") == (200, "page".to_owned()));
    home.write("public/index.html", "next");
    home.up();
    assert_eq!(home.get("/"), (200, "next".to_owned()));
}

#[test]
fn servers_and_traffic_outlive_control() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.up();
    let before = home.status();
    let traffic = Traffic::start(home.port);
    kill_control(&home);
    assert_eq!(home.get("/"), (200, "page".to_owned()), "the edge serves without control");
    home.run(&["status"]).expect(6);
    home.up();
    let after = home.status();
    let ids = |report: &serde_json::Value| -> Vec<(String, i64)> {
        let instances = report["services"][0]["instances"].as_array().unwrap().clone();
        instances.iter().map(|one| (one["id"].to_string(), one["pid"].as_i64().unwrap())).collect()
    };
    assert_eq!(ids(&before), ids(&after), "the same servers, re-adopted");
    traffic.stop_whole();
}

#[test]
fn down_cleans_up_after_a_crash_in_the_middle_of_up() {
    for append in [1, 2, 3, 5] {
        let home = Home::new();
        Site::default().write(&home, "page");
        let mut command = home.command(&["up"]);
        command.env("HORNERO_CRASH_AT_APPEND", append.to_string());
        assert!(!command.output().unwrap().status.success());
        home.run(&["down"]).expect(0);
        home.assert_clean();
    }
}

#[test]
fn what_runs_can_be_ended_when_the_ledger_is_lost() {
    let home = Home::new();
    Site::default().write(&home, "page");
    home.up();
    kill_control(&home);
    std::fs::write(home.path().join("ledger.db"), "this is no database").unwrap();
    for part in ["ledger.db-wal", "ledger.db-shm"] {
        let _ = std::fs::remove_file(home.path().join(part));
    }
    let refused = home.run(&["down"]).expect(6);
    assert!(refused.stderr.contains("--force"), "{}", refused.stderr);
    assert_eq!(home.get("/"), (200, "page".to_owned()), "it goes on until it is told otherwise");
    home.run(&["down", "--force"]).expect(0);
    home.assert_clean();
    // Without its ledger the home can't be taken down in the ordinary way, also not at the end of the test.
    std::fs::remove_file(home.path().join("ledger.db")).unwrap();
}

fn parent_of(pid: i32) -> i32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).unwrap();
    line.trim().parse().unwrap()
}
