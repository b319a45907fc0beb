//! Merging layers and finding one's way in the tree.

mod support;

use std::collections::BTreeMap;

use hornero_store::{Aspects, ChangeKind, Entry, EntryKind, Layer, Tree, TreePath};
use proptest::prelude::*;
use support::{directory, loose_file, opaque, path, symlink, whiteout};

fn merged(layers: &[Vec<Entry>]) -> Tree {
    Tree::merge(layers.iter().map(|entries| Layer::from_entries(entries.clone()).unwrap()))
}

fn check(layers: &[Vec<Entry>], expected: &[&str]) {
    let tree = merged(layers);
    let paths: Vec<String> =
        tree.entries()[1..].iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, expected);
    assert_eq!(Tree::merge([tree.clone().into_layer()]), tree, "a tree is a layer of itself");
}

fn base() -> Vec<Entry> {
    vec![
        directory("a"),
        loose_file("a/x", "x"),
        directory("a/sub"),
        loose_file("a/sub/y", "y"),
        loose_file("a-b", "-"),
        loose_file("z", "z"),
    ]
}

#[test]
fn a_whiteout_removes_the_whole_subtree() {
    check(&[base(), vec![whiteout("a")]], &["/a-b", "/z"]);
    check(&[base(), vec![whiteout("a/sub")]], &["/a", "/a/x", "/a-b", "/z"]);
    check(
        &[base(), vec![whiteout("not-there"), whiteout("zz")]],
        &["/a", "/a/sub", "/a/sub/y", "/a/x", "/a-b", "/z"],
    );
}

#[test]
fn an_opaque_directory_hides_what_was_in_it() {
    check(&[base(), vec![opaque("a"), loose_file("a/new", "n")]], &["/a", "/a/new", "/a-b", "/z"]);
    check(&[base(), vec![opaque("a"), directory("a/sub")]], &["/a", "/a/sub", "/a-b", "/z"]);
}

#[test]
fn a_file_replaces_a_directory_and_the_other_way_round() {
    check(&[base(), vec![loose_file("a", "file")]], &["/a", "/a-b", "/z"]);
    check(
        &[base(), vec![directory("z"), loose_file("z/in", "i")]],
        &["/a", "/a/sub", "/a/sub/y", "/a/x", "/a-b", "/z", "/z/in"],
    );
    check(&[vec![loose_file("z", "z")], vec![loose_file("z/in", "i")]], &["/z", "/z/in"]);
}

#[test]
fn a_directory_that_no_layer_lists_is_root_owned() {
    check(&[vec![loose_file("x/y/z", "z")]], &["/x", "/x/y", "/x/y/z"]);
    let tree = merged(&[vec![loose_file("x/y/z", "z")]]);
    let made = &tree.get(&path("x/y")).unwrap().metadata;
    assert_eq!((made.mode, made.uid, made.mtime), (0o755, 0, 0));
}

#[test]
fn the_upper_directory_gives_the_metadata() {
    let mut upper = directory("a");
    upper.metadata.mode = 0o700;
    let tree = merged(&[base(), vec![upper]]);
    assert_eq!(tree.get(&path("a")).unwrap().metadata.mode, 0o700);
    assert!(tree.get(&path("a/sub/y")).is_some());
}

#[test]
fn lookup_follows_symlinks_inside_the_root() {
    let tree = merged(&[vec![
        directory("usr"),
        directory("usr/bin"),
        loose_file("usr/bin/sh", "sh"),
        symlink("bin", "usr/bin"),
        symlink("abs", "/bin/sh"),
        symlink("up", "../../../usr/bin/sh"),
        symlink("loop", "loop"),
        symlink("dangling", "nowhere"),
    ]]);
    for found in [
        "/usr/bin/sh",
        "usr/bin/sh",
        "/bin/sh",
        "/abs",
        "/up",
        "/bin/../bin/sh",
        "/../usr/./bin//sh",
    ] {
        assert_eq!(tree.lookup(found).unwrap().path, path("usr/bin/sh"), "{found}");
    }
    assert_eq!(tree.lookup("/").unwrap().path, path(""));
    for missing in ["/loop", "/dangling", "/usr/bin/sh/x", "/none/../usr"] {
        assert!(tree.lookup(missing).is_err(), "{missing}");
    }
    assert_eq!(tree.resolve(b"/abs", false).unwrap().path, path("abs"));
}

