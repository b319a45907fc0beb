//! Tails are read as they were written, and refused where they can not be.

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
