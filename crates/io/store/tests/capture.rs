//! Upper directories of real overlays, and plain directories, as layers.

mod support;

use std::{
    fs::{self, File},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown, symlink},
        net::UnixListener,
    },
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{
    CaptureOptions, DevicePolicy, Entry, EntryKind, ImageManifest, Layer, StoreError, Tree,
};
use rustix::fs::{CWD, FileType, Mode, XattrFlags, lsetxattr, makedev, mknodat};
use support::{
    MTIME, OPTIONS, Scratch, directory, file, in_private_mounts, mount_erofs, mount_overlay, path,
    scratch,
};

struct Built {
    own: Scratch,
    lower: Tree,
    layer: Layer,
    merged: Tree,
}

fn lower_layer(own: &Scratch) -> Digest {
    let ingest = own.store.ingest().unwrap();
    let mut entries = vec![
        directory("etc"),
        file(&ingest, "etc/conf", "old configuration"),
        file(&ingest, "etc/keep", "kept"),
        file(&ingest, "etc/gone", "gone"),
        directory("lib"),
        file(&ingest, "lib/one", "1"),
        directory("lib/sub"),
        file(&ingest, "lib/sub/two", "2"),
        file(&ingest, "lib/sub/three", "3"),
        directory("old"),
        file(&ingest, "old/x", "x"),
        file(&ingest, "big", vec![5; 2 << 20]),
    ];
    for entry in &mut entries {
        entry.metadata.mtime = MTIME - 100;
    }
    let layer = ingest.put_layer(&Layer::from_entries(entries).unwrap()).unwrap();
    ingest.finish().unwrap();
    layer
}

/// Lets `work` change an overlay as a build step would, captures the upper directory, and makes sure that
/// the merged tree is what the overlay showed.
fn build(work: impl FnOnce(&Path) + Send) -> Built {
    let own = scratch();
    let base = lower_layer(&own);
    let root = own.store.root_of_layers(&[base]).unwrap();
    let at = |name: &str| -> PathBuf {
        let path = own.dir.path().join(name);
        fs::create_dir_all(&path).unwrap();
        path
    };
    let (meta, upper, scratch_dir, merged_dir) =
        (at("meta"), at("upper"), at("work"), at("merged"));
    let shown = in_private_mounts(|| {
        mount_erofs(&root.metadata, &meta);
        let lower = format!("{}::{}", meta.display(), root.objects.display());
        mount_overlay(
            &[
                ("lowerdir", &lower),
                ("upperdir", upper.to_str().unwrap()),
                ("workdir", scratch_dir.to_str().unwrap()),
                ("metacopy", "on"),
                ("redirect_dir", "on"),
            ],
            &merged_dir,
        );
        work(&merged_dir);
        let ingest = own.store.ingest().unwrap();
        ingest.capture_directory(&merged_dir, &OPTIONS).unwrap()
    });
    let lower = (*own.store.tree_of_layers(&[base]).unwrap()).clone();
    let ingest = own.store.ingest().unwrap();
    let layer = ingest.capture_upper(&upper, Some(&lower), &OPTIONS).unwrap();
    let top = ingest.put_layer(&layer).unwrap();
    ingest.finish().unwrap();
    let image = ImageManifest::new(vec![base, top], ImageConfig::default());
    own.store.put_image(&image).unwrap();
    let merged = lower.clone().with(layer.clone());
    assert_eq!(merged.entries()[1..], *shown.entries(), "the tree is what the overlay showed");
    Built { own, lower, layer, merged }
}

fn paths(layer: &Layer) -> Vec<String> {
    layer.entries().iter().map(|entry| format!("{} {}", entry.kind.word(), entry.path)).collect()
}

fn find<'a>(entries: &'a [Entry], at: &str) -> &'a Entry {
    entries.iter().find(|entry| entry.path == path(at)).unwrap()
}

