//! What of a home and of its store a backup holds.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
};

use hornero_model::Digest;
use hornero_store::{EntryKind, Store, StoreError};

use crate::{CareError, error::failed};

/// What is under way, for whoever waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CareStep {
    /// The ledger is copied.
    Ledger,
    /// Files of the store are copied.
    Store {
        /// Files looked at.
        done: u64,
        /// All of them.
        of: u64,
    },
    /// Files are read and compared with the list.
    Verify {
        /// Files compared.
        done: u64,
        /// All of them.
        of: u64,
    },
}

/// Between two words on long work, in files.
pub(crate) const STEP_FILES: u64 = 500;
/// Directory levels below `names` and `refs`; deeper is not ours.
const DEPTH_MAX: usize = 10;

/// Files of a home beside its ledger, keys and store: what other machines can't know again. Not the records of
/// instances: what ran on another host is gone there as well.
const FILES: [&str; 5] =
    ["format", "network.json", "edge/routes.json", "restored.json", "settings.hcl"];
/// Directories of the same kind.
const DIRECTORIES: [&str; 2] = ["names", "secrets"];

/// The home's own files, as paths below it.
pub(crate) fn of_home(home: &Path) -> Result<Vec<PathBuf>, CareError> {
    let mut files: Vec<PathBuf> = FILES.iter().map(PathBuf::from).collect();
    files.retain(|file| home.join(file).is_file());
    for directory in DIRECTORIES {
        below(home, Path::new(directory), 0, &mut files)?;
    }
    Ok(files)
}

/// Plain files below a directory; what is being written begins with a dot and is left out.
fn below(
    top: &Path,
    directory: &Path,
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), CareError> {
    let path = top.join(directory);
    let entries = match fs::read_dir(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(failed("list", &path))?,
    };
    for entry in entries {
        let entry = entry.map_err(failed("list", &path))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let kind = entry.file_type().map_err(failed("look at", &path))?;
        let name = directory.join(entry.file_name());
        if kind.is_dir() && depth < DEPTH_MAX {
            below(top, &name, depth + 1, files)?;
        } else if kind.is_file() {
            files.push(name);
        }
    }
    Ok(())
}

/// Files of the store that some images consist of.
#[derive(Debug, Default)]
pub(crate) struct StoreFiles {
    /// Paths below the store, contents first: what leads to others comes after them.
    pub files: Vec<PathBuf>,
    /// References, with the images they led to: somebody else may have moved one before it is its turn to be copied.
    pub references: Vec<(PathBuf, Digest)>,
    /// Images and layers that can't be read, and why.
    pub damaged: Vec<String>,
}

/// What `images` consist of: contents, layers, manifests, what is known about them, and the names that lead to them.
pub(crate) fn of_images(store: &Store, images: &BTreeSet<Digest>) -> Result<StoreFiles, CareError> {
    let mut found = StoreFiles::default();
    let (mut layers, mut objects, mut whole) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for image in images {
        match store.image(image) {
            Ok(manifest) => {
                layers.extend(manifest.layers);
                whole.insert(*image);
            }
            Err(error) => found.damaged.push(told("image", image, &error)),
        }
    }
    for layer in &layers {
        match store.layer(layer) {
            Ok(read) => {
                objects.extend(read.entries().iter().filter_map(|entry| match entry.kind {
                    EntryKind::File { digest, .. } => Some(digest),
                    _ => None,
                }))
            }
            Err(error) => found.damaged.push(told("layer", layer, &error)),
        }
    }
    let mut files = Vec::with_capacity(objects.len() + layers.len() * 3);
    for object in &objects {
        let hex = object.hex();
        files.push(Path::new("objects").join(&hex[..2]).join(&hex[2..]));
    }
    files.extend(layers.iter().map(|layer| Path::new("layers").join(layer.hex())));
    for subject in layers.iter().chain(&whole) {
        below(store.dir(), &Path::new("attachments").join(subject.hex()), 0, &mut files)?;
    }
    files.extend(whole.iter().map(|image| Path::new("images").join(image.hex())));
    for (name, image) in store.ref_listing()?.refs {
        if whole.contains(&image) {
            found.references.push((Path::new("refs").join(name), image));
        }
    }
    found.files = files;
    Ok(found)
}

fn told(kind: &str, digest: &Digest, error: &StoreError) -> String {
    format!("{kind} {}: {error}", digest.short())
}
