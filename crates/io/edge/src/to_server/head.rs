//! Heads between the HTTP/1.1 that the edge has written and the HTTP/2 of a server.

use std::{io, mem::MaybeUninit};

use h2::ext::Protocol;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use httparse::Header;

use crate::{
    http1::{
        body::{Framing, trailer_fields},
        field::{Field, classify, write_field},
    },
    limits::HEADER_COUNT,
};

/// Fields of a head that the edge has written: those that clients may send, and its own.
const FIELDS: usize = HEADER_COUNT + 16;

pub(super) fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "the request can't be written as HTTP/2")
}

/// Reads a head that the edge has written, and how its body is framed; none while it is incomplete.
pub(super) fn read_request(input: &[u8]) -> io::Result<Option<(Request<()>, Framing, usize)>> {
    let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS];
    let mut head = httparse::Request::new(&mut []);
    let used = match head.parse_with_uninit_headers(input, &mut storage) {
        Ok(httparse::Status::Complete(used)) => used,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(malformed()),
    };
    let (Some(method), Some(target)) = (head.method, head.path) else { return Err(malformed()) };
    let mut request = Request::new(());
    *request.method_mut() = Method::from_bytes(method.as_bytes()).map_err(|_| malformed())?;
    let (mut host, mut framing) = (None, Framing::Empty);
    let fields = request.headers_mut();
    for field in &*head.headers {
        let value = || HeaderValue::from_bytes(field.value).map_err(|_| malformed());
        match classify(field.name) {
            Field::Host => host = Some(field.value),
            Field::TransferEncoding => framing = Framing::Chunked,
            Field::Te => drop(fields.insert(header::TE, HeaderValue::from_static("trailers"))),
            Field::Connection | Field::Upgrade => {}
            // The edge has written all others itself, or passes them on.
            Field::ContentLength => {
                let length = value()?;
                let parsed = length.to_str().ok().and_then(|length| length.parse().ok());
                framing = parsed.filter(|length| *length > 0).map_or(framing, Framing::Length);
                fields.insert(header::CONTENT_LENGTH, length);
            }
            Field::Pass | Field::Drop | Field::Expect | Field::MaxForwards => {
                let name = HeaderName::from_bytes(field.name.as_bytes());
                fields.append(name.map_err(|_| malformed())?, value()?);
            }
        }
    }
    let host = host.filter(|host| !host.is_empty()).unwrap_or(b"localhost");
    *request.uri_mut() = Uri::builder()
        .scheme("http")
        .authority(host)
        .path_and_query(target)
        .build()
        .map_err(|_| malformed())?;
    *request.version_mut() = http::Version::HTTP_2;
    Ok(Some((request, framing, used)))
}

/// The key of a head that asks for a WebSocket (RFC 6455, 4.1).
pub(super) fn websocket_key(head: &[u8]) -> Option<&[u8]> {
    let mut storage = [const { MaybeUninit::<Header<'_>>::uninit() }; FIELDS];
    let mut request = httparse::Request::new(&mut []);
    request.parse_with_uninit_headers(head, &mut storage).ok()?;
    let field = |name: &str| {
        let found = request.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name));
        found.map(|field| field.value)
    };
    let upgrades = field("upgrade").is_some_and(|value| value.eq_ignore_ascii_case(b"websocket"));
    field("sec-websocket-key").filter(|_| upgrades && request.method == Some("GET"))
}

/// What asks for a WebSocket by HTTP/2 (RFC 8441, 5).
pub(super) fn as_extended_connect(request: &mut Request<()>) {
    *request.method_mut() = Method::CONNECT;
    request.headers_mut().remove("sec-websocket-key");
    request.extensions_mut().insert(Protocol::from_static("websocket"));
}

pub(super) fn trailer_map(block: &[u8]) -> io::Result<Option<HeaderMap>> {
    let mut map = HeaderMap::new();
    for (name, value) in trailer_fields(block).map_err(|_| malformed())? {
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| malformed())?;
        map.append(name, HeaderValue::from_bytes(value).map_err(|_| malformed())?);
    }
    Ok((!map.is_empty()).then_some(map))
}

/// Writes the head of an answer but for what frames its body and the empty line behind it.
pub(super) fn write_head(out: &mut Vec<u8>, answer: &Response<()>) {
    let status = answer.status();
    let reason = status.canonical_reason().unwrap_or_default();
    out.extend_from_slice(format!("HTTP/1.1 {} {reason}\r\n", status.as_str()).as_bytes());
    write_fields(out, answer);
}

pub(super) fn write_fields(out: &mut Vec<u8>, answer: &Response<()>) {
    for (name, value) in answer.headers() {
        if *name != header::CONTENT_LENGTH && classify(name.as_str()) != Field::Connection {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
}
