//! Tar archives of a tree: one order, in chunks of one size.

use std::io::{Read, Write};

use hornero_store::{
    Entry, EntryKind, Store, StoreError, Tree,
    tarball::{self, BLOCK, END},
};

use crate::{
    ExportError, ExportEvent, ExportProgress, contents,
    output::Output,
    work::{ExportWork, FormatNotes},
};

/// Readers of tapes want whole records of 20 blocks.
const RECORD_LEN: u64 = 20 * BLOCK;
/// What is written at a time.
const CHUNK_LEN: usize = 1 << 20;

pub(crate) fn export(work: &ExportWork<'_>, output: &Output) -> Result<FormatNotes, ExportError> {
    work.progress.event(ExportEvent::Started { bytes: content_bytes(work.tree) });
    let mut file = output.file();
    let mut sink = |bytes: Vec<u8>| {
        let written = file.write_all(&bytes).map_err(|error| output.failed(error));
        written.map(|()| bytes)
    };
    let mut archive = Archive::new(&mut sink);
    archive.tree(work.store, work.tree, b"./", work.progress)?;
    archive.finish()?;
    Ok(FormatNotes::default())
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
        progress: &dyn ExportProgress,
    ) -> Result<(), ExportError> {
        for entry in tree.entries() {
            let path = [prefix, entry.path.as_bytes()].concat();
            // Merged trees have no whiteouts.
            self.put(&tarball::headers(&path, entry))?;
            if let EntryKind::File { digest, size } = entry.kind {
                let mut content = store.open_object(&digest)?.take(size);
                if self.copy(&digest.to_string(), &mut content)? != size {
                    return Err(contents::damaged(&digest));
                }
                progress.event(ExportEvent::Written { bytes: size });
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
        self.put(&tarball::headers(path, entry))?;
        self.put(bytes)?;
        self.pad(BLOCK)
    }

    /// Ends the archive.
    pub(crate) fn finish(mut self) -> Result<(), ExportError> {
        self.put(&[0; END])?;
        self.pad(RECORD_LEN)?;
        let last = std::mem::take(&mut self.chunk);
        (self.sink)(last).map(drop)
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
                self.pad(BLOCK)?;
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
