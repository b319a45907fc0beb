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
mod tests {
    use hornero_store::{Metadata, TreePath};
    use proptest::{collection::vec, prelude::*};

    use super::{super::budget::MEMBERS_MAX, *};
    use crate::Compression;

    /// A part of files of these names, each with one of a few contents, of which each has a size.
    fn part(files: &[(String, u8, u64, u64)], start: u64) -> Tail {
        let mut tail = Tail { start: (0, start), ..Tail::default() };
        let (mut entries, mut at, mut sizes) = (Vec::new(), start, HashMap::new());
        let files: std::collections::BTreeMap<_, _> =
            files.iter().map(|(name, content, size, gap)| (name, (content, size, gap))).collect();
        for (name, (content, size, gap)) in files {
            let size = *sizes.entry(*content).or_insert(*size);
            let digest = Digest::of(&[*content]);
            if size > 0 && !tail.contents.contains_key(&digest) {
                at += gap * BLOCK;
                tail.contents.insert(digest, at);
                at += size + padding(size);
            }
            entries.push(Entry {
                path: TreePath::new(name.as_str()).unwrap(),
                kind: EntryKind::File { digest, size },
                metadata: Metadata::default(),
            });
        }
        let layer = Layer::from_entries(entries).unwrap();
        tail.layers.push(TailLayer { digest: layer.digest(), layer });
        tail
    }

    /// A part of so many files that are all different.
    fn part_of(count: u8, members: Vec<(u64, u64)>) -> Tail {
        let files: Vec<_> = (0..count).map(|number| (format!("f{number}"), number, 5, 1)).collect();
        Tail { members, ..part(&files, 0) }
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
        fn a_part_is_read_back(
            files in vec(("[a-z]{1,9}", 0..3_u8, 0..2000_u64, 0..5_u64), 0..20),
            start in (0..1_u64 << 40, 0..1_u64 << 40),
            members in vec((1..=MEMBER_BYTES_MAX, 1..=MEMBER_BYTES_MAX), 0..9),
        ) {
            let fitting =
                |(packed, length): (u64, u64)| (packed.min(packed_bytes_max(length)), length);
            let members: Vec<_> = members.into_iter().map(fitting).collect();
            let bytes = start.0 + bytes_of(&members);
            let part = Tail { start, members, ..part(&files, start.1) };
            prop_assert_eq!(decode(&part.encode(), bytes).unwrap(), part.clone());
            if !part.members.is_empty() {
                prop_assert!(decode(&part.encode(), bytes - 1).is_err());
            }
        }

        #[test]
        fn changed_parts_are_refused_or_of_another_layer(
            files in vec(("[a-z]{1,9}", 0..3_u8, 0..2000_u64, 0..5_u64), 1..20),
            at in any::<prop::sample::Index>(), flip in 1..=255_u8,
        ) {
            let part = part(&files, 0);
            let mut bytes = part.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            if let Ok(changed) = decode(&bytes, 9) {
                let encoded = changed.layers[0].layer.encode();
                prop_assert_eq!(changed.layers[0].digest, Digest::of(&encoded));
            }
        }

        #[test]
        fn other_bytes_are_refused(bytes in vec(any::<u8>(), 0..200), version in 0..4_u8) {
            prop_assert!(decode(&bytes, 9).is_err());
            let framed = [MAGIC, &[version], &bytes].concat();
            // It may well be one, but must not bring the program down.
            let _ = decode(&zstd::bulk::compress(&framed, 1).unwrap(), 9);
        }
    }

