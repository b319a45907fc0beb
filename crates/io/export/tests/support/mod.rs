//! What the tests of exports share: stores with images, what a mounted tree holds, programs that have to succeed.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]
#![allow(dead_code, reason = "each test file is a program of its own and uses a part of this")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use hornero_export::{ExportEvent, ExportProgress};
use hornero_model::{Digest, ImageConfig};
use hornero_store::{
    CaptureOptions, DevicePolicy, Entry, EntryKind, ImageManifest, Ingest, Layer, Metadata, Store,
    TreePath,
};
use rustix::{
    mount::{MountPropagationFlags, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};

pub const MTIME: u64 = 1_700_000_000;

pub struct Scratch {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

impl Scratch {
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// A store in a directory of its own; on disk, since a file system in memory has fewer kinds of attributes.
pub fn scratch() -> Scratch {
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    Scratch { dir, store }
}

pub fn entry(at: impl AsRef<[u8]>, kind: EntryKind, mode: u32) -> Entry {
    let path = TreePath::new(at.as_ref()).unwrap();
    Entry { path, kind, metadata: Metadata::root_owned(mode, MTIME) }
}

pub fn directory(at: impl AsRef<[u8]>) -> Entry {
    entry(at, EntryKind::Directory { opaque: false }, 0o755)
}

pub fn symlink(at: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    entry(at, EntryKind::Symlink { target: target.as_ref().into() }, 0o777)
}

pub fn file(ingest: &Ingest<'_>, at: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
    entry(at, ingest.put_bytes(content.as_ref()).unwrap().into(), 0o644)
}

/// Stores an image with a layer of each list of entries.
pub fn put(store: &Store, layers: Vec<Vec<Entry>>, config: ImageConfig) -> Digest {
    let layers = layers
        .into_iter()
        .map(|entries| store.put_layer(&Layer::from_entries(entries).unwrap()).unwrap())
        .collect();
    store.put_image(&ImageManifest::new(layers, config)).unwrap()
}

/// Names, sizes and kinds that break writers.
pub fn awkward(store: &Store) -> Vec<Entry> {
    let ingest = store.ingest().unwrap();
    // Contents that don't compress, so that offsets are not all small.
    let noise = |len: usize, seed: u64| -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 56) as u8
        };
        (0..len).map(|_| next()).collect()
    };
    let mut entries = vec![
        directory("bin"),
        file(&ingest, "bin/tool", "tool"),
        file(&ingest, "bin/same-as-tool", "tool"),
        file(&ingest, "empty", ""),
        file(&ingest, "one-block", noise(128 << 10, 1)),
        file(&ingest, "one-block-and-one", noise((128 << 10) + 1, 2)),
        file(&ingest, "large", noise(3 << 20, 3)),
        file(&ingest, "zeros", vec![0; 700_001]),
        symlink("short-link", "bin/tool"),
        symlink("long-link", vec![b'x'; 2500]),
        symlink("longest-link", vec![b'y'; 4095]),
        entry("fifo", EntryKind::Fifo, 0o600),
        entry("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666),
        entry("disk", EntryKind::BlockDevice { major: 259, minor: 70_000 }, 0o660),
        entry("setuid", ingest.put_bytes(b"suid").unwrap().into(), 0o4755),
        directory("sticky"),
        directory("many"),
        directory("nothing-in-it"),
        file(&ingest, "!first", "1"),
        file(&ingest, "..after", "2"),
        file(&ingest, b"\xff\xfe-no-utf-8", "3"),
        file(&ingest, "n".repeat(255), "4"),
    ];
    let deep = vec!["d".repeat(60); 6].join("/");
    for (index, _) in deep.match_indices('/') {
        entries.push(directory(&deep[..index]));
    }
    entries.push(file(&ingest, deep, "deep"));
    for index in 0..2000 {
        let content = noise(100 + index * 7 % 5000, index as u64 % 700);
        entries.push(file(&ingest, format!("many/file-{index}"), content));
    }
    ingest.finish().unwrap();
    for (index, entry) in entries.iter_mut().enumerate() {
        entry.metadata.mtime = MTIME - index as u64;
        entry.metadata.uid = if index % 3 == 0 { index as u32 * 70_000 } else { 5 };
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
            set("user.comment", b"");
        }
        if index % 50 == 0 && matches!(entry.kind, EntryKind::File { .. }) {
            set("user.long", &vec![b'v'; 10 + index % 900]);
        }
    }
    entries
}

/// What is below `dir`, taken into a store of its own: contents are compared by their digests.
pub fn seen(dir: &Path) -> Vec<Entry> {
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    let options = CaptureOptions { max_mtime: u64::MAX >> 1, devices: DevicePolicy::Keep };
    ingest.capture_directory(dir, &options).unwrap().into_entries()
}

pub fn assert_same(seen: &[Entry], expected: &[Entry]) {
    for (one, two) in seen.iter().zip(expected) {
        assert_eq!(one, two);
    }
    assert_eq!(seen.len(), expected.len());
}

/// Runs `work` on a thread with a mount namespace of its own; it is gone, with all mounts, when this returns.
pub fn in_private_mounts<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // SAFETY: only this thread's mount namespace changes; no file descriptors are unshared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.unwrap();
            mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
            work()
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Mounts the image in `file` below it, by a loop device that goes with the mount.
pub fn mount(kind: &str, file: &Path, at: &Path) {
    fs::create_dir_all(at).unwrap();
    succeed(Command::new("mount").args(["-t", kind, "-o", "ro,loop"]).arg(file).arg(at));
}

/// Runs a program that has to succeed; gives what it printed.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}{errors}");
    said
}

/// Asks `look` until it gives something; says `what` did not happen in time.
pub fn wait<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(begun.elapsed() < limit, "{what} in {limit:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A process that ends with the test, however that ends.
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Adds up what is told.
#[derive(Default)]
pub struct Heard(pub Mutex<(u64, u64)>);

impl ExportProgress for Heard {
    fn event(&self, event: ExportEvent) {
        let mut heard = self.0.lock().unwrap();
        match event {
            ExportEvent::Started { bytes } => heard.0 += bytes,
            ExportEvent::Written { bytes } => heard.1 += bytes,
        }
    }
}
