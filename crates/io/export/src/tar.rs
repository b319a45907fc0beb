//! Tar archives of a tree (POSIX.1-2001, pax): one order, numeric owners, nothing of the machine that writes.

use std::io::{Read, Write};

use hornero_store::{Entry, EntryKind, Store, StoreError, Tree};

use crate::{Event, ExportError, Progress, Work, Written, contents, output::Output};

const BLOCK_LEN: usize = 512;
/// Two blocks of zeros end an archive; readers of tapes want whole records of 20 blocks.
const RECORD_LEN: u64 = 20 * BLOCK_LEN as u64;
/// What is written at a time.
const CHUNK_LEN: usize = 1 << 20;
/// Largest numbers of an octal field of 8 and of 12 bytes.
const SMALL_MAX: u64 = 0o7_777_777;
const LARGE_MAX: u64 = 0o77_777_777_777;

pub(crate) fn export(work: &Work<'_>, output: &Output) -> Result<Written, ExportError> {
    work.progress.event(Event::Started { bytes: content_bytes(work.tree) });
    let mut file = output.file();
    let mut sink = |bytes: Vec<u8>| {
        let written = file.write_all(&bytes).map_err(|error| output.failed(error));
        written.map(|()| bytes)
    };
    let mut archive = Archive::new(&mut sink);
    archive.tree(work.store, work.tree, b"./", work.progress)?;
    archive.finish()?;
    Ok(Written::default())
}

/// Bytes of all contents, equal ones counted each time.
pub(crate) fn content_bytes(tree: &Tree) -> u64 {
    tree.contents().map(|(_, size)| size).sum()
}

/// Takes chunks of an archive and gives back a buffer for the next one.
pub(crate) type Sink<'a> = dyn FnMut(Vec<u8>) -> Result<Vec<u8>, ExportError> + 'a;

/// An archive in the making; its bytes go out in chunks of one size.
pub(crate) struct Archive<'a> {
    sink: &'a mut Sink<'a>,
    chunk: Vec<u8>,
    len: u64,
}

impl<'a> Archive<'a> {
    pub(crate) fn new(sink: &'a mut Sink<'a>) -> Self {
        Self { sink, chunk: Vec::with_capacity(CHUNK_LEN), len: 0 }
    }

    /// Adds a whole tree, its root included; `prefix` ends with a slash.
    pub(crate) fn tree(
        &mut self,
        store: &Store,
        tree: &Tree,
        prefix: &[u8],
        progress: &dyn Progress,
    ) -> Result<(), ExportError> {
        for entry in tree.entries() {
            let path = [prefix, entry.path.as_bytes()].concat();
            self.header(&path, entry)?;
            if let EntryKind::File { digest, size } = entry.kind {
                let mut content = store.open_object(&digest)?.take(size);
                if self.copy(&digest.to_string(), &mut content)? != size {
                    return Err(contents::damaged(&digest));
                }
                progress.event(Event::Written { bytes: size });
            }
        }
        Ok(())
    }

    /// Adds one entry with these bytes as content, if it is a file.
    pub(crate) fn entry(
        &mut self,
        path: &[u8],
        entry: &Entry,
        bytes: &[u8],
    ) -> Result<(), ExportError> {
        self.header(path, entry)?;
        self.put(bytes)?;
        self.pad(BLOCK_LEN as u64)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<(), ExportError> {
        self.put(&[0; 2 * BLOCK_LEN])?;
        self.pad(RECORD_LEN)?;
        let last = std::mem::take(&mut self.chunk);
        (self.sink)(last).map(drop)
    }

    fn header(&mut self, path: &[u8], entry: &Entry) -> Result<(), ExportError> {
        let mut name = path.to_vec();
        if entry.kind.is_directory() && !name.ends_with(b"/") {
            name.push(b'/');
        }
        let records = extended_records(&name, entry);
        if !records.is_empty() {
            let header = ustar(b"./PaxHeaders", b'x', 0o644, records.len() as u64, None);
            self.put(&header)?;
            self.put(&records)?;
            self.pad(BLOCK_LEN as u64)?;
        }
        let (kind, size) = match &entry.kind {
            EntryKind::Directory { .. } => (b'5', 0),
            EntryKind::File { size, .. } => (b'0', *size),
            EntryKind::Symlink { .. } => (b'2', 0),
            EntryKind::Fifo => (b'6', 0),
            EntryKind::CharDevice { .. } => (b'3', 0),
            EntryKind::BlockDevice { .. } => (b'4', 0),
            // Merged trees have none.
            EntryKind::Whiteout => return Ok(()),
        };
        self.put(&ustar(&name, kind, entry.metadata.mode, size, Some(entry)))
    }

    fn copy(&mut self, name: &str, reader: &mut impl Read) -> Result<u64, ExportError> {
        let mut copied = 0;
        loop {
            let room = CHUNK_LEN - self.chunk.len();
            let len = reader
                .by_ref()
                .take(room as u64)
                .read_to_end(&mut self.chunk)
                .map_err(|source| StoreError::Source { name: name.to_owned(), source })?;
            copied += len as u64;
            self.len += len as u64;
            self.pass_on()?;
            if len < room {
                self.pad(BLOCK_LEN as u64)?;
                return Ok(copied);
            }
        }
    }

    fn put(&mut self, mut bytes: &[u8]) -> Result<(), ExportError> {
        self.len += bytes.len() as u64;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(CHUNK_LEN - self.chunk.len()));
            self.chunk.extend_from_slice(now);
            bytes = later;
            self.pass_on()?;
        }
        Ok(())
    }

    fn pass_on(&mut self) -> Result<(), ExportError> {
        if self.chunk.len() == CHUNK_LEN {
            self.chunk = (self.sink)(std::mem::take(&mut self.chunk))?;
            self.chunk.clear();
            self.chunk.reserve(CHUNK_LEN);
        }
        Ok(())
    }

    fn pad(&mut self, unit: u64) -> Result<(), ExportError> {
        let padding = self.len.next_multiple_of(unit) - self.len;
        self.put(&[0; RECORD_LEN as usize][..padding as usize])
    }
}

