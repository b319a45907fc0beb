//! Attachments: kept, replaced, listed, taken away; damage and names that lead elsewhere are refused.

mod support;

use std::{fs, os::unix::fs::symlink, path::Path};

use hornero_model::Digest;
use hornero_store::{ATTACHMENT_BYTES_MAX, CollectOptions, Damage, Healing, Store, StoreError};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use support::{image, scratch};

#[test]
fn what_was_attached_is_there_for_everybody() {
    let own = scratch();
    let subject = image(&own.store, &[&[("a", "hello")]]);
    assert_eq!(own.store.attachment(&subject, "bake").unwrap(), None);
    assert_eq!(own.store.attachments(&subject).unwrap(), Vec::<String>::new());
    assert!(!own.store.dir().join("attachments").exists(), "made when first needed");

    own.store.attach(&subject, "bake", b"one").unwrap();
    own.store.attach(&subject, "bake", b"two").unwrap();
    let many: Vec<String> = (0..20).map(|index| format!("provenance.{index:02}")).collect();
    let batch: Vec<_> = many.iter().map(|kind| (subject, kind.as_str(), kind.as_bytes())).collect();
    own.store.attach_all(&batch).unwrap();
    own.store.attach(&subject, "empty", b"").unwrap();

    let other = Store::open(own.store.dir()).unwrap();
    assert_eq!(other.attachment(&subject, "bake").unwrap().as_deref(), Some(&b"two"[..]));
    assert_eq!(other.attachment(&subject, "empty").unwrap().as_deref(), Some(&b""[..]));
    for kind in &many {
        assert_eq!(other.attachment(&subject, kind).unwrap().unwrap(), kind.as_bytes());
    }
    let mut kinds = vec!["bake".to_owned(), "empty".to_owned()];
    kinds.extend(many);
    assert_eq!(other.attachments(&subject).unwrap(), kinds);

    assert!(other.detach(&subject, "bake").unwrap());
    assert!(!other.detach(&subject, "bake").unwrap());
    assert_eq!(own.store.attachment(&subject, "bake").unwrap(), None);
    assert!(own.store.attachment(&Digest::of(b"other"), "empty").unwrap().is_none());
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let own = scratch();
    let subject = Digest::of(b"subject");
    for kind in ["", ".", "..", "a/b", "A", "a_b", ".hidden", "ä", &"a".repeat(65)] {
        let refused = own.store.attach(&subject, kind, b"x").unwrap_err();
        assert!(matches!(refused, StoreError::AttachmentKind(_)), "{kind}: {refused}");
        assert!(own.store.attachment(&subject, kind).is_err());
        assert!(own.store.detach(&subject, kind).is_err());
    }
    let large = vec![0; ATTACHMENT_BYTES_MAX as usize + 1];
    let refused = own.store.attach(&subject, "large", &large).unwrap_err();
    assert!(matches!(refused, StoreError::TooLarge { .. }), "{refused}");
    assert_eq!(own.store.attachments(&subject).unwrap(), Vec::<String>::new());
}

#[test]
fn damage_is_noticed_and_attaching_again_mends_it() {
    let own = scratch();
    let (one, two) = (Digest::of(b"one"), Digest::of(b"two"));
    own.store.attach(&one, "facts", b"known").unwrap();
    own.store.attach(&two, "facts", b"other").unwrap();
    let path =
        |subject: &Digest| own.store.dir().join("attachments").join(subject.hex()).join("facts");
    let good = fs::read(path(&one)).unwrap();
    let swapped = fs::read(path(&two)).unwrap();
    let mut flipped = good.clone();
    *flipped.last_mut().unwrap() ^= 1;
    for bytes in [&flipped[..], &swapped, &good[..10], b""] {
        fs::remove_file(path(&one)).unwrap();
        fs::write(path(&one), bytes).unwrap();
        let error = own.store.attachment(&one, "facts").unwrap_err();
        assert!(matches!(error, StoreError::DamagedAttachment { .. }), "{error}");
    }
    own.store.attach(&one, "facts", b"known").unwrap();
    assert_eq!(own.store.attachment(&one, "facts").unwrap().unwrap(), b"known");
}

