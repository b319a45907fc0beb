//! The store itself: opening it, and putting and getting objects, layers and images.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use hornero_model::Digest;

use crate::{
    Damage, Entry, EntryKind, ImageManifest, LAYER_BYTES_MAX, Layer, MANIFEST_BYTES_MAX, Result,
    StoreError, Tree,
    derivations::DerivedTrees,
    files::{is_not_plain, is_plain_file, is_unreadable, list_digests, read_limited},
    format::{self, IMAGES, LAYERS, LOCKS, METADATA, VERIFIED},
    lock::{self, Mode, StoreLease},
    manifest,
    objects::Objects,
    records::Records,
    staging::Staging,
    turn,
};

/// Merged trees kept in memory; a home has a handful of images in use at a time.
const TREES_KEPT: usize = 4;
/// What [`Store::read_object`] loads at most: configuration files and the like, not disk images.
const READ_OBJECT_BYTES_MAX: u64 = 64 << 20;

/// An open store; cheap to share between threads behind an `Arc`.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    objects: Objects,
    staging: Staging,
    records: Mutex<Records>,
    trees: Mutex<VecDeque<(Digest, Arc<Tree>)>>,
    derived: DerivedTrees,
}

impl Store {
    /// Opens the store in `dir`, making it when `dir` is missing or empty, and removes what dead
    /// processes left unfinished.
    ///
    /// # Errors
    /// [`StoreError::Unsupported`] for a store of a newer version, [`StoreError::NotAStore`] for a
    /// directory with other files in it.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let dir = dir.into();
        format::open_or_create(&dir)?;
        Ok(Self {
            objects: Objects::new(&dir),
            staging: Staging::open(&dir)?,
            records: Mutex::new(Records::new(&dir, VERIFIED)),
            trees: Mutex::default(),
            derived: DerivedTrees::default(),
            dir,
        })
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The directory of the objects, for a data-only layer.
    pub fn objects_dir(&self) -> &Path {
        self.objects.dir()
    }

    /// Holds off whatever deletes; take it before asking whether something is stored, and keep it until
    /// a reference leads there. Many can be held at once, in one process or several.
    ///
    /// Lets a collector that waits go first, for up to a second and unless this process holds a lease already.
    pub fn lease(&self) -> Result<StoreLease> {
        lock::share(&self.lock_path(), &self.turn_path(), turn::YIELD)
    }

    /// As [`Store::lease`], for what reads for a while and nobody waits for who holds one as well: lets a collector
    /// go first for longer, up to 15 seconds.
    pub fn lease_to_read(&self) -> Result<StoreLease> {
        lock::share(&self.lock_path(), &self.turn_path(), turn::YIELD_TO_READ)
    }

    /// The store for oneself, for deleting; [`StoreError::Busy`] while anybody holds a lease.
    pub fn exclusive(&self) -> Result<StoreLease> {
        lock::attempt(&self.lock_path(), Mode::Exclusive)?
            .ok_or_else(|| StoreError::Busy(self.dir.clone()))
    }

    /// Whether the object is there; says nothing of its bytes.
    pub fn has_object(&self, digest: &Digest) -> Result<bool> {
        Ok(self.objects.state(digest)?.is_some())
    }

    /// Whether the layer is there.
    pub fn has_layer(&self, digest: &Digest) -> bool {
        is_plain_file(&self.layer_path(digest))
    }

    /// Whether the image is there.
    pub fn has_image(&self, digest: &Digest) -> bool {
        is_plain_file(&self.image_path(digest))
    }

    /// Reads a layer and checks it against its digest.
    pub fn layer(&self, digest: &Digest) -> Result<Layer> {
        Layer::decode(&self.layer_bytes(digest)?)
            .map_err(|source| StoreError::Layer { name: digest.to_string(), source })
    }

    /// Reads an image's manifest and checks it against its digest.
    pub fn image(&self, digest: &Digest) -> Result<ImageManifest> {
        let bytes =
            self.read_checked("image", digest, &self.image_path(digest), MANIFEST_BYTES_MAX)?;
        ImageManifest::decode(&bytes)
            .map_err(|reason| StoreError::BadManifest { digest: *digest, reason })
    }

    /// The digests of all images, sorted.
    pub fn images(&self) -> Result<Vec<Digest>> {
        list_digests(&self.dir.join(IMAGES))
    }

    /// The digests of all layers, sorted.
    pub fn layers(&self) -> Result<Vec<Digest>> {
        list_digests(&self.layers_dir())
    }

    /// The merged tree of an image.
    pub fn tree(&self, image: &Digest) -> Result<Arc<Tree>> {
        self.tree_of_layers(&self.image(image)?.layers)
    }

