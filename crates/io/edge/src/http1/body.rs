//! Message bodies of HTTP/1.1: how long they are, and chunks taken apart and put together again (RFC 9112, 6 and 7).

use std::ops::Range;

use crate::limits::{CHUNK_LINE_BYTES, TRAILER_BYTES};

/// How a body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    Empty,
    /// After so many bytes.
    Length(u64),
    /// With the last chunk.
    Chunked,
    /// With the connection.
    UntilClose,
}

/// A body that breaks its framing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadBody;

/// What comes next in a body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Piece {
    /// More bytes are needed.
    NeedMore,
    /// Data at this place of the input; the input is used up to its end.
    Data(Range<usize>),
    /// The body is over, and the input used up to `used`; `trailers` is the place of the trailer fields, with the
    /// empty line after them, where there are any.
    End {
        /// Bytes of input that belong to the body.
        used: usize,
        /// Where the trailer fields are.
        trailers: Range<usize>,
    },
}

/// Takes one body apart.
#[derive(Debug, Clone)]
pub(crate) struct Decoder {
    framing: Framing,
    /// Bytes left of the body or of the chunk.
    left: u64,
    place: Place,
}

/// Where in a chunked body the next byte is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Size,
    Data,
    DataEnd,
    Trailers,
    Over,
}

impl Decoder {
    pub(crate) fn new(framing: Framing) -> Self {
        let (left, place) = match framing {
            Framing::Empty => (0, Place::Over),
            Framing::Length(0) => (0, Place::Over),
            Framing::Length(length) => (length, Place::Data),
            Framing::Chunked => (0, Place::Size),
            Framing::UntilClose => (u64::MAX, Place::Data),
        };
        Self { framing, left, place }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.place == Place::Over
    }

    /// Whether the end of the stream is the end of the body.
    pub(crate) fn may_end(&self) -> bool {
        self.framing == Framing::UntilClose || self.is_over()
    }

    /// The next piece of `input`, which begins where the last piece ended.
    pub(crate) fn next(&mut self, input: &[u8]) -> Result<Piece, BadBody> {
        let mut at = 0;
        loop {
            let rest = &input[at..];
            match self.place {
                Place::Over => return Ok(Piece::End { used: at, trailers: at..at }),
                Place::Data => return Ok(self.data(at, rest.len())),
                Place::Size => {
                    let Some(line) = line(rest)? else { return Ok(Piece::NeedMore) };
                    self.left = chunk_size(line)?;
                    at += line.len() + 2;
                    self.place = if self.left == 0 { Place::Trailers } else { Place::Data };
                    if at == input.len() && self.place == Place::Data {
                        // An empty piece tells that the line is used.
                        return Ok(Piece::Data(at..at));
                    }
                }
                Place::DataEnd => match rest {
                    [b'\r', b'\n', ..] => {
                        at += 2;
                        self.place = Place::Size;
                        if at == input.len() || line(&input[at..])?.is_none() {
                            return Ok(Piece::Data(at..at));
                        }
                    }
                    [] | [b'\r'] => return Ok(Piece::NeedMore),
                    _ => return Err(BadBody),
                },
                Place::Trailers => return self.trailers(at, rest),
            }
        }
    }

    fn data(&mut self, at: usize, available: usize) -> Piece {
        let take = usize::try_from(self.left).unwrap_or(usize::MAX).min(available);
        if take == 0 {
            return Piece::NeedMore;
        }
        if self.framing != Framing::UntilClose {
            self.left -= take as u64;
        }
        if self.left == 0 {
            self.place =
                if self.framing == Framing::Chunked { Place::DataEnd } else { Place::Over };
        }
        Piece::Data(at..at + take)
    }

    /// Called with the input from the last chunk's size line on only when that line is complete.
    fn trailers(&mut self, at: usize, rest: &[u8]) -> Result<Piece, BadBody> {
        let end = if rest.starts_with(b"\r\n") {
            Some(2)
        } else {
            memchr::memmem::find(rest, b"\r\n\r\n").map(|place| place + 4)
        };
        match end {
            Some(end) if end <= TRAILER_BYTES => {
                self.place = Place::Over;
                let fields = if end == 2 { at..at } else { at..at + end };
                Ok(Piece::End { used: at + end, trailers: fields })
            }
            None if rest.len() < TRAILER_BYTES => {
                if at > 0 {
                    return Ok(Piece::Data(at..at));
                }
                Ok(Piece::NeedMore)
            }
            Some(_) | None => Err(BadBody),
        }
    }
}

/// The line at the beginning of `input` without its end; none while it is incomplete.
fn line(input: &[u8]) -> Result<Option<&[u8]>, BadBody> {
    let window = &input[..input.len().min(CHUNK_LINE_BYTES)];
    match memchr::memchr(b'\n', window) {
        Some(end) if end > 0 && window[end - 1] == b'\r' => Ok(Some(&window[..end - 1])),
        Some(_) => Err(BadBody),
        None if input.len() >= CHUNK_LINE_BYTES => Err(BadBody),
        None => Ok(None),
    }
}

