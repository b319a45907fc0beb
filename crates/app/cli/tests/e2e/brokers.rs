//! RabbitMQ, NATS and a program with SQLite, as the examples have them: replaced under clients that know what was acknowledged,
//! killed, and asked before they go.

use std::net::{Ipv4Addr, SocketAddr};

use hornero_load::{StatefulExample, TrialReport, writes::AmqpStore};
use serde_json::Value;

use crate::{
    home::{Home, until},
    stateful::{example, replaced_under_writes, server},
};

/// Puts this in the place of an example's guard, which makes no new server; the first answer of the guards then, which pass or
/// not as `code` says.
fn asked(home: &Home, known: &StatefulExample, number: u32, guard: &str, code: i32) -> Value {
    example(home, known, number, guard);
    let before = server(home).unwrap().0;
    home.up();
    assert_eq!(server(home).unwrap().0, before, "a guard is a term of its release");
    let answers = home.run(&["guard", "check", known.service, "--json"]).expect(code).json();
    answers["answers"][0].clone()
}

/// The number of the image that serves after a trial: a server that was killed at its start leaves the one before.
fn image_of(report: &TrialReport) -> u32 {
    let numbered = (1..).zip(&report.rounds);
    numbered
        .filter(|(_, round)| round.codes.last() == Some(&0))
        .map(|(number, _)| number)
        .max()
        .unwrap()
}

fn told(answer: &Value) -> &str {
    answer["seen"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

#[test]
fn rabbitmq_has_what_it_confirmed_and_is_replaced_when_its_queue_is_empty() {
    let home = Home::new();
    let rabbitmq = StatefulExample::named("rabbitmq").unwrap();
    let report = replaced_under_writes(&home, &rabbitmq);
    let image = image_of(&report);
    // What a queue or a login is called wrongly is no pass, and RabbitMQ's own word is told.
    let guard = rabbitmq.guard.replace("30s", "1s");
    for (wrong, why) in [
        (guard.replace("\"orders\"", "\"order\""), "no queue 'order'"),
        (guard.replace("depth = 0", "user = \"nobody\""), "ACCESS_REFUSED"),
    ] {
        let answer = asked(&home, &rabbitmq, image, &wrong, 3);
        assert_eq!(answer["verdict"], "unanswered", "{answer}");
        assert!(told(&answer).contains(why), "{answer}");
    }
    let answer = asked(&home, &rabbitmq, image, &guard, 3);
    assert!(told(&answer).ends_with("messages ready (at most 0)"), "{answer}");
    let before = server(&home).unwrap().0;
    example(&home, &rabbitmq, 3, &guard);
    let refused = home.run(&["up"]).expect(3).stderr;
    assert!(refused.contains("guard `orders-done` of `rabbitmq` refuses"), "{refused}");
    assert_eq!(server(&home).unwrap().0, before);
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, home.port));
    let taken = AmqpStore { address, queue: "orders".to_owned() }.take().unwrap();
    assert!(taken.len() as u64 >= report.checked.acknowledged, "{}", taken.len());
    until("the queue to be empty", || home.run(&["guard", "check", "rabbitmq"]).code == 0);
    home.run(&["down"]).expect(0);
}

#[test]
fn nats_has_each_acknowledged_message_once_and_tells_what_is_pending() {
    let home = Home::new();
    let nats = StatefulExample::named("nats").unwrap();
    let image = image_of(&replaced_under_writes(&home, &nats));
    let guard =
        "\n  guard \"few\" { nats = { stream = \"orders\", pending = 0, within = \"1s\" } }";
    // By the monitoring port and as a client the same is seen.
    let as_client = guard.replace("pending = 0", "pending = 0, api = true");
    let by_monitor = asked(&home, &nats, image, guard, 3);
    assert!(told(&by_monitor).ends_with("messages in the stream (at most 0)"), "{by_monitor}");
    let answer = asked(&home, &nats, image, &as_client, 3);
    assert_eq!(told(&answer), told(&by_monitor));
    let missing = asked(&home, &nats, image, &as_client.replace("\"orders\"", "\"order\""), 3);
    assert_eq!(told(&missing), "it answers: stream not found");
    home.run(&["down"]).expect(3);
    home.run(&["down", "--override", "guard.few", "--reason", "they are kept"]).expect(0);
}

#[test]
fn sqlite_has_each_note_that_its_program_acknowledged() {
    let home = Home::new();
    let sqlite = StatefulExample::named("sqlite").unwrap();
    let image = image_of(&replaced_under_writes(&home, &sqlite));
    let answer = asked(&home, &sqlite, image, sqlite.guard, 0);
    assert_eq!(told(&answer), "`writes` is 0 (wanted at most 0)");
    home.run(&["down"]).expect(0);
}
