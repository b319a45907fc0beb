//! A damaged reference is named, hides nothing else, and can be written anew or taken away.

mod support;

use std::{fs, os::unix::fs::symlink, path::Path};

use hornero_model::Digest;
use hornero_store::{CollectOptions, Damage, Healing, RefListing, StoreError};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{image, scratch};

/// Damages the file at a path, where nothing lies any more.
type Damaging = fn(&Path);

/// What may lie in the place of a reference's file.
const DAMAGES: [(&str, Damaging); 5] = [
    ("emptied", |path| fs::write(path, b"").unwrap()),
    ("zeros after a power loss", |path| fs::write(path, [0; 72]).unwrap()),
    ("too long", |path| fs::write(path, vec![b'a'; 4096]).unwrap()),
    ("a link to a good one", |path| symlink("other", path).unwrap()),
    ("a fifo", |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap()),
];

fn is_damaged<T: std::fmt::Debug>(result: Result<T, StoreError>, wanted: &str) -> bool {
    matches!(&result, Err(StoreError::DamagedRef { name }) if name == wanted)
}

#[test]
fn a_damaged_name_stops_nothing_but_collecting() {
    for (what, make) in DAMAGES {
        let own = scratch();
        let store = &own.store;
        let (one, two) = (image(store, &[&[("a", "1")]]), image(store, &[&[("a", "2")]]));
        store.set_ref("image/site", &one).unwrap();
        store.set_ref("image/other", &two).unwrap();
        let path = store.dir().join("refs/image/site");
        fs::remove_file(&path).unwrap();
        make(&path);

        assert!(is_damaged(store.get_ref("image/site"), "image/site"), "{what}");
        assert!(is_damaged(store.refs(), "image/site"), "{what}");
        let listed = RefListing {
            refs: vec![("image/other".to_owned(), two)],
            damaged: vec!["image/site".to_owned()],
        };
        assert_eq!(store.ref_listing().unwrap(), listed, "{what}");
        let used = store.disk_use().unwrap();
        assert_eq!((used.images.len(), used.damaged_refs), (2, listed.damaged), "{what}");
        let collected = store.collect(&CollectOptions::default(), || Ok(Vec::new()), &|_| {});
        assert!(is_damaged(collected, "image/site"), "{what}");
        assert!(is_damaged(store.why_kept(&one, Vec::new()), "image/site"), "{what}");
        store.verify_for_start(&one).unwrap();

        let findings = store.fsck().unwrap();
        let [finding] = &findings[..] else { panic!("{what}: {findings:?}") };
        assert_eq!((finding.kind, finding.damage), ("reference", Damage::NoDigest), "{what}");
        assert_eq!(finding.uses[0].1.as_deref(), Some("image/site"), "{what}");
        assert_eq!(store.heal(finding, &mut []).unwrap(), Healing::NoSource, "{what}");

        store.set_ref("image/site", &one).unwrap();
        assert_eq!(store.get_ref("image/site").unwrap(), Some(one), "{what}");
        assert_eq!(store.refs().unwrap().len(), 2, "{what}");
        fs::remove_file(&path).unwrap();
        make(&path);
        assert!(store.remove_ref("image/site").unwrap(), "{what}");
        assert_eq!(store.get_ref("image/other").unwrap(), Some(two), "{what}");
        let report = store.collect(&CollectOptions::default(), || Ok(Vec::new()), &|_| {}).unwrap();
        assert_eq!(report.deleted_images[0].digest, one, "{what}");
    }
}

#[test]
fn a_damaged_pin_is_written_anew() {
    for (what, make) in DAMAGES {
        let own = scratch();
        let store = &own.store;
        let one = image(store, &[&[("a", "1")]]);
        store.pin(&one).unwrap();
        let path = store.dir().join("refs/pin").join(one.hex());
        let damage = || {
            fs::remove_file(&path).unwrap();
            make(&path);
        };
        damage();
        assert!(store.pin(&one).unwrap(), "{what}");
        assert_eq!(store.refs().unwrap()[0].1, one, "{what}");
        damage();
        assert!(store.unpin(&one).unwrap(), "{what}");
        assert_eq!(store.refs().unwrap(), [], "{what}");
        store.pin(&one).unwrap();
        damage();
        let healed = store.heal_all(&mut []).unwrap();
        assert_eq!((healed[0].0.kind, &healed[0].1), ("reference", &Healing::Mended), "{what}");
        assert_eq!(store.refs().unwrap()[0].1, one, "{what}");
        assert_eq!(store.fsck().unwrap(), [], "{what}");
    }
}

#[test]
fn the_pin_of_an_image_that_is_lost_can_be_taken_away() {
    let own = scratch();
    let store = &own.store;
    let one = image(store, &[&[("a", "1")]]);
    store.pin(&one).unwrap();
    fs::remove_file(store.dir().join("images").join(one.hex())).unwrap();
    let collect = || store.collect(&CollectOptions::default(), || Ok(Vec::new()), &|_| {}).unwrap();
    assert_eq!(collect().deleted.total().files, 0);
    assert!(store.unpin(&one).unwrap());
    assert!(!store.unpin(&Digest::of(b"another")).unwrap());
    assert_eq!(collect().deleted.objects.files, 1);
}
