//! Layers that are EROFS file systems: read by the kernel, carried by other programs, and not taken for tars.

mod support;

use std::{
    fs::{self, File},
    io::{BufWriter, Read},
    path::{Path, PathBuf},
    process::Command,
};

use hornero_model::{Digest, ImageConfig};
use hornero_oci::{
    Access, ImportOptions, LayoutWritten, OciError, PackOptions, Quiet, export_layout,
    export_layout_with_erofs, import, pull, pull_layout,
};
use hornero_store::{
    CaptureOptions, DevicePolicy, ImageManifest, Store,
    erofs::{Content, write_image},
};
use serde_json::{Value, json};
use support::{Home, file, peers::Registry, put_layers, run, small_image, try_run};

const EROFS: &str = "application/vnd.erofs.layer.v1";

fn write(store: &Store, image: &Digest, out: &Path, name: &str) -> LayoutWritten {
    export_layout_with_erofs(store, image, out, name, |file| {
        let mut out = BufWriter::new(File::create(file).unwrap());
        let open = |content: &Digest| {
            store.open_object(content).map(|file| Box::new(file) as Box<dyn Read>)
        };
        write_image(&store.tree(image).unwrap(), &Content::Embedded(&open), &mut out).unwrap();
        Ok::<(), OciError>(())
    })
    .unwrap()
}

fn read(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn blob(out: &Path, digest: &Value) -> PathBuf {
    let digest: Digest = digest.as_str().unwrap().parse().unwrap();
    out.join("blobs/sha256").join(digest.hex())
}

/// A mounted file system, gone when dropped.
struct Mounted(PathBuf);

impl Mounted {
    fn new(file: &Path, at: PathBuf) -> Self {
        fs::create_dir(&at).unwrap();
        run(Command::new("mount").args(["-t", "erofs", "-o", "ro,loop"]).arg(file).arg(&at));
        Self(at)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[test]
fn the_kernel_mounts_the_whole_root_from_the_layer() {
    let home = Home::new();
    let image = small_image(&home.store);
    let out = home.path("layout");
    let exported = write(&home.store, &image, &out, "app:1");

    let raw = run(Command::new("skopeo").args([
        "inspect",
        "--raw",
        &format!("oci:{}:app:1", out.display()),
    ]));
    assert_eq!(Digest::of(raw.as_bytes()), exported.manifest);
    let manifest: Value = serde_json::from_str(&raw).unwrap();
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], EROFS);
    let path = blob(&out, &layer["digest"]);
    assert_eq!(layer["size"], fs::metadata(&path).unwrap().len());
    assert_eq!(layer["digest"], Digest::of(&fs::read(&path).unwrap()).to_string());
    let config = read(&blob(&out, &manifest["config"]["digest"]));
    assert_eq!(config["rootfs"], json!({"type": "layers", "diff_ids": [layer["digest"]]}));
    assert_eq!(config["os.features"], json!(["erofs"]));
    assert_eq!((&config["os"], &config["config"]["User"]), (&json!("linux"), &json!("web")));
    assert_eq!(config["config"]["Cmd"][0], "/bin/sh");
    let said = raw + &config.to_string();
    assert!(!said.contains("hornero"), "nothing says that its layers are ours to read: {said}");
    let entry = &read(&out.join("index.json"))["manifests"][0];
    assert_eq!(entry["platform"]["os.features"], json!(["erofs"]));
    assert_eq!(entry["platform"]["architecture"], config["architecture"]);
    assert_eq!(entry["annotations"]["org.opencontainers.image.ref.name"], "app:1");

    run(Command::new("fsck.erofs").arg(&path));
    let mounted = Mounted::new(&path, home.path("root"));
    let own = Home::new();
    let options = CaptureOptions { max_mtime: u64::MAX >> 1, devices: DevicePolicy::Keep };
    let seen = own.store.ingest().unwrap().capture_directory(&mounted.0, &options).unwrap();
    let expected = home.store.tree(&image).unwrap().entries()[1..].to_vec();
    assert_eq!(seen.into_entries(), expected);

    // The same bytes everywhere, and nothing is written twice.
    let other = Home::new();
    let same = write(&other.store, &small_image(&other.store), &other.path("layout"), "app:1");
    assert_eq!(same, exported);
    assert_eq!(write(&home.store, &image, &out, "app:1").written_bytes, 0);
    let left = run(Command::new("find").arg(&out).args(["-name", ".*"]));
    assert_eq!(left, "");
}

#[test]
fn other_programs_carry_it_through_a_registry_and_back() {
    let home = Home::new();
    let image = small_image(&home.store);
    let out = home.path("layout");
    let exported = write(&home.store, &image, &out, "app");
    let registry = Registry::start(&home.path("registry"));
    let there = format!("docker://{}", registry.reference("team/app:1"));
    let copy = |from: &str, to: &str| {
        run(Command::new("skopeo").args(["copy", "-q", "--preserve-digests"]).args([
            "--src-tls-verify=false",
            "--dest-tls-verify=false",
            from,
            to,
        ]))
    };
    copy(&format!("oci:{}:app", out.display()), &there);
    let back = home.path("back");
    copy(&there, &format!("oci:{}:app", back.display()));
    let entry = &read(&back.join("index.json"))["manifests"][0];
    assert_eq!(entry["digest"], exported.manifest.to_string());
    let manifest = read(&blob(&back, &entry["digest"]));
    let layer = &manifest["layers"][0];
    assert_eq!(layer["mediaType"], EROFS);
    run(Command::new("fsck.erofs").arg(blob(&back, &layer["digest"])));

    // Nothing takes it for a tar: neither a pull nor an import, and nothing of it is kept.
    let other = Home::new();
    let reference = registry.reference("team/app:1").parse().unwrap();
    let error = pull(&other.store, &reference, &Access::anonymous(), &Quiet).unwrap_err();
    check_refused(&error, EROFS);
    assert!(other.store.images().unwrap().is_empty());
}

fn check_refused(error: &OciError, expected: &str) {
    let OciError::Layers { media_type, .. } = error else { panic!("{error}") };
    assert_eq!(media_type, expected);
    assert!(error.hint().is_some_and(|hint| hint.contains("--layers tar")), "{error}");
}

#[test]
fn it_stands_beside_tar_layers_of_the_same_image() {
    let home = Home::new();
    let image = small_image(&home.store);
    let out = home.path("layout");
    let tars = || export_layout(&home.store, &image, &out, "app", &PackOptions::default(), &Quiet);
    let first = tars().unwrap();
    let mounted = write(&home.store, &image, &out, "app-erofs");
    let names = || -> Vec<(String, String)> {
        let index = read(&out.join("index.json"));
        let entries = index["manifests"].as_array().unwrap().clone();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let name = |one: &Value| text(&one["annotations"]["org.opencontainers.image.ref.name"]);
        entries.iter().map(|one| (name(one), text(&one["digest"]))).collect()
    };
    let erofs = ("app-erofs".to_owned(), mounted.manifest.to_string());
    let tar = ("app".to_owned(), first.manifest.to_string());
    assert_eq!(names(), [tar.clone(), erofs.clone()]);
    // Whoever does not choose gets what can be read here.
    assert_eq!(pull_layout(&Home::new().store, &out, None, &Quiet).unwrap().image, image);
    let again = tars().unwrap();
    assert_eq!((again.manifest, again.written_bytes), (first.manifest, 0));
    assert_eq!(names(), [erofs, tar]);
    assert_eq!(pull_layout(&Home::new().store, &out, None, &Quiet).unwrap().image, image);

    let other = Home::new();
    let from = out.display().to_string();
    let options = ImportOptions { name: Some("app-erofs".into()), ..ImportOptions::default() };
    let error = import(&other.store, &from, &Access::anonymous(), &options, &Quiet).unwrap_err();
    check_refused(&error, EROFS);

    // As one name for both, as registries have it: each takes what it can.
    let index_path = out.join("index.json");
    let mut inner = read(&index_path);
    for one in inner["manifests"].as_array_mut().unwrap() {
        one.as_object_mut().unwrap().remove("annotations");
    }
    let put = |index: &Value| {
        let bytes = serde_json::to_vec(index).unwrap();
        let digest = Digest::of(&bytes);
        fs::write(out.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
        let media_type = "application/vnd.oci.image.index.v1+json";
        let entry = json!({"mediaType": media_type, "digest": digest, "size": bytes.len()});
        let outer = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [entry]});
        fs::write(&index_path, serde_json::to_vec(&outer).unwrap()).unwrap();
    };
    put(&inner);
    assert_eq!(pull_layout(&Home::new().store, &out, None, &Quiet).unwrap().image, image);
    let entries = inner["manifests"].as_array_mut().unwrap();
    entries.retain(|one| !one["platform"]["os.features"].is_null());
    assert_eq!(entries.len(), 1);
    put(&inner);
    let error = pull_layout(&Home::new().store, &out, None, &Quiet).unwrap_err();
    check_refused(&error, EROFS);
}

