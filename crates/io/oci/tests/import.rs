//! What others made comes in, and what is hostile is refused by name and leaves nothing.

mod support;

use std::{
    fs,
    io::Write,
    os::unix::fs::{PermissionsExt, symlink},
    path::Path,
    process::Command,
};

use hornero_model::{Digest, ImageConfig};
use hornero_oci::{
    Access, IMPORT_ATTACHMENT, ImportOptions, ImportRecord, OciError, Quiet, import,
};
use hornero_store::{DevicePolicy, EntryKind, Store};
use proptest::prelude::*;
use support::{Home, run};
use tar::{EntryType, Header};

fn take(store: &Store, from: &Path, options: &ImportOptions) -> hornero_oci::Result<Digest> {
    import(store, &from.display().to_string(), &Access::anonymous(), options, &Quiet)
        .map(|imported| imported.image)
}

/// A tar, entry by entry: kind, path as it is, link, content.
#[derive(Default)]
struct Tar(Vec<u8>);

impl Tar {
    fn add(mut self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_ustar();
        // Past the library's own care for paths.
        header.as_ustar_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_ustar_mut().unwrap().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(5);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
        self
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        self.add(EntryType::Regular, path, "", content)
    }

    fn end(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

/// A layout with these tars as layers.
fn layout(dir: &Path, layers: &[Vec<u8>], config: &str) {
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(dir.join("oci-layout"), "{\"imageLayoutVersion\":\"1.0.0\"}").unwrap();
    let put = |bytes: &[u8], kind: &str| {
        let digest = Digest::of(bytes);
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        let kind = format!("application/vnd.oci.image.{kind}");
        format!("{{\"mediaType\":\"{kind}\",\"digest\":\"{digest}\",\"size\":{}}}", bytes.len())
    };
    let list = |items: Vec<String>| items.join(",");
    let diff_ids = list(layers.iter().map(|layer| format!("\"{}\"", Digest::of(layer))).collect());
    let config = put(
        format!(
            "{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{config},\
             \"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[{diff_ids}]}}}}"
        )
        .as_bytes(),
        "config.v1+json",
    );
    let layers = list(layers.iter().map(|layer| put(layer, "layer.v1.tar")).collect());
    let manifest = put(
        format!("{{\"schemaVersion\":2,\"config\":{config},\"layers\":[{layers}]}}").as_bytes(),
        "manifest.v1+json",
    );
    fs::write(
        dir.join("index.json"),
        format!("{{\"schemaVersion\":2,\"manifests\":[{manifest}]}}"),
    )
    .unwrap();
}

#[test]
fn a_root_comes_in_from_a_directory_and_from_archives_of_it() {
    let home = Home::new();
    let root = home.path("root");
    fs::create_dir_all(root.join("etc/deep")).unwrap();
    fs::create_dir_all(root.join("dev")).unwrap();
    fs::write(root.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n")
        .unwrap();
    fs::write(root.join("etc/deep/large"), vec![7; 3 << 20]).unwrap();
    fs::hard_link(root.join("etc/deep/large"), root.join("etc/linked")).unwrap();
    symlink("etc/passwd", root.join("users")).unwrap();
    fs::set_permissions(root.join("etc"), fs::Permissions::from_mode(0o1750)).unwrap();
    run(Command::new("mknod").arg(root.join("dev/null")).args(["c", "1", "3"]));
    let config =
        ImageConfig { user: "web".into(), command: vec!["/bin/x".into()], ..Default::default() };
    let options = ImportOptions { config: Some(config.clone()), ..ImportOptions::default() };
    let from_directory = take(&home.store, &root, &options).unwrap();
    let tree = home.store.tree(&from_directory).unwrap();
    assert_eq!(tree.lookup("/etc").unwrap().metadata.mode, 0o1750);
    assert!(tree.lookup("/dev/null").is_err(), "instances get their devices from the sandbox");
    assert_eq!(home.store.image(&from_directory).unwrap().config, config);
    for (flag, name) in
        [("--", "r.tar"), ("-z", "r.tar.gz"), ("-J", "r.tar.xz"), ("--zstd", "r.tar.zst")]
    {
        let path = home.path(name);
        let mut tar = Command::new("tar");
        tar.arg("-C").arg(&root).args(["--format=pax", "--xattrs", "--sort=name", "-c"]);
        if flag != "--" {
            tar.arg(flag);
        }
        run(tar.arg("-f").arg(&path).args(["etc", "dev", "users"]));
        let image = take(&home.store, &path, &options).unwrap();
        let entries = |image| home.store.tree(image).unwrap().entries().to_vec();
        assert_eq!(entries(&image), entries(&from_directory), "{name}");
        let record = home.store.attachment(&image, IMPORT_ATTACHMENT).unwrap().unwrap();
        let record: ImportRecord = serde_json::from_slice(&record).unwrap();
        // The same root is the same image: what is said of it is where it came from last.
        assert_eq!(record.digest, Digest::of(&fs::read(&path).unwrap()));
    }
    let kept = ImportOptions { devices: DevicePolicy::Keep, ..options.clone() };
    let image = take(&home.store, &root, &kept).unwrap();
    let null = home.store.lookup(&image, "/dev/null").unwrap().kind;
    assert_eq!(null, EntryKind::CharDevice { major: 1, minor: 3 });
    let refused = ImportOptions { devices: DevicePolicy::Refuse, ..options.clone() };
    assert!(take(&home.store, &root, &refused).unwrap_err().to_string().contains("dev/null"));
    let nobody = ImageConfig { user: "nobody-here".into(), ..config };
    let nobody = ImportOptions { config: Some(nobody), ..options };
    assert!(take(&home.store, &root, &nobody).unwrap_err().to_string().contains("nobody-here"));
    let missing = take(&home.store, &home.path("none"), &ImportOptions::default()).unwrap_err();
    assert!(matches!(missing, OciError::Missing(_)), "{missing}");
    // These could be references but for their beginning.
    for path in ["./root.fs/app", "../root.fs/app:1", ".root.fs/app"] {
        let missing = take(&home.store, Path::new(path), &ImportOptions::default()).unwrap_err();
        assert!(matches!(&missing, OciError::Missing(what) if what == path), "{missing}");
    }
}

#[test]
fn layers_of_a_foreign_image_mean_what_they_mean_to_docker() {
    let home = Home::new();
    let below =
        Tar::default().file("a/x", b"1").file("a/y", b"2").file("b", b"3").file("c/d", b"4").end();
    let above = Tar::default()
        .file("a/.wh.x", b"")
        .file("c/.wh..wh..opq", b"")
        .file("c/e", b"5")
        .file("b", b"first")
        .file("b", b"last")
        .add(EntryType::Link, "hard", "b", b"")
        .add(EntryType::Symlink, "s", "../../../etc/shadow", b"")
        .end();
    let config = r#"{"User":"1000:1000","Entrypoint":["/e"],"Cmd":["c"],"Env":["A=b=c","B"],"WorkingDir":"w"}"#;
    layout(&home.path("l"), &[below, above], config);
    let image = take(&home.store, &home.path("l"), &ImportOptions::default()).unwrap();
    let tree = home.store.tree(&image).unwrap();
    let files: Vec<String> = tree
        .entries()
        .iter()
        .filter(|entry| !entry.kind.is_directory())
        .map(|entry| entry.path.to_string())
        .collect();
    assert_eq!(files, ["/a/y", "/b", "/c/e", "/hard", "/s"]);
    assert_eq!(home.store.read_file(&image, "/hard").unwrap(), b"last");
    let config = home.store.image(&image).unwrap().config;
    assert_eq!((config.user.as_str(), config.workdir.as_str()), ("1000:1000", "/w"));
    assert_eq!(config.command, ["/e", "c"]);
    let env: Vec<_> = config.env.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(env, [("A", "b=c"), ("B", "")]);
}

#[test]
fn a_layer_says_of_those_below_what_it_says_in_any_order() {
    let below = Tar::default().file("a/x", b"1").file("b", b"2").file("c/y", b"3").end();
    let pair: [&dyn Fn(Tar) -> Tar; 7] = [
        &|tar| tar.file(".wh.a", b""),
        &|tar| tar.file("a/.wh..wh..opq", b""),
        &|tar| tar.file("b/.wh..wh..opq", b""),
        &|tar| tar.file("b", b"new"),
        &|tar| tar.file(".wh.b", b""),
        &|tar| tar.file("c/.wh.y", b""),
        &|tar| tar.file("c/y", b"newer"),
    ];
    let orders = [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [3, 0, 6, 2, 5, 1, 4]];
    for order in orders {
        let home = Home::new();
        let above = order.iter().fold(Tar::default(), |tar, at| pair[*at](tar));
        // A file of the layer below, by its absolute name.
        let above = above.add(EntryType::Link, "linked", "/a/x", b"").end();
        layout(&home.path("l"), &[below.clone(), above], "{}");
        let image = take(&home.store, &home.path("l"), &ImportOptions::default()).unwrap();
        let tree = home.store.tree(&image).unwrap();
        let paths: Vec<String> = tree.entries().iter().map(|one| one.path.to_string()).collect();
        assert_eq!(paths, ["/", "/a", "/b", "/c", "/c/y", "/linked"], "{order:?}");
        for (path, content) in [("b", &b"new"[..]), ("c/y", b"newer"), ("linked", b"1")] {
            assert_eq!(home.store.read_file(&image, path).unwrap(), content, "{order:?} {path}");
        }
    }
}

#[test]
fn directories_that_an_image_runs_in_or_keeps_data_in_are_made() {
    let home = Home::new();
    let layer = Tar::default()
        .file("srv/file", b"1")
        .add(EntryType::Symlink, "var/run", "/run", b"")
        .add(EntryType::Directory, "run/", "", b"")
        .end();
    let config =
        r#"{"WorkingDir":"app/work","Volumes":{"/data":{},"/var/run/sock/":{},"/srv/file":{}}}"#;
    layout(&home.path("l"), std::slice::from_ref(&layer), config);
    let image = take(&home.store, &home.path("l"), &ImportOptions::default()).unwrap();
    let tree = home.store.tree(&image).unwrap();
    for path in ["/app/work", "/data", "/run/sock", "/var/run/sock"] {
        assert!(tree.lookup(path).unwrap().kind.is_directory(), "{path}");
    }
    assert!(!tree.lookup("/srv/file").unwrap().kind.is_directory());
    assert_eq!(home.store.image(&image).unwrap().layers.len(), 2);
    // A root gets the directory that it is told to run in, and nothing more where it has all.
    let root = home.path("root.tar");
    fs::write(&root, &layer).unwrap();
    let layers = |workdir: &str| {
        let config = ImageConfig { workdir: workdir.into(), ..Default::default() };
        let options = ImportOptions { config: Some(config), ..ImportOptions::default() };
        let image = take(&home.store, &root, &options).unwrap();
        assert!(home.store.lookup(&image, workdir).unwrap().kind.is_directory());
        home.store.image(&image).unwrap().layers.len()
    };
    assert_eq!([layers("/work"), layers("/srv"), layers("/")], [2, 1, 1]);
}

/// Refused with these words, and nothing of it is in the store.
fn check(name: &str, tar: Vec<u8>, words: &str) {
    let home = Home::new();
    let options = ImportOptions { content_bytes_max: 1 << 20, ..ImportOptions::default() };
    let as_root = home.path("root.tar");
    fs::write(&as_root, &tar).unwrap();
    layout(&home.path("layout"), &[tar], "{}");
    for from in [as_root, home.path("layout")] {
        let error = take(&home.store, &from, &options).unwrap_err();
        let mut said = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(error) = source {
            said.push_str(&format!(": {error}"));
            source = error.source();
        }
        assert!(said.contains(words), "{name}: {said}");
        if words == "larger than" {
            assert!(error.hint().is_some_and(|hint| hint.contains("--max-size")), "{error}");
        }
        assert!(home.store.images().unwrap().is_empty() && home.store.layers().unwrap().is_empty());
        assert!(home.store.fsck().unwrap().is_empty(), "{name}");
    }
}

#[test]
fn hostile_archives_are_refused_by_name() {
    let file = |path: &str| Tar::default().file(path, b"x");
    check("outside", file("../../etc/passwd").end(), "../../etc/passwd");
    check("inside out", file("a/../../x").end(), "a/../../x");
    check("absolute and outside", file("/a/../../x").end(), "/a/../../x");
    check(
        "through a link",
        Tar::default().add(EntryType::Symlink, "lib", "/etc", b"").file("lib/passwd", b"x").end(),
        "lib",
    );
    check(
        "link to nothing",
        Tar::default().add(EntryType::Link, "a", "/etc/shadow", b"").end(),
        "hard link",
    );
    check(
        "too large",
        Tar::default().file("a", &[1; 600 << 10]).file("b", &[2; 600 << 10]).end(),
        "larger than",
    );
    for kind in ["x", "g", "L", "K"] {
        let mut bomb = Tar::default().add(EntryType::new(kind.as_bytes()[0]), "x", "", b"").0;
        let mut header = Header::new_old();
        header.as_mut_bytes().copy_from_slice(&bomb);
        header.set_size(30 << 30);
        header.set_cksum();
        bomb.copy_from_slice(header.as_bytes());
        bomb.resize(2 << 20, b'a');
        check("large header", bomb, "more than 1 MiB");
    }
    check("unknown kind", Tar::default().add(EntryType::new(b'Z'), "odd", "", b"").end(), "odd");
    let mut cut = file("a").end();
    cut.truncate(400);
    check("cut off", cut, "");
    // A header that promises far more than follows.
    let mut promise = file("a").end();
    promise[124..135].copy_from_slice(b"77777777777");
    let mut header = Header::new_old();
    header.as_mut_bytes().copy_from_slice(&promise[..512]);
    header.set_cksum();
    promise[..512].copy_from_slice(header.as_bytes());
    check("promise", promise, "larger than");
}

#[test]
fn hostile_layouts_and_bombs_are_refused() {
    let home = Home::new();
    // One layer that unpacks to far more than any compression makes of real files.
    let mut large = Header::new_gnu();
    large.set_path("zeros").unwrap();
    large.set_size(300 << 20);
    large.set_mode(0o644);
    large.set_uid(0);
    large.set_gid(0);
    large.set_mtime(0);
    large.set_cksum();
    let mut encoder = zstd::Encoder::new(Vec::new(), 19).unwrap();
    encoder.write_all(large.as_bytes()).unwrap();
    std::io::copy(&mut std::io::Read::take(std::io::repeat(0), 300 << 20), &mut encoder).unwrap();
    let bomb = home.path("bomb.tar.zst");
    fs::write(&bomb, encoder.finish().unwrap()).unwrap();
    let error = take(&home.store, &bomb, &ImportOptions::default()).unwrap_err();
    let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    assert!(format!("{error} {source}").contains("times its size"), "{error} {source}");
    assert!(error.hint().is_some_and(|hint| hint.contains("--max-size")));
    let meant = ImportOptions { any_ratio: true, ..ImportOptions::default() };
    assert!(take(&home.store, &bomb, &meant).is_ok(), "it is meant");

    let good = Tar::default().file("a", b"x").end();
    let changed = |name: &str, change: &dyn Fn(String) -> String| {
        let dir = home.path(name);
        layout(&dir, std::slice::from_ref(&good), "{}");
        let index = fs::read_to_string(dir.join("index.json")).unwrap();
        fs::write(dir.join("index.json"), change(index)).unwrap();
        take(&home.store, &dir, &ImportOptions::default())
    };
    assert!(changed("whole", &|index| index).is_ok());
    let digest = |index: &str| index.split("sha256:").nth(1).unwrap()[..64].to_owned();
    let error =
        changed("gone", &|index| index.replace(&digest(&index), &"0".repeat(64))).unwrap_err();
    assert!(matches!(error, OciError::Missing(_)), "{error}");
    let error = changed("path", &|index| index.replace(&digest(&index), "../../../../etc/passwd"))
        .unwrap_err();
    assert!(error.to_string().contains("is not a digest"), "{error}");
    let deep = "[".repeat(100_000);
    assert!(matches!(changed("deep", &|_| deep.clone()), Err(OciError::Refused { .. })));
    let windows = home.path("windows");
    layout(&windows, std::slice::from_ref(&good), "{}");
    let blobs = windows.join("blobs/sha256");
    for entry in fs::read_dir(&blobs).unwrap().map(Result::unwrap) {
        let text = fs::read(entry.path()).unwrap();
        if String::from_utf8_lossy(&text).contains("\"os\":\"linux\"") {
            fs::write(entry.path(), String::from_utf8(text).unwrap().replace("linux", "other"))
                .unwrap();
        }
    }
    let error = take(&home.store, &windows, &ImportOptions::default()).unwrap_err();
    assert!(matches!(error, OciError::Digest { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Archives with bytes changed anywhere: in, or refused; the program lives and the store is whole.
    #[test]
    fn changed_archives_are_refused_or_whole(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let home = Home::new();
        let mut bytes = Tar::default()
            .add(EntryType::Directory, "d/", "", b"")
            .file("d/a", &[3; 700])
            .add(EntryType::Symlink, "d/s", "a", b"")
            .add(EntryType::Link, "d/h", "d/a", b"")
            .file("d/.wh.gone", b"")
            .end();
        for (at, byte) in &changes {
            let at = at.index(bytes.len());
            bytes[at] = *byte;
        }
        // Sums that hold, so that what is changed is looked at.
        for start in [0, 512, 2048, 2560, 3072] {
            let mut header = Header::new_old();
            header.as_mut_bytes().copy_from_slice(&bytes[start..start + 512]);
            header.set_cksum();
            bytes[start..start + 512].copy_from_slice(header.as_bytes());
        }
        let path = home.path("r.tar");
        fs::write(&path, &bytes).unwrap();
        if let Ok(image) = take(&home.store, &path, &ImportOptions::default()) {
            home.store.verify_for_start(&image).unwrap();
        }
        layout(&home.path("l"), &[bytes], "{}");
        if let Ok(image) = take(&home.store, &home.path("l"), &ImportOptions::default()) {
            home.store.verify_for_start(&image).unwrap();
        }
        prop_assert!(home.store.fsck().unwrap().is_empty());
    }
}
