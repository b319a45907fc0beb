//! EROFS images of ours, read back by the kernel and checked by fsck.erofs.

mod support;

use std::{fs, io::Read, path::Path, process::Command};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{
    Entry, EntryKind, ImageManifest, Ingest, Layer, Store, Tree,
    erofs::{Content, write_image},
};
use support::{
    MTIME, OPTIONS, directory, entry, file, in_private_mounts, loose_file, mount_erofs,
    mount_overlay, scratch, symlink,
};

/// Names, sizes and kinds that have broken writers before.
fn awkward(ingest: &Ingest<'_>) -> Layer {
    let mut entries = vec![
        directory("bin"),
        file(ingest, "bin/tool", "tool"),
        file(ingest, "bin/same-as-tool", "tool"),
        file(ingest, "empty", ""),
        file(ingest, "one-block", vec![7; 4096]),
        file(ingest, "big", vec![9; 3 << 20]),
        symlink("short-link", "bin/tool"),
        symlink("long-link", vec![b'x'; 2500]),
        symlink("longest-link", vec![b'y'; 4095]),
        symlink("inline-link", vec![b'z'; 2048]),
        entry("fifo", EntryKind::Fifo, 0o600),
        entry("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666),
        entry("disk", EntryKind::BlockDevice { major: 259, minor: 70_000 }, 0o660),
        entry("setuid", ingest.put_bytes(b"suid").unwrap().into(), 0o4755),
        directory("sticky"),
        directory("many"),
        directory("exact"),
        directory("nothing-in-it"),
        // Sorts before `.` and after `..`.
        file(ingest, "!first", "1"),
        file(ingest, "..after", "2"),
        file(ingest, b"\xff\xfe-no-utf-8", "3"),
        file(ingest, "n".repeat(255), "4"),
    ];
    for index in 0..3000 {
        entries.push(file(
            ingest,
            format!("many/file-{index}"),
            format!("content {}", index % 100),
        ));
    }
    for index in 0..200 {
        let name = format!("exact/{index:03}{}", "x".repeat(150 + index % 100));
        entries.push(symlink(name, "t".repeat(1 + index * 20)));
    }
    for (index, entry) in entries.iter_mut().enumerate() {
        entry.metadata.mtime = MTIME - index as u64;
        entry.metadata.uid = index as u32 * 70_000;
        entry.metadata.gid = index as u32 % 7;
        let mut set = |name: &str, value: &[u8]| {
            entry.metadata.xattrs.insert(name.as_bytes().into(), value.into());
        };
        if entry.path.as_bytes() == b"sticky" {
            entry.metadata.mode = 0o1777;
            set("trusted.note", &[1; 2000]);
        }
        if entry.path.as_bytes() == b"bin/tool" {
            set(
                "security.capability",
                &[1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
            );
            set("trusted.overlay.mine", b"escaped");
            set("user.comment", b"");
        }
        if index % 50 == 0 && matches!(entry.kind, EntryKind::File { .. }) {
            set("user.long", &vec![b'v'; 10 + index % 900]);
        }
    }
    Layer::from_entries(entries).unwrap()
}

/// What the kernel shows below `dir`, taken into a store of its own.
fn seen(dir: &Path) -> Vec<Entry> {
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    ingest.capture_directory(dir, &OPTIONS).unwrap().into_entries()
}

/// What a capture of the tree gives: no root, and no attributes in overlayfs's namespace.
fn expected(tree: &Tree) -> Vec<Entry> {
    let mut entries = tree.entries()[1..].to_vec();
    for entry in &mut entries {
        entry.metadata.xattrs.retain(|name, _| !name.starts_with(b"trusted.overlay."));
    }
    entries
}

fn assert_same(seen: &[Entry], expected: &[Entry]) {
    for (one, two) in seen.iter().zip(expected) {
        assert_eq!(one, two);
    }
    assert_eq!(seen.len(), expected.len());
}

fn fsck(image: &Path) {
    match Command::new("fsck.erofs").arg(image).output() {
        Ok(output) => assert!(
            output.status.success(),
            "fsck.erofs: {}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        ),
        // The kernel's own reading, which every test here does as well, needs no package.
        Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}"),
    }
}

fn stored_image(store: &Store, layer: impl FnOnce(&Ingest<'_>) -> Layer) -> Digest {
    let ingest = store.ingest().unwrap();
    let layer = ingest.put_layer(&layer(&ingest)).unwrap();
    ingest.finish().unwrap();
    store.put_image(&ImageManifest::new(vec![layer], ImageConfig::default())).unwrap()
}

#[test]
fn an_overlay_of_metadata_image_and_objects_shows_the_tree() {
    let own = scratch();
    let image = stored_image(&own.store, awkward);
    let root = own.store.root(&image).unwrap();
    fsck(&root.metadata);
    let tree = own.store.tree(&image).unwrap();
    let (meta, merged) = (own.dir.path().join("meta"), own.dir.path().join("merged"));
    in_private_mounts(|| {
        mount_erofs(&root.metadata, &meta);
        let lower = format!("{}::{}", meta.display(), root.objects.display());
        mount_overlay(&[("lowerdir", &lower), ("metacopy", "on"), ("redirect_dir", "on")], &merged);
        assert_same(&seen(&merged), &expected(&tree));
        assert_eq!(fs::read(merged.join("bin/same-as-tool")).unwrap(), b"tool");
        let mut value = [0; 16];
        let len = rustix::fs::lgetxattr(
            meta.join("bin/tool"),
            "trusted.overlay.overlay.mine",
            &mut value,
        );
        assert_eq!(&value[..len.unwrap()], b"escaped");
        let links = |path: &Path| rustix::fs::lstat(path).unwrap().st_nlink;
        assert_eq!(links(&meta), 2 + 5, "a directory has two links and one for each in it");
        assert_eq!(links(&meta.join("big")), 1);
        assert_eq!(fs::read_dir(merged.join("many")).unwrap().count(), 3000);
        assert!(!merged.join("many/file-3000").exists());
    });
}

#[test]
fn a_plain_image_carries_its_contents() {
    let own = scratch();
    let image = stored_image(&own.store, awkward);
    let tree = own.store.tree(&image).unwrap();
    let open =
        |digest: &Digest| own.store.open_object(digest).map(|file| Box::new(file) as Box<dyn Read>);
    let mut bytes = Vec::new();
    write_image(&tree, &Content::Embedded(&open), &mut bytes).unwrap();
    let path = own.dir.path().join("plain.erofs");
    fs::write(&path, &bytes).unwrap();
    fsck(&path);
    let at = own.dir.path().join("plain");
    in_private_mounts(|| {
        mount_erofs(&path, &at);
        assert_same(&seen(&at), &expected(&tree));
    });
}

#[test]
fn the_same_tree_gives_the_same_bytes_whatever_the_layers() {
    let parts = [
        vec![directory("a"), loose_file("a/x", "1"), loose_file("a/y", "2")],
        vec![loose_file("b", "3"), symlink("c", "b")],
    ];
    let whole = Layer::from_entries(parts.concat()).unwrap();
    let image = |tree: &Tree| {
        let mut bytes = Vec::new();
        write_image(tree, &Content::Redirected, &mut bytes).unwrap();
        bytes
    };
    let split = Tree::merge(parts.map(|entries| Layer::from_entries(entries).unwrap()));
    assert_eq!(image(&Tree::merge([whole])), image(&split));
    // Changes of the writer change every image: they need a new format epoch.
    assert_eq!(
        Digest::of(&image(&split)).to_string(),
        "sha256:ef69b4f5628eee7731e18586495f843c40260ba41dd29be64d6c93887d20f5a7"
    );
}

#[test]
fn an_empty_tree_is_an_empty_directory() {
    let own = scratch();
    let image =
        own.store.put_image(&ImageManifest::new(Vec::new(), ImageConfig::default())).unwrap();
    let root = own.store.root(&image).unwrap();
    fsck(&root.metadata);
    let at = own.dir.path().join("empty");
    in_private_mounts(|| {
        mount_erofs(&root.metadata, &at);
        assert_eq!(fs::read_dir(&at).unwrap().count(), 0);
        assert_eq!(rustix::fs::stat(&at).unwrap().st_mode & 0o7777, 0o755);
    });
}
