//! Reading a tar stream entry by entry, with bounds on what an entry says of itself.
//!
//! Written for streams of strangers: the `tar` crate takes headers of any size into memory, and ends a pax record at
//! its first newline, though its length says otherwise. What an entry means follows what Docker makes of it (Go's
//! `archive/tar`): links, directories and devices have no content whatever their size field says.

use std::{
    collections::BTreeMap,
    io::{self, Read, Seek, SeekFrom},
};

use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

/// Everything in a tar is padded to this.
const BLOCK: u64 = 512;
/// One header of names or pax records: the longest paths have 4 KiB, all attributes of a file 64 KiB on most systems.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Headers about the whole archive that may follow each other: builders write one.
const GLOBAL_COUNT_MAX: usize = 1024;
/// Parts of one sparse file.
const SPARSE_COUNT_MAX: usize = 1 << 16;
/// Records of one entry: an image's files have at most 64 attributes.
const RECORD_COUNT_MAX: usize = 4096;

/// A tar stream.
pub struct TarReader<R> {
    inner: R,
    skip: fn(&mut R, u64) -> io::Result<()>,
    /// Bytes from the beginning of the stream to where `inner` is.
    position: u64,
    /// Stored bytes of the entry at hand that were not read, and the padding after them.
    stored: u64,
    padding: u64,
    /// The rest of a sparse file: zeros up to an offset, and stored bytes from there.
    sparse: Option<Sparse>,
    ended: bool,
}

/// What an entry says of itself, by its header and those before it.
#[derive(Debug)]
pub struct TarEntry {
    /// Its own header; names and numbers in it may be replaced by what follows here.
    pub header: Header,
    /// The path, as it is written.
    pub path: Vec<u8>,
    /// Where a link leads, as it is written; empty for others.
    pub link: Vec<u8>,
    /// Bytes of content.
    pub size: u64,
    /// Where its content begins, in bytes from the beginning of the stream.
    pub position: u64,
    /// Pax records (POSIX.1-2024, pax, "extended header").
    pub records: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl TarEntry {
    /// What it is.
    pub fn entry_type(&self) -> EntryType {
        self.header.entry_type()
    }

    /// The number of its owner.
    ///
    /// # Errors
    /// A field that is no number.
    pub fn uid(&self) -> io::Result<u64> {
        self.number(b"uid").map_or_else(|| self.header.uid(), Ok)
    }

    /// The number of its group.
    ///
    /// # Errors
    /// A field that is no number.
    pub fn gid(&self) -> io::Result<u64> {
        self.number(b"gid").map_or_else(|| self.header.gid(), Ok)
    }

    /// When its content was last changed: whole seconds since 1970, before or after.
    ///
    /// # Errors
    /// A field that is no number.
    pub fn mtime(&self) -> io::Result<i64> {
        let text = self.records.get(b"mtime".as_slice());
        let whole = text.and_then(|text| {
            let text = std::str::from_utf8(text).ok()?;
            text.split('.').next()?.parse().ok()
        });
        match whole {
            Some(seconds) => Ok(seconds),
            None => Ok(i64::try_from(self.header.mtime()?).unwrap_or(i64::MAX)),
        }
    }

    fn number(&self, name: &[u8]) -> Option<u64> {
        std::str::from_utf8(self.records.get(name)?).ok()?.parse().ok()
    }
}

struct Sparse {
    /// Where the content is, counted from its end of what was given.
    at: u64,
    size: u64,
    /// Offset and length of the parts that are stored, in order; those before `next` were given.
    parts: Vec<(u64, u64)>,
    next: usize,
}

impl<R: Read> TarReader<R> {
    /// Reads a stream from here on.
    pub fn new(inner: R) -> Self {
        let skip = |inner: &mut R, count| match io::copy(&mut inner.take(count), &mut io::sink())? {
            copied if copied == count => Ok(()),
            _ => Err(early("content")),
        };
        Self { inner, skip, position: 0, stored: 0, padding: 0, sparse: None, ended: false }
    }

