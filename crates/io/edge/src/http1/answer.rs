//! Answer heads: read from the backend as strictly as requests, and written anew for the client.

use std::mem::MaybeUninit;

use httparse::{Header, Status};

use super::{
    body::Framing,
    field::{lines_end_in_crlf, named_by, parse_length, tokens, write_field},
};
use crate::{date::DATE_BYTES, limits::HEADER_COUNT};

/// An answer that the edge does not pass on: 502.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadAnswer;

/// What the proxy must know of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct AnswerHead {
    /// Bytes of input that were the head.
    pub(crate) used: usize,
    pub(crate) status: u16,
    pub(crate) body: Framing,
    /// The length it declares, which for HEAD and 304 is not that of the body.
    pub(crate) declared_length: Option<u64>,
    /// Whether the backend keeps the connection.
    pub(crate) keep_alive: bool,
    /// Whether `Connection` names fields of its own.
    names_fields: bool,
    has_date: bool,
}

impl AnswerHead {
    pub(crate) fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }
}

/// Room for the fields of one head.
pub(crate) type FieldStorage<'a> = [MaybeUninit<Header<'a>>; HEADER_COUNT];

/// Room for the fields of one head, not yet used.
pub(crate) const fn field_storage<'a>() -> FieldStorage<'a> {
    [const { MaybeUninit::uninit() }; HEADER_COUNT]
}

/// A head, its reason phrase and its fields.
pub(crate) type ParsedAnswer<'i, 's> = (AnswerHead, &'i str, &'s [Header<'i>]);

/// Reads the head at the beginning of `input`; none while it is incomplete.
pub(crate) fn parse_answer<'i, 's>(
    input: &'i [u8],
    to_head: bool,
    storage: &'s mut FieldStorage<'i>,
) -> Result<Option<ParsedAnswer<'i, 's>>, BadAnswer> {
    let mut answer = httparse::Response::new(&mut []);
    let parsed = httparse::ParserConfig::default().parse_response_with_uninit_headers(
        &mut answer,
        input,
        storage,
    );
    let used = match parsed {
        Ok(Status::Complete(used)) => used,
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err(BadAnswer),
    };
    let (Some(status), Some(minor)) = (answer.code, answer.version) else { return Err(BadAnswer) };
    if !lines_end_in_crlf(&input[..used]) || !(100..=999).contains(&status) {
        return Err(BadAnswer);
    }
    let headers: &'s [Header<'i>] = answer.headers;
    let summary = summarise(headers, minor)?;
    let body = match (summary.chunked, summary.length) {
        _ if to_head || status < 200 || status == 204 || status == 304 => Framing::Empty,
        (true, _) => Framing::Chunked,
        (false, Some(0)) => Framing::Empty,
        (false, Some(length)) => Framing::Length(length),
        (false, None) => Framing::UntilClose,
    };
    let head = AnswerHead {
        used,
        status,
        body,
        declared_length: summary.length,
        keep_alive: !summary.close
            && (minor == 1 || summary.keep_alive)
            && body != Framing::UntilClose,
        names_fields: summary.names_fields,
        has_date: summary.has_date,
    };
    Ok(Some((head, answer.reason.unwrap_or_default(), headers)))
}

/// What the fields of an answer say together.
#[derive(Default)]
struct Summary {
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    /// Whether `Connection` names fields of its own.
    names_fields: bool,
    has_date: bool,
}

fn summarise(headers: &[Header<'_>], minor: u8) -> Result<Summary, BadAnswer> {
    let mut summary = Summary::default();
    for header in headers {
        match classify(header.name) {
            Field::Pass | Field::Drop => {}
            Field::Date => summary.has_date = true,
            Field::ContentLength => {
                let value = parse_length(header.value).ok_or(BadAnswer)?;
                if summary.length.replace(value).is_some_and(|before| before != value) {
                    return Err(BadAnswer);
                }
            }
            Field::TransferEncoding => {
                if summary.chunked || minor == 0 || !header.value.eq_ignore_ascii_case(b"chunked") {
                    return Err(BadAnswer);
                }
                summary.chunked = true;
            }
            Field::Connection => {
                for token in tokens(header.value) {
                    if token.eq_ignore_ascii_case(b"close") {
                        summary.close = true;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        summary.keep_alive = true;
                    } else {
                        summary.names_fields = true;
                    }
                }
            }
        }
    }
    if summary.chunked && summary.length.is_some() {
        return Err(BadAnswer);
    }
    Ok(summary)
}

/// What a field of an answer means to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Pass,
    /// Passed on; added where it is missing.
    Date,
    Drop,
    ContentLength,
    TransferEncoding,
    Connection,
}

fn classify(name: &str) -> Field {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is("te") => Field::Drop,
        4 if is("date") => Field::Date,
        7 if is("upgrade") => Field::Drop,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::Drop,
        14 if is("content-length") => Field::ContentLength,
        16 if is("proxy-connection") => Field::Drop,
        17 if is("transfer-encoding") => Field::TransferEncoding,
        _ => Field::Pass,
    }
}

