//! Conversations with servers as they are written down, and with whatever else may answer on a port.

use std::{
    io::{self, Cursor, Read, Write},
    net::{Ipv4Addr, SocketAddr},
};

use hornero_guard::{ProbeError, ask_over};
use hornero_model::{DataProbe, GuardVerdict};
use proptest::prelude::*;

/// Answers what was written down, and remembers what was said to it.
struct Script {
    says: Cursor<Vec<u8>>,
    heard: Vec<u8>,
}

impl Read for Script {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.says.read(buffer)
    }
}

impl Write for Script {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.heard.extend(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

type Asked = Result<(GuardVerdict, String), ProbeError>;

fn ask(probe: &str, password: Option<&str>, says: &[u8]) -> (Asked, Vec<u8>) {
    let probe: DataProbe = serde_json::from_str(probe).unwrap();
    let mut script = Script { says: Cursor::new(says.to_vec()), heard: Vec::new() };
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
    let answer = ask_over(&mut script, address, &probe, password.map(str::as_bytes));
    (answer, script.heard)
}

const POSTGRES: &str = r#"{"postgres":{"port":1,"login":{"user":"watch","password":"pw"},"database":"postgres","open_transactions":0}}"#;
const REDIS: &str = r#"{"redis":{"port":1,"login":{"user":"","password":"pw"},"clients":0}}"#;
const AMQP: &str =
    r#"{"amqp":{"port":1,"login":{"user":"guest"},"vhost":"/","queue":"orders","depth":0}}"#;
const NATS: &str = r#"{"nats":{"port":1,"stream":"ORDERS","pending":0}}"#;
const JETSTREAM: &str = r#"{"nats":{"port":1,"stream":"ORDERS","consumer":"mail","pending":2,"login":{"user":"watch","password":"pw"}}}"#;
const HTTP: &str = r#"{"http":{"port":1,"path":"/depth","login":{"user":"a","password":"pw"},"json":{"field":"n","is":{"at_most":2}}}}"#;
const ALL: [&str; 6] = [POSTGRES, REDIS, AMQP, NATS, HTTP, JETSTREAM];

/// A message of PostgreSQL.
fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len() + 4).unwrap();
    [&[kind][..], &length.to_be_bytes(), body].concat()
}

/// A frame of AMQP with a method.
fn method(class: u16, number: u16, arguments: &[u8]) -> Vec<u8> {
    let payload = [&class.to_be_bytes()[..], &number.to_be_bytes(), arguments].concat();
    let length = u32::try_from(payload.len()).unwrap();
    [&[1, 0, 0][..], &length.to_be_bytes(), &payload, &[0xce]].concat()
}

fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|part| part == needle)
}

#[test]
fn a_postgresql_server_that_asks_for_a_plain_password() {
    let row = |open: &str| {
        let columns = ["t", open, "2", "f", "0", "0", "0", "0"];
        let mut body = 8_u16.to_be_bytes().to_vec();
        for column in columns {
            body.extend(u32::try_from(column.len()).unwrap().to_be_bytes());
            body.extend(column.as_bytes());
        }
        message(b'D', &body)
    };
    let says = |open: &str| {
        let ready = message(b'Z', b"I");
        let login = [message(b'R', &3_i32.to_be_bytes()), message(b'R', &[0; 4])].concat();
        [login, message(b'S', b"a\0b\0"), ready.clone(), row(open), ready].concat()
    };
    let (answer, heard) = ask(POSTGRES, Some("sesame"), &says("0"));
    assert_eq!(answer.unwrap().0, GuardVerdict::Passes);
    assert!(holds(&heard, b"user\0watch\0") && holds(&heard, b"sesame\0"));
    assert_eq!(ask(POSTGRES, Some("sesame"), &says("1")).0.unwrap().0, GuardVerdict::Refuses);
    let wants = ask(POSTGRES, None, &says("0")).0.unwrap_err().to_string();
    assert_eq!(wants, "it wants a password of `watch`: name it as `password`");
    let no = message(b'E', b"SFATAL\0Mrole \"watch\" does not exist\0\0");
    let no = ask(POSTGRES, None, &no).0.unwrap_err().to_string();
    assert_eq!(no, "it answers: role \"watch\" does not exist");
    // A hash by MD5: `md5` of the password with the user, and of that with the salt.
    let by_md5 = message(b'R', &[&5_i32.to_be_bytes()[..], b"salt"].concat());
    let (_, heard) = ask(POSTGRES, Some("sesame"), &by_md5);
    assert!(
        holds(&heard, b"md58dde0442701be0c830c9b0e04cd29283\0"),
        "{}",
        String::from_utf8_lossy(&heard)
    );
}