#[test]
fn what_fails_leaves_the_layout_as_it_was() {
    let home = Home::new();
    let image = small_image(&home.store);
    let full = |file: &Path| {
        fs::write(file, "half").unwrap();
        Err(OciError::Missing("space".into()))
    };
    let out = home.path("deep/out");
    let error = export_layout_with_erofs(&home.store, &image, &out, "app", full).unwrap_err();
    assert!(matches!(error, OciError::Missing(_)), "{error}");
    assert!(!home.path("deep").exists());
    write(&home.store, &image, &out, "app");
    let listed = || run(Command::new("find").arg(home.dir.path()).args(["-name", ".making-*"]));
    let before = fs::read(out.join("index.json")).unwrap();
    export_layout_with_erofs(&home.store, &image, &out, "other", full).unwrap_err();
    assert_eq!(fs::read(out.join("index.json")).unwrap(), before);
    assert_eq!(listed(), "");

    // Refused before anything is made.
    let never = |_: &Path| -> Result<(), OciError> { panic!("nothing is to be written") };
    fs::create_dir(home.path("full")).unwrap();
    fs::write(home.path("full/file"), "x").unwrap();
    for (out, name) in [(home.path("full"), "app"), (home.path("new"), "-app")] {
        let refused = export_layout_with_erofs(&home.store, &image, &out, name, never);
        assert!(matches!(refused, Err(OciError::Refused { .. })));
    }
    let layers =
        put_layers(&home.store, |ingest| vec![vec![file(ingest, "etc/.wh.x", b"x", 0o644)]]);
    let image = home.store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap();
    let refused = export_layout_with_erofs(&home.store, &image, &home.path("new"), "app", never);
    let Err(OciError::NotCarried { reason, .. }) = &refused else { panic!("{refused:?}") };
    assert!(reason.contains("etc/.wh.x"), "{reason}");
    assert!(!home.path("new").exists());
    assert!(try_run(Command::new("ls").arg(home.path("full/file"))).status.success());
}
