//! JetStream's API by the protocol of NATS' clients ("Client Protocol" and "JetStream wire API" of its documentation): one
//! request, whose answer comes to an inbox of its own.

use std::io::{Read, Write};

use hornero_model::NatsProbe;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::{Map, Value, json};

use crate::{
    Login, ProbeError, http,
    wire::{exactly, line, told},
};

/// The longest line: a server of a large cluster tells the addresses of all others.
const LINE_BYTES_MAX: usize = 65_536;
/// Lines that are read before the answer: a server may look whether we are there, and tells of changes of its cluster.
const LINES_MAX: usize = 1_000;
/// What our one subscription is called.
const SUBSCRIPTION: &str = "1";
/// How headers begin that say that nobody answers requests of this kind.
const NOBODY: &[u8] = b"NATS/1.0 503";

/// What the server says of the probe's stream, or of its consumer where it has one.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    login: Login<'_>,
    probe: &NatsProbe,
) -> Result<Value, ProbeError> {
    greeted(&line(stream, LINE_BYTES_MAX)?)?;
    let inbox = inbox()?;
    let options = options(login)?;
    let name = name(&probe.stream)?;
    let subject = match &probe.consumer {
        None => format!("$JS.API.STREAM.INFO.{name}"),
        Some(consumer) => format!("$JS.API.CONSUMER.INFO.{name}.{}", self::name(consumer)?),
    };
    let request = format!(
        "CONNECT {options}\r\nSUB {inbox} {SUBSCRIPTION}\r\nPUB {subject} {inbox} 0\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let document = http::json(&answer(stream)?)?;
    if let Some(error) = document.get("error") {
        let text = error.get("description").and_then(Value::as_str);
        let text = text.unwrap_or("an error without a text");
        return Err(ProbeError::Refused(told(text.as_bytes())));
    }
    let of = match &probe.consumer {
        None => document.get("config").and_then(|config| config.get("name")),
        Some(_) => document.get("name"),
    };
    let wanted = probe.consumer.as_ref().unwrap_or(&probe.stream);
    let stream = document.get("stream_name").and_then(Value::as_str);
    let is_of_stream = probe.consumer.is_none() || stream == Some(&probe.stream);
    match of.and_then(Value::as_str) {
        Some(name) if name == wanted && is_of_stream => Ok(document),
        _ => Err(ProbeError::foreign("it tells of something else")),
    }
}

/// A part of a subject: whatever has a meaning in one is no name of a stream or consumer.
fn name(text: &str) -> Result<&str, ProbeError> {
    match hornero_model::NatsProbe::is_name(text) {
        true => Ok(text),
        false => Err(ProbeError::Login(format!("`{}` is no name", told(text.as_bytes())))),
    }
}

fn greeted(hello: &[u8]) -> Result<(), ProbeError> {
    let Some(about) = hello.strip_prefix(b"INFO ") else {
        return Err(ProbeError::foreign(format!("it greets with `{}`", told(hello))));
    };
    let about = http::json(about)?;
    match about.get("tls_required").and_then(Value::as_bool) {
        Some(true) => Err(ProbeError::Login(
            "it wants TLS, which a guard does not speak: ask the monitoring port, without a user"
                .to_owned(),
        )),
        Some(false) | None => Ok(()),
    }
}

/// A name of its own, since two guards may be asked at the same time. Whoever may subscribe to everything hears it too.
fn inbox() -> Result<String, ProbeError> {
    let mut random = [0; 12];
    let failed = |_| ProbeError::Login("there is no randomness".to_owned());
    SystemRandom::new().fill(&mut random).map_err(failed)?;
    let hexadecimal: String = random.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("_INBOX.{hexadecimal}"))
}

/// Who asks: a user with a password, or nobody with a token.
fn options(login: Login<'_>) -> Result<Value, ProbeError> {
    let mut options = Map::new();
    for (name, value) in [
        ("verbose", json!(false)),
        ("pedantic", json!(false)),
        ("headers", json!(true)),
        ("no_responders", json!(true)),
        ("name", json!("hornero-guard")),
        ("lang", json!("rust")),
        ("version", json!(env!("CARGO_PKG_VERSION"))),
    ] {
        options.insert(name.to_owned(), value);
    }
    let password = login.password.map(std::str::from_utf8).transpose();
    let password = password.map_err(|_| ProbeError::Login("its password is no text".to_owned()))?;
    let secret_name = if login.user.is_empty() { "auth_token" } else { "pass" };
    if !login.user.is_empty() {
        options.insert("user".to_owned(), json!(login.user));
    }
    if let Some(password) = password {
        options.insert(secret_name.to_owned(), json!(password));
    }
    Ok(Value::Object(options))
}

/// The body of the first message that comes to the inbox.
fn answer(stream: &mut (impl Read + Write)) -> Result<Vec<u8>, ProbeError> {
    for _ in 0..LINES_MAX {
        let line = line(stream, LINE_BYTES_MAX)?;
        let text = String::from_utf8_lossy(&line);
        let words: Vec<&str> = text.split_ascii_whitespace().collect();
        match words.as_slice() {
            ["MSG", _, SUBSCRIPTION, .., length] => return body(stream, "0", length),
            ["HMSG", _, SUBSCRIPTION, .., head, length] => return body(stream, head, length),
            ["PING"] => stream.write_all(b"PONG\r\n")?,
            ["PONG" | "+OK"] | ["INFO", ..] => {}
            ["-ERR", ..] => {
                let text = text.trim_start_matches("-ERR").trim().trim_matches('\'');
                return Err(ProbeError::Refused(told(text.as_bytes())));
            }
            _ => return Err(ProbeError::foreign(told(&line))),
        }
    }
    Err(ProbeError::foreign("it never answers"))
}

fn body(stream: &mut impl Read, head: &str, length: &str) -> Result<Vec<u8>, ProbeError> {
    let number = |text: &str| {
        text.parse::<usize>().map_err(|_| ProbeError::foreign("a message without a length"))
    };
    let (head, length) = (number(head)?, number(length)?);
    let mut body = exactly(stream, length.saturating_add(2))?;
    body.truncate(length);
    if head > length {
        return Err(ProbeError::foreign("headers that are longer than their message"));
    }
    if body.starts_with(NOBODY) {
        return Err(ProbeError::Refused("JetStream is not there for this user".to_owned()));
    }
    Ok(body.split_off(head))
}