#[test]
fn what_a_build_step_changes_is_all_that_is_captured() {
    let built = build(|root| {
        fs::write(root.join("etc/conf"), "new configuration").unwrap();
        fs::remove_file(root.join("etc/gone")).unwrap();
        fs::write(root.join("added"), "added").unwrap();
        symlink("etc/conf", root.join("pointer")).unwrap();
        fs::remove_dir_all(root.join("old")).unwrap();
        UnixListener::bind(root.join("socket")).unwrap();
        fs::remove_file(root.join("socket")).unwrap();
    });
    assert_eq!(
        paths(&built.layer),
        [
            "file /added",
            "directory /etc",
            "file /etc/conf",
            "whiteout /etc/gone",
            "whiteout /old",
            "symlink /pointer",
        ]
    );
    assert_eq!(find(built.layer.entries(), "added").metadata.mtime, MTIME, "now is clamped");
    let content = built.own.store.read_tree_file(&built.merged, "/pointer").unwrap();
    assert_eq!(content, b"new configuration");
    assert_eq!(built.lower.entries().len(), 13);
}

#[test]
fn a_metadata_only_copy_keeps_the_lower_content() {
    let built = build(|root| {
        fs::set_permissions(root.join("big"), fs::Permissions::from_mode(0o600)).unwrap();
        chown(root.join("etc/keep"), Some(33), Some(34)).unwrap();
        // Renamed as well: overlayfs notes where the content is.
        fs::set_permissions(root.join("etc/conf"), fs::Permissions::from_mode(0o640)).unwrap();
        fs::rename(root.join("etc/conf"), root.join("lib/moved")).unwrap();
    });
    let copied = built.own.dir.path().join("upper/big");
    rustix::fs::lgetxattr(copied, "trusted.overlay.metacopy", &mut [0; 64])
        .expect("only metadata was copied up");
    let entries = built.layer.entries();
    let content = |content: &[u8]| EntryKind::File {
        digest: Digest::of(content),
        size: content.len() as u64,
    };
    assert_eq!(find(entries, "big").kind, content(&[5; 2 << 20]));
    assert_eq!(find(entries, "big").metadata.mode, 0o600);
    assert_eq!(find(entries, "etc/keep").metadata.uid, 33);
    assert_eq!(find(entries, "lib/moved").kind, content(b"old configuration"));
    assert_eq!(find(entries, "etc/conf").kind, EntryKind::Whiteout);
}

#[test]
fn a_renamed_directory_takes_along_what_was_in_it() {
    let built = build(|root| {
        fs::rename(root.join("lib"), root.join("library")).unwrap();
        fs::remove_file(root.join("library/sub/two")).unwrap();
        fs::write(root.join("library/sub/four"), "4").unwrap();
        fs::set_permissions(root.join("library/one"), fs::Permissions::from_mode(0o600)).unwrap();
        fs::rename(root.join("library/sub"), root.join("library/below")).unwrap();
    });
    let below: Vec<String> =
        built.merged.below(&path("library")).iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(
        below,
        ["/library/below", "/library/below/four", "/library/below/three", "/library/one"]
    );
    assert!(built.merged.get(&path("lib")).is_none());
}

#[test]
fn a_directory_made_anew_hides_the_old_one() {
    let built = build(|root| {
        fs::remove_dir_all(root.join("lib")).unwrap();
        fs::create_dir(root.join("lib")).unwrap();
        fs::write(root.join("lib/fresh"), "f").unwrap();
    });
    assert_eq!(find(built.layer.entries(), "lib").kind, EntryKind::Directory { opaque: true });
    assert_eq!(built.merged.below(&path("lib")).len(), 1);
}

#[test]
fn touching_without_changing_captures_nothing() {
    let built = build(|root| {
        let file = File::options().write(true).open(root.join("etc/keep")).unwrap();
        file.set_times(
            fs::FileTimes::new()
                .set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(MTIME - 100)),
        )
        .unwrap();
    });
    assert_eq!(paths(&built.layer), Vec::<String>::new());
}