/// What the plain header cannot say, as pax records sorted by key.
fn extended_records(name: &[u8], entry: &Entry) -> Vec<u8> {
    let metadata = &entry.metadata;
    let mut records: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    let mut add = |key: &[u8], value: &[u8]| records.push((key.to_vec(), value.to_vec()));
    if split_name(name).is_none() {
        add(b"path", name);
    }
    if let EntryKind::Symlink { target } = &entry.kind
        && target.len() > 100
    {
        add(b"linkpath", target);
    }
    let numbers = [
        (b"uid".as_slice(), u64::from(metadata.uid), SMALL_MAX),
        (b"gid", u64::from(metadata.gid), SMALL_MAX),
        (b"mtime", metadata.mtime, LARGE_MAX),
        (b"size", size(entry), LARGE_MAX),
    ];
    for (key, value, max) in numbers {
        if value > max {
            add(key, value.to_string().as_bytes());
        }
    }
    for (key, value) in &metadata.xattrs {
        add(&[b"SCHILY.xattr.", &**key].concat(), value);
    }
    records.sort();
    records.iter().flat_map(|(key, value)| record(key, value)).collect()
}

fn size(entry: &Entry) -> u64 {
    match entry.kind {
        EntryKind::File { size, .. } => size,
        _ => 0,
    }
}

/// `LENGTH KEY=VALUE\n`, the length counting itself.
fn record(key: &[u8], value: &[u8]) -> Vec<u8> {
    let rest = key.len() + value.len() + 3;
    let mut len = rest + 1;
    while len != rest + len.to_string().len() {
        len = rest + len.to_string().len();
    }
    [len.to_string().as_bytes(), b" ", key, b"=", value, b"\n"].concat()
}

/// The prefix and name fields for a path, if it fits.
fn split_name(name: &[u8]) -> Option<(&[u8], &[u8])> {
    if name.len() <= 100 {
        return Some((b"", name));
    }
    // The slash between both is not stored; one that ends a directory's name is no place to split.
    let slashes = (0..name.len() - 1).filter(|at| name[*at] == b'/');
    slashes
        .map(|at| (&name[..at], &name[at + 1..]))
        .find(|(prefix, rest)| prefix.len() <= 155 && rest.len() <= 100)
}

/// A plain header; of an entry when there is one, else of pax records.
fn ustar(name: &[u8], kind: u8, mode: u32, size: u64, entry: Option<&Entry>) -> [u8; BLOCK_LEN] {
    let mut header = [0; BLOCK_LEN];
    let (prefix, last) = split_name(name).unwrap_or_else(|| (b"", &name[..100]));
    header[..last.len()].copy_from_slice(last);
    header[345..345 + prefix.len()].copy_from_slice(prefix);
    // Numbers that do not fit are in the records; readers take them from there.
    let octal = |header: &mut [u8], value: u64, max: u64| {
        let digits = header.len() - 1;
        let value = if value > max { 0 } else { value };
        header[..digits].copy_from_slice(format!("{value:0digits$o}").as_bytes());
    };
    octal(&mut header[100..108], u64::from(mode), SMALL_MAX);
    octal(&mut header[108..116], entry.map_or(0, |entry| u64::from(entry.metadata.uid)), SMALL_MAX);
    octal(&mut header[116..124], entry.map_or(0, |entry| u64::from(entry.metadata.gid)), SMALL_MAX);
    octal(&mut header[124..136], size, LARGE_MAX);
    octal(&mut header[136..148], entry.map_or(0, |entry| entry.metadata.mtime), LARGE_MAX);
    header[156] = kind;
    header[257..265].copy_from_slice(b"ustar\x0000");
    let mut device = (0, 0);
    match entry.map(|entry| &entry.kind) {
        Some(EntryKind::Symlink { target }) => {
            let len = target.len().min(100);
            header[157..157 + len].copy_from_slice(&target[..len]);
        }
        Some(EntryKind::CharDevice { major, minor } | EntryKind::BlockDevice { major, minor }) => {
            device = (u64::from(*major), u64::from(*minor));
        }
        _ => {}
    }
    octal(&mut header[329..337], device.0, SMALL_MAX);
    octal(&mut header[337..345], device.1, SMALL_MAX);
    // The checksum counts its own field as spaces.
    header[148..156].copy_from_slice(b"        ");
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_its_own_length() {
        assert_eq!(record(b"path", b"abc"), b"12 path=abc\n");
        for len in 80..110 {
            let record = record(b"k", &vec![b'v'; len]);
            let (number, _) =
                record.split_at(record.iter().position(|byte| *byte == b' ').unwrap());
            assert_eq!(String::from_utf8_lossy(number).parse(), Ok(record.len()));
        }
    }

    #[test]
    fn long_paths_are_split_where_they_can_be() {
        let directory = "d".repeat(120);
        let long = format!("{directory}/file");
        assert_eq!(split_name(long.as_bytes()), Some((directory.as_bytes(), &b"file"[..])));
        assert_eq!(split_name(format!("{directory}/").as_bytes()), None);
        assert_eq!(split_name(&[b'n'; 101]), None);
        assert_eq!(split_name(&[b'n'; 100]), Some((&b""[..], &[b'n'; 100][..])));
    }
}
