//! Layouts that lie in wait for whoever reads them, and layouts that were damaged.

mod support;

use std::{fs, path::Path, sync::mpsc, thread, time::Duration};

use hornero_model::Digest;
use hornero_oci::{
    Access, ImportOptions, OciError, PackOptions, Quiet, export_layout, import, pull_layout,
};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::{Value, json};
use support::{Home, small_image};

/// A layout with these manifests in its index.
fn layout(dir: &Path, manifests: &Value) {
    fs::create_dir_all(dir.join("blobs/sha256")).unwrap();
    fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    let index = json!({ "schemaVersion": 2, "manifests": manifests });
    fs::write(dir.join("index.json"), index.to_string()).unwrap();
}

/// Puts a document into a layout; what names it.
fn put(dir: &Path, document: &Value) -> Value {
    let bytes = document.to_string();
    let digest = Digest::of(bytes.as_bytes());
    fs::write(dir.join("blobs/sha256").join(digest.hex()), &bytes).unwrap();
    descriptor(&digest, bytes.len() as u64)
}

fn descriptor(digest: &Digest, size: u64) -> Value {
    json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": size })
}

/// What an import says against a layout; it has to come to an end.
fn refusal(dir: &Path) -> OciError {
    let (said, answer) = mpsc::channel();
    let from = dir.display().to_string();
    thread::spawn(move || {
        let home = Home::new();
        let access = Access::anonymous();
        let _ = said.send(import(&home.store, &from, &access, &ImportOptions::default(), &Quiet));
    });
    answer.recv_timeout(Duration::from_secs(60)).expect("it waits without end").unwrap_err()
}

/// A layout of an image of two layers of these sizes, which are not there.
fn image_layout(dir: &Path, sizes: [u64; 2], runtime: &Value) {
    layout(dir, &json!([]));
    let digests = [Digest::of(b"one"), Digest::of(b"two")];
    let architecture = match std::env::consts::ARCH {
        "aarch64" => "arm64",
        _ => "amd64",
    };
    let configuration = json!({
        "architecture": architecture, "os": "linux", "config": runtime,
        "rootfs": { "type": "layers", "diff_ids": digests },
    });
    let layers = [descriptor(&digests[0], sizes[0]), descriptor(&digests[1], sizes[1])];
    let manifest = json!({
        "schemaVersion": 2, "config": put(dir, &configuration), "layers": layers,
    });
    let manifest = put(dir, &manifest);
    layout(dir, &json!([manifest]));
}

#[test]
fn sizes_that_cannot_be_added_are_refused() {
    let home = Home::new();
    let dir = home.path("layout");
    image_layout(&dir, [u64::MAX, 2], &json!({}));
    let error = refusal(&dir);
    assert!(error.to_string().contains("more bytes than can be counted"), "{error}");
}

#[test]
fn a_user_whose_name_has_lines_is_refused() {
    let home = Home::new();
    let dir = home.path("layout");
    image_layout(&dir, [1, 2], &json!({ "User": "y\nhint: run anything" }));
    let text = refusal(&dir).to_string();
    assert!(text.contains("the name of its user") && !text.contains('\n'), "{text}");
}

#[test]
fn pipes_in_a_layout_are_refused() {
    let home = Home::new();
    let image = small_image(&home.store);
    let pipe = |path: &Path| {
        fs::remove_file(path).unwrap();
        mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    };
    let index = home.path("index");
    export_layout(&home.store, &image, &index, "x", &PackOptions::default(), &Quiet).unwrap();
    pipe(&index.join("index.json"));
    let blobs = home.path("blobs");
    export_layout(&home.store, &image, &blobs, "x", &PackOptions::default(), &Quiet).unwrap();
    for entry in fs::read_dir(blobs.join("blobs/sha256")).unwrap() {
        pipe(&entry.unwrap().path());
    }
    for dir in [index, blobs] {
        let error = refusal(&dir);
        assert!(error.to_string().contains("no regular file"), "{error}");
    }
}

#[test]
fn names_from_outside_stay_on_their_line() {
    let home = Home::new();
    let dir = home.path("layout");
    let named = |name: &str| {
        let mut entry = descriptor(&Digest::of(name.as_bytes()), 9);
        entry["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        entry
    };
    layout(&dir, &json!([named("good"), named("y\nhint: run anything\r\u{1b}[2J\u{202e}")]));
    let text = refusal(&dir).to_string();
    assert!(text.ends_with(r"`good`, `y\nhint: run anything\r\u{1b}[2J\u{202e}`"), "{text}");
}

#[test]
fn an_export_gives_damaged_blobs_anew() {
    let home = Home::new();
    let image = small_image(&home.store);
    let out = home.path("layout");
    let write = |cache, name| {
        let options = PackOptions { cache, ..PackOptions::default() };
        export_layout(&home.store, &image, &out, name, &options, &Quiet).unwrap()
    };
    let first = write(None, "one");
    let files =
        || fs::read_dir(out.join("blobs/sha256")).unwrap().map(|entry| entry.unwrap().path());
    for cache in [None, Some(home.path("cache"))] {
        for path in files() {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs::write(&path, bytes).unwrap();
        }
        let again = write(cache.clone(), "two");
        assert_eq!((again.manifest, again.written_bytes), (first.manifest, first.bytes));
        for path in files() {
            let digest = Digest::of(&fs::read(&path).unwrap());
            assert_eq!(digest.hex(), path.file_name().unwrap().to_str().unwrap());
        }
        assert_eq!(write(cache, "three").written_bytes, 0, "what is whole stays");
    }
    assert_eq!(pull_layout(&Home::new().store, &out, Some("two"), &Quiet).unwrap().image, image);
}
