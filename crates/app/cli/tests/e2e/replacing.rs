//! Servers that can't run twice, replaced in their place under load.

use std::process::Stdio;

use crate::{
    home::{Home, signal, until},
    site::Site,
    traffic::Traffic,
};

const REPLACE: &str = r#"strategy = "replace"
    hold     = "3m""#;

fn site<'a>() -> Site<'a> {
    Site { instances: 1, rollout: REPLACE, ..Site::default() }
}

/// The releases that have a running server.
fn running(home: &Home) -> Vec<u64> {
    let status = home.status();
    let instances = status["services"][0]["instances"].as_array().unwrap();
    let running = instances.iter().filter(|one| one["pid"].is_u64());
    running.map(|one| one["release"].as_u64().unwrap()).collect()
}

#[test]
fn requests_wait_for_the_new_server_and_none_is_lost() {
    let home = Home::new();
    site().write(&home, "<i>one</i>");
    home.up();
    let traffic = Traffic::start_patient(home.port);
    site().write(&home, "<i>two</i>");
    let plan = home.run(&["plan"]).expect(0);
    assert!(plan.stdout.contains("replaced in its place: no instance is there for about"));
    let mut command = home.command(&["up"]);
    let mut up = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the new release to serve", || {
        let running = running(&home);
        assert!(running.iter().all(|release| *release == running[0]), "{running:?}");
        up.try_wait().unwrap().is_some()
    });
    assert!(up.wait().unwrap().success());
    let report = traffic.stop_whole();
    assert!(report.marker("one").is_some() && report.marker("two").is_some());
    assert_eq!(home.get("/").1, "<i>two</i>");
    let receipt = home.run(&["receipt", "--json"]).expect(0).json()[0].clone();
    assert_eq!((&receipt["to"], &receipt["requests_failed"]), (&2.into(), &0.into()), "{receipt}");
}

#[test]
fn a_server_that_does_not_start_makes_room_for_the_old_one_and_no_request_is_lost() {
    let home = Home::new();
    site().write(&home, "<i>one</i>");
    home.up();
    let traffic = Traffic::start_patient(home.port);
    let broken = Site { command: r#"["/bin/false"]"#, image: "", ..site() };
    broken.write(&home, "<i>two</i>");
    let up = home.run(&["up"]).expect(4);
    assert!(up.stderr.contains("going back"), "{}", up.stderr);
    traffic.stop_whole();
    assert_eq!(home.get("/").1, "<i>one</i>");
    assert_eq!(running(&home), [1]);
}

#[test]
fn control_killed_at_any_write_of_it_loses_nothing() {
    let home = Home::new();
    site().write(&home, "<i>0</i>");
    home.up();
    let traffic = Traffic::start_patient(home.port);
    for point in 1..=6 {
        signal(home.control_pid(), "KILL");
        until("control to be gone", || home.run(&["status"]).code == 6);
        site().write(&home, &format!("<i>{point}</i>"));
        // Two of its writes are of its own start, two those of the release and of the rollout's beginning.
        let mut up = home.command(&["up"]);
        up.env("HORNERO_CRASH_AT_APPEND", (point + 4).to_string());
        let _ = up.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap();
        home.up();
        assert_eq!(home.get("/").1, format!("<i>{point}</i>"));
    }
    traffic.stop_whole();
    home.run(&["audit", "verify"]).expect(0);
}
