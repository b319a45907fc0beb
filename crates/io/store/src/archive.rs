//! Making a layer from a tar stream, such as the files of a Debian package.

use std::{
    collections::{BTreeMap, HashMap},
    io::{self, Read},
};

use tar::EntryType;

use crate::{
    CaptureOptions, DevicePolicy, Entry, EntryKind, Ingest, LAYER_BYTES_MAX, Layer, MODE_MASK,
    Metadata, PATH_LEN_MAX, Result, StoreError, TarEntry, TarReader, Tree, TreePath, acl,
    attribute,
    capture::{clamp, device},
    layer::ENTRY_COUNT_MAX,
    users,
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

/// A file of this size is only begun when the disk has room for all of it.
const LARGE_BYTES: u64 = 16 << 20;
/// Headers and padding, 1 KiB an entry and long names, on top of the contents.
const HEADER_BYTES_MAX: u64 = 4 << 30;

impl Ingest<'_> {
    /// Reads an uncompressed tar stream to its end, takes in its contents and gives its layer.
    ///
    /// Of entries with equal paths the last one counts. Hard links become equal files. Absolute paths lose their
    /// leading slashes, as in other programs that unpack archives. `name` says in errors what is read.
    ///
    /// # Errors
    /// [`StoreError::Archive`] for paths with `..`, links to nothing, and broken limits; [`StoreError::TooLarge`] for
    /// contents past theirs, [`StoreError::NoRoom`] before the disk is full.
    pub fn layer_from_tar(
        &self,
        name: &str,
        reader: impl Read,
        limits: &ArchiveLimits,
    ) -> Result<Layer> {
        let entries = self.entries_from_tar(name, reader, limits, &Tree::merge([]))?;
        Layer::from_entries(entries)
            .map_err(|source| StoreError::Layer { name: name.to_owned(), source })
    }

    /// As [`Ingest::layer_from_tar`], for an archive that goes over the tree `below`, to whose files its hard links may
    /// lead. The entries are as they are written, in no order: names that mean something in layers of others are
    /// still in them.
    ///
    /// # Errors
    /// As there.
    pub fn entries_from_tar(
        &self,
        name: &str,
        reader: impl Read,
        limits: &ArchiveLimits,
        below: &Tree,
    ) -> Result<Vec<Entry>> {
        let bounded = reader.take(limits.content_bytes.saturating_add(HEADER_BYTES_MAX));
        let mut archive = TarReader::new(bounded);
        let failed = |source: io::Error| StoreError::source(name, source);
        let mut unpacking = Unpacking {
            ingest: self,
            name,
            limits,
            below,
            content_bytes: 0,
            described_bytes: 0,
            entries: HashMap::new(),
            accounts: BTreeMap::new(),
            access_lists: Vec::new(),
        };
        while let Some(entry) = archive.next_entry().map_err(failed)? {
            unpacking.entry(&entry, archive.content())?;
        }
        unpacking.resolve_access_lists()?;
        Ok(unpacking.entries.into_values().collect())
    }
}

/// The files that names in access lists are looked up in, users' before groups'.
const ACCOUNTS: [&str; 2] = ["etc/passwd", "etc/group"];
/// Of a directory service's whole membership; larger ones are stored, and no names found in them.
const ACCOUNTS_BYTES_MAX: u64 = 8 << 20;

struct Unpacking<'a> {
    ingest: &'a Ingest<'a>,
    name: &'a str,
    limits: &'a ArchiveLimits,
    below: &'a Tree,
    content_bytes: u64,
    /// Of names, targets and attributes, which are all in memory until the last entry came.
    described_bytes: u64,
    entries: HashMap<TreePath, Entry>,
    /// Contents of those of [`ACCOUNTS`] that came.
    accounts: BTreeMap<&'static str, Vec<u8>>,
    /// Access lists as text, with their file and the attribute they become once all accounts are known.
    access_lists: Vec<(TreePath, &'static [u8], Vec<u8>)>,
}

