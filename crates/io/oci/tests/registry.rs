//! Debian's registry as the other side: push, copy, pull, what moves, and what a broken connection costs.

#![allow(clippy::too_many_lines, reason = "cases stand in tables")]

mod support;

use std::{
    fs,
    io::Write,
    process::{Command, Stdio},
    time::Duration,
};

use hornero_model::{Digest, ImageConfig};
use hornero_oci::{
    Access, Credentials, OciError, PackOptions, Patience, Quiet, Reference, RegistrySource, pull,
    push,
};
use hornero_store::{EntryKind, HealSource, Healing, ImageManifest, Store};
use support::{
    Home, directory, file, package,
    peers::{Proxy, Registry},
    put_layers, run, small_image,
};

fn access() -> Access {
    let patience = Patience { pause: Duration::from_millis(20), ..Patience::default() };
    Access { patience, ..Access::anonymous() }
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

fn push_to(home: &Home, image: &Digest, text: &str) -> hornero_oci::Pushed {
    let options = PackOptions { cache: Some(home.path("cache")), ..PackOptions::default() };
    push(&home.store, image, &reference(text), &access(), &options, None, &Quiet).unwrap()
}

/// Compressed by itself, as well as gzip can.
fn compressed(bytes: &[u8]) -> u64 {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    out.write_all(bytes).unwrap();
    out.finish().unwrap().len() as u64
}

#[test]
fn a_pushed_image_keeps_its_digest_wherever_it_is_copied() {
    let home = Home::new();
    let registry = Registry::start(&home.path("registry"));
    let image = small_image(&home.store);
    home.store.attach(&image, "bake", b"{\"made\":\"here\"}").unwrap();
    let first = push_to(&home, &image, &registry.reference("team/app:1"));
    assert_eq!((first.bytes_moved, first.blobs_present), (first.bytes_total, 0));
    let again = push_to(&home, &image, &registry.reference("team/app:2"));
    assert_eq!(again.blobs_moved, 0);
    // Into another repository of the registry: its blobs are mounted.
    let options = PackOptions { cache: Some(home.path("cache")), ..PackOptions::default() };
    let to = reference(&registry.reference("other/app:1"));
    let mounted =
        push(&home.store, &image, &to, &access(), &options, Some("team/app"), &Quiet).unwrap();
    assert_eq!((mounted.blobs_moved, mounted.manifest), (0, first.manifest));
    assert!(mounted.bytes_moved < 8_000, "{mounted:?}");

    let at = |rest: &str| format!("docker://{}", registry.reference(rest));
    let inspected =
        run(Command::new("skopeo").args(["inspect", "--tls-verify=false", &at("team/app:1")]));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Digest"], first.manifest.to_string());
    let copy = |arguments: &[&str], to: &str| {
        let insecure = ["copy", "-q", "--src-tls-verify=false", "--dest-tls-verify=false"];
        run(Command::new("skopeo")
            .args(insecure)
            .args(arguments)
            .args([&at("team/app:1"), &at(to)]));
    };
    copy(&[], "copied/app:1");
    // Docker's own form of manifest loses annotations; the configuration still says what it is.
    copy(&["--format", "v2s2"], "converted/app:1");
    let by_digest = format!("team/app@{}", first.manifest);
    for from in ["team/app:1", "copied/app:1", "converted/app:1", &by_digest] {
        let other = Home::new();
        let pulled =
            pull(&other.store, &reference(&registry.reference(from)), &access(), &Quiet).unwrap();
        assert_eq!((pulled.image, pulled.foreign), (image, false), "{from}");
        other.store.verify_for_start(&image).unwrap();
        assert_eq!(
            other.store.attachment(&image, "bake").unwrap().unwrap(),
            b"{\"made\":\"here\"}"
        );
    }
    // Compressed anew, what is hidden is lost: an image like any other, of its own identity.
    copy(&["--dest-compress-format", "zstd"], "anew/app:1");
    let other = Home::new();
    let pulled =
        pull(&other.store, &reference(&registry.reference("anew/app:1")), &access(), &Quiet)
            .unwrap();
    assert_eq!(pulled.foreign, pulled.image != image);

    let missing =
        pull(&other.store, &reference(&registry.reference("team/none")), &access(), &Quiet);
    assert!(matches!(missing, Err(OciError::Missing(_))), "{missing:?}");
}

/// Two states of an image of real packages that differ in one of them, as a security fix does.
#[test]
fn a_fix_of_one_package_moves_little_more_than_its_changed_files() {
    let home = Home::new();
    let registry = Registry::start(&home.path("registry"));
    let packages = [
        "base-files",
        "bash",
        "coreutils",
        "dpkg",
        "grep",
        "gzip",
        "hostname",
        "libc-bin",
        "login",
        "passwd",
        "sed",
        "tar",
    ];
    let status = fs::read("/var/lib/dpkg/status").unwrap();
    let state = |store: &Store, fixed: Option<&str>| {
        let mut changed = 0;
        let mut status = status.clone();
        if let Some(name) = fixed {
            status.splice(1000..1000 + name.len(), name.bytes());
        }
        let layers = put_layers(store, |ingest| {
            let mut layers = Vec::new();
            for name in packages {
                // A rebuild changes every program and the changelog, and leaves the rest.
                let size = std::cell::Cell::new(0);
                layers.push(package(ingest, name, &|path, mut bytes| {
                    let is_program = bytes.starts_with(b"\x7fELF");
                    if Some(name) == fixed && (is_program || path.contains("changelog")) {
                        let middle = bytes.len() / 2;
                        bytes[middle] ^= 0x20;
                        size.set(size.get() + compressed(&bytes));
                    }
                    bytes
                }));
                changed += size.get();
            }
            layers.push(vec![file(ingest, "var/lib/dpkg/status", &status, 0o644)]);
            layers
        });
        let image = ImageManifest::new(layers, ImageConfig::default());
        (store.put_image(&image).unwrap(), changed + compressed(&status))
    };
    let (old, _) = state(&home.store, None);
    push_to(&home, &old, &registry.reference("app:old"));
    let other = Home::new();
    let whole =
        pull(&other.store, &reference(&registry.reference("app:old")), &access(), &Quiet).unwrap();
    assert_eq!(whole.image, old);
    for fixed in ["bash", "gzip", "hostname", "libc-bin"] {
        let (new, changed) = state(&home.store, Some(fixed));
        let pushed = push_to(&home, &new, &registry.reference("app:new"));
        let proxy = Proxy::start(registry.port);
        let pulled =
            pull(&other.store, &reference(&proxy.reference("app:new")), &access(), &Quiet).unwrap();
        assert_eq!(pulled.image, new);
        other.store.verify_for_start(&new).unwrap();
        let ratio = pulled.bytes_moved as f64 / changed as f64;
        println!(
            "{fixed}: {changed} compressed bytes changed, {} moved by the pull ({ratio:.3}), {:?} through the wire, \
             {} by the push; whole: {}",
            pulled.bytes_moved,
            proxy.passed(),
            pushed.bytes_moved,
            whole.bytes_moved
        );
        assert!(ratio <= 1.5, "{fixed}: {ratio}");
        assert!(pulled.contents_moved < 120 && pulled.layers_moved == 2, "{pulled:?}");
    }
}

/// Contents that no compression makes small, so that connections break in the middle of them.
fn large_image(store: &Store) -> Digest {
    let layers = put_layers(store, |ingest| {
        let noise = |seed: u64, size: usize| {
            let mut state = seed;
            let mut next = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            };
            (0..size).map(|_| next()).collect::<Vec<u8>>()
        };
        vec![
            vec![directory("a"), file(ingest, "a/large", &noise(1, 37 << 20), 0o644)],
            vec![
                directory("b"),
                file(ingest, "b/middle", &noise(2, 6 << 20), 0o644),
                file(ingest, "b/small", b"x", 0o644),
            ],
        ]
    });
    store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap()
}

