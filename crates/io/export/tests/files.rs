//! Archives and file systems, read back by tar, the kernel and the formats' own checkers.

mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime},
};

use hornero_export::{ExportError, ExportOptions, Exported, Format, Silent, export};
use hornero_model::{Digest, ImageConfig, Scratch as ScratchDirectory};
use hornero_store::{Damage, EntryKind, Layer, Store, StoreError};
use support::{
    Heard, Running, assert_same, awkward, directory, entry, file, in_private_mounts, mount, put,
    scratch, seen, succeed, symlink,
};

/// The formats that need nothing of the image.
const FILES: [Format; 4] = [Format::Tar, Format::Erofs, Format::Squashfs, Format::Incus];

fn write(store: &Store, image: &Digest, format: Format, out: &Path) -> Exported {
    let heard = Heard::default();
    let exported = export(store, image, format, out, &ExportOptions::default(), &heard).unwrap();
    let (started, written) = *heard.0.lock().unwrap();
    assert_eq!(started, written, "all that was to be written is told");
    assert!(started > 0);
    assert_eq!(exported.bytes, fs::metadata(out).unwrap().len());
    exported
}

#[test]
fn every_format_shows_the_tree() {
    let own = scratch();
    let image = put(&own.store, vec![awkward(&own.store)], ImageConfig::default());
    let expected = own.store.tree(&image).unwrap().entries()[1..].to_vec();
    for format in [Format::Tar, Format::Erofs, Format::Squashfs] {
        let out = own.path(format.name());
        let exported = write(&own.store, &image, format, &out);
        assert_eq!((exported.added.len(), exported.left_out.len()), (0, 0));
        let at = own.path("tree");
        match format {
            Format::Tar => {
                fs::create_dir(&at).unwrap();
                let mut tar = Command::new("tar");
                tar.args(["--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf"]);
                succeed(tar.arg(&out).arg("-C").arg(&at));
                assert_same(&seen(&at), &expected);
                fs::remove_dir_all(&at).unwrap();
            }
            _ => {
                if format == Format::Erofs {
                    succeed(Command::new("fsck.erofs").arg(&out));
                } else {
                    let listing = succeed(Command::new("unsquashfs").arg("-lls").arg(&out));
                    assert_eq!(listing.lines().count(), expected.len() + 1, "{listing}");
                }
                in_private_mounts(|| {
                    mount(format.name(), &out, &at);
                    assert_same(&seen(&at), &expected);
                    assert!(!at.join("many/file-2000").exists());
                    let links = |path: &Path| rustix::fs::lstat(path).unwrap().st_nlink;
                    let below = expected.iter().filter(|entry| {
                        entry.kind.is_directory() && entry.path.components().count() == 1
                    });
                    assert_eq!(links(&at) as usize, 2 + below.count());
                });
            }
        }
    }
}

#[test]
fn an_empty_directory_stays_one() {
    let own = scratch();
    let image = put(&own.store, vec![vec![directory("only")]], ImageConfig::default());
    for format in [Format::Erofs, Format::Squashfs] {
        let out = own.path(format.name());
        export(&own.store, &image, format, &out, &ExportOptions::default(), &Silent).unwrap();
        in_private_mounts(|| {
            mount(format.name(), &out, &own.path("tree"));
            assert_eq!(fs::read_dir(own.path("tree/only")).unwrap().count(), 0);
        });
    }
}

#[test]
fn the_same_tree_gives_the_same_bytes() {
    let (one, two) = (scratch(), scratch());
    // The other store gets its contents in another order and from another layer.
    let mut entries = awkward(&one.store);
    let first = put(&one.store, vec![entries.clone()], ImageConfig::default());
    awkward(&two.store);
    let rest = entries.split_off(700);
    let layers = [rest, entries].map(|entries| Layer::from_entries(entries).unwrap());
    let merged = hornero_store::Tree::merge(layers).into_layer().into_entries();
    let second = put(&two.store, vec![merged[1..].to_vec()], ImageConfig::default());
    assert_eq!(first, second);
    for format in FILES {
        let outs = [(&one, &first), (&two, &second)].map(|(own, image)| {
            let out = own.path(format.name());
            write(&own.store, image, format, &out);
            Digest::of(&fs::read(out).unwrap())
        });
        assert_eq!(outs[0], outs[1], "{}", format.name());
    }
}

