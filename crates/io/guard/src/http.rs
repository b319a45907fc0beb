//! HTTP: one GET, by HTTP/1.0 so that the answer ends where the connection does.

use std::{
    io::{Read, Write},
    net::SocketAddr,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use hornero_model::{GuardVerdict, HttpProbe};

use crate::{
    Login, ProbeError,
    wire::{ANSWER_BYTES_MAX, to_end, told},
};

/// Fields of an answer's head.
const HEADERS_MAX: usize = 100;

/// Asks it.
pub(crate) fn ask(
    stream: &mut (impl Read + Write),
    (address, login): (SocketAddr, Option<Login<'_>>),
    probe: &HttpProbe,
) -> Result<(GuardVerdict, String), ProbeError> {
    let (status, body) = get(stream, (address, login), &probe.path)?;
    if !(200..300).contains(&status) {
        return match status {
            401 | 403 => Err(ProbeError::Refused(format!("GET {} answered {status}", probe.path))),
            _ => Ok((GuardVerdict::Refuses, format!("GET {} answered {status}", probe.path))),
        };
    }
    let Some(condition) = &probe.json else {
        return Ok((GuardVerdict::Passes, format!("GET {} answered {status}", probe.path)));
    };
    let (holds, seen) = condition.look(&json(&body)?).ok_or_else(|| {
        ProbeError::foreign(format!("it has nothing to compare at `{}`", condition.field))
    })?;
    let verdict = if holds { GuardVerdict::Passes } else { GuardVerdict::Refuses };
    let seen = told(seen.as_bytes());
    Ok((verdict, format!("`{}` is {seen} (wanted {})", condition.field, condition.is)))
}

/// What a body says.
pub(crate) fn json(body: &[u8]) -> Result<serde_json::Value, ProbeError> {
    serde_json::from_slice(body).map_err(|error| ProbeError::foreign(format!("no JSON: {error}")))
}

/// The status and body of the answer to a GET.
pub(crate) fn get(
    stream: &mut (impl Read + Write),
    (address, login): (SocketAddr, Option<Login<'_>>),
    path: &str,
) -> Result<(u16, Vec<u8>), ProbeError> {
    let authorization = login.map(|login| {
        let password = login.password.unwrap_or_default();
        let both = [login.user.as_bytes(), b":", password].concat();
        format!("authorization: Basic {}\r\n", STANDARD.encode(both))
    });
    let request = format!(
        "GET {path} HTTP/1.0\r\nhost: {address}\r\nuser-agent: hornero-guard\r\naccept: application/json\r\n{}\r\n",
        authorization.unwrap_or_default()
    );
    stream.write_all(request.as_bytes())?;
    let answer = to_end(stream, ANSWER_BYTES_MAX)?;
    let mut fields = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Response::new(&mut fields);
    let foreign = || ProbeError::foreign("it is no HTTP");
    let length = match head.parse(&answer) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) | Err(_) => return Err(foreign()),
    };
    let status = head.code.ok_or_else(foreign)?;
    let field = |name: &str| {
        head.headers.iter().find(|field| field.name.eq_ignore_ascii_case(name)).map(|of| of.value)
    };
    if field("transfer-encoding").is_some() {
        return Err(ProbeError::foreign("its body is in chunks, which HTTP/1.0 has not"));
    }
    let body = &answer[length..];
    let announced = field("content-length").and_then(|value| std::str::from_utf8(value).ok());
    match announced.and_then(|value| value.trim().parse::<usize>().ok()) {
        Some(announced) if body.len() < announced => {
            Err(std::io::Error::from(std::io::ErrorKind::UnexpectedEof).into())
        }
        Some(announced) => Ok((status, body[..announced].to_vec())),
        None => Ok((status, body.to_vec())),
    }
}