    /// The next entry; none at the archive's end. What is left of the content before is skipped.
    ///
    /// # Errors
    /// Errors of the stream; [`io::ErrorKind::InvalidData`] for what is no tar, and for headers that are larger than
    /// those of any real entry.
    pub fn next_entry(&mut self) -> io::Result<Option<TarEntry>> {
        let (mut name, mut link, mut records) = (None, None, None);
        let mut globals = 0;
        while let Some(header) = self.next_header()? {
            let kind = header.entry_type();
            let slot = match kind {
                EntryType::XGlobalHeader => {
                    globals += 1;
                    if globals > GLOBAL_COUNT_MAX {
                        return Err(invalid("too many headers about the whole archive"));
                    }
                    self.extension(&header)?;
                    continue;
                }
                EntryType::XHeader => &mut records,
                EntryType::GNULongName => &mut name,
                EntryType::GNULongLink => &mut link,
                _ => return self.entry(header, name, link, records.as_deref()).map(Some),
            };
            if slot.is_some() {
                return Err(invalid("two headers of the same kind describe one entry"));
            }
            let bytes = self.extension(&header)?;
            *slot = Some(bytes);
        }
        if name.is_some() || link.is_some() || records.is_some() {
            return Err(early("entry"));
        }
        Ok(None)
    }

    /// The content of the entry that came last, or what is left of it; nothing for links, directories and devices.
    pub fn content(&mut self) -> impl Read + use<'_, R> {
        Content(self)
    }

    fn next_header(&mut self) -> io::Result<Option<Header>> {
        if self.ended {
            return Ok(None);
        }
        let left = self.stored + self.padding;
        (self.skip)(&mut self.inner, left)?;
        self.position += left;
        (self.stored, self.padding, self.sparse) = (0, 0, None);
        let mut header = Header::new_old();
        // Two blocks of zeros end an archive; the first is enough, and some archives end without.
        if !self.block(header.as_mut_bytes())? || header.as_bytes().iter().all(|byte| *byte == 0) {
            self.ended = true;
            return Ok(None);
        }
        let sum = |bytes: &[u8]| bytes.iter().map(|byte| u32::from(*byte)).sum::<u32>();
        let bytes = header.as_bytes();
        let spaces = 8 * u32::from(b' ');
        if header.cksum()? != sum(&bytes[..148]) + spaces + sum(&bytes[156..]) {
            return Err(invalid("a header has another sum than it says"));
        }
        Ok(Some(header))
    }

