//! As much of WebSocket (RFC 6455) as an echo needs: the handshake and short, unfragmented frames.

use std::{io, time::Duration};

use ring::digest;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use crate::LoadPlan;

/// RFC 6455 section 1.3.
const ACCEPT_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// Any 16 bytes in base64 do: the key is no secret and the answer to it is checked.
const KEY: &str = "aG9ybmVybyBsb2FkIGtleQ==";
/// The lengths that fit the first length byte; an echo needs no more.
const MAX_PAYLOAD: usize = 125;
/// A handshake answer longer than this is not one.
const MAX_HEAD_BYTES: usize = 8 << 10;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Opcode {
    Text,
    Close,
    Ping,
    Pong,
}

impl Opcode {
    fn code(self) -> u8 {
        match self {
            Self::Text => 1,
            Self::Close => 8,
            Self::Ping => 9,
            Self::Pong => 10,
        }
    }
}

/// The `Sec-WebSocket-Accept` that answers `key`.
pub(crate) fn accept_for(key: &str) -> String {
    let text = format!("{key}{ACCEPT_GUID}");
    let sha1 = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    base64(sha1.as_ref())
}

/// Opens a WebSocket.
pub(crate) async fn open(plan: &LoadPlan, path: &str) -> Result<TcpStream, String> {
    let work = async {
        let mut stream = TcpStream::connect(plan.address).await?;
        stream.set_nodelay(true)?;
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n",
            plan.host
        );
        stream.write_all(head.as_bytes()).await?;
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            if answer.len() >= MAX_HEAD_BYTES {
                return Err(invalid("the answer to the handshake has no end"));
            }
            answer.push(stream.read_u8().await?);
        }
        check_answer(&String::from_utf8_lossy(&answer))?;
        Ok(stream)
    };
    match timeout(plan.timeout, work).await {
        Ok(result) => result.map_err(|error| format!("WebSocket handshake: {error}")),
        Err(_) => Err("WebSocket handshake: no answer in time".to_owned()),
    }
}

fn check_answer(answer: &str) -> io::Result<()> {
    let mut lines = answer.lines();
    let status = lines.next().unwrap_or_default();
    if !status.starts_with("HTTP/1.1 101 ") {
        return Err(invalid(&format!("answered `{status}`")));
    }
    let accepted = lines.filter_map(|line| line.split_once(':')).any(|(name, value)| {
        name.eq_ignore_ascii_case("sec-websocket-accept") && value.trim() == accept_for(KEY)
    });
    if accepted { Ok(()) } else { Err(invalid("the key was not accepted")) }
}

/// Sends `text` and waits until it comes back. A closed WebSocket is an error: the message was not echoed.
pub(crate) async fn echo<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    text: &str,
    limit: Duration,
) -> Result<(), String> {
    let work = async {
        write_frame(stream, Opcode::Text, text.as_bytes(), Some([7, 21, 99, 250])).await?;
        loop {
            match read_frame(stream).await? {
                (Opcode::Text, payload) if payload == text.as_bytes() => return Ok(()),
                (Opcode::Text, _) => return Err(invalid("another text came back")),
                (Opcode::Close, _) => return Err(invalid("the server closed it")),
                (Opcode::Ping | Opcode::Pong, _) => {}
            }
        }
    };
    match timeout(limit, work).await {
        Ok(result) => result.map_err(|error: io::Error| format!("WebSocket message: {error}")),
        Err(_) => Err("WebSocket message: no echo in time".to_owned()),
    }
}

/// Says goodbye; the server may close at its leisure.
pub(crate) async fn close<S: AsyncWrite + Unpin>(stream: &mut S) -> Result<(), String> {
    let written = write_frame(stream, Opcode::Close, &[], Some([7, 21, 99, 250])).await;
    written.map_err(|error| format!("WebSocket close: {error}"))
}

/// Writes one whole frame; clients must mask.
pub(crate) async fn write_frame<S: AsyncWrite + Unpin>(
    stream: &mut S,
    opcode: Opcode,
    payload: &[u8],
    mask: Option<[u8; 4]>,
) -> io::Result<()> {
    if payload.len() > MAX_PAYLOAD {
        return Err(invalid("a frame is longer than an echo needs"));
    }
    let masked = if mask.is_some() { 0x80 } else { 0 };
    let mut frame = vec![0x80 | opcode.code(), masked | payload.len() as u8];
    frame.extend(mask.into_iter().flatten());
    let mask = mask.unwrap_or_default();
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    stream.write_all(&frame).await
}

/// Reads one whole frame, unmasked.
pub(crate) async fn read_frame<S: AsyncRead + Unpin>(
    stream: &mut S,
) -> io::Result<(Opcode, Vec<u8>)> {
    let mut head = [0; 2];
    stream.read_exact(&mut head).await?;
    let opcode = match head[0] {
        0x81 => Opcode::Text,
        0x88 => Opcode::Close,
        0x89 => Opcode::Ping,
        0x8a => Opcode::Pong,
        _ => return Err(invalid("a frame of a kind that an echo does not need")),
    };
    let length = usize::from(head[1] & 0x7f);
    if length > MAX_PAYLOAD {
        return Err(invalid("a frame is longer than an echo needs"));
    }
    let mut mask = [0; 4];
    if head[1] & 0x80 != 0 {
        stream.read_exact(&mut mask).await?;
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    for (byte, mask) in payload.iter_mut().zip(mask.iter().cycle()) {
        *byte ^= mask;
    }
    Ok((opcode, payload))
}

fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let mut group = [0; 3];
        group[..chunk.len()].copy_from_slice(chunk);
        let value = u32::from_be_bytes([0, group[0], group[1], group[2]]);
        for digit in 0..4 {
            if digit <= chunk.len() {
                text.push(DIGITS[(value >> (18 - 6 * digit) & 63) as usize] as char);
            } else {
                text.push('=');
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_as_the_rfc_says() {
        // RFC 6455 section 1.3 gives this pair.
        assert_eq!(accept_for("dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn base64_pads() {
        for (plain, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v")] {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
