//! Which layers travel together in one blob: the same ones wherever the same layers lie side by side.
//!
//! Docker takes at most 125 layers, an image of ours may have 1,024. Large layers travel alone. Small ones
//! share a blob with their neighbours, and where such a run ends is said by the digests themselves, so that
//! a change of one layer moves no other boundary. A layer that hides anything of an earlier one begins a new
//! blob: inside one blob nothing may be hidden, or its content would not travel.

use std::{collections::BTreeMap, ops::Range};

use hornero_model::Digest;
use hornero_store::{Entry, EntryKind, Layer, TreePath};

/// Blobs that an image is given if its layers let it.
const BLOBS_WANTED: usize = 100;
/// Docker's limit (`maxLayerDepth`), less the blob that says what the image is.
pub(super) const BLOBS_MAX: usize = 124;
/// From this size on a layer travels alone.
const LARGE_BYTES: u64 = 512 << 10;
/// One in so many small layers ends its blob.
const RUN_LENGTH: u64 = 4;

/// The runs of layers that share a blob; none when conflicts make more than `BLOBS_MAX` of them.
pub(super) fn group(layers: &[(Digest, Layer)]) -> Option<Vec<Range<usize>>> {
    let mut groups = Vec::new();
    // Each level doubles both measures, so that its boundaries are some of those of the level before.
    for level in 0..24 {
        groups = at_level(layers, level);
        if groups.len() <= BLOBS_WANTED {
            break;
        }
    }
    (groups.len() <= BLOBS_MAX).then_some(groups)
}

fn at_level(layers: &[(Digest, Layer)], level: u32) -> Vec<Range<usize>> {
    let mut groups: Vec<Range<usize>> = Vec::new();
    let mut run = Run::default();
    for (index, (digest, layer)) in layers.iter().enumerate() {
        let bytes = layer.contents().fold(0_u64, |sum, (_, size)| sum.saturating_add(size));
        let large = bytes >= LARGE_BYTES << level;
        if run.closed || large || run.conflicts(layer) || groups.is_empty() {
            groups.push(index..index + 1);
            run = Run::default();
        } else {
            groups.last_mut().expect("not empty").end = index + 1;
        }
        run.add(layer);
        let chance = u64::from_le_bytes(digest.as_bytes()[..8].try_into().expect("eight bytes"));
        run.closed = large || chance % (RUN_LENGTH << level) == 0;
    }
    groups
}

/// What the layers of a blob have so far.
#[derive(Default)]
struct Run {
    closed: bool,
    entries: BTreeMap<TreePath, bool>,
}

impl Run {
    fn add(&mut self, layer: &Layer) {
        for entry in layer.entries() {
            let merges = matches!(entry.kind, EntryKind::Directory { .. });
            self.entries.insert(entry.path.clone(), merges);
        }
    }

    /// Whether any entry of `layer` hides one of the run, or lies below what is no directory.
    fn conflicts(&self, layer: &Layer) -> bool {
        layer.entries().iter().any(|entry| self.hides(entry))
    }

    fn hides(&self, entry: &Entry) -> bool {
        let merges = matches!(entry.kind, EntryKind::Directory { opaque: false });
        if self.entries.get(&entry.path).is_some_and(|there| !there || !merges) {
            return true;
        }
        let next = || self.entries.range(&entry.path..).find(|(path, _)| **path != entry.path);
        if !merges && next().is_some_and(|(path, _)| path.is_below(&entry.path)) {
            return true;
        }
        let mut parent = entry.path.parent();
        while let Some(path) = parent {
            if self.entries.get(&path) == Some(&false) {
                return true;
            }
            parent = path.parent();
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use hornero_store::Metadata;
    use proptest::prelude::*;

    use super::*;

    fn file(path: &str, size: u64) -> Entry {
        entry(path, EntryKind::File { digest: Digest::of(path.as_bytes()), size })
    }

    fn entry(path: &str, kind: EntryKind) -> Entry {
        Entry { path: TreePath::new(path).unwrap(), kind, metadata: Metadata::default() }
    }

    fn layer(entries: Vec<Entry>) -> (Digest, Layer) {
        let layer = Layer::from_entries(entries).unwrap();
        (layer.digest(), layer)
    }

    /// Layers of one small file each, or a large one.
    fn layers(sizes: &[u32]) -> Vec<(Digest, Layer)> {
        let one = |(index, size): (usize, &u32)| {
            layer(vec![file(&format!("f{index}-{size}"), u64::from(*size))])
        };
        sizes.iter().enumerate().map(one).collect()
    }

    fn digests(layers: &[(Digest, Layer)]) -> Vec<Vec<Digest>> {
        let groups = group(layers).unwrap();
        groups.into_iter().map(|run| layers[run].iter().map(|one| one.0).collect()).collect()
    }

    proptest! {
        #[test]
        fn a_changed_layer_changes_no_blob_but_its_own_and_its_neighbours(
            sizes in proptest::collection::vec(1..1_000_000_u32, 1..90),
            at in any::<prop::sample::Index>(), other in 1..1_000_000_u32,
        ) {
            let before = digests(&layers(&sizes));
            prop_assert_eq!(before.concat(), layers(&sizes).iter().map(|l| l.0).collect::<Vec<_>>());
            let mut changed = sizes.clone();
            let at = at.index(sizes.len());
            changed[at] = other;
            let after = digests(&layers(&changed));
            let new = after.iter().filter(|blob| !before.contains(blob)).count();
            // Its own, and the one that it parted or joined.
            prop_assert!(new <= 3, "{} of {} blobs are new", new, after.len());
        }

        #[test]
        fn any_number_of_layers_fits(count in 1..1024_usize) {
            let sizes: Vec<u32> = (0..count as u32).map(|n| 1 + n * 1_999).collect();
            prop_assert!(group(&layers(&sizes)).unwrap().len() <= BLOBS_WANTED);
        }
    }

    /// Whether the second layer begins a blob of its own.
    fn check(below: Vec<Entry>, above: Vec<Entry>, parts: bool) {
        let mut run = Run::default();
        run.add(&layer(below.clone()).1);
        assert_eq!(run.conflicts(&layer(above.clone()).1), parts, "{below:?} {above:?}");
    }

    #[test]
    fn what_hides_begins_a_blob() {
        let directory = |path| entry(path, EntryKind::Directory { opaque: false });
        let opaque = |path| entry(path, EntryKind::Directory { opaque: true });
        let whiteout = |path| entry(path, EntryKind::Whiteout);
        check(vec![file("a", 1)], vec![file("b", 1)], false);
        check(vec![file("a", 1)], vec![file("a", 2)], true);
        check(vec![directory("a"), file("a/b", 1)], vec![directory("a"), file("a/c", 1)], false);
        check(vec![file("a/b", 1)], vec![whiteout("a")], true);
        check(vec![file("a/b", 1)], vec![opaque("a")], true);
        check(vec![directory("a")], vec![file("a", 1)], true);
        check(vec![whiteout("a")], vec![file("a/b", 1)], true);
        check(vec![opaque("a")], vec![file("a/b", 1)], false);
        check(vec![file("a-b", 1)], vec![whiteout("a")], false);
    }
}
