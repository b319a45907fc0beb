//! Layout directories: what is in them, what independent readers find, and that images come back as they went.

mod support;

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use hornero_model::{Digest, ImageConfig};
use hornero_oci::{
    Access, Compression, ImportOptions, OciError, PackOptions, Quiet, export_layout, import,
    pull_from_store, pull_layout,
};
use hornero_store::{EntryKind, ImageManifest};
use serde_json::{Value, json};
use support::{Home, directory, file, put_layers, run, small_image};

const ALL: [Compression; 3] = [Compression::None, Compression::Gzip, Compression::Zstd];

fn options(compression: Compression) -> PackOptions {
    PackOptions { compression, cache: None }
}

#[test]
fn an_image_comes_back_with_its_digest_and_all_that_is_known_about_it() {
    let home = Home::new();
    let image = small_image(&home.store);
    let layer = home.store.image(&image).unwrap().layers[1];
    home.store.attach(&image, "bake", b"{\"record\":1}").unwrap();
    home.store.attach(&image, "import", b"\xff\x00noted").unwrap();
    home.store.attach(&image, "tests", b"stays").unwrap();
    home.store.attach(&layer, "facts", b"facts of it").unwrap();
    home.store.attach(&layer, "bake.00ff", b"of the image below").unwrap();
    for compression in ALL {
        let out = home.path(&format!("{compression:?}"));
        export_layout(&home.store, &image, &out, "app:1", &options(compression), &Quiet).unwrap();
        let other = Home::new();
        let pulled = pull_layout(&other.store, &out, Some("app:1"), &Quiet).unwrap();
        assert_eq!((pulled.image, pulled.foreign), (image, false));
        other.store.verify_for_start(&image).unwrap();
        assert_eq!(other.store.tree(&image).unwrap(), home.store.tree(&image).unwrap());
        let read = |subject: &Digest, kind| other.store.attachment(subject, kind).unwrap();
        assert_eq!(read(&image, "bake").unwrap(), b"{\"record\":1}");
        assert_eq!(read(&image, "import").unwrap(), b"\xff\x00noted");
        assert_eq!(read(&image, "tests"), None, "what was tried here was tried here");
        assert_eq!(read(&layer, "facts"), None, "nobody vouches for them");
        assert_eq!(read(&layer, "bake.00ff").unwrap(), b"of the image below");
        // Nothing moves twice.
        let again = pull_layout(&other.store, &out, None, &Quiet).unwrap();
        assert_eq!((again.contents_moved, again.layers_moved), (0, 0));
    }
}

/// Independent readers see the root that instances see.
#[test]
fn another_program_unpacks_the_same_root() {
    let home = Home::new();
    let image = small_image(&home.store);
    let out = home.path("layout");
    export_layout(&home.store, &image, &out, "app", &options(Compression::Gzip), &Quiet).unwrap();
    let inspected =
        run(Command::new("skopeo").args(["inspect", &format!("oci:{}:app", out.display())]));
    let inspected: serde_json::Value = serde_json::from_str(&inspected).unwrap();
    assert_eq!(inspected["Labels"]["hornero.image"], image.to_string());
    assert_eq!(inspected["Created"], "1970-01-01T00:00:00Z");
    assert_eq!(inspected["Env"][0], "GREETING=hello there");
    // As a foreign image: by tars and whiteouts alone, without what is hidden.
    let plain = home.path("plain");
    run(Command::new("skopeo").args([
        "copy",
        "-q",
        "--dest-decompress",
        &format!("oci:{}:app", out.display()),
        &format!("dir:{}", plain.display()),
    ]));
    let archive = home.path("saved.tar");
    run(Command::new("skopeo").args([
        "copy",
        "-q",
        &format!("oci:{}:app", out.display()),
        &format!("docker-archive:{}:app:1", archive.display()),
    ]));
    let other = Home::new();
    let from = archive.display().to_string();
    let imported =
        import(&other.store, &from, &Access::anonymous(), &ImportOptions::default(), &Quiet)
            .unwrap();
    assert!(imported.foreign, "what is hidden is lost in an archive");
    let config = other.store.image(&imported.image).unwrap().config;
    assert_eq!(config, home.store.image(&image).unwrap().config);
    let (ours, theirs) =
        (home.store.tree(&image).unwrap(), other.store.tree(&imported.image).unwrap());
    let paths = |tree: &hornero_store::Tree| -> BTreeSet<String> {
        tree.entries().iter().map(|entry| entry.path.to_string()).collect()
    };
    assert_eq!(paths(&theirs), paths(&ours));
    for (one, other) in ours.entries().iter().zip(theirs.entries()) {
        assert_eq!(
            (&one.kind, one.metadata.mode),
            (&other.kind, other.metadata.mode),
            "{}",
            one.path
        );
        assert_eq!(one.metadata.xattrs, other.metadata.xattrs, "{}", one.path);
    }
    let record = other.store.attachment(&imported.image, hornero_oci::IMPORT_ATTACHMENT).unwrap();
    let record: hornero_oci::ImportRecord = serde_json::from_slice(&record.unwrap()).unwrap();
    assert_eq!(record.from, from);
}

