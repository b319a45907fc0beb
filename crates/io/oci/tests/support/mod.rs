//! Stores of their own, and images assembled from what every Debian machine has.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]
#![allow(dead_code, reason = "each test program uses a part of it")]

pub mod peers;
pub mod scripted;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{Entry, EntryKind, ImageManifest, Ingest, Layer, Metadata, Store, TreePath};

/// A directory with a store in it, removed when dropped.
pub struct Home {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Home {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // Instances are nobody outside, and have to get at the files below.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let store = Store::open(dir.path().join("store")).unwrap();
        Self { dir, store }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

pub fn entry(path: &str, kind: EntryKind, mode: u32) -> Entry {
    let metadata = Metadata::root_owned(mode, 1_700_000_000);
    Entry { path: TreePath::new(path).unwrap(), kind, metadata }
}

pub fn directory(path: &str) -> Entry {
    entry(path, EntryKind::Directory { opaque: false }, 0o755)
}

pub fn file(ingest: &Ingest<'_>, path: &str, bytes: &[u8], mode: u32) -> Entry {
    entry(path, ingest.put_bytes(bytes).unwrap().into(), mode)
}

pub fn symlink(path: &str, target: &str) -> Entry {
    entry(path, EntryKind::Symlink { target: target.as_bytes().into() }, 0o777)
}

/// Puts layers, each of these entries.
pub fn put_layers(store: &Store, make: impl FnOnce(&Ingest<'_>) -> Vec<Vec<Entry>>) -> Vec<Digest> {
    let ingest = store.ingest().unwrap();
    let layers = make(&ingest)
        .into_iter()
        .map(|entries| ingest.put_layer(&Layer::from_entries(entries).unwrap()).unwrap());
    let layers = layers.collect();
    ingest.finish().unwrap();
    layers
}

/// Busybox with its shell, users, and what layers do to each other: overwriting, removing, hiding.
pub fn small_layers(store: &Store) -> Vec<Digest> {
    let busybox = fs::read("/bin/busybox").expect("apt-get install busybox-static");
    put_layers(store, |ingest| {
        let sized = |path: &str, size: usize| {
            let bytes: Vec<u8> = (0..size).map(|at| (at * at / 7) as u8).collect();
            file(ingest, path, &bytes, 0o640)
        };
        let mut noted = file(ingest, "etc/noted", b"noted", 0o600);
        noted.metadata.uid = 33;
        noted.metadata.gid = 4_000_000;
        noted.metadata.xattrs =
            BTreeMap::from([(b"user.note".as_slice().into(), b"some\0bytes".as_slice().into())]);
        let mut sticky = directory("sticky");
        sticky.metadata.mode = 0o1777;
        vec![
            vec![
                directory("bin"),
                file(ingest, "bin/busybox", &busybox, 0o755),
                symlink("bin/sh", "busybox"),
                symlink("bin/cat", "busybox"),
                symlink("bin/ls", "busybox"),
                symlink("bin/stat", "busybox"),
                symlink("bin/id", "busybox"),
                symlink("bin/find", "busybox"),
            ],
            vec![
                directory("etc"),
                sticky,
                file(
                    ingest,
                    "etc/passwd",
                    b"root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n",
                    0o644,
                ),
                file(ingest, "etc/group", b"root:x:0:\nweb:x:33:\n", 0o644),
                noted,
                directory("old"),
                file(ingest, "old/a", b"a", 0o644),
                file(ingest, "old/b", b"b", 0o644),
            ],
            vec![file(ingest, "etc/version", b"1\n", 0o644), file(ingest, "etc/gone", b"x", 0o644)],
            // Removes, hides, overwrites, and a file whose directory it does not list.
            vec![
                file(ingest, "etc/version", b"2\n", 0o644),
                entry("etc/gone", EntryKind::Whiteout, 0),
                entry("old", EntryKind::Directory { opaque: true }, 0o700),
                file(ingest, "old/c", b"c", 0o644),
                file(ingest, "sticky/left", b"left", 0o644),
            ],
            vec![
                directory("data"),
                file(ingest, "data/empty", b"", 0o644),
                sized("data/9k", 9_000),
                sized("data/5m", 5 << 20),
                sized("data/same", 9_000),
                sized("data/1", 1),
                file(ingest, &format!("data/{}", "long-".repeat(40)), b"long", 0o644),
                entry("data/fifo", EntryKind::Fifo, 0o644),
            ],
        ]
        .into_iter()
        .map(|entries: Vec<Entry>| {
            let fix = |mut entry: Entry| {
                if entry.kind == EntryKind::Whiteout {
                    entry.metadata = Metadata::default();
                }
                entry
            };
            entries.into_iter().map(fix).collect()
        })
        .collect()
    })
}

pub fn small_image(store: &Store) -> Digest {
    let layers = small_layers(store);
    let config = ImageConfig {
        user: "web".into(),
        command: ["/bin/sh", "-c", "id -u; cat etc/version; pwd; echo $GREETING"]
            .map(str::to_owned)
            .into(),
        env: BTreeMap::from([
            ("GREETING".into(), "hello there".into()),
            ("PATH".into(), "/bin".into()),
        ]),
        workdir: "/".into(),
        ..ImageConfig::default()
    };
    store.put_image(&ImageManifest::new(layers, config)).unwrap()
}

/// What the command of [`small_image`] writes.
pub const SMALL_OUTPUT: &str = "33\n2\n/\nhello there\n";

/// The files of an installed Debian package as a layer's entries; `change` may give a file other bytes.
pub fn package(
    ingest: &Ingest<'_>,
    name: &str,
    change: &dyn Fn(&str, Vec<u8>) -> Vec<u8>,
) -> Vec<Entry> {
    let listed = run(Command::new("dpkg-query").args(["-L", name]));
    let mut entries = BTreeMap::new();
    for path in listed.lines().filter(|path| path.len() > 2) {
        // Where the root is merged, packages name some files by links; a layer does not.
        let Ok(metadata) = fs::symlink_metadata(path) else { continue };
        let real = Path::new(path).parent().and_then(|parent| parent.canonicalize().ok()).unwrap();
        let real = real.join(Path::new(path).file_name().unwrap());
        let inside = real.to_str().unwrap().trim_start_matches('/').to_owned();
        let kind = if metadata.is_dir() {
            EntryKind::Directory { opaque: false }
        } else if metadata.is_symlink() {
            let target = fs::read_link(path).unwrap();
            EntryKind::Symlink { target: target.to_str().unwrap().as_bytes().into() }
        } else if metadata.file_type().is_char_device() {
            continue;
        } else {
            let bytes = change(path, fs::read(path).unwrap());
            ingest.put_bytes(&bytes).unwrap().into()
        };
        let mut made = entry(&inside, kind, metadata.mode() & 0o7777);
        made.metadata.uid = metadata.uid();
        entries.insert(inside, made);
    }
    entries.into_values().collect()
}

/// Runs a command to its end; what it wrote.
pub fn run(command: &mut Command) -> String {
    let output = try_run(command);
    assert!(
        output.status.success(),
        "{command:?}\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

pub fn try_run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}
