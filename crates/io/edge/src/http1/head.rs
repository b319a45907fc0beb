//! Request heads: read strictly, against request smuggling, and written anew for the backend.
//!
//! What two servers could read differently is refused, not repaired: bare CR or LF, folded lines, blanks before the
//! colon, more than one or a malformed length, a length beside chunks, any transfer coding but `chunked`, no or
//! several hosts. Fields of one hop, those that `Connection` names included, end here. Forwarding fields of the
//! client are replaced, unless it is a proxy that the listener trusts.

use std::{mem::MaybeUninit, ops::Range};

use httparse::{Header, Status};

use super::{
    body::Framing,
    field::{Field, classify, lines_end_in_crlf, named_by, parse_length, tokens, write_field},
    target::{host_name, last_hop, max_forwards, split_target},
};
use crate::{
    forwarding::Forwarding,
    limits::{HEADER_COUNT, TARGET_BYTES},
};

/// Why a request is refused, with the status that says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadRequest {
    #[error("malformed request")]
    Malformed,
    #[error("request head is too large")]
    TooLarge,
    #[error("too many large request heads at once")]
    Crowded,
    #[error("request target is too long")]
    TargetTooLong,
    #[error("HTTP version is not supported")]
    Version,
    #[error("tunnels are not offered")]
    Connect,
    #[error("only `100-continue` can be expected")]
    Expectation,
}

impl BadRequest {
    pub(crate) fn status(self) -> u16 {
        match self {
            Self::Malformed => 400,
            Self::TooLarge => 431,
            Self::Crowded => 503,
            Self::TargetTooLong => 414,
            Self::Version => 505,
            Self::Connect => 405,
            Self::Expectation => 417,
        }
    }
}

/// What the proxy must remember of a request whose head it has passed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RequestHead {
    /// Bytes of input that were the head.
    pub(crate) used: usize,
    /// Whether the client speaks HTTP/1.1, so that it understands chunks and interim answers.
    pub(crate) modern: bool,
    /// Whether the answer has no body whatever it says.
    pub(crate) is_head: bool,
    /// Whether doing it twice is the same as once (RFC 9110, 9.2.2).
    pub(crate) idempotent: bool,
    /// Whether the client wants to go on after the answer.
    pub(crate) keep_alive: bool,
    /// The request's body.
    pub(crate) body: Framing,
    /// Whether the client asks for another protocol.
    pub(crate) upgrade: bool,
    /// Whether that is WebSocket (RFC 6455).
    pub(crate) websocket: bool,
    /// What the edge answers itself, as the request may be forwarded no further.
    pub(crate) last_hop: Option<(u16, &'static str)>,
    /// Host without port, in the input.
    pub(crate) host: Range<usize>,
    /// Path and query, in the input.
    pub(crate) path: Range<usize>,
}

/// What the fields of a head say together.
#[derive(Default)]
struct Summary<'a> {
    host: Option<&'a [u8]>,
    length: Option<u64>,
    chunked: bool,
    close: bool,
    keep_alive: bool,
    upgrade_token: bool,
    /// Whether `Connection` names fields of its own.
    names_fields: bool,
    upgrade: Option<&'a [u8]>,
    /// Whether the client takes trailers.
    trailers: bool,
    max_forwards: Option<&'a [u8]>,
}

