//! Damage behind the store's back is noticed before a start, and by fsck.

mod support;

use std::{
    fs::{self, File, FileTimes, OpenOptions},
    io::Read,
    os::unix::fs::FileExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use hornero_model::Digest;
use hornero_store::{Damage, Store, StoreError};
use support::{image, scratch};

fn object_path(store: &Store, digest: &Digest) -> PathBuf {
    let hex = digest.hex();
    store.objects_dir().join(&hex[..2]).join(&hex[2..])
}

/// Flips one bit in place and puts the modification time back.
fn flip(path: &std::path::Path) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let modified = file.metadata().unwrap().modified().unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 0).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], 0).unwrap();
    file.set_times(FileTimes::new().set_modified(modified)).unwrap();
    assert_eq!(file.metadata().unwrap().modified().unwrap(), modified);
}

/// Verifies until nothing is hashed any more: fresh files are trusted only after the clock has moved on.
fn verify_until_settled(store: &Store, image: &Digest) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while store.verify_for_start(image).unwrap().hashed > 0 {
        assert!(Instant::now() < deadline, "verification still hashes unchanged objects");
    }
}

#[test]
fn one_flipped_byte_is_noticed_and_named() {
    let own = scratch();
    let image = image(&own.store, &[&[("etc/motd", "hello"), ("srv/page", "a page")]]);
    verify_until_settled(&own.store, &image);
    let damaged = Digest::of(b"a page");
    flip(&object_path(&own.store, &damaged));
    for store in [&own.store, &Store::open(own.store.dir()).unwrap()] {
        let error = store.verify_for_start(&image).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "object `{damaged}`, which is `/srv/page` in image `{image}`, has other bytes than its digest says"
            )
        );
        assert!(error.hint().unwrap().contains("hornero build"));
    }
}

#[test]
fn other_damage_is_noticed_too() {
    let own = scratch();
    let image = image(&own.store, &[&[("a", "hello"), ("b", "world")]]);
    let damage = |work: &dyn Fn(PathBuf)| {
        work(object_path(&own.store, &Digest::of(b"hello")));
        match own.store.verify_for_start(&image).unwrap_err() {
            StoreError::DamagedObject { damage, path, .. } => (damage, path),
            other => panic!("{other}"),
        }
    };
    let write = |content: &'static str| {
        move |path: PathBuf| {
            fs::remove_file(&path).unwrap();
            fs::write(&path, content).unwrap();
        }
    };
    assert_eq!(damage(&write("longer than before")), (Damage::Size, "/a".into()));
    assert_eq!(damage(&write("hellO")), (Damage::Content, "/a".into()), "replaced, the same size");
    assert_eq!(damage(&|path| fs::remove_file(path).unwrap()), (Damage::Missing, "/a".into()));
    fs::write(object_path(&own.store, &Digest::of(b"hello")), "hello").unwrap();
    own.store.verify_for_start(&image).unwrap();
}

#[test]
fn putting_the_content_again_mends_it() {
    let own = scratch();
    let files: &[&[(&str, &str)]] = &[&[("a", "hello"), ("b", "world")]];
    let digest = image(&own.store, files);
    verify_until_settled(&own.store, &digest);
    flip(&object_path(&own.store, &Digest::of(b"world")));
    assert!(own.store.verify_for_start(&digest).is_err());
    assert_eq!(image(&own.store, files), digest);
    own.store.verify_for_start(&digest).unwrap();
}

#[test]
fn unchanged_objects_are_hashed_once() {
    let own = scratch();
    let one = image(&own.store, &[&[("a", "hello"), ("b", "world")]]);
    let two = image(&own.store, &[&[("a", "hello"), ("c", "other")]]);
    verify_until_settled(&own.store, &one);
    let report = own.store.verify_all_for_start(&[one, two, one]).unwrap();
    assert_eq!(report.objects, 3, "shared objects are looked at once");
    assert!(report.hashed <= 1, "only what the first image has not");
    verify_until_settled(&own.store, &two);
    let other = Store::open(own.store.dir()).unwrap();
    assert_eq!(other.verify_all_for_start(&[one, two]).unwrap().hashed, 0, "another process knows");
    fs::remove_file(own.store.dir().join("verified")).unwrap();
    let other = Store::open(own.store.dir()).unwrap();
    assert_eq!(
        other.verify_all_for_start(&[one, two]).unwrap().hashed,
        3,
        "without a record all are"
    );
}

