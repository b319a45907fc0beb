//! Rolling rollouts on real servers under load.

use std::process::Stdio;

use crate::{
    home::{Home, signal, until},
    site::Site,
    traffic::Traffic,
};

const ROLLING: &str = r#"strategy  = "rolling"
    max_surge = 1"#;

fn site<'a>() -> Site<'a> {
    Site { instances: 3, rollout: ROLLING, ..Site::default() }
}

/// The command of servers that take a moment to come up, so that a batch lasts.
fn slow(seconds: u32) -> String {
    format!(r#"["/bin/sh", "-c", "sleep {seconds}; exec /usr/sbin/nginx -g 'daemon off;'"]"#)
}

/// The instances of the site that the edge finds healthy, whatever release they are of.
fn healthy(home: &Home) -> usize {
    let status = home.status();
    let instances = status["services"][0]["instances"].as_array().unwrap();
    instances.iter().filter(|one| one["health"] == "healthy" && one["state"] == "serving").count()
}

#[test]
fn servers_are_replaced_batch_by_batch_and_back_and_no_request_is_lost() {
    let home = Home::new();
    site().write(&home, "<i>one</i>");
    home.up();
    let traffic = Traffic::start(home.port);
    site().write(&home, "<i>two</i>");
    let plan = home.run(&["plan"]).expect(0);
    assert!(plan.stdout.contains("rolling: 1 of 3 instances at a time"), "{}", plan.stdout);
    let mut command = home.command(&["up"]);
    let up = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut seen = Vec::new();
    until("the release to take over", || {
        let status = home.status();
        if let Some(weight) = status["services"][0]["rollout"]["rolling"]["weight"].as_u64() {
            seen.push(weight);
        }
        status["services"][0]["release"] == 2
    });
    assert!(seen.is_sorted(), "{seen:?}");
    let up = up.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&up.stderr);
    assert!(up.status.success(), "{told}");
    for share in ["33.33%", "66.66%"] {
        assert!(told.contains(&format!("giving {share} of the requests")), "{told}");
    }
    // Back is a rollout as any other.
    home.run(&["rollback", "site"]).expect(0);
    let report = traffic.stop_whole();
    assert!(report.marker("one").is_some() && report.marker("two").is_some());
    assert_eq!(home.get("/").1, "<i>one</i>");
    until("the old servers to be gone", || {
        home.status()["services"][0]["instances"].as_array().unwrap().len() == 3
    });
}

#[test]
fn a_batch_that_fails_goes_back_as_a_whole() {
    let home = Home::new();
    site().write(&home, "<i>one</i>");
    home.up();
    let traffic = Traffic::start(home.port);
    // Two batches are left after the first: time enough to meet one on a slow machine.
    Site { command: &slow(6), ..site() }.write(&home, "<i>two</i>");
    let mut command = home.command(&["up"]);
    let up = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    until("the second batch", || {
        let status = home.status();
        // It waits there: servers that are healthy again at once would end it before anybody looks.
        status["services"][0]["rollout"]["rolling"]["batch"].as_u64() >= Some(2)
            && home.run(&["rollout", "pause", "site"]).code == 0
    });
    let status = home.status();
    let instances = status["services"][0]["instances"].as_array().unwrap();
    let new = instances.iter().find(|one| one["release"] == 2 && one["state"] == "serving");
    let pid = new.unwrap_or_else(|| panic!("{status}"))["pid"].as_i64().unwrap();
    signal(i32::try_from(pid).unwrap(), "KILL");
    let up = up.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&up.stderr);
    assert_eq!(up.status.code(), Some(4), "{told}");
    // On a busy machine its checks may tell before its end does.
    assert!(told.contains("signal 9") || told.contains("became unhealthy"), "{told}");
    let report = traffic.stop();
    // What was in flight on the server that was killed is lost with it, and nothing else.
    assert!(report.failed <= 4, "{}: {:#?}", report.failed, report.failures);
    until("the old set to be whole", || healthy(&home) == 3);
    let status = home.status();
    assert_eq!(status["services"][0]["release"], 1, "{status}");
    assert_eq!(home.get("/").1, "<i>one</i>");
}

#[test]
fn control_killed_in_the_midst_of_the_batches_loses_nothing() {
    let home = Home::new();
    site().write(&home, "<i>one</i>");
    home.up();
    let traffic = Traffic::start(home.port);
    for (number, page) in ["two", "three", "four"].into_iter().enumerate() {
        Site { command: &slow(1), ..site() }.write(&home, &format!("<i>{page}</i>"));
        let mut command = home.command(&["up"]);
        let mut up = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        // In the first batch, while the second one starts, and in the last.
        let batch = u64::try_from(number).unwrap() + 1;
        until("the batch, or the end", || {
            let status = home.status();
            let at = status["services"][0]["rollout"]["rolling"]["batch"].as_u64();
            at >= Some(batch) || status["services"][0]["release"] == number + 2
        });
        signal(home.control_pid(), "KILL");
        until("control to be gone", || home.run(&["status"]).code == 6);
        up.wait().unwrap();
        home.up();
        assert_eq!(home.get("/").1, format!("<i>{page}</i>"));
    }
    traffic.stop_whole();
    home.run(&["audit", "verify"]).expect(0);
}
