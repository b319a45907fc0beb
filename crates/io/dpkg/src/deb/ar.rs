//! The outer `ar` archive of a package file and the compression of its members.

use std::io::{self, Read};

use liblzma::{
    bufread::XzDecoder,
    stream::{CONCATENATED, IGNORE_CHECK, Stream},
};

/// Why a package file cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DebError(pub String);

/// The two tar members of a package file, still packed.
#[derive(Debug, Clone, Copy)]
pub struct Members<'a> {
    control: (Packing, &'a [u8]),
    data: (Packing, &'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Packing {
    None,
    Gzip,
    Xz,
    Zstd,
}

impl<'a> Members<'a> {
    /// The control member's tar stream.
    pub fn control(&self) -> Box<dyn Read + Send + 'a> {
        open(self.control)
    }

    /// The data member's tar stream.
    pub fn data(&self) -> Box<dyn Read + Send + 'a> {
        open(self.data)
    }
}

/// The stream of a member. Whoever opens a package has its SHA-256 compared before: checksums inside tell nothing more.
fn open((packing, bytes): (Packing, &[u8])) -> Box<dyn Read + Send + '_> {
    match packing {
        Packing::None => Box::new(bytes),
        Packing::Gzip => Box::new(flate2::read::MultiGzDecoder::new(bytes)),
        Packing::Xz => match Stream::new_stream_decoder(u64::MAX, CONCATENATED | IGNORE_CHECK) {
            Ok(stream) => Box::new(XzDecoder::new_stream(bytes, stream)),
            Err(error) => Box::new(Broken(Some(error.into()))),
        },
        Packing::Zstd => match zstd::stream::read::Decoder::with_buffer(bytes) {
            Ok(decoder) => Box::new(decoder),
            Err(error) => Box::new(Broken(Some(error))),
        },
    }
}

/// Gives an error once, for a decoder that could not be made.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(self.0.take().unwrap_or_else(|| io::ErrorKind::UnexpectedEof.into()))
    }
}

const MAGIC: &[u8] = b"!<arch>\n";
const HEADER_BYTES: usize = 60;

/// Finds the members of a package file; anything out of the order that deb(5) demands is refused.
pub fn read_members(deb: &[u8]) -> Result<Members<'_>, DebError> {
    let error = |text: &str| DebError(text.to_owned());
    let mut rest = deb.strip_prefix(MAGIC).ok_or_else(|| error("it is not a package file"))?;
    let mut version_seen = false;
    let mut control = None;
    while !rest.is_empty() {
        let header = rest.get(..HEADER_BYTES).ok_or_else(|| error("it is cut off"))?;
        if &header[58..60] != b"`\n" {
            return Err(error("its archive headers are broken"));
        }
        let text = |range: std::ops::Range<usize>| {
            std::str::from_utf8(&header[range]).map(str::trim).unwrap_or_default()
        };
        let name = text(0..16).trim_end_matches('/').to_owned();
        let size: usize =
            text(48..58).parse().map_err(|_| error("its archive headers are broken"))?;
        let body = rest
            .get(HEADER_BYTES..)
            .and_then(|body| body.get(..size))
            .ok_or_else(|| error("it is cut off"))?;
        let advance = HEADER_BYTES + size + size % 2;
        rest = rest.get(advance..).unwrap_or_default();
        match name.as_str() {
            "debian-binary" if !version_seen => {
                if !body.starts_with(b"2.") {
                    return Err(error("it has an unknown format version"));
                }
                version_seen = true;
            }
            _ if !version_seen => return Err(error("its members are out of order")),
            name if name.starts_with('_') => {}
            name if control.is_none() => match packing(name, "control.tar") {
                Some(packing) => control = Some((packing, body)),
                None => return Err(DebError(format!("it has an unknown member `{name}`"))),
            },
            name => match (packing(name, "data.tar"), control) {
                (Some(packing), Some(control)) => {
                    return Ok(Members { control, data: (packing, body) });
                }
                _ => return Err(DebError(format!("it has an unknown member `{name}`"))),
            },
        }
    }
    Err(error("it is cut off"))
}

fn packing(name: &str, stem: &str) -> Option<Packing> {
    match name.strip_prefix(stem)? {
        "" => Some(Packing::None),
        ".gz" => Some(Packing::Gzip),
        ".xz" => Some(Packing::Xz),
        ".zst" => Some(Packing::Zstd),
        _ => None,
    }
}