#[test]
fn a_plain_directory_is_captured_whole() {
    let own = scratch();
    let dir = own.dir.path().join("plain");
    fs::create_dir_all(dir.join("sub")).unwrap();
    fs::write(dir.join("sub/file"), "content").unwrap();
    fs::hard_link(dir.join("sub/file"), dir.join("sub/linked")).unwrap();
    symlink("sub/file", dir.join("pointer")).unwrap();
    let _socket = UnixListener::bind(dir.join("socket")).unwrap();
    mknodat(CWD, dir.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    lsetxattr(dir.join("sub/file"), "user.note", b"n", XattrFlags::empty()).unwrap();
    // As overlayfs writes it, but this is no upper directory.
    lsetxattr(dir.join("sub"), "trusted.overlay.opaque", b"y", XattrFlags::empty()).unwrap();
    let ingest = own.store.ingest().unwrap();
    let layer = ingest.capture_directory(&dir, &OPTIONS).unwrap();
    assert_eq!(
        paths(&layer),
        ["fifo /fifo", "symlink /pointer", "directory /sub", "file /sub/file", "file /sub/linked"]
    );
    let entry = find(layer.entries(), "sub/file");
    assert_eq!(
        entry.kind,
        find(layer.entries(), "sub/linked").kind,
        "a hard link is an equal file"
    );
    assert_eq!(entry.metadata.xattrs.len(), 1);
    assert_eq!(entry.metadata.uid, fs::metadata(&dir).unwrap().uid());
    assert_eq!(find(layer.entries(), "sub").kind, EntryKind::Directory { opaque: false });
}

#[test]
fn devices_are_as_the_policy_says() {
    let own = scratch();
    let dir = own.dir.path().join("devices");
    fs::create_dir(&dir).unwrap();
    mknodat(
        CWD,
        dir.join("zero"),
        FileType::CharacterDevice,
        Mode::from_raw_mode(0o666),
        makedev(1, 5),
    )
    .unwrap();
    let ingest = own.store.ingest().unwrap();
    let capture = |devices| ingest.capture_directory(&dir, &CaptureOptions { devices, ..OPTIONS });
    assert!(matches!(capture(DevicePolicy::Refuse), Err(StoreError::Capture { .. })));
    assert_eq!(capture(DevicePolicy::Skip).unwrap().entries(), []);
    let kept = capture(DevicePolicy::Keep).unwrap();
    assert_eq!(kept.entries()[0].kind, EntryKind::CharDevice { major: 1, minor: 5 });
    mknodat(CWD, dir.join("whiteout"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), 0)
        .unwrap();
    assert!(matches!(capture(DevicePolicy::Keep), Err(StoreError::Layer { .. })));
}

#[test]
fn capabilities_set_in_a_user_namespace_become_those_of_the_image() {
    let own = scratch();
    let dir = own.dir.path().join("caps");
    fs::create_dir(&dir).unwrap();
    fs::write(dir.join("ping"), "ping").unwrap();
    let mut capability = [0_u8; 24];
    (capability[0], capability[3], capability[5]) = (1, 3, 4);
    // The user namespace whose root is user 100000 on the host.
    capability[20..].copy_from_slice(&100_000_u32.to_le_bytes());
    lsetxattr(dir.join("ping"), "security.capability", &capability, XattrFlags::empty()).unwrap();
    let ingest = own.store.ingest().unwrap();
    let layer = ingest.capture_directory(&dir, &OPTIONS).unwrap();
    let value = &layer.entries()[0].metadata.xattrs[b"security.capability".as_slice()];
    assert_eq!((value.len(), value[0], value[3], value[5]), (20, 1, 2, 4));
}

#[test]
fn the_layer_of_equal_directories_is_equal() {
    let layers = [0_u64, 5000].map(|seconds| {
        let own = scratch();
        let dir = own.dir.path().join(format!("copy-{seconds}"));
        fs::create_dir(&dir).unwrap();
        let names = ["b", "a", "c"];
        for index in 0..names.len() {
            let name = names[(index + seconds as usize) % names.len()];
            fs::write(dir.join(name), name).unwrap();
            let time = SystemTime::UNIX_EPOCH + Duration::from_secs(MTIME + seconds);
            let times = fs::FileTimes::new().set_modified(time);
            File::options().write(true).open(dir.join(name)).unwrap().set_times(times).unwrap();
        }
        own.store.ingest().unwrap().capture_directory(&dir, &OPTIONS).unwrap().digest()
    });
    assert_eq!(layers[0], layers[1]);
}
