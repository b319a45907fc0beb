//! A rollout that somebody ends goes the way of one that failed; whoever leaves it is told that it goes on.

use std::process::{Child, Stdio};

use crate::{
    home::{Answer, Home, signal, until},
    site::Site,
    traffic::Traffic,
};

/// A release whose servers never get healthy, and that is given a minute to.
fn slow() -> Site<'static> {
    Site {
        command: r#"["/bin/sh", "-c", "echo waiting for a lock; exec sleep 600"]"#,
        image: "",
        health: r#"start_timeout = "60s""#,
        ..Site::default()
    }
}

/// A command under way, of which everything is read at its end.
fn begun(home: &Home, arguments: &[&str]) -> Child {
    let mut command = home.command(arguments);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> Answer {
    Answer::of(&child.wait_with_output().unwrap())
}

fn phase(home: &Home) -> Option<String> {
    let status = home.run(&["status", "--json"]);
    let status = (status.code == 0).then(|| status.json())?;
    Some(status["services"][0]["rollout"]["phase"].as_str()?.to_owned())
}

#[test]
fn what_is_cancelled_goes_back_to_what_served() {
    let home = Home::new();
    Site::default().write(&home, "good");
    home.up();
    let nothing = home.run(&["cancel"]).expect(5);
    assert!(nothing.stderr.contains("nothing is under way"), "{}", nothing.stderr);
    let traffic = Traffic::start(home.port);
    slow().write(&home, "never");
    let up = begun(&home, &["up", "--json"]);
    until("the rollout to prepare", || phase(&home).as_deref() == Some("preparing"));
    let cancelled = home.run(&["cancel", "--reason", "wrong branch"]).expect(0);
    assert!(cancelled.stdout.contains("site@1 serves"), "{}", cancelled.stdout);
    let up = ended(up).expect(1);
    let reason = "cancelled by `root`: wrong branch";
    assert_eq!(up.json()["error"]["message"], reason, "{}", up.stdout);
    assert!(up.stderr.contains("undoing"), "{}", up.stderr);
    traffic.stop_whole();
    assert_eq!(home.get("/"), (200, "good".to_owned()));
    let status = home.status();
    assert_eq!(status["services"][0]["instances"].as_array().unwrap().len(), 2, "{status}");
    // Who ended it, and why, stands in the ledger.
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let step =
        |line: &&str| line.contains("\"undoing\"") && line.contains("\"why\":\"wrong branch\"");
    assert!(audit.lines().any(|line| step(&line)), "{audit}");
    home.run(&["cancel", "nobody"]).expect(5);
}

#[test]
fn a_release_that_is_watched_is_cancelled_by_going_back() {
    let home = Home::new();
    Site::default().write(&home, "good");
    home.up();
    Site::default().write(&home, "watched");
    let hcl = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write(
        "hornero.hcl",
        &hcl.replace(r#"watch         = "200ms""#, r#"watch         = "60s""#),
    );
    let up = begun(&home, &["up", "--json"]);
    until("the new release to serve", || phase(&home).as_deref() == Some("watching"));
    let cancelled = home.run(&["cancel", "site", "--json"]).expect(0).json();
    assert_eq!(cancelled["services"][0]["release"], 1, "{cancelled}");
    ended(up).expect(4);
    assert_eq!(home.get("/"), (200, "good".to_owned()));
}

#[test]
fn control_killed_at_any_write_of_a_cancel_ends_whole() {
    let home = Home::new();
    Site::default().write(&home, "good");
    home.up();
    slow().write(&home, "never");
    for point in 1..=8 {
        let control = home.control_pid();
        signal(control, "KILL");
        until("control to be gone", || home.run(&["status"]).code == 6);
        // Two of its points are before and after its own start, two those of the rollout's beginning.
        let mut up = home.command(&["up"]);
        up.env("HORNERO_CRASH_AT_APPEND", (point + 4).to_string());
        let mut up = up.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        until("the rollout to prepare, or control to have died", || {
            phase(&home).as_deref() == Some("preparing") || up.try_wait().unwrap().is_some()
        });
        // Whether it is acknowledged or not, asked for once more it comes.
        let first = home.run(&["cancel", "site"]);
        if first.code != 0 {
            assert!([5, 6].contains(&first.code), "{}{}", first.stdout, first.stderr);
            let again = home.run(&["cancel", "site"]);
            assert!([0, 5].contains(&again.code), "{}{}", again.stdout, again.stderr);
        }
        ended(up);
        until("the rollout to be over", || {
            phase(&home).is_none() && home.run(&["status"]).code == 0
        });
        assert_eq!(home.get("/"), (200, "good".to_owned()), "point {point}");
        home.run(&["audit", "verify"]).expect(0);
    }
}

#[test]
fn who_leaves_an_operation_is_told_that_it_goes_on_and_how_to_end_it() {
    let home = Home::new();
    slow().write(&home, "never");
    let up = begun(&home, &["up"]);
    until("the rollout to prepare", || phase(&home).as_deref() == Some("preparing"));
    signal(i32::try_from(up.id()).unwrap(), "INT");
    let up = ended(up).expect(130);
    assert!(up.stderr.contains("goes on without this command"), "{}", up.stderr);
    for way in ["status`", "logs ", "cancel "] {
        assert!(up.stderr.contains(way), "{}", up.stderr);
    }
    assert_eq!(phase(&home).as_deref(), Some("preparing"), "it goes on");
    // What its servers answer is told to who follows the next one.
    home.run(&["cancel"]).expect(0);
    // A first release that was ended leaves nothing to show.
    let status = home.status();
    assert!(status["services"].as_array().unwrap().is_empty(), "{status}");
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
