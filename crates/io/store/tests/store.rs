//! Putting and getting, opening and refusing, references, cache, locks and listings.

mod support;

use std::{fs, os::unix::fs::PermissionsExt, sync::Barrier, thread};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{Damage, ImageManifest, Layer, Store, StoreError};
use support::{file, image, loose_file, scratch};

#[test]
fn contents_are_stored_once_and_read_only() {
    let own = scratch();
    let one = own.store.put_object(b"hello".as_slice()).unwrap();
    let before = own.store.open_object(&one.digest).unwrap().metadata().unwrap();
    let two = own.store.put_object(b"hello".as_slice()).unwrap();
    let after = own.store.open_object(&one.digest).unwrap().metadata().unwrap();
    assert_eq!((one, one.digest), (two, Digest::of(b"hello")));
    assert_eq!(before.modified().unwrap(), after.modified().unwrap(), "it was not written again");
    assert_eq!(after.permissions().mode() & 0o7777, 0o444);
    let hex = one.digest.hex();
    assert!(own.store.objects_dir().join(&hex[..2]).join(&hex[2..]).exists());
}

#[test]
fn large_contents_are_streamed() {
    let own = scratch();
    let bytes: Vec<u8> = (0..3_000_000_u32).map(|index| (index * 7) as u8).collect();
    let stored = own.store.put_object(bytes.as_slice()).unwrap();
    assert_eq!((stored.digest, stored.size), (Digest::of(&bytes), 3_000_000));
    assert_eq!(own.store.read_object(&stored.digest).unwrap(), bytes);
}

#[test]
fn threads_that_bring_equal_contents_write_them_once() {
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    let together = Barrier::new(4);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                together.wait();
                for index in 0..200 {
                    ingest.put_bytes(format!("content {index}").as_bytes()).unwrap();
                }
            });
        }
    });
    let report = ingest.finish().unwrap();
    assert_eq!((report.contents, report.written), (800, 200));
}

#[test]
fn nothing_is_seen_before_a_batch_is_finished() {
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    let stored = ingest.put_bytes(b"secret").unwrap();
    let layer = Layer::from_entries(vec![file(&ingest, "x", "secret")]).unwrap();
    let layer = ingest.put_layer(&layer).unwrap();
    assert!(!own.store.has_object(&stored.digest).unwrap());
    assert!(!own.store.has_layer(&layer));
    drop(ingest);
    assert!(!own.store.has_object(&stored.digest).unwrap(), "a dropped batch leaves nothing");
    let staging = fs::read_dir(own.store.dir().join("staging")).unwrap().flatten();
    let left: usize = staging.map(|dir| fs::read_dir(dir.path()).unwrap().count()).sum();
    assert_eq!(left, 1, "only the file that says the store is open");
}

#[test]
fn a_layer_needs_its_contents_and_an_image_its_layers() {
    let own = scratch();
    let layer = Layer::from_entries(vec![loose_file("x", "not stored")]).unwrap();
    let refused = own.store.put_layer(&layer).unwrap_err();
    assert!(matches!(refused, StoreError::Damaged { kind: "object", damage: Damage::Missing, .. }));
    let manifest = ImageManifest::new(vec![layer.digest()], ImageConfig::default());
    let refused = own.store.put_image(&manifest).unwrap_err();
    assert!(matches!(refused, StoreError::Missing { kind: "layer", .. }));
    assert!(!own.store.has_image(&manifest.digest()));
}

#[test]
fn what_is_put_can_be_read_by_another_that_opens_the_store() {
    let own = scratch();
    let image = image(
        &own.store,
        &[&[("etc/passwd", "root:x:0:0::/:\nweb:x:7:8::/srv:\n")], &[("y", "2")]],
    );
    let other = Store::open(own.store.dir()).unwrap();
    assert_eq!(other.images().unwrap(), [image]);
    assert_eq!(other.image(&image).unwrap().layers.len(), 2);
    assert_eq!(other.read_file(&image, "/y").unwrap(), b"2");
    assert_eq!(other.resolve_user(&image, "web").unwrap().gid, 8);
    let unknown = other.resolve_user(&image, "nobody").unwrap_err();
    assert!(matches!(unknown, StoreError::NoUser { .. }));
    assert!(matches!(other.read_file(&image, "/none"), Err(StoreError::NoPath { .. })));
}

#[test]
fn a_damaged_layer_or_manifest_is_refused() {
    let own = scratch();
    let image = image(&own.store, &[&[("x", "1")]]);
    let layer = own.store.image(&image).unwrap().layers[0];
    for (dir, digest) in [("layers", layer), ("images", image)] {
        let path = own.store.dir().join(dir).join(digest.hex());
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, bytes).unwrap();
    }
    assert!(matches!(own.store.layer(&layer), Err(StoreError::Damaged { kind: "layer", .. })));
    assert!(matches!(own.store.image(&image), Err(StoreError::Damaged { kind: "image", .. })));
}

