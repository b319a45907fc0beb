//! Reading a tar stream entry by entry, with bounds on what an entry says of itself.
//!
//! Written for streams of strangers: the `tar` crate takes headers of any size into memory, and ends a pax record at
//! its first newline, though its length says otherwise. What an entry means follows what Docker makes of it (Go's
//! `archive/tar`): links, directories and devices have no content whatever their size field says.

mod entry;
mod fault;
mod sparse;
mod sparse_map;

use std::io::{self, Read, Seek, SeekFrom};

use tar::{EntryType, Header};

use self::{
    entry::{Records, record_number, records, unsigned},
    fault::{BLOCK, early, invalid},
    sparse::{Described, Sparse, described, sparse_of_records},
};

pub use self::entry::TarEntry;

/// One header of names or pax records: the longest paths have 4 KiB, all attributes of a file 64 KiB on most systems.
const EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Headers about the whole archive that may follow each other: builders write one.
const GLOBAL_COUNT_MAX: usize = 1024;

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
        let size = unsigned(&header.as_old().size)?;
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
        // A sparse file's own name stands aside, for readers that do not know what they read.
        let real_name = said(b"GNU.sparse.name");
        let path = real_name.or_else(|| name.and_then(text)).or_else(|| said(b"path"));
        let link = link.and_then(text).or_else(|| said(b"linkpath"));
        let path = path.unwrap_or_else(|| header.path_bytes().into_owned());
        let link = link.or_else(|| header.link_name_bytes().map(|link| link.into_owned()));
        let kind = header.entry_type();
        let mut size = match records.contains_key(b"size".as_slice()) {
            true => record_number(&records, b"size")
                .ok_or_else(|| invalid("a pax header's size is no number"))?,
            false => unsigned(&header.as_old().size)?,
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
        self.begin_content(&header, &records, size)?;
        let is_sparse = self.sparse.is_some();
        let size = self.sparse.as_ref().map_or(size, |sparse| sparse.size);
        let position = self.position;
        let link = link.unwrap_or_default();
        Ok(TarEntry { header, path, link, size, position, is_sparse, records })
    }

    /// Makes ready for a content of which `stored` bytes follow, in parts where it is a sparse file's.
    fn begin_content(&mut self, header: &Header, records: &Records, stored: u64) -> io::Result<()> {
        if stored > u64::MAX / 2 {
            return Err(invalid("an entry is larger than any stream"));
        }
        let kind = header.entry_type();
        let is_file = matches!(kind, EntryType::Regular | EntryType::Continuous);
        let sparse = match described(records)?.filter(|_| is_file) {
            _ if kind.is_gnu_sparse() => Some(self.sparse_of_header(header, stored)?),
            Some(Described::Mapped) => Some(sparse_of_records(records, stored)?),
            Some(Described::InContent) => {
                self.begin(stored);
                self.sparse = Some(self.sparse_of_content(records)?);
                return Ok(());
            }
            None => None,
        };
        self.begin(stored);
        self.sparse = sparse;
        Ok(())
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
            let (zeros, stored) = sparse.ahead();
            if zeros > 0 {
                let count = usize::try_from(zeros).unwrap_or(usize::MAX).min(buffer.len());
                buffer[..count].fill(0);
                sparse.advance(count as u64);
                return Ok(count);
            }
            most = stored;
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
            sparse.advance(count as u64);
        }
        Ok(count)
    }
}
