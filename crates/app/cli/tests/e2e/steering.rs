//! A rollout under way waits for people, and for nobody else: paused, promoted, resumed, aborted.

use std::{
    process::{Child, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::{
    home::{Answer, Home, signal, until, until_within},
    site::Site,
    traffic::Traffic,
};

/// A canary that only a person ends: its second share is long in coming by itself.
const CANARY: &str = r#"strategy     = "canary"
    steps        = ["20%", "60%"]
    step_timeout = "1h""#;

fn begun(home: &Home) -> Child {
    let mut command = home.command(&["up"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

fn ended(child: Child) -> Answer {
    Answer::of(&child.wait_with_output().unwrap())
}

/// The rollout of the site, once a control process answers.
fn rollout(home: &Home) -> Option<Value> {
    let status = home.run(&["status", "--json"]);
    let rollout = (status.code == 0).then(|| status.json()["services"][0]["rollout"].clone())?;
    rollout.is_object().then_some(rollout)
}

fn weight(home: &Home) -> Option<u64> {
    rollout(home)?["canary"]["weight"].as_u64()
}

/// A home in which a canary waits at its first share.
fn waiting() -> (Home, Child) {
    let home = Home::new();
    Site::default().write(&home, "one");
    home.up();
    let site = Site { rollout: CANARY, ..Site::default() };
    site.write(&home, "two");
    let up = begun(&home);
    until("the canary to get its first share", || weight(&home) == Some(2_000));
    (home, up)
}

#[test]
fn a_canary_waits_for_people_though_control_is_killed_and_no_request_is_lost() {
    let (home, up) = waiting();
    // Paused before anything is asked of it: the judge could not tell by now.
    let paused = home.run(&["rollout", "pause", "site", "--reason", "a look at the log"]).expect(0);
    assert!(paused.stdout.contains("paused; site@1 serves"), "{}", paused.stdout);
    let again = home.run(&["rollout", "pause"]).expect(1);
    assert!(again.stderr.contains("paused already, by `root`"), "{}", again.stderr);
    let traffic = Traffic::start(home.port);
    // The judge finds them to be the same within seconds, and it stays where it is. It waits for requests and not for time: on
    // a machine that is busy otherwise they are few.
    until_within(Duration::from_secs(300), "a verdict", || {
        let verdict = rollout(&home).map(|one| one["canary"]["judgement"]["verdict"].clone());
        matches!(verdict.as_ref().and_then(Value::as_str), Some("same" | "better"))
    });
    signal(home.control_pid(), "KILL");
    until("control to be gone", || home.run(&["status"]).code == 6);
    // The one that takes over knows who paused it, and why.
    let text = home.run(&["rollout", "resume", "nobody"]).expect(5);
    assert!(text.stderr.contains("no rollout of `nobody`"), "{}", text.stderr);
    let status = home.status();
    let one = &status["services"][0]["rollout"];
    assert_eq!(one["paused"]["why"], "a look at the log", "{status}");
    assert_eq!((&one["paused"]["who"], &one["canary"]["weight"]), (&"root".into(), &2_000.into()));
    let text = home.run(&["status"]).expect(0).stdout;
    assert!(text.contains("paused: the rollout of `site` by `root`"), "{text}");
    ended(up);

    let promoted = home.run(&["rollout", "promote", "site", "--json"]).expect(0).json();
    assert_eq!(promoted["services"][0]["release"], 1, "{promoted}");
    until("its second share", || weight(&home) == Some(6_000) || rollout(&home).is_none());
    // It may have been judged since; what is over needs no word.
    let full = home.run(&["rollout", "promote", "--full"]);
    assert!([0, 1, 5].contains(&full.code), "{}{}", full.stdout, full.stderr);
    until("the rollout to be over", || rollout(&home).is_none() && home.run(&["status"]).code == 0);
    traffic.stop_whole();
    assert_eq!(home.get("/"), (200, "two".to_owned()));
    let receipt = home.run(&["receipt", "--json"]).expect(0).json()[0].clone();
    let deeds: Vec<_> = receipt["interventions"].as_array().unwrap().iter().collect();
    assert_eq!((&deeds[0]["did"], &deeds[1]["did"]), (&"pause".into(), &"promote".into()));
    assert_eq!(deeds[0]["why"], "a look at the log", "{receipt}");
    let history = home.run(&["history", "site"]).expect(0).stdout;
    let told = "rollout of site@2 paused by `root` while canary: a look at the log";
    assert!(history.contains(told), "{history}");
    home.run(&["audit", "verify"]).expect(0);
}

#[test]
fn a_canary_is_aborted_by_hand_and_history_says_by_whom() {
    let (home, up) = waiting();
    let traffic = Traffic::start(home.port);
    home.run(&["rollout", "pause"]).expect(0);
    let aborted = home.run(&["rollout", "abort", "site", "--reason", "wrong branch"]).expect(0);
    assert!(aborted.stdout.contains("aborted; site@1 serves"), "{}", aborted.stdout);
    let up = ended(up).expect(4);
    assert!(up.stderr.contains("cancelled by `root`: wrong branch"), "{}", up.stderr);
    traffic.stop_whole();
    assert_eq!(home.get("/"), (200, "one".to_owned()));
    let history = home.run(&["history", "site"]).expect(0).stdout;
    assert!(history.contains("site@2 aborted by `root` while canary: wrong branch"), "{history}");
    home.run(&["rollout", "abort", "site"]).expect(5);
    home.run(&["rollout", "abort"]).expect(5);
}