/// Python's reader refuses an archive of nothing but a header about the whole archive, as others refuse any such header.
#[test]
fn every_layer_is_an_archive_to_naive_readers() {
    const PROGRAM: &str = "import sys, tarfile\n\
        for path in sys.argv[1:]:\n  with tarfile.open(path) as archive:\n    \
        print(len(archive.getmembers()), archive.pax_headers)";
    let home = Home::new();
    let image = small_image(&home.store);
    for compression in [Compression::None, Compression::Gzip] {
        let out = home.path(&format!("{compression:?}"));
        export_layout(&home.store, &image, &out, "app", &options(compression), &Quiet).unwrap();
        let manifest = fs::read(out.join("index.json")).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let blob = |value: &Value| {
            out.join("blobs/sha256").join(&value["digest"].as_str().unwrap()["sha256:".len()..])
        };
        let manifest = fs::read(blob(&manifest["manifests"][0])).unwrap();
        let manifest: Value = serde_json::from_slice(&manifest).unwrap();
        let layers: Vec<_> = manifest["layers"].as_array().unwrap().iter().map(blob).collect();
        let read = run(Command::new("python3").args(["-c", PROGRAM]).args(&layers));
        let lines: Vec<&str> = read.lines().collect();
        assert_eq!(lines.len(), layers.len());
        assert!(lines.iter().all(|line| line.ends_with(" {}")), "{read}");
        // What carries the image's identity adds nothing to a root but the root itself.
        assert_eq!(lines.last(), Some(&"1 {}"));
    }
}

