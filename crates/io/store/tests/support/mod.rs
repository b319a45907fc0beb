//! What the store's tests share: entries in a line, a store in a directory of its own, private mounts.
#![allow(dead_code, reason = "each test file is a program of its own and uses a part of this")]

use std::{fs, path::Path, thread};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{
    CaptureOptions, DevicePolicy, Entry, EntryKind, ImageManifest, Ingest, Layer, Metadata, Store,
    TreePath,
};
use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MountPropagationFlags, MoveMountFlags,
        fsconfig_create, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, mount_change,
        move_mount,
    },
    thread::{UnshareFlags, unshare_unsafe},
};

pub const MTIME: u64 = 1_700_000_000;
pub const OPTIONS: CaptureOptions =
    CaptureOptions { max_mtime: MTIME, devices: DevicePolicy::Keep };

pub struct Scratch {
    pub dir: tempfile::TempDir,
    pub store: Store,
}

pub fn scratch() -> Scratch {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path().join("store")).unwrap();
    Scratch { dir, store }
}

pub fn path(text: impl AsRef<[u8]>) -> TreePath {
    TreePath::new(text.as_ref()).unwrap()
}

pub fn entry(at: impl AsRef<[u8]>, kind: EntryKind, mode: u32) -> Entry {
    Entry { path: path(at), kind, metadata: Metadata::root_owned(mode, MTIME) }
}

pub fn directory(at: impl AsRef<[u8]>) -> Entry {
    entry(at, EntryKind::Directory { opaque: false }, 0o755)
}

pub fn opaque(at: impl AsRef<[u8]>) -> Entry {
    entry(at, EntryKind::Directory { opaque: true }, 0o755)
}

pub fn whiteout(at: impl AsRef<[u8]>) -> Entry {
    Entry { path: path(at), kind: EntryKind::Whiteout, metadata: Metadata::default() }
}

pub fn symlink(at: impl AsRef<[u8]>, target: impl AsRef<[u8]>) -> Entry {
    entry(at, EntryKind::Symlink { target: target.as_ref().into() }, 0o777)
}

/// A file whose content is not stored anywhere.
pub fn loose_file(at: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
    let content = content.as_ref();
    let kind = EntryKind::File { digest: Digest::of(content), size: content.len() as u64 };
    entry(at, kind, 0o644)
}

pub fn file(ingest: &Ingest<'_>, at: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Entry {
    entry(at, ingest.put_bytes(content.as_ref()).unwrap().into(), 0o644)
}

/// Stores an image of one layer per list of files.
pub fn image(store: &Store, layers: &[&[(&str, &str)]]) -> Digest {
    let layers = layers
        .iter()
        .map(|files| {
            let ingest = store.ingest().unwrap();
            let entries = files.iter().map(|(at, content)| file(&ingest, at, content)).collect();
            let digest = ingest.put_layer(&Layer::from_entries(entries).unwrap()).unwrap();
            ingest.finish().unwrap();
            digest
        })
        .collect();
    store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap()
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

pub fn mount_erofs(image: &Path, at: &Path) {
    fs::create_dir_all(at).unwrap();
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_string(&context, "source", image).unwrap();
    fsconfig_set_flag(&context, "ro").unwrap();
    fsconfig_create(&context).unwrap();
    attach(&context, at);
}

/// Mounts an overlay with these options; `lowerdir` and the like as overlayfs takes them.
pub fn mount_overlay(options: &[(&str, &str)], at: &Path) {
    fs::create_dir_all(at).unwrap();
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    for (name, value) in options {
        fsconfig_set_string(&context, *name, *value).unwrap();
    }
    fsconfig_create(&context).unwrap();
    attach(&context, at);
}

fn attach(context: &impl std::os::fd::AsFd, at: &Path) {
    let mount = fsmount(context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    move_mount(&mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
}
