//! Volumes with real file systems: whoever has one keeps all others out, and nothing that was written is lost.
//!
//! These need root, loop devices and `e2fsprogs`, as volumes do.

use std::{
    fs,
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::{FileExt as _, PermissionsExt as _},
    },
    path::{Path, PathBuf},
    time::Duration,
};

use hornero_model::{LeaseToken, SnapshotPurpose, Timestamp, VolumeName};
use hornero_volume::{
    Cost, DATA, LEAST_BYTES, Origin, PATIENCE, Populate, SnapshotNumber, VolumeError, Volumes,
    attach, populate,
};
use rustix::fs::{Mode, OFlags};

const AT_ONCE: Duration = Duration::ZERO;

struct Home {
    _directory: tempfile::TempDir,
    path: PathBuf,
    volumes: Volumes,
}

fn home() -> Home {
    let directory = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = directory.path().canonicalize().unwrap();
    let volumes = Volumes::of(&path);
    Home { _directory: directory, path, volumes }
}

impl Home {
    fn image(&self, volume: &VolumeName) -> PathBuf {
        self.path.join("volumes").join(volume.as_str()).join("data.img")
    }

    fn attach(&self, volume: &VolumeName, lease: u64) -> Result<OwnedFd, VolumeError> {
        attach(&self.path, volume, LeaseToken(lease), PATIENCE)
    }
}

fn name(text: &str) -> VolumeName {
    VolumeName::new(text).unwrap()
}

fn write(filesystem: impl AsFd, path: &str, text: &str) {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    let file = rustix::fs::openat(filesystem, path, flags, Mode::from_raw_mode(0o600)).unwrap();
    fs::File::from(file).write_all(text.as_bytes()).unwrap();
}

fn read(filesystem: impl AsFd, path: &str) -> Option<String> {
    let file = rustix::fs::openat(filesystem, path, OFlags::RDONLY, Mode::empty()).ok()?;
    let mut text = String::new();
    fs::File::from(file).read_to_string(&mut text).unwrap();
    Some(text)
}

fn bytes_of(filesystem: impl AsFd) -> u64 {
    let space = rustix::fs::fstatvfs(filesystem).unwrap();
    space.f_blocks * space.f_frsize
}

#[test]
fn one_holder_has_a_volume_until_its_last_mount_is_gone() {
    let (home, orders) = (home(), name("orders"));
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(home.volumes.make(&orders, LEAST_BYTES).unwrap());
    assert!(!home.volumes.make(&orders, LEAST_BYTES).unwrap(), "what is there stays");
    let first = home.attach(&orders, 1).unwrap();
    write(&first, "a", "written");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts, "no mount is seen");
    assert!(home.volumes.facts(&orders).unwrap().attached);
    let refused = attach(&home.path, &orders, LeaseToken(2), AT_ONCE).unwrap_err();
    assert!(matches!(refused, VolumeError::Held { .. }), "{refused}");
    // Whoever removes, restores or clones it is kept out as well.
    assert!(matches!(home.volumes.remove(&orders), Err(VolumeError::Held { .. })));
    let clone = home.volumes.clone_to(&orders, None, &name("copy"));
    assert!(matches!(clone, Err(VolumeError::Held { .. })));
    // A copy of the mount that somebody has elsewhere counts as much as the first.
    let copy = first.try_clone().unwrap();
    drop(first);
    let refused = attach(&home.path, &orders, LeaseToken(2), AT_ONCE).unwrap_err();
    assert!(matches!(refused, VolumeError::Held { .. }), "{refused}");
    drop(copy);
    let second = home.attach(&orders, 2).unwrap();
    assert_eq!(read(&second, "a").unwrap(), "written");
}

#[test]
fn a_lease_that_is_over_attaches_nothing() {
    let (home, orders) = (home(), name("orders"));
    home.volumes.make(&orders, LEAST_BYTES).unwrap();
    drop(home.attach(&orders, 7).unwrap());
    let refused = home.attach(&orders, 6).unwrap_err();
    assert!(
        matches!(
            refused,
            VolumeError::LeaseOver { given: LeaseToken(6), newest: LeaseToken(7), .. }
        ),
        "{refused}"
    );
    drop(home.attach(&orders, 7).unwrap());
    drop(home.attach(&orders, 8).unwrap());
    let missing = home.attach(&name("other"), 1).unwrap_err();
    assert!(matches!(missing, VolumeError::Missing { .. }), "{missing}");
    assert!(!home.path.join("volumes/other").exists());
}

