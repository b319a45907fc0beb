//! What moves when one small package of a Debian base is fixed: with the record of its bake, and signed.

mod support;

use std::{io::Write, process::Command};

use hornero_model::{Digest, ImageConfig, PublicKey};
use hornero_oci::{Access, PackOptions, Quiet, pull, push};
use hornero_provenance::{Archive, Attested, KeyId, Origin, Package, Signer, attest, sign};
use hornero_store::{Entry, ImageManifest, Ingest, Store};
use serde_json::json;
use support::{Home, file, package, peers::Registry, put_layers, run};

/// What a Debian system has at the least, but for the largest of it.
const PACKAGES: [&str; 18] = [
    "base-files",
    "bash",
    "bsdutils",
    "coreutils",
    "dash",
    "debianutils",
    "diffutils",
    "dpkg",
    "findutils",
    "grep",
    "gzip",
    "hostname",
    "libc-bin",
    "login",
    "passwd",
    "sed",
    "sysvinit-utils",
    "tar",
];

/// Compressed by itself, as well as gzip can.
fn compressed(bytes: &[u8]) -> u64 {
    let mut out = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    out.write_all(bytes).unwrap();
    out.finish().unwrap().len() as u64
}

/// Signs nothing that anybody would believe, in as many bytes.
struct Key;

impl Signer for Key {
    fn public_key(&self) -> PublicKey {
        PublicKey::from_bytes([7; 32])
    }

    fn sign(&self, message: &[u8]) -> [u8; 64] {
        let half = *Digest::of(message).as_bytes();
        [half, *Digest::of(&half).as_bytes()].concat().try_into().unwrap()
    }
}

/// An image in which a package was fixed, and the compressed size of what that changes.
struct State {
    image: Digest,
    changed: u64,
}

fn version(name: &str, fixed: Option<&str>) -> &'static str {
    if fixed == Some(name) { "12.2.0-14+deb12u2" } else { "12.2.0-14+deb12u1" }
}

/// The package's files with what dpkg keeps of it.
fn layer(ingest: &Ingest<'_>, name: &str, fixed: bool, changed: &mut u64) -> Vec<Entry> {
    let moved = std::cell::Cell::new(0);
    let mut sums = String::new();
    let mut entries = package(ingest, name, &|_, mut bytes| {
        // A rebuild changes every program, and nothing else but the changelog.
        if fixed && bytes.starts_with(b"\x7fELF") {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x20;
            moved.set(moved.get() + compressed(&bytes));
        }
        bytes
    });
    // Where the root is merged, these are base-files' links.
    entries.retain(|entry| entry.path.components().count() > 1 || entry.kind.is_directory());
    let mut list = String::new();
    for entry in &entries {
        list.push_str(&format!("/{}\n", entry.path));
        if let hornero_store::EntryKind::File { digest, .. } = entry.kind {
            sums.push_str(&format!("{}  {}\n", &digest.hex()[..32], entry.path));
        }
    }
    let changelog = format!("{name} ({}) stable\n", if fixed { 2 } else { 1 });
    let own = [
        (format!("usr/share/changes/{name}"), changelog),
        (format!("var/lib/dpkg/info/{name}.md5sums"), sums),
    ];
    for (path, text) in own {
        if fixed {
            moved.set(moved.get() + compressed(text.as_bytes()));
        }
        entries.push(file(ingest, &path, text.as_bytes(), 0o644));
    }
    entries.push(file(ingest, &format!("var/lib/dpkg/info/{name}.list"), list.as_bytes(), 0o644));
    *changed += moved.get();
    entries
}

fn state(store: &Store, fixed: Option<&str>) -> State {
    let mut changed = 0;
    let mut status = run(Command::new("dpkg-query").arg("-s").args(PACKAGES));
    if let Some(name) = fixed {
        let at = status.find(&format!("Package: {name}\n")).unwrap();
        status.insert_str(at, "X-Fixed: yes\n");
    }
    changed += compressed(status.as_bytes());
    let layers = put_layers(store, |ingest| {
        let each =
            PACKAGES.iter().map(|name| layer(ingest, name, fixed == Some(*name), &mut changed));
        let mut layers: Vec<_> = each.collect();
        layers.push(vec![file(ingest, "var/lib/dpkg/status", status.as_bytes(), 0o644)]);
        layers
    });
    let image = ImageManifest::new(layers.clone(), ImageConfig::default());
    let image = store.put_image(&image).unwrap();
    attach(store, &image, &layers, fixed);
    State { image, changed }
}

