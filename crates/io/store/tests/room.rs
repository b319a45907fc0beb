//! Nothing fills the disk: what would is refused while there is room, with what is needed and free, and leaves nothing.

mod support;

use std::{io::Read, path::Path, process::Command};

use hornero_store::{ArchiveLimits, Store, StoreError};
use support::in_private_mounts;
use tar::{EntryType, Header};

const DISK_BYTES: u64 = 64 << 20;

/// A store on a small disk of its own, and what the disk has free.
fn on_a_small_disk<T: Send>(work: impl FnOnce(&Store, &dyn Fn() -> u64) -> T + Send) -> T {
    let dir = tempfile::tempdir().unwrap();
    in_private_mounts(|| {
        let size = format!("size={DISK_BYTES}");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path());
        assert!(mount.status().unwrap().success());
        let store = Store::open(dir.path().join("store")).unwrap();
        work(&store, &|| free(dir.path()))
    })
}

fn free(path: &Path) -> u64 {
    let space = rustix::fs::statvfs(path).unwrap();
    space.f_bavail * space.f_frsize
}

fn header(name: &str, size: u64) -> Vec<u8> {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_path(name).unwrap();
    header.set_mode(0o644);
    header.set_size(size);
    header.set_cksum();
    header.as_bytes().to_vec()
}

/// An archive is refused for want of room, and nothing of it stays.
fn check(archive: impl Read + Send, least_needed: u64) {
    on_a_small_disk(|store, free| {
        let before = free();
        let ingest = store.ingest().unwrap();
        let limits = ArchiveLimits::generous(0);
        let error = ingest.layer_from_tar("test.tar", archive, &limits).unwrap_err();
        let StoreError::NoRoom { needed_bytes, free_bytes, .. } = &error else {
            panic!("{error}");
        };
        assert!(*needed_bytes >= least_needed && needed_bytes > free_bytes, "{error}");
        assert!(error.hint().is_some());
        assert!(free() > 0, "ended while there was room");
        drop(ingest);
        assert!(before - free() < 1 << 20, "{before} and then {}", free());
        // What fits comes in.
        let ingest = store.ingest().unwrap();
        let small = [header("small", 3), b"abc".to_vec()].concat();
        let mut small = small;
        small.resize(1024, 0);
        let layer = ingest.layer_from_tar("small.tar", small.as_slice(), &limits).unwrap();
        ingest.put_layer(&layer).unwrap();
        ingest.finish().unwrap();
    });
}

#[test]
fn a_file_that_does_not_fit_is_not_begun() {
    let zeros = std::io::repeat(0).take(100 << 20);
    check(std::io::Cursor::new(header("large", 100 << 20)).chain(zeros), 100 << 20);
}

#[test]
fn many_files_end_before_the_disk_is_full() {
    // Each different, and each small enough to be hashed in memory.
    let files = (0..400_u32).flat_map(|number| {
        let mut file = header(&format!("f{number}"), 256 << 10);
        file.extend(number.to_le_bytes().repeat(64 << 10));
        file
    });
    check(std::io::Cursor::new(files.collect::<Vec<u8>>()), 32 << 20);
}

#[test]
fn a_stream_of_unknown_length_ends_before_the_disk_is_full() {
    on_a_small_disk(|store, free| {
        let before = free();
        let ingest = store.ingest().unwrap();
        let error = ingest.put("stream", std::io::repeat(7)).unwrap_err();
        assert!(matches!(error, StoreError::NoRoom { .. }), "{error}");
        assert!(before - free() < 1 << 20);
    });
}
