//! Layers from tar streams, well-formed and hostile.

mod support;

use std::io::{self, Cursor};

use hornero_store::{ArchiveLimits, DevicePolicy, EntryKind, Layer, StoreError};
use support::{MTIME, path, scratch};
use tar::{Builder, EntryType, Header};

fn header(kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o640);
    header.set_uid(33);
    header.set_gid(34);
    header.set_mtime(MTIME + 1000);
    header.set_size(size);
    header
}

/// Sets the name as given, where the library itself would refuse it.
fn named(kind: EntryType, name: &str, content: &[u8]) -> Vec<u8> {
    let mut header = header(kind, content.len() as u64);
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

fn read(archive: &[u8], limits: &ArchiveLimits) -> Result<Layer, StoreError> {
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    let layer = ingest.layer_from_tar("test.tar", archive, limits)?;
    ingest.put_layer(&layer)?;
    ingest.finish()?;
    for (digest, size) in layer.contents() {
        assert_eq!(own.store.read_object(&digest)?.len() as u64, size);
    }
    Ok(layer)
}

fn limits() -> ArchiveLimits {
    ArchiveLimits::generous(MTIME)
}

#[test]
fn an_archive_like_that_of_a_package_becomes_a_layer() {
    let mut builder = Builder::new(Vec::new());
    let long = format!("./usr/share/{}/{}", "d".repeat(120), "f".repeat(200));
    let mut add = |kind, name: &str, link: Option<&str>, content: &[u8]| {
        let mut header = header(kind, content.len() as u64);
        match link {
            Some(target) => builder.append_link(&mut header, name, target).unwrap(),
            None => builder.append_data(&mut header, name, content).unwrap(),
        }
    };
    add(EntryType::Directory, "./", None, b"");
    add(EntryType::Directory, "./usr/", None, b"");
    add(EntryType::Regular, "./usr/tool", None, b"first");
    add(EntryType::Regular, &long, None, b"long name");
    add(EntryType::Link, "./usr/linked", Some("./usr/tool"), b"");
    add(EntryType::Symlink, "./usr/pointer", Some("../tool"), b"");
    add(EntryType::Regular, "./usr/empty", None, b"");
    add(EntryType::Regular, "./usr/tool", None, b"second");
    add(EntryType::Fifo, "./usr/pipe", None, b"");
    let layer = read(&builder.into_inner().unwrap(), &limits()).unwrap();
    let of = |at: &str| layer.entries().iter().find(|entry| entry.path == path(at)).unwrap();
    assert_eq!(layer.entries().len(), 8);
    let digest = |content: &[u8]| hornero_model::Digest::of(content);
    assert_eq!(of("usr/tool").kind, EntryKind::File { digest: digest(b"second"), size: 6 });
    assert_eq!(of("usr/linked").kind, EntryKind::File { digest: digest(b"first"), size: 5 });
    assert_eq!(of(&long[2..]).kind, EntryKind::File { digest: digest(b"long name"), size: 9 });
    assert_eq!(of("usr/pointer").kind, EntryKind::Symlink { target: b"../tool".as_slice().into() });
    assert_eq!(of("usr/pipe").kind, EntryKind::Fifo);
    let metadata = &of("usr/tool").metadata;
    assert_eq!((metadata.mode, metadata.uid, metadata.gid, metadata.mtime), (0o640, 33, 34, MTIME));
    assert!(of("").kind.is_directory());
}

#[test]
fn pax_attributes_are_kept_if_they_belong_into_an_image() {
    let mut builder = Builder::new(Vec::new());
    builder
        .append_pax_extensions([
            ("SCHILY.xattr.security.capability", b"\x01\0\0\x02".as_slice()),
            ("SCHILY.xattr.security.selinux", b"host_t".as_slice()),
            ("SCHILY.xattr.user.note", b"n".as_slice()),
        ])
        .unwrap();
    builder.append_data(&mut header(EntryType::Regular, 1), "x", b"1".as_slice()).unwrap();
    let layer = read(&builder.into_inner().unwrap(), &limits()).unwrap();
    let names: Vec<&[u8]> = layer.entries()[0].metadata.xattrs.keys().map(|name| &**name).collect();
    assert_eq!(names, [b"security.capability".as_slice(), b"user.note"]);
}

#[test]
fn hostile_paths_are_refused() {
    for name in ["../x", "a/../../x", "a/..", "/../x", "/a/../../x"] {
        let error = read(&named(EntryType::Regular, name, b"x"), &limits()).unwrap_err();
        assert!(
            matches!(&error, StoreError::Archive { reason, .. } if reason.contains(name)),
            "{error}"
        );
    }
}

#[test]
fn entries_below_a_symlink_are_refused() {
    let mut builder = Builder::new(Vec::new());
    builder.append_link(&mut header(EntryType::Symlink, 0), "a", "/etc").unwrap();
    builder.append_data(&mut header(EntryType::Regular, 1), "a/passwd", b"x".as_slice()).unwrap();
    let error = read(&builder.into_inner().unwrap(), &limits()).unwrap_err();
    assert!(matches!(error, StoreError::Layer { .. }));
}

#[test]
fn links_to_nothing_devices_and_unknown_kinds_are_refused() {
    let mut builder = Builder::new(Vec::new());
    builder.append_link(&mut header(EntryType::Link, 0), "a", "b").unwrap();
    assert!(read(&builder.into_inner().unwrap(), &limits()).is_err());
    let device = named(EntryType::Char, "null", b"");
    assert!(read(&device, &limits()).is_err());
    let skip = ArchiveLimits { devices: DevicePolicy::Skip, ..limits() };
    assert_eq!(read(&device, &skip).unwrap().entries().len(), 0);
    assert!(read(&named(EntryType::new(b'V'), "volume", b""), &limits()).is_err());
}

#[test]
fn limits_hold() {
    let archive = named(EntryType::Regular, "x", &[1; 5000]);
    let small = ArchiveLimits { content_bytes: 4999, ..limits() };
    let error = read(&archive, &small).unwrap_err();
    assert!(matches!(error, StoreError::TooLarge { limit_bytes: 4999, .. }), "{error}");
    // A file that is one large hole: no disk has room for it, and nothing of it is written.
    let mut builder = Builder::new(Vec::new());
    let size = (1_u64 << 60).to_string();
    builder
        .append_pax_extensions([
            ("GNU.sparse.map", b"0,0".as_slice()),
            ("GNU.sparse.size", size.as_bytes()),
        ])
        .unwrap();
    let mut huge = builder.into_inner().unwrap();
    huge.truncate(1024);
    huge.extend(named(EntryType::Regular, "x", b""));
    let all = ArchiveLimits { content_bytes: u64::MAX / 4, ..limits() };
    let error = read(&huge, &all).unwrap_err();
    assert!(matches!(error, StoreError::NoRoom { needed_bytes, .. } if needed_bytes > 1 << 60));
    let none = ArchiveLimits { entries: 0, ..limits() };
    assert!(matches!(read(&archive, &none), Err(StoreError::Archive { .. })));
}

#[test]
fn a_torn_archive_is_an_error() {
    let archive = named(EntryType::Regular, "x", &[1; 5000]);
    for len in [100, 600, 3000] {
        assert!(
            matches!(read(&archive[..len], &limits()), Err(StoreError::Source { .. })),
            "{len}"
        );
    }
    struct Broken;
    impl io::Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("the mirror went away"))
        }
    }
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    let broken = io::Read::chain(Cursor::new(&archive[..1024]), Broken);
    let error = ingest.layer_from_tar("test.tar", broken, &limits()).unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("mirror"), "{source}");
}