#[test]
fn a_layout_keeps_its_other_images_and_shares_blobs() {
    let home = Home::new();
    let image = small_image(&home.store);
    let manifest = home.store.image(&image).unwrap();
    let config = ImageConfig { command: vec!["/bin/ls".into()], ..manifest.config.clone() };
    let second = home.store.put_image(&ImageManifest::new(manifest.layers, config)).unwrap();
    let out = home.path("layout");
    let cached = PackOptions { compression: Compression::Gzip, cache: Some(home.path("cache")) };
    let write =
        |image, name| export_layout(&home.store, image, &out, name, &cached, &Quiet).unwrap();
    let first = write(&image, "one");
    assert_eq!(first.written_bytes, first.bytes);
    let other = write(&second, "two");
    assert!(other.written_bytes < 8_000, "only documents and passport are new: {other:?}");
    let replaced = write(&image, "two");
    assert_eq!(replaced.written_bytes, 0);
    let pulled = pull_layout(&Home::new().store, &out, None, &Quiet).unwrap();
    assert_eq!(pulled.image, image, "one image under two names is the only one");
    write(&second, "two");
    assert_eq!(replaced.manifest, first.manifest, "the same image becomes the same bytes");
    let index = fs::read_to_string(out.join("index.json")).unwrap();
    let index: serde_json::Value = serde_json::from_str(&index).unwrap();
    assert_eq!(index["manifests"].as_array().unwrap().len(), 2);
    let error = pull_layout(&Home::new().store, &out, None, &Quiet).unwrap_err();
    let OciError::Several { names, .. } = &error else { panic!("{error}") };
    assert_eq!(names, "`one`, `two`");
    assert!(error.hint().is_some_and(|hint| hint.contains("--image")), "{error}");
    let error = pull_layout(&Home::new().store, &out, Some("three"), &Quiet).unwrap_err();
    assert!(matches!(error, OciError::Missing(_)), "{error}");
    // Damage of the cache is noticed, and mended.
    let kept = home.path("cache/blobs");
    for entry in fs::read_dir(&kept).unwrap().map(Result::unwrap) {
        let mut bytes = fs::read(entry.path()).unwrap();
        bytes[0] ^= 1;
        fs::write(entry.path(), bytes).unwrap();
    }
    let fresh = home.path("fresh");
    let again = export_layout(&home.store, &image, &fresh, "one", &cached, &Quiet).unwrap();
    assert_eq!(again.manifest, first.manifest);
    pull_layout(&Home::new().store, &fresh, None, &Quiet).unwrap();
    // A directory with other files stays as it is.
    fs::create_dir(home.path("full")).unwrap();
    fs::write(home.path("full/file"), "x").unwrap();
    let refused = export_layout(&home.store, &image, &home.path("full"), "x", &cached, &Quiet);
    assert!(matches!(refused, Err(OciError::Refused { .. })));
}

/// Bytes all over every file of a layout are changed in turn: nothing wrong comes in.
#[test]
fn changed_bytes_are_refused_and_nothing_is_seen() {
    let home = Home::new();
    let layers = put_layers(&home.store, |ingest| {
        vec![
            vec![directory("etc"), file(ingest, "etc/a", b"some text of a file", 0o644)],
            vec![file(ingest, "etc/b", &[7; 9000], 0o644)],
        ]
    });
    let image = home.store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap();
    for compression in ALL {
        let out = home.path(&format!("{compression:?}"));
        export_layout(&home.store, &image, &out, "x", &options(compression), &Quiet).unwrap();
        let files: Vec<_> = fs::read_dir(out.join("blobs/sha256"))
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        let (mut refused, mut harmless) = (0, 0);
        let mut other = Home::new();
        for path in files {
            let good = fs::read(&path).unwrap();
            for at in (0..good.len()).step_by(good.len() / 8 + 1) {
                let mut bad = good.clone();
                bad[at] ^= 0x11;
                fs::write(&path, &bad).unwrap();
                match pull_layout(&other.store, &out, None, &Quiet) {
                    // Headers of files, and the configuration that others read, do not move.
                    Ok(pulled) => {
                        assert_eq!(pulled.image, image);
                        other.store.verify_for_start(&image).unwrap();
                        harmless += 1;
                        other = Home::new();
                    }
                    Err(_) => {
                        assert!(other.store.images().unwrap().is_empty());
                        assert!(other.store.layers().unwrap().is_empty());
                        assert!(other.store.fsck().unwrap().is_empty());
                        refused += 1;
                    }
                }
            }
            fs::write(&path, &good).unwrap();
        }
        assert!(refused > 5 && harmless > 0, "{refused} {harmless}");
    }
}

#[test]
fn what_a_tar_of_layers_cannot_carry_is_named() {
    let home = Home::new();
    let layers =
        put_layers(&home.store, |ingest| vec![vec![file(ingest, "etc/.wh.x", b"x", 0o644)]]);
    let image = home.store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap();
    let out = home.path("out");
    let error = export_layout(&home.store, &image, &out, "x", &options(Compression::Gzip), &Quiet)
        .unwrap_err();
    assert!(error.to_string().contains("/etc/.wh.x"), "{error}");
}

