//! Compression in members that can be read alone, and bytes that readers of the whole stream never see.
//!
//! A gzip file may be several members one after the other (RFC 1952 section 2.2), a zstd file several frames
//! (RFC 8878 section 3.1): readers join them. What is hidden lies in the extra field of empty gzip members
//! (RFC 1952 section 2.3.1.1), in skippable zstd frames (RFC 8878 section 3.1.2), or, uncompressed, after the
//! end of the archive.

use std::{cell::RefCell, io::Read};

use flate2::{Compress, Compression as Level, Crc, FlushCompress, Status};
use serde::{Deserialize, Serialize};

/// How layers are compressed on their way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all: the fastest to write, for layouts that stay on this machine.
    None,
    /// What every registry and runtime reads.
    #[default]
    Gzip,
    /// Smaller and faster; Docker reads it from version 23 on, Podman from 2.
    Zstd,
}

/// Level 6 makes packages 1% smaller in half as much time again.
const GZIP_LEVEL: u32 = 4;
/// As small as gzip's level 4 in members of some KiB, in a third of the time.
const ZSTD_LEVEL: i32 = 3;
/// A gzip member's extra field has a length of 16 bits, of which a subfield's header takes four.
const EXTRA_LEN_MAX: usize = 65_535 - 4;
/// Our subfield: no list of subfields knows it.
const SUBFIELD: [u8; 2] = *b"HO";
/// Magic number of skippable frames, of which there are sixteen.
const SKIPPABLE: [u8; 4] = [0x5e, 0x2a, 0x4d, 0x18];

thread_local! {
    // Members are small: making a compressor for each would cost as much as what it does.
    static DEFLATE: RefCell<Compress> = RefCell::new(Compress::new(Level::new(GZIP_LEVEL), false));
    static ZSTD: RefCell<zstd::bulk::Compressor<'static>> = RefCell::new(
        zstd::bulk::Compressor::new(ZSTD_LEVEL).expect("the level is one of zstd's"),
    );
}

/// A gzip member without a time, made by an unknown system.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(bytes.len() + bytes.len() / 1000 + 64);
    out.extend_from_slice(&[0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255]);
    DEFLATE.with_borrow_mut(|deflate| {
        deflate.reset();
        while !matches!(
            deflate.compress_vec(
                &bytes[deflate.total_in() as usize..],
                &mut out,
                FlushCompress::Finish
            ),
            Ok(Status::StreamEnd)
        ) {
            out.reserve(64 << 10);
        }
    });
    let mut sum = Crc::new();
    sum.update(bytes);
    out.extend_from_slice(&sum.sum().to_le_bytes());
    // The length modulo 2^32, as the format has it.
    out.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    out
}

