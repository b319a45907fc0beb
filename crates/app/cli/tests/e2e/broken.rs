//! Homes that are broken in one way each: what is said of it, and how one comes back.

use std::{fs, os::unix::fs::PermissionsExt as _};

use serde_json::Value;

use crate::{
    home::{Home, signal, until},
    site::Site,
};

fn site(home: &Home) {
    Site { instances: 1, ..Site::default() }.write(home, "page");
}

/// A home that was up and is down.
fn was_up() -> Home {
    let home = Home::new();
    site(&home);
    home.up();
    home.run(&["down"]).expect(0);
    home
}

#[track_caller]
fn found(home: &Home, code: &str) -> Value {
    let checked = home.run(&["home", "check", "--json"]).json();
    let problems = checked["problems"].as_array().unwrap();
    let problem = problems.iter().find(|problem| problem["code"] == code);
    problem.unwrap_or_else(|| panic!("no `{code}` in {checked}")).clone()
}

/// What control says of the home when it is asked to serve it.
#[track_caller]
fn refused(home: &Home) -> String {
    let answer = home.run(&["serve", "--json"]).expect(1).json();
    answer["error"]["code"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

#[test]
fn a_lost_or_replaced_key_is_named_and_no_other_is_made_in_its_place() {
    let home = was_up();
    let key = home.path().join("keys/signing.pk8");
    let kept = fs::read(&key).unwrap();
    fs::remove_file(&key).unwrap();
    assert_eq!(refused(&home), "key_lost");
    assert_eq!(home.run(&["build", "--json"]).expect(1).json()["error"]["code"], "key_lost");
    assert!(!key.exists());
    assert_eq!(found(&home, "key_lost")["severity"], "error");
    fs::remove_dir_all(home.path().join("keys")).unwrap();
    assert_eq!(refused(&home), "key_lost");
    assert!(!home.path().join("keys").exists());
    found(&home, "key_lost");

    // A key of another home.
    let other = Home::with_own_store();
    other.write("hornero.hcl", "");
    hornero_ledger::Keys::open_or_create(&home.path().join("keys")).unwrap();
    assert_eq!(refused(&home), "ledger_other_key");
    fs::write(&key, &kept).unwrap();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    assert_eq!(refused(&home), "key_exposed");
    found(&home, "key_exposed");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&key, &kept[..20]).unwrap();
    assert_eq!(refused(&home), "key_damaged");
    fs::write(&key, &kept).unwrap();
    home.up();
}

#[test]
fn a_missing_head_is_named_and_the_ledger_is_accepted_by_a_person_only() {
    let home = was_up();
    let head = home.path().join("ledger.head");
    fs::remove_file(&head).unwrap();
    assert_eq!(refused(&home), "ledger_head_missing");
    // Asking made nothing that passes for one.
    assert_eq!(refused(&home), "ledger_head_missing");
    let problem = found(&home, "ledger_head_missing");
    assert!(problem["run"].as_str().unwrap().contains("home accept-ledger"), "{problem}");
    let accepted = home.run(&["home", "accept-ledger", "--json"]).expect(0).json();
    assert!(accepted["sequence"].as_u64().unwrap() > 0);
    home.run(&["audit", "verify"]).expect(0);
    home.up();
}

#[test]
fn a_ledger_cut_short_or_put_back_is_named() {
    let home = was_up();
    let path = home.path();
    let copy = home.directory_beside("older");
    // What was appended last may be in the log beside the database.
    let files = ["ledger.db", "ledger.db-wal", "ledger.head"];
    for name in files.iter().filter(|name| path.join(name).exists()) {
        fs::copy(path.join(name), copy.join(name)).unwrap();
    }
    home.up();
    home.run(&["down"]).expect(0);
    // An older copy beside the head of today.
    fs::remove_file(path.join("ledger.db-wal")).ok();
    fs::remove_file(path.join("ledger.db-shm")).ok();
    for name in files.iter().filter(|name| **name != "ledger.head" && copy.join(name).exists()) {
        fs::copy(copy.join(name), path.join(name)).unwrap();
    }
    assert_eq!(refused(&home), "ledger_touched");
    found(&home, "ledger_touched");
    // Together with its head nothing inside of the home tells it from the truth: receipts outside of it do.
    fs::copy(copy.join("ledger.head"), path.join("ledger.head")).unwrap();
    home.run(&["audit", "verify"]).expect(0);
    home.up();
}

#[test]
fn a_torn_ledger_is_named_and_what_ran_can_be_ended_without_it() {
    let home = Home::new();
    site(&home);
    home.up();
    let control = home.control_pid();
    signal(control, "KILL");
    let path = home.path().join("ledger.db");
    let bytes = fs::read(&path).unwrap();
    fs::remove_file(home.path().join("ledger.db-wal")).ok();
    fs::remove_file(home.path().join("ledger.db-shm")).ok();
    let mut torn = bytes.clone();
    torn[4096..].fill(0x5a);
    fs::write(&path, &torn).unwrap();
    assert_eq!(home.get("/").1, "page", "the edge goes on without control");
    until("control to be gone", || fs::metadata(format!("/proc/{control}")).is_err());
    assert!(["ledger_damaged", "ledger_touched"].contains(&refused(&home).as_str()));
    fs::write(&path, b"no database at all, but long enough to be looked at by its first bytes")
        .unwrap();
    assert_eq!(refused(&home), "ledger_damaged");
    found(&home, "ledger_damaged");
    assert_eq!(home.get("/").1, "page");
    home.run(&["down", "--force"]).expect(0);
    home.assert_clean();
}

#[test]
fn one_bad_record_table_or_name_takes_nothing_else_with_it_and_is_found() {
    let home = was_up();
    fs::write(home.path().join("edge/routes.json"), "{").unwrap();
    let record = home.path().join("instances/site-9-abcdefgh");
    fs::create_dir(&record).unwrap();
    fs::write(record.join("spec.json"), [0xff; 40]).unwrap();
    let names = fs::read_dir(home.path().join("names")).unwrap().next().unwrap().unwrap().path();
    fs::write(names.join("lost"), "nothing").unwrap();
    for (code, severity) in
        [("record_damaged", "error"), ("edge_table_damaged", "warning"), ("name_damaged", "error")]
    {
        assert_eq!(found(&home, code)["severity"], severity);
    }
    home.up();
    assert_eq!(home.get("/").1, "page");
}

#[test]
fn a_lost_socket_comes_back_while_control_runs() {
    let home = Home::new();
    site(&home);
    home.up();
    let control = home.control_pid();
    let socket = home.path().join("control.sock");
    fs::remove_file(&socket).unwrap();
    until("the socket to be there again", || home.run(&["status"]).code == 0);
    assert_eq!(home.control_pid(), control);
    // Something else in its place is no socket of control's.
    fs::remove_file(&socket).unwrap();
    fs::write(&socket, "").unwrap();
    until("the socket to be there again", || home.run(&["status"]).code == 0);
    assert_eq!(home.control_pid(), control);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_server_whose_record_is_damaged_is_replaced_and_the_others_run_on() {
    let home = Home::new();
    Site { instances: 2, ..Site::default() }.write(&home, "page");
    home.up();
    let instances = |status: &Value| -> Vec<String> {
        let all = status["services"][0]["instances"].as_array().cloned().unwrap_or_default();
        all.iter().map(|instance| instance["id"].as_str().unwrap().to_owned()).collect()
    };
    let before = instances(&home.status());
    assert_eq!(before.len(), 2);
    signal(home.control_pid(), "KILL");
    let record = home.path().join("instances").join(&before[0]).join("spec.json");
    fs::write(record, "{").unwrap();
    home.up();
    until("the server to be replaced", || {
        let now = instances(&home.status());
        now.len() == 2 && !now.contains(&before[0])
    });
    assert!(instances(&home.status()).contains(&before[1]), "the other one runs on");
    assert!(home.path().join("instances/.archived").join(&before[0]).is_dir());
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
