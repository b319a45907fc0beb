//! zstd frames with bytes behind them, and the numbers and byte strings in them.

/// The smallest; it is made once and read at many pulls.
const LEVEL: i32 = 19;
/// Beyond this size that would take seconds.
const LARGE_BYTES: usize = 1 << 20;
const LARGE_LEVEL: i32 = 12;

/// What a frame holds, and what follows it.
pub(super) type Unpacked<'p> = (Vec<u8>, &'p [u8]);

/// One zstd frame that refers to `words`.
pub(super) fn compress(bytes: &[u8], words: &[u8]) -> Vec<u8> {
    let level = if bytes.len() > LARGE_BYTES { LARGE_LEVEL } else { LEVEL };
    zstd::bulk::Compressor::with_dictionary(level, words)
        .and_then(|mut compressor| compressor.compress(bytes))
        .expect("writing to memory does not fail")
}

/// What the zstd frame at the beginning of `packed` holds, and what follows it; none when it has more than `max`
/// bytes. A frame that was made without words is read with any.
pub(super) fn unpack<'p>(
    packed: &'p [u8],
    words: &[u8],
    max: u64,
) -> Result<Option<Unpacked<'p>>, String> {
    use std::io::Read;
    let failed = |error: std::io::Error| error.to_string();
    let decoder = zstd::Decoder::with_dictionary(packed, words).map_err(failed)?;
    let mut decoder = decoder.single_frame();
    let mut out = Vec::new();
    let limit = max.saturating_add(1);
    decoder.by_ref().take(limit).read_to_end(&mut out).map_err(failed)?;
    Ok((out.len() as u64 <= max).then(|| (out, decoder.finish())))
}

/// Reads numbers and byte strings.
pub(super) struct Reader<'a> {
    pub(super) bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(super) fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let length = usize::try_from(length).map_err(|_| "a length is out of range")?;
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or("it ends early")?;
        self.bytes = rest;
        Ok(taken)
    }

    pub(super) fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.number()?;
        self.take(length)
    }

    pub(super) fn number(&mut self) -> Result<u64, String> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            if shift == 63 && byte > 1 {
                break;
            }
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err("a number is out of range".into())
    }
}

pub(super) fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

pub(super) fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}
