//! Bringing contents and layers in: many at once, synced together, seen only when all of them are on disk.

use std::{
    collections::{BTreeSet, HashMap},
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use hornero_model::Digest;

use crate::{
    ImageManifest, LAYER_BYTES_MAX, Layer, MANIFEST_BYTES_MAX, Result, Store, StoreError, Stored,
    files::read_limited,
    lock::StoreLease,
    objects::hash_reader,
    parallel,
    records::FileState,
    room::{STRIDE_BYTES, Watched, check_room},
    staging, sync,
};

/// Contents up to this size are hashed before anything is written, so that known ones cost no write.
const SMALL_LEN: usize = 1 << 20;
/// From this many new files on, one syncfs(2) is cheaper than a flush for each.
const SYNC_EACH_MAX: usize = 24;

/// What an ingest did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestReport {
    /// Contents that came in, equal ones counted each time.
    pub contents: u64,
    /// Contents that were new and written.
    pub written: u64,
    /// Bytes of those.
    pub written_bytes: u64,
}

impl Store {
    /// Begins a batch of contents and layers.
    pub fn ingest(&self) -> Result<Ingest<'_>> {
        Ingest::new(self)
    }

    /// Stores one content durably; for many use [`Store::ingest`], which syncs once.
    pub fn put_object(&self, reader: impl Read) -> Result<Stored> {
        let ingest = self.ingest()?;
        let stored = ingest.put("object", reader)?;
        let _: IngestReport = ingest.finish()?;
        Ok(stored)
    }

    /// Stores one layer durably; all its contents have to be stored.
    pub fn put_layer(&self, layer: &Layer) -> Result<Digest> {
        let ingest = self.ingest()?;
        let digest = ingest.put_layer(layer)?;
        let _: IngestReport = ingest.finish()?;
        Ok(digest)
    }

    /// Stores an image durably; all its layers have to be stored.
    pub fn put_image(&self, image: &ImageManifest) -> Result<Digest> {
        let bytes = image.encode();
        let digest = Digest::of(&bytes);
        // Whatever could not be read back is refused now, not at the next start.
        ImageManifest::decode(&bytes)
            .map_err(|reason| StoreError::BadManifest { digest, reason })?;
        let _lease = self.lease()?;
        for layer in &image.layers {
            if !self.has_layer(layer) {
                return Err(StoreError::Missing { kind: "layer", digest: *layer });
            }
        }
        let path = self.image_path(&digest);
        // Compared, not only looked for: putting an image again mends a damaged manifest.
        if !matches!(read_limited(&path, MANIFEST_BYTES_MAX), Ok(Some(stored)) if stored == bytes) {
            self.staging().replace(&path, &bytes, true)?;
        }
        Ok(digest)
    }
}

/// A batch of contents and layers on their way in; usable from many threads at once.
///
/// Nothing of it is seen before [`Ingest::finish`]; dropped without that it leaves nothing.
#[derive(Debug)]
pub struct Ingest<'store> {
    store: &'store Store,
    _lease: StoreLease,
    /// Contents that came in so far and are stored, staged or being staged by some thread.
    claims: Mutex<HashMap<Digest, u64>>,
    staged: Mutex<Vec<Staged>>,
    layers: Mutex<Vec<(Digest, PathBuf)>>,
    contents: AtomicU64,
    written_bytes: AtomicU64,
    /// What was written since the disk's room was looked at.
    unlooked_bytes: AtomicU64,
    /// A claim could not be kept, so another thread may have relied on what does not exist.
    failed: AtomicBool,
}

#[derive(Debug)]
struct Staged {
    digest: Digest,
    path: PathBuf,
    /// The store has the object, but damaged.
    repair: bool,
}

/// What the store has under a digest.
enum Presence {
    Whole,
    Damaged,
    Absent,
}

impl<'store> Ingest<'store> {
    pub(crate) fn new(store: &'store Store) -> Result<Self> {
        let lease = store.lease()?;
        store.records().refresh()?;
        Ok(Self {
            store,
            _lease: lease,
            claims: Mutex::default(),
            staged: Mutex::default(),
            layers: Mutex::default(),
            contents: AtomicU64::new(0),
            written_bytes: AtomicU64::new(0),
            unlooked_bytes: AtomicU64::new(0),
            failed: AtomicBool::new(false),
        })
    }