/// Changes of a writer change what people have; they are meant when this test is changed.
#[test]
fn small_images_have_known_bytes() {
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    let entries = vec![
        directory("etc"),
        file(&ingest, "etc/motd", "hello\n"),
        symlink("motd", "etc/motd"),
        entry("null", EntryKind::CharDevice { major: 1, minor: 3 }, 0o666),
    ];
    ingest.finish().unwrap();
    let image = put(&own.store, vec![entries], ImageConfig::default());
    let digests: Vec<String> = [Format::Tar, Format::Erofs, Format::Squashfs]
        .iter()
        .map(|format| {
            let out = own.path(format.name());
            write(&own.store, &image, *format, &out);
            format!("{} {}", format.name(), &Digest::of(&fs::read(out).unwrap()).hex()[..16])
        })
        .collect();
    assert_eq!(
        digests,
        ["tar 730ffda794c4fa5f", "erofs a55e8fb04fbdabef", "squashfs 6d6fcae997f7960b"]
    );
}

#[test]
fn what_squashfs_cannot_hold_is_named() {
    let own = scratch();
    let mut shared = directory("shared");
    let acl: &[u8] = &[2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255];
    shared.metadata.xattrs.insert(b"system.posix_acl_default".as_slice().into(), acl.into());
    let ingest = own.store.ingest().unwrap();
    let entries = vec![shared, file(&ingest, "shared/file", "x")];
    ingest.finish().unwrap();
    let image = put(&own.store, vec![entries], ImageConfig::default());
    let exported = write(&own.store, &image, Format::Squashfs, &own.path("out"));
    assert_eq!(exported.left_out, ["attribute `system.posix_acl_default` of `/shared`"]);
}

fn refused(
    own: &support::Scratch,
    image: &Digest,
    format: Format,
    options: &ExportOptions,
) -> ExportError {
    let before = fs::read_dir(own.dir.path()).unwrap().count();
    let error = export(&own.store, image, format, &own.path("out"), options, &Silent).unwrap_err();
    assert_eq!(fs::read_dir(own.dir.path()).unwrap().count(), before, "nothing is left");
    error
}