impl Compression {
    /// What follows a layer's media type.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Gzip => "+gzip",
            Self::Zstd => "+zstd",
        }
    }

    /// By a layer's media type, OCI's or Docker's.
    pub(crate) fn of_media_type(media_type: &str) -> Option<Self> {
        if media_type.ends_with("+gzip") || media_type.ends_with(".tar.gzip") {
            Some(Self::Gzip)
        } else if media_type.ends_with("+zstd") || media_type.ends_with(".tar.zstd") {
            Some(Self::Zstd)
        } else if media_type.ends_with(".tar") {
            Some(Self::None)
        } else {
            None
        }
    }

    /// One member; equal for equal bytes and program.
    pub(crate) fn member(self, bytes: &[u8]) -> Vec<u8> {
        let infallible = "writing to memory does not fail";
        match self {
            Self::None => bytes.to_vec(),
            Self::Gzip => gzip(bytes),
            Self::Zstd => ZSTD.with_borrow_mut(|zstd| zstd.compress(bytes)).expect(infallible),
        }
    }

    /// The bytes of members one after the other, which have to be `length` ones.
    pub(crate) fn open(self, bytes: &[u8], length: u64) -> Result<Vec<u8>, String> {
        let mut out = Vec::new();
        let read = match self {
            Self::None => (&mut &*bytes).take(length + 1).read_to_end(&mut out),
            Self::Gzip => {
                flate2::read::MultiGzDecoder::new(bytes).take(length + 1).read_to_end(&mut out)
            }
            Self::Zstd => zstd::Decoder::with_buffer(bytes)
                .and_then(|decoder| decoder.take(length + 1).read_to_end(&mut out)),
        };
        read.map_err(|error| error.to_string())?;
        if out.len() as u64 != length {
            return Err(format!("it does not hold {length} bytes"));
        }
        Ok(out)
    }

    /// Bytes that add nothing to the stream that readers of the whole see.
    pub(crate) fn hide(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::None => bytes.to_vec(),
            Self::Gzip => {
                let mut out = Vec::with_capacity(bytes.len() + 64);
                for part in bytes.chunks(EXTRA_LEN_MAX) {
                    // Deflate, with an extra field, no time, unknown system.
                    out.extend_from_slice(&[0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255]);
                    out.extend_from_slice(&(part.len() as u16 + 4).to_le_bytes());
                    out.extend_from_slice(&SUBFIELD);
                    out.extend_from_slice(&(part.len() as u16).to_le_bytes());
                    out.extend_from_slice(part);
                    // An empty deflate block, the sum and the length of nothing.
                    out.extend_from_slice(&[3, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
                }
                out
            }
            Self::Zstd => {
                let length = u32::try_from(bytes.len()).expect("far below 4 GiB");
                [&SKIPPABLE[..], &length.to_le_bytes(), bytes].concat()
            }
        }
    }

    /// What follows the first member; uncompressed, what follows `length` bytes.
    pub(crate) fn after_first(self, bytes: &[u8], length: u64) -> Option<&[u8]> {
        match self {
            Self::None => bytes.get(usize::try_from(length).ok()?..),
            Self::Gzip => {
                let mut decoder = flate2::bufread::GzDecoder::new(bytes);
                let read =
                    std::io::copy(&mut decoder.by_ref().take(length + 1), &mut std::io::sink());
                (read.ok()? == length).then(|| decoder.into_inner())
            }
            Self::Zstd => {
                let mut decoder = zstd::Decoder::with_buffer(bytes).ok()?.single_frame();
                let read =
                    std::io::copy(&mut decoder.by_ref().take(length + 1), &mut std::io::sink());
                (read.ok()? == length).then(|| decoder.finish())
            }
        }
    }

    /// What [`Compression::hide`] was given; none when it gave other bytes.
    pub(crate) fn unhide(self, mut bytes: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::None => Some(bytes.to_vec()),
            Self::Gzip => {
                let mut out = Vec::with_capacity(bytes.len());
                while !bytes.is_empty() {
                    let (head, rest) = bytes.split_at_checked(16)?;
                    let length = usize::from(u16::from_le_bytes([head[14], head[15]]));
                    if head[..4] != [0x1f, 0x8b, 8, 4] || head[12..14] != SUBFIELD {
                        return None;
                    }
                    let (part, rest) = rest.split_at_checked(length)?;
                    out.extend_from_slice(part);
                    bytes = rest.split_at_checked(10)?.1;
                }
                Some(out)
            }
            Self::Zstd => {
                let (head, rest) = bytes.split_at_checked(8)?;
                let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
                (head[..4] == SKIPPABLE && rest.len() == length).then(|| rest.to_vec())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

    proptest! {
        #[test]
        fn members_join_and_hidden_bytes_stay_hidden(
            parts in vec(vec(any::<u8>(), 0..5000), 1..5), hidden in vec(any::<u8>(), 0..5000),
        ) {
            for codec in ALL {
                let whole = parts.concat();
                let mut stream: Vec<u8> =
                    parts.iter().flat_map(|part| codec.member(part)).collect();
                let tail = codec.hide(&hidden);
                prop_assert_eq!(codec.unhide(&tail), Some(hidden.clone()));
                if codec != Compression::None {
                    stream.extend(&tail);
                }
                prop_assert_eq!(codec.open(&stream, whole.len() as u64).unwrap(), whole.clone());
                prop_assert!(codec.open(&stream, whole.len() as u64 + 1).is_err());
            }
        }

        #[test]
        fn no_bytes_panic(bytes in vec(any::<u8>(), 0..300)) {
            for codec in ALL {
                let _ = codec.unhide(&bytes);
                let _ = codec.open(&bytes, 100);
            }
        }
    }

    #[test]
    fn more_than_one_extra_field_is_hidden() {
        let bytes: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        for codec in ALL {
            assert_eq!(codec.unhide(&codec.hide(&bytes)), Some(bytes.clone()));
        }
        assert_eq!(Compression::Gzip.open(&Compression::Gzip.hide(&bytes), 0).unwrap(), b"");
    }
}
