//! Turns a package file into a layer: its files with `/usr` merged, and its part of dpkg's database.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use hornero_model::Digest;
use hornero_rebase::debian::{control, relation};
use hornero_store::{Entry, EntryKind, Layer, Metadata, StoreError, TreePath};
use md5::Md5;
use serde::{Deserialize, Serialize};
use sha2::Digest as _;

use super::{
    ar::{DebError, read_members},
    control::read_control_files,
    merged_usr,
};
use crate::limits;

/// Where dpkg keeps what it knows of packages.
pub const INFO_DIR: &str = "var/lib/dpkg/info";

/// What configuring needs to know of a package; kept beside its layer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PackageFacts {
    /// Its name.
    pub name: String,
    /// Its `control` file.
    pub control: String,
    /// Its configuration files with their MD5, as dpkg's status records them.
    pub conffiles: Vec<(String, String)>,
    /// Its `triggers` file.
    pub triggers: String,
    /// Which maintainer scripts it has: `preinst`, `postinst`, `config` and the like.
    pub scripts: Vec<String>,
    /// How its files in dpkg's database begin: its name, with its architecture where several can be installed.
    pub info_name: String,
}

impl PackageFacts {
    /// Whether it has a script.
    pub fn has(&self, script: &str) -> bool {
        self.scripts.iter().any(|name| name == script)
    }
}

/// Puts file contents where they are kept.
pub type PutContent<'p> = dyn FnMut(&mut dyn Read) -> Result<(Digest, u64), StoreError> + 'p;

/// Why a package could not be unpacked.
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    /// Something is wrong with the package.
    #[error(transparent)]
    Package(#[from] DebError),
    /// A file's contents could not be stored.
    #[error(transparent)]
    Store(StoreError),
}

/// Unpacks a verified package file, whose files may have `max_bytes` together.
pub fn unpack(
    deb: &[u8],
    max_bytes: u64,
    put: &mut PutContent<'_>,
) -> Result<(Layer, PackageFacts), UnpackError> {
    let members = read_members(deb)?;
    let control_files = read_control_files(&members)?;
    let mut facts = facts(&control_files)?;
    let mut tree = Tree::default();
    let mut list = String::new();
    let mut unpacked: u64 = 0;
    let mut archive = tar::Archive::new(members.data());
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        unpacked = unpacked.saturating_add(entry.size());
        if unpacked > max_bytes {
            let reason = format!(
                "it unpacks to more than {max_bytes} bytes; set `max_size` of the image if that is meant"
            );
            return Err(DebError(reason).into());
        }
        if tree.entries.len() >= limits::PACKAGE_ENTRIES {
            let limit = limits::PACKAGE_ENTRIES;
            return Err(DebError(format!("it has more than {limit} files")).into());
        }
        let path = entry.path_bytes().into_owned();
        let path = loose(&path)?;
        let text = std::str::from_utf8(path.as_bytes())
            .ok()
            .filter(|text| !text.contains('\n'))
            .ok_or_else(|| DebError(format!("`{path}` has a name that dpkg cannot record")))?;
        list.push('/');
        list.push_str(if text.is_empty() { "." } else { text });
        list.push('\n');
        let conffile = facts
            .conffiles
            .iter_mut()
            .find(|(name, _)| name.strip_prefix('/') == Some(text))
            .map(|(_, md5)| md5);
        tree.add(&path, &mut entry, conffile, put)?;
    }
    // One that is only announced, such as one that dpkg shall remove, is none to compare later.
    facts.conffiles.retain(|(_, md5)| !md5.is_empty());
    tree.add_info(&facts, &control_files, list, put)?;
    let layer = Layer::from_entries(tree.entries.into_values().collect())
        .map_err(|error| DebError(error.to_string()))?;
    Ok((layer, facts))
}

/// What the header of a file says of it.
fn metadata(path: &TreePath, header: &tar::Header) -> Result<Metadata, UnpackError> {
    let number = |value: io::Result<u64>| {
        let value = value.map_err(broken)?;
        u32::try_from(value).map_err(|_| DebError(format!("`{path}` has an owner out of range")))
    };
    Ok(Metadata {
        mode: header.mode().map_err(broken)? & 0o7777,
        uid: number(header.uid())?,
        gid: number(header.gid())?,
        mtime: header.mtime().map_err(broken)?,
        xattrs: BTreeMap::new(),
    })
}

#[derive(Default)]
struct Tree {
    entries: BTreeMap<TreePath, Entry>,
    newest: u64,
}