#[test]
fn its_size_is_the_most_it_holds_and_can_only_grow() {
    let (home, orders) = (home(), name("orders"));
    let small = home.volumes.make(&orders, LEAST_BYTES - 1).unwrap_err();
    assert!(matches!(small, VolumeError::TooSmall { .. }), "{small}");
    home.volumes.make(&orders, LEAST_BYTES).unwrap();
    let facts = home.volumes.facts(&orders).unwrap();
    assert_eq!(facts.size_bytes, LEAST_BYTES);
    assert!(facts.stored_bytes < LEAST_BYTES, "it takes what was written: {}", facts.stored_bytes);
    let filesystem = home.attach(&orders, 1).unwrap();
    let file = rustix::fs::openat(
        &filesystem,
        "full",
        OFlags::WRONLY | OFlags::CREATE,
        Mode::from_raw_mode(0o600),
    )
    .unwrap();
    let file = fs::File::from(file);
    let zeros = vec![1_u8; 1 << 20];
    let full = (0..).find_map(|at| file.write_at(&zeros, at << 20).err()).unwrap();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    drop(file);
    // While it is attached it gets the room, and the file system follows when it is attached next.
    assert!(!home.volumes.grow(&orders, 2 * LEAST_BYTES).unwrap());
    assert!(bytes_of(&filesystem) < LEAST_BYTES);
    drop(filesystem);
    let filesystem = home.attach(&orders, 2).unwrap();
    assert!(bytes_of(&filesystem) > LEAST_BYTES);
    drop(filesystem);
    let shrunk = loop {
        // The kernel lets go of it a moment after its last mount.
        match home.volumes.grow(&orders, LEAST_BYTES) {
            Err(VolumeError::Held { .. }) => {}
            other => break other.unwrap_err(),
        }
    };
    assert!(matches!(shrunk, VolumeError::Shrinks { .. }), "{shrunk}");
    assert!(
        home.volumes.grow(&orders, 3 * LEAST_BYTES).unwrap(),
        "and at once where nobody has it"
    );
}

#[test]
fn snapshots_clones_and_restores_lose_nothing() {
    let (home, orders) = (home(), name("orders"));
    home.volumes.make(&orders, LEAST_BYTES).unwrap();
    let filesystem = home.attach(&orders, 1).unwrap();
    write(&filesystem, "a", "one");
    let top = rustix::fs::openat(&filesystem, ".", OFlags::RDONLY, Mode::empty()).unwrap();
    let cost = home.volumes.facts(&orders).unwrap().cost;
    let taken = home.volumes.snapshot(&orders, "while it is used", Some(top.as_fd()));
    match cost {
        Cost::Changes => assert_eq!(taken.unwrap().number, SnapshotNumber(1)),
        Cost::Data => {
            assert!(matches!(taken, Err(VolumeError::NeedsCopy { .. })), "{taken:?}");
        }
    }
    write(&filesystem, "still", "written");
    drop((top, filesystem));
    let taken = home.volumes.snapshot(&orders, "before", None).unwrap();
    assert!(taken.stored_bytes < LEAST_BYTES && taken.size_bytes == LEAST_BYTES);
    let filesystem = home.attach(&orders, 2).unwrap();
    write(&filesystem, "a", "two");
    drop(filesystem);
    let copy = name("copy");
    let facts = home.volumes.clone_to(&orders, Some(taken.number), &copy).unwrap();
    assert_eq!(
        facts.origin,
        Origin::Clone { volume: orders.clone(), snapshot: Some(taken.number) }
    );
    let exists = home.volumes.clone_to(&orders, Some(taken.number), &copy).unwrap_err();
    assert!(matches!(exists, VolumeError::Exists { .. }), "{exists}");
    // Both may be attached at once: they are two volumes.
    let (one, other) = (home.attach(&orders, 3).unwrap(), home.attach(&copy, 1).unwrap());
    assert_eq!(
        (read(&one, "a").unwrap(), read(&other, "a").unwrap()),
        ("two".into(), "one".into())
    );
    drop((one, other));
    let missing = home.volumes.restore(&orders, SnapshotNumber(99)).unwrap_err();
    assert!(matches!(missing, VolumeError::NoSnapshot { .. }), "{missing}");
    let kept = home.volumes.restore(&orders, taken.number).unwrap();
    let filesystem = home.attach(&orders, 4).unwrap();
    assert_eq!(read(&filesystem, "a").unwrap(), "one");
    drop(filesystem);
    home.volumes.restore(&orders, kept.number).unwrap();
    let filesystem = home.attach(&orders, 5).unwrap();
    assert_eq!(read(&filesystem, "a").unwrap(), "two", "what was there before is a snapshot");
    drop(filesystem);
    drop(home.attach(&orders, 6).unwrap());
    let held = home.volumes.remove(&copy);
    held.unwrap();
    let names: Vec<_> = home.volumes.list().unwrap().into_iter().map(|of| of.name).collect();
    assert_eq!(names, [orders]);
}