#[test]
fn a_postgresql_server_that_asks_for_a_proof_has_to_show_its_own() {
    let columns = ["t", "0", "2", "f", "0", "0", "0", "0"];
    let mut row = 8_u16.to_be_bytes().to_vec();
    for column in columns {
        row.extend(u32::try_from(column.len()).unwrap().to_be_bytes());
        row.extend(column.as_bytes());
    }
    let ready = message(b'Z', b"I");
    let begins = message(b'R', &[&10_i32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat());
    let lets_in = message(b'R', &[0; 4]);
    let answers = [ready.clone(), message(b'D', &row), ready].concat();
    for greeting in [[begins.clone(), lets_in].concat(), begins] {
        let error = ask(POSTGRES, Some("sesame"), &[greeting, answers.clone()].concat()).0;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("does not show who it is"), "{error}");
    }
}

#[test]
fn a_redis_server_that_wants_a_password() {
    let info = "connected_clients:2\r\n";
    let says = format!("+OK\r\n${}\r\n{info}\r\n", info.len());
    let (answer, heard) = ask(REDIS, Some("sesame"), says.as_bytes());
    assert_eq!(answer.unwrap(), (GuardVerdict::Refuses, "1 clients (at most 0)".to_owned()));
    assert_eq!(heard, b"*2\r\n$4\r\nAUTH\r\n$6\r\nsesame\r\n*1\r\n$4\r\nINFO\r\n");
    let wrong = ask(REDIS, Some("x"), b"-WRONGPASS invalid\r\n").0.unwrap_err().to_string();
    assert_eq!(wrong, "it answers: WRONGPASS invalid");
}

/// What an AMQP server says up to the answer to the question.
fn amqp_greeting() -> Vec<u8> {
    [
        method(10, 10, &[0, 9, 0, 0, 0, 0]),
        method(10, 30, &[0, 0, 0, 2, 0, 0, 0, 60]),
        // A heartbeat may come at any time.
        vec![8, 0, 0, 0, 0, 0, 0, 0xce],
        method(10, 41, &[0]),
        method(20, 11, &[0; 4]),
    ]
    .concat()
}

/// Its answer.
fn amqp_queue(depth: u8) -> Vec<u8> {
    method(50, 11, &[b"\x06orders\0\0\0".as_slice(), &[depth, 0, 0, 0, 0]].concat())
}

#[test]
fn an_amqp_server_tells_how_long_a_queue_is_or_why_not() {
    let says = |last: Vec<u8>| [amqp_greeting(), last].concat();
    let queue = amqp_queue;
    let (answer, heard) = ask(AMQP, None, &says(queue(3)));
    let expected = (GuardVerdict::Refuses, "3 messages ready (at most 0)".to_owned());
    assert_eq!(answer.unwrap(), expected);
    assert!(holds(&heard, b"\0guest\0guest") && holds(&heard, b"\x06orders\x01"));
    assert_eq!(ask(AMQP, None, &says(queue(0))).0.unwrap().0, GuardVerdict::Passes);
    let missing = method(20, 40, b"\x01\x94\x13NOT_FOUND - no queue\0\0\0\0");
    let missing = ask(AMQP, None, &says(missing)).0.unwrap_err().to_string();
    assert!(missing.starts_with("it answers: NOT_FOUND"), "{missing}");
    let other = ask(AMQP, None, b"AMQP\x00\x01\x00\x00").0.unwrap_err().to_string();
    assert!(other.contains("another version"), "{other}");
}

/// What a NATS server says to who asks for a consumer.
fn jetstream_says(consumer: &str) -> Vec<u8> {
    let length = consumer.len();
    format!(
        "INFO {{\"headers\":true,\"auth_required\":true}} \r\nPING\r\nINFO {{}}\r\nMSG _INBOX.a 1 {length}\r\n{consumer}\r\n"
    )
    .into_bytes()
}

