//! What lies hidden at the end of a blob: the layers it stands for, exactly, and where each content is.
//!
//! A magic word and a version byte; the members' compressed and uncompressed sizes; the layers' canonical bytes,
//! each followed by a byte string that older blobs say facts in and that nothing is read from; then, for each content
//! of the layers in order, where it begins in the tar. Numbers are unsigned LEB128, byte strings carry their length
//! before them. All of it is one zstd frame.

use std::collections::HashMap;

use hornero_model::Digest;
use hornero_store::{ENTRY_COUNT_MAX, Layer};

const MAGIC: &[u8] = b"hornero-tail\n";
const VERSION: u8 = 1;
/// Text and digests; more costs seconds and saves little.
const LEVEL: i32 = 12;
/// What all tails of an image may have in their blobs: digests of two million entries, which do not get smaller.
pub(crate) const PACKED_BYTES_MAX: u64 = 64 << 20;
/// What all tails of an image may unpack to: two million entries of a hundred bytes. Those of a Debian base have
/// 2 MiB.
const UNPACKED_BYTES_MAX: u64 = 256 << 20;
/// Members of an image's blobs: every second entry a file of its own, twice over.
const MEMBERS_MAX: u64 = 2_000_000;
/// Entries of an image's layers: as many as the largest layer has, twice over.
const ENTRIES_MAX: u64 = 2 * ENTRY_COUNT_MAX as u64;
/// Ours have at most 4 MiB and some padding.
pub(crate) const MEMBER_BYTES_MAX: u64 = 32 << 20;
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

/// What the tails of one image may still bring into memory, all together: a thousand tails of which each keeps
/// within limits are still too many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Budget {
    pub(crate) unpacked_bytes: u64,
    pub(crate) members: u64,
    pub(crate) entries: u64,
}

impl Default for Budget {
    fn default() -> Self {
        let (unpacked_bytes, members, entries) = (UNPACKED_BYTES_MAX, MEMBERS_MAX, ENTRIES_MAX);
        Self { unpacked_bytes, members, entries }
    }
}

/// Why bytes are not taken for a tail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// They have not the form of one.
    Form(String),
    /// With it the image has more of something than an image may have.
    TooMuch(&'static str),
}

impl<S: Into<String>> From<S> for Fault {
    fn from(text: S) -> Self {
        Self::Form(text.into())
    }
}