#[test]
fn a_damaged_volume_is_named_and_not_attached() {
    let (home, orders) = (home(), name("orders"));
    home.volumes.make(&orders, LEAST_BYTES).unwrap();
    drop(home.attach(&orders, 1).unwrap());
    assert_eq!(home.volumes.look_through(&orders).unwrap(), None);
    let image = fs::OpenOptions::new().write(true).open(home.image(&orders)).unwrap();
    // The first superblock and the table of groups behind it.
    image.write_at(&vec![0x5a; 3 * 4096], 0).unwrap();
    drop(image);
    let before = fs::read(home.image(&orders)).unwrap();
    let refused = home.attach(&orders, 2).unwrap_err();
    assert!(
        matches!(refused, VolumeError::Damaged { .. } | VolumeError::Failed { .. }),
        "{refused}"
    );
    assert!(refused.to_string().contains("orders"), "{refused}");
    assert_eq!(fs::read(home.image(&orders)).unwrap(), before, "it was not written to");
}

#[test]
fn what_an_image_has_comes_to_an_empty_volume_once() {
    let (home, orders) = (home(), name("orders"));
    home.volumes.make(&orders, LEAST_BYTES).unwrap();
    let image = home.path.join("image");
    fs::create_dir_all(image.join("var/lib/db/main")).unwrap();
    fs::write(image.join("var/lib/db/main/base"), "from the image").unwrap();
    std::os::unix::fs::symlink("main/base", image.join("var/lib/db/link")).unwrap();
    std::os::unix::fs::chown(image.join("var/lib/db/main/base"), Some(100_105), Some(100_106))
        .unwrap();
    std::os::unix::fs::chown(image.join("var/lib/db"), Some(100_105), Some(100_106)).unwrap();
    let mode = fs::Permissions::from_mode(0o750);
    fs::set_permissions(image.join("var/lib/db"), mode).unwrap();
    let root = rustix::fs::open(&image, OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty()).unwrap();
    let wanted = Populate { path: "/var/lib/db", first: 100_000, uid: 0, gid: 0 };
    let filesystem = home.attach(&orders, 1).unwrap();
    // As a shim leaves it that is killed while it copies.
    rustix::fs::mkdirat(&filesystem, "data.new", Mode::from_raw_mode(0o700)).unwrap();
    write(&filesystem, "data.new/half", "a copy");
    populate(filesystem.as_fd(), root.as_fd(), wanted).unwrap();
    let at = |path: &str| format!("{DATA}/{path}");
    assert_eq!(read(&filesystem, &at("main/base")).unwrap(), "from the image");
    assert_eq!(read(&filesystem, &at("link")).unwrap(), "from the image");
    assert_eq!(read(&filesystem, &at("half")), None);
    let owner = |path: &str| {
        let found = rustix::fs::statat(&filesystem, path, rustix::fs::AtFlags::empty()).unwrap();
        (found.st_uid, found.st_gid, found.st_mode & 0o7777)
    };
    assert_eq!(owner(DATA), (105, 106, 0o750));
    assert_eq!(owner(&at("main/base")).0, 105);
    // From then on it is the server's alone.
    write(&filesystem, &at("main/base"), "from the server");
    rustix::fs::unlinkat(&filesystem, at("link"), rustix::fs::AtFlags::empty()).unwrap();
    populate(filesystem.as_fd(), root.as_fd(), wanted).unwrap();
    assert_eq!(read(&filesystem, &at("main/base")).unwrap(), "from the server");
    assert_eq!(read(&filesystem, &at("link")), None);
}

