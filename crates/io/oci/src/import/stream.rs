//! Unpacking whatever a stream is compressed with, told by its first bytes, with a bound on how much comes out.

use std::{
    cell::Cell,
    io::{self, BufRead, BufReader, Read},
    rc::Rc,
};

use crate::{OciError, Result};

/// Gzip reaches 1,032; whatever unpacks to more has no purpose but that.
const RATIO_MAX: u64 = 1100;
/// A short stream may hold a few MiB of zeros in any format.
const FREE_BYTES: u64 = 64 << 20;
/// xz's largest preset needs 65 MiB to unpack.
const XZ_MEMORY_BYTES_MAX: u64 = 512 << 20;

/// Reads the uncompressed bytes of `packed`; `what` names it in errors.
pub(super) fn decompress<'a>(what: &str, packed: impl Read + 'a) -> Result<Box<dyn Read + 'a>> {
    let consumed = Rc::new(Cell::new(0));
    let counted = Counted { inner: packed, consumed: consumed.clone() };
    let mut buffered = BufReader::with_capacity(256 << 10, counted);
    let head = head(&mut buffered).map_err(|error| super::unreadable(what, error))?;
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
    Ok(Box::new(Bounded { inner: plain, consumed, given: 0 }))
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
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.given += count as u64;
        if self.given > FREE_BYTES + RATIO_MAX.saturating_mul(self.consumed.get()) {
            let reason = format!("it unpacks to more than {RATIO_MAX} times its size");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn packed(plain: &[u8]) -> Vec<Vec<u8>> {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
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
            decompress("x", bytes.as_slice()).unwrap().read_to_end(&mut out).unwrap();
            assert_eq!(out, plain);
        }
        assert!(decompress("x", b"BZh91AY".as_slice()).is_err());
        let mut out = Vec::new();
        decompress("x", b"".as_slice()).unwrap().read_to_end(&mut out).unwrap();
        assert_eq!(out, b"");
    }

    #[test]
    fn a_bomb_ends_in_an_error() {
        let bomb = zstd::bulk::compress(&vec![0; 200 << 20], 19).unwrap();
        let read = io::copy(&mut decompress("x", bomb.as_slice()).unwrap(), &mut io::sink());
        assert!(read.unwrap_err().to_string().contains("times its size"));
    }
}
