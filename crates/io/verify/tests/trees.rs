//! Directories compared with the image they were made from.

mod support;

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs::{self, File, Permissions},
    os::unix::{
        ffi::OsStrExt,
        fs::{PermissionsExt, chown, symlink},
        net::UnixListener,
    },
    path::Path,
    time::{Duration, SystemTime},
};

use hornero_model::Digest;
use hornero_store::TreePath;
use hornero_verify::{Depth, Report, VerifyError, verify_tree};
use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, makedev, mknodat};
use support::{House, shown};

/// A tree with one of each kind, and its image.
fn sample(house: &House) -> (std::path::PathBuf, Digest) {
    let root = house.path("tree");
    fs::create_dir_all(root.join("etc/deep/er")).unwrap();
    fs::write(root.join("etc/config"), "one = 1\n").unwrap();
    fs::write(root.join("etc/deep/er/file"), "x").unwrap();
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::write(root.join("bin/tool"), "#!/bin/sh\n").unwrap();
    fs::set_permissions(root.join("bin/tool"), Permissions::from_mode(0o755)).unwrap();
    symlink("tool", root.join("bin/link")).unwrap();
    node(&root.join("pipe"), FileType::Fifo, 0);
    node(&root.join("null"), FileType::CharacterDevice, makedev(1, 3));
    // As an image has it that lists no root of its own.
    fs::set_permissions(&root, Permissions::from_mode(0o755)).unwrap();
    let image = house.image(&root);
    (root, image)
}

fn node(path: &Path, kind: FileType, device: u64) {
    mknodat(CWD, path, kind, Mode::from_raw_mode(0o644), device).unwrap();
}

fn compare(house: &House, image: &Digest, root: &Path, depth: Depth) -> Report {
    verify_tree(&house.store, image, root, depth, &[]).unwrap()
}

/// Changes the sample, and gives what both depths find.
fn check(change: impl FnOnce(&Path), fast: &[&str], full: &[&str]) {
    let house = House::new();
    let (root, image) = sample(&house);
    for depth in [Depth::Fast, Depth::Full] {
        assert_eq!(shown(&compare(&house, &image, &root, depth)), [""; 0]);
    }
    change(&root);
    assert_eq!(shown(&compare(&house, &image, &root, Depth::Fast)), fast);
    assert_eq!(shown(&compare(&house, &image, &root, Depth::Full)), full);
}

fn check_both(change: impl FnOnce(&Path), found: &[&str]) {
    check(change, found, found);
}

#[test]
fn what_was_added_is_named_with_all_below_it() {
    check_both(
        |root| {
            fs::create_dir_all(root.join("opt/new")).unwrap();
            fs::write(root.join("opt/new/file"), "").unwrap();
            fs::write(root.join("etc/config.bak"), "").unwrap();
            drop(UnixListener::bind(root.join("socket")).unwrap());
            fs::write(root.join(OsStr::from_bytes(b"bin/\xff")), "").unwrap();
        },
        &[
            "added /bin/\u{fffd}",
            "added /etc/config.bak",
            "added /opt",
            "added /opt/new",
            "added /opt/new/file",
            "added /socket",
        ],
    );
}

#[test]
fn what_was_removed_is_named_with_all_below_it() {
    check_both(
        |root| {
            fs::remove_dir_all(root.join("etc/deep")).unwrap();
            fs::remove_file(root.join("bin/link")).unwrap();
        },
        &[
            "removed /bin/link",
            "removed /etc/deep",
            "removed /etc/deep/er",
            "removed /etc/deep/er/file",
        ],
    );
}

#[test]
fn changed_contents_are_named() {
    check_both(|root| fs::write(root.join("etc/config"), "two").unwrap(), &["content /etc/config"]);
    // Of the same size, but at another time: reading tells.
    let later = || SystemTime::now() + Duration::from_secs(5);
    let set =
        |path: &Path, time| File::options().write(true).open(path).unwrap().set_modified(time);
    check_both(
        |root| {
            fs::write(root.join("etc/config"), "two = 2\n").unwrap();
            set(&root.join("etc/config"), later()).unwrap();
            set(&root.join("bin/tool"), later()).unwrap();
        },
        &["content /etc/config"],
    );
    // Of the same size and with the time put back: only a full look reads it.
    check(
        |root| {
            let path = root.join("etc/config");
            let time = fs::metadata(&path).unwrap().modified().unwrap();
            fs::write(&path, "two = 2\n").unwrap();
            set(&path, time).unwrap();
        },
        &[],
        &["content /etc/config"],
    );
}

