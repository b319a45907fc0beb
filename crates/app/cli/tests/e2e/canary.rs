//! Canaries on real servers under load: a good release takes over share by share, a bad one is taken back by itself.

use std::{process::Stdio, time::Duration};

use hornero_load::{Mode, Workers};
use serde_json::Value;

use crate::{
    home::{Answer, Home, until},
    site::{NGINX_CONF, Site},
    traffic::Traffic,
};

/// The path that the load asks for; the health check asks another, which always answers.
const SHOP: &str = "/shop";

/// Writes a release whose shop answers `name`, or with an error to `unlucky` of its requests.
fn write(home: &Home, name: &str, unlucky: &str, rollout: &str) {
    let site = Site { rollout, ..Site::default() };
    site.write(home, name);
    let lots = format!("split_clients $request_id $lot {{ {unlucky} bad; * good; }}");
    let shop = format!(
        "location = {SHOP} {{ if ($lot = bad) {{ return 500; }} return 200 \"<i>{name}</i>\"; }}"
    );
    let conf = NGINX_CONF
        .replace("    server {", &format!("    {lots}\n    server {{"))
        .replace("root /srv/site;", &format!("root /srv/site;\n        {shop}"));
    home.write("nginx.conf", &conf);
}

/// About a thousand requests a second.
fn load(home: &Home) -> Traffic {
    let workers = Workers::new(Mode::KeepAlive, 4, SHOP).every(Duration::from_millis(4));
    Traffic::of(home.port, vec![workers])
}

fn verdicts(steps: &Value) -> Vec<(u64, &str)> {
    let of = |step: &'_ Value| step["weight"].as_u64().unwrap();
    let steps = steps.as_array().unwrap().iter();
    steps.map(|step| (of(step), step["verdict"].as_str().unwrap())).collect()
}

#[test]
fn a_good_one_takes_over_and_one_that_fails_a_fifth_of_its_requests_does_not() {
    let canary = r#"strategy = "canary"
    steps    = ["20%", "50%"]"#;
    let home = Home::new();
    write(&home, "one", "0.01%", canary);
    // Nothing serves beside it: there is nothing to compare it with.
    home.up();

    let traffic = load(&home);
    write(&home, "two", "0.02%", canary);
    let up = home.run(&["up"]).expect(0);
    assert!(up.stderr.contains("gets 20% of the requests and is judged"), "{}", up.stderr);
    let receipts = home.run(&["receipt", "--json"]).expect(0).json();
    let of_two = receipts.as_array().unwrap().iter().find(|receipt| receipt["to"] == 2);
    let steps = &of_two.unwrap()["canary"];
    let judged = verdicts(steps);
    assert_eq!(judged.iter().map(|(weight, _)| *weight).collect::<Vec<_>>(), [2_000, 5_000]);
    assert!(judged.iter().all(|(_, verdict)| matches!(*verdict, "same" | "better")), "{steps}");
    traffic.stop();

    let traffic = load(&home);
    write(&home, "three", "20%", canary);
    let up = home.run(&["up"]).expect(4);
    assert!(up.stderr.contains("`site@3` does worse at 20%: "), "{}", up.stderr);
    assert!(up.stderr.contains("requests failed on release 3"), "{}", up.stderr);
    let result = traffic.stop();
    assert!(result.marker("three").is_some(), "it did get requests");
    assert!(result.failed * 10 < result.started, "{} of {}", result.failed, result.started);
    assert_eq!(home.get(SHOP).1, "<i>two</i>");
    let history = home.run(&["history", "site", "--json"]).expect(0).json();
    assert_eq!(history[0]["proven"], false, "{history}");
    assert_eq!(verdicts(&history[0]["canary"]), [(2_000, "worse")], "{history}");
    let text = home.run(&["history", "site"]).expect(0).stdout;
    assert!(text.contains("canary site@3: worse at 20%: "), "{text}");
}

#[test]
fn one_about_which_nothing_can_be_said_waits_for_its_time_and_is_taken_back() {
    let home = Home::new();
    write(&home, "one", "0.01%", "");
    home.up();
    let canary = r#"strategy     = "canary"
    steps        = ["12.5%"]
    step_timeout = "4s""#;
    write(&home, "two", "0.01%", canary);
    let plan = home.run(&["plan"]).expect(0);
    assert!(plan.stdout.contains("as a canary: 12.5%, then all"), "{}", plan.stdout);
    let mut command = home.command(&["up"]);
    let up = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut status = Value::Null;
    until("the canary to be judged", || {
        status = home.status();
        status["services"][0]["rollout"]["canary"]["judgement"].is_object()
    });
    let canary = &status["services"][0]["rollout"]["canary"];
    assert_eq!(canary["weight"], 1_250, "{status}");
    assert_eq!(canary["judgement"]["verdict"], "inconclusive", "{status}");
    assert_eq!(status["routes"][0]["shares"][1]["weight"], 1_250, "{status}");
    let up = Answer::of(&up.wait_with_output().unwrap()).expect(4);
    assert!(up.stderr.contains("nothing could be said of `site@2` at 12.5%"), "{}", up.stderr);
    assert_eq!(home.get(SHOP).1, "<i>one</i>");
}

#[test]
fn one_to_which_nothing_comes_is_judged_by_what_the_edge_asks() {
    let canary = r#"strategy = "canary"
    steps    = ["50%"]
    judge    = { minimum_requests = 200 }
    probe {
      path     = "/shop"
      interval = "10ms"
    }"#;
    let home = Home::new();
    write(&home, "one", "0.01%", canary);
    home.up();
    write(&home, "two", "0.01%", canary);
    home.run(&["up"]).expect(0);
    assert_eq!(home.get(SHOP).1, "<i>two</i>");
    let receipts = home.run(&["receipt", "--json"]).expect(0).json();
    let of_two = receipts.as_array().unwrap().iter().find(|receipt| receipt["to"] == 2).unwrap();
    assert!(matches!(verdicts(&of_two["canary"])[..], [(5_000, "same" | "better")]), "{of_two}");
    let reasons = of_two["canary"][0]["reasons"].to_string();
    assert!(reasons.contains("asked by the edge, "), "{reasons}");

    write(&home, "three", "30%", canary);
    let up = home.run(&["up"]).expect(4);
    assert!(up.stderr.contains("`site@3` does worse at 50%: asked by the edge, "), "{}", up.stderr);
    assert_eq!(home.get(SHOP).1, "<i>two</i>");
    // They are nobody's requests.
    let receipts = home.run(&["receipt", "--json"]).expect(0).json();
    let failed = receipts.as_array().unwrap().iter().map(|receipt| &receipt["requests_failed"]);
    assert!(failed.into_iter().all(|failed| failed == 0), "{receipts}");
}