/// Reads the head at the beginning of `input` and writes the backend's into `out`; none while it is incomplete.
pub(crate) fn translate_request(
    input: &[u8],
    forwarding: &Forwarding,
    out: &mut Vec<u8>,
) -> Result<Option<RequestHead>, BadRequest> {
    let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; HEADER_COUNT];
    let mut request = httparse::Request::new(&mut []);
    let used = match request.parse_with_uninit_headers(input, &mut storage) {
        Ok(Status::Complete(used)) => used,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(BadRequest::TooLarge),
        Err(httparse::Error::Version) => {
            let known = as_known_version(input).ok_or(BadRequest::Version)?;
            return translate_request(&known, forwarding, out);
        }
        Err(_) => return Err(BadRequest::Malformed),
    };
    if !lines_end_in_crlf(&input[..used]) {
        return Err(BadRequest::Malformed);
    }
    let parsed = Parsed::read(&request)?;
    parsed.write(forwarding, out);
    Ok(Some(RequestHead {
        used,
        modern: parsed.modern,
        is_head: parsed.method == "HEAD",
        idempotent: matches!(
            parsed.method,
            "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"
        ),
        keep_alive: !parsed.summary.close && (parsed.modern || parsed.summary.keep_alive),
        body: parsed.body,
        upgrade: parsed.upgrade.is_some(),
        websocket: parsed
            .upgrade
            .is_some_and(|protocol| protocol.eq_ignore_ascii_case(b"websocket")),
        last_hop: parsed.hops.filter(|hops| *hops == 0).map(|_| last_hop(parsed.method)),
        host: place_of(input, parsed.name),
        path: place_of(input, parsed.path.as_bytes()),
    }))
}

/// A request head as it was understood.
struct Parsed<'a> {
    method: &'a str,
    modern: bool,
    fields: &'a [Header<'a>],
    summary: Summary<'a>,
    /// With its port, as it is passed on.
    host: &'a [u8],
    /// Without port.
    name: &'a [u8],
    path: &'a str,
    /// How often it may still be forwarded, where that is limited.
    hops: Option<u64>,
    body: Framing,
    /// The protocol that the client asks for.
    upgrade: Option<&'a [u8]>,
}

impl<'a> Parsed<'a> {
    fn read(request: &'a httparse::Request<'_, '_>) -> Result<Self, BadRequest> {
        let (Some(method), Some(target), Some(minor)) =
            (request.method, request.path, request.version)
        else {
            return Err(BadRequest::Malformed);
        };
        if target.len() > TARGET_BYTES {
            return Err(BadRequest::TargetTooLong);
        }
        if method == "CONNECT" {
            return Err(BadRequest::Connect);
        }
        let modern = minor == 1;
        let fields: &'a [Header<'a>] = request.headers;
        let summary = summarise(fields, modern)?;
        let (authority, path) = split_target(method, target).ok_or(BadRequest::Malformed)?;
        let limited = matches!(method, "TRACE" | "OPTIONS");
        let hops = summary.max_forwards.filter(|_| limited).map(max_forwards);
        let hops = hops.transpose().map_err(|()| BadRequest::Malformed)?;
        let host = match (authority, summary.host) {
            // The target's authority comes before the field (RFC 9112, 3.2.2), which must be there all the same.
            (Some(authority), Some(_)) => authority,
            (Some(authority), None) if !modern => authority,
            (None, Some(host)) => host,
            (None, None) if !modern => b"",
            _ => return Err(BadRequest::Malformed),
        };
        let name = host_name(host).ok_or(BadRequest::Malformed)?;
        let body = match (summary.chunked, summary.length) {
            (true, Some(_)) => return Err(BadRequest::Malformed),
            (true, None) => Framing::Chunked,
            (false, Some(length)) if length > 0 => Framing::Length(length),
            (false, _) => Framing::Empty,
        };
        let upgrade = summary.upgrade.filter(|protocol| {
            // `h2c` would let the client past this head to the backend (request smuggling by upgrade).
            modern && summary.upgrade_token && body == Framing::Empty && !mentions_http2(protocol)
        });
        Ok(Self { method, modern, fields, summary, host, name, path, hops, body, upgrade })
    }

    /// Writes the head for the backend.
    fn write(&self, forwarding: &Forwarding, out: &mut Vec<u8>) {
        out.clear();
        out.extend_from_slice(self.method.as_bytes());
        out.push(b' ');
        if self.path.starts_with('?') {
            out.push(b'/');
        }
        out.extend_from_slice(self.path.as_bytes());
        out.extend_from_slice(b" HTTP/1.1\r\n");
        write_field(out, "host", self.host);
        for header in self.fields.iter().filter(|header| self.passes(header)) {
            write_field(out, header.name, header.value);
        }
        if self.body == Framing::Chunked {
            out.extend_from_slice(b"transfer-encoding: chunked\r\n");
        }
        if self.modern && self.summary.trailers {
            out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
        }
        if let Some(protocol) = self.upgrade {
            out.extend_from_slice(b"connection: upgrade\r\n");
            write_field(out, "upgrade", protocol);
        }
        if let Some(hops) = self.hops {
            write_field(out, "max-forwards", hops.saturating_sub(1).to_string().as_bytes());
        }
        let via: &[u8] =
            if self.modern { b"via: 1.1 hornero\r\n" } else { b"via: 1.0 hornero\r\n" };
        out.extend_from_slice(via);
        let fields = self.fields;
        forwarding.write(out, self.host, || fields.iter().map(|field| (field.name, field.value)));
        out.extend_from_slice(b"\r\n");
    }

    /// Whether a field is passed on as it is.
    fn passes(&self, header: &Header<'_>) -> bool {
        match classify(header.name) {
            Field::Pass => !self.summary.names_fields || !named_by(self.fields, header.name),
            Field::Expect => self.modern && self.body != Framing::Empty,
            Field::ContentLength => true,
            Field::MaxForwards => self.hops.is_none(),
            Field::Drop
            | Field::Host
            | Field::TransferEncoding
            | Field::Connection
            | Field::Te
            | Field::Upgrade => false,
        }
    }
}