    /// Fills a block; not at the end of the stream.
    fn block(&mut self, out: &mut [u8]) -> io::Result<bool> {
        let mut filled = 0;
        while filled < out.len() {
            match self.inner.read(&mut out[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(early("header")),
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.position += out.len() as u64;
        Ok(true)
    }

    /// The bytes of a header that describes the next entry.
    fn extension(&mut self, header: &Header) -> io::Result<Vec<u8>> {
        let size = header.entry_size()?;
        if size > EXTENSION_BYTES_MAX {
            let most = EXTENSION_BYTES_MAX >> 20;
            return Err(invalid(&format!("a header describes an entry with more than {most} MiB")));
        }
        self.begin(size);
        let mut bytes = Vec::with_capacity(size as usize);
        Content(self).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn begin(&mut self, size: u64) {
        self.stored = size;
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
    }

    fn entry(
        &mut self,
        header: Header,
        name: Option<Vec<u8>>,
        link: Option<Vec<u8>>,
        extended: Option<&[u8]>,
    ) -> io::Result<TarEntry> {
        let records = extended.map(records).transpose()?.unwrap_or_default();
        let text = |bytes: Vec<u8>| bytes.split(|byte| *byte == 0).next().map(<[u8]>::to_vec);
        let said = |name: &[u8]| records.get(name).cloned();
        let path = name.and_then(text).or_else(|| said(b"path"));
        let link = link.and_then(text).or_else(|| said(b"linkpath"));
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let kind = header.entry_type();
        let mut size = match records.get(b"size".as_slice()) {
            Some(text) => {
                let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
                number.ok_or_else(|| invalid("a pax header's size is no number"))?
            }
            None => header.entry_size()?,
        };
        let is_bare = kind.is_hard_link()
            || kind.is_symlink()
            || kind.is_dir()
            || kind.is_fifo()
            || kind.is_character_special()
            || kind.is_block_special();
        if is_bare {
            size = 0;
        }
        if size > u64::MAX / 2 {
            return Err(invalid("an entry is larger than any stream"));
        }
        if kind.is_gnu_sparse() {
            let sparse = self.sparse(&header, size)?;
            self.begin(size);
            size = sparse.size;
            self.sparse = Some(sparse);
        } else {
            self.begin(size);
        }
        let position = self.position;
        Ok(TarEntry { header, path, link: link.unwrap_or_default(), size, position, records })
    }

    /// Where the parts of a sparse file are, of which `stored` bytes are in the stream (GNU tar, "old GNU format").
    fn sparse(&mut self, header: &Header, stored: u64) -> io::Result<Sparse> {
        let gnu = header.as_gnu().ok_or_else(|| invalid("a sparse file has no GNU header"))?;
        let (mut parts, mut end, mut total) = (Vec::new(), 0_u64, 0_u64);
        let mut add = |part: &GnuSparseHeader| -> io::Result<()> {
            if part.is_empty() {
                return Ok(());
            }
            let (offset, length) = (part.offset()?, part.length()?);
            let after = offset.checked_add(length).filter(|_| offset >= end);
            end = after.ok_or_else(|| invalid("the parts of a sparse file overlap"))?;
            total = total.saturating_add(length);
            if parts.len() >= SPARSE_COUNT_MAX {
                return Err(invalid("a sparse file has too many parts"));
            }
            parts.push((offset, length));
            Ok(())
        };
        gnu.sparse.iter().try_for_each(&mut add)?;
        let mut more = gnu.is_extended();
        while more {
            let mut next = GnuExtSparseHeader::new();
            if !self.block(next.as_mut_bytes())? {
                return Err(early("header"));
            }
            next.sparse.iter().try_for_each(&mut add)?;
            more = next.is_extended();
        }
        let size = gnu.real_size()?;
        if end > size || total != stored {
            return Err(invalid("the parts of a sparse file are not what its size says"));
        }
        Ok(Sparse { at: 0, size, parts, next: 0 })
    }
}

impl<R: Read + Seek> TarReader<R> {
    /// Reads from here on, and seeks past what nobody reads.
    pub fn seekable(inner: R) -> Self {
        let skip = |inner: &mut R, count| {
            let count = i64::try_from(count).map_err(|_| early("content"))?;
            inner.seek(SeekFrom::Current(count)).map(drop)
        };
        Self { skip, ..Self::new(inner) }
    }
}

struct Content<'a, R>(&'a mut TarReader<R>);

impl<R: Read> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let reader = &mut *self.0;
        let mut most = reader.stored;
        if let Some(sparse) = &mut reader.sparse {
            let part = loop {
                match sparse.parts.get(sparse.next) {
                    Some((offset, length)) if sparse.at >= offset + length => sparse.next += 1,
                    part => break part,
                }
            };
            let zeros = part.map_or(sparse.size, |(offset, _)| *offset).saturating_sub(sparse.at);
            if zeros > 0 {
                let count = usize::try_from(zeros).unwrap_or(usize::MAX).min(buffer.len());
                buffer[..count].fill(0);
                sparse.at += count as u64;
                return Ok(count);
            }
            most = part.map_or(0, |(offset, length)| offset + length - sparse.at);
        }
        let count = usize::try_from(most).unwrap_or(usize::MAX).min(buffer.len());
        if count == 0 {
            return Ok(0);
        }
        let count = reader.inner.read(&mut buffer[..count])?;
        if count == 0 {
            return Err(early("content"));
        }
        reader.position += count as u64;
        reader.stored -= count as u64;
        if let Some(sparse) = &mut reader.sparse {
            sparse.at += count as u64;
        }
        Ok(count)
    }
}

/// `LENGTH NAME=VALUE\n`, the length counting itself: a value may have any bytes. An empty value takes back what was
/// said before.
fn records(bytes: &[u8]) -> io::Result<BTreeMap<Vec<u8>, Vec<u8>>> {
    let malformed = || invalid("a pax header has a malformed record");
    let (mut found, mut rest) = (BTreeMap::new(), bytes);
    // Some writers pad with zeros.
    while rest.first().is_some_and(|byte| *byte != 0) {
        let space = rest.iter().take(20).position(|byte| *byte == b' ').ok_or_else(malformed)?;
        let digits = &rest[..space];
        let length = std::str::from_utf8(digits).ok().and_then(|text| text.parse::<usize>().ok());
        let length = length.filter(|length| *length <= rest.len()).ok_or_else(malformed)?;
        let record = rest.get(space + 1..length).and_then(|record| record.strip_suffix(b"\n"));
        let record = record.ok_or_else(malformed)?;
        let equals = record.iter().position(|byte| *byte == b'=').ok_or_else(malformed)?;
        let (name, value) = (record[..equals].to_vec(), &record[equals + 1..]);
        match value {
            [] => drop(found.remove(&name)),
            value => drop(found.insert(name, value.to_vec())),
        }
        if found.len() > RECORD_COUNT_MAX {
            return Err(invalid("a pax header has too many records"));
        }
        rest = &rest[length..];
    }
    Ok(found)
}

fn invalid(reason: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

fn early(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, format!("it ends within its {what}"))
}
