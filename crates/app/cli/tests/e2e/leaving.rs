//! `up --no-wait` leaves once everybody is served by the new release, and `--timings` tells where the time went.

use std::{io::Read as _, process::Stdio};

use serde_json::{Value, json};

use crate::{
    home::{Home, Running, pid, signal, until},
    site::Site,
};

/// A site that is watched for so long.
fn write(home: &Home, site: &Site<'_>, page: &str, watch: &str) {
    site.write(home, page);
    let text = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let text = text.replace(r#"watch         = "200ms""#, &format!("watch = \"{watch}\""));
    home.write("hornero.hcl", &text);
}

fn phase(home: &Home) -> Value {
    home.status()["services"][0]["rollout"]["phase"].clone()
}

#[test]
fn up_returns_when_everybody_is_served_and_the_receipt_completes_itself() {
    let home = Home::new();
    write(&home, &Site::default(), "one", "200ms");
    home.up();
    write(&home, &Site::default(), "two", "6s");
    let up = home.run(&["up", "--no-wait", "--json"]).expect(0).json();
    assert_eq!(home.get("/"), (200, "two".to_owned()));
    let site = &up["services"][0];
    assert_eq!((&site["release"], &site["receipt"]), (&json!(2), &json!(null)));
    assert_eq!(up["goes_on"]["rollout"], site["rollout"]);
    // It is watched still, whoever is gone.
    assert_eq!(phase(&home), "watching");
    let id = site["rollout"].to_string();
    home.run(&["receipt", &id]).expect(5);
    let see = up["goes_on"]["see"].as_str().unwrap().to_owned();
    assert_eq!(see, format!("hornero receipt {id} --wait"));
    let receipt = home.run(&["receipt", &id, "--wait", "--json"]).expect(0).json();
    assert_eq!((&receipt["from"], &receipt["to"]), (&json!(1), &json!(2)));
    assert_eq!(receipt["requests_failed"], 0);
    assert_eq!(phase(&home), json!(null));
    // Once it is over there is nothing to wait for, and nothing goes on.
    home.run(&["receipt", &id, "--wait"]).expect(0);
    let again = home.run(&["up", "--no-wait", "--json"]).expect(0).json();
    assert_eq!((&again["goes_on"], &again["services"][0]["release"]), (&json!(null), &json!(2)));
    home.run(&["receipt", "99", "--wait"]).expect(5);

    write(&home, &Site::default(), "three", "6s");
    let up = home.run(&["up", "--no-wait"]).expect(0);
    assert!(up.stdout.contains("site@3 serves; it is watched"), "{}", up.stdout);
    assert!(up.stdout.contains("--wait` shows how that ends"), "{}", up.stdout);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn whoever_comes_back_is_told_that_the_release_was_taken_back() {
    let home = Home::new();
    write(&home, &Site::default(), "good", "200ms");
    home.up();
    // It ends while it is watched.
    let site = Site {
        command: r#"["/bin/sh", "-c", "nginx -g 'daemon off;' & sleep 3; kill $!; wait; exit 7"]"#,
        image: "",
        ..Site::default()
    };
    write(&home, &site, "bad", "20s");
    let up = home.run(&["up", "--no-wait", "--json"]).expect(0).json();
    assert_eq!(up["services"][0]["release"], 2);
    let id = up["goes_on"]["rollout"].to_string();
    let told = home.run(&["receipt", &id, "--wait", "--json"]).expect(4).json();
    assert_eq!(told["error"]["exit"], 4);
    assert_eq!(home.get("/"), (200, "good".to_owned()));
    // The receipt of the way back says why.
    until("the receipt", || home.run(&["receipt", &id]).code == 0);
    let receipt = home.run(&["receipt", &id, "--json"]).expect(0).json();
    assert_eq!((&receipt["from"], &receipt["to"]), (&json!(2), &json!(1)));
    assert!(receipt["taken_back"].as_str().is_some_and(|why| !why.is_empty()), "{receipt}");
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn whoever_waits_for_a_receipt_gets_it_though_control_is_killed_meanwhile() {
    let home = Home::new();
    write(&home, &Site::default(), "one", "200ms");
    home.up();
    write(&home, &Site::default(), "two", "8s");
    let up = home.run(&["up", "--no-wait", "--json"]).expect(0).json();
    let id = up["goes_on"]["rollout"].to_string();
    let said = home.project().join("said");
    let mut command = home.command(&["receipt", &id, "--wait", "--json"]);
    let stderr = std::fs::File::create(&said).unwrap();
    let mut waiting = Running(command.stdout(Stdio::piped()).stderr(stderr).spawn().unwrap());
    let lines = || {
        let said = std::fs::read_to_string(&said).unwrap();
        said.lines().filter(|line| line.contains("the control process is gone")).count()
    };
    // A control that is killed before the command has asked it anything is started by the command without a word.
    until("the command to miss control", || {
        let status = home.run(&["status", "--json"]);
        if lines() == 0 && status.code == 0 && status.json()["control"]["pid"].is_i64() {
            signal(pid(&status.json()["control"]["pid"]), "KILL");
        }
        lines() > 0
    });
    let mut told = String::new();
    waiting.0.stdout.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(waiting.0.wait().unwrap().success(), "{}", std::fs::read_to_string(&said).unwrap());
    let receipt: Value = serde_json::from_str(&told).unwrap();
    assert_eq!((&receipt["id"].to_string(), &receipt["to"]), (&id, &json!(2)));
    assert_eq!(lines(), 1, "{}", std::fs::read_to_string(&said).unwrap());
    assert_eq!(home.get("/"), (200, "two".to_owned()));
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn timings_add_up_to_the_whole() {
    let home = Home::new();
    write(&home, &Site::default(), "one", "200ms");
    home.up();
    write(&home, &Site::default(), "two", "200ms");
    let up = home.run(&["up", "--timings", "--json"]).expect(0).json();
    let timings = up["timings"].as_array().unwrap().clone();
    let ms = |of: &Value| of["ms"].as_f64().unwrap();
    let of = |step: &str| -> Vec<Value> {
        timings.iter().filter(|timing| timing["step"] == step).cloned().collect()
    };
    for step in ["check", "read", "bake", "connect", "plan", "ask", "wait", "preparing"] {
        assert_eq!(of(step).len(), 1, "{step}: {timings:?}");
    }
    for step in ["start", "probe"] {
        assert_eq!(of(step).len(), 2, "one a server: {timings:?}");
        assert!(of(step).iter().all(|of| of["within"] == "preparing" && ms(of) > 0.0));
    }
    assert_eq!(of("test").len(), 1, "{timings:?}");
    // By the clock of control, which counts whole milliseconds; the command times when it hears of the beginning and the end.
    assert!(ms(&of("watching")[0]) >= 190.0, "{timings:?}");
    let total = ms(timings.last().unwrap());
    let parts: f64 = timings.iter().filter(|of| of["within"].is_null()).map(ms).sum();
    // The last is the whole. What lies between two stretches is the moment between two lines.
    let parts = parts - total;
    assert!(parts <= total * 1.05 && parts >= total * 0.8, "{parts} of {total}: {timings:?}");

    write(&home, &Site::default(), "three", "200ms");
    let text = home.run(&["up", "--timings", "--no-wait"]).expect(0).stdout;
    for word in ["AT MS", "bake", "  probe", "switching", "total"] {
        assert!(text.contains(word), "{word}: {text}");
    }
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
