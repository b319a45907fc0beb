//! What lies hidden at the end of a blob: the layers it stands for, exactly, and where each content is.
//!
//! A blob has a part for each of its layers, so that whoever lacks one of them reads only that. A part is a zstd
//! frame and, behind it, digests of contents, which no compression makes smaller. In the frame: a magic word and
//! a version byte; where the layer's members begin in the blob and in the tar; the members' compressed and
//! uncompressed sizes; the layer's canonical bytes with the number of a digest in the place of each; then, for each
//! content in the order of the layer, how many blocks of the tar lie between the one before and it. Numbers are
//! unsigned LEB128, byte strings carry their length before them.
//!
//! Older blobs (version 1) have one tail for all layers: the members of the whole blob; the layers' canonical bytes,
//! each followed by a byte string that some say facts in and that nothing is read from; then where each content
//! begins in the tar.

use std::collections::{HashMap, HashSet, hash_map::Entry::Vacant};

use hornero_model::Digest;
use hornero_store::{Entry, EntryKind, Layer};

use super::{
    budget::{Budget, ENTRIES, Fault, MEMBERS, UNPACKED, spend},
    frame::{Reader, compress, put_bytes, put_number, unpack},
};
use crate::tarball::{BLOCK, padding};

/// What many layers have, the most frequent last; parts refer to these bytes, which never change.
const WORDS: &[u8] = include_bytes!("tail.words");
const MAGIC: &[u8] = b"hornero-tail\n";
/// One tail for all layers of a blob.
const WHOLE: u8 = 1;
/// A part for each layer.
const PART: u8 = 2;
/// What all tails of an image may have in their blobs: digests of two million entries, which do not get smaller, and
/// half as much for the rest.
pub(crate) const PACKED_BYTES_MAX: u64 = 96 << 20;
/// Ours have at most 4 MiB and some padding.
pub(crate) const MEMBER_BYTES_MAX: u64 = 32 << 20;
/// What compression adds to bytes that it cannot make smaller is some bytes for each member and for each 16 KiB.
const ADDED_BYTES_MAX: u64 = 1 << 10;
/// An image's limit.
const LAYERS_MAX: u64 = 1024;

/// A part of a blob's tail, or an older blob's whole one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tail {
    /// Where the first member begins, compressed and uncompressed.
    pub(crate) start: (u64, u64),
    /// Compressed and uncompressed size of each member, in order.
    pub(crate) members: Vec<(u64, u64)>,
    /// One, but for older blobs.
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
    /// The part of one layer, which has to be the only one here; its contents are in the order of the layer.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.push(PART);
        put_number(&mut out, self.start.0);
        put_number(&mut out, self.start.1);
        put_number(&mut out, self.members.len() as u64);
        for (compressed, length) in &self.members {
            put_number(&mut out, *compressed);
            put_number(&mut out, *length);
        }
        let (layer, digests) = without_digests(&self.layers[0].layer);
        put_bytes(&mut out, &layer.encode());
        let (mut end, mut seen) = (self.start.1, HashSet::new());
        for (digest, size) in self.layers[0].layer.contents().filter(|(_, size)| *size > 0) {
            if seen.insert(digest) {
                let at = self.contents[&digest];
                put_number(&mut out, (at - end) / BLOCK);
                end = at + size + padding(size);
            }
        }
        let mut packed = compress(&out, WORDS);
        packed.extend(digests.iter().flat_map(|digest| digest.as_bytes()));
        packed
    }

    /// Reads a part, or an older blob's tail, of a blob whose members have `members_bytes` bytes.
    pub(crate) fn decode(
        packed: &[u8],
        members_bytes: u64,
        budget: &mut Budget,
    ) -> Result<Self, Fault> {
        let (bytes, digests) =
            unpack(packed, WORDS, budget.unpacked_bytes)?.ok_or(Fault::TooMuch(UNPACKED))?;
        spend(&mut budget.unpacked_bytes, bytes.len() as u64, UNPACKED)?;
        let mut reader = Reader { bytes: &bytes };
        if reader.take(MAGIC.len() as u64)? != MAGIC {
            return Err("it does not begin like one".into());
        }
        let tail = match reader.take(1)? {
            [WHOLE] if digests.is_empty() => whole(&mut reader, members_bytes, budget)?,
            [PART] => part(&mut reader, digests, members_bytes, budget)?,
            _ => return Err("only versions 1 and 2 are known".into()),
        };
        match reader.bytes {
            [] => Ok(tail),
            _ => Err("bytes follow its end".into()),
        }
    }
}

/// A layer with numbers for digests: 0 for one that comes for the first time, else which of those it is, from 1.
fn without_digests(layer: &Layer) -> (Layer, Vec<Digest>) {
    let mut digests = Vec::new();
    let mut numbers: HashMap<Digest, u64> = HashMap::new();
    let entries = layer.entries().iter().cloned().map(|mut entry| {
        if let EntryKind::File { digest, .. } = &mut entry.kind {
            let number = match numbers.get(digest) {
                Some(number) => *number,
                None => {
                    digests.push(*digest);
                    numbers.insert(*digest, digests.len() as u64);
                    0
                }
            };
            let mut bytes = [0; 32];
            bytes[24..].copy_from_slice(&number.to_be_bytes());
            *digest = Digest::from_bytes(bytes);
        }
        entry
    });
    let entries: Vec<Entry> = entries.collect();
    (Layer::from_sorted(entries).expect("only digests differ from a layer's"), digests)
}

