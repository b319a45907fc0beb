//! Keys are made once, kept from others, and sign receipts that survive a trip through JSON.

mod support;

use std::{fs, os::unix::fs::PermissionsExt, thread};

use hornero_ledger::{KeyError, Keys, ReceiptError, VerifyingKey, verify_receipt};
use hornero_model::Receipt;
use proptest::prelude::*;
use support::receipt_body;

#[test]
fn a_key_is_made_once_and_only_its_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path().join("keys");
    let first = thread::scope(|scope| {
        let open = || Keys::open_or_create(&directory).unwrap().public();
        let others: Vec<_> = (0..4).map(|_| scope.spawn(open)).collect();
        let first = open();
        assert!(others.into_iter().all(|other| other.join().unwrap() == first));
        first
    });
    assert_eq!(VerifyingKey::load(&directory).unwrap(), first);
    let mode =
        |name: &str| fs::metadata(directory.join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(""), mode("signing.pk8"), mode("signing.pub")), (0o700, 0o600, 0o644));
    let mut names: Vec<_> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["signing.pk8", "signing.pub"], "nothing temporary is left");
}

#[test]
fn bad_key_files_are_refused() {
    let directory = tempfile::tempdir().unwrap();
    Keys::open_or_create(directory.path()).unwrap();
    let path = directory.path().join("signing.pk8");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(matches!(Keys::open(directory.path()), Err(KeyError::Exposed { mode: 0o640, .. })));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for bytes in [&b""[..], b"not a key", &[0x30; 5000]] {
        fs::write(&path, bytes).unwrap();
        assert!(matches!(Keys::open(directory.path()), Err(KeyError::Invalid { .. })));
    }
}

#[test]
fn debug_output_shows_the_public_half_only() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::open_or_create(directory.path()).unwrap();
    assert_eq!(format!("{keys:?}"), format!("Keys {{ public: {}, .. }}", keys.public()));
}

#[test]
fn a_changed_or_foreign_receipt_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let keys = Keys::open_or_create(directory.path()).unwrap();
    let receipt = keys.sign_receipt(receipt_body(4)).unwrap();
    assert_eq!(verify_receipt(&receipt, &keys.public()), Ok(()));

    let mut changed = receipt.clone();
    changed.body.requests_failed = 1;
    let bad = Err(ReceiptError::BadSignature { id: 4 });
    assert_eq!(verify_receipt(&changed, &keys.public()), bad);
    for signature in ["", "00", "zz", "é0"] {
        let cut = Receipt { signature: signature.to_owned(), ..receipt.clone() };
        assert_eq!(verify_receipt(&cut, &keys.public()), bad, "{signature}");
    }
    let other = Keys::open_or_create(&directory.path().join("other")).unwrap();
    let verdict = verify_receipt(&receipt, &other.public());
    assert!(matches!(verdict, Err(ReceiptError::OtherKey { id: 4, .. })));

    let mut endless = receipt_body(4);
    endless.switch_ms = f64::INFINITY;
    assert_eq!(keys.sign_receipt(endless), Err(ReceiptError::NotFinite { id: 4 }));
}

proptest! {
    #[test]
    fn a_receipt_survives_json(switch_ms in 0.0..1e9_f64, total_ms in 0.0..1e12_f64, why in ".{0,40}") {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::open_or_create(directory.path()).unwrap();
        let mut body = receipt_body(1);
        (body.switch_ms, body.total_ms, body.by.why) = (switch_ms, total_ms, why);
        let receipt = keys.sign_receipt(body).unwrap();
        let text = serde_json::to_string(&receipt).unwrap();
        let parsed: Receipt = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(verify_receipt(&parsed, &keys.public()), Ok(()));
    }
}
