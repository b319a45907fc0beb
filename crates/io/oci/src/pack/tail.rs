//! What lies hidden at the end of a blob: the layers it stands for, exactly, and where each content is.
//!
//! A magic word and a version byte; the members' compressed and uncompressed sizes; the layers' canonical bytes,
//! each followed by a byte string that older blobs say facts in and that nothing is read from; then, for each content
//! of the layers in order, where it begins in the tar. Numbers are unsigned LEB128, byte strings carry their length
//! before them. All of it is one zstd frame.

use std::collections::HashMap;

use hornero_model::Digest;
use hornero_store::Layer;

const MAGIC: &[u8] = b"hornero-tail\n";
const VERSION: u8 = 1;
/// Text and digests; more costs seconds and saves little.
const LEVEL: i32 = 12;
/// Two million entries of a hundred bytes; a blob of a large package has some hundred KiB.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;
/// What a tail may have in its blob.
pub(crate) const PACKED_BYTES_MAX: u64 = 64 << 20;
/// A member has at least some bytes of an entry.
const MEMBERS_MAX: u64 = 4_000_000;
/// An image's limit.
const LAYERS_MAX: u64 = 1024;

/// The tail of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tail {
    /// Compressed and uncompressed size of each member, in order from the blob's first byte.
    pub(crate) members: Vec<(u64, u64)>,
    pub(crate) layers: Vec<TailLayer>,
    /// Where each content of the layers begins in the tar.
    pub(crate) contents: HashMap<Digest, u64>,
}

/// A layer of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TailLayer {
    pub(crate) digest: Digest,
    pub(crate) layer: Layer,
}

impl Tail {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(VERSION);
        put_number(&mut out, self.members.len() as u64);
        for (compressed, length) in &self.members {
            put_number(&mut out, *compressed);
            put_number(&mut out, *length);
        }
        put_number(&mut out, self.layers.len() as u64);
        for layer in &self.layers {
            put_bytes(&mut out, &layer.layer.encode());
            put_bytes(&mut out, &[]);
        }
        let mut seen = std::collections::HashSet::new();
        for (digest, size) in self.layers.iter().flat_map(|layer| layer.layer.contents()) {
            if size > 0 && seen.insert(digest) {
                put_number(&mut out, self.contents.get(&digest).copied().unwrap_or_default());
            }
        }
        zstd::bulk::compress(&out, LEVEL).expect("writing to memory does not fail")
    }

    /// Reads a tail; says what is wrong with bytes that are none.
    pub(crate) fn decode(packed: &[u8]) -> Result<Self, String> {
        let bytes = unpack(packed, UNPACKED_BYTES_MAX)?;
        let mut reader = Reader { bytes: &bytes };
        if reader.take(MAGIC.len() as u64)? != MAGIC {
            return Err("it does not begin like one".into());
        }
        if reader.take(1)? != [VERSION] {
            return Err("only version 1 is known".into());
        }
        let mut tail = Self::default();
        for _ in 0..reader.count(MEMBERS_MAX)? {
            tail.members.push((reader.number()?, reader.number()?));
        }
        for _ in 0..reader.count(LAYERS_MAX)? {
            let encoded = reader.bytes()?;
            let layer = Layer::decode(encoded).map_err(|error| error.to_string())?;
            // Nobody vouches for what older blobs have here.
            reader.bytes()?;
            tail.layers.push(TailLayer { digest: Digest::of(encoded), layer });
        }
        let contents: Vec<_> =
            tail.layers.iter().flat_map(|layer| layer.layer.contents()).collect();
        for (digest, size) in contents {
            if size > 0 && !tail.contents.contains_key(&digest) {
                tail.contents.insert(digest, reader.number()?);
            }
        }
        match reader.bytes {
            [] => Ok(tail),
            _ => Err("bytes follow its end".into()),
        }
    }
}

/// The one zstd frame of `packed`, as long as it has at most `max` bytes.
pub(crate) fn unpack(packed: &[u8], max: u64) -> Result<Vec<u8>, String> {
    use std::io::Read;
    let mut out = Vec::new();
    zstd::Decoder::with_buffer(packed)
        .and_then(|decoder| decoder.take(max + 1).read_to_end(&mut out))
        .map_err(|error| error.to_string())?;
    if out.len() as u64 > max { Err(format!("it has more than {max} bytes")) } else { Ok(out) }
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: u64) -> Result<&'a [u8], String> {
        let length = usize::try_from(length).map_err(|_| "a length is out of range")?;
        let (taken, rest) = self.bytes.split_at_checked(length).ok_or("it ends early")?;
        self.bytes = rest;
        Ok(taken)
    }

    fn bytes(&mut self) -> Result<&'a [u8], String> {
        let length = self.number()?;
        self.take(length)
    }

    fn count(&mut self, max: u64) -> Result<u64, String> {
        let count = self.number()?;
        if count > max { Err(format!("it counts more than {max}")) } else { Ok(count) }
    }

    fn number(&mut self) -> Result<u64, String> {
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

fn put_number(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_number(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use hornero_store::{Entry, EntryKind, Metadata, TreePath};
    use proptest::{collection::vec, prelude::*};

    use super::*;

    fn tail(names: &[String], members: Vec<(u64, u64)>) -> Tail {
        let mut tail = Tail { members, ..Tail::default() };
        for (at, name) in names.iter().enumerate() {
            let digest = Digest::of(name.as_bytes());
            let entry = Entry {
                path: TreePath::new(name.as_str()).unwrap(),
                kind: EntryKind::File { digest, size: 5 },
                metadata: Metadata::default(),
            };
            let layer = Layer::from_entries(vec![entry]).unwrap();
            tail.contents.insert(digest, at as u64 * 512);
            tail.layers.push(TailLayer { digest: layer.digest(), layer });
        }
        tail
    }

    proptest! {
        #[test]
        fn a_tail_is_read_back(
            names in vec("[a-z]{1,9}", 0..9), members in vec(any::<(u64, u64)>(), 0..9),
        ) {
            let mut names = names;
            names.sort();
            names.dedup();
            let tail = tail(&names, members);
            prop_assert_eq!(Tail::decode(&tail.encode()).unwrap(), tail);
        }

        #[test]
        fn other_bytes_are_refused(bytes in vec(any::<u8>(), 0..200), version in 0..3_u8) {
            prop_assert!(Tail::decode(&bytes).is_err());
            let framed = [MAGIC, &[version], &bytes].concat();
            // It may well be one, but must not bring the program down.
            let _ = Tail::decode(&zstd::bulk::compress(&framed, 1).unwrap());
        }
    }

    #[test]
    fn the_facts_of_an_older_tail_are_passed_over() {
        let tail = tail(&["one".to_owned()], vec![(3, 512)]);
        let mut old = [MAGIC, &[VERSION, 1]].concat();
        put_number(&mut old, 3);
        put_number(&mut old, 512);
        put_number(&mut old, 1);
        put_bytes(&mut old, &tail.layers[0].layer.encode());
        put_bytes(&mut old, b"{\"anything\":\"at all\"}");
        put_number(&mut old, 0);
        assert_eq!(Tail::decode(&zstd::bulk::compress(&old, 1).unwrap()).unwrap(), tail);
    }

    #[test]
    fn a_tail_that_unpacks_without_end_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 300 << 20], 1).unwrap();
        assert!(Tail::decode(&bomb).unwrap_err().contains("more than"));
    }
}