#[test]
fn damage_of_the_store_goes_nowhere() {
    let home = Home::new();
    let image = small_image(&home.store);
    let tree = home.store.tree(&image).unwrap();
    for path in ["/etc/version", "/data/5m"] {
        let EntryKind::File { digest, size } = tree.lookup(path).unwrap().kind else { panic!() };
        let hex = digest.hex();
        let object = home.store.objects_dir().join(&hex[..2]).join(&hex[2..]);
        let good = fs::read(&object).unwrap();
        fs::remove_file(&object).unwrap();
        fs::write(&object, vec![9; size as usize]).unwrap();
        let out = home.path("out");
        let error =
            export_layout(&home.store, &image, &out, "x", &options(Compression::Gzip), &Quiet)
                .unwrap_err();
        assert!(error.to_string().contains(&hex), "{error}");
        let copied = pull_from_store(&Home::new().store, &home.store, &image, &Quiet).unwrap_err();
        assert!(copied.to_string().contains(&hex), "{copied}");
        fs::write(&object, good).unwrap();
    }
}

#[test]
fn another_store_gives_only_what_is_missing() {
    let (home, other) = (Home::new(), Home::new());
    let image = small_image(&home.store);
    home.store.attach(&image, "bake", b"{}").unwrap();
    let below = home.store.image(&image).unwrap().layers[0];
    home.store.attach(&below, "import.00ff", b"of the image below").unwrap();
    home.store.attach(&below, "facts", b"facts of it").unwrap();
    let first = pull_from_store(&other.store, &home.store, &image, &Quiet).unwrap();
    assert!(first.bytes_moved > 5 << 20);
    assert_eq!(other.store.attachment(&image, "bake").unwrap().unwrap(), b"{}");
    assert_eq!(
        other.store.attachment(&below, "import.00ff").unwrap().unwrap(),
        b"of the image below"
    );
    assert_eq!(other.store.attachment(&below, "facts").unwrap(), None, "nobody vouches for them");
    let manifest = home.store.image(&image).unwrap();
    let mut layers = manifest.layers.clone();
    layers
        .extend(put_layers(&home.store, |ingest| vec![vec![file(ingest, "new", b"12345", 0o644)]]));
    let patched = home.store.put_image(&ImageManifest::new(layers, manifest.config)).unwrap();
    let second = pull_from_store(&other.store, &home.store, &patched, &Quiet).unwrap();
    assert_eq!((second.bytes_moved, second.contents_moved, second.layers_moved), (5, 1, 1));
    other.store.verify_for_start(&patched).unwrap();
}

/// Changes the configuration of a layout's only image, and the documents that name it; gives the new manifest.
fn with_configuration(dir: &Path, change: impl FnOnce(&mut Value)) -> Value {
    let blobs = dir.join("blobs/sha256");
    let read = |path: &Path| -> Value { serde_json::from_slice(&fs::read(path).unwrap()).unwrap() };
    let blob = |named: &Value| blobs.join(&named["digest"].as_str().unwrap()["sha256:".len()..]);
    let put = |document: &Value, named: &mut Value| {
        let bytes = serde_json::to_vec(document).unwrap();
        let digest = Digest::of(&bytes);
        fs::write(blobs.join(digest.hex()), &bytes).unwrap();
        named["digest"] = json!(digest);
        named["size"] = json!(bytes.len());
    };
    let mut index = read(&dir.join("index.json"));
    let mut manifest = read(&blob(&index["manifests"][0]));
    let mut configuration = read(&blob(&manifest["config"]));
    change(&mut configuration);
    put(&configuration, &mut manifest["config"]);
    put(&manifest, &mut index["manifests"][0]);
    fs::write(dir.join("index.json"), serde_json::to_vec(&index).unwrap()).unwrap();
    manifest
}

