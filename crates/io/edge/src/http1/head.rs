//! Request heads: read strictly, against request smuggling, and written anew for the backend.
//!
//! What two servers could read differently is refused, not repaired: bare CR or LF, folded lines, blanks before the
//! colon, more than one or a malformed length, a length beside chunks, any transfer coding but `chunked`, no or
//! several hosts. Fields of one hop, those that `Connection` names included, end here. Forwarding fields of the
//! client are replaced, never extended: nobody in front of the edge is trusted.

use std::{mem::MaybeUninit, net::SocketAddr, ops::Range};

use httparse::{Header, Status};

use super::body::Framing;
use crate::limits::{HEADER_COUNT, TARGET_BYTES};

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

/// What a field means to a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Field {
    /// Nothing: it is passed on, unless `Connection` names it.
    Pass,
    /// It ends here.
    Drop,
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    Expect,
    Upgrade,
    Te,
    MaxForwards,
}

/// The meaning of a request field.
///
/// A name that differs from one with a meaning only by `_` for `-` ends here: CGI and its heirs take both for the
/// same, so that a client could say what only the edge may.
pub(crate) fn classify(name: &str) -> Field {
    match classify_exactly(name) {
        Field::Pass if name.contains('_') => match classify_exactly(&name.replace('_', "-")) {
            Field::Pass => Field::Pass,
            Field::Drop
            | Field::Host
            | Field::ContentLength
            | Field::TransferEncoding
            | Field::Connection
            | Field::Expect
            | Field::Upgrade
            | Field::Te
            | Field::MaxForwards => Field::Drop,
        },
        field => field,
    }
}

/// Decided by length first, as most names match nothing.
fn classify_exactly(name: &str) -> Field {
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    match name.len() {
        2 if is("te") => Field::Te,
        4 if is("host") => Field::Host,
        6 if is("expect") => Field::Expect,
        7 if is("upgrade") => Field::Upgrade,
        9 if is("forwarded") || is("x-real-ip") => Field::Drop,
        10 if is("connection") => Field::Connection,
        10 if is("keep-alive") => Field::Drop,
        12 if is("max-forwards") => Field::MaxForwards,
        14 if is("content-length") => Field::ContentLength,
        14 if is("http2-settings") => Field::Drop,
        15 if is("x-forwarded-for") => Field::Drop,
        16 if is("x-forwarded-host") || is("x-forwarded-port") || is("proxy-connection") => {
            Field::Drop
        }
        17 if is("transfer-encoding") => Field::TransferEncoding,
        17 if is("x-forwarded-proto") => Field::Drop,
        _ => Field::Pass,
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
    /// What the edge answers itself, as the request may be forwarded no further.
    pub(crate) last_hop: Option<(u16, &'static str)>,
    /// Host without port, in the input.
    pub(crate) host: Range<usize>,
    /// Path and query, in the input.
    pub(crate) path: Range<usize>,
}

/// The fields that tell the backend who asked, written once for a connection.
pub(crate) fn forwarding_fields(peer: SocketAddr, https: bool) -> Vec<u8> {
    let proto = if https { "https" } else { "http" };
    format!("x-forwarded-for: {}\r\nx-forwarded-proto: {proto}\r\n", peer.ip()).into_bytes()
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
    forwarding: &[u8],
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
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version)
    else {
        return Err(BadRequest::Malformed);
    };
    if !lines_end_in_crlf(&input[..used]) {
        return Err(BadRequest::Malformed);
    }
    if target.len() > TARGET_BYTES {
        return Err(BadRequest::TargetTooLong);
    }
    if method == "CONNECT" {
        return Err(BadRequest::Connect);
    }
    let modern = minor == 1;
    let summary = summarise(request.headers, modern)?;
    let (authority, path) = split_target(method, target)?;
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

    out.clear();
    out.extend_from_slice(method.as_bytes());
    out.push(b' ');
    if path.starts_with('?') {
        out.push(b'/');
    }
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(out, "host", host);
    for header in &*request.headers {
        let passes = match classify(header.name) {
            Field::Pass => !summary.names_fields || !named_by(request.headers, header.name),
            Field::Expect => modern && body != Framing::Empty,
            Field::ContentLength => true,
            Field::MaxForwards => hops.is_none(),
            Field::Drop
            | Field::Host
            | Field::TransferEncoding
            | Field::Connection
            | Field::Te
            | Field::Upgrade => false,
        };
        if passes {
            write_field(out, header.name, header.value);
        }
    }
    if body == Framing::Chunked {
        out.extend_from_slice(b"transfer-encoding: chunked\r\n");
    }
    if modern && summary.trailers {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    if let Some(protocol) = upgrade {
        out.extend_from_slice(b"connection: upgrade\r\n");
        write_field(out, "upgrade", protocol);
    }
    if let Some(hops) = hops {
        write_field(out, "max-forwards", hops.saturating_sub(1).to_string().as_bytes());
    }
    let via: &[u8] = if modern { b"via: 1.1 hornero\r\n" } else { b"via: 1.0 hornero\r\n" };
    out.extend_from_slice(via);
    out.extend_from_slice(forwarding);
    if !host.is_empty() {
        write_field(out, "x-forwarded-host", host);
    }
    out.extend_from_slice(b"\r\n");

    Ok(Some(RequestHead {
        used,
        modern,
        is_head: method == "HEAD",
        idempotent: matches!(method, "GET" | "HEAD" | "OPTIONS" | "TRACE" | "PUT" | "DELETE"),
        keep_alive: !summary.close && (modern || summary.keep_alive),
        body,
        upgrade: upgrade.is_some(),
        last_hop: hops.filter(|hops| *hops == 0).map(|_| last_hop(method)),
        host: place_of(input, name),
        path: place_of(input, path.as_bytes()),
    }))
}

/// How often a request may still be forwarded (RFC 9110, 7.6.2).
pub(crate) fn max_forwards(value: &[u8]) -> Result<u64, ()> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return Err(());
    }
    // More than fits is more than any path is long.
    Ok(parse_length(value).unwrap_or(u64::MAX))
}

