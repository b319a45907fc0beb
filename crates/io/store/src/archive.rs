//! Making a layer from a tar stream, such as the files of a Debian package.

use std::{
    collections::HashMap,
    io::{self, Read},
};

use tar::EntryType;

use crate::{
    CaptureOptions, DevicePolicy, Entry, EntryKind, Ingest, LAYER_BYTES_MAX, Layer, MODE_MASK,
    Metadata, PATH_LEN_MAX, Result, StoreError, TarEntry, TarReader, TreePath, attribute,
    capture::{clamp, device},
    layer::ENTRY_COUNT_MAX,
};

/// How much an archive may hold, and how its entries become a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ArchiveLimits {
    /// Most entries, directories included.
    pub entries: usize,
    /// Most bytes of all contents together, against archives that unpack without end.
    pub content_bytes: u64,
    /// Later modification times become this one: seconds since 1970.
    pub max_mtime: u64,
    /// What becomes of device files.
    pub devices: DevicePolicy,
}

impl ArchiveLimits {
    /// Limits that no real package comes near: two million entries, 64 GiB of content.
    pub fn generous(max_mtime: u64) -> Self {
        Self {
            entries: ENTRY_COUNT_MAX,
            content_bytes: 64 << 30,
            max_mtime,
            devices: DevicePolicy::Refuse,
        }
    }
}

impl From<CaptureOptions> for ArchiveLimits {
    fn from(options: CaptureOptions) -> Self {
        Self { devices: options.devices, ..Self::generous(options.max_mtime) }
    }
}

/// Headers and padding, 1 KiB an entry and long names, on top of the contents.
const HEADER_BYTES_MAX: u64 = 4 << 30;

impl Ingest<'_> {
    /// Reads an uncompressed tar stream to its end, takes in its contents and gives its layer.
    ///
    /// Of entries with equal paths the last one counts. Hard links become equal files. `name` says in
    /// errors what is read.
    ///
    /// # Errors
    /// [`StoreError::Archive`] for absolute paths and `..`, links to nothing, and broken limits.
    pub fn layer_from_tar(
        &self,
        name: &str,
        reader: impl Read,
        limits: &ArchiveLimits,
    ) -> Result<Layer> {
        let bounded = reader.take(limits.content_bytes.saturating_add(HEADER_BYTES_MAX));
        let mut archive = TarReader::new(bounded);
        let failed = |source: io::Error| StoreError::Source { name: name.to_owned(), source };
        let mut unpacking = Unpacking {
            ingest: self,
            name,
            limits,
            content_bytes: 0,
            described_bytes: 0,
            entries: HashMap::new(),
        };
        while let Some(entry) = archive.next_entry().map_err(failed)? {
            unpacking.entry(&entry, archive.content())?;
        }
        Layer::from_entries(unpacking.entries.into_values().collect())
            .map_err(|source| StoreError::Layer { name: name.to_owned(), source })
    }
}

