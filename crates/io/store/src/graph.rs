//! Contents by small integers, and marks on them: the graph that collecting and measuring walk.
//!
//! A digest finds its number by its first byte (the shard, as in the `objects` directory) and a binary search
//! within; a number costs four bytes where it is used, a mark one bit.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicU64, Ordering},
};

use hornero_model::Digest;

use crate::{Result, Store, StoreError, encoding::scan_contents, parallel};

/// Shards by the first byte of a digest.
pub(crate) const SHARDS: usize = 256;
/// Every one of them, for [`parallel::each`].
pub(crate) const ALL_SHARDS: [u8; SHARDS] = {
    let mut shards = [0; SHARDS];
    let mut at = 0;
    while at < SHARDS {
        shards[at] = at as u8;
        at += 1;
    }
    shards
};

/// The digests of one shard, sorted.
#[derive(Debug, Default)]
struct Shard {
    items: Vec<(Digest, u64)>,
    /// [`prefix`] of each, close together: a search touches a few lines of these instead of digests all over.
    prefixes: Vec<u64>,
}

/// The first eight bytes as a number: ordered as digests are, and compared in one instruction.
fn prefix(digest: &Digest) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&digest.as_bytes()[..8]);
    u64::from_be_bytes(bytes)
}

/// Sorts by digest; of equal ones one stays.
pub(crate) fn sort_digests(items: &mut Vec<(Digest, u64)>) {
    items.sort_unstable_by(|(one, _), (two, _)| {
        prefix(one).cmp(&prefix(two)).then_with(|| one.cmp(two))
    });
    items.dedup_by_key(|(digest, _)| *digest);
}

/// Digests numbered from 0 in their order, each with a number of the maker's choice.
#[derive(Debug)]
pub(crate) struct Numbered {
    shards: Vec<Shard>,
    /// The number of the first of each shard; then how many there are.
    first: Vec<u32>,
}

impl Numbered {
    /// Numbers what `list` gives for each shard; of equal digests one stays.
    pub(crate) fn of_shards(
        list: impl Fn(u8) -> Result<Vec<(Digest, u64)>> + Sync,
    ) -> Result<Self> {
        let slots: Vec<Mutex<Shard>> = (0..SHARDS).map(|_| Mutex::default()).collect();
        parallel::each(&ALL_SHARDS, 1, |_, shard| {
            let mut items = list(*shard)?;
            sort_digests(&mut items);
            let prefixes = items.iter().map(|(digest, _)| prefix(digest)).collect();
            *slots[usize::from(*shard)].lock().unwrap_or_else(PoisonError::into_inner) =
                Shard { items, prefixes };
            Ok::<(), StoreError>(())
        })?;
        let shards: Vec<_> = slots
            .into_iter()
            .map(|slot| slot.into_inner().unwrap_or_else(PoisonError::into_inner))
            .collect();
        let mut first = Vec::with_capacity(SHARDS + 1);
        let mut count = 0_u32;
        for shard in &shards {
            first.push(count);
            let sum = u32::try_from(shard.items.len()).ok().and_then(|len| count.checked_add(len));
            // Four thousand million files are far beyond what a file system of ours holds.
            count = sum.ok_or_else(|| StoreError::TooLarge {
                name: "the list of all objects".to_owned(),
                limit_bytes: u64::from(u32::MAX),
            })?;
        }
        first.push(count);
        Ok(Self { shards, first })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.first[SHARDS] as usize
    }

    /// The number of a digest, and what was given with it.
    pub(crate) fn get(&self, digest: &Digest) -> Option<(u32, u64)> {
        let at = usize::from(digest.as_bytes()[0]);
        let (shard, wanted) = (&self.shards[at], prefix(digest));
        let from = shard.prefixes.partition_point(|prefix| *prefix < wanted);
        // Mostly one; digests that begin alike follow each other.
        let alike = shard.prefixes[from..].iter().take_while(|prefix| **prefix == wanted).count();
        let found =
            from + shard.items[from..from + alike].iter().position(|(one, _)| one == digest)?;
        Some((self.first[at] + found as u32, shard.items[found].1))
    }

