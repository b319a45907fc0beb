//! RabbitMQ and what speaks AMQP 0-9-1 (its specification, and RabbitMQ's "Consumer Acknowledgements and Publisher Confirms"):
//! persistent messages to a durable queue, each of which the server confirms.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
};

use super::store::{WriteFault, WriteRule, WriteSession, WriteStore, broken, open};

/// Frames of the server are some bytes.
const MAX_FRAME_BYTES: u32 = 1 << 20;
const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const FRAME_END: u8 = 0xce;
/// Our one channel.
const CHANNEL: u16 = 1;
/// Bits of a publish: what no queue takes comes back.
const MANDATORY: u8 = 1;
/// Bits of a declaration.
const PASSIVE: u8 = 1;
const DURABLE: u8 = 2;
/// Properties of a message: delivery mode and message id.
const PROPERTIES: u16 = 0x1080;
const PERSISTENT: u8 = 2;
/// Bits of a negative acknowledgement: all up to here, back into the queue.
const ALL_BACK: u8 = 3;

type Method = (u16, u16);
const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const DECLARE: Method = (50, 10);
const DECLARE_OK: Method = (50, 11);
const PUBLISH: Method = (60, 40);
const GET: Method = (60, 70);
const GET_OK: Method = (60, 71);
const GET_EMPTY: Method = (60, 72);
const ACK: Method = (60, 80);
const NACK: Method = (60, 120);
const CONFIRM_SELECT: Method = (85, 10);
const CONFIRM_SELECT_OK: Method = (85, 11);

/// A queue of an AMQP server that knows `guest`.
#[derive(Debug, Clone)]
pub struct AmqpStore {
    /// Where it answers.
    pub address: SocketAddr,
    /// The queue; it is made where it is not there.
    pub queue: String,
}

impl AmqpStore {
    /// Takes every message out of the queue, and says which numbers they were.
    ///
    /// # Errors
    /// Where the server does not answer.
    pub fn take(&self) -> Result<Vec<u64>, WriteFault> {
        self.session()?.read(true)
    }

    fn session(&self) -> Result<AmqpSession, WriteFault> {
        let stream = open(self.address)?;
        let mut session = AmqpSession { stream, queue: self.queue.clone(), published: 0 };
        session.greet().map_err(|fault| WriteFault::Unserved(fault.to_string()))?;
        Ok(session)
    }
}

impl WriteStore for AmqpStore {
    fn connect(&self) -> Result<Box<dyn WriteSession>, WriteFault> {
        Ok(Box::new(self.session()?))
    }

    fn rule(&self) -> WriteRule {
        WriteRule::AtLeastOnce
    }
}

struct AmqpSession {
    stream: TcpStream,
    queue: String,
    /// Messages of this channel, which the server counts as well.
    published: u64,
}

fn short(text: &str) -> Vec<u8> {
    let mut out = vec![u8::try_from(text.len()).expect("names of ours are short")];
    out.extend(text.as_bytes());
    out
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("messages of ours are small");
    [&length.to_be_bytes()[..], bytes].concat()
}

fn method((class, number): Method, arguments: &[u8]) -> Vec<u8> {
    [&class.to_be_bytes()[..], &number.to_be_bytes(), arguments].concat()
}

fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    [&[kind][..], &channel.to_be_bytes(), &long(payload), &[FRAME_END]].concat()
}

impl AmqpSession {
    fn greet(&mut self) -> Result<(), WriteFault> {
        self.stream.write_all(b"AMQP\x00\x00\x09\x01").map_err(broken)?;
        self.wait(&[START])?;
        let login = [long(b""), short("PLAIN"), long(b"\0guest\0guest"), short("en_US")].concat();
        self.send(0, START_OK, &login)?;
        let (_, tune) = self.wait(&[TUNE])?;
        let tune = tune.get(..6).ok_or_else(|| broken("a tune that ends early"))?;
        // No heartbeats: a read has a bound of its own.
        self.send(0, TUNE_OK, &[tune, &[0, 0]].concat())?;
        self.send(0, OPEN, &[short("/"), vec![0, 0]].concat())?;
        self.wait(&[OPEN_OK])?;
        self.send(CHANNEL, CHANNEL_OPEN, &[0])?;
        self.wait(&[CHANNEL_OPEN_OK])?;
        self.send(CHANNEL, CONFIRM_SELECT, &[0])?;
        self.wait(&[CONFIRM_SELECT_OK]).map(drop)
    }