#[test]
fn changed_metadata_is_named() {
    check_both(
        |root| {
            fs::set_permissions(root.join("bin/tool"), Permissions::from_mode(0o4755)).unwrap();
            fs::set_permissions(root.join("etc/deep"), Permissions::from_mode(0o777)).unwrap();
            chown(root.join("etc/config"), Some(33), None).unwrap();
            fs::remove_file(root.join("bin/link")).unwrap();
            symlink("/bin/sh", root.join("bin/link")).unwrap();
            fs::remove_file(root.join("null")).unwrap();
            node(&root.join("null"), FileType::CharacterDevice, makedev(1, 5));
            fs::set_permissions(root, Permissions::from_mode(0o777)).unwrap();
        },
        &[
            "mode /",
            "target /bin/link",
            "mode /bin/tool",
            "owner /etc/config",
            "mode /etc/deep",
            "device /null",
        ],
    );
}

#[test]
fn changed_kinds_are_named_and_never_waited_for() {
    check_both(
        |root| {
            fs::remove_file(root.join("etc/config")).unwrap();
            node(&root.join("etc/config"), FileType::Fifo, 0);
            fs::remove_file(root.join("bin/tool")).unwrap();
            node(&root.join("bin/tool"), FileType::CharacterDevice, makedev(1, 5));
            fs::remove_dir_all(root.join("etc/deep")).unwrap();
            // A link to a directory that looks just the same.
            fs::create_dir_all(root.join("copy/er")).unwrap();
            fs::write(root.join("copy/er/file"), "x").unwrap();
            symlink("../copy", root.join("etc/deep")).unwrap();
            fs::remove_file(root.join("pipe")).unwrap();
            fs::create_dir(root.join("pipe")).unwrap();
            fs::write(root.join("pipe/file"), "").unwrap();
        },
        &[
            "kind /bin/tool",
            "added /copy",
            "added /copy/er",
            "added /copy/er/file",
            "kind /etc/config",
            "kind /etc/deep",
            "removed /etc/deep/er",
            "removed /etc/deep/er/file",
            "kind /pipe",
            "added /pipe/file",
        ],
    );
}

#[test]
fn changed_attributes_are_named() {
    let set = |path: &Path, name: &str| {
        let flags = rustix::fs::XattrFlags::empty();
        rustix::fs::lsetxattr(path, name, b"1", flags).unwrap();
    };
    // A fast look reads those of programs, which may be capabilities.
    check(
        |root| {
            set(&root.join("bin/tool"), "user.note");
            set(&root.join("etc/config"), "user.note");
            set(&root.join("etc/deep"), "user.note");
        },
        &["attributes /bin/tool"],
        &["attributes /bin/tool", "attributes /etc/config", "attributes /etc/deep"],
    );
}

#[test]
fn what_is_ignored_and_what_is_mounted_is_not_entered() {
    let house = House::new();
    let (root, image) = sample(&house);
    fs::remove_dir_all(root.join("etc/deep")).unwrap();
    fs::create_dir_all(root.join("data/volume")).unwrap();
    fs::write(root.join("data/volume/file"), "").unwrap();
    let ignore = ["etc/deep/er", "data"].map(|path| TreePath::new(path).unwrap());
    let report = verify_tree(&house.store, &image, &root, Depth::Full, &ignore).unwrap();
    assert_eq!(shown(&report), ["removed /etc/deep"]);

    // On a thread with mounts of its own: they go with it.
    let report = std::thread::scope(|scope| {
        let mounted = || {
            use rustix::{mount, thread};
            let flags = thread::UnshareFlags::FS | thread::UnshareFlags::NEWNS;
            // SAFETY: only this thread's root, working directory and mounts become its own.
            unsafe { thread::unshare_unsafe(flags) }.unwrap();
            let private = mount::MountPropagationFlags::PRIVATE | mount::MountPropagationFlags::REC;
            mount::mount_change("/", private).unwrap();
            let none = mount::MountFlags::empty();
            mount::mount("none", root.join("bin"), "tmpfs", none, None).unwrap();
            fs::write(root.join("bin/other"), "").unwrap();
            verify_tree(&house.store, &image, &root, Depth::Full, &ignore).unwrap()
        };
        scope.spawn(mounted).join().unwrap()
    });
    assert_eq!(shown(&report), ["mount /bin", "removed /etc/deep"]);
}

