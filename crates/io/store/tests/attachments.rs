//! Attachments: kept, replaced, listed, taken away; damage and names that lead elsewhere are refused.

mod support;

use std::fs;

use hornero_model::Digest;
use hornero_store::{ATTACHMENT_BYTES_MAX, Store, StoreError};
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
