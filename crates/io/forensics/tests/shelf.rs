//! Bundles are whole or not there, say what they are, and stay within bounds.

use std::{fs, path::Path, time::Duration};

use hornero_autopsy::{BundleContents, BundleManifest, SCHEMA};
use hornero_forensics::{BundleError, Shelf, ShelfLimits, pack, read};
use hornero_model::{
    BundleBody, BundleSeal, Digest, InstanceId, ReleaseNumber, ServiceName, Timestamp,
};

const HOUR_MS: u64 = 3_600_000;

fn contents(instance: &str) -> BundleContents {
    let manifest = BundleManifest {
        schema: SCHEMA,
        instance: InstanceId::new(instance).unwrap(),
        service: ServiceName::new("site").unwrap(),
        release: ReleaseNumber(1),
        image: None,
        created: None,
        gathered: Timestamp(1),
        took_ms: 2,
        why: "it failed".to_owned(),
        exit: None,
        frozen: true,
        ports: vec![8080],
        program: "0.2.0".to_owned(),
        kernel: "6.1".to_owned(),
        parts: Vec::new(),
        missed: Vec::new(),
    };
    let mut contents = BundleContents::new(manifest);
    contents.kernel = vec!["a line".to_owned()];
    let long = format!("/run/{}/state", "deep/".repeat(60));
    contents.files = [("/run/b".to_owned(), vec![0, 255]), (long, b"x".to_vec())].into();
    contents.miss("log", "there was none");
    contents
}

fn put(shelf: &Shelf, instance: &str, sealed: u64) -> (BundleSeal, Vec<u8>) {
    let mut contents = contents(instance);
    let packed = pack(&mut contents).unwrap();
    let seal = BundleSeal {
        body: BundleBody {
            instance: contents.manifest.instance.clone(),
            service: contents.manifest.service.clone(),
            release: contents.manifest.release,
            sealed: Timestamp(sealed),
            digest: Digest::of(&packed),
            bytes: packed.len() as u64,
            summary: "exited with 3".to_owned(),
        },
        signature: "00".to_owned(),
        key: "00".to_owned(),
    };
    shelf.put(&seal, &packed).unwrap();
    (seal, packed)
}

