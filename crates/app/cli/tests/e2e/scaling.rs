//! The number of servers follows from the load, and no request notices.

use std::{collections::BTreeSet, time::Duration};

use hornero_load::{Mode, Workers};
use serde_json::{Value, json};

use crate::{
    document,
    home::{Home, until},
    site::Site,
    traffic::Traffic,
};

/// Writes a site with a `scale` block in the place of `instances`.
fn write(home: &Home, scale: &str) {
    Site::default().write(home, "page");
    let text = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    let text = text.replace("drain_timeout = \"20s\"", "drain_timeout = \"1s\"");
    home.write("hornero.hcl", &text.replace("instances = 2", scale));
}

fn edit(home: &Home, from: &str, to: &str) {
    let text = std::fs::read_to_string(home.project().join("hornero.hcl")).unwrap();
    assert!(text.contains(from), "{text}");
    home.write("hornero.hcl", &text.replace(from, to));
}

fn scale(home: &Home) -> Value {
    home.status()["services"][0]["scale"].clone()
}

/// Instances of `site` that serve.
fn serving(home: &Home) -> BTreeSet<String> {
    let status = home.status();
    let instances = status["services"][0]["instances"].as_array().unwrap().iter();
    let serving = instances.filter(|instance| instance["state"] == "serving");
    serving.map(|instance| instance["id"].as_str().unwrap().to_owned()).collect()
}