#[test]
fn broken_connections_are_taken_up_again() {
    let home = Home::new();
    let registry = Registry::start(&home.path("registry"));
    let proxy = Proxy::start(registry.port);
    let image = large_image(&home.store);
    // Between two chunks, where Debian's registry lets an upload go on.
    proxy.break_patches(2, 3);
    push_to(&home, &image, &proxy.reference("app:1"));
    let (_, up) = proxy.passed();
    println!("push: {up} bytes for 43 MiB, {} connections broke", proxy.broken());
    assert_eq!(proxy.broken(), 3);
    assert!(up < (43 << 20) + (1 << 20), "{up}");
    // In the midst of a chunk that registry gives an upload up: the blob goes again, and arrives.
    proxy.break_after(11 << 20, 2);
    let again = Home::new();
    pull(&again.store, &reference(&registry.reference("app:1")), &access(), &Quiet).unwrap();
    push_to(&again, &image, &proxy.reference("second:1"));
    assert_eq!(proxy.broken(), 5);
    let (before, came) = (proxy.broken(), proxy.passed().0);
    proxy.break_after(3 << 20, 6);
    let other = Home::new();
    let pulled =
        pull(&other.store, &reference(&proxy.reference("app:1")), &access(), &Quiet).unwrap();
    assert_eq!(pulled.image, image);
    assert_eq!(proxy.broken() - before, 6);
    other.store.verify_for_start(&image).unwrap();
    let down = proxy.passed().0 - came;
    println!("pull: {down} bytes, {} connections broke", proxy.broken() - before);
    // What arrived before a break does not come again: 43 MiB and what breaks cut off.
    assert!(down < (43 << 20) + 6 * (64 << 10) + (1 << 20), "{down}");
    // A registry that is gone is an error, and soon.
    let patience =
        Patience { attempts: 2, pause: Duration::from_millis(10), ..Patience::default() };
    let access = Access { patience, ..access() };
    let gone = reference(&Registry::start(&home.path("gone")).reference("app:1"));
    let error = pull(&other.store, &gone, &access, &Quiet).unwrap_err();
    assert!(matches!(error, OciError::Http { .. }), "{error:?}");
}

