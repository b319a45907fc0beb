//! JetStream of a NATS server, by its client protocol and the JetStream API (both of NATS' documentation): messages to a stream
//! that keeps files, each of which the server acknowledges.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
};

use serde_json::{Value, json};

use super::store::{WriteFault, WriteRule, WriteSession, WriteStore, broken, open};

/// A line of the protocol: the longest tells about the server.
const MAX_LINE_BYTES: u64 = 1 << 16;
/// An answer is some hundred bytes.
const MAX_MESSAGE_BYTES: usize = 1 << 20;

/// A stream of a NATS server that lets anybody in.
#[derive(Debug, Clone)]
pub struct NatsStore {
    /// Where it answers.
    pub address: SocketAddr,
    /// The stream; it is made where it is not there, with the subjects below its name.
    pub stream: String,
}

impl WriteStore for NatsStore {
    fn connect(&self) -> Result<Box<dyn WriteSession>, WriteFault> {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        let number = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
        let mut session = NatsSession {
            io: BufReader::new(open(self.address)?),
            stream: self.stream.clone(),
            inbox: format!("_INBOX.{}.{number}", std::process::id()),
            asked: 0,
        };
        session.greet().map_err(|fault| WriteFault::Unserved(fault.to_string()))?;
        Ok(Box::new(session))
    }

    fn rule(&self) -> WriteRule {
        WriteRule::Once
    }
}

struct NatsSession {
    io: BufReader<TcpStream>,
    stream: String,
    /// Where answers come.
    inbox: String,
    asked: u64,
}

impl NatsSession {
    fn greet(&mut self) -> Result<(), WriteFault> {
        let hello = self.line()?;
        if !hello.starts_with("INFO ") {
            return Err(broken(format!("`{hello}` is no greeting")));
        }
        let options = json!({"verbose": false, "pedantic": false, "headers": true, "no_responders": true,
            "lang": "rust", "version": "0"});
        let inbox = &self.inbox;
        let hello = format!("CONNECT {options}\r\nSUB {inbox}.* 1\r\nPING\r\n");
        self.io.get_mut().write_all(hello.as_bytes()).map_err(broken)?;
        loop {
            match self.line()?.as_str() {
                "PONG" => return Ok(()),
                error if error.starts_with("-ERR") => return Err(broken(error)),
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Result<String, WriteFault> {
        let mut line = String::new();
        (&mut self.io).take(MAX_LINE_BYTES).read_line(&mut line).map_err(broken)?;
        let line = line.strip_suffix("\r\n").ok_or_else(|| broken("the connection ended"))?;
        Ok(line.to_owned())
    }

    /// Publishes with headers, or without, and waits for the answer, which is to say nothing of an error.
    fn ask(&mut self, subject: &str, headers: &str, body: &str) -> Result<Value, WriteFault> {
        self.asked += 1;
        let reply = format!("{}.{}", self.inbox, self.asked);
        let (head, all) = (headers.len(), headers.len() + body.len());
        let message = match headers {
            "" => format!("PUB {subject} {reply} {all}\r\n{body}\r\n"),
            _ => format!("HPUB {subject} {reply} {head} {all}\r\n{headers}{body}\r\n"),
        };
        self.io.get_mut().write_all(message.as_bytes()).map_err(broken)?;
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split_ascii_whitespace().collect();
            match words.as_slice() {
                ["MSG", to, .., length] if *to == reply => return answer(&self.payload(length)?),
                ["MSG" | "HMSG", to, .., length] => {
                    let payload = self.payload(length)?;
                    if *to == reply {
                        return Err(broken(String::from_utf8_lossy(&payload)));
                    }
                }
                ["PING"] => self.io.get_mut().write_all(b"PONG\r\n").map_err(broken)?,
                ["-ERR", ..] => return Err(broken(&line)),
                _ => {}
            }
        }
    }

    fn payload(&mut self, length: &str) -> Result<Vec<u8>, WriteFault> {
        let length: usize = length.parse().map_err(broken)?;
        if length > MAX_MESSAGE_BYTES {
            return Err(broken("a message is too long"));
        }
        let mut payload = vec![0; length + 2];
        self.io.read_exact(&mut payload).map_err(broken)?;
        payload.truncate(length);
        Ok(payload)
    }
}

fn answer(payload: &[u8]) -> Result<Value, WriteFault> {
    let answer: Value = serde_json::from_slice(payload).map_err(broken)?;
    match answer.get("error") {
        None => Ok(answer),
        Some(error) => Err(broken(error)),
    }
}

impl WriteSession for NatsSession {
    fn prepare(&mut self) -> Result<(), WriteFault> {
        let stream = self.stream.clone();
        let subjects = format!("{stream}.>");
        // For longer than any number is asked for again, in nanoseconds.
        let config = json!({"name": stream, "subjects": [subjects], "storage": "file",
            "retention": "limits", "discard": "old", "num_replicas": 1,
            "duplicate_window": 900_000_000_000_u64});
        let subject = format!("$JS.API.STREAM.CREATE.{stream}");
        self.ask(&subject, "", &config.to_string()).map(drop)
    }

    fn append(&mut self, number: u64) -> Result<(), WriteFault> {
        let subject = format!("{}.{number}", self.stream);
        // By it the server knows what it has already.
        let headers = format!("NATS/1.0\r\nNats-Msg-Id: {number}\r\n\r\n");
        let answer = self.ask(&subject, &headers, &number.to_string())?;
        answer["seq"].as_u64().map(drop).ok_or_else(|| broken(answer))
    }

    fn appended(&mut self) -> Result<Vec<u64>, WriteFault> {
        let stream = self.stream.clone();
        let state = self.ask(&format!("$JS.API.STREAM.INFO.{stream}"), "", "")?["state"].take();
        let place = |name: &str| state[name].as_u64().ok_or_else(|| broken(&state));
        let mut numbers = Vec::new();
        for sequence in place("first_seq")?.max(1)..=place("last_seq")? {
            let wanted = json!({"seq": sequence}).to_string();
            let answer = self.ask(&format!("$JS.API.STREAM.MSG.GET.{stream}"), "", &wanted)?;
            let subject = answer["message"]["subject"].as_str().unwrap_or_default();
            let (_, number) = subject.split_once('.').ok_or_else(|| broken(&answer))?;
            numbers.push(number.parse().map_err(broken)?);
        }
        Ok(numbers)
    }
}
