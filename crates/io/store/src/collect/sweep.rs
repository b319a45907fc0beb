//! Deleting what is not needed, in an order in which whatever is still seen is whole.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use hornero_model::Digest;
use rustix::fs::{AtFlags, unlinkat};

use super::{
    mark::Live,
    report::{CollectOptions, CollectProgress, CollectTeller, Deleted, Tally},
};
use crate::{
    Result, Store, StoreError, format::IMAGES, graph::ALL_SHARDS, metadata::MetadataFile, parallel,
    records::FileState, staging, sync,
};

/// One run over everything that may go.
pub(super) struct Sweep<'a> {
    store: &'a Store,
    live: &'a Live,
    options: &'a CollectOptions,
    progress: CollectTeller<'a>,
}

impl<'a> Sweep<'a> {
    pub(super) fn new(
        store: &'a Store,
        live: &'a Live,
        options: &'a CollectOptions,
        progress: CollectTeller<'a>,
    ) -> Self {
        Self { store, live, options, progress }
    }

    pub(super) fn run(&self, images: &[Digest]) -> Result<Deleted> {
        let mut gone: HashSet<Digest> =
            images.iter().filter(|image| !self.live.images.contains(image)).copied().collect();
        let mut deleted = Deleted::default();
        let paths = |digests: &HashSet<Digest>, path: &dyn Fn(&Digest) -> PathBuf| {
            let mut paths: Vec<PathBuf> = digests.iter().map(path).collect();
            // Whatever the order of a hash set: two runs do the same.
            paths.sort_unstable();
            paths
        };
        let manifests = paths(&gone, &|image| self.store.image_path(image));
        deleted.images = self.files("image", &manifests)?;
        self.settle(&deleted.images, &self.store.dir().join(IMAGES))?;

        let mut layers: HashSet<Digest> = self.store.layers()?.into_iter().collect();
        if self.live.damaged.is_empty() {
            let unneeded = |layer: &&Digest| !self.live.layers.contains(layer);
            let of_nothing: HashSet<Digest> = layers.iter().filter(unneeded).copied().collect();
            let of_nothing_paths = paths(&of_nothing, &|layer| self.store.layer_path(layer));
            deleted.layers = self.files("layer", &of_nothing_paths)?;
            self.settle(&deleted.layers, &self.store.layers_dir())?;
            deleted.objects = self.objects()?;
            layers.retain(|layer| !of_nothing.contains(layer));
            gone.extend(of_nothing);
        }
        if self.live.damaged.is_empty() {
            deleted.metadata = self.metadata()?;
            // Signatures and records of what is lost belong to it again once it is healed.
            deleted.attachments = self.attachments(&layers)?;
        }
        let stale =
            self.store.stale_cache(self.options.cache_bytes, self.options.cache_age, &gone)?;
        deleted.cache = self.files("cache", &stale)?;
        if !self.options.dry_run {
            staging::Staging::remove_dead(self.store.dir())?;
        }
        Ok(deleted)
    }

    /// Deletes files; those that are gone already don't count.
    fn files(&self, kind: &'static str, paths: &[PathBuf]) -> Result<Tally> {
        let mut tally = Tally::default();
        for path in paths {
            let bytes = match fs::symlink_metadata(path) {
                Ok(metadata) => metadata.len(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(StoreError::io("stat", path, error)),
            };
            if !self.options.dry_run {
                (self.progress)(CollectProgress::Deleting { kind, before: tally.files });
                fs::remove_file(path).map_err(|error| StoreError::io("remove", path, error))?;
            }
            tally.add(bytes);
        }
        Ok(tally)
    }

    /// Lets deletions reach the disk before anything goes that those files needed.
    fn settle(&self, deleted: &Tally, directory: &Path) -> Result<()> {
        match self.options.dry_run || deleted.files == 0 {
            true => Ok(()),
            false => sync::directory(directory),
        }
    }

    /// Deletes the objects without a mark, and what is recorded of them.
    fn objects(&self) -> Result<Tally> {
        let (files, bytes) = (AtomicU64::new(0), AtomicU64::new(0));
        parallel::each(&ALL_SHARDS, 1, |_, shard| {
            let unmarked = self.live.objects.shard(*shard);
            let unmarked = unmarked.filter(|(number, ..)| !self.live.marks.is_set(*number));
            let mut unmarked: Vec<(u64, Digest)> =
                unmarked.map(|(_, digest, inode)| (inode, digest)).collect();
            // In the order in which the inodes lie on disk.
            unmarked.sort_unstable();
            let directory = self.store.objects().shard(*shard)?;
            for (_, digest) in unmarked {
                let hex = digest.hex();
                let name = &hex[2..];
                let failed = |action, errno: rustix::io::Errno| {
                    StoreError::io(action, self.store.objects().path(&digest), errno)
                };
                let state =
                    FileState::at(directory, name).map_err(|errno| failed("stat", errno))?;
                let Some(state) = state else { continue };
                let before = files.fetch_add(1, Ordering::Relaxed);
                bytes.fetch_add(state.size, Ordering::Relaxed);
                if !self.options.dry_run {
                    (self.progress)(CollectProgress::Deleting { kind: "object", before });
                    unlinkat(directory, name, AtFlags::empty())
                        .map_err(|errno| failed("remove", errno))?;
                }
            }
            Ok::<(), StoreError>(())
        })?;
        let tally = Tally { files: files.into_inner(), bytes: bytes.into_inner() };
        let (marked, _) = self.live.sums();
        let more = self.store.records().count()? > marked;
        // Also after a run that was killed before it came here: then there are more records than files.
        if !self.options.dry_run && (tally.files > 0 || more) {
            self.forget_records()?;
        }
        Ok(tally)
    }

    /// Drops what is recorded of objects that are no more.
    fn forget_records(&self) -> Result<()> {
        let is_live = |digest: &Digest| {
            let object = self.live.objects.get(digest);
            object.is_some_and(|(number, _)| self.live.marks.is_set(number))
        };
        self.store.records().retain(is_live).map(drop)
    }

    /// Deletes metadata images and indexes of trees that no kept image has, but for those that somebody holds.
    fn metadata(&self) -> Result<Tally> {
        let mut tally = Tally::default();
        for MetadataFile { tree, path } in self.store.metadata_files()? {
            if !self.live.trees.contains(&tree) {
                let deleted = self.store.unless_held(&tree, || self.files("metadata", &[path]))?;
                tally = tally + deleted.unwrap_or_default();
            }
        }
        Ok(tally)
    }

    /// Deletes what is attached to anything but kept images and `layers`.
    fn attachments(&self, layers: &HashSet<Digest>) -> Result<Tally> {
        let mut tally = Tally::default();
        for subject in self.store.attached_subjects()? {
            if self.live.images.contains(&subject) || layers.contains(&subject) {
                continue;
            }
            let directory = self.store.attachments_dir(&subject);
            if self.store.is_attachments_place_taken(&subject) {
                tally = tally + self.files("attachment", &[directory])?;
                continue;
            }
            let kinds = self.store.attachments(&subject)?;
            let paths: Vec<PathBuf> = kinds.iter().map(|kind| directory.join(kind)).collect();
            tally = tally + self.files("attachment", &paths)?;
            if !self.options.dry_run {
                // Best effort: with something else in it, it stays.
                let _ = fs::remove_dir(&directory);
            }
        }
        Ok(tally)
    }
}