/// The layer that [`without_digests`] was given.
fn with_digests(layer: Layer, digests: &[Digest]) -> Result<Layer, Fault> {
    let mut entries = layer.into_entries();
    let mut new = digests.iter();
    for entry in &mut entries {
        if let EntryKind::File { digest, .. } = &mut entry.kind {
            let (zeros, number) = digest.as_bytes().split_at(24);
            let number = u64::from_be_bytes(number.try_into().expect("eight of 32 bytes"));
            let known = digests.len() - new.len();
            *digest = match number {
                _ if zeros.iter().any(|byte| *byte != 0) => return Err("a digest's number".into()),
                0 => *new.next().ok_or("a digest is missing")?,
                number if number <= known as u64 => digests[number as usize - 1],
                _ => return Err("a digest's number is out of range".into()),
            };
        }
    }
    if new.next().is_some() {
        return Err("digests follow its end".into());
    }
    Ok(Layer::from_sorted(entries).map_err(|error| error.to_string())?)
}

/// An older blob's tail, but for its first words.
fn whole(reader: &mut Reader<'_>, members_bytes: u64, budget: &mut Budget) -> Result<Tail, Fault> {
    let members = members(reader, members_bytes, budget)?;
    if members.iter().map(|(packed, _)| packed).sum::<u64>() != members_bytes {
        return Err("its members do not reach to it".into());
    }
    let mut tail = Tail { members, ..Tail::default() };
    let layers = reader.number()?;
    if layers > LAYERS_MAX {
        return Err("it has more layers than an image".into());
    }
    for _ in 0..layers {
        let encoded = reader.bytes()?;
        let layer = Layer::decode(encoded).map_err(|error| error.to_string())?;
        spend(&mut budget.entries, layer.entries().len() as u64, ENTRIES)?;
        // Nobody vouches for what is said here.
        reader.bytes()?;
        tail.layers.push(TailLayer { digest: Digest::of(encoded), layer });
    }
    let contents: Vec<_> = tail.layers.iter().flat_map(|layer| layer.layer.contents()).collect();
    for (digest, size) in contents {
        if size > 0 && !tail.contents.contains_key(&digest) {
            tail.contents.insert(digest, reader.number()?);
        }
    }
    Ok(tail)
}

/// The part of one layer, but for its first words.
fn part(
    reader: &mut Reader<'_>,
    digests: &[u8],
    members_bytes: u64,
    budget: &mut Budget,
) -> Result<Tail, Fault> {
    let start = (reader.number()?, reader.number()?);
    let left = members_bytes.checked_sub(start.0).ok_or("it begins beyond the blob")?;
    if start.1 > u64::MAX / 2 {
        return Err("it begins far away".into());
    }
    let members = members(reader, left, budget)?;
    let (digests, []) = digests.as_chunks::<32>() else {
        return Err("a digest ends early".into());
    };
    let digests: Vec<Digest> = digests.iter().copied().map(Digest::from_bytes).collect();
    let layer = Layer::decode(reader.bytes()?).map_err(|error| error.to_string())?;
    spend(&mut budget.entries, layer.entries().len() as u64, ENTRIES)?;
    let layer = with_digests(layer, &digests)?;
    let mut contents = HashMap::new();
    let mut end = start.1;
    for (digest, size) in layer.contents().filter(|(_, size)| *size > 0) {
        if let Vacant(place) = contents.entry(digest) {
            let gap = reader.number()?.checked_mul(BLOCK);
            let at = gap.and_then(|gap| end.checked_add(gap)).ok_or("a content is far away")?;
            place.insert(at);
            let after = at.checked_add(size).and_then(|end| end.checked_add(padding(size)));
            end = after.ok_or("a content is far away")?;
        }
    }
    let layer = TailLayer { digest: layer.digest(), layer };
    Ok(Tail { start, members, layers: vec![layer], contents })
}

/// Sizes of members, of which all together have `bytes` bytes and none is empty: so they are no more than
/// those bytes, and than the budget.
fn members(
    reader: &mut Reader<'_>,
    bytes: u64,
    budget: &mut Budget,
) -> Result<Vec<(u64, u64)>, Fault> {
    let count = reader.number()?;
    spend(&mut budget.members, count, MEMBERS)?;
    // What the bytes at hand can hold: the count itself is not trusted.
    let mut members = Vec::with_capacity(count.min(reader.bytes.len() as u64 / 2) as usize);
    let mut left = bytes;
    for _ in 0..count {
        let (packed, length) = (reader.number()?, reader.number()?);
        let size = 1..=MEMBER_BYTES_MAX;
        if !size.contains(&packed) || !size.contains(&length) {
            return Err("one of its members is larger than 32 MiB, or empty".into());
        }
        if packed > packed_bytes_max(length) {
            return Err("one of its members is far larger than what it holds".into());
        }
        left = left.checked_sub(packed).ok_or("its members reach beyond the blob")?;
        members.push((packed, length));
    }
    Ok(members)
}

/// The most bytes of a member that holds `length`: what is beyond would be read for nothing.
fn packed_bytes_max(length: u64) -> u64 {
    length + length / 16 + ADDED_BYTES_MAX
}

#[cfg(test)]
mod tests;
