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
    for name in ["/etc/passwd", "../x", "a/../../x", "a/.."] {
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
    assert!(matches!(read(&archive, &small), Err(StoreError::Archive { .. })));
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
