//! A bad release costs no request beyond what its own handlers answered, and says which instance failed and how.

use serde_json::Value;

use crate::{
    home::{Answer, Home, get, until},
    site::Site,
    traffic::Traffic,
};

/// Brings up a good release, then a bad one under load; gives the bad `up`'s answer.
fn after_good(home: &Home, bad: &Site<'_>, page: &str) -> Answer {
    Site::default().write(home, "good");
    home.up();
    let traffic = Traffic::start(home.port);
    bad.write(home, page);
    let answer = home.run(&["up"]);
    traffic.stop_whole();
    assert_eq!(home.get("/"), (200, "good".to_owned()), "the old release serves");
    answer
}

fn serving(status: &Value) -> Vec<(u64, String)> {
    let instances = status["services"][0]["instances"].as_array().unwrap();
    instances
        .iter()
        .filter(|instance| instance["state"] == "serving")
        .map(|instance| {
            (instance["release"].as_u64().unwrap(), instance["id"].as_str().unwrap().to_owned())
        })
        .collect()
}

#[test]
fn one_that_crashes_at_its_start_never_gets_traffic() {
    let home = Home::new();
    let command =
        r#"["/bin/sh", "-c", "echo reading the configuration; echo no such upstream >&2; exit 3"]"#;
    let answer =
        after_good(&home, &Site { command, image: "", ..Site::default() }, "bad").expect(1);
    assert!(answer.stderr.contains("site-2-"), "names the instance: {}", answer.stderr);
    assert!(answer.stderr.contains("no such upstream"), "shows its log: {}", answer.stderr);
    assert!(answer.stderr.contains("code 3"), "says how it ended: {}", answer.stderr);
    assert!(serving(&home.status()).iter().all(|(release, _)| *release == 1));
}

#[test]
fn one_that_never_gets_healthy_is_given_up_in_time() {
    let home = Home::new();
    let site = Site {
        command: r#"["/bin/sh", "-c", "echo waiting for a lock; exec sleep 600"]"#,
        image: "",
        health: r#"start_timeout = "2s""#,
        ..Site::default()
    };
    let answer = after_good(&home, &site, "bad").expect(1);
    assert!(answer.stderr.contains("site-2-"), "{}", answer.stderr);
    assert!(answer.stderr.contains("waiting for a lock"), "{}", answer.stderr);
    // The failed set is gone, the old one whole.
    until("the failed set to go", || {
        home.status()["services"][0]["instances"]
            .as_array()
            .unwrap()
            .iter()
            .all(|instance| instance["release"] == 1)
    });
}

#[test]
fn one_whose_test_fails_never_gets_traffic() {
    let home = Home::new();
    let site = Site {
        image: r#"test "shows the price" { http = { port = 8080, path = "/", status = 200, contains = "price" } }"#,
        ..Site::default()
    };
    let answer = after_good(&home, &site, "no such thing").expect(1);
    assert!(answer.stderr.contains("shows the price"), "names the test: {}", answer.stderr);
}

#[test]
fn one_that_fails_after_the_switch_is_rolled_back_by_itself() {
    let home = Home::new();
    // Healthy at first; the server ends while the new release is being watched.
    let site = Site {
        command: r#"["/bin/sh", "-c", "nginx -g 'daemon off;' & sleep 1.5; echo pool is exhausted; kill $!; wait; exit 7"]"#,
        image: "",
        ..Site::default()
    };
    Site::default().write(&home, "good");
    home.up();
    let traffic = Traffic::start(home.port);
    site.write(&home, "<i>bad</i>");
    let hcl = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    home.write(
        "hornero.hcl",
        &hcl.replace(r#"watch         = "200ms""#, r#"watch         = "8s""#),
    );
    let answer = home.run(&["up"]).expect(4);
    assert!(answer.stderr.contains("site-2-"), "{}", answer.stderr);
    assert!(answer.stderr.contains("pool is exhausted"), "{}", answer.stderr);
    let result = traffic.stop();
    // What the bad release's own servers dropped while they ended is theirs; nothing else may fail.
    assert!(result.marker("bad").is_some(), "the bad release did get traffic for a while");
    assert_eq!(get(home.port, "/"), (200, "good".to_owned()));
    assert!(serving(&home.status()).iter().all(|(release, _)| *release == 1));
    let history = home.run(&["history", "site", "--json"]).expect(0).json();
    assert_eq!(
        history[0]["proven"], false,
        "a release that failed its watch is no rollback target"
    );
    home.run(&["rollback", "site", "--to", "2"]).expect(3);
}

#[test]
fn a_first_release_that_fails_leaves_nothing_serving() {
    let home = Home::new();
    Site { command: r#"["/bin/false"]"#, image: "", ..Site::default() }.write(&home, "x");
    let failed = home.run(&["up", "--json"]).expect(1).json();
    assert_eq!(failed["services"][0]["name"], "site", "one object tells both: {failed}");
    assert_eq!(failed["error"]["exit"], 1, "{failed}");
    assert_ne!(home.get("/").0, 200);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