#[test]
fn a_store_of_the_future_or_another_directory_is_refused() {
    let own = scratch();
    let path = own.store.dir().join("format");
    let written = fs::read_to_string(&path).unwrap();
    let refuse = |text: &str| {
        fs::write(&path, text).unwrap();
        Store::open(own.store.dir()).unwrap_err()
    };
    let newer = refuse(&written.replace("\"version\": 1", "\"version\": 2"));
    assert!(newer.to_string().contains("needs store version 2"), "{newer}");
    let newer = refuse(&written.replace("\"format_epoch\": 1", "\"format_epoch\": 9"));
    assert!(newer.to_string().contains("needs format epoch 9"), "{newer}");
    let newer = refuse(&written.replace("\"incompatible\": []", "\"incompatible\": [\"packs\"]"));
    assert!(newer.to_string().contains("needs the feature `packs`"), "{newer}");
    assert!(newer.hint().is_some());
    assert!(matches!(refuse("{}"), StoreError::BadFormat { .. }));
    assert!(matches!(refuse(&" ".repeat(5000)), StoreError::BadFormat { .. }));
    fs::write(&path, written.replace("\"compatible\": []", "\"compatible\": [\"hints\"]")).unwrap();
    Store::open(own.store.dir()).unwrap();

    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("thesis.txt"), "mine").unwrap();
    assert!(matches!(Store::open(foreign.path()), Err(StoreError::NotAStore(_))));
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), 1, "nothing was added");
}

#[test]
fn an_interrupted_creation_is_completed() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("objects")).unwrap();
    fs::create_dir(dir.path().join("staging")).unwrap();
    fs::write(dir.path().join("staging/format"), "{").unwrap();
    let store = Store::open(dir.path()).unwrap();
    store.put_object(b"x".as_slice()).unwrap();
}

#[test]
fn references_lead_to_digests() {
    let own = scratch();
    let (one, two) = (Digest::of(b"1"), Digest::of(b"2"));
    assert_eq!(own.store.get_ref("image/site").unwrap(), None);
    own.store.set_ref("image/site", &one).unwrap();
    own.store.set_ref("image/site", &two).unwrap();
    own.store.set_ref("pin/a/b", &one).unwrap();
    assert_eq!(own.store.get_ref("image/site").unwrap(), Some(two));
    assert_eq!(own.store.get_ref("image").unwrap(), None);
    assert_eq!(
        own.store.refs().unwrap(),
        [("image/site".to_owned(), two), ("pin/a/b".to_owned(), one)]
    );
    assert!(own.store.remove_ref("image/site").unwrap());
    assert!(!own.store.remove_ref("image/site").unwrap());
    for bad in
        ["", "/x", "x/", "a//b", "../x", "a/.hidden", "A", "a b", &"a/".repeat(9), &"a".repeat(256)]
    {
        assert!(matches!(own.store.set_ref(bad, &one), Err(StoreError::RefName(_))), "{bad}");
    }
    fs::write(own.store.dir().join("refs/pin/a/b"), "nonsense").unwrap();
    assert!(own.store.get_ref("pin/a/b").is_err());
}

#[test]
fn cached_values_come_back_or_count_as_missing() {
    let own = scratch();
    let key = Digest::of(b"step");
    assert_eq!(own.store.cache_get(&key).unwrap(), None);
    own.store.cache_put(&key, b"value").unwrap();
    assert_eq!(own.store.cache_get(&key).unwrap().as_deref(), Some(b"value".as_slice()));
    own.store.cache_put(&key, b"").unwrap();
    assert_eq!(own.store.cache_get(&key).unwrap().as_deref(), Some(b"".as_slice()));
    own.store.cache_put(&key, b"value").unwrap();
    let path = own.store.dir().join("cache").join(key.hex());
    let mut bytes = fs::read(&path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(own.store.cache_get(&key).unwrap(), None, "a damaged value");
    fs::write(&path, b"short").unwrap();
    assert_eq!(own.store.cache_get(&key).unwrap(), None, "a torn value");
}

#[test]
fn whoever_deletes_waits_for_bakes_in_flight() {
    let own = scratch();
    let other = Store::open(own.store.dir()).unwrap();
    let lease = own.store.lease().unwrap();
    let ingest = own.store.ingest().unwrap();
    assert!(matches!(other.exclusive(), Err(StoreError::Busy(_))));
    drop(lease);
    assert!(matches!(other.exclusive(), Err(StoreError::Busy(_))), "the batch holds one as well");
    ingest.finish().unwrap();
    let alone = other.exclusive().unwrap();
    assert!(matches!(own.store.exclusive(), Err(StoreError::Busy(_))));
    drop(alone);
    own.store.ingest().unwrap();
}

#[test]
fn an_image_is_the_same_wherever_and_in_whatever_order_it_is_put() {
    let (one, two) = (scratch(), scratch());
    let files: &[(&str, &str)] = &[("a/b", "1"), ("c", "2")];
    let reversed: Vec<_> = files.iter().rev().copied().collect();
    assert_eq!(image(&one.store, &[files]), image(&two.store, &[&reversed]));
    let metadata = |own: &support::Scratch| {
        let image = own.store.images().unwrap()[0];
        fs::read(own.store.root(&image).unwrap().metadata).unwrap()
    };
    assert_eq!(metadata(&one), metadata(&two));
}
