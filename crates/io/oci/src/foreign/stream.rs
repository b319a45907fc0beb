//! Unpacking whatever a stream is compressed with, told by its first bytes, with a bound on how much comes out.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use super::reading::unreadable;
use crate::{OciError, Result};

/// Programs and documents shrink to a third or a tenth, logs to a thirtieth: whatever unpacks to more is made of repeated
/// bytes, as disk images are, and bombs. Gzip alone reaches 1,032.
const RATIO_MAX: u64 = 200;
/// Such bytes may be a part of a small archive.
const FREE_BYTES: u64 = 256 << 20;
/// xz's largest preset needs 65 MiB to unpack.
const XZ_MEMORY_BYTES_MAX: u64 = 512 << 20;

/// Reads the uncompressed bytes of `packed`; `what` names it in errors. With `any_ratio` they may be as many as they are.
pub(crate) fn decompress<'a>(
    what: &str,
    packed: impl Read + 'a,
    any_ratio: bool,
) -> Result<Box<dyn Read + 'a>> {
    let consumed = Rc::new(Cell::new(0));
    let counted = Counted { inner: packed, consumed: consumed.clone() };
    let mut buffered = BufReader::with_capacity(256 << 10, counted);
    let head = head(&mut buffered).map_err(|error| unreadable(what, error))?;
    let plain: Box<dyn Read + 'a> = match head {
        [0x1f, 0x8b, ..] => Box::new(flate2::bufread::MultiGzDecoder::new(buffered)),
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            let made = zstd::Decoder::with_buffer(buffered);
            Box::new(made.map_err(|error| OciError::refused(what, error))?)
        }
        [0xfd, b'7', b'z', b'X', b'Z', 0] => {
            let made = liblzma::stream::Stream::new_auto_decoder(
                XZ_MEMORY_BYTES_MAX,
                liblzma::stream::CONCATENATED,
            );
            let stream = made.map_err(|error| OciError::refused(what, error))?;
            Box::new(liblzma::bufread::XzDecoder::new_stream(buffered, stream))
        }
        [b'B', b'Z', b'h', ..] => {
            let reason = "it is compressed with bzip2; unpack it first";
            return Err(OciError::refused(what, reason));
        }
        _ => Box::new(buffered),
    };
    match any_ratio {
        true => Ok(plain),
        false => Ok(Box::new(Bounded { inner: plain, consumed, given: 0, what: what.to_owned() })),
    }
}

/// Up to six bytes, padded with zeros, without taking them.
fn head(reader: &mut impl BufRead) -> io::Result<[u8; 6]> {
    let mut head = [0; 6];
    let there = reader.fill_buf()?;
    let length = there.len().min(6);
    head[..length].copy_from_slice(&there[..length]);
    Ok(head)
}

/// Counts what is taken from the compressed stream.
struct Counted<R> {
    inner: R,
    consumed: Rc<Cell<u64>>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.consumed.set(self.consumed.get() + count as u64);
        Ok(count)
    }
}

/// Ends in an error when far more comes out than went in.
struct Bounded<R> {
    inner: R,
    consumed: Rc<Cell<u64>>,
    given: u64,
    what: String,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.given += count as u64;
        if self.given > FREE_BYTES + RATIO_MAX.saturating_mul(self.consumed.get()) {
            let what = self.what.clone();
            return Err(io::Error::other(OciError::Bomb { what, ratio: RATIO_MAX }));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(plain: &[u8]) -> Vec<Vec<u8>> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        gzip.write_all(plain).unwrap();
        let mut xz = liblzma::write::XzEncoder::new(Vec::new(), 1);
        xz.write_all(plain).unwrap();
        let zstd = zstd::bulk::compress(plain, 3).unwrap();
        vec![plain.to_vec(), gzip.finish().unwrap(), xz.finish().unwrap(), zstd]
    }

    #[test]
    fn every_compression_is_told_by_its_first_bytes() {
        let plain: Vec<u8> = (0..50_000_u32).flat_map(u32::to_le_bytes).collect();
        for bytes in packed(&plain) {
            let mut out = Vec::new();
            decompress("x", bytes.as_slice(), false).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, plain);
        }
        assert!(decompress("x", b"BZh91AY".as_slice(), false).is_err());
        let mut out = Vec::new();
        decompress("x", b"".as_slice(), false).unwrap().read_to_end(&mut out).unwrap();
        assert_eq!(out, b"");
    }

    #[test]
    fn a_bomb_ends_in_an_error_in_every_format() {
        // As much as fits: gzip's own maximum is 1,032 times.
        let zeros = vec![0; 400 << 20];
        for bomb in packed(&zeros).into_iter().skip(1) {
            let unpacked = |any_ratio| {
                let mut plain = decompress("x", bomb.as_slice(), any_ratio).unwrap();
                io::copy(&mut plain, &mut io::sink())
            };
            assert!(unpacked(false).unwrap_err().to_string().contains("times its size"));
            assert_eq!(unpacked(true).unwrap(), 400 << 20);
        }
    }
}
