//! The archive within a bundle: the same bytes for the same contents.

use std::{
    collections::BTreeMap,
    io::{self, Read as _},
};

use hornero_autopsy::{BundleContents, BundleManifest, KeptPart, SCHEMA};
use hornero_model::Digest;
use serde::{Serialize, de::DeserializeOwned};

/// Fast, and small enough: a bundle is mostly text.
const LEVEL: i32 = 3;
/// What an archive may be when it is unpacked: ours are a few mebibytes.
const UNPACKED_BYTES: u64 = 64 << 20;
/// Entries of one: the files of scratch are bounded by what is kept of them.
const ENTRIES_MAX: usize = 20_000;
/// Where files of scratch are.
const FILES: &str = "scratch/files";

/// Packs what there is, and notes in the manifest what that is.
///
/// # Errors
/// Where a name does not fit into an archive.
pub fn pack(contents: &mut BundleContents) -> io::Result<Vec<u8>> {
    let mut parts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut add = |name: &str, bytes: io::Result<Vec<u8>>| -> io::Result<()> {
        parts.insert(name.to_owned(), bytes?);
        Ok(())
    };
    add("compared.json", json(&contents.compared))?;
    add("edge.json", json(&contents.edge))?;
    add("group.json", json(&contents.group))?;
    add("health.json", json(&contents.health))?;
    add("kernel.json", json(&contents.kernel))?;
    add("log.json", json(&contents.log))?;
    add("processes.json", json(&contents.processes))?;
    add("scratch.json", json(&contents.scratch))?;
    add("sockets.json", json(&contents.sockets))?;
    for (path, bytes) in &contents.files {
        add(&format!("{FILES}{path}"), Ok(bytes.clone()))?;
    }
    let part = |(name, bytes): (&String, &Vec<u8>)| KeptPart {
        name: name.clone(),
        bytes: bytes.len() as u64,
        digest: Digest::of(bytes),
    };
    contents.manifest.parts = parts.iter().map(part).collect();
    let mut archive = tar::Builder::new(Vec::new());
    append(&mut archive, "manifest.json", &json(&contents.manifest)?)?;
    parts.iter().try_for_each(|(name, bytes)| append(&mut archive, name, bytes))?;
    zstd::encode_all(&archive.into_inner()?[..], LEVEL)
}

fn json(value: &impl Serialize) -> io::Result<Vec<u8>> {
    Ok(serde_json::to_vec_pretty(value)?)
}

fn append(archive: &mut tar::Builder<Vec<u8>>, name: &str, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_size(bytes.len() as u64);
    header.set_mode(0o600);
    header.set_mtime(0);
    archive.append_data(&mut header, name, bytes)
}

/// The files that were packed, by name.
fn unpacked(packed: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, String> {
    let stream = zstd::Decoder::new(packed).map_err(|error| error.to_string())?;
    let mut archive = tar::Archive::new(stream.take(UNPACKED_BYTES));
    let entries = archive.entries().map_err(|error| error.to_string())?;
    let mut parts: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut left = UNPACKED_BYTES;
    for (number, entry) in entries.enumerate() {
        let mut entry = entry.map_err(|error| {
            format!("its archive ends early, or is over {UNPACKED_BYTES} bytes: {error}")
        })?;
        if number == ENTRIES_MAX {
            return Err(format!("it has over {ENTRIES_MAX} entries"));
        }
        let name = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        // Of a sparse file the holes would be filled without anything being read.
        if entry.header().entry_type() != tar::EntryType::Regular {
            return Err(format!("`{name}` is no plain file"));
        }
        left = left
            .checked_sub(entry.size())
            .ok_or_else(|| format!("it is over {UNPACKED_BYTES} bytes when it is unpacked"))?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(|error| error.to_string())?;
        parts.insert(name, bytes);
    }
    Ok(parts)
}

/// What was packed; the error says what is not as it is in bundles.
pub(crate) fn unpack(packed: &[u8]) -> Result<BundleContents, Unreadable> {
    let parts = unpacked(packed)?;
    // Before anything else of it is understood: a later version may have other parts.
    let manifest: serde_json::Value = parsed(&parts, "manifest.json")?;
    let schema = manifest.get("schema").and_then(serde_json::Value::as_u64);
    if let Some(later) = schema.filter(|schema| *schema > u64::from(SCHEMA)) {
        return Err(Unreadable::Later(later));
    }
    let manifest: BundleManifest =
        serde_json::from_value(manifest).map_err(|error| format!("`manifest.json`: {error}"))?;
    let mut contents = BundleContents {
        processes: parsed(&parts, "processes.json")?,
        sockets: parsed(&parts, "sockets.json")?,
        group: parsed(&parts, "group.json")?,
        scratch: parsed(&parts, "scratch.json")?,
        kernel: parsed(&parts, "kernel.json")?,
        log: parsed(&parts, "log.json")?,
        health: parsed(&parts, "health.json")?,
        edge: parsed(&parts, "edge.json")?,
        compared: parsed(&parts, "compared.json")?,
        ..BundleContents::new(manifest)
    };
    let files = parts
        .into_iter()
        .filter_map(|(name, bytes)| Some((name.strip_prefix(FILES)?.to_owned(), bytes)));
    contents.files = files.collect();
    Ok(contents)
}

/// Why [`unpack`] gives nothing.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// It is of this later schema.
    Later(u64),
    /// It is none.
    Broken(String),
}

impl From<String> for Unreadable {
    fn from(reason: String) -> Self {
        Self::Broken(reason)
    }
}

fn parsed<T: DeserializeOwned>(parts: &BTreeMap<String, Vec<u8>>, name: &str) -> Result<T, String> {
    let bytes = parts.get(name).ok_or_else(|| format!("it has no `{name}`"))?;
    serde_json::from_slice(bytes).map_err(|error| format!("`{name}`: {error}"))
}