    fn send(&mut self, channel: u16, name: Method, arguments: &[u8]) -> Result<(), WriteFault> {
        let frame = frame(METHOD, channel, &method(name, arguments));
        self.stream.write_all(&frame).map_err(broken)
    }

    fn frame(&mut self) -> Result<(u8, Vec<u8>), WriteFault> {
        let mut head = [0; 7];
        self.stream.read_exact(&mut head).map_err(broken)?;
        let [kind, _, _, length @ ..] = head;
        let length = u32::from_be_bytes(length);
        if length > MAX_FRAME_BYTES {
            return Err(broken("a frame is too long"));
        }
        let mut payload = vec![0; length as usize + 1];
        self.stream.read_exact(&mut payload).map_err(broken)?;
        match payload.pop() {
            Some(FRAME_END) => Ok((kind, payload)),
            _ => Err(broken("a frame without an end")),
        }
    }

    /// The next method, which has to be one of these.
    fn wait(&mut self, wanted: &[Method]) -> Result<(Method, Vec<u8>), WriteFault> {
        loop {
            let (kind, payload) = self.frame()?;
            let Some(([a, b, c, d], arguments)) = payload.split_first_chunk::<4>() else {
                continue;
            };
            let name = (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]));
            if kind != METHOD {
                continue;
            }
            return match wanted.contains(&name) {
                true => Ok((name, arguments.to_vec())),
                false => Err(broken(format!("{name:?} {}", String::from_utf8_lossy(arguments)))),
            };
        }
    }

    fn declare(&mut self, bits: u8) -> Result<(), WriteFault> {
        let declare = [vec![0, 0], short(&self.queue), vec![bits], vec![0; 4]].concat();
        self.send(CHANNEL, DECLARE, &declare)?;
        self.wait(&[DECLARE_OK]).map(drop)
    }

    /// The numbers of all messages, which are taken or stay.
    fn read(&mut self, take: bool) -> Result<Vec<u64>, WriteFault> {
        let get = [vec![0, 0], short(&self.queue), vec![u8::from(take)]].concat();
        let mut numbers = Vec::new();
        loop {
            self.send(CHANNEL, GET, &get)?;
            if self.wait(&[GET_OK, GET_EMPTY])?.0 == GET_EMPTY {
                break;
            }
            // A head, and one frame with all of the number.
            self.frame()?;
            let (kind, body) = self.frame()?;
            if kind != BODY {
                return Err(broken("a message without a body"));
            }
            numbers.push(String::from_utf8_lossy(&body).parse().map_err(broken)?);
        }
        if !take && !numbers.is_empty() {
            self.send(CHANNEL, NACK, &[&[0; 8][..], &[ALL_BACK]].concat())?;
            // They are back once the queue has answered what came after.
            self.declare(PASSIVE)?;
        }
        Ok(numbers)
    }
}

impl WriteSession for AmqpSession {
    fn prepare(&mut self) -> Result<(), WriteFault> {
        self.declare(DURABLE)
    }

    fn append(&mut self, number: u64) -> Result<(), WriteFault> {
        let text = number.to_string();
        let publish = [vec![0, 0], short(""), short(&self.queue), vec![MANDATORY]].concat();
        let head = [
            &PUBLISH.0.to_be_bytes()[..],
            &[0, 0],
            &(text.len() as u64).to_be_bytes(),
            &PROPERTIES.to_be_bytes(),
            &[PERSISTENT],
            &short(&text),
        ]
        .concat();
        let message = [
            frame(METHOD, CHANNEL, &method(PUBLISH, &publish)),
            frame(HEADER, CHANNEL, &head),
            frame(BODY, CHANNEL, text.as_bytes()),
        ]
        .concat();
        self.stream.write_all(&message).map_err(broken)?;
        self.published += 1;
        let (_, tag) = self.wait(&[ACK])?;
        match tag.first_chunk::<8>().map(|tag| u64::from_be_bytes(*tag)) {
            Some(tag) if tag == self.published => Ok(()),
            tag => Err(broken(format!("it confirms {tag:?}, not {}", self.published))),
        }
    }

    fn appended(&mut self) -> Result<Vec<u64>, WriteFault> {
        self.read(false)
    }
}