/// Takes from what is left.
fn spend(left: &mut u64, count: u64, what: &'static str) -> Result<(), Fault> {
    *left = left.checked_sub(count).ok_or(Fault::TooMuch(what))?;
    Ok(())
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

    /// Reads the tail of a blob whose members have `members_bytes` bytes.
    pub(crate) fn decode(
        packed: &[u8],
        members_bytes: u64,
        budget: &mut Budget,
    ) -> Result<Self, Fault> {
        let unpacked = "bytes to say where everything is";
        let bytes = unpack(packed, budget.unpacked_bytes)?.ok_or(Fault::TooMuch(unpacked))?;
        spend(&mut budget.unpacked_bytes, bytes.len() as u64, unpacked)?;
        let mut reader = Reader { bytes: &bytes };
        if reader.take(MAGIC.len() as u64)? != MAGIC {
            return Err("it does not begin like one".into());
        }
        if reader.take(1)? != [VERSION] {
            return Err("only version 1 is known".into());
        }
        let members = reader.members(members_bytes, budget)?;
        if members.iter().map(|(packed, _)| packed).sum::<u64>() != members_bytes {
            return Err("its members do not reach to it".into());
        }
        let mut tail = Self { members, ..Self::default() };
        let layers = reader.number()?;
        if layers > LAYERS_MAX {
            return Err("it has more layers than an image".into());
        }
        for _ in 0..layers {
            let encoded = reader.bytes()?;
            let layer = Layer::decode(encoded).map_err(|error| error.to_string())?;
            spend(&mut budget.entries, layer.entries().len() as u64, "entries")?;
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

/// The one zstd frame of `packed`; none when it has more than `max` bytes.
pub(crate) fn unpack(packed: &[u8], max: u64) -> Result<Option<Vec<u8>>, String> {
    use std::io::Read;
    let mut out = Vec::new();
    zstd::Decoder::with_buffer(packed)
        .and_then(|decoder| decoder.take(max.saturating_add(1)).read_to_end(&mut out))
        .map_err(|error| error.to_string())?;
    Ok((out.len() as u64 <= max).then_some(out))
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

    /// Sizes of members, of which all together have `bytes` bytes and none is empty: so they are no more than
    /// those bytes, and than the budget.
    fn members(&mut self, bytes: u64, budget: &mut Budget) -> Result<Vec<(u64, u64)>, Fault> {
        let count = self.number()?;
        spend(&mut budget.members, count, "members")?;
        // What the bytes at hand can hold: the count itself is not trusted.
        let mut members = Vec::with_capacity(count.min(self.bytes.len() as u64 / 2) as usize);
        let mut left = bytes;
        for _ in 0..count {
            let (packed, length) = (self.number()?, self.number()?);
            let size = 1..=MEMBER_BYTES_MAX;
            if !size.contains(&packed) || !size.contains(&length) {
                return Err("one of its members is larger than 32 MiB, or empty".into());
            }
            left = left.checked_sub(packed).ok_or("its members reach beyond the blob")?;
            members.push((packed, length));
        }
        Ok(members)
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

    /// Decodes with all that an image may have.
    fn decode(packed: &[u8], members_bytes: u64) -> Result<Tail, Fault> {
        Tail::decode(packed, members_bytes, &mut Budget::default())
    }

    fn bytes_of(members: &[(u64, u64)]) -> u64 {
        members.iter().map(|(packed, _)| packed).sum()
    }

    proptest! {
        #[test]
        fn a_tail_is_read_back(
            names in vec("[a-z]{1,9}", 0..9),
            members in vec((1..=MEMBER_BYTES_MAX, 1..=MEMBER_BYTES_MAX), 0..9),
        ) {
            let mut names = names;
            names.sort();
            names.dedup();
            let bytes = bytes_of(&members);
            let tail = tail(&names, members);
            prop_assert_eq!(decode(&tail.encode(), bytes).unwrap(), tail.clone());
            prop_assert!(decode(&tail.encode(), bytes + 1).is_err());
        }

        #[test]
        fn other_bytes_are_refused(bytes in vec(any::<u8>(), 0..200), version in 0..3_u8) {
            prop_assert!(decode(&bytes, 9).is_err());
            let framed = [MAGIC, &[version], &bytes].concat();
            // It may well be one, but must not bring the program down.
            let _ = decode(&zstd::bulk::compress(&framed, 1).unwrap(), 9);
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
        assert_eq!(decode(&zstd::bulk::compress(&old, 1).unwrap(), 3).unwrap(), tail);
    }

    #[test]
    fn a_tail_that_unpacks_without_end_is_refused() {
        let bomb = zstd::bulk::compress(&vec![0; 300 << 20], 1).unwrap();
        assert!(matches!(decode(&bomb, 9), Err(Fault::TooMuch(_))));
    }

    /// Members that a few packed bytes say millions of.
    #[test]
    fn members_that_are_empty_or_too_many_are_refused() {
        let check = |count: u64, member: [u8; 2], bytes: u64| {
            let mut text = [MAGIC, &[VERSION]].concat();
            put_number(&mut text, count);
            text.extend(member.repeat(count as usize));
            put_number(&mut text, 0);
            decode(&zstd::bulk::compress(&text, 1).unwrap(), bytes).map(|tail| tail.members.len())
        };
        assert_eq!(check(1000, [1, 1], 1000), Ok(1000));
        for (member, bytes) in [([0, 0], 0), ([0, 1], 0), ([1, 0], 1000)] {
            assert!(matches!(check(1000, member, bytes), Err(Fault::Form(_))), "{member:?}");
        }
        // More than the blob has, and more than any image has, whatever a manifest says of the blob.
        assert!(matches!(check(1001, [1, 1], 1000), Err(Fault::Form(_))));
        assert_eq!(check(MEMBERS_MAX + 1, [1, 1], u64::MAX), Err(Fault::TooMuch("members")));
    }

    #[test]
    fn the_tails_of_an_image_share_what_it_may_have() {
        let members = vec![(3, 512); 10];
        let tail = tail(&["one".to_owned(), "two".to_owned()], members);
        let packed = tail.encode();
        let unpacked = unpack(&packed, 1 << 20).unwrap().unwrap().len() as u64;
        let enough = Budget { unpacked_bytes: 2 * unpacked, members: 20, entries: 4 };
        let twice = |mut budget: Budget| {
            Tail::decode(&packed, 30, &mut budget).unwrap();
            let second = Tail::decode(&packed, 30, &mut budget);
            (second.map(drop), budget)
        };
        let spent = Budget { unpacked_bytes: 0, members: 0, entries: 0 };
        assert_eq!(twice(enough), (Ok(()), spent));
        for less in [
            Budget { unpacked_bytes: 2 * unpacked - 1, ..enough },
            Budget { members: 19, ..enough },
            Budget { entries: 3, ..enough },
        ] {
            assert!(matches!(twice(less).0, Err(Fault::TooMuch(_))), "{less:?}");
        }
    }
}