/// What `FROM` this image with only `ENV`, `CMD`, `USER` or `WORKDIR` makes: the same layers and labels.
#[test]
fn an_image_that_others_made_of_it_runs_what_they_said() {
    let home = Home::new();
    let image = small_image(&home.store);
    let check = |change: &dyn Fn(&mut Value), expected: &dyn Fn(&mut ImageConfig)| {
        let out = tempfile::tempdir().unwrap();
        let out = out.path().join("layout");
        export_layout(&home.store, &image, &out, "x", &options(Compression::Gzip), &Quiet).unwrap();
        with_configuration(&out, |configuration| change(&mut configuration["config"]));
        let other = Home::new();
        let pulled = pull_layout(&other.store, &out, None, &Quiet).unwrap();
        let mut config = home.store.image(&image).unwrap().config;
        expected(&mut config);
        let found = other.store.image(&pulled.image).unwrap().config;
        assert_eq!((found, pulled.foreign), (config, pulled.image != image));
        pulled.foreign
    };
    assert!(!check(&|config| config["ExposedPorts"] = json!({"80/tcp": {}}), &|_| ()));
    assert!(check(&|config| config["Cmd"] = json!(["/bin/id"]), &|config| {
        config.command = vec!["/bin/id".into()];
    }));
    assert!(check(&|config| config["Entrypoint"] = json!(["/bin/sh"]), &|config| {
        config.command.insert(0, "/bin/sh".into());
    }));
    assert!(check(&|config| config["User"] = json!("0"), &|config| config.user = "0".into()));
    assert!(check(&|config| config["WorkingDir"] = json!("/etc"), &|config| {
        config.workdir = "/etc".into();
    }));
    assert!(check(&|config| config["Env"] = json!(["GREETING=other", "PATH=/bin"]), &|config| {
        config.env.insert("GREETING".into(), "other".into());
    }));
}

#[test]
fn an_image_for_another_machine_is_refused_by_name() {
    let home = Home::new();
    let image = small_image(&home.store);
    for foreign in [false, true] {
        let out = home.path(&format!("out-{foreign}"));
        export_layout(&home.store, &image, &out, "x", &options(Compression::Gzip), &Quiet).unwrap();
        with_configuration(&out, |configuration| {
            configuration["architecture"] = json!("s390x");
            if foreign {
                configuration["config"]["User"] = json!("0");
            }
        });
        let other = Home::new();
        let error = pull_layout(&other.store, &out, None, &Quiet).unwrap_err().to_string();
        assert!(error.contains("linux/s390x"), "{error}");
        assert!(
            other.store.images().unwrap().is_empty() && other.store.layers().unwrap().is_empty()
        );
    }
}

/// The exact platform counts more than none, wherever it stands.
#[test]
fn an_index_gives_the_image_of_this_machine() {
    let home = Home::new();
    let image = small_image(&home.store);
    let out = home.path("out");
    export_layout(&home.store, &image, &out, "x", &options(Compression::Gzip), &Quiet).unwrap();
    let path = out.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    let ours = index["manifests"][0].clone();
    let mut nobodys = ours.clone();
    nobodys["digest"] = json!(Digest::of(b"there is no such manifest"));
    for unknown in [Value::Null, json!({"architecture": "unknown", "os": "unknown"})] {
        nobodys["platform"] = unknown;
        index["manifests"] = json!([nobodys, ours]);
        for one in index["manifests"].as_array_mut().unwrap() {
            one.as_object_mut().unwrap().remove("annotations");
            if one["platform"].is_null() {
                one.as_object_mut().unwrap().remove("platform");
            }
        }
        fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
        assert_eq!(pull_layout(&Home::new().store, &out, None, &Quiet).unwrap().image, image);
    }
}