#[test]
fn damage_is_refused_and_named() {
    let own = scratch();
    let image = put(&own.store, vec![awkward(&own.store)], ImageConfig::default());
    let EntryKind::File { digest, .. } = own.store.lookup(&image, "/large").unwrap().kind else {
        panic!("it is a file");
    };
    let object = own.store.objects_dir().join(&digest.hex()[..2]).join(&digest.hex()[2..]);
    let mut bytes = fs::read(&object).unwrap();
    bytes[1_000_000] ^= 1;
    fs::remove_file(&object).unwrap();
    fs::write(&object, bytes).unwrap();
    for format in FILES {
        match refused(&own, &image, format, &ExportOptions::default()) {
            ExportError::Store(StoreError::DamagedObject { path, damage, .. }) => {
                assert_eq!((path.as_str(), damage), ("/large", Damage::Content));
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn what_is_missing_for_a_disk_is_named() {
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    let base = vec![directory("etc"), file(&ingest, "etc/motd", "hello\n")];
    let with_kernel = vec![
        file(&ingest, "boot/vmlinuz-6.1", "kernel"),
        file(&ingest, "lib/modules/6.1/modules.dep", "kernel/fs/erofs/erofs.ko:\n"),
        file(&ingest, "lib/modules/6.1/modules.alias", ""),
        file(&ingest, "lib/modules/6.1/modules.builtin", ""),
        file(&ingest, "lib/modules/6.1/kernel/fs/erofs/erofs.ko", "module"),
    ];
    let without_erofs = vec![file(&ingest, "lib/modules/6.1/modules.dep", "")];
    let bad_stub =
        vec![file(&ingest, "usr/lib/systemd/boot/efi/linuxx64.efi.stub", "no program".repeat(100))];
    ingest.finish().unwrap();
    let command = ImageConfig { command: vec!["/bin/server".into()], ..ImageConfig::default() };
    let check = |layers: Vec<&Vec<_>>, config: &ImageConfig, error_has: &str, hint_has: &str| {
        let image = put(&own.store, layers.into_iter().cloned().collect(), config.clone());
        for format in [Format::Raw, Format::Qcow2] {
            let error = refused(&own, &image, format, &ExportOptions::default());
            assert!(error.to_string().contains(error_has), "{error}");
            let hint = error.hint().unwrap_or_default();
            assert!(hint.contains(hint_has), "{hint}");
        }
    };
    check(vec![&base], &command, "has no kernel", "linux-image-cloud-amd64");
    check(vec![&base, &with_kernel], &command, "linuxx64.efi.stub", "systemd-boot-efi");
    check(
        vec![&base, &with_kernel, &without_erofs],
        &command,
        "`erofs` in its kernel",
        "linux-image",
    );
    check(vec![&base, &with_kernel], &ImageConfig::default(), "no `/sbin/init`", "command");
    check(vec![&base, &with_kernel, &bad_stub], &command, "no program for UEFI", "");
    let scratch_on_file = ImageConfig {
        scratch: vec![ScratchDirectory { path: "/etc/motd".into(), size_bytes: 4096 }],
        ..command.clone()
    };
    check(
        vec![&base, &with_kernel],
        &scratch_on_file,
        "`/etc/motd` of the image cannot be used",
        "",
    );
}

#[test]
fn bad_names_and_taken_ones_are_refused() {
    let own = scratch();
    let image = put(&own.store, vec![awkward(&own.store)], ImageConfig::default());
    let bad = ExportOptions { host_name: "no name".into(), ..ExportOptions::default() };
    assert!(matches!(refused(&own, &image, Format::Tar, &bad), ExportError::HostName(_)));
    fs::write(own.path("out"), "mine").unwrap();
    let error = refused(&own, &image, Format::Tar, &ExportOptions::default());
    assert!(matches!(error, ExportError::Exists(_)) && error.hint().is_some());
    assert_eq!(fs::read(own.path("out")).unwrap(), b"mine");
    let over = ExportOptions { overwrite: true, ..ExportOptions::default() };
    let exported =
        export(&own.store, &image, Format::Tar, &own.path("out"), &over, &Silent).unwrap();
    assert_eq!(fs::metadata(own.path("out")).unwrap().len(), exported.bytes);
    let unknown = Digest::of(b"nothing");
    assert!(export(&own.store, &unknown, Format::Tar, &own.path("o"), &over, &Silent).is_err());
}

/// Tells the test program, run again as a child, where to export from and to.
const CHILD: &str = "HORNERO_TEST_EXPORT";

/// Exports: once here when tests are run, again and again when run as the child to be killed.
#[test]
fn exporting() {
    let Some(dir) = env::var_os(CHILD).map(PathBuf::from) else {
        let own = scratch();
        let image = put(&own.store, vec![awkward(&own.store)], ImageConfig::default());
        write(&own.store, &image, Format::Erofs, &own.path("out"));
        return;
    };
    let store = Store::open(dir.join("store")).unwrap();
    let image = store.images().unwrap()[0];
    let options = ExportOptions { overwrite: true, ..ExportOptions::default() };
    // Each takes milliseconds: the parent ends this long before.
    for round in 0..100_000 {
        let format = FILES[round % FILES.len()];
        export(&store, &image, format, &dir.join("out").join(format.name()), &options, &Silent)
            .unwrap();
    }
}

#[test]
fn killed_at_any_moment_it_leaves_whole_files_only() {
    /// Enough to meet every format while it is written and while it gets its name.
    const KILLS: u64 = 10;
    let own = scratch();
    let image = put(&own.store, vec![awkward(&own.store)], ImageConfig::default());
    fs::create_dir(own.path("out")).unwrap();
    let whole = FILES.map(|format| {
        let out = own.path(format.name());
        write(&own.store, &image, format, &out);
        (format.name(), Digest::of(&fs::read(out).unwrap()))
    });
    for kill in 0..KILLS {
        let began = SystemTime::now();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "exporting"])
            .env(CHILD, own.dir.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut child = Running(child);
        until_written_anew(&own.path("out").join(FILES[0].name()), began);
        // Only chooses the moment: whatever it is, what follows has to hold.
        thread::sleep(Duration::from_millis(40 * kill));
        child.0.kill().unwrap();
        child.0.wait().unwrap();
        for found in fs::read_dir(own.path("out")).unwrap() {
            let path = found.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let digest = Digest::of(&fs::read(&path).unwrap());
            match whole.iter().find(|(format, _)| *format == name) {
                Some((_, whole)) => assert_eq!(digest, *whole, "{name} after kill {kill}"),
                // Between its first name and its last: whole as well, and nobody's name.
                None => {
                    assert!(name.ends_with(".partial"), "{name}");
                    assert!(whole.iter().any(|(_, whole)| *whole == digest), "{name}");
                }
            }
        }
    }
}

/// Waits until the child has written a file, which takes a busy machine as long as it takes.
fn until_written_anew(path: &Path, began: SystemTime) {
    let deadline = Instant::now() + Duration::from_secs(120);
    // A file's time is that of the kernel's last tick.
    let tick = Duration::from_millis(20);
    while !fs::metadata(path).is_ok_and(|file| file.modified().unwrap() + tick >= began) {
        assert!(Instant::now() < deadline, "the child writes nothing");
        thread::sleep(Duration::from_millis(2));
    }
}