    /// The store it brings into.
    pub fn store(&self) -> &'store Store {
        self.store
    }

    /// Takes all that `reader` gives; `name` says in errors what is read.
    pub fn put(&self, name: &str, reader: impl Read) -> Result<Stored> {
        self.put_checked(name, reader, None)
    }

    /// As [`Ingest::put`]; whatever is not as expected is refused before it is taken.
    pub(crate) fn put_checked(
        &self,
        name: &str,
        mut reader: impl Read,
        expected: Option<Stored>,
    ) -> Result<Stored> {
        let failed = |source| StoreError::source(name, source);
        let check = |found: Stored| match expected.filter(|expected| *expected != found) {
            Some(expected) => Err(other_content(name, expected, found)),
            None => Ok(()),
        };
        let mut head = Vec::new();
        reader.by_ref().take(SMALL_LEN as u64 + 1).read_to_end(&mut head).map_err(failed)?;
        if head.len() <= SMALL_LEN {
            let found = Stored { digest: Digest::of(&head), size: head.len() as u64 };
            check(found)?;
            return self.put_known(found, &head);
        }
        self.look_at_room(SMALL_LEN as u64)?;
        let (mut file, path) = self.store.staging().create()?;
        let content = Watched::new(head.as_slice().chain(reader), &path);
        let staged = hash_reader(content, Some(&mut file));
        let (digest, size) = match staged {
            Ok(hashed) => hashed,
            Err(source) => {
                remove(&path);
                return Err(failed(source));
            }
        };
        let stored = Stored { digest, size };
        match check(stored).and_then(|()| self.claim(stored)) {
            Ok(Some(repair)) => {
                self.stage(stored, path, repair);
                Ok(stored)
            }
            Ok(None) => {
                remove(&path);
                Ok(stored)
            }
            Err(error) => {
                remove(&path);
                Err(error)
            }
        }
    }

    /// Takes these bytes.
    pub fn put_bytes(&self, bytes: &[u8]) -> Result<Stored> {
        self.put_known(Stored { digest: Digest::of(bytes), size: bytes.len() as u64 }, bytes)
    }

    /// Takes bytes whose digest and size these are.
    fn put_known(&self, stored: Stored, bytes: &[u8]) -> Result<Stored> {
        let Some(repair) = self.claim(stored)? else { return Ok(stored) };
        let written =
            self.look_at_room(stored.size).and_then(|()| self.store.staging().write(bytes));
        match written {
            Ok(path) => {
                self.stage(stored, path, repair);
                Ok(stored)
            }
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Fails when `bytes` more would leave the disk without room.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] with what is needed and what is free.
    pub fn expect_bytes(&self, bytes: u64) -> Result<()> {
        check_room(self.store.objects().dir(), bytes)
    }

    /// Counts what is about to be written, and looks at the disk once in a while.
    fn look_at_room(&self, bytes: u64) -> Result<()> {
        let before = self.unlooked_bytes.fetch_add(bytes, Ordering::Relaxed);
        if before + bytes < STRIDE_BYTES {
            return Ok(());
        }
        self.unlooked_bytes.store(0, Ordering::Relaxed);
        self.expect_bytes(STRIDE_BYTES)
    }

    /// Takes the content of an open file; large ones are hashed before they are copied.
    pub(crate) fn put_file(&self, path: &Path, mut file: File) -> Result<Stored> {
        let failed = |error| StoreError::io("read", path, error);
        let size = file.metadata().map_err(failed)?.len();
        if size <= SMALL_LEN as u64 {
            let mut bytes = Vec::with_capacity(size as usize + 1);
            file.read_to_end(&mut bytes).map_err(failed)?;
            return self.put_bytes(&bytes);
        }
        self.put(&path.to_string_lossy(), file)
    }

    /// Checks that every content of the layer is stored or came in with this batch, and takes the layer.
    pub fn put_layer(&self, layer: &Layer) -> Result<Digest> {
        let bytes = layer.encode();
        let digest = Digest::of(&bytes);
        for (content, size) in layer.contents() {
            let claimed = locked(&self.claims).get(&content).copied();
            let found = match claimed {
                Some(size) => Some(size),
                None => self.store.objects().state(&content)?.map(|state| state.size),
            };
            if found != Some(size) {
                let damage =
                    if found.is_none() { crate::Damage::Missing } else { crate::Damage::Size };
                return Err(StoreError::Damaged { kind: "object", digest: content, damage });
            }
        }
        // Compared, not only looked for: putting a layer again mends a damaged one.
        let path = self.store.layer_path(&digest);
        if !matches!(read_limited(&path, LAYER_BYTES_MAX), Ok(Some(stored)) if stored == bytes) {
            let path = self.store.staging().write(&bytes)?;
            locked(&self.layers).push((digest, path));
        }
        Ok(digest)
    }

    /// Syncs everything to disk, then makes it seen: contents first, then layers.
    pub fn finish(self) -> Result<IngestReport> {
        if self.failed.load(Ordering::Relaxed) {
            let source = io::Error::other("a content of this batch could not be written");
            return Err(StoreError::Source { name: "batch".into(), source });
        }
        let staged = std::mem::take(&mut *locked(&self.staged));
        let layers = std::mem::take(&mut *locked(&self.layers));
        let published = self.publish(&staged, &layers);
        if published.is_err() {
            // Best effort: what was renamed is whole and stays, the rest goes.
            staged
                .iter()
                .map(|staged| &staged.path)
                .chain(layers.iter().map(|(_, path)| path))
                .for_each(|path| remove(path));
        }
        published?;
        Ok(IngestReport {
            contents: self.contents.load(Ordering::Relaxed),
            written: staged.len() as u64,
            written_bytes: self.written_bytes.load(Ordering::Relaxed),
        })
    }

    fn publish(&self, staged: &[Staged], layers: &[(Digest, PathBuf)]) -> Result<()> {
        let objects = self.store.objects();
        let many = staged.len() + layers.len() > SYNC_EACH_MAX;
        if many {
            sync::filesystem(objects.dir())?;
        } else {
            staged.iter().try_for_each(|staged| sync::file(&staged.path))?;
            layers.iter().try_for_each(|(_, path)| sync::file(path))?;
        }
        parallel::each(staged, 64, |_, staged| {
            let target = objects.path(&staged.digest);
            if staged.repair {
                return self.store.staging().publish_over(&staged.path, &target);
            }
            staging::publish_new(&staged.path, &target)
        })?;
        if many {
            sync::filesystem(objects.dir())?;
        } else {
            let shards: BTreeSet<u8> =
                staged.iter().map(|staged| staged.digest.as_bytes()[0]).collect();
            shards.into_iter().try_for_each(|shard| sync::directory(&objects.shard_dir(shard)))?;
        }
        for (digest, path) in layers {
            self.store.staging().publish_over(path, &self.store.layer_path(digest))?;
        }
        if !layers.is_empty() {
            sync::directory(&self.store.layers_dir())?;
        }
        self.record(staged)
    }

    /// Remembers how the new objects look, so that the first start need not hash them again.
    fn record(&self, staged: &[Staged]) -> Result<()> {
        let states: Mutex<Vec<(Digest, FileState)>> = Mutex::new(Vec::with_capacity(staged.len()));
        parallel::each(staged, 1024, |_, staged| {
            if let Some(state) = self.store.objects().state(&staged.digest)? {
                locked(&states).push((staged.digest, state));
            }
            Ok::<(), StoreError>(())
        })?;
        let states = states.into_inner().unwrap_or_else(PoisonError::into_inner);
        self.store.records().append(&states)
    }

    /// Whether the caller has to stage this content; if so, whether it repairs what is there.
    fn claim(&self, stored: Stored) -> Result<Option<bool>> {
        self.contents.fetch_add(1, Ordering::Relaxed);
        if locked(&self.claims).insert(stored.digest, stored.size).is_some() {
            return Ok(None);
        }
        let presence = self.presence(stored);
        match presence {
            Ok(Presence::Whole) => Ok(None),
            Ok(Presence::Damaged) => Ok(Some(true)),
            Ok(Presence::Absent) => Ok(Some(false)),
            Err(error) => {
                self.failed.store(true, Ordering::Relaxed);
                Err(error)
            }
        }
    }

    fn presence(&self, stored: Stored) -> Result<Presence> {
        match self.look(stored) {
            // Such as one that the disk can't read: good bytes in its place mend it.
            Err(StoreError::Damaged { .. }) => Ok(Presence::Damaged),
            Err(StoreError::Missing { .. }) => Ok(Presence::Absent),
            looked => looked,
        }
    }

    fn look(&self, stored: Stored) -> Result<Presence> {
        let objects = self.store.objects();
        let Some(state) = objects.state(&stored.digest)? else { return Ok(Presence::Absent) };
        if !state.plain || state.size != stored.size {
            return Ok(Presence::Damaged);
        }
        if self.store.records().get(&stored.digest) == Some(&state) {
            return Ok(Presence::Whole);
        }
        match objects.hash(&stored.digest, || ())?.1 == stored.digest {
            true => Ok(Presence::Whole),
            false => Ok(Presence::Damaged),
        }
    }

    fn stage(&self, stored: Stored, path: PathBuf, repair: bool) {
        self.written_bytes.fetch_add(stored.size, Ordering::Relaxed);
        locked(&self.staged).push(Staged { digest: stored.digest, path, repair });
    }
}

impl Drop for Ingest<'_> {
    fn drop(&mut self) {
        locked(&self.staged).iter().for_each(|staged| remove(&staged.path));
        locked(&self.layers).iter().for_each(|(_, path)| remove(path));
    }
}

/// Best effort: the staging directory as a whole goes when the store is closed or next opened.
/// What `found` should have been.
fn other_content(name: &str, expected: Stored, found: Stored) -> StoreError {
    if found.size > expected.size {
        return StoreError::TooLarge { name: name.to_owned(), limit_bytes: expected.size };
    }
    StoreError::OtherContent {
        name: name.to_owned(),
        expected: expected.digest,
        found: found.digest,
    }
}

fn remove(path: &Path) {
    let _ = fs::remove_file(path);
}

/// The maps are whole between any two statements, so a panic elsewhere does not spoil them.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