struct Unpacking<'a> {
    ingest: &'a Ingest<'a>,
    name: &'a str,
    limits: &'a ArchiveLimits,
    content_bytes: u64,
    /// Of names, targets and attributes, which are all in memory until the last entry came.
    described_bytes: u64,
    entries: HashMap<TreePath, Entry>,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &TarEntry, content: impl Read) -> Result<()> {
        let entry_type = entry.entry_type();
        let raw = entry.path.clone();
        if raw.starts_with(b"/") {
            return Err(self.refuse(&raw, "has an absolute path"));
        }
        let path =
            TreePath::from_loose(&raw).map_err(|error| self.refuse(&raw, &error.to_string()))?;
        if self.entries.len() >= self.limits.entries {
            return Err(self.refuse(&raw, "is one more than the archive may have"));
        }
        if entry_type == EntryType::Link {
            let linked = Entry { path, ..self.linked(entry, &raw)? };
            return self.keep(linked, &raw);
        }
        // Their map is in the content or in records, as other archivers write them.
        if entry.records.keys().any(|name| name.starts_with(b"GNU.sparse.")) {
            return Err(self.refuse(&raw, "is a sparse file; archive it without `--sparse`"));
        }
        let metadata = self.metadata(entry, &raw)?;
        let kind = match entry_type {
            EntryType::Directory => EntryKind::Directory { opaque: false },
            EntryType::Symlink => EntryKind::Symlink { target: entry.link.clone().into() },
            EntryType::Fifo => EntryKind::Fifo,
            EntryType::Char | EntryType::Block => {
                match device(
                    self.limits.devices,
                    entry_type == EntryType::Char,
                    device_number(entry),
                ) {
                    Ok(Some(kind)) => kind,
                    Ok(None) => return Ok(()),
                    Err(reason) => return Err(self.refuse(&raw, reason)),
                }
            }
            EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => {
                self.content_bytes = self.content_bytes.saturating_add(entry.size);
                if self.content_bytes > self.limits.content_bytes {
                    return Err(self.refuse(&raw, "takes the contents past the limit"));
                }
                self.ingest.put(self.name, content)?.into()
            }
            _ => return Err(self.refuse(&raw, "is of a kind that no image can hold")),
        };
        self.keep(Entry { path, kind, metadata }, &raw)
    }

    fn keep(&mut self, entry: Entry, raw: &[u8]) -> Result<()> {
        let target = match &entry.kind {
            EntryKind::Symlink { target } => target.len(),
            _ => 0,
        };
        let attributes = entry.metadata.xattrs.iter();
        let attributes: usize = attributes.map(|(name, value)| name.len() + value.len()).sum();
        self.described_bytes += (entry.path.as_bytes().len() + target + attributes) as u64;
        if self.described_bytes > LAYER_BYTES_MAX {
            return Err(self.refuse(raw, "takes names and attributes past what a layer may have"));
        }
        self.entries.insert(entry.path.clone(), entry);
        Ok(())
    }

    /// The file that a hard link names, which has to come before it.
    fn linked(&self, entry: &TarEntry, raw: &[u8]) -> Result<Entry> {
        let found = TreePath::from_loose(&entry.link).ok().and_then(|path| self.entries.get(&path));
        match found {
            Some(found) if !found.kind.is_directory() => Ok(found.clone()),
            _ => Err(self.refuse(raw, "is a hard link to no earlier file of the archive")),
        }
    }

    fn metadata(&self, entry: &TarEntry, raw: &[u8]) -> Result<Metadata> {
        let bad = |error: io::Error| self.refuse(raw, &format!("has a bad header: {error}"));
        let id = |id: u64| {
            u32::try_from(id).map_err(|_| self.refuse(raw, "has an owner beyond 32 bits"))
        };
        let attributes = entry.records.iter().filter_map(|(name, value)| {
            let name = name.strip_prefix(b"SCHILY.xattr.".as_slice())?;
            attribute::belongs_into_image(name)
                .then(|| (name.into(), value.clone().into_boxed_slice()))
        });
        Ok(Metadata {
            mode: entry.header.mode().map_err(bad)? & MODE_MASK,
            uid: id(entry.uid().map_err(bad)?)?,
            gid: id(entry.gid().map_err(bad)?)?,
            mtime: clamp(entry.mtime().map_err(bad)?, self.limits.max_mtime),
            xattrs: attributes.collect(),
        })
    }

    fn refuse(&self, path: &[u8], reason: &str) -> StoreError {
        // A hostile name may be as long as a header.
        let shown = crate::path::display(&path[..path.len().min(PATH_LEN_MAX)]);
        let reason = format!("entry `{shown}` {reason}");
        StoreError::Archive { name: self.name.to_owned(), reason }
    }
}

fn device_number(entry: &TarEntry) -> u64 {
    let part = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
    rustix::fs::makedev(part(entry.header.device_major()), part(entry.header.device_minor()))
}