/// Gives zeros without end, and counts them.
struct Zeros(std::rc::Rc<std::cell::Cell<u64>>);

impl io::Read for Zeros {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        buffer.fill(0);
        self.0.set(self.0.get() + buffer.len() as u64);
        Ok(buffer.len())
    }
}

#[test]
fn a_header_that_describes_an_entry_with_gigabytes_is_not_read() {
    for kind in [
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::GNULongName,
        EntryType::GNULongLink,
    ] {
        for size in [(1 << 20) + 1, 30 << 30, u64::MAX >> 1] {
            let mut header = header(kind, size);
            header.set_cksum();
            let given = std::rc::Rc::default();
            let stream = io::Read::chain(
                Cursor::new(header.as_bytes().to_vec()),
                Zeros(std::rc::Rc::clone(&given)),
            );
            let own = scratch();
            let ingest = own.store.ingest().unwrap();
            let error = ingest.layer_from_tar("test.tar", stream, &limits()).unwrap_err();
            let reason = std::error::Error::source(&error).unwrap().to_string();
            assert!(reason.contains("more than 1 MiB"), "{kind:?} {size}: {reason}");
            assert!(given.get() < 1 << 20, "{kind:?} {size}: {} bytes", given.get());
        }
    }
    // Headers one after the other, and names that are each allowed, end as well.
    let mut many = Vec::new();
    for _ in 0..2000 {
        many.extend(named(EntryType::XGlobalHeader, "g", b"11 comment=")[..1024].iter());
    }
    assert!(read(&many, &limits()).is_err());
    let long = [b'n'; 900 << 10];
    let mut archive = named(EntryType::GNULongName, "././@LongLink", &long);
    archive.truncate(512 + (900 << 10));
    archive.extend(named(EntryType::Regular, "x", b"1"));
    let error = read(&archive, &limits()).unwrap_err().to_string();
    assert!(error.len() < 10_000 && error.contains("nnn"), "{} bytes", error.len());
}

