//! The bytes of a tar archive (POSIX.1-2001, pax) for entries, equal for equal entries: numeric owners, nothing of the
//! machine that writes.
//!
//! Digests of pushed layers are made of these bytes: another writer of the same archives would move every layer anew.

use crate::{Entry, EntryKind, Metadata};

/// Bytes that everything in a tar is padded to.
pub const BLOCK: u64 = 512;
/// Zero bytes that end an archive: two blocks.
pub const END: usize = 1024;
/// Seven octal digits.
const SMALL_NUMBER_MAX: u64 = 0o7_777_777;
/// Eleven octal digits.
const LARGE_NUMBER_MAX: u64 = 0o77_777_777_777;

/// The headers of an entry under this name; for a file its content and [`padding`] follow. A whiteout has those of an
/// empty file: which name stands for one is a matter of who reads the archive.
pub fn headers(name: &[u8], entry: &Entry) -> Vec<u8> {
    let none: &[u8] = &[];
    let (kind, link, size, device) = match &entry.kind {
        EntryKind::Directory { .. } => (b'5', none, 0, (0, 0)),
        EntryKind::File { size, .. } => (b'0', none, *size, (0, 0)),
        EntryKind::Symlink { target } => (b'2', &**target, 0, (0, 0)),
        EntryKind::Fifo => (b'6', none, 0, (0, 0)),
        EntryKind::CharDevice { major, minor } => (b'3', none, 0, (*major, *minor)),
        EntryKind::BlockDevice { major, minor } => (b'4', none, 0, (*major, *minor)),
        EntryKind::Whiteout => (b'0', none, 0, (0, 0)),
    };
    if entry.kind.is_directory() && !name.ends_with(b"/") {
        return write_headers(
            &[name, b"/"].concat(),
            kind,
            link,
            size,
            device,
            &entry.metadata,
            &[],
        );
    }
    write_headers(name, kind, link, size, device, &entry.metadata, &[])
}

/// The header of a directory with a record that readers skip.
///
/// Not a header about the whole archive, which readers may skip as well: there are those that refuse it.
pub fn commented_directory(name: &[u8], metadata: &Metadata, comment: &str) -> Vec<u8> {
    let comment = [(&b"comment"[..], comment.as_bytes())];
    write_headers(name, b'5', b"", 0, (0, 0), metadata, &comment)
}

/// Zero bytes that follow a content of this size.
pub fn padding(size: u64) -> u64 {
    size.next_multiple_of(BLOCK) - size
}

fn write_headers(
    path: &[u8],
    kind: u8,
    link: &[u8],
    size: u64,
    device: (u32, u32),
    metadata: &Metadata,
    more: &[(&[u8], &[u8])],
) -> Vec<u8> {
    let mut records = Vec::new();
    more.iter().for_each(|(name, value)| put_record(&mut records, name, value));
    if !fits(path) {
        put_record(&mut records, b"path", path);
    }
    if link.len() > 100 {
        put_record(&mut records, b"linkpath", link);
    }
    let numbers = [metadata.uid.into(), metadata.gid.into(), metadata.mtime];
    let limits = [SMALL_NUMBER_MAX, SMALL_NUMBER_MAX, LARGE_NUMBER_MAX];
    for ((name, number), limit) in [&b"uid"[..], b"gid", b"mtime"].iter().zip(numbers).zip(limits) {
        if number > limit {
            put_record(&mut records, name, number.to_string().as_bytes());
        }
    }
    if size > LARGE_NUMBER_MAX {
        put_record(&mut records, b"size", size.to_string().as_bytes());
    }
    for (name, value) in &metadata.xattrs {
        // A record's name ends at its first `=`; overlayfs's own notes mean nothing elsewhere.
        if !name.contains(&b'=') && !name.starts_with(b"trusted.overlay.") {
            put_record(&mut records, &[b"SCHILY.xattr.", &**name].concat(), value);
        }
    }
    let mut out = Vec::with_capacity(512);
    if !records.is_empty() {
        out = block(b"PaxHeaders/entry", b'x', b"", records.len() as u64, (0, 0), 0o644, [0; 3]);
        out.extend_from_slice(&records);
        pad(&mut out);
    }
    out.extend(block(path, kind, link, size, device, metadata.mode, numbers));
    out
}

/// `LENGTH NAME=VALUE\n`, the length counting itself.
fn put_record(out: &mut Vec<u8>, name: &[u8], value: &[u8]) {
    let rest = name.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    out.extend_from_slice(format!("{length} ").as_bytes());
    out.extend_from_slice(name);
    out.push(b'=');
    out.extend_from_slice(value);
    out.push(b'\n');
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(BLOCK as usize), 0);
}

/// Where a path is cut into ustar's prefix (155 bytes) and name (100 bytes).
fn cut(path: &[u8]) -> Option<usize> {
    (1..path.len().min(156))
        .rev()
        .find(|at| path[*at] == b'/' && path.len() - at - 1 <= 100 && at + 1 < path.len())
}

fn fits(path: &[u8]) -> bool {
    path.len() <= 100 || cut(path).is_some()
}