/// The fields that are passed on, without those that frame the message or belong to one hop.
pub(crate) fn passed_fields<'s, 'i>(
    head: &AnswerHead,
    headers: &'s [Header<'i>],
) -> impl Iterator<Item = &'s Header<'i>> {
    let names_fields = head.names_fields;
    headers.iter().filter(move |header| {
        matches!(classify(header.name), Field::Pass | Field::Date)
            && !(names_fields && named_by(headers, header.name))
    })
}

/// How the answer goes to the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Delivery {
    pub(crate) body: Framing,
    /// Whether the connection ends with this answer.
    pub(crate) close: bool,
    /// Added where the answer has none (RFC 9110, 6.6.1).
    date: [u8; DATE_BYTES],
}

/// Decides how an answer goes to a client that speaks HTTP/1.1 (`modern`) or 1.0.
pub(crate) fn deliver(
    head: &AnswerHead,
    modern: bool,
    keep_alive: bool,
    date: [u8; DATE_BYTES],
) -> Delivery {
    let body = match head.body {
        Framing::Empty => Framing::Empty,
        Framing::Length(length) => Framing::Length(length),
        Framing::Chunked | Framing::UntilClose if modern => Framing::Chunked,
        Framing::Chunked | Framing::UntilClose => Framing::UntilClose,
    };
    Delivery { body, close: !keep_alive || body == Framing::UntilClose, date }
}

/// Writes the head of an answer for the client.
pub(crate) fn write_answer(
    out: &mut Vec<u8>,
    head: &AnswerHead,
    reason: &str,
    headers: &[Header<'_>],
    delivery: Delivery,
    modern: bool,
) {
    out.extend_from_slice(b"HTTP/1.1 ");
    let status = head.status;
    let digit = |value: u16| b'0' + (value % 10) as u8;
    out.extend_from_slice(&[digit(status / 100), digit(status / 10), digit(status), b' ']);
    out.extend_from_slice(reason.as_bytes());
    out.extend_from_slice(b"\r\n");
    for header in passed_fields(head, headers) {
        write_field(out, header.name, header.value);
    }
    if head.is_interim() {
        out.extend_from_slice(b"\r\n");
        return;
    }
    if head.status == 101 {
        out.extend_from_slice(b"connection: upgrade\r\n");
        for header in headers.iter().filter(|header| header.name.eq_ignore_ascii_case("upgrade")) {
            write_field(out, "upgrade", header.value);
        }
        out.extend_from_slice(b"\r\n");
        return;
    }
    if !head.has_date {
        write_field(out, "date", &delivery.date);
    }
    match (delivery.body, head.declared_length) {
        (Framing::Chunked, _) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        // A 204 must not have one; for HEAD and 304 it tells the length that a GET would have had.
        (_, Some(length)) if head.status != 204 => {
            write_length(out, length);
        }
        _ => {}
    }
    if delivery.close {
        out.extend_from_slice(b"connection: close\r\n");
    } else if !modern {
        out.extend_from_slice(b"connection: keep-alive\r\n");
    }
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, length: u64) {
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut left = length;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(b"content-length: ");
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
}

/// What is forwarded, besides methods that nobody has heard of (RFC 9110, 15.5.6).
pub(crate) const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS";

/// An answer of the edge's own.
pub(crate) fn own_answer(
    out: &mut Vec<u8>,
    date: &[u8; DATE_BYTES],
    (status, text): (u16, &str),
    to_head: bool,
    close: bool,
) {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Error");
    out.clear();
    out.extend_from_slice(format!("HTTP/1.1 {status} {reason}\r\n").as_bytes());
    out.extend_from_slice(b"content-type: text/plain\r\nserver: hornero\r\n");
    write_field(out, "date", date);
    match status {
        308 => write_field(out, "location", text.as_bytes()),
        405 => write_field(out, "allow", METHODS.as_bytes()),
        429 | 503 => out.extend_from_slice(b"retry-after: 1\r\n"),
        _ => {}
    }
    write_length(out, text.len() as u64 + 1);
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    if !to_head {
        out.extend_from_slice(text.as_bytes());
        out.push(b'\n');
    }
}
