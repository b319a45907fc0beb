//! AMQP 0-9-1 (its specification of that number, and RabbitMQ's): a queue is declared passively, which tells how long it is.

use std::io::{Read, Write};

use hornero_model::{AmqpProbe, GuardMeasure, GuardVerdict};

use crate::{
    Login, ProbeError,
    wire::{exactly, told},
};

/// The largest frame that is taken; servers begin with this.
const FRAME_BYTES_MAX: u32 = 131_072;
/// Frames that are read before the one that is waited for.
const FRAMES_MAX: usize = 1_000;
const METHOD: u8 = 1;
const FRAME_END: u8 = 0xce;
/// Bits of `queue.declare`: passive alone, so that nothing is made.
const PASSIVE: u8 = 1;

/// Class and number of a method.
type Method = (u16, u16);
const START: Method = (10, 10);
const START_OK: Method = (10, 11);
const TUNE: Method = (10, 30);
const TUNE_OK: Method = (10, 31);
const OPEN: Method = (10, 40);
const OPEN_OK: Method = (10, 41);
const CLOSE: Method = (10, 50);
const CLOSE_OK: Method = (10, 51);
const CHANNEL_OPEN: Method = (20, 10);
const CHANNEL_OPEN_OK: Method = (20, 11);
const CHANNEL_CLOSE: Method = (20, 40);
const DECLARE: Method = (50, 10);
const DECLARE_OK: Method = (50, 11);

/// Asks it.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    login: Login<'_>,
    probe: &AmqpProbe,
) -> Result<(GuardVerdict, String), ProbeError> {
    stream.write_all(b"AMQP\x00\x00\x09\x01")?;
    wait(stream, START)?;
    send(stream, 0, START_OK, &start_ok(login))?;
    let tune = wait(stream, TUNE)?;
    let tune = tune.get(..6).ok_or_else(|| ProbeError::foreign("a tune that ends early"))?;
    // No heartbeats: it is over in a moment.
    send(stream, 0, TUNE_OK, &[tune, &[0, 0]].concat())?;
    send(stream, 0, OPEN, &[short(&probe.vhost), vec![0, 0]].concat())?;
    wait(stream, OPEN_OK)?;
    send(stream, 1, CHANNEL_OPEN, &[0])?;
    wait(stream, CHANNEL_OPEN_OK)?;
    let declare = [vec![0, 0], short(&probe.queue), vec![PASSIVE], vec![0; 4]].concat();
    send(stream, 1, DECLARE, &declare)?;
    let depth = depth(&wait(stream, DECLARE_OK)?)?;
    // It has answered: whether it hears the farewell changes nothing. RabbitMQ warns in its log of who leaves without one, and of
    // who does not wait until it is heard.
    let _ = send(stream, 0, CLOSE, &[0, 200, 0, 0, 0, 0, 0]).and_then(|()| wait(stream, CLOSE_OK));
    let (what, most) = ("messages ready", u64::from(probe.depth));
    Ok(GuardVerdict::of(&[GuardMeasure { what, seen: depth.into(), most, unit: "" }]))
}

/// How many messages wait, by the answer to `queue.declare`: the queue's name, messages, consumers.
fn depth(answer: &[u8]) -> Result<u32, ProbeError> {
    let foreign = || ProbeError::foreign("a queue without a length");
    let (length, rest) = answer.split_first().ok_or_else(foreign)?;
    let messages = rest.get(usize::from(*length)..).and_then(|rest| rest.first_chunk::<4>());
    messages.map(|bytes| u32::from_be_bytes(*bytes)).ok_or_else(foreign)
}

/// A short string; longer ones were refused where they were read.
fn short(text: &str) -> Vec<u8> {
    let bytes = &text.as_bytes()[..text.len().min(255)];
    let mut out = vec![u8::try_from(bytes.len()).unwrap_or(u8::MAX)];
    out.extend(bytes);
    out
}

fn long(bytes: &[u8]) -> Vec<u8> {
    let mut out = u32::try_from(bytes.len()).unwrap_or_default().to_be_bytes().to_vec();
    out.extend(bytes);
    out
}

/// Who asks. It wants to be told why a login fails (an extension of RabbitMQ), not only that the connection ends.
fn start_ok(login: Login<'_>) -> Vec<u8> {
    let capabilities = [short("authentication_failure_close"), vec![b't', 1]].concat();
    let properties = [short("capabilities"), vec![b'F'], long(&capabilities)].concat();
    // RabbitMQ's own first user has its name as its password.
    let password = login.password.unwrap_or(login.user.as_bytes());
    let response = [&[0][..], login.user.as_bytes(), &[0], password].concat();
    [long(&properties), short("PLAIN"), long(&response), short("en_US")].concat()
}

fn send(
    stream: &mut impl Write,
    channel: u16,
    (class, number): Method,
    arguments: &[u8],
) -> Result<(), ProbeError> {
    let payload = [&class.to_be_bytes()[..], &number.to_be_bytes(), arguments].concat();
    let mut frame = vec![METHOD];
    frame.extend(channel.to_be_bytes());
    frame.extend(long(&payload));
    frame.push(FRAME_END);
    Ok(stream.write_all(&frame)?)
}

/// The arguments of a method that has to come next; that it closes something is told as a refusal.
fn wait(stream: &mut impl Read, wanted: Method) -> Result<Vec<u8>, ProbeError> {
    for _ in 0..FRAMES_MAX {
        let head = exactly(stream, 7)?;
        if head.starts_with(b"AMQP") {
            return Err(ProbeError::foreign("it speaks another version of AMQP"));
        }
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        if length > FRAME_BYTES_MAX {
            return Err(ProbeError::foreign("a frame that is too large"));
        }
        let payload = exactly(stream, length as usize)?;
        if exactly(stream, 1)? != [FRAME_END] {
            return Err(ProbeError::foreign("a frame without an end"));
        }
        if head[0] != METHOD {
            continue;
        }
        let Some((method, arguments)) = payload.split_first_chunk::<4>() else {
            return Err(ProbeError::foreign("a method without a number"));
        };
        let [a, b, c, d] = *method;
        let method = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
        match method {
            method if method == wanted => return Ok(arguments.to_vec()),
            CLOSE | CHANNEL_CLOSE => return Err(ProbeError::Refused(closing(arguments))),
            (class, number) => {
                return Err(ProbeError::foreign(format!("method {class}.{number} at this point")));
            }
        }
    }
    Err(ProbeError::foreign("it never answers"))
}

/// Why it closes: a code and a short text.
fn closing(arguments: &[u8]) -> String {
    let text = arguments.get(2..).and_then(|rest| {
        let (length, text) = rest.split_first()?;
        text.get(..usize::from(*length))
    });
    told(text.unwrap_or(b"it closes without a word"))
}
