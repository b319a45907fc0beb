//! The main job: up, up again, change, rollback, down.

use serde_json::json;

use crate::{home::Home, site::Site};

#[test]
fn a_site_comes_up_changes_rolls_back_and_goes() {
    let home = Home::new();
    Site::default().write(&home, "first page");
    let up = home.up();
    assert_eq!(up["services"][0]["name"], "site");
    assert_eq!(up["services"][0]["release"], 1);
    assert_eq!(home.get("/"), (200, "first page".to_owned()));

    let again = home.up();
    assert_eq!(again["services"][0]["release"], 1, "a second `up` changes nothing");
    assert_eq!(again["services"][0]["receipt"], json!(null));
    assert_eq!(home.run(&["plan", "--json"]).expect(0).json(), json!({ "changes": [] }));

    home.write("public/index.html", "second page");
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    assert!(!plan["changes"].as_array().unwrap().is_empty());
    let changed = home.up();
    assert_eq!(changed["services"][0]["release"], 2);
    assert_eq!(changed["services"][0]["receipt"]["requests_failed"], 0);
    assert_eq!(home.get("/"), (200, "second page".to_owned()));

    let receipt =
        home.run(&["rollback", "site", "--reason", "tried it", "--json"]).expect(0).json();
    assert_eq!((&receipt["from"], &receipt["to"]), (&json!(2), &json!(1)));
    assert_eq!((&receipt["why"], &receipt["warm"]), (&json!("tried it"), &json!(true)));
    assert_eq!(home.get("/"), (200, "first page".to_owned()));

    let history = home.run(&["history", "site", "--json"]).expect(0).json();
    let releases: Vec<_> = history
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (&entry["release"], &entry["proven"]))
        .collect();
    assert_eq!(releases, [(&json!(2), &json!(true)), (&json!(1), &json!(true))]);
    let images = home.run(&["image", "ls", "--json"]).expect(0).stdout;
    assert!(images.contains("\"site\""), "the store knows images by their names: {images}");
    home.run(&["image", "inspect", "base"]).expect(0);
    let receipts = home.run(&["receipt", "--json"]).expect(0).json();
    assert_eq!(receipts.as_array().unwrap().len(), 3);
    assert!(home.run(&["audit", "--json"]).expect(0).stdout.lines().count() > 5);
    home.run(&["audit", "verify"]).expect(0);

    let status = home.status();
    let serving: Vec<_> = status["services"][0]["instances"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|instance| instance["state"] == "serving")
        .collect();
    assert_eq!(serving.len(), 2);
    assert!(
        serving
            .iter()
            .all(|instance| instance["release"] == 1 && instance["pid"].as_u64().unwrap() > 0)
    );

    home.run(&["down"]).expect(0);
    home.assert_clean();
    assert_eq!(home.get("/").0, 0, "nothing listens any more");
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn what_is_not_there_is_said_with_its_exit_code() {
    let home = Home::new();
    home.run(&["status"]).expect(6);
    home.run(&["no-such-command"]).expect(2);
    home.run(&["up"]).expect(2);
    home.write("hornero.hcl", "image \"a\" { debain = \"bookworm\" }");
    let bad = home.run(&["up"]).expect(2);
    assert!(bad.stderr.contains("hornero.hcl:1"), "{}", bad.stderr);
    assert!(bad.stderr.contains("debian"), "{}", bad.stderr);
    let long = format!("/tmp/{}", "h".repeat(100));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hornero"));
    let refused = command.args(["--home", &long, "up"]).output().unwrap();
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(2) && told.contains("91 bytes"), "{told}");
    let usage = home.run(&["--json", "status", "--no-such-option"]).expect(2);
    assert_eq!(usage.json()["error"]["exit"], 2, "bad usage is told as JSON too");
    let verify = home.run(&["audit", "verify", "--json"]).expect(6);
    assert_eq!(verify.json()["error"]["exit"], 6, "what never ran has no ledger");
    home.run(&["down"]).expect(0);
    home.assert_clean();

    // A mistyped home is no empty one, and is not made.
    let mistyped = home.path().join("mistyped");
    for command in ["ls", "du", "gc", "fsck"] {
        let arguments = ["--home", mistyped.to_str().unwrap(), "image", command];
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_hornero"));
        let told = command.args(arguments).output().unwrap();
        assert_eq!(told.status.code(), Some(5), "{told:?}");
        assert!(String::from_utf8_lossy(&told.stderr).contains("mistyped"), "{told:?}");
    }
    assert!(!mistyped.exists());
}

#[test]
fn what_a_script_holds_open_is_not_held_by_control() {
    let home = Home::new();
    Site { instances: 1, ..Site::default() }.write(&home, "page");
    let lock = home.project().join("lock");
    let script = format!(
        "exec 9>'{}'; exec '{}' --home '{}' up",
        lock.display(),
        env!("CARGO_BIN_EXE_hornero"),
        home.path().display()
    );
    let mut command = std::process::Command::new("/bin/sh");
    let done = command.args(["-c", &script]).current_dir(home.project()).output().unwrap();
    assert!(done.status.success(), "{done:?}");
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", home.control_pid())).unwrap();
    let held: Vec<_> =
        descriptors.filter_map(|one| std::fs::read_link(one.unwrap().path()).ok()).collect();
    assert!(!held.is_empty() && !held.contains(&lock), "{held:?}");
    home.run(&["down"]).expect(0);
}

#[test]
fn a_control_process_that_cannot_start_leaves_nothing() {
    let home = Home::new();
    std::fs::write(home.path().join("edge"), "in the way of the edge's directory").unwrap();
    Site::default().write(&home, "page");
    home.run(&["up"]).expect(6);
    home.assert_clean();
    std::fs::remove_file(home.path().join("edge")).unwrap();
    home.up();
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