impl Unpacking<'_> {
    fn entry(&mut self, entry: &TarEntry, mut content: impl Read) -> Result<()> {
        let entry_type = entry.entry_type();
        let raw = entry.path.clone();
        let path =
            TreePath::from_loose(&raw).map_err(|error| self.refuse(&raw, &error.to_string()))?;
        if self.entries.len() >= self.limits.entries {
            return Err(self.refuse(&raw, "is one more than the archive may have"));
        }
        if entry_type == EntryType::Link {
            let linked = Entry { path, ..self.linked(entry, &raw)? };
            return self.keep(linked, &raw);
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
                    let limit_bytes = self.limits.content_bytes;
                    return Err(StoreError::TooLarge { name: self.name.to_owned(), limit_bytes });
                }
                if entry.size >= LARGE_BYTES {
                    self.ingest.expect_bytes(entry.size)?;
                }
                self.file(&path, entry.size, &mut content)?
            }
            _ => return Err(self.refuse(&raw, "is of a kind that no image can hold")),
        };
        self.note_access_lists(&path, &kind, entry);
        self.keep(Entry { path, kind, metadata }, &raw)
    }

    fn file(&mut self, path: &TreePath, size: u64, content: &mut impl Read) -> Result<EntryKind> {
        let accounts = ACCOUNTS.iter().find(|name| name.as_bytes() == path.as_bytes());
        let Some(name) = accounts.filter(|_| size <= ACCOUNTS_BYTES_MAX) else {
            return Ok(self.ingest.put(self.name, content)?.into());
        };
        let mut bytes = Vec::new();
        let read = content.read_to_end(&mut bytes);
        read.map_err(|source| StoreError::Source { name: self.name.to_owned(), source })?;
        let stored = self.ingest.put_bytes(&bytes)?;
        self.accounts.insert(name, bytes);
        Ok(stored.into())
    }

    fn note_access_lists(&mut self, path: &TreePath, kind: &EntryKind, entry: &TarEntry) {
        self.access_lists.retain(|(noted, ..)| noted != path);
        for (record, attribute) in acl::RECORDS {
            let applies = match kind {
                EntryKind::Symlink { .. } => false,
                kind => kind.is_directory() || attribute != acl::DEFAULT,
            };
            if let Some(text) = entry.records.get(record).filter(|_| applies) {
                self.access_lists.push((path.clone(), attribute, text.clone()));
            }
        }
    }

    /// Names in access lists mean the archive's own users and groups, which may come after the files.
    fn resolve_access_lists(&mut self) -> Result<()> {
        let access_lists = std::mem::take(&mut self.access_lists);
        if access_lists.is_empty() {
            return Ok(());
        }
        let [users, groups] = [self.accounts(ACCOUNTS[0])?, self.accounts(ACCOUNTS[1])?];
        for (path, attribute, text) in access_lists {
            let number_of = |tag, name: &str| match tag {
                acl::Tag::User => users::number(&users, name),
                _ => users::number(&groups, name),
            };
            let value = acl::value(&text, number_of).map_err(|reason| {
                let reason = format!("has an access list that {reason}");
                self.refuse(path.as_bytes(), &reason)
            })?;
            if let (Some(value), Some(entry)) = (value, self.entries.get_mut(&path)) {
                entry.metadata.xattrs.entry(attribute.into()).or_insert(value.into());
            }
        }
        Ok(())
    }

    fn accounts(&self, name: &str) -> Result<String> {
        let bytes = match self.accounts.get(name) {
            Some(bytes) => bytes.clone(),
            None => match self.ingest.store().read_tree_file(self.below, name) {
                Err(StoreError::NoPath { .. }) => Vec::new(),
                read => read?,
            },
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
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

    /// The file that a hard link names, which has to come before it or lie below.
    fn linked(&self, entry: &TarEntry, raw: &[u8]) -> Result<Entry> {
        let path = TreePath::from_loose(&entry.link).ok();
        let found = path.and_then(|path| self.entries.get(&path).or_else(|| self.below.get(&path)));
        match found {
            Some(found) if !found.kind.is_directory() => Ok(found.clone()),
            _ => Err(self.refuse(raw, "is a hard link to no file that came before")),
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
            mode: entry.mode().map_err(bad)? & MODE_MASK,
            uid: id(entry.uid().map_err(bad)?)?,
            gid: id(entry.gid().map_err(bad)?)?,
            mtime: clamp(entry.mtime().map_err(bad)?, self.limits.max_mtime),
            xattrs: attributes.collect(),
        })
    }

    fn refuse(&self, path: &[u8], reason: &str) -> StoreError {
        // A hostile name may be as long as a header.
        let shown = crate::path_rules::display(&path[..path.len().min(PATH_LEN_MAX)]);
        let reason = format!("entry `{shown}` {reason}");
        StoreError::Archive { name: self.name.to_owned(), reason }
    }
}

fn device_number(entry: &TarEntry) -> u64 {
    let part = |number: io::Result<Option<u32>>| number.ok().flatten().unwrap_or(0);
    rustix::fs::makedev(part(entry.header.device_major()), part(entry.header.device_minor()))
}
