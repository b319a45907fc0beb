//! Bodies as they were received, written as the other side is to get them.

use std::ops::Range;

use super::body::{BadBody, Decoder, Framing, Piece, write_chunk, write_last_chunk};

/// Bodies up to this size are copied behind the head, which is cheaper than a second slice for the kernel.
const COPY_BYTES: usize = 4 << 10;

/// What has been taken of some input.
pub(super) struct Taken {
    /// Bytes of it that are used up.
    pub(super) used: usize,
    /// Those of them that go on as they are, behind what was written.
    pub(super) direct: Range<usize>,
}

/// Takes what is there of a request's body: chunks are written anew into `out`, a sized body goes on as it is.
pub(super) fn take_request_body(
    decoder: &mut Decoder,
    framing: Framing,
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<Taken, BadBody> {
    let mut taken = Taken { used: 0, direct: 0..0 };
    loop {
        let used = taken.used;
        match decoder.next(&input[used..])? {
            Piece::NeedMore => return Ok(taken),
            Piece::Data(range) => {
                let place = used + range.start..used + range.end;
                taken.used += range.end;
                if framing == Framing::Chunked {
                    write_chunk(out, &input[place]);
                } else {
                    taken.direct = place;
                }
            }
            Piece::End { used: last, trailers } => {
                if framing == Framing::Chunked {
                    write_last_chunk(out, &input[used + trailers.start..used + trailers.end])?;
                }
                taken.used += last;
                return Ok(taken);
            }
        }
    }
}

/// Takes what is there of an answer's body, framed `from` the server and `to` the client in these ways: chunks and small
/// pieces are written into `out`, others go on as they are.
pub(super) fn take_answer_body(
    decoder: &mut Decoder,
    (from, to): (Framing, Framing),
    input: &[u8],
    out: &mut Vec<u8>,
) -> Result<Taken, BadBody> {
    let mut taken = Taken { used: 0, direct: 0..0 };
    while !decoder.is_over() {
        let used = taken.used;
        match decoder.next(&input[used..])? {
            Piece::NeedMore => break,
            Piece::Data(range) => {
                let place = used + range.start..used + range.end;
                taken.used += range.end;
                if to == Framing::Chunked {
                    write_chunk(out, &input[place]);
                } else if from == Framing::Chunked || place.len() <= COPY_BYTES {
                    out.extend_from_slice(&input[place]);
                } else {
                    taken.direct = place;
                }
            }
            Piece::End { used: last, trailers } => {
                if to == Framing::Chunked {
                    write_last_chunk(out, &input[used + trailers.start..used + trailers.end])?;
                }
                taken.used += last;
            }
        }
    }
    Ok(taken)
}