    #[test]
    fn an_older_tail_is_read_and_its_facts_are_passed_over() {
        let one = part_of(1, vec![(3, 512)]);
        let two = part(&[("two".into(), 9, 600, 3)], 0);
        let mut old = [MAGIC, &[WHOLE, 1]].concat();
        put_number(&mut old, 3);
        put_number(&mut old, 512);
        put_number(&mut old, 2);
        put_bytes(&mut old, &one.layers[0].layer.encode());
        put_bytes(&mut old, b"{\"anything\":\"at all\"}");
        put_bytes(&mut old, &two.layers[0].layer.encode());
        put_bytes(&mut old, b"");
        put_number(&mut old, 512);
        put_number(&mut old, 1536);
        let packed = zstd::bulk::compress(&old, 1).unwrap();
        let expected = Tail {
            layers: [one.layers, two.layers].concat(),
            contents: one.contents.into_iter().chain(two.contents).collect(),
            ..one
        };
        assert_eq!(decode(&packed, 3).unwrap(), expected);
        assert!(decode(&packed, 4).is_err(), "nothing lies between members and tail");
        assert!(decode(&[packed, vec![0; 32]].concat(), 3).is_err());
    }

    #[test]
    fn a_digest_that_comes_again_is_packed_once() {
        let files: Vec<_> = (0..100).map(|number| (format!("f{number}"), 1, 5, 1)).collect();
        let packed = part(&files, 0).encode();
        assert!(packed.len() < 500, "{}", packed.len());
        assert_eq!(decode(&packed, 0).unwrap(), part(&files, 0));
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
            let mut text = [MAGIC, &[PART, 0, 0]].concat();
            put_number(&mut text, count);
            text.extend(member.repeat(count as usize));
            put_bytes(&mut text, &Layer::default().encode());
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
    fn members_that_are_far_larger_than_what_they_hold_are_refused() {
        let check = |packed: u64, length: u64| {
            decode(&part_of(1, vec![(packed, length)]).encode(), packed).is_ok()
        };
        for length in [1_u64, 3 << 10, 4 << 20] {
            // The worst case of each.
            let random: Vec<u8> = (0..length.div_ceil(32))
                .flat_map(|at: u64| *Digest::of(&at.to_le_bytes()).as_bytes())
                .take(length as usize)
                .collect();
            for codec in [Compression::None, Compression::Gzip, Compression::Zstd] {
                assert!(check(codec.member(&random).len() as u64, length), "{codec:?} {length}");
            }
            assert!(check(packed_bytes_max(length), length));
            assert!(!check(packed_bytes_max(length) + 1, length));
        }
        assert!(!check(MEMBER_BYTES_MAX, 1));
    }

    #[test]
    fn the_tails_of_an_image_share_what_it_may_have() {
        let part = part_of(2, vec![(3, 512); 10]);
        let packed = part.encode();
        let layer_of_two = part.layers[0].layer.clone();
        let unpacked = unpack(&packed, WORDS, 1 << 20).unwrap().unwrap().0.len() as u64;
        let enough = Budget { unpacked_bytes: 2 * unpacked, members: 20, entries: 4 };
        let twice = |mut budget: Budget| {
            Tail::decode(&packed, 30, &mut budget).unwrap();
            let second = Tail::decode(&packed, 30, &mut budget);
            (second.map(drop), budget)
        };
        let spent = Budget { unpacked_bytes: 0, members: 0, entries: 0 };
        assert_eq!(twice(enough), (Ok(()), spent));
        let layers = [(layer_of_two.digest(), layer_of_two)];
        assert_eq!(Budget::default().take(10, &layers), Ok(()));
        assert_eq!(Budget { members: 9, ..enough }.take(10, &layers), Err(MEMBERS));
        assert_eq!(Budget { entries: 1, ..enough }.take(10, &layers), Err(ENTRIES));
        assert_eq!(Budget { unpacked_bytes: unpacked, ..enough }.take(10, &layers), Err(UNPACKED));
        for less in [
            Budget { unpacked_bytes: 2 * unpacked - 1, ..enough },
            Budget { members: 19, ..enough },
            Budget { entries: 3, ..enough },
        ] {
            assert!(matches!(twice(less).0, Err(Fault::TooMuch(_))), "{less:?}");
        }
    }
}