#[test]
fn a_tree_that_changes_meanwhile_ends_the_look_nowhere_else() {
    let house = House::new();
    let (root, image) = sample(&house);
    let outside = house.path("outside");
    fs::create_dir_all(outside.join("er")).unwrap();
    fs::write(outside.join("er/secret"), "secret").unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (deep, aside) = (root.join("etc/deep"), root.join("etc/aside"));
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                fs::rename(&deep, &aside).unwrap();
                symlink(&outside, &deep).unwrap();
                fs::remove_file(&deep).unwrap();
                fs::rename(&aside, &deep).unwrap();
            }
        });
        for _ in 0..300 {
            let report = compare(&house, &image, &root, Depth::Full);
            for finding in &report.findings {
                assert!(!finding.path.contains("secret"), "{finding:?}");
                assert!(finding.path.starts_with("/etc/"), "{finding:?}");
            }
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!(shown(&compare(&house, &image, &root, Depth::Full)), [""; 0]);
}

#[test]
fn no_directory_is_an_error() {
    let house = House::new();
    let (root, image) = sample(&house);
    for path in [house.path("missing"), root.join("etc/config")] {
        let error = verify_tree(&house.store, &image, &path, Depth::Fast, &[]).unwrap_err();
        assert!(matches!(error, VerifyError::Io { .. }), "{error}");
    }
}

/// What a generated tree has at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    File(u8, u32),
    Link(u8),
}

fn node_strategy() -> impl Strategy<Value = Node> {
    prop_oneof![
        (0..3_u8, prop_oneof![Just(0o644_u32), Just(0o600)])
            .prop_map(|(byte, mode)| Node::File(byte, mode)),
        (0..2_u8).prop_map(Node::Link),
    ]
}

type Nodes = std::collections::BTreeMap<(u8, u8), Node>;

fn nodes() -> impl Strategy<Value = Nodes> {
    proptest::collection::btree_map((0..3_u8, 0..4_u8), node_strategy(), 0..9)
}

fn write(root: &Path, nodes: &Nodes) {
    fs::create_dir(root).unwrap();
    fs::set_permissions(root, Permissions::from_mode(0o755)).unwrap();
    for ((directory, name), node) in nodes {
        let directory = root.join(directory.to_string());
        fs::create_dir_all(&directory).unwrap();
        let path = directory.join(name.to_string());
        match node {
            Node::File(byte, mode) => {
                fs::write(&path, [*byte; 5]).unwrap();
                fs::set_permissions(&path, Permissions::from_mode(*mode)).unwrap();
            }
            Node::Link(target) => symlink(target.to_string(), &path).unwrap(),
        }
    }
}

/// What must be found, told by the generated trees alone.
fn differences(old: &Nodes, new: &Nodes) -> BTreeSet<String> {
    let directories =
        |nodes: &Nodes| nodes.keys().map(|(directory, _)| *directory).collect::<BTreeSet<_>>();
    let (before, after) = (directories(old), directories(new));
    let mut found = BTreeSet::new();
    found.extend(after.difference(&before).map(|name| format!("added /{name}")));
    found.extend(before.difference(&after).map(|name| format!("removed /{name}")));
    for path in old.keys().chain(new.keys()) {
        let shown = format!("/{}/{}", path.0, path.1);
        match (old.get(path), new.get(path)) {
            (None, _) => {
                found.insert(format!("added {shown}"));
            }
            (_, None) => {
                found.insert(format!("removed {shown}"));
            }
            (Some(Node::File(byte, mode)), Some(Node::File(other, other_mode))) => {
                if byte != other {
                    found.insert(format!("content {shown}"));
                }
                if mode != other_mode {
                    found.insert(format!("mode {shown}"));
                }
            }
            (Some(Node::Link(target)), Some(Node::Link(other))) => {
                if target != other {
                    found.insert(format!("target {shown}"));
                }
            }
            (Some(_), Some(_)) => {
                found.insert(format!("kind {shown}"));
            }
        }
    }
    found
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn exactly_what_differs_is_found(old in nodes(), new in nodes()) {
        let house = House::new();
        let (one, other) = (house.path("old"), house.path("new"));
        write(&one, &old);
        write(&other, &new);
        let image = house.image(&one);
        let found = compare(&house, &image, &other, Depth::Full);
        let found: BTreeSet<String> = shown(&found).into_iter().collect();
        prop_assert_eq!(found, differences(&old, &new));
        let same = compare(&house, &image, &one, Depth::Fast);
        prop_assert_eq!(shown(&same), Vec::<String>::new());
    }
}