/// The answer to a TRACE or OPTIONS that may be forwarded no further. What TRACE would give back may hold secrets.
pub(crate) fn last_hop(method: &str) -> (u16, &'static str) {
    match method {
        "OPTIONS" => (200, "forwarded no further"),
        _ => (405, "requests are not given back"),
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

/// Authority (of the absolute form) and the target in origin form, but for the `/` that a target without a path lacks.
fn split_target<'a>(
    method: &str,
    target: &'a str,
) -> Result<(Option<&'a [u8]>, &'a str), BadRequest> {
    if target.starts_with('/') || (target == "*" && method == "OPTIONS") {
        return if target.contains('#') { Err(BadRequest::Malformed) } else { Ok((None, target)) };
    }
    let scheme = target.find("://").ok_or(BadRequest::Malformed)?;
    if !target[..scheme].eq_ignore_ascii_case("http")
        && !target[..scheme].eq_ignore_ascii_case("https")
    {
        return Err(BadRequest::Malformed);
    }
    let rest = &target[scheme + 3..];
    let end = rest.find(['/', '?']).unwrap_or(rest.len());
    if end == 0 || rest.contains('#') {
        return Err(BadRequest::Malformed);
    }
    let path = match &rest[end..] {
        // RFC 9112, 3.2.4.
        "" if method == "OPTIONS" => "*",
        "" => "/",
        path => path,
    };
    Ok((Some(&rest.as_bytes()[..end]), path))
}

/// The host without port and final dot; none if it has a character that no host has.
pub(crate) fn host_name(host: &[u8]) -> Option<&[u8]> {
    let valid = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(byte, b'.' | b'-' | b'_' | b':' | b'[' | b']' | b'%' | b'~')
    };
    if !host.iter().all(valid) {
        return None;
    }
    let (name, port) = if host.first() == Some(&b'[') {
        let end = memchr::memchr(b']', host)? + 1;
        (&host[..end], &host[end..])
    } else {
        let end = memchr::memchr(b':', host).unwrap_or(host.len());
        (&host[..end], &host[end..])
    };
    let port_valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    port_valid.then(|| name.strip_suffix(b".").unwrap_or(name))
}

/// Digits only: no sign, no list, no blanks inside.
pub(crate) fn parse_length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The elements of a comma-separated list.
pub(crate) fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// Whether `Connection` names this field, so that it ends here.
pub(crate) fn named_by(headers: &[Header<'_>], name: &str) -> bool {
    headers
        .iter()
        .filter(|header| header.name.eq_ignore_ascii_case("connection"))
        .flat_map(|header| tokens(header.value))
        .any(|token| token.eq_ignore_ascii_case(name.as_bytes()))
}

fn mentions_http2(protocol: &[u8]) -> bool {
    tokens(protocol).any(|token| {
        token.get(..2).is_some_and(|start| start.eq_ignore_ascii_case(b"h2"))
            || token.get(..4).is_some_and(|start| start.eq_ignore_ascii_case(b"http"))
    })
}

/// Whether every LF in `head` has its CR: httparse takes either, others do not.
pub(crate) fn lines_end_in_crlf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|place| place > 0 && head[place - 1] == b'\r')
}

pub(crate) fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Where `part` lies in `whole`; empty if it does not, as with a constant.
fn place_of(whole: &[u8], part: &[u8]) -> Range<usize> {
    let start = (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    match start.checked_add(part.len()) {
        Some(end) if end <= whole.len() => start..end,
        _ => 0..0,
    }
}