/// Hex digits, of which 15 may follow the leading zeros, then nothing or an extension, which is dropped.
fn chunk_size(line: &[u8]) -> Result<u64, BadBody> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let zeros = line[..digits].iter().take_while(|byte| **byte == b'0').count();
    if digits == 0 || digits - zeros > 15 {
        return Err(BadBody);
    }
    let extension = &line[digits..];
    let blank = extension.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    let valid = match &extension[blank..] {
        [] => blank == 0,
        [b';', rest @ ..] => {
            rest.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f))
        }
        _ => false,
    };
    if !valid {
        return Err(BadBody);
    }
    let text = std::str::from_utf8(&line[zeros.min(digits - 1)..digits]).map_err(|_| BadBody)?;
    u64::from_str_radix(text, 16).map_err(|_| BadBody)
}

/// Writes `data` as one chunk; nothing for no data, as that would end the body.
pub(crate) fn write_chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut size = [0_u8; 16];
    let mut at = size.len();
    let mut left = data.len();
    while left > 0 {
        at -= 1;
        size[at] = DIGITS[left & 15];
        left >>= 4;
    }
    out.extend_from_slice(&size[at..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Writes the end of a chunked body with the trailer fields of `block` that may be passed on.
///
/// Fields that frame, route or authorise a message are dropped (RFC 9110, 6.5.1).
pub(crate) fn write_last_chunk(out: &mut Vec<u8>, block: &[u8]) -> Result<(), BadBody> {
    out.extend_from_slice(b"0\r\n");
    for (name, value) in trailer_fields(block)? {
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b": ");
        out.extend_from_slice(value);
        out.extend_from_slice(b"\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Ok(())
}

/// The trailer fields of `block` that may be passed on.
pub(crate) fn trailer_fields(block: &[u8]) -> Result<Vec<(&str, &[u8])>, BadBody> {
    if block.is_empty() {
        return Ok(Vec::new());
    }
    if !super::field::lines_end_in_crlf(block) {
        return Err(BadBody);
    }
    let mut fields = [httparse::EMPTY_HEADER; 32];
    let Ok(httparse::Status::Complete((_, fields))) = httparse::parse_headers(block, &mut fields)
    else {
        return Err(BadBody);
    };
    Ok(fields
        .iter()
        .filter(|field| may_trail(field.name))
        .map(|field| (field.name, field.value))
        .collect())
}

pub(crate) fn may_trail(name: &str) -> bool {
    const REFUSED: [&str; 18] = [
        "transfer-encoding",
        "content-length",
        "host",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "upgrade",
        "authorization",
        "cookie",
        "set-cookie",
        "content-encoding",
        "content-type",
        "content-range",
        "expect",
        "cache-control",
        "location",
    ];
    let forwarded = name.get(..11).is_some_and(|start| start.eq_ignore_ascii_case("x-forwarded"));
    !forwarded
        && !name.eq_ignore_ascii_case("forwarded")
        && !REFUSED.iter().any(|refused| refused.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    /// Decodes `bytes` that come in parts of the given sizes, as a connection does; what is left over follows.
    fn decode(bytes: &[u8], sizes: &[usize]) -> Result<(Vec<u8>, Vec<u8>, usize), BadBody> {
        let mut decoder = Decoder::new(Framing::Chunked);
        let (mut there, mut at, mut data) = (0, 0, Vec::new());
        let mut sizes = sizes.iter().cycle();
        loop {
            match decoder.next(&bytes[at..there])? {
                Piece::NeedMore if there == bytes.len() => return Err(BadBody),
                Piece::NeedMore => there = bytes.len().min(there + sizes.next().unwrap_or(&1)),
                Piece::Data(range) => {
                    data.extend_from_slice(&bytes[at + range.start..at + range.end]);
                    at += range.end;
                }
                Piece::End { used, trailers } => {
                    let block = bytes[at + trailers.start..at + trailers.end].to_vec();
                    return Ok((data, block, at + used));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn chunks_survive_any_division(
            parts in vec(vec(any::<u8>(), 1..300), 0..8),
            trailer in any::<bool>(),
            sizes in vec(1_usize..200, 1..20),
            rest in vec(any::<u8>(), 0..20),
        ) {
            let mut bytes = Vec::new();
            for part in &parts {
                write_chunk(&mut bytes, part);
            }
            let block: &[u8] = if trailer { b"x-sum: 1\r\n\r\n" } else { b"" };
            write_last_chunk(&mut bytes, block).unwrap();
            let length = bytes.len();
            bytes.extend_from_slice(&rest);
            prop_assert_eq!(decode(&bytes, &sizes), Ok((parts.concat(), block.to_vec(), length)));
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..600), sizes in vec(1_usize..50, 1..20)) {
            let _ = decode(&bytes, &sizes);
        }
    }
}