impl Tree {
    fn add(
        &mut self,
        path: &TreePath,
        entry: &mut tar::Entry<'_, impl Read>,
        conffile: Option<&mut String>,
        put: &mut PutContent<'_>,
    ) -> Result<(), UnpackError> {
        let metadata = metadata(path, entry.header())?;
        self.newest = self.newest.max(metadata.mtime);
        let target = merged(path.as_bytes())?;
        let kind = match entry.header().entry_type() {
            tar::EntryType::Regular | tar::EntryType::Continuous => {
                let (digest, size) = match conffile {
                    None => put(entry).map_err(stored)?,
                    Some(md5) => {
                        let contents = read_conffile(entry).map_err(broken)?;
                        *md5 = md5_hex(&contents);
                        put(&mut contents.as_slice()).map_err(stored)?
                    }
                };
                EntryKind::File { digest, size }
            }
            tar::EntryType::Directory => {
                let opaque = false;
                let kind = EntryKind::Directory { opaque };
                // `/bin` and `/usr/bin` are one directory: the first word on it counts, as for dpkg.
                self.entries.entry(target.clone()).or_insert(Entry {
                    path: target,
                    kind,
                    metadata,
                });
                return Ok(());
            }
            tar::EntryType::Symlink => {
                let link = entry.link_name_bytes().unwrap_or_default().into_owned();
                // A package of merged `/usr` itself brings the symlinks; they stay where they are.
                if merged_usr::LINKS.iter().any(|name| name.as_bytes() == path.as_bytes()) {
                    self.insert(path.clone(), EntryKind::Symlink { target: link.into() }, metadata);
                    return Ok(());
                }
                if merged_usr::leads_to_itself(target.as_bytes(), &link) {
                    return Ok(());
                }
                EntryKind::Symlink { target: link.into() }
            }
            tar::EntryType::Link => {
                let link = entry.link_name_bytes().unwrap_or_default().into_owned();
                let link = merged(loose(&link)?.as_bytes())?;
                let linked = self.entries.get(&link).cloned().ok_or_else(|| {
                    DebError(format!("`{path}` is a hard link to `{link}`, which is not there"))
                })?;
                self.insert(target, linked.kind, linked.metadata);
                return Ok(());
            }
            tar::EntryType::Fifo => EntryKind::Fifo,
            other => {
                let reason = format!("`{path}` is of kind {other:?}, which packages do not have");
                return Err(DebError(reason).into());
            }
        };
        self.insert(target, kind, metadata);
        Ok(())
    }

    fn insert(&mut self, path: TreePath, kind: EntryKind, metadata: Metadata) {
        self.entries.insert(path.clone(), Entry { path, kind, metadata });
    }

    fn add_info(
        &mut self,
        facts: &PackageFacts,
        files: &[(String, bool, Vec<u8>)],
        list: String,
        put: &mut PutContent<'_>,
    ) -> Result<(), UnpackError> {
        let list = ("list".to_owned(), false, list.into_bytes());
        for (name, executable, contents) in files.iter().chain([&list]) {
            if name == "control" {
                continue;
            }
            let path = loose(format!("{INFO_DIR}/{}.{name}", facts.info_name).as_bytes())?;
            let (digest, size) = put(&mut contents.as_slice()).map_err(stored)?;
            let mode = if *executable { 0o755 } else { 0o644 };
            self.insert(
                path,
                EntryKind::File { digest, size },
                Metadata::root_owned(mode, self.newest),
            );
        }
        Ok(())
    }
}

fn facts(files: &[(String, bool, Vec<u8>)]) -> Result<PackageFacts, DebError> {
    let text = |name: &str| {
        let found = files.iter().find(|(file, _, _)| file == name);
        found.map_or(Ok(String::new()), |(_, _, contents)| {
            String::from_utf8(contents.clone())
                .map_err(|_| DebError(format!("its `{name}` is not valid UTF-8")))
        })
    };
    let control_text = text("control")?;
    let paragraph = control::parse_paragraph(&control_text)
        .map_err(|error| DebError(format!("its control file: {error}")))?;
    let field = |name: &str| paragraph.get(name).unwrap_or_default().to_owned();
    let name = field("Package");
    if !relation::is_package_name(&name) {
        return Err(DebError("its control file has no valid `Package`".to_owned()));
    }
    let info_name = if field("Multi-Arch") == "same" {
        format!("{name}:{}", field("Architecture"))
    } else {
        name.clone()
    };
    let conffiles = text("conffiles")?
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with('/'))
        .map(|line| (line.to_owned(), String::new()))
        .collect();
    const SCRIPTS: [&str; 5] = ["config", "postinst", "postrm", "preinst", "prerm"];
    let scripts = files.iter().map(|(file, _, _)| file.clone());
    Ok(PackageFacts {
        name,
        triggers: text("triggers")?,
        control: control_text,
        conffiles,
        scripts: scripts.filter(|file| SCRIPTS.contains(&file.as_str())).collect(),
        info_name,
    })
}

/// The MD5 of a configuration file, in hex: dpkg compares it with later versions.
pub fn md5_hex(contents: &[u8]) -> String {
    Md5::digest(contents).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_conffile(entry: &mut impl Read) -> io::Result<Vec<u8>> {
    let limit = limits::CONTROL_BYTES;
    let mut contents = Vec::new();
    entry.take(limit + 1).read_to_end(&mut contents)?;
    if contents.len() as u64 > limit {
        let reason = format!("larger than the limit of {limit} bytes");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    Ok(contents)
}

fn loose(path: &[u8]) -> Result<TreePath, DebError> {
    TreePath::from_loose(path).map_err(|error| DebError(error.to_string()))
}

fn merged(path: &[u8]) -> Result<TreePath, DebError> {
    TreePath::new(merged_usr::canonical(path)).map_err(|error| DebError(error.to_string()))
}

fn broken(error: io::Error) -> DebError {
    DebError(format!("its data member is broken: {error}"))
}

/// A stream that cannot be read is the package's fault, everything else the store's.
fn stored(error: StoreError) -> UnpackError {
    let is_full = |source: &io::Error| {
        matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    };
    match error {
        StoreError::Source { source, .. } if !is_full(&source) => {
            UnpackError::Package(broken(source))
        }
        other => UnpackError::Store(other),
    }
}