/// `LENGTH NAME=VALUE\n` records and after them a file whose own header says other things.
#[test]
fn records_are_read_by_their_length_and_count_more_than_the_header() {
    let mut builder = Builder::new(Vec::new());
    builder
        .append_pax_extensions([
            ("SCHILY.xattr.user.note", b"two\nlines\n".as_slice()),
            ("path", b"real/name"),
            ("size", b"5"),
            ("uid", b"70000000"),
            ("mtime", b"12.75"),
        ])
        .unwrap();
    let mut archive = builder.into_inner().unwrap();
    archive.truncate(1024);
    let mut other = header(EntryType::Regular, 0);
    other.as_old_mut().name[..5].copy_from_slice(b"other");
    other.set_cksum();
    archive.extend_from_slice(other.as_bytes());
    archive.extend_from_slice(b"12345");
    archive.resize(2048, 0);
    archive.extend(named(EntryType::Regular, "next", b"6"));
    let layer = read(&archive, &limits()).unwrap();
    let of = |at: &str| layer.entries().iter().find(|entry| entry.path == path(at)).unwrap();
    let found = of("real/name");
    let digest = hornero_model::Digest::of(b"12345");
    assert_eq!(found.kind, EntryKind::File { digest, size: 5 });
    assert_eq!((found.metadata.uid, found.metadata.mtime), (70_000_000, 12));
    assert_eq!(&*found.metadata.xattrs[b"user.note".as_slice()], b"two\nlines\n");
    assert!(!of("next").kind.is_directory());
    // A record that is cut short, and one that reaches beyond the header.
    for broken in
        [b"12 path=x".as_slice(), b"999 path=x\n", b"3 path=x\n", b"path=x\n", b"8 path x\n"]
    {
        let mut archive = named(EntryType::XHeader, "x", broken);
        archive.truncate(1024);
        archive.extend(named(EntryType::Regular, "x", b"1"));
        assert!(read(&archive, &limits()).is_err(), "{}", broken.escape_ascii());
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(48))]

    #[test]
    fn attributes_of_any_bytes_come_in(
        values in proptest::collection::vec(
            proptest::collection::vec(
                proptest::prop_oneof![proptest::prelude::any::<u8>(), proptest::prelude::Just(b'\n')],
                1..200,
            ),
            1..5,
        ),
        name in "[a-z]{1,80}/[a-z]{90,120}",
    ) {
        let names: Vec<String> =
            (0..values.len()).map(|at| format!("SCHILY.xattr.user.n{at}")).collect();
        let mut builder = Builder::new(Vec::new());
        let records = names.iter().map(String::as_str).zip(values.iter().map(Vec::as_slice));
        builder.append_pax_extensions(records).unwrap();
        builder.append_data(&mut header(EntryType::Regular, 1), &name, b"1".as_slice()).unwrap();
        let layer = read(&builder.into_inner().unwrap(), &limits()).unwrap();
        let entry = layer.entries().iter().find(|entry| entry.path == path(&name)).unwrap();
        let found: Vec<&[u8]> = entry.metadata.xattrs.values().map(|value| &**value).collect();
        proptest::prop_assert_eq!(found, values.iter().map(Vec::as_slice).collect::<Vec<_>>());
    }

    #[test]
    fn no_stream_panics(mut bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..4000), kind in "[0-9xgLKSV]") {
        if let Some(first) = bytes.first_chunk_mut::<512>() {
            let mut header = header(EntryType::new(kind.as_bytes()[0]), 700);
            header.as_old_mut().name.copy_from_slice(&first[..100]);
            header.set_cksum();
            first.copy_from_slice(header.as_bytes());
        }
        let _ = read(&bytes, &limits());
    }
}
