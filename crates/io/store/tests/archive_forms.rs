//! The forms in which programs write tar archives: times, names, access lists and sparse files, as they mean them.

mod support;

use std::{os::unix::fs::FileExt, path::Path, process::Command};

use hornero_model::Digest;
use hornero_store::{ArchiveLimits, EntryKind, Layer, StoreError, Tree};
use support::{path, scratch};
use tar::{Builder, EntryType, Header};

/// What GNU tar makes of names in a directory.
fn gnu_tar(dir: &Path, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new("tar").arg("-C").arg(dir).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn read(archive: &[u8]) -> Result<Layer, StoreError> {
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    let layer = ingest.layer_from_tar("test.tar", archive, &ArchiveLimits::generous(1 << 40))?;
    ingest.put_layer(&layer)?;
    ingest.finish()?;
    Ok(layer)
}

fn header(kind: EntryType, name: &str) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    // Past the library's own care for paths.
    header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
    header.set_mode(0o755);
    header.set_size(0);
    header.set_cksum();
    header
}

#[test]
fn times_before_1970_become_1970_in_every_form() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("old"), "x").unwrap();
    for format in ["gnu", "pax"] {
        for (said, expected) in [("@-5", 0), ("@-4000000000", 0), ("@20000000000", 20_000_000_000)]
        {
            let format = format!("--format={format}");
            let tar = gnu_tar(dir.path(), &[&format, &format!("--mtime={said}"), "-c", "old"]);
            let mtime = read(&tar).unwrap().entries()[0].metadata.mtime;
            assert_eq!(mtime, expected, "{format} {said}");
        }
    }
    // The header says one thing and the record, which counts, another.
    let mut tar = Builder::new(Vec::new());
    tar.append_pax_extensions([("mtime", b"-7.5".as_slice())]).unwrap();
    tar.append(&header(EntryType::Regular, "old"), [].as_slice()).unwrap();
    assert_eq!(read(&tar.into_inner().unwrap()).unwrap().entries()[0].metadata.mtime, 0);
    // Fields that were left empty.
    let mut blank = header(EntryType::Regular, "old");
    for range in [108..116, 116..124, 136..148] {
        blank.as_mut_bytes()[range].fill(b' ');
    }
    blank.set_cksum();
    let mut tar = Builder::new(Vec::new());
    tar.append(&blank, [].as_slice()).unwrap();
    let layer = read(&tar.into_inner().unwrap()).unwrap();
    let metadata = &layer.entries()[0].metadata;
    assert_eq!((metadata.uid, metadata.gid, metadata.mtime), (0, 0, 0));
}

#[test]
fn leading_slashes_are_left_out() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("kept"), "x").unwrap();
    let absolute = dir.path().join("kept");
    let tar = gnu_tar(dir.path(), &["-P", "-c", absolute.to_str().unwrap()]);
    let found = read(&tar).unwrap().entries()[0].path.to_string();
    assert_eq!(found, absolute.to_str().unwrap());
    let mut tar = Builder::new(Vec::new());
    for (kind, name) in [
        (EntryType::Directory, "/"),
        (EntryType::Directory, "//etc/"),
        (EntryType::Regular, "/etc/./passwd"),
    ] {
        tar.append(&header(kind, name), [].as_slice()).unwrap();
    }
    let mut link = header(EntryType::Link, "/etc/linked");
    link.as_old_mut().linkname[..11].copy_from_slice(b"/etc/passwd");
    link.set_cksum();
    tar.append(&link, [].as_slice()).unwrap();
    let layer = read(&tar.into_inner().unwrap()).unwrap();
    let paths: Vec<String> = layer.entries().iter().map(|entry| entry.path.to_string()).collect();
    assert_eq!(paths, ["/", "/etc", "/etc/linked", "/etc/passwd"]);
    // The root is a directory and nothing else.
    let mut tar = Builder::new(Vec::new());
    tar.append(&header(EntryType::Regular, "/"), [].as_slice()).unwrap();
    assert!(read(&tar.into_inner().unwrap()).is_err());
}

#[test]
fn hard_links_lead_to_files_of_the_tree_below() {
    let own = scratch();
    let ingest = own.store.ingest().unwrap();
    let below = Layer::from_entries(vec![
        support::directory("usr"),
        support::file(&ingest, "usr/tool", "content"),
    ]);
    let below = Tree::merge([below.unwrap()]);
    let entries = |target: &str| {
        let mut link = header(EntryType::Link, "linked");
        link.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        link.set_cksum();
        let mut tar = Builder::new(Vec::new());
        tar.append(&link, [].as_slice()).unwrap();
        let tar = tar.into_inner().unwrap();
        ingest.entries_from_tar("l", tar.as_slice(), &ArchiveLimits::generous(1), &below)
    };
    for target in ["usr/tool", "/usr/tool", "./usr//tool"] {
        let entries = entries(target).unwrap();
        assert_eq!(entries[0].path, path("linked"));
        assert_eq!(entries[0].kind, support::loose_file("x", "content").kind);
    }
    for target in ["usr", "usr/none", "usr/../usr/tool"] {
        assert!(entries(target).unwrap_err().to_string().contains("hard link"), "{target}");
    }
}