#[test]
fn a_directory_is_adopted_whole_or_not_at_all() {
    let (home, orders) = (home(), name("orders"));
    let source = home.path.join("source");
    fs::create_dir_all(source.join("deep/er")).unwrap();
    fs::write(source.join("deep/er/file"), "here already").unwrap();
    let facts = home.volumes.adopt(&orders, &source, LEAST_BYTES).unwrap();
    assert_eq!(facts.origin, Origin::Adopted { path: source.clone() });
    let filesystem = home.attach(&orders, 1).unwrap();
    assert_eq!(read(&filesystem, "data/deep/er/file").unwrap(), "here already");
    assert_eq!(fs::read_to_string(source.join("deep/er/file")).unwrap(), "here already");
    fs::write(source.join("large"), vec![1; LEAST_BYTES as usize]).unwrap();
    let large = name("large");
    assert!(home.volumes.adopt(&large, &source, LEAST_BYTES).is_err());
    assert!(matches!(home.volumes.facts(&large), Err(VolumeError::Missing { .. })));
    assert_eq!(only_names(&home.path.join("volumes")), [".turn", "orders"]);
}

fn only_names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn who_only_looks_keeps_nobody_from_a_snapshot() {
    let home = home();
    let orders = name("orders");
    home.volumes.make(&orders, LEAST_BYTES).unwrap();
    // A look that lasts: it is over before whoever waits gives up.
    let looks = fs::File::open(home.image(&orders)).unwrap();
    rustix::fs::flock(&looks, rustix::fs::FlockOperation::LockShared).unwrap();
    let (volumes, volume) = (home.volumes.clone(), orders.clone());
    let taken =
        std::thread::spawn(move || volumes.snapshot(&volume, "while it is looked at", None));
    let turn = home.path.join("volumes/.turn");
    let waits = || {
        let taken = fs::File::open(&turn).ok();
        let flag = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        taken.is_some_and(|file| rustix::fs::flock(&file, flag).is_err())
    };
    let begun = std::time::Instant::now();
    while !waits() && !taken.is_finished() && begun.elapsed() < Duration::from_secs(30) {
        std::thread::yield_now();
    }
    drop(looks);
    assert_eq!(taken.join().unwrap().unwrap().number, SnapshotNumber(1));
    let left = |directory: PathBuf| -> Vec<String> {
        let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name());
        entries
            .map(|name| name.into_string().unwrap())
            .filter(|name| name.starts_with('.'))
            .collect()
    };
    home.volumes.list().unwrap();
    assert_eq!(
        left(home.path.join("volumes/orders")),
        [] as [String; 0],
        "looking wrote something"
    );
}

#[test]
fn a_snapshot_for_a_purpose_is_taken_once_by_who_has_the_newest_lease() {
    let home = home();
    let orders = name("orders");
    home.volumes.make(&orders, LEAST_BYTES).unwrap();
    drop(home.attach(&orders, 2).unwrap());
    let purpose = |tag: &str, keep_until| SnapshotPurpose {
        tag: tag.to_owned(),
        why: "before rollout 7".to_owned(),
        keep_until: Timestamp(keep_until),
    };
    let preserve =
        |lease, tag| home.volumes.preserve(&orders, LeaseToken(lease), &purpose(tag, 1_000));
    assert!(matches!(preserve(1, "a"), Err(VolumeError::LeaseOver { .. })));
    let first = preserve(2, "a").unwrap();
    assert_eq!((first.number, first.keep_until), (SnapshotNumber(1), Some(Timestamp(1_000))));
    assert_eq!(preserve(2, "a").unwrap(), first, "asked again it is the same one");
    assert_eq!(preserve(2, "b").unwrap().number, SnapshotNumber(2));
    let held = home.attach(&orders, 3).unwrap();
    write(&held, "left", "by a bad release");
    drop(held);
    let restore = |lease| home.volumes.restore_under(&orders, LeaseToken(lease), SnapshotNumber(1));
    assert!(matches!(restore(2), Err(VolumeError::LeaseOver { .. })));
    assert_eq!(restore(3).unwrap().number, SnapshotNumber(3));
    assert_eq!(read(home.attach(&orders, 3).unwrap(), "left"), None);
    assert_eq!(home.volumes.expire(Timestamp(1_000)).unwrap(), []);
    // What somebody left who was killed while a snapshot was taken.
    let left_behind = home.path.join("volumes/orders/snapshots/9.img");
    fs::write(&left_behind, "half a copy").unwrap();
    let expired = [1, 2].map(|number| (orders.clone(), SnapshotNumber(number)));
    assert_eq!(home.volumes.expire(Timestamp(1_001)).unwrap(), expired);
    let left = home.volumes.facts(&orders).unwrap().snapshots;
    assert_eq!(
        left.iter().map(|of| of.number.0).collect::<Vec<_>>(),
        [3],
        "what was replaced stays"
    );
    assert!(!fs::exists(left_behind).unwrap());
    assert_eq!(preserve(3, "c").unwrap().number, SnapshotNumber(4));
}