#[test]
fn a_damaged_metadata_image_is_made_again() {
    let own = scratch();
    let image = image(&own.store, &[&[("a", "hello")]]);
    verify_until_settled(&own.store, &image);
    let path = own.store.root(&image).unwrap().metadata;
    let bytes = |path| {
        let mut bytes = Vec::new();
        File::open(path).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    };
    let good = bytes(&path);
    flip(&path);
    assert_ne!(bytes(&path), good);
    assert_eq!(own.store.verify_for_start(&image).unwrap().metadata_rebuilt, 1);
    assert_eq!(bytes(&path), good);
    for name in ["erofs", "index"] {
        fs::remove_file(path.with_extension(name)).unwrap();
        drop(own.store.root(&image).unwrap());
        assert_eq!(bytes(&path), good);
    }
    fs::write(path.with_extension("index"), b"torn").unwrap();
    own.store.verify_for_start(&image).unwrap();
    assert_eq!(bytes(&path), good);
}

/// Writes other metadata in the place of an image's, with an index that fits it and the tree.
fn forge_metadata(store: &Store, image: &Digest, other: &Digest) {
    let paths = [image, other].map(|image| store.root(image).unwrap().metadata);
    let [index, mut forged] =
        [&paths[0], &paths[1]].map(|path| fs::read(path.with_extension("index")).unwrap());
    // Magic, key of the tree, and all that is of the metadata; then the checksum over that.
    forged[16..48].copy_from_slice(&index[16..48]);
    let body = forged.len() - 32;
    let sum = Digest::of(&forged[..body]);
    forged[body..].copy_from_slice(sum.as_bytes());
    let metadata = fs::read(&paths[1]).unwrap();
    for (name, bytes) in [("index", forged), ("erofs", metadata)] {
        let path = paths[0].with_extension(name);
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    }
}