#[test]
fn a_wrong_byte_is_refused_and_nothing_is_seen() {
    let home = Home::new();
    let registry = Registry::start(&home.path("registry"));
    let image = small_image(&home.store);
    push_to(&home, &image, &registry.reference("app:1"));
    let proxy = Proxy::start(registry.port);
    // Through one connection go manifest, passport, tails and contents: each gets its turn.
    for at in [600, 1_500, 3_000, 6_000, 20_000, 100_000] {
        proxy.change_at(at);
        let other = Home::new();
        match pull(&other.store, &reference(&proxy.reference("app:1")), &access(), &Quiet) {
            Err(error) => {
                assert!(other.store.images().unwrap().is_empty(), "{at}: {error}");
                assert!(other.store.layers().unwrap().is_empty(), "{at}: {error}");
                assert!(other.store.fsck().unwrap().is_empty(), "{at}: {error}");
            }
            // A header's byte was hit, and the request repeated, or a member's that was not asked for.
            Ok(pulled) => {
                assert_eq!(pulled.image, image);
                other.store.verify_for_start(&image).unwrap();
            }
        }
    }
    // The registry's own disk: every blob but the one that is never read.
    proxy.change_at(0);
    let blobs = home.path("registry/data/docker/registry/v2/blobs/sha256");
    let found = run(Command::new("find").arg(&blobs).args(["-name", "data", "-size", "+20k"]));
    for path in found.lines() {
        let good = fs::read(path).unwrap();
        let bad: Vec<u8> = good.iter().map(|byte| byte ^ 0x20).collect();
        fs::write(path, bad).unwrap();
        let other = Home::new();
        let error = pull(&other.store, &reference(&registry.reference("app:1")), &access(), &Quiet)
            .unwrap_err();
        assert!(matches!(error, OciError::Digest { .. }), "{error:?}");
        assert!(
            other.store.images().unwrap().is_empty() && other.store.layers().unwrap().is_empty()
        );
        assert!(other.store.fsck().unwrap().is_empty());
        fs::write(path, good).unwrap();
    }
    assert!(found.lines().count() >= 2, "{found}");
}

