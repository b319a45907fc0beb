//! RabbitMQ, NATS and a program with SQLite, as the examples have them: replaced under clients that know what was acknowledged,
//! killed, and asked before they go.

use std::{
    io::{Read as _, Write as _},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream},
};

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
    assert!(refused.contains("guard `nothing-ready` of `rabbitmq` refuses"), "{refused}");
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
    replaced_under_writes(&home, &sqlite);
    let (status, numbers) = home.get("/notes");
    assert_eq!(status, 200);
    let last = numbers.lines().last().unwrap();
    // What lies on its volume is no difference from its image.
    home.run(&["verify", "--full"]).expect(0);
    assert_eq!(home.get(&format!("/notes/{last}")), (200, format!("note {last}")));
    // Of what comes without its length, or not to its end, nothing is kept.
    for (head, body, answer) in [
        ("content-length: 9", "half", ""),
        ("transfer-encoding: chunked", "5\r\nwhole\r\n0\r\n\r\n", "411"),
    ] {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, home.port)).unwrap();
        write!(stream, "PUT /notes/{last} HTTP/1.1\r\nhost: notes\r\n{head}\r\n\r\n{body}")
            .unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut told = String::new();
        // Where it is closed with a reset, nothing is answered as well.
        let _ = stream.read_to_string(&mut told);
        assert!(told.contains(answer) && !told.contains("kept"), "{told}");
        assert_eq!(home.get(&format!("/notes/{last}")), (200, format!("note {last}")));
    }
    home.run(&["down"]).expect(0);
}