/// As Docker with containerd's store saves an image: layers as they are in the registry, and `manifest.json` beside the
/// layout that names them by what they unpack to.
#[test]
fn an_archive_with_a_layout_in_it_brings_the_image_itself() {
    let home = Home::new();
    let image = small_image(&home.store);
    let out = home.path("out");
    export_layout(&home.store, &image, &out, "1", &options(Compression::Gzip), &Quiet).unwrap();
    let path = out.join("index.json");
    let mut index: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    index["manifests"][0]["annotations"]["io.containerd.image.name"] =
        json!("docker.io/library/app:1");
    let mut second = index["manifests"][0].clone();
    second["annotations"] = json!({"io.containerd.image.name": "reg.example/app:2"});
    let manifest = with_configuration(&out, |_| ());
    let file = |named: &Value| {
        format!("blobs/sha256/{}", &named["digest"].as_str().unwrap()["sha256:".len()..])
    };
    let layers: Vec<String> = manifest["layers"].as_array().unwrap().iter().map(file).collect();
    let saved =
        json!([{"Config": file(&manifest["config"]), "RepoTags": ["app:1"], "Layers": layers}]);
    fs::write(out.join("manifest.json"), serde_json::to_vec(&saved).unwrap()).unwrap();
    let take = |files: &[&str], name: Option<&str>| {
        let archive = home.path("saved.tar");
        run(Command::new("tar").arg("-C").arg(&out).arg("-cf").arg(&archive).args(files));
        let options = ImportOptions { name: name.map(str::to_owned), ..ImportOptions::default() };
        let other = Home::new();
        let from = archive.display().to_string();
        let found = import(&other.store, &from, &Access::anonymous(), &options, &Quiet)?;
        if found.foreign {
            let (ours, theirs) = (home.store.tree(&image)?, other.store.tree(&found.image)?);
            assert_eq!(theirs.entries().len(), ours.entries().len());
        }
        Ok::<_, OciError>((found.image == image, found.foreign))
    };
    let all = ["blobs", "index.json", "manifest.json", "oci-layout"];
    fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
    for name in [None, Some("app:1"), Some("docker.io/library/app:1"), Some("1")] {
        assert_eq!(take(&all, name).unwrap(), (true, false), "{name:?}");
    }
    assert!(matches!(take(&all, Some("none")), Err(OciError::Missing(_))));
    // Without the layout its layers are only known by what they unpack to.
    assert_eq!(take(&["blobs", "manifest.json"], Some("app:1")).unwrap(), (false, true));
    second["digest"] = json!(Digest::of(b"another image"));
    index["manifests"].as_array_mut().unwrap().push(second);
    fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
    let error = take(&all, None).unwrap_err();
    let OciError::Several { names, .. } = &error else { panic!("{error}") };
    assert_eq!(names, "`app:1`, `reg.example/app:2`");
    assert_eq!(take(&all, Some("app:1")).unwrap(), (true, false));
}

#[test]
fn what_others_wrote_into_a_layout_stays_as_it_is() {
    let home = Home::new();
    let image = small_image(&home.store);
    let out = home.path("out");
    let write = |name: &str| {
        export_layout(&home.store, &image, &out, name, &options(Compression::Gzip), &Quiet)
    };
    write("ours").unwrap();
    let path = out.join("index.json");
    let read = || -> Value { serde_json::from_slice(&fs::read(&path).unwrap()).unwrap() };
    let mut index = read();
    let theirs = json!({
        "mediaType": "application/vnd.example+json", "digest": Digest::of(b"theirs"), "size": 6,
        "artifactType": "application/vnd.example.sbom", "data": "dGhlaXJz", "urls": ["https://example"],
        "platform": {"architecture": "arm64", "os": "linux", "variant": "v8"},
        "annotations": {"org.opencontainers.image.ref.name": "theirs"},
    });
    index["manifests"].as_array_mut().unwrap().insert(0, theirs.clone());
    index["subject"] = json!({"digest": "of something"});
    fs::write(&path, serde_json::to_vec(&index).unwrap()).unwrap();
    // Killed exports left these, and one of the same size with other bytes.
    for left in ["blobs/sha256/.blob-x", "blobs/sha256/.new-x", ".new-x"] {
        fs::write(out.join(left), "left").unwrap();
    }
    // Somebody may still be at work in the second.
    for (workshop, changed) in [(".making-old", "2 days ago"), (".making-new", "now")] {
        fs::create_dir(out.join(workshop)).unwrap();
        fs::write(out.join(workshop).join("blob"), "left").unwrap();
        run(Command::new("touch").args(["-d", changed]).arg(out.join(workshop)));
    }
    let named = index["manifests"][1]["digest"].as_str().unwrap()["sha256:".len()..].to_owned();
    let document = out.join("blobs/sha256").join(named);
    let good = fs::read(&document).unwrap();
    fs::write(&document, vec![b' '; good.len()]).unwrap();
    write("more").unwrap();
    assert_eq!(fs::read(&document).unwrap(), good);
    let after = read();
    assert_eq!(after["manifests"][0], theirs);
    assert_eq!(after["subject"], index["subject"]);
    assert_eq!(after["manifests"].as_array().unwrap().len(), 3);
    let left = run(Command::new("find").arg(&out).args(["-name", ".*-*", "-printf", "%f "]));
    assert_eq!(left, ".making-new ");
    // At the same time, each finds what the others wrote.
    std::thread::scope(|scope| {
        for number in 0..6 {
            scope.spawn(move || write(&format!("at-once-{number}")).unwrap());
        }
    });
    assert_eq!(read()["manifests"].as_array().unwrap().len(), 9);
}