#[test]
fn children_are_those_directly_inside() {
    let tree = merged(&[base()]);
    let names = |at: &str| -> Vec<String> {
        tree.children(&path(at)).map(|entry| entry.path.to_string()).collect()
    };
    assert_eq!(names(""), ["/a", "/a-b", "/z"]);
    assert_eq!(names("a"), ["/a/sub", "/a/x"]);
}

/// The plain way to merge: a map of paths.
fn slowly(layers: &[Vec<Entry>]) -> Vec<String> {
    let mut all: BTreeMap<TreePath, Entry> = BTreeMap::new();
    for layer in layers {
        for entry in layer {
            let hides =
                !entry.kind.is_directory() || entry.kind == EntryKind::Directory { opaque: true };
            if hides {
                all.retain(|path, _| !path.is_below(&entry.path));
            }
            // A directory in the way of a file's path has to be one.
            let mut above = entry.path.parent();
            while let Some(parent) = above.filter(|path| !path.is_root()) {
                if entry.kind != EntryKind::Whiteout
                    && all.get(&parent).is_none_or(|entry| !entry.kind.is_directory())
                {
                    all.insert(parent.clone(), directory(parent.as_bytes()));
                }
                above = parent.parent();
            }
            match entry.kind {
                EntryKind::Whiteout => all.remove(&entry.path),
                _ => all.insert(entry.path.clone(), entry.clone()),
            };
        }
    }
    all.keys().map(ToString::to_string).collect()
}

fn layer() -> impl Strategy<Value = Vec<Entry>> {
    let one = ("[ab](/[ab-]){0,3}", 0..4_u8).prop_map(|(at, kind)| match kind {
        0 => directory(at),
        1 => opaque(at),
        2 => loose_file(at, "c"),
        _ => whiteout(at),
    });
    prop::collection::vec(one, 0..8).prop_map(|raw| {
        let mut kept: Vec<Entry> = Vec::new();
        for entry in raw {
            let clash = |other: &Entry| {
                other.path == entry.path
                    || !other.kind.is_directory() && entry.path.is_below(&other.path)
                    || !entry.kind.is_directory() && other.path.is_below(&entry.path)
            };
            if !kept.iter().any(clash) {
                kept.push(entry);
            }
        }
        kept.sort_by(|one, two| one.path.cmp(&two.path));
        kept
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn merging_in_one_pass_equals_merging_slowly(layers in prop::collection::vec(layer(), 1..4)) {
        let tree = merged(&layers);
        let paths: Vec<String> = tree.entries()[1..].iter().map(|entry| entry.path.to_string()).collect();
        prop_assert_eq!(paths, slowly(&layers));
    }
}

#[test]
fn a_diff_names_each_path_and_what_differs() {
    let mut moded = loose_file("a/x", "x");
    moded.metadata.mode = 0o600;
    moded.metadata.uid = 7;
    let mut noted = directory("a/sub");
    noted.metadata.xattrs.insert(b"user.n".as_slice().into(), b"1".as_slice().into());
    let old = merged(&[base()]);
    let new = merged(&[
        base(),
        vec![
            moded,
            noted,
            loose_file("a/sub/y", "longer"),
            symlink("a-b", "z"),
            whiteout("z"),
            loose_file("zz", "n"),
        ],
    ]);
    let changes = Tree::diff(&old, &new);
    let found: Vec<(String, ChangeKind)> = changes
        .iter()
        .map(|change| (change.new.or(change.old).unwrap().path.to_string(), change.kind))
        .collect();
    let changed = |at: &str, aspects| (at.to_owned(), ChangeKind::Changed(aspects));
    let none = Aspects::default();
    assert_eq!(
        found,
        [
            changed("/a/sub", Aspects { xattrs: true, ..none }),
            changed("/a/sub/y", Aspects { content: true, size: true, ..none }),
            changed("/a/x", Aspects { mode: true, owner: true, ..none }),
            changed("/a-b", Aspects { kind: true, mode: true, ..none }),
            ("/z".to_owned(), ChangeKind::Removed),
            ("/zz".to_owned(), ChangeKind::Added),
        ]
    );
    assert_eq!(Tree::diff(&new, &new), []);
}