    /// The digests of a shard with their numbers and what was given with them.
    pub(crate) fn shard(&self, shard: u8) -> impl Iterator<Item = (u32, Digest, u64)> {
        let first = self.first[usize::from(shard)];
        let items = self.shards[usize::from(shard)].items.iter().enumerate();
        items.map(move |(at, (digest, value))| (first + at as u32, *digest, *value))
    }
}

/// One bit for each number; set from many threads.
#[derive(Debug)]
pub(crate) struct Marks(Vec<AtomicU64>);

impl Marks {
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count.div_ceil(64)).map(|_| AtomicU64::new(0)).collect())
    }

    /// Sets the mark; says whether it was not set before.
    pub(crate) fn set(&self, number: u32) -> bool {
        let bit = 1 << (number % 64);
        self.0[number as usize / 64].fetch_or(bit, Ordering::Relaxed) & bit == 0
    }

    pub(crate) fn clear(&self, number: u32) {
        self.0[number as usize / 64].fetch_and(!(1 << (number % 64)), Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self, number: u32) -> bool {
        self.0[number as usize / 64].load(Ordering::Relaxed) & (1 << (number % 64)) != 0
    }
}

impl Store {
    /// Calls `each` with path, digest and size of every file of a layer; its bytes are checked first.
    pub(crate) fn scan_layer(
        &self,
        layer: &Digest,
        each: impl FnMut(&[u8], Digest, u64),
    ) -> Result<()> {
        scan_contents(&self.layer_bytes(layer)?, each)
            .map_err(|source| StoreError::Layer { name: layer.to_string(), source })
    }
}

/// Whether an error says that something stored is damaged or gone, and not that reading failed.
pub(crate) fn is_damage(error: &StoreError) -> bool {
    matches!(
        error,
        StoreError::Missing { .. }
            | StoreError::Damaged { .. }
            | StoreError::Layer { .. }
            | StoreError::BadManifest { .. }
            | StoreError::TooLarge { .. }
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_dense_and_marks_are_single() {
        let digests: Vec<Digest> =
            (0..1000_u32).map(|index| Digest::of(&index.to_le_bytes())).collect();
        let numbered = Numbered::of_shards(|shard| {
            let of_shard = digests.iter().filter(|digest| digest.as_bytes()[0] == shard);
            Ok(of_shard.chain(&digests[..0]).map(|digest| (*digest, 7)).collect())
        })
        .unwrap();
        assert_eq!(numbered.len(), 1000);
        let mut numbers: Vec<u32> =
            digests.iter().map(|digest| numbered.get(digest).unwrap().0).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, (0..1000).collect::<Vec<u32>>());
        assert_eq!(numbered.get(&Digest::of(b"other")), None);
        for shard in ALL_SHARDS {
            for (number, digest, value) in numbered.shard(shard) {
                assert_eq!(numbered.get(&digest), Some((number, value)));
            }
        }
        let mut alike = [[7; 32]; 3];
        (alike[0][31], alike[1][31]) = (1, 2);
        let alike = alike.map(Digest::from_bytes);
        let numbered = Numbered::of_shards(|shard| match shard {
            7 => Ok(alike[..2].iter().rev().map(|digest| (*digest, 0)).collect()),
            _ => Ok(Vec::new()),
        });
        let numbered = numbered.unwrap();
        let found = alike.map(|digest| numbered.get(&digest).map(|(number, _)| number));
        assert_eq!(found, [Some(0), Some(1), None], "digests that begin alike are told apart");
        let marks = Marks::new(1000);
        assert!(marks.set(999) && !marks.set(999) && marks.is_set(999) && !marks.is_set(998));
        marks.clear(999);
        assert!(!marks.is_set(999));
    }
}