fn names(home: &Path) -> Vec<String> {
    let entries = fs::read_dir(home.join("bundles")).unwrap().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn what_is_packed_is_read_again_and_packed_alike() {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(home.path());
    assert_eq!(shelf.list().unwrap(), []);
    let (seal, packed) = put(&shelf, "site-1-a", 5);
    assert_eq!(pack(&mut contents("site-1-a")).unwrap(), packed, "the same bytes");
    let found = shelf.find(&seal.body.instance).unwrap();
    assert_eq!((&found.seal, found.recorded), (&seal, false));
    let bundle = read(&found.path).unwrap();
    assert_eq!(bundle.seal, seal);
    let mut expected = contents("site-1-a");
    expected.manifest.parts = bundle.contents.manifest.parts.clone();
    assert_eq!(bundle.contents, expected);
    let part =
        bundle.contents.manifest.parts.iter().find(|part| part.name == "scratch/files/run/b");
    assert_eq!(part.unwrap().digest, Digest::of(&[0, 255]));
    shelf.recorded(&seal.body.instance).unwrap();
    assert_eq!(names(home.path()), ["site-1-a.bundle"]);
    assert!(shelf.find(&seal.body.instance).unwrap().recorded);
}

#[test]
fn what_is_no_bundle_or_was_touched_is_refused() {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(home.path());
    let (seal, _) = put(&shelf, "site-1-a", 5);
    let path = shelf.find(&seal.body.instance).unwrap().path;
    let whole = fs::read(&path).unwrap();
    for cut in [whole.len() - 1, whole.len() / 2, 200] {
        fs::write(&path, &whole[..cut]).unwrap();
        let refused = read(&path).unwrap_err();
        assert!(
            matches!(refused, BundleError::Changed { .. } | BundleError::NoBundle { .. }),
            "{cut}: {refused}"
        );
    }
    let mut more = whole.clone();
    more.push(0);
    fs::write(&path, &more).unwrap();
    assert!(matches!(read(&path), Err(BundleError::Changed { .. })));
    for text in [&b""[..], b"hornero-bundle 2\n{}\n", b"hornero-bundle 1\n{\n", b"\xff\xfe"] {
        fs::write(&path, text).unwrap();
        assert!(matches!(read(&path), Err(BundleError::NoBundle { .. })), "{text:?}");
    }
    assert_eq!(shelf.list().unwrap(), [], "what can't be read is no bundle of the home's");
    assert!(matches!(read(home.path()), Err(BundleError::NoBundle { .. })));
    assert!(matches!(read(&home.path().join("none")), Err(BundleError::File { .. })));
    // A bundle of one server under the name of another's.
    fs::write(home.path().join("bundles/site-1-b.bundle"), &whole).unwrap();
    assert_eq!(shelf.find(&InstanceId::new("site-1-b").unwrap()), None);
}

#[test]
fn a_later_schema_is_told_as_such() {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(home.path());
    let mut later = contents("site-1-a");
    later.manifest.schema = SCHEMA + 1;
    let packed = pack(&mut later).unwrap();
    let (mut seal, _) = put(&shelf, "site-1-a", 5);
    (seal.body.digest, seal.body.bytes) = (Digest::of(&packed), packed.len() as u64);
    shelf.put(&seal, &packed).unwrap();
    let path = shelf.find(&seal.body.instance).unwrap().path;
    assert!(matches!(read(&path), Err(BundleError::Newer { .. })));
}

/// A file that says it is a bundle, with this archive; what reading it says.
fn refused(archive: &[u8]) -> String {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(home.path());
    let packed = zstd::encode_all(archive, 3).unwrap();
    let (mut seal, _) = put(&shelf, "site-1-a", 5);
    (seal.body.digest, seal.body.bytes) = (Digest::of(&packed), packed.len() as u64);
    shelf.put(&seal, &packed).unwrap();
    match read(&shelf.find(&seal.body.instance).unwrap().path) {
        Err(BundleError::NoBundle { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_archive_that_would_fill_memory_is_refused_by_its_heads() {
    let octal = |field: &mut [u8], number: u64| {
        let text = format!("{number:0width$o}", width = field.len() - 1);
        field[..text.len()].copy_from_slice(text.as_bytes());
    };
    let entry = |kind: tar::EntryType, name: &str, size: u64| {
        let mut header = tar::Header::new_gnu();
        header.set_path(name).unwrap();
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(0o600);
        header
    };
    // Some bytes at the end of a hole of 256 MiB.
    let mut sparse = entry(tar::EntryType::GNUSparse, "scratch/files/hole", 512);
    let gnu = sparse.as_gnu_mut().unwrap();
    octal(&mut gnu.sparse[0].offset, (256 << 20) - 512);
    octal(&mut gnu.sparse[0].numbytes, 512);
    octal(&mut gnu.realsize, 256 << 20);
    sparse.set_cksum();
    let mut archive = sparse.as_bytes().to_vec();
    archive.resize(archive.len() + 512 + 1024, 0);
    assert_eq!(refused(&archive), "`scratch/files/hole` is no plain file");
    // Larger than all of a bundle may be, whatever comes behind its head.
    let mut large = entry(tar::EntryType::Regular, "log.json", 1 << 30);
    large.set_cksum();
    let mut archive = large.as_bytes().to_vec();
    archive.resize(archive.len() + 1024, 0);
    assert_eq!(refused(&archive), "it is over 67108864 bytes when it is unpacked");
    let mut link = entry(tar::EntryType::Symlink, "log.json", 0);
    link.set_cksum();
    let mut archive = link.as_bytes().to_vec();
    archive.resize(archive.len() + 1024, 0);
    assert_eq!(refused(&archive), "`log.json` is no plain file");
}

#[test]
fn bundles_stay_within_their_bounds() {
    let home = tempfile::tempdir().unwrap();
    let shelf = Shelf::of(home.path());
    let service = ServiceName::new("site").unwrap();
    let limits = ShelfLimits { per_hour: 2, home_bytes: 1 << 20, age: Duration::from_secs(86_400) };
    let admits = |now| shelf.admits(&service, Timestamp(now), &limits).unwrap();
    let days = 24 * HOUR_MS;
    assert!(admits(0));
    put(&shelf, "site-1-a", 1);
    put(&shelf, "site-1-b", 3 * days);
    assert!(admits(3 * days));
    put(&shelf, "site-1-c", 3 * days + 1);
    assert!(!admits(3 * days + 2), "two of this hour are there");
    assert!(admits(3 * days + HOUR_MS + 1));
    let other = ServiceName::new("other").unwrap();
    assert!(shelf.admits(&other, Timestamp(3 * days), &limits).unwrap());
    assert_eq!(shelf.trim(&limits).unwrap(), 1, "the one of days ago");
    let bytes = shelf.list().unwrap()[0].bytes;
    let narrow = ShelfLimits { home_bytes: bytes, ..limits };
    assert_eq!(shelf.trim(&narrow).unwrap(), 1);
    assert_eq!(
        shelf.trim(&ShelfLimits { home_bytes: 0, ..limits }).unwrap(),
        0,
        "the newest stays"
    );
    fs::write(home.path().join("bundles/.site-1-d.sealed.new"), "half").unwrap();
    shelf.sweep();
    assert_eq!(names(home.path()), ["site-1-c.sealed"]);
}