#[test]
fn access_lists_become_attributes() {
    const ACCESS: &[u8] = b"system.posix_acl_access";
    let list =
        |owner: &str| format!("user::rwx\ngroup::r-x\ngroup:{owner}:r-x\nmask::r-x\nother::---\n");
    let archive = |owner: &str, accounts: &str| {
        let mut tar = Builder::new(Vec::new());
        let text = list(owner);
        tar.append_pax_extensions([
            ("SCHILY.acl.access", text.as_bytes()),
            ("SCHILY.acl.default", text.as_bytes()),
        ])
        .unwrap();
        tar.append(&header(EntryType::Directory, "journal"), [].as_slice()).unwrap();
        // A list that says no more than its mode, and a default where nothing inherits.
        tar.append_pax_extensions([
            ("SCHILY.acl.access", b"user::rw-,group::r--,other::r--".as_slice()),
            ("SCHILY.acl.default", text.as_bytes()),
        ])
        .unwrap();
        tar.append(&header(EntryType::Regular, "plain"), [].as_slice()).unwrap();
        let mut group = header(EntryType::Regular, "etc/group");
        group.set_size(accounts.len() as u64);
        group.set_cksum();
        tar.append(&group, accounts.as_bytes()).unwrap();
        tar.into_inner().unwrap()
    };
    for (owner, accounts) in [("4", ""), ("adm", "root:x:0:\nadm:x:4:\n")] {
        let layer = read(&archive(owner, accounts)).unwrap();
        let of = |at: &str| layer.entries().iter().find(|entry| entry.path == path(at)).unwrap();
        let xattrs = &of("journal").metadata.xattrs;
        assert_eq!(xattrs.len(), 2);
        // The fourth entry is the named group's: tag 8, permissions 5, number 4.
        assert_eq!(xattrs[ACCESS][4 + 2 * 8..][..8], [8, 0, 5, 0, 4, 0, 0, 0]);
        assert!(of("plain").metadata.xattrs.is_empty());
    }
    let error = read(&archive("adm", "root:x:0:\n")).unwrap_err().to_string();
    assert!(error.contains("journal") && error.contains("--numeric-owner"), "{error}");
}

/// As GNU tar writes them, in each of its formats, with more parts than one header has room for.
#[test]
fn a_sparse_file_has_its_holes_as_zeros() {
    let dir = tempfile::tempdir().unwrap();
    let file = std::fs::File::create(dir.path().join("holes")).unwrap();
    file.set_len(20 << 20).unwrap();
    for at in (1..60_u64).step_by(2) {
        file.write_all_at(&[at as u8; 5000], at * 300_000).unwrap();
    }
    std::fs::File::create(dir.path().join("nothing")).unwrap().set_len(3 << 20).unwrap();
    std::fs::write(dir.path().join("after"), "1").unwrap();
    let formats: [&[&str]; 4] = [
        &["--format=gnu"],
        &["--format=pax", "--sparse-version=0.0"],
        &["--format=pax", "--sparse-version=0.1"],
        &["--format=pax", "--sparse-version=1.0"],
    ];
    for format in formats {
        let names = ["--sparse", "-c", "holes", "nothing", "after"];
        let tar = gnu_tar(dir.path(), &[format, &names].concat());
        assert!(tar.len() < 2 << 20, "it has holes");
        let layer = read(&tar).unwrap();
        assert_eq!(layer.entries().len(), 3);
        for name in ["holes", "nothing", "after"] {
            let expected = std::fs::read(dir.path().join(name)).unwrap();
            let found = layer.entries().iter().find(|entry| entry.path == path(name)).unwrap();
            let size = expected.len() as u64;
            let kind = EntryKind::File { digest: Digest::of(&expected), size };
            assert_eq!(found.kind, kind, "{format:?} {name}");
        }
    }
}

#[test]
fn maps_of_sparse_files_that_cannot_be_are_refused() {
    let archive = |records: &[(&str, &str)], content: &[u8]| {
        let mut tar = Builder::new(Vec::new());
        tar.append_pax_extensions(records.iter().map(|(name, value)| (*name, value.as_bytes())))
            .unwrap();
        let mut file = header(EntryType::Regular, "holes");
        file.set_size(content.len() as u64);
        file.set_cksum();
        tar.append(&file, content).unwrap();
        tar.into_inner().unwrap()
    };
    let mapped = |map: &str, size: &str| {
        archive(&[("GNU.sparse.map", map), ("GNU.sparse.size", size)], b"12345")
    };
    assert!(read(&mapped("0,5", "9")).is_ok());
    for (map, size) in [
        ("0,5", "4"),
        ("0,4", "9"),
        ("0,6", "9"),
        ("3,3,1,2", "9"),
        ("0", "9"),
        ("0,5,", "9"),
        ("0,x", "9"),
        ("0,18446744073709551615,18446744073709551615,6", "9"),
        ("0,5", "x"),
    ] {
        assert!(read(&mapped(map, size)).is_err(), "{map} {size}");
    }
    let versions = [("GNU.sparse.major", "1"), ("GNU.sparse.minor", "0")];
    let in_content = |map: &str| {
        let records = [&versions[..], &[("GNU.sparse.realsize", "9")]].concat();
        let mut content = map.as_bytes().to_vec();
        content.resize(512, 0);
        content.extend_from_slice(b"12345");
        archive(&records, &content)
    };
    assert!(read(&in_content("1\n0\n5\n")).is_ok());
    for map in
        ["2\n0\n5\n", "99999999999\n", "x\n", "1\n9\n5\n", "", "1\n000000000000000000000000\n5\n"]
    {
        assert!(read(&in_content(map)).is_err(), "{map:?}");
    }
    let unknown = [("GNU.sparse.major", "2"), ("GNU.sparse.minor", "0")];
    assert!(read(&archive(&unknown, b"12345")).is_err());
}