/// From how many to how many it was scaled, and why.
fn scaled(home: &Home) -> Vec<(u64, u64, String)> {
    let audit = home.run(&["audit", "--json"]).expect(0).stdout;
    let events = audit.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let scaled = events.filter(|event| event["body"]["kind"] == "scaled");
    let number = |event: &Value, key: &str| event["body"][key].as_u64().unwrap();
    scaled
        .map(|of| (number(&of, "from"), number(&of, "to"), of["why"].as_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn servers_come_with_requests_and_leave_when_fewer_are_enough_without_a_failed_request() {
    let home = Home::new();
    write(
        &home,
        "scale {\n    maximum             = 4\n    requests_per_second = 20\n    stabilise           = \"4s\"\n  }",
    );
    home.up();
    let first = serving(&home);
    assert_eq!(first.len(), 1);
    let told = scale(&home);
    assert_eq!(
        (&told["now"], &told["minimum"], &told["maximum"]),
        (&json!(1), &json!(1), &json!(4))
    );
    assert_eq!(told["why"], json!(null), "{told}");

    // Sixty a second from the one server's pool, twenty from those that come and go.
    let every = Duration::from_millis(50);
    let rush =
        [Mode::KeepAlive, Mode::NewConnection].map(|mode| Workers::new(mode, 2, "/").every(every));
    let rush = Traffic::of(home.port, rush.into());
    until("four servers under load", || serving(&home).len() == 4);
    let told = scale(&home);
    assert_eq!(told["now"], json!(4), "{told}");
    let why = told["why"].as_str().unwrap();
    assert!(why.contains("requests a second, 20 for each server"), "{told}");
    rush.stop_whole();

    let calm = Traffic::of(
        home.port,
        vec![Workers::new(Mode::KeepAlive, 1, "/").every(Duration::from_millis(200))],
    );
    until("one server after it", || serving(&home).len() == 1 && scale(&home)["now"] == json!(1));
    calm.stop_whole();
    document::run(&home, "guides/scaling.md", &[]);
    let scaled = scaled(&home);
    assert!(scaled.iter().any(|(from, to, _)| from < to), "{scaled:?}");
    let down = scaled.iter().find(|(from, to, _)| from > to).unwrap();
    assert!(down.2.contains("enough for 4s"), "{scaled:?}");
    let churn = home.run(&["churn", "--json"]).expect(0).json();
    let budget = churn["services"][0]["budget"].as_array().unwrap();
    let load = budget.iter().find(|one| one["scope"] == "load").unwrap();
    assert!(load["made"].as_u64().unwrap() >= 3, "{churn}");

    // Other bounds that it is within move no server.
    let before = serving(&home);
    edit(&home, "maximum             = 4", "maximum             = 6");
    let plan = home.run(&["plan", "--json"]).expect(0).json();
    let change = &plan["changes"][0];
    assert_eq!(change["action"], json!("scale"), "{plan}");
    let why = change["reason"].as_str().unwrap();
    assert!(
        why.contains("`scale.maximum` changed from 4 to 6; the instances that run serve on"),
        "{why}"
    );
    home.up();
    assert_eq!(serving(&home), before);
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_processor_in_use_is_seen_and_control_goes_on_from_what_was_wanted() {
    let home = Home::new();
    write(
        &home,
        "scale {\n    minimum   = 1\n    maximum   = 2\n    in_flight = 2\n    cpu       = \"90%\"\n    stabilise = \"1h\"\n  }",
    );
    home.write("public/slow/page", &"x".repeat(400_000));
    home.up();
    // Answers that take twenty seconds each.
    let slow = Traffic::of(home.port, vec![Workers::new(Mode::Slow, 4, "/slow/page")]);
    until("two servers", || serving(&home).len() == 2);
    let why = scale(&home)["why"].as_str().unwrap().to_owned();
    assert!(why.ends_with("requests in flight, 2 for each server"), "{why}");
    let servers = serving(&home);
    crate::home::signal(home.control_pid(), "KILL");
    home.up();
    assert_eq!(serving(&home), servers);
    let told = scale(&home);
    assert_eq!((&told["now"], &told["why"]), (&json!(2), &json!(why)));
    // What nothing is asked of has used some of its processor all the same, so that it is known.
    assert_eq!(told["held_back"], json!(null), "{told}");
    drop(slow);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

/// The word that `status` has for how the service serves.
fn serving_word(home: &Home) -> String {
    let status = home.run(&["status"]).expect(0).stdout;
    let row = status.lines().find(|line| line.starts_with("site ")).unwrap_or_default().to_owned();
    row.split_whitespace().nth(3).unwrap_or_default().to_owned()
}

fn is_asleep(home: &Home) -> bool {
    scale(home)["now"] == json!(0) && home.status()["services"][0]["instances"] == json!([])
}

#[test]
fn nothing_runs_without_requests_and_the_first_one_is_answered_whatever_was_killed_meanwhile() {
    let home = Home::new();
    write(
        &home,
        "scale {\n    minimum   = 0\n    maximum   = 2\n    in_flight = 10\n    idle      = \"3s\"\n  }",
    );
    home.up();
    until("sleep", || is_asleep(&home));
    assert_eq!(serving_word(&home), "idle");
    // Those that come at once are all answered, by one server.
    let waits: Vec<_> = (0..5)
        .map(|_| {
            let port = home.port;
            std::thread::spawn(move || crate::home::get(port, "/").0)
        })
        .collect();
    let answers: Vec<u16> = waits.into_iter().map(|of| of.join().unwrap()).collect();
    assert_eq!(answers, [200; 5]);
    assert_eq!((serving(&home).len(), serving_word(&home).as_str()), (1, "1/1"));
    let first = scaled(&home);
    let woken = first.iter().find(|(from, _, _)| *from == 0).unwrap();
    assert!(woken.1 == 1 && woken.2.ends_with("for a server"), "{first:?}");
    let slept = first.iter().find(|(_, to, _)| *to == 0).unwrap();
    assert_eq!(slept.2, "no request came for 3s");

    // A change is rolled out with one server, which goes again.
    until("sleep again", || is_asleep(&home));
    home.write("public/index.html", "another page");
    home.up();
    assert_eq!(home.get("/"), (200, "another page".to_owned()));
    until("sleep after it", || is_asleep(&home));
    // The edge is made anew, and still knows what to hold.
    let edge = crate::home::pid(&home.status()["edge"]["pid"]);
    crate::home::signal(edge, "KILL");
    until("another edge", || {
        home.status()["edge"]["pid"].as_i64().is_some_and(|pid| pid != i64::from(edge))
    });
    assert_eq!(home.get("/").0, 200);
    until("sleep once more", || is_asleep(&home));
    // While control is dead a request waits; the next control finds it.
    crate::home::signal(home.control_pid(), "KILL");
    let port = home.port;
    let waits = std::thread::spawn(move || crate::home::get(port, "/").0);
    home.up();
    assert_eq!(waits.join().unwrap(), 200);
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}