/// In a process of its own, which is killed while it pulls.
#[test]
fn a_killed_pull_leaves_a_whole_store_and_the_next_goes_on() {
    if let Ok(text) = std::env::var("HORNERO_TEST_PULL") {
        let (dir, from) = text.split_once(' ').unwrap();
        let store = Store::open(dir).unwrap();
        let mut moved = 0;
        let told = std::sync::Mutex::new(&mut moved);
        let progress = |event| {
            if let hornero_oci::TransferEvent::Transferred { bytes } = event {
                let mut moved = told.lock().unwrap();
                **moved += bytes;
                println!("moved {moved}");
            }
        };
        pull(&store, &reference(from), &access(), &progress).unwrap();
        return;
    }
    let home = Home::new();
    let registry = Registry::start(&home.path("registry"));
    let layers = put_layers(&home.store, |ingest| {
        let one = |index: u64| {
            let bytes: Vec<u8> = (0..6_u64 << 17)
                .flat_map(|at| {
                    (at.wrapping_mul(index * 2 + 0x9e37_79b9_7f4a_7c15) >> 7).to_le_bytes()
                })
                .collect();
            vec![file(ingest, &format!("f{index}"), &bytes, 0o644)]
        };
        (0..12).map(one).collect()
    });
    let image = home.store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap();
    let pushed = push_to(&home, &image, &registry.reference("app:1"));
    assert!(pushed.bytes_total > 64 << 20, "more than one batch: {pushed:?}");
    let other = tempfile::tempdir().unwrap();
    let dir = other.path().join("store");
    drop(Store::open(&dir).unwrap());
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_killed_pull_leaves_a_whole_store_and_the_next_goes_on", "--nocapture"])
        .env("HORNERO_TEST_PULL", format!("{} {}", dir.display(), registry.reference("app:1")))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    // Past the first batch, in the midst of the second.
    let mut past = 0_u64;
    let mut reader = std::io::BufReader::new(&mut output);
    while past < 40 << 20 {
        let mut line = String::new();
        assert!(
            std::io::BufRead::read_line(&mut reader, &mut line).unwrap() > 0,
            "it ended at {past}"
        );
        if let Some(said) = line.trim().strip_prefix("moved ") {
            past = said.parse().unwrap();
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let store = Store::open(&dir).unwrap();
    assert!(store.images().unwrap().is_empty() && store.layers().unwrap().is_empty());
    let pulled = pull(&store, &reference(&registry.reference("app:1")), &access(), &Quiet).unwrap();
    assert_eq!(pulled.image, image);
    assert!(pulled.contents_present >= 4, "what had arrived stayed: {pulled:?}");
    assert!(pulled.bytes_moved < pushed.bytes_total * 3 / 4, "{pulled:?}");
    store.verify_for_start(&image).unwrap();
    assert!(store.fsck().unwrap().is_empty());
}

#[test]
fn a_registry_with_a_password_wants_it() {
    let home = Home::new();
    let registry = Registry::with_password(&home.path("registry"));
    let image = small_image(&home.store);
    let to = reference(&registry.reference("app:1"));
    let options = PackOptions::default();
    let denied = push(&home.store, &image, &to, &access(), &options, None, &Quiet).unwrap_err();
    assert!(matches!(denied, OciError::Denied { .. }) && denied.hint().is_some(), "{denied}");
    let known = |password: &str| Access {
        credentials: Some(Credentials {
            registry: Some(to.registry().into()),
            user: "maria".into(),
            password: password.into(),
        }),
        ..access()
    };
    let wrong =
        push(&home.store, &image, &to, &known("other"), &options, None, &Quiet).unwrap_err();
    assert!(
        matches!(wrong, OciError::Denied { .. }) && !wrong.to_string().contains("other"),
        "{wrong}"
    );
    push(&home.store, &image, &to, &known("s3cret"), &options, None, &Quiet).unwrap();
    // As `podman login` leaves it.
    let file = home.path("auth.json");
    run(Command::new("skopeo")
        .args(["login", "--tls-verify=false", "-u", "maria", "-p", "s3cret", "--authfile"])
        .arg(&file)
        .arg(to.registry()));
    let from_file = Access { credential_files: vec![file], ..access() };
    assert_eq!(pull(&Home::new().store, &to, &from_file, &Quiet).unwrap().image, image);
    let elsewhere = pull(&home.store, &reference("http://registry.invalid/app"), &access(), &Quiet);
    assert!(matches!(elsewhere, Err(OciError::PlainHttp(_))), "{elsewhere:?}");
}

#[test]
fn a_damaged_store_is_healed_from_the_registry() {
    let home = Home::new();
    let registry = Registry::start(&home.path("registry"));
    let image = small_image(&home.store);
    push_to(&home, &image, &registry.reference("app:1"));
    let tree = home.store.tree(&image).unwrap();
    for path in ["/data/5m", "/etc/noted", "/data/empty"] {
        let EntryKind::File { digest, .. } = tree.lookup(path).unwrap().kind else { panic!() };
        let hex = digest.hex();
        let object = home.store.objects_dir().join(&hex[..2]).join(&hex[2..]);
        fs::remove_file(&object).unwrap();
        fs::write(&object, "damage").unwrap();
    }
    let layer = home.store.image(&image).unwrap().layers[1];
    fs::write(home.store.dir().join("layers").join(layer.hex()), "damage").unwrap();
    let mut source = RegistrySource::new(&reference(&registry.reference("app:1")), &access());
    let mut sources: [&mut dyn HealSource; 1] = [&mut source];
    let healed = home.store.heal_all(&mut sources).unwrap();
    assert!(healed.len() >= 4, "{healed:?}");
    assert!(healed.iter().all(|(_, healing)| *healing == Healing::Mended), "{healed:?}");
    home.store.verify_for_start(&image).unwrap();
    assert!(home.store.fsck().unwrap().is_empty());
}