#[test]
fn an_export_that_fails_leaves_no_directory() {
    let home = Home::new();
    let layers =
        put_layers(&home.store, |ingest| vec![vec![file(ingest, "etc/.wh.x", b"x", 0o644)]]);
    let image = home.store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap();
    let cached = PackOptions { compression: Compression::Gzip, cache: Some(home.path("cache")) };
    for options in [options(Compression::Gzip), cached] {
        let out = home.path("deep/out");
        export_layout(&home.store, &image, &out, "x", &options, &Quiet).unwrap_err();
        assert!(!home.path("deep").exists());
    }
    let left = run(Command::new("find").arg(home.dir.path()).args(["-name", ".making-*"]));
    assert_eq!(left, "");
}

/// A statement as a key with this number would sign it; whether the signature is right matters to those who know keys.
fn statement(image: &Digest, key: u8, signature: u8) -> (String, Vec<u8>) {
    use hornero_provenance::{Attested, KeyId, Origin, Signer, attest, sign};
    struct Fake(u8, u8);
    impl Signer for Fake {
        fn public_key(&self) -> hornero_model::PublicKey {
            hornero_model::PublicKey::from_bytes([self.0; 32])
        }
        fn sign(&self, _: &[u8]) -> [u8; 64] {
            [self.1; 64]
        }
    }
    let about = Attested {
        name: "site".into(),
        image: *image,
        origin: Origin::Bake,
        definition: Default::default(),
        format_epoch: 1,
        parents: vec![],
        packages: vec![],
        archives: vec![],
        sources: vec![],
        version: "0".into(),
        invocation: String::new(),
        started: None,
        finished: None,
    };
    let signer = Fake(key, signature);
    (KeyId::of(&signer.public_key()).attachment(), sign(&attest(&about), &signer))
}