    /// The merged tree of layers, from the bottom up.
    pub fn tree_of_layers(&self, layers: &[Digest]) -> Result<Arc<Tree>> {
        let key = manifest::tree_key(layers);
        if let Some(tree) = self.kept_tree(&key) {
            return Ok(tree);
        }
        // A bake asks for one layer more each time.
        let below = layers
            .split_last()
            .and_then(|(top, below)| Some((top, self.kept_tree(&manifest::tree_key(below))?)));
        let tree = Arc::new(match below {
            Some((top, below)) => Tree::clone(&below).with(self.layer(top)?),
            None => {
                let layers: Vec<Layer> =
                    layers.iter().map(|layer| self.layer(layer)).collect::<Result<_>>()?;
                Tree::merge(layers)
            }
        });
        let mut trees = guard(&self.trees);
        if trees.len() == TREES_KEPT {
            trees.pop_front();
        }
        trees.push_back((key, tree.clone()));
        Ok(tree)
    }

    /// A tree that was merged lately.
    fn kept_tree(&self, key: &Digest) -> Option<Arc<Tree>> {
        let mut trees = guard(&self.trees);
        let at = trees.iter().position(|(kept, _)| kept == key)?;
        let found = trees.remove(at).expect("the position is in range");
        trees.push_back(found.clone());
        Some(found.1)
    }

    /// Opens a content for reading; its bytes are not checked (see [`Store::verify_for_start`]).
    pub fn open_object(&self, digest: &Digest) -> Result<File> {
        self.objects.open(digest)
    }

    /// Reads a content of up to 64 MiB and checks it against its digest.
    pub fn read_object(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.read_checked("object", digest, &self.objects.path(digest), READ_OBJECT_BYTES_MAX)
    }

    /// The entry that opening `path` inside the image would reach.
    pub fn lookup(&self, image: &Digest, path: &str) -> Result<Entry> {
        Ok(self.tree(image)?.lookup(path)?.clone())
    }

    /// The content of the file that opening `path` inside the image would reach.
    pub fn read_file(&self, image: &Digest, path: &str) -> Result<Vec<u8>> {
        self.read_tree_file(&*self.tree(image)?, path)
    }

    /// The content of a file of a merged tree.
    pub fn read_tree_file(&self, tree: &Tree, path: &str) -> Result<Vec<u8>> {
        match tree.lookup(path)?.kind {
            EntryKind::File { digest, .. } => self.read_object(&digest),
            _ => Err(StoreError::NoPath { path: path.into(), reason: "it is no regular file" }),
        }
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.objects
    }

    pub(crate) fn derived(&self) -> &DerivedTrees {
        &self.derived
    }

    pub(crate) fn staging(&self) -> &Staging {
        &self.staging
    }

    pub(crate) fn records(&self) -> MutexGuard<'_, Records> {
        guard(&self.records)
    }

    pub(crate) fn layers_dir(&self) -> PathBuf {
        self.dir.join(LAYERS)
    }

    pub(crate) fn layer_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(LAYERS).join(digest.hex())
    }

    pub(crate) fn image_path(&self, digest: &Digest) -> PathBuf {
        self.dir.join(IMAGES).join(digest.hex())
    }

    pub(crate) fn metadata_path(&self, tree_key: &Digest) -> PathBuf {
        self.dir.join(METADATA).join(format!("{}.erofs", tree_key.hex()))
    }

    /// Bytes of a layer, checked against its digest, but not read as entries.
    pub(crate) fn layer_bytes(&self, digest: &Digest) -> Result<Vec<u8>> {
        self.read_checked("layer", digest, &self.layer_path(digest), LAYER_BYTES_MAX)
    }

    /// Forgets the merged trees in memory.
    pub(crate) fn forget_trees(&self) {
        guard(&self.trees).clear();
    }

    pub(crate) fn lock_path(&self) -> PathBuf {
        self.dir.join(LOCKS).join("store")
    }

    pub(crate) fn turn_path(&self) -> PathBuf {
        self.dir.join(LOCKS).join("turn")
    }

    pub(crate) fn read_checked(
        &self,
        kind: &'static str,
        digest: &Digest,
        path: &Path,
        max_bytes: u64,
    ) -> Result<Vec<u8>> {
        let bytes = match read_limited(path, max_bytes) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => {
                return Err(StoreError::TooLarge {
                    name: digest.to_string(),
                    limit_bytes: max_bytes,
                });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(StoreError::Missing { kind, digest: *digest });
            }
            Err(error) if is_not_plain(&error) => {
                return Err(StoreError::Damaged {
                    kind,
                    digest: *digest,
                    damage: Damage::NotAFile,
                });
            }
            Err(error) if is_unreadable(&error) => {
                return Err(StoreError::Damaged {
                    kind,
                    digest: *digest,
                    damage: Damage::Unreadable,
                });
            }
            Err(error) => return Err(StoreError::io("read", path, error)),
        };
        if Digest::of(&bytes) != *digest {
            return Err(StoreError::Damaged { kind, digest: *digest, damage: Damage::Content });
        }
        Ok(bytes)
    }
}

/// What is guarded is whole between any two statements, so a panic elsewhere does not spoil it.
fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
