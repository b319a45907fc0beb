//! Steps and packages that are too large: ended by a limit or before the disk is full, in words of their own.

mod support;

use std::{fs, path::Path, process::Command, thread};

use hornero_archive::{Archive, Package, dpkg, program, shell};
use hornero_spec::Base;
use rustix::{
    mount::{MountPropagationFlags, mount_change},
    thread::{UnshareFlags, unshare_unsafe},
};
use support::home::{Home, debian, image, name};

fn dd() -> Package {
    program("dd", "1", "/bin/dd", "usr/bin/dd")
}

/// An image with one command on an image of a shell.
fn running(archive: &Archive, path: &Path, command: &str) -> Home {
    let mut home = Home::at(&path.join("home"), &path.join("source"));
    home.add(image("base", debian(archive.path().to_str().unwrap(), &archive.keyring()), &["dd"]));
    home.add(image("site", Base::Image(name("base")), &[]));
    home.get("site").run = vec![command.to_owned()];
    home
}

/// Nothing of a step that was ended is left.
fn check_nothing_left(home: &Home) {
    let left: Vec<_> = fs::read_dir(home.path.join("tmp")).unwrap().flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_step_and_a_package_have_a_limit_that_can_be_raised() {
    let large = Package::new("large", "1").file("usr/share/large", 0o644, "x".repeat(24 << 20));
    let archive = Archive::with(&[shell(), dpkg(), dd(), large]);
    let dir = tempfile::tempdir().unwrap();
    let write = "dd if=/dev/zero of=/large bs=1M count=3";
    // One that ends by itself, and one that has to be ended.
    for command in [write.to_owned(), format!("{write}; while :; do :; done")] {
        let mut home = running(&archive, dir.path(), &command);
        home.get("site").max_size_bytes = Some(2 << 20);
        let said = home.bake_error("site");
        assert!(said.contains("wrote more than 2 MiB"), "{said}");
        check_nothing_left(&home);
    }
    let mut home = running(&archive, dir.path(), write);
    home.get("site").max_size_bytes = Some(4 << 20);
    let baked = home.bake_one("site");
    assert_eq!(home.store().read_file(&baked.digest, "/large").unwrap().len(), 3 << 20);
    let mut home = Home::with_base(&archive, &["large"]);
    home.get("base").max_size_bytes = Some(16 << 20);
    let said = home.bake_error("base");
    assert!(said.contains("large 1") && said.contains("`max_size`"), "{said}");
    home.get("base").max_size_bytes = None;
    home.bake_one("base");
}

/// A disk of its own, mounted in this thread's mount namespace alone.
fn on_a_small_disk<T: Send>(work: impl FnOnce(&Path) -> T + Send) -> T {
    let dir = tempfile::tempdir().unwrap();
    let (file, place) = (dir.path().join("disk"), dir.path().join("place"));
    fs::create_dir(&place).unwrap();
    fs::File::create(&file).unwrap().set_len(400 << 20).unwrap();
    assert!(Command::new("mkfs.ext4").arg("-q").arg(&file).status().unwrap().success());
    thread::scope(|scope| {
        let worker = scope.spawn(|| {
            // SAFETY: only this thread's mount namespace changes; no file descriptors are unshared.
            unsafe { unshare_unsafe(UnshareFlags::NEWNS | UnshareFlags::FS) }.unwrap();
            let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            mount_change("/", flags).unwrap();
            let mut mount = Command::new("mount");
            mount.args(["-o", "loop"]).args([&file, &place]);
            assert!(mount.status().unwrap().success());
            work(&place)
        });
        worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[test]
fn a_step_that_fills_the_disk_says_so_and_leaves_nothing() {
    let archive = Archive::with(&[shell(), dpkg(), dd()]);
    on_a_small_disk(|disk| {
        let free = || {
            let space = rustix::fs::statvfs(disk).unwrap();
            space.f_bavail * space.f_frsize
        };
        // One that fails of it, one that does not notice, and one whose result would not fit a second time.
        for command in [
            "dd if=/dev/zero of=/filled bs=1M",
            "dd if=/dev/zero of=/filled bs=1M; true",
            "dd if=/dev/zero of=/filled bs=1M count=250",
        ] {
            let home = running(&archive, disk, command);
            home.bake_one("base");
            let before = free();
            let said = home.bake_error("site");
            assert!(said.contains("fills the disk"), "{command}: {said}");
            check_nothing_left(&home);
            assert!(before.abs_diff(free()) < 8 << 20, "{command}: {before} and {}", free());
        }
    });
}
