//! The head of an HTTP/2 request: whether it can be passed on, and how HTTP/1.1 writes it.

use http::{HeaderMap, header};

use crate::{
    forwarding::Forwarding,
    http1::{
        body::Framing,
        field::{Field, classify, write_field},
    },
    limits::HEADER_COUNT,
};

/// Refuses what HTTP/1 would: a field that a server behind could read differently (RFC 9113, 8.2.1), or too many.
pub(super) fn check_fields(fields: &HeaderMap) -> Result<(), (u16, &'static str)> {
    if fields.len() > HEADER_COUNT {
        return Err((431, "request head is too large"));
    }
    let blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    let padded = |value: &[u8]| blank(value.first()) || blank(value.last());
    if fields.values().any(|value| padded(value.as_bytes())) {
        return Err((400, "a field begins or ends with a blank"));
    }
    match fields.get(header::EXPECT) {
        Some(value) if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") => {
            Err((417, "only `100-continue` can be expected"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The host that a request names: by `:authority`, by `host`, or by both if they agree (RFC 9113, 8.3.1).
pub(super) fn host(parts: &http::request::Parts) -> Option<Vec<u8>> {
    let authority = parts.uri.authority().map(|authority| authority.as_str().as_bytes());
    let mut fields = parts.headers.get_all(header::HOST).iter();
    let (field, more) = (fields.next().map(|host| host.as_bytes()), fields.next());
    match (authority, field, more) {
        (_, _, Some(_)) | (None, None, _) => None,
        (Some(authority), Some(host), None) if !authority.eq_ignore_ascii_case(host) => None,
        (Some(host), _, None) | (None, Some(host), None) => Some(host.to_vec()),
    }
}

/// Writes a request as HTTP/1.1.
pub(super) fn write_head(
    parts: &http::request::Parts,
    path: &str,
    host: &[u8],
    framing: Framing,
    hops: Option<u64>,
    forwarding: &Forwarding,
) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(path.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    write_field(&mut out, "host", host);
    for (name, value) in &parts.headers {
        let passes = match classify(name.as_str()) {
            Field::Pass => name != header::COOKIE,
            Field::MaxForwards => hops.is_none(),
            Field::Expect => framing != Framing::Empty,
            Field::Drop
            | Field::Host
            | Field::ContentLength
            | Field::TransferEncoding
            | Field::Connection
            | Field::Upgrade
            | Field::Te => false,
        };
        if passes {
            write_field(&mut out, name.as_str(), value.as_bytes());
        }
    }
    write_cookies(&mut out, &parts.headers);
    match framing {
        Framing::Length(length) => {
            write_field(&mut out, "content-length", length.to_string().as_bytes());
        }
        Framing::Chunked => write_field(&mut out, "transfer-encoding", b"chunked"),
        Framing::Empty | Framing::UntilClose => {}
    }
    if parts.headers.get(header::TE).is_some_and(|value| value == "trailers") {
        out.extend_from_slice(b"te: trailers\r\nconnection: te\r\n");
    }
    if let Some(hops) = hops {
        write_field(&mut out, "max-forwards", (hops - 1).to_string().as_bytes());
    }
    out.extend_from_slice(b"via: 2 hornero\r\n");
    let fields = || parts.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    forwarding.write(&mut out, host, fields);
    out.extend_from_slice(b"\r\n");
    out
}

/// HTTP/2 splits cookies into fields of their own; HTTP/1.1 has one (RFC 9113, 8.2.3).
fn write_cookies(out: &mut Vec<u8>, headers: &HeaderMap) {
    let cookies: Vec<&[u8]> =
        headers.get_all(header::COOKIE).iter().map(|value| value.as_bytes()).collect();
    if !cookies.is_empty() {
        write_field(out, "cookie", &cookies.join(&b"; "[..]));
    }
}
