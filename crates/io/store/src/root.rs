//! The files that a root is composed of: metadata images that stay while somebody holds them, and those of build steps.
//!
//! A metadata image is needed while servers run from it or are about to. Whoever uses one shares a lock on it (flock(2)
//! on the file itself), from before it is mounted; whoever drops it takes that lock alone. So what is dropped is in
//! nobody's use, whichever homes share a store, and the next start makes it anew.

use std::{
    collections::{BTreeSet, HashSet},
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use hornero_model::Digest;

use crate::{
    Result, Store, StoreError,
    files::{is_not_plain, is_unreadable, open_plain},
    graph::is_damage,
    lock::{self, Mode, StoreLease},
    manifest,
    metadata::metadata_image,
};

/// Each further try needs somebody who dropped the metadata just after it was made.
const TRIES: usize = 100;

/// What an instance's root is composed of; there for as long as this value.
#[derive(Debug)]
#[must_use = "the metadata image may be dropped as soon as this is"]
pub struct RootFiles {
    /// The EROFS metadata image: the lower layer.
    pub metadata: PathBuf,
    /// The directory its redirects point into: the data-only layer.
    pub objects: PathBuf,
    _hold: Option<StoreLease>,
    _temporary: Option<Temporary>,
}

/// A file that goes with this value; after `kill -9`, with the staging directory it lies in.
#[derive(Debug)]
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // Best effort: the directory goes when the store is closed.
        let _ = fs::remove_file(&self.0);
    }
}

impl Store {
    /// The files an instance's root is composed of; makes the metadata image if it is missing or not what the layers
    /// say.
    pub fn root(&self, image: &Digest) -> Result<RootFiles> {
        self.root_of_layers(&self.image(image)?.layers)
    }

    /// As [`Store::root`] for layers that need not be those of an image.
    pub fn root_of_layers(&self, layers: &[Digest]) -> Result<RootFiles> {
        let metadata = self.metadata_path(&manifest::tree_key(layers));
        for _ in 0..TRIES {
            self.verify_metadata(layers, &mut 0)?;
            if let Some(hold) = hold(&metadata)? {
                let objects = self.objects_dir().to_owned();
                return Ok(RootFiles { metadata, objects, _hold: Some(hold), _temporary: None });
            }
        }
        let error = io::Error::other("it is dropped again and again");
        Err(StoreError::io("hold", metadata, error))
    }

    /// The files of a root that nothing is started from later, such as the state before a build step: its metadata
    /// image is seen by nobody else.
    pub fn temporary_root(&self, layers: &[Digest]) -> Result<RootFiles> {
        let image = metadata_image(&*self.tree_of_layers(layers)?)?;
        let metadata = self.staging().write(&image)?;
        let temporary = Temporary(metadata.clone());
        let objects = self.objects_dir().to_owned();
        Ok(RootFiles { metadata, objects, _hold: None, _temporary: Some(temporary) })
    }

    /// Drops the metadata of all trees but those of `images` and those that somebody holds; says how many of the
    /// latter stay. What is dropped is made anew when it is next started from.
    pub fn drop_metadata_but(&self, images: &BTreeSet<Digest>) -> Result<usize> {
        let mut listed: Vec<(Digest, PathBuf)> =
            self.metadata_files()?.into_iter().map(|file| (file.tree, file.path)).collect();
        if listed.is_empty() {
            return Ok(0);
        }
        let mut kept = HashSet::new();
        for image in images {
            match self.image(image) {
                Ok(manifest) => drop(kept.insert(manifest::tree_key(&manifest.layers))),
                // Nobody knows which tree is its.
                Err(error) if is_damage(&error) => return Ok(0),
                Err(error) => return Err(error),
            }
        }
        listed.retain(|(tree, _)| !kept.contains(tree));
        let mut held = 0;
        for files in listed.chunk_by(|one, two| one.0 == two.0) {
            let dropped = self.unless_held(&files[0].0, || {
                files.iter().try_for_each(|(_, path)| match fs::remove_file(path) {
                    // Another process does the same.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                    removed => removed.map_err(|error| StoreError::io("remove", path, error)),
                })
            })?;
            held += usize::from(dropped.is_none());
        }
        Ok(held)
    }

    /// Does `work` while nobody holds the metadata of a tree or can get to hold it; none where somebody holds it.
    pub(crate) fn unless_held<T>(
        &self,
        tree: &Digest,
        work: impl FnOnce() -> Result<T>,
    ) -> Result<Option<T>> {
        let path = self.metadata_path(tree);
        let _alone = match open_there(&path)? {
            Some(file) => match lock::attempt_on(file, &path, Mode::Exclusive)? {
                Some(alone) if alone.is_of(&path)? => Some(alone),
                _ => return Ok(None),
            },
            None => None,
        };
        work().map(Some)
    }
}

/// Shares a file's lock; none where no plain file, or another than the one that was locked, is there by then.
fn hold(path: &Path) -> Result<Option<StoreLease>> {
    let Some(file) = open_there(path)? else { return Ok(None) };
    let lease = lock::wait_for(file, path, Mode::Shared)?;
    Ok(lease.is_of(path)?.then_some(lease))
}

/// Opens a plain file; none where there is none that can be read.
fn open_there(path: &Path) -> Result<Option<File>> {
    match open_plain(path) {
        Ok(file) => Ok(Some(file)),
        Err(error)
            if error.kind() == io::ErrorKind::NotFound
                || is_not_plain(&error)
                || is_unreadable(&error) =>
        {
            Ok(None)
        }
        Err(error) => Err(StoreError::io("open", path, error)),
    }
}

impl StoreLease {
    /// Whether what was locked still has its name.
    fn is_of(&self, path: &Path) -> Result<bool> {
        let locked = self.file().metadata().map_err(|error| StoreError::io("stat", path, error))?;
        match fs::symlink_metadata(path) {
            Ok(found) => Ok((found.dev(), found.ino()) == (locked.dev(), locked.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(StoreError::io("stat", path, error)),
        }
    }
}