#[test]
fn a_nats_server_tells_a_client_what_is_pending_or_why_not() {
    let pending = |count: u32| {
        format!(
            r#"{{"stream_name":"ORDERS","name":"mail","num_pending":{count},"num_ack_pending":1}}"#
        )
    };
    let (answer, heard) = ask(JETSTREAM, Some("se\"same"), &jetstream_says(&pending(2)));
    let expected = (GuardVerdict::Refuses, "3 messages pending (at most 2)".to_owned());
    assert_eq!(answer.unwrap(), expected);
    let (answer, _) = ask(JETSTREAM, Some("se\"same"), &jetstream_says(&pending(1)));
    assert_eq!(answer.unwrap().0, GuardVerdict::Passes);
    for said in [
        &br#""user":"watch""#[..],
        br#""pass":"se\"same""#,
        b"PUB $JS.API.CONSUMER.INFO.ORDERS.mail _INBOX.",
        b"PONG\r\n",
    ] {
        assert!(holds(&heard, said), "{}", String::from_utf8_lossy(said));
    }
    let token = JETSTREAM.replace("watch", "");
    let (_, heard) = ask(&token, Some("sesame"), &jetstream_says(&pending(1)));
    assert!(holds(&heard, br#""auth_token":"sesame""#) && !holds(&heard, br#""user""#));
    let greeting = "INFO {}\r\n";
    for (says, why) in [
        ("-ERR 'Authorization Violation'\r\n", "it answers: Authorization Violation"),
        ("HMSG _INBOX.a 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", "JetStream is not there"),
        (
            "MSG _INBOX.a 1 50\r\n{\"error\":{\"code\":404,\"description\":\"no consumer\"}}\r\n",
            "no consumer",
        ),
        ("MSG _INBOX.a 1 16\r\n{\"name\":\"other\"}\r\n", "something else"),
        ("MSG _INBOX.a 1 99999999\r\n", "announces"),
        ("HMSG _INBOX.a 1 9 2\r\n{}\r\n", "headers"),
        ("MSG _INBOX.b 2 2\r\n{}\r\n", "not understood"),
    ] {
        let error = ask(JETSTREAM, None, &[greeting, says].concat().into_bytes()).0;
        let error = error.unwrap_err().to_string();
        assert!(error.contains(why), "{says}: {error}");
    }
    let tls = ask(JETSTREAM, None, b"INFO {\"tls_required\":true}\r\n").0.unwrap_err();
    assert!(tls.to_string().contains("wants TLS"), "{tls}");
    let forged = JETSTREAM.replace("ORDERS", "A\\r\\nPUB");
    let (answer, heard) = ask(&forged, None, greeting.as_bytes());
    assert!(answer.unwrap_err().to_string().contains("is no name"));
    assert_eq!(heard, b"");
}

#[test]
fn a_conversation_that_ends_early_is_no_pass() {
    let consumer = r#"{"stream_name":"ORDERS","name":"mail","num_pending":0,"num_ack_pending":0}"#;
    for (probe, says) in
        [(AMQP, [amqp_greeting(), amqp_queue(0)].concat()), (JETSTREAM, jetstream_says(consumer))]
    {
        assert_eq!(ask(probe, Some("sesame"), &says).0.unwrap().0, GuardVerdict::Passes);
        for length in 0..says.len() {
            let answer = ask(probe, Some("sesame"), &says[..length]).0;
            assert!(answer.is_err(), "{probe} after {length} bytes: {answer:?}");
        }
    }
}

#[test]
fn an_http_server_says_a_number() {
    let says = |status: &str, body: &str| {
        format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    };
    let (answer, heard) = ask(HTTP, Some("sesame"), &says("200 OK", r#"{"n":3}"#));
    assert_eq!(answer.unwrap(), (GuardVerdict::Refuses, "`n` is 3 (wanted at most 2)".to_owned()));
    assert!(holds(&heard, b"GET /depth HTTP/1.0\r\n"));
    assert!(holds(&heard, b"authorization: Basic YTpzZXNhbWU="));
    assert_eq!(ask(HTTP, None, &says("200 OK", r#"{"n":2}"#)).0.unwrap().0, GuardVerdict::Passes);
    assert_eq!(ask(HTTP, None, &says("503 No", "")).0.unwrap().0, GuardVerdict::Refuses);
    for wrong in [
        says("401 Who", ""),
        says("200 OK", r#"{"m":2}"#),
        says("200 OK", "no json"),
        b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"n\":2}".to_vec(),
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"n\":2}\r\n0\r\n\r\n"
            .to_vec(),
        Vec::new(),
    ] {
        let answer = ask(HTTP, None, &wrong).0;
        assert!(answer.is_err(), "{}: {answer:?}", String::from_utf8_lossy(&wrong));
    }
}

proptest! {
    /// Whatever answers on a port: nothing of it is a pass, and nothing of it a panic.
    #[test]
    fn what_speaks_nothing_that_is_known_is_no_pass(
        noise in proptest::collection::vec(any::<u8>(), 0..400),
        cut in 0_usize..60,
    ) {
        let beginnings: [&[u8]; 6] = [
            &[&message(b'R', &[0; 4])[..], &message(b'Z', b"I"), b"D"].concat(),
            b"+OK\r\n$",
            &[&method(10, 10, &[])[..], &[1, 0, 0]].concat(),
            b"HTTP/1.1 200 OK\r\n\r\n{\"account_details\":",
            b"HTTP/1.1 200 OK\r\ncontent-length: ",
            b"INFO {}\r\nMSG a 1 40\r\n{\"name\":\"mail\",\"num_pending\":",
        ];
        for (probe, beginning) in ALL.iter().zip(beginnings) {
            let beginning = &beginning[..beginning.len().min(cut)];
            for says in [noise.clone(), [beginning, &noise].concat()] {
                let answer = ask(probe, Some("sesame"), &says).0;
                prop_assert!(!matches!(answer, Ok((GuardVerdict::Passes, _))), "{probe}: {says:?}");
            }
        }
    }
}
