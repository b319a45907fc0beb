//! Looking for damage beside those who store and collect, and where the disk is full: it names what is there, only.

mod support;

use std::{
    fs::{self, File},
    io::Write,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use hornero_model::Digest;
use hornero_store::{CollectOptions, Damage, HealSource, Healing, Store, Stored};
use rustix::{
    fs::CWD,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create,
        fsconfig_set_string, fsmount, fsopen, move_mount,
    },
};
use support::{image, in_private_mounts, scratch};

fn object_path(store: &Store, content: &[u8]) -> PathBuf {
    let hex = Digest::of(content).hex();
    store.objects_dir().join(&hex[..2]).join(&hex[2..])
}

/// Other bytes of the same length in place of a file.
fn rot(path: &Path) {
    let len = fs::metadata(path).unwrap().len() as usize;
    fs::remove_file(path).unwrap();
    fs::write(path, vec![b'x'; len]).unwrap();
}

/// A source that has nothing but one content.
struct One(&'static [u8]);

type Found<T> = Result<Option<T>, Box<dyn std::error::Error + Send + Sync>>;

impl HealSource for One {
    fn content<'a>(
        &'a mut self,
        wanted: Stored,
        _: &hornero_store::Finding,
    ) -> Found<Box<dyn std::io::Read + 'a>> {
        match wanted.digest == Digest::of(self.0) {
            true => Ok(Some(Box::new(self.0))),
            false => Ok(None),
        }
    }
}

#[test]
fn what_is_stored_and_collected_meanwhile_is_no_damage() {
    const ROUNDS: usize = 8;
    let own = scratch();
    let large = "large".repeat(1 << 20);
    let kept: &[&[(&str, &str)]] = &[&[("a", &large), ("b", "mended")]];
    let kept = image(&own.store, kept);
    own.store.set_ref("image/kept", &kept).unwrap();
    let (done, stored) = (AtomicBool::new(false), AtomicUsize::new(0));
    let begun = Instant::now();
    // Also when looking fails, so that this ends.
    let goes_on = || !done.load(Ordering::SeqCst) && begun.elapsed().as_secs() < 60;
    thread::scope(|scope| {
        scope.spawn(|| {
            let store = Store::open(own.store.dir()).unwrap();
            while goes_on() {
                // As a bake does it, whose layers nothing keeps yet.
                let _lease = store.lease().unwrap();
                let number = stored.load(Ordering::SeqCst).to_string();
                let files: &[&[(&str, &str)]] = &[&[("a", &number)], &[("b", "both")]];
                let image = image(&store, files);
                store.attach(&image, "bake", number.as_bytes()).unwrap();
                stored.fetch_add(1, Ordering::SeqCst);
            }
        });
        let collector = scope.spawn(|| {
            let store = Store::open(own.store.dir()).unwrap();
            let mut gone = 0;
            while goes_on() {
                let options =
                    CollectOptions { patience: Some(Duration::ZERO), ..Default::default() };
                // Refused while others are at it.
                if let Ok(report) = store.collect(&options, || Ok(Vec::new()), &|_| {}) {
                    gone += report.deleted_images.len();
                }
                thread::yield_now();
            }
            gone
        });
        let mut found = Vec::new();
        for _ in 0..ROUNDS {
            let before = stored.load(Ordering::SeqCst);
            found.extend(own.store.fsck().unwrap());
            found.extend(own.store.heal_all(&mut []).unwrap().into_iter().map(|(one, _)| one));
            while stored.load(Ordering::SeqCst) == before && goes_on() {
                thread::yield_now();
            }
        }
        done.store(true, Ordering::SeqCst);
        assert_eq!(found, []);
        assert!(stored.load(Ordering::SeqCst) >= ROUNDS, "they were at work");
        collector.join().unwrap();
    });
}

/// A small file system of its own for a store, so that it can be filled.
fn mount_tmpfs(at: &Path) {
    fs::create_dir_all(at).unwrap();
    let context = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).unwrap();
    fsconfig_set_string(&context, "size", "2m").unwrap();
    fsconfig_create(&context).unwrap();
    let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).unwrap();
    move_mount(&mount, "", CWD, at, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH).unwrap();
}

/// Leaves no byte of it.
fn fill(directory: &Path, name: &str) -> PathBuf {
    let path = directory.join(name);
    let mut file = File::create(&path).unwrap();
    for len in [64 << 10, 4096, 1] {
        while file.write_all(&vec![0; len]).is_ok() {}
    }
    path
}

#[test]
fn a_full_disk_hides_no_damage() {
    let outer = tempfile::tempdir().unwrap();
    in_private_mounts(|| {
        let disk = outer.path().join("disk");
        mount_tmpfs(&disk);
        let dir = disk.join("store");
        let digest = {
            let store = Store::open(&dir).unwrap();
            let digest = image(&store, &[&[("a", "hello"), ("b", "world")]]);
            // So that there are records, which would call what rots good.
            let begun = Instant::now();
            while store.verify_for_start(&digest).unwrap().hashed > 0 {
                assert!(begun.elapsed().as_secs() < 20, "the changes settle");
            }
            digest
        };
        for content in ["hello", "world"] {
            rot(&object_path(&Store::open(&dir).unwrap(), content.as_bytes()));
        }
        let filling = fill(&disk, "filling");
        let store = Store::open(&dir).unwrap();
        let found: Vec<_> =
            store.fsck().unwrap().into_iter().map(|one| (one.digest, one.damage)).collect();
        let mut expected =
            ["hello", "world"].map(|one| (Digest::of(one.as_bytes()), Damage::Content));
        expected.sort_by_key(|(digest, _)| *digest);
        assert_eq!(found, expected);
        // The record, which was of bytes that are no more, went and left some room.
        let rest = fill(&disk, "rest");
        let told = store.heal_all(&mut [&mut One(b"hello")]).unwrap();
        for (finding, healing) in told {
            if finding.digest == Digest::of(b"world") {
                assert_eq!(healing, Healing::NoSource);
            } else {
                let Healing::Failed(why) = &healing else { panic!("{healing:?}") };
                assert!(why[0].contains("No space left"), "{why:?}");
            }
        }
        [filling, rest].iter().for_each(|path| fs::remove_file(path).unwrap());
        let told = store.heal_all(&mut [&mut One(b"hello"), &mut One(b"world")]).unwrap();
        assert!(told.len() == 2 && told.iter().all(|(_, healing)| *healing == Healing::Mended));
        store.verify_for_start(&digest).unwrap();
    });
}