#[test]
fn statements_come_in_whatever_was_said_before() {
    let home = Home::new();
    let layers = put_layers(&home.store, |ingest| vec![vec![file(ingest, "a", b"x", 0o644)]]);
    let image = home.store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap();
    let (kind, good) = statement(&image, 1, 1);
    let (other_kind, other) = statement(&image, 2, 2);
    let (_, of_another_image) = statement(&Digest::of(b"another"), 3, 3);
    let mirror = |attachments: &[(&str, &[u8])], into: &Home, through_store: bool| {
        let from = Home::new();
        pull_from_store(&from.store, &home.store, &image, &Quiet).unwrap();
        for (kind, bytes) in attachments {
            from.store.attach(&image, kind, bytes).unwrap();
        }
        if through_store {
            pull_from_store(&into.store, &from.store, &image, &Quiet).unwrap();
        } else {
            let out = from.path("out");
            export_layout(&from.store, &image, &out, "x", &options(Compression::None), &Quiet)
                .unwrap();
            pull_layout(&into.store, &out, None, &Quiet).unwrap();
        }
    };
    for through_store in [false, true] {
        let into = Home::new();
        let statements = |of: &Home| -> Vec<Vec<u8>> {
            let kinds = of.store.attachments(&image).unwrap().into_iter();
            let kinds = kinds.filter(|kind| kind.starts_with("provenance."));
            kinds.map(|kind| of.store.attachment(&image, &kind).unwrap().unwrap()).collect()
        };
        // What is no statement of this image by the key that it is kept as stays away.
        let third = statement(&image, 3, 3).0;
        let nothing: [(&str, &[u8]); 5] = [
            (&kind, b"garbage"),
            ("provenance.x", &good),
            ("provenance.0123456789abcdef", &good),
            (&third, &of_another_image),
            (&other_kind, &good),
        ];
        mirror(&nothing, &into, through_store);
        assert_eq!(statements(&into), Vec::<Vec<u8>>::new());
        // What was kept by an older version and is none of it gives way, and so does what is damaged.
        into.store.attach(&image, &kind, b"garbage").unwrap();
        into.store.attach(&image, &other_kind, &other).unwrap();
        let path = into.store.dir().join("attachments").join(image.hex()).join(&other_kind);
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
        mirror(&[(&kind, &good), (&other_kind, &other)], &into, through_store);
        assert_eq!(into.store.attachment(&image, &kind).unwrap().unwrap(), good);
        assert_eq!(into.store.attachment(&image, &other_kind).unwrap().unwrap(), other);
        // A forged one that nobody here can tell from a good one: both are there, whichever came first.
        let forger = Home::new();
        for signature in 100..108 {
            let forged = statement(&image, 1, signature).1;
            mirror(&[(&kind, &forged)], &forger, through_store);
        }
        assert_eq!(statements(&forger).len(), 5);
        mirror(&[(&kind, &good)], &forger, through_store);
        mirror(&[(&kind, &good)], &forger, through_store);
        assert_eq!(statements(&forger).iter().filter(|one| **one == good).count(), 1);
        assert_eq!(statements(&forger).len(), 5);
    }
}

/// A link would make one file of two: what changes one of them would change the other.
#[test]
fn equal_files_are_files_of_their_own() {
    use std::os::unix::fs::MetadataExt as _;
    let home = Home::new();
    let passwd = b"root:x:0:0:root:/root:/bin/sh\n".repeat(400);
    let layers = put_layers(&home.store, |ingest| {
        vec![
            vec![
                directory("etc"),
                file(ingest, "etc/passwd", &passwd, 0o644),
                file(ingest, "etc/passwd-", &passwd, 0o644),
            ],
            vec![file(ingest, "etc/group", b"x", 0o644), file(ingest, "etc/group-", b"x", 0o644)],
        ]
    });
    let image = home.store.put_image(&ImageManifest::new(layers, ImageConfig::default())).unwrap();
    for compression in ALL {
        let out = home.path(&format!("{compression:?}"));
        export_layout(&home.store, &image, &out, "x", &options(compression), &Quiet).unwrap();
        let root = home.path(&format!("root-{compression:?}"));
        fs::create_dir(&root).unwrap();
        let plain = home.path(&format!("plain-{compression:?}"));
        run(Command::new("skopeo").args([
            "copy",
            "-q",
            "--dest-decompress",
            &format!("oci:{}:x", out.display()),
            &format!("dir:{}", plain.display()),
        ]));
        let manifest = fs::read_to_string(plain.join("manifest.json")).unwrap();
        let manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
        for layer in manifest["layers"].as_array().unwrap() {
            let tar = plain.join(layer["digest"].as_str().unwrap().trim_start_matches("sha256:"));
            run(Command::new("tar").arg("-C").arg(&root).arg("-xf").arg(tar));
        }
        for (name, bytes) in [("passwd", &passwd[..]), ("group", b"x")] {
            for path in [name.to_owned(), format!("{name}-")] {
                let path = root.join("etc").join(path);
                assert_eq!(fs::metadata(&path).unwrap().nlink(), 1, "{}", path.display());
                assert_eq!(fs::read(&path).unwrap(), bytes, "{}", path.display());
            }
        }
        // A pull brings each of them once.
        let pulled = pull_layout(&Home::new().store, &out, None, &Quiet).unwrap();
        assert_eq!((pulled.image, pulled.contents_moved), (image, 2));
    }
}
