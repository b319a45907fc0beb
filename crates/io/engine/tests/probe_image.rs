//! The image by which the sandbox tries ways to make roots is one of our store's.

use std::fs;

use hornero_model::Digest;
use hornero_store::{
    Entry, EntryKind, Layer, Metadata, Tree, TreePath,
    erofs::{Content, write_image},
};

/// What the probe reads; in the sandbox's `root/attempt.rs` with the path that is its digest.
const CONTENT: &[u8] = b"hornero\n";

fn image() -> Vec<u8> {
    let content = || EntryKind::File { digest: Digest::of(CONTENT), size: CONTENT.len() as u64 };
    let entry = |path: &str, kind, mode, owner: (u32, u32)| Entry {
        path: TreePath::new(path).unwrap(),
        kind,
        metadata: Metadata { uid: owner.0, gid: owner.1, ..Metadata::root_owned(mode, 0) },
    };
    let directory = || EntryKind::Directory { opaque: false };
    let layer = Layer::from_entries(vec![
        // The name of one of the store's own directories of objects, as an image may have it.
        entry("db", directory(), 0o755, (0, 0)),
        entry("db/own", content(), 0o600, (1, 2)),
        entry("file", content(), 0o644, (33, 34)),
    ]);
    let mut bytes = Vec::new();
    write_image(&Tree::merge([layer.unwrap()]), &Content::Redirected, &mut bytes).unwrap();
    bytes
}

#[test]
fn the_image_to_try_with_is_what_our_store_writes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../sandbox/src/root/probe.erofs");
    if std::env::var_os("HORNERO_WRITE_PROBE").is_some() {
        fs::write(path, image()).unwrap();
    }
    assert!(
        fs::read(path).unwrap() == image(),
        "run with HORNERO_WRITE_PROBE=1 and look at the change"
    );
}
