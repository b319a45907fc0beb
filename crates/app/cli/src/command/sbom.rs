//! `image sbom`: from what is recorded of an image to its bill of materials.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    io::{self, Read as _},
    num::NonZero,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use hornero_bake::{BakeRecord, LayerSource, Owner, Ownership};
use hornero_model::Digest;
use hornero_sbom::{
    Bill, BillError, Component, Distribution, File, FileKind, Package, Sha1, Source, SourceKind,
};
use hornero_store::{EntryKind, Store, StoreError, Tree};
use ring::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY};

use crate::{
    arguments::BillFormat,
    command::{named, stores},
    failure::{Failure, exit},
    output::print_text,
};

/// An `os-release` has a dozen lines.
const OS_RELEASE_BYTES_MAX: usize = 64 << 10;
/// What a thread reads at a time.
const READ_BYTES: usize = 128 << 10;

/// `hornero image sbom`.
pub fn run(home: &Path, image: &str, format: BillFormat) -> Result<(), Failure> {
    let store = stores::known_store(home)?;
    let digest = named::image(home, &store, image)?;
    let bill = bill(&store, image, &digest)?;
    let text = match format {
        BillFormat::Spdx => hornero_sbom::spdx(&bill),
        BillFormat::Cyclonedx => hornero_sbom::cyclonedx(&bill),
    };
    print_text(&format!("{}\n", text?))
}

impl From<BillError> for Failure {
    fn from(error: BillError) -> Self {
        Self::of(&error).hint(
            "an image that an older version baked knows no sources; `hornero build` bakes it anew",
        )
    }
}

/// The distribution that an image is made from, as its `os-release` says; None where it has none.
pub fn distribution(store: &Store, image: &Digest) -> Result<Option<Distribution>, Failure> {
    let bytes = match store.read_file(image, "/etc/os-release") {
        Ok(bytes) if bytes.len() <= OS_RELEASE_BYTES_MAX => bytes,
        Ok(_) | Err(StoreError::NoPath { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let text = String::from_utf8_lossy(&bytes);
    let value = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='))?;
        Some(line.trim().trim_matches(['"', '\'']).to_owned())
    };
    let version = value("VERSION_ID").unwrap_or_default();
    Ok(value("ID").map(|id| Distribution { id, version }))
}

/// The bill of materials of an image, known as `name` where nothing is recorded of it.
fn bill(store: &Store, name: &str, image: &Digest) -> Result<Bill, Failure> {
    let record = BakeRecord::of(store, image)?;
    let ownership = hornero_bake::ownership(store, image)?;
    let sums = sums(store, ownership.tree())?;
    let mut files = Vec::new();
    for (entry, owner) in ownership.files() {
        let kind = match &entry.kind {
            EntryKind::File { digest, size } => {
                let sha1 = sums.get(digest).copied().ok_or_else(|| {
                    Failure::new(exit::FAILED, format!("object `{digest}` was not read"))
                })?;
                FileKind::Regular { digest: *digest, sha1, size_bytes: *size }
            }
            EntryKind::Symlink { target } => FileKind::Symlink(target.to_vec()),
            EntryKind::Directory { .. } | EntryKind::Whiteout => continue,
            EntryKind::Fifo | EntryKind::CharDevice { .. } | EntryKind::BlockDevice { .. } => {
                FileKind::Special
            }
        };
        files.push(File { path: entry.path.as_bytes().to_vec(), kind, owner });
    }
    let newest = ownership.tree().entries().iter().map(|entry| entry.metadata.mtime).max();
    let newest = newest.unwrap_or_default();
    let (components, files) = used(&ownership, files);
    Ok(Bill {
        name: record.as_ref().map_or_else(|| name.to_owned(), |record| record.name.to_string()),
        image: *image,
        epoch_seconds: record.as_ref().map_or(newest, |record| record.epoch),
        version: hornero_model::program_version().to_owned(),
        distribution: distribution(store, image)?,
        components,
        files,
    })
}

/// What the image is made of: all that owns something or was declared, and not a package that another version replaced.
fn used(ownership: &Ownership, mut files: Vec<File>) -> (Vec<Component>, Vec<File>) {
    let mut kept: BTreeSet<usize> = files.iter().filter_map(|file| file.owner).collect();
    kept.extend(ownership.packages().into_iter().map(|(place, _)| place));
    let declared = |owner: &Owner| !matches!(owner.source, LayerSource::Package(_));
    let owners = ownership.owners().iter().enumerate();
    let mut places = BTreeMap::new();
    let mut components = Vec::new();
    for (place, owner) in owners.filter(|(place, owner)| kept.contains(place) || declared(owner)) {
        places.insert(place, components.len());
        components.push(component(owner));
    }
    for file in &mut files {
        file.owner = file.owner.and_then(|place| places.get(&place).copied());
    }
    (components, files)
}

fn component(owner: &Owner) -> Component {
    let (title, kind) = match &owner.source {
        LayerSource::Package(package) => {
            return Component::Package(Package {
                name: package.name.clone(),
                version: package.version.clone(),
                architecture: package.architecture.clone(),
                source: package.source.clone(),
                source_version: package.source_version.clone(),
                digest: package.sha256,
            });
        }
        LayerSource::Database => {
            (format!("database of {} packages", owner.packages.len()), SourceKind::Database)
        }
        LayerSource::Configured => {
            let title = format!("configuration of {} packages", owner.packages.len());
            (title, SourceKind::Configuration)
        }
        LayerSource::Copy { from } => (format!("copy {from}"), SourceKind::Copy),
        LayerSource::Run { command } => (format!("run {command}"), SourceKind::Run),
        LayerSource::Provision { title } => (title.clone(), SourceKind::Provision),
        LayerSource::Imported { from } => (format!("import {from}"), SourceKind::Import),
    };
    Component::Source(Source { title, kind, digest: owner.layer })
}

/// The SHA-1 of every content of a tree; reads them all, on every core.
fn sums(store: &Store, tree: &Tree) -> Result<HashMap<Digest, Sha1>, Failure> {
    let mut digests: Vec<Digest> = tree
        .entries()
        .iter()
        .filter_map(|entry| match entry.kind {
            EntryKind::File { digest, .. } => Some(digest),
            _ => None,
        })
        .collect();
    digests.sort_unstable();
    digests.dedup();
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let work = || -> Result<Vec<(Digest, Sha1)>, Failure> {
        let mut buffer = vec![0; READ_BYTES];
        let mut found = Vec::new();
        while let Some(digest) = digests.get(next.fetch_add(1, Ordering::Relaxed)) {
            found.push((*digest, sum(store, digest, &mut buffer)?));
        }
        Ok(found)
    };
    let parts: Vec<_> = thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        running.into_iter().map(|thread| thread.join().expect("no thread panics")).collect()
    });
    let mut sums = HashMap::with_capacity(digests.len());
    for part in parts {
        sums.extend(part?);
    }
    Ok(sums)
}

fn sum(store: &Store, digest: &Digest, buffer: &mut [u8]) -> Result<Sha1, Failure> {
    let mut file = store.open_object(digest)?;
    let mut context = Context::new(&SHA1_FOR_LEGACY_USE_ONLY);
    loop {
        match file.read(buffer) {
            Ok(0) => break,
            Ok(count) => context.update(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(Failure::new(
                    exit::FAILED,
                    format!("can't read object `{digest}`: {error}"),
                ));
            }
        }
    }
    // Invariant: a SHA-1 has 20 bytes.
    Ok(context.finish().as_ref().try_into().expect("a SHA-1 has 20 bytes"))
}