/// The record of a bake and a signed statement, as a bake makes them.
fn attach(store: &Store, image: &Digest, layers: &[Digest], fixed: Option<&str>) {
    let deb = |name: &str| Digest::of(format!("{name} {}", version(name, fixed)).as_bytes());
    let path = |name: &str| {
        let letter = &name[..1];
        format!("pool/main/{letter}/{name}/{name}_{}_amd64.deb", version(name, fixed))
    };
    let locked = PACKAGES.map(|name| {
        json!({ "name": name, "version": version(name, fixed), "architecture": "amd64", "suite": "bookworm",
                "path": path(name), "size": 100_000 + path(name).len(), "sha256": deb(name).hex() })
    });
    let source = |name: &str| {
        json!({ "kind": "package", "name": name, "version": version(name, fixed), "architecture": "amd64",
                "source": name, "source_version": version(name, fixed), "sha256": deb(name) })
    };
    let sources: Vec<_> =
        PACKAGES.map(source).into_iter().chain([json!({ "kind": "database" })]).collect();
    let key = Digest::of(format!("{fixed:?}").as_bytes());
    let record = json!({
        "version": 2, "program": "hornero 0.1.0", "format_epoch": 1, "name": "app", "image": image, "parent": null,
        "epoch": 1_700_000_000,
        "locked": { "suite": "bookworm", "architecture": "amd64", "requested": PACKAGES, "packages": locked,
                    "archives": [{ "uri": "http://archive.example/debian", "suite": "bookworm", "sha256": key }] },
        "steps": [{ "title": "packages", "kind": "packages", "key": key, "below": Digest::of(b""),
                    "inputs": { "packages": key }, "layers": layers, "sources": sources }],
    });
    store.attach(image, "bake", record.to_string().as_bytes()).unwrap();
    let package = |name: &str| Package {
        name: name.into(),
        version: version(name, fixed).into(),
        architecture: "amd64".into(),
        distribution: "debian-12".into(),
        digest: deb(name),
    };
    let statement = attest(&Attested {
        name: "app".into(),
        image: *image,
        origin: Origin::Bake,
        definition: [].into(),
        format_epoch: 1,
        parents: Vec::new(),
        packages: PACKAGES.map(package).into(),
        archives: vec![Archive {
            uri: "http://archive.example/debian".into(),
            suite: "bookworm".into(),
            digest: key,
        }],
        sources: Vec::new(),
        version: "0.1.0".into(),
        invocation: key.hex(),
        started: None,
        finished: None,
    });
    let kind = KeyId::of(&Key.public_key()).attachment();
    store.attach(image, &kind, &sign(&statement, &Key)).unwrap();
}

/// The smaller a fix is, the more counts whatever else moves.
#[test]
fn a_fix_of_a_small_package_moves_at_most_half_as_much_again() {
    let home = Home::new();
    let registry = Registry::start(&home.path("registry"));
    let options = PackOptions { cache: Some(home.path("cache")), ..PackOptions::default() };
    let other = Home::new();
    let transfer = |state: &State, tag: &str| {
        let reference = registry.reference(tag).parse().unwrap();
        let access = Access::anonymous();
        let pushed =
            push(&home.store, &state.image, &reference, &access, &options, None, &Quiet).unwrap();
        let pulled = pull(&other.store, &reference, &access, &Quiet).unwrap();
        assert_eq!((pulled.image, pulled.foreign), (state.image, false));
        other.store.verify_for_start(&state.image).unwrap();
        (pushed.bytes_moved, pulled.bytes_moved)
    };
    transfer(&state(&home.store, None), "app:0");
    // The smallest package of all is a program of 7 KB: less than what says which layers there are.
    let bounds = [
        ("bash", 1.1),
        ("bsdutils", 1.2),
        ("debianutils", 1.5),
        ("sysvinit-utils", 1.5),
        ("hostname", 1.6),
    ];
    for (fixed, most) in bounds {
        let fix = state(&home.store, Some(fixed));
        let (out, back) = transfer(&fix, &format!("app:{fixed}"));
        let ratio = back as f64 / fix.changed as f64;
        println!(
            "{fixed}: {} bytes changed, {back} pulled ({ratio:.3}), {out} pushed",
            fix.changed
        );
        assert!(ratio <= most, "{fixed}: {ratio}");
    }
}