/// The same head as one of HTTP/1.1, where it is one of a later minor version, which is read as the latest known one
/// (RFC 9110, 2.5).
fn as_known_version(input: &[u8]) -> Option<Vec<u8>> {
    let start = input.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let end = start + memchr::memchr(b'\r', &input[start..])?;
    let (before, minor) = input[start..end].split_last_chunk::<1>()?;
    if !before.ends_with(b" HTTP/1.") || !(b'2'..=b'9').contains(&minor[0]) {
        return None;
    }
    let mut known = input.to_vec();
    known[end - 1] = b'1';
    Some(known)
}

fn summarise<'a>(headers: &[Header<'a>], modern: bool) -> Result<Summary<'a>, BadRequest> {
    let mut summary = Summary::default();
    let mut transfer_codings = 0;
    for header in headers {
        match classify(header.name) {
            Field::Pass | Field::Drop => {}
            Field::Host => {
                if summary.host.replace(header.value).is_some() {
                    return Err(BadRequest::Malformed);
                }
            }
            Field::ContentLength => {
                let length = parse_length(header.value).ok_or(BadRequest::Malformed)?;
                if summary.length.replace(length).is_some() {
                    return Err(BadRequest::Malformed);
                }
            }
            Field::TransferEncoding => {
                transfer_codings += 1;
                if !modern || transfer_codings > 1 || !header.value.eq_ignore_ascii_case(b"chunked")
                {
                    return Err(BadRequest::Malformed);
                }
                summary.chunked = true;
            }
            Field::Connection => {
                for token in tokens(header.value) {
                    if token.eq_ignore_ascii_case(b"close") {
                        summary.close = true;
                    } else if token.eq_ignore_ascii_case(b"keep-alive") {
                        summary.keep_alive = true;
                    } else if token.eq_ignore_ascii_case(b"upgrade") {
                        summary.upgrade_token = true;
                    } else {
                        summary.names_fields = true;
                    }
                }
            }
            Field::Expect => {
                if modern && !header.value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(BadRequest::Expectation);
                }
            }
            Field::MaxForwards => {
                summary.max_forwards.get_or_insert(header.value);
            }
            Field::Te => {
                summary.trailers |=
                    tokens(header.value).any(|token| token.eq_ignore_ascii_case(b"trailers"));
            }
            Field::Upgrade => {
                summary.upgrade.get_or_insert(header.value);
            }
        }
    }
    Ok(summary)
}

fn mentions_http2(protocol: &[u8]) -> bool {
    tokens(protocol).any(|token| {
        token.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2"))
            || token.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"http"))
    })
}

/// Where `part` lies in `whole`; empty if it does not, as with a constant.
fn place_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    match start.checked_add(part.len()) {
        Some(end) if end <= whole.len() => start..end,
        _ => 0..0,
    }
}