/// Makes something at a path.
type Making = fn(&Path);

/// What may lie where something else belongs.
fn others() -> [(&'static str, Making); 4] {
    [
        ("a file", |path| fs::write(path, b"x").unwrap()),
        ("a link", |path| symlink("/etc", path).unwrap()),
        ("a fifo", |path| mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0).unwrap()),
        ("a directory", |path| {
            fs::create_dir(path).unwrap();
            fs::write(path.join("file"), b"x").unwrap();
        }),
    ]
}

#[test]
fn facts_that_are_damaged_go_and_records_stay_damaged_until_attached_again() {
    let own = scratch();
    let subject = image(&own.store, &[&[("a", "hello")]]);
    let layer = own.store.image(&subject).unwrap().layers[0];
    let place = |of: &Digest, kind| own.store.dir().join("attachments").join(of.hex()).join(kind);
    for (what, make) in others() {
        own.store.attach(&layer, "facts", b"known").unwrap();
        own.store.attach(&subject, "bake", b"record").unwrap();
        for path in [place(&layer, "facts"), place(&subject, "bake")] {
            fs::remove_file(&path).unwrap();
            make(&path);
        }
        let healed = own.store.heal_all(&mut []).unwrap();
        let mut told: Vec<_> = healed
            .into_iter()
            .map(|(finding, healing)| (finding.uses[0].1.clone().unwrap(), healing))
            .collect();
        told.sort_by_key(|(kind, _)| kind.clone());
        let expected =
            [("bake".to_owned(), Healing::NoSource), ("facts".to_owned(), Healing::Mended)];
        assert_eq!(told, expected, "{what}");
        assert_eq!(own.store.attachment(&layer, "facts").unwrap(), None, "{what}");
        own.store.attach(&subject, "bake", b"record").unwrap();
        assert_eq!(own.store.attachment(&subject, "bake").unwrap().unwrap(), b"record", "{what}");
        assert_eq!(own.store.fsck().unwrap(), [], "{what}");
    }
}

#[test]
fn something_else_in_the_place_of_their_directory_is_named_and_in_nobodys_way() {
    let own = scratch();
    let subject = image(&own.store, &[&[("a", "hello")]]);
    own.store.set_ref("image/one", &subject).unwrap();
    let layer = own.store.image(&subject).unwrap().layers[0];
    let garbage = Digest::of(b"garbage");
    let place = |of: &Digest| own.store.dir().join("attachments").join(of.hex());
    for (what, make) in &others()[..3] {
        for of in [subject, layer, garbage] {
            own.store.attach(&of, "facts", b"known").unwrap();
            fs::remove_dir_all(place(&of)).unwrap();
            make(&place(&of));
            assert_eq!(own.store.attachments(&of).unwrap(), Vec::<String>::new(), "{what}");
        }
        let mut damaged = own.store.disk_use().unwrap().damaged;
        let mut expected = vec![subject, layer, garbage];
        expected.sort();
        assert_eq!(damaged, expected, "{what}");
        own.store.collect(&CollectOptions::default(), || Ok(Vec::new()), &|_| {}).unwrap();
        damaged.retain(|digest| *digest != garbage);
        let healed = own.store.heal_all(&mut []).unwrap();
        let told: Vec<_> = healed
            .iter()
            .map(|(finding, healing)| (finding.digest, finding.damage, healing.clone()))
            .collect();
        let after = |of: &Digest| if *of == layer { Healing::Mended } else { Healing::NoSource };
        let expected: Vec<_> =
            damaged.iter().map(|of| (*of, Damage::NotADirectory, after(of))).collect();
        assert_eq!(told, expected, "{what}");
        own.store.attach(&subject, "bake", b"record").unwrap();
        assert_eq!(own.store.attachments(&subject).unwrap(), ["bake"], "{what}");
        assert_eq!(own.store.fsck().unwrap(), [], "{what}");
    }
    assert!(!Path::new("/etc/bake").exists(), "nothing was written through a link");
}