fn block(
    path: &[u8],
    kind: u8,
    link: &[u8],
    size: u64,
    device: (u32, u32),
    mode: u32,
    [uid, gid, mtime]: [u64; 3],
) -> Vec<u8> {
    let mut out = vec![0; BLOCK as usize];
    let (prefix, name) = match cut(path) {
        Some(at) if path.len() > 100 => (&path[..at], &path[at + 1..]),
        _ => (&path[..0], &path[..path.len().min(100)]),
    };
    put(&mut out, 0, name);
    put(&mut out, 100, octal(mode.into(), 7, 0o7777).as_bytes());
    put(&mut out, 108, octal(uid, 7, SMALL_NUMBER_MAX).as_bytes());
    put(&mut out, 116, octal(gid, 7, SMALL_NUMBER_MAX).as_bytes());
    put(&mut out, 124, octal(size, 11, LARGE_NUMBER_MAX).as_bytes());
    put(&mut out, 136, octal(mtime, 11, LARGE_NUMBER_MAX).as_bytes());
    put(&mut out, 148, b"        ");
    out[156] = kind;
    put(&mut out, 157, &link[..link.len().min(100)]);
    put(&mut out, 257, b"ustar\x0000");
    put(&mut out, 329, octal(device.0.into(), 7, SMALL_NUMBER_MAX).as_bytes());
    put(&mut out, 337, octal(device.1.into(), 7, SMALL_NUMBER_MAX).as_bytes());
    put(&mut out, 345, prefix);
    let sum: u64 = out.iter().map(|byte| u64::from(*byte)).sum();
    put(&mut out, 148, format!("{sum:06o}\0 ").as_bytes());
    out
}

fn put(out: &mut [u8], at: usize, bytes: &[u8]) {
    out[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Octal digits; zero for what does not fit, since a record before says it then.
fn octal(number: u64, digits: usize, max: u64) -> String {
    format!("{:0digits$o}", if number > max { 0 } else { number })
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use hornero_model::Digest;
    use proptest::prelude::*;

    use super::*;
    use crate::TreePath;

    /// What an independent reader of tar archives finds: path, link, size, numbers, attributes.
    fn check(path: &str, uid: u32, mtime: u64, value: &[u8], target: Option<&str>) {
        let xattrs =
            BTreeMap::from([(b"user.note".as_slice().into(), value.to_vec().into_boxed_slice())]);
        let kind = match target {
            Some(target) => EntryKind::Symlink { target: target.as_bytes().into() },
            None => EntryKind::File { digest: Digest::of(b"abc"), size: 3 },
        };
        let metadata = Metadata { mode: 0o4755, uid, gid: 7, mtime, xattrs };
        let entry = Entry { path: TreePath::new(path).unwrap(), kind, metadata };
        let root = Metadata { xattrs: BTreeMap::new(), ..entry.metadata.clone() };
        let mut bytes = commented_directory(b"./", &root, "sha256:abc");
        assert_eq!(bytes.len(), 3 * 512);
        bytes.extend(headers(path.as_bytes(), &entry));
        if target.is_none() {
            bytes.extend_from_slice(b"abc");
            bytes.resize(bytes.len() + padding(3) as usize, 0);
        }
        bytes.resize(bytes.len() + END, 0);
        let mut archive = tar::Archive::new(bytes.as_slice());
        let mut entries = archive.entries().unwrap().map(Result::unwrap);
        let root = entries.next().unwrap();
        assert_eq!((&*root.path_bytes(), root.header().mode().unwrap()), (&b"./"[..], 0o4755));
        let mut found = entries.next().unwrap();
        assert_eq!(&*found.path_bytes(), path.as_bytes());
        assert_eq!(found.header().mode().unwrap(), 0o4755);
        assert_eq!(found.header().uid().unwrap(), u64::from(uid));
        assert_eq!(found.header().mtime().unwrap(), mtime);
        assert_eq!(found.link_name_bytes().as_deref(), target.map(str::as_bytes));
        let extensions = found.pax_extensions().unwrap().unwrap().map(Result::unwrap);
        let notes: Vec<_> =
            extensions.filter(|one| one.key_bytes() == b"SCHILY.xattr.user.note").collect();
        assert_eq!(notes[0].value_bytes(), value);
        let mut content = Vec::new();
        found.read_to_end(&mut content).unwrap();
        assert_eq!(content, if target.is_some() { b"".as_slice() } else { b"abc" });
        assert!(entries.next().is_none());
    }

    #[test]
    fn names_of_every_length_are_read_back() {
        for length in [1, 99, 100, 101, 155, 156, 200, 254, 255] {
            check(&"n".repeat(length), 0, 0, b"x", None);
            check(&format!("{}/{}", "d".repeat(length), "n".repeat(90)), 0, 0, b"x", None);
            check("l", 0, 0, b"x", Some(&"t".repeat(length)));
        }
        check(&["d"; 300].join("/"), 0, 0, b"x", None);
    }

    proptest! {
        #[test]
        fn an_independent_reader_finds_what_was_written(
            path in "[a-zé]{1,60}(/[a-zé]{1,60}){0,5}", uid in any::<u32>(),
            // The reader here takes no times beyond the header's.
            mtime in 0..LARGE_NUMBER_MAX,
            // The reader here ends a record at its first newline, though its length says otherwise.
            value in proptest::collection::vec(
                any::<u8>().prop_filter("no newline", |byte| *byte != b'\n'), 0..2000,
            ),
            target in proptest::option::of("[a-z/.]{1,300}"),
        ) {
            check(&path, uid, mtime, &value, target.as_deref());
        }
    }
}