#[test]
fn metadata_that_fits_its_index_but_not_the_layers_is_made_again() {
    let own = scratch();
    let store = &own.store;
    let good = image(store, &[&[("usr/bin/x", "good"), ("usr/bin/y", "evil")]]);
    let evil = image(store, &[&[("usr/bin/x", "evil"), ("usr/bin/y", "evil")]]);
    let path = store.root(&good).unwrap().metadata;
    let read = || ["erofs", "index"].map(|name| fs::read(path.with_extension(name)).unwrap());
    let right = read();
    let verify = |store: &Store| store.verify_for_start(&good).unwrap().metadata_rebuilt;
    let compose = |store: &Store| store.root(&good).map(|_| 1).unwrap();
    let starts: [&dyn Fn(&Store) -> usize; 2] = [&verify, &compose];
    for start in starts {
        // Both by a process that knows nothing yet, and by one that verified it before.
        forge_metadata(store, &good, &evil);
        assert!(read() != right);
        let fresh = Store::open(store.dir()).unwrap();
        assert_eq!(start(&fresh), 1);
        assert!(read() == right);
        verify_until_settled(&fresh, &good);
        forge_metadata(store, &good, &evil);
        assert_eq!(start(&fresh), 1);
        assert!(read() == right);
        assert_eq!(fresh.verify_for_start(&good).unwrap().metadata_rebuilt, 0);
    }
    // One bit, and the time put back, after its state was remembered.
    let deadline = Instant::now() + Duration::from_secs(20);
    let changed = fs::metadata(&path).unwrap().modified().unwrap();
    while changed.elapsed().unwrap_or_default() < Duration::from_millis(50) {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(store.verify_for_start(&good).unwrap().metadata_rebuilt, 0);
    flip(&path);
    assert_eq!(store.verify_for_start(&good).unwrap().metadata_rebuilt, 1);
    assert!(read() == right);
}

#[test]
fn a_metadata_image_that_power_loss_tore_is_never_composed() {
    let own = scratch();
    let files: &[&[(&str, &str)]] = &[&[("a", "hello"), ("b", "world")]];
    let digest = image(&own.store, files);
    let layers = own.store.image(&digest).unwrap().layers;
    let path = own.store.root(&digest).unwrap().metadata;
    let right = fs::read(&path).unwrap();
    let tear = |bytes: &[u8]| {
        fs::remove_file(&path).unwrap();
        fs::write(&path, bytes).unwrap();
    };
    let zeros = vec![0; right.len()];
    for torn in [&right[..0], &right[..right.len() / 2], &zeros] {
        for composed in [true, false] {
            tear(torn);
            let fresh = Store::open(own.store.dir()).unwrap();
            match composed {
                true => drop(fresh.root_of_layers(&layers).unwrap()),
                false => {
                    image(&fresh, files);
                    fresh.verify_for_start(&digest).unwrap();
                }
            }
            assert!(fs::read(&path).unwrap() == right, "{} bytes, {composed}", torn.len());
        }
    }
    fs::remove_file(&path).unwrap();
    let fresh = Store::open(own.store.dir()).unwrap();
    let report = fresh.verify_for_start(&digest).unwrap();
    assert_eq!(report.metadata_rebuilt, 0, "one that was never made is not a damaged one");
    assert!(fs::read(&path).unwrap() == right);
}

#[test]
fn fsck_names_all_damage_and_who_uses_it() {
    let own = scratch();
    let one = image(&own.store, &[&[("a", "hello"), ("b", "world"), ("b2", "world")]]);
    let two = image(&own.store, &[&[("x/y", "world"), ("c", "other")]]);
    assert_eq!(own.store.fsck().unwrap(), []);
    flip(&object_path(&own.store, &Digest::of(b"world")));
    fs::remove_file(object_path(&own.store, &Digest::of(b"other"))).unwrap();
    let findings = own.store.fsck().unwrap();
    let of = |content: &[u8]| {
        findings.iter().find(|finding| finding.digest == Digest::of(content)).unwrap()
    };
    assert_eq!(findings.len(), 2);
    assert_eq!(of(b"other").damage, Damage::Missing);
    assert_eq!(of(b"other").uses, [(two, Some("/c".to_owned()))]);
    assert_eq!(of(b"world").damage, Damage::Content);
    let mut uses = of(b"world").uses.clone();
    uses.sort();
    let mut expected = vec![(one, Some("/b".to_owned())), (two, Some("/x/y".to_owned()))];
    expected.sort();
    assert_eq!(uses, expected);

    let layer = own.store.image(&one).unwrap().layers[0];
    flip(&own.store.dir().join("layers").join(layer.hex()));
    let reopened = Store::open(own.store.dir()).unwrap();
    let finding = &reopened.fsck().unwrap()[0];
    assert_eq!(
        (finding.kind, finding.digest, finding.uses.as_slice()),
        ("layer", layer, [(one, None)].as_slice())
    );
}

#[test]
fn a_cached_layer_with_damage_counts_as_missing_until_it_is_put_again() {
    let own = scratch();
    let files: &[&[(&str, &str)]] = &[&[("a", "hello"), ("b", "world"), ("c", "world")]];
    let digest = image(&own.store, files);
    let layer = own.store.image(&digest).unwrap().layers[0];
    assert!(own.store.is_layer_whole(&layer).unwrap());
    assert!(!own.store.is_layer_whole(&Digest::of(b"none")).unwrap());
    let paths = [
        object_path(&own.store, &Digest::of(b"world")),
        own.store.dir().join("layers").join(layer.hex()),
        own.store.dir().join("images").join(digest.hex()),
    ];
    for path in &paths {
        flip(path);
    }
    assert!(!own.store.is_layer_whole(&layer).unwrap());
    assert_eq!(image(&own.store, files), digest);
    assert!(own.store.is_layer_whole(&layer).unwrap());
    assert_eq!(own.store.fsck().unwrap(), []);
    fs::remove_file(&paths[0]).unwrap();
    assert!(!own.store.is_layer_whole(&layer).unwrap());
}
