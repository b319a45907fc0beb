//! OCI image layouts: directories with `oci-layout`, `index.json` and `blobs/` (image-layout.md of the OCI image
//! specification).

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs::{self, File},
    io::{self, Write},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use hornero_model::Digest;
use hornero_store::Store;
use serde_json::{Value, json};
use tempfile::{NamedTempFile, TempDir};

use crate::{
    Compression, OciError, Result, TransferProgress,
    digest::Hashing,
    document::{self, Descriptor, INDEX, Index, MANIFEST, Platform, REFERENCE_NAME},
    pack, parallel,
    source::{self, Source},
};

pub(crate) const LAYOUT_FILE: &str = "oci-layout";
const LAYOUT: &[u8] = b"{\"imageLayoutVersion\":\"1.0.0\"}";
const INDEX_FILE: &str = "index.json";
/// Blobs in the making, blobs that are copied, and documents that take another's place.
const MAKING: &str = ".making-";
const COPYING: &str = ".blob-";
const REPLACING: &str = ".new-";
/// Blobs come into a workshop one after the other: one where nothing changed for a day was left.
const WORKSHOP_AGE: Duration = Duration::from_secs(24 * 3600);
/// The specification's words for names: letters, digits and these between them.
const NAME_SEPARATORS: &str = "-._:@+/";
/// Names are references at most.
const NAME_LEN_MAX: usize = 1024;

/// How an image is written.
#[derive(Debug, Clone, Default)]
pub struct PackOptions {
    /// How layers are compressed.
    pub compression: Compression,
    /// A directory where compressed layers are kept for the next time; made when it is missing. Whatever is in it
    /// may be removed at any time while no export or push runs.
    pub cache: Option<PathBuf>,
}

/// What an export wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayoutWritten {
    /// Digest of the OCI manifest.
    pub manifest: Digest,
    /// Bytes of all blobs together.
    pub bytes: u64,
    /// Bytes that the layout did not have, or had damaged.
    pub written_bytes: u64,
}

/// Writes an image into an OCI layout under `name`, making the directory when it is missing; other images of the
/// layout stay, one of the same name is replaced.
///
/// # Errors
/// [`OciError::Refused`] for a directory with other files in it, [`OciError::NotCarried`] for an image that a tar
/// of layers cannot carry.
pub fn export_layout(
    store: &Store,
    image: &Digest,
    dir: &Path,
    name: &str,
    options: &PackOptions,
    progress: &dyn TransferProgress,
) -> Result<LayoutWritten> {
    check_name(name)?;
    check_directory(dir)?;
    // Without a cache they are made beside what they become part of, and moved there.
    let workshop = match &options.cache {
        Some(_) => None,
        None => Some(beside(dir)?),
    };
    let cache = match (&options.cache, &workshop) {
        (Some(cache), _) => Place::Kept(cache),
        (None, Some(made)) => Place::Moved(made.path()),
        (None, None) => unreachable!("one of both is there"),
    };
    let packed = pack::pack(store, image, options.compression, Some(cache.path()), progress)?;
    let addition = Addition {
        blobs: packed.blobs.iter().map(|blob| (blob.digest, blob.size)).collect(),
        config: &packed.config,
        manifest: &packed.manifest,
        platform: Platform::here(),
    };
    add(dir, name, &addition, |blob, target| cache.give(&packed.path(blob), target))
}

/// What a layout gets.
pub(crate) struct Addition<'a> {
    /// Digests and sizes.
    pub(crate) blobs: Vec<(Digest, u64)>,
    pub(crate) config: &'a [u8],
    pub(crate) manifest: &'a [u8],
    /// Whom the index gives it to.
    pub(crate) platform: Platform,
}

/// Puts an image under `name`; `give` brings a blob to its place.
pub(crate) fn add(
    dir: &Path,
    name: &str,
    addition: &Addition<'_>,
    give: impl Fn(&Digest, &Path) -> Result<()> + Sync,
) -> Result<LayoutWritten> {
    // Only now: an export that fails before leaves nothing.
    let locked = Locked::new(dir)?;
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).map_err(|error| OciError::io("create", &blobs, error))?;
    locked.tidy(&blobs)?;
    let written = AtomicU64::new(0);
    parallel::each(parallel::processors(), &addition.blobs, |_, (digest, size)| {
        let target = blobs.join(digest.hex());
        if is_whole(&target, digest, *size) {
            return Ok(());
        }
        written.fetch_add(*size, Ordering::Relaxed);
        give(digest, &target)
    })?;
    for document in [addition.config, addition.manifest] {
        let target = blobs.join(Digest::of(document).hex());
        if !is_whole(&target, &Digest::of(document), document.len() as u64) {
            written.fetch_add(document.len() as u64, Ordering::Relaxed);
            replace(&target, document)?;
        }
    }
    let manifest = Digest::of(addition.manifest);
    let mut index = locked.index()?;
    index.put(Descriptor {
        annotations: Some(BTreeMap::from([(REFERENCE_NAME.into(), name.to_owned())])),
        platform: Some(addition.platform.clone()),
        ..Descriptor::new(MANIFEST, manifest, addition.manifest.len() as u64)
    });
    // Last: whoever reads the index finds everything that it names.
    replace(&dir.join(INDEX_FILE), &document::encode(&index.0))?;
    let documents = (addition.config.len() + addition.manifest.len()) as u64;
    let bytes = addition.blobs.iter().map(|(_, size)| size).sum::<u64>() + documents;
    Ok(LayoutWritten { manifest, bytes, written_bytes: written.into_inner() })
}

/// Whether a blob is there with every byte: one that was damaged is given anew.
fn is_whole(path: &Path, digest: &Digest, size: u64) -> bool {
    let Ok(file) = source::open_file(path) else { return false };
    if file.metadata().map_or(0, |there| there.len()) != size {
        return false;
    }
    let mut bytes = Hashing::new(file);
    io::copy(&mut bytes, &mut io::sink()).is_ok() && bytes.finish() == (*digest, size)
}

/// A directory for blobs in the making, on the file system where they stay.
pub(crate) fn beside(dir: &Path) -> Result<TempDir> {
    let there = dir.ancestors().find(|one| one.is_dir());
    let at = there.filter(|one| !one.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let made = tempfile::Builder::new().prefix(MAKING).tempdir_in(at);
    made.map_err(|error| OciError::io("create in", at, error))
}

/// A layout that nobody else writes to meanwhile.
struct Locked<'a> {
    dir: &'a Path,
    /// The directory itself: exports into it wait for each other.
    _lock: File,
}

impl<'a> Locked<'a> {
    /// Makes the layout if it is missing.
    fn new(dir: &'a Path) -> Result<Self> {
        fs::create_dir_all(dir).map_err(|error| OciError::io("create", dir, error))?;
        let lock = File::open(dir).map_err(|error| OciError::io("open", dir, error))?;
        lock.lock().map_err(|error| OciError::io("lock", dir, error))?;
        check_directory(dir)?;
        if !is_layout(dir) {
            replace(&dir.join(INDEX_FILE), &document::encode(&Entries::none().0))?;
            replace(&dir.join(LAYOUT_FILE), LAYOUT)?;
        }
        Ok(Self { dir, _lock: lock })
    }

    fn index(&self) -> Result<Entries> {
        let path = self.dir.join(INDEX_FILE);
        let what = path.display().to_string();
        let bytes = source::read_manifest_file(&path)?;
        // What others will read has to be one that can be read.
        document::parse::<Index>(&what, &bytes)?;
        Ok(Entries(document::parse(&what, &bytes)?))
    }

    /// Removes what exports that were killed left.
    fn tidy(&self, blobs: &Path) -> Result<()> {
        for (dir, prefix) in [(self.dir, REPLACING), (blobs, COPYING), (blobs, REPLACING)] {
            let failed = |error| OciError::io("list", dir, error);
            for entry in fs::read_dir(dir).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if is_old(&entry) {
                    let path = entry.path();
                    let removed = fs::remove_dir_all(&path);
                    removed.map_err(|error| OciError::io("remove", path, error))?;
                } else if entry.file_name().as_encoded_bytes().starts_with(prefix.as_bytes()) {
                    let path = entry.path();
                    fs::remove_file(&path).map_err(|error| OciError::io("remove", path, error))?;
                }
            }
        }
        Ok(())
    }
}

/// Whether it is a workshop that nobody works in any more: those of other exports are not behind the lock.
fn is_old(entry: &fs::DirEntry) -> bool {
    let is_workshop = entry.file_name().as_encoded_bytes().starts_with(MAKING.as_bytes());
    let changed = entry.metadata().and_then(|metadata| metadata.modified());
    let age = changed.map(|changed| changed.elapsed().unwrap_or_default());
    is_workshop && age.is_ok_and(|age| age > WORKSHOP_AGE)
}

/// An index as it is, with whatever others wrote in.
struct Entries(Value);

impl Entries {
    fn none() -> Self {
        Self(json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": [] }))
    }

    /// Adds an entry in the place of the one of the same name.
    fn put(&mut self, entry: Descriptor) {
        let name = |value: &Value| value["annotations"][REFERENCE_NAME].as_str().map(str::to_owned);
        let entry = json!(entry);
        if let Some(Value::Array(entries)) = self.0.get_mut("manifests") {
            entries.retain(|one| name(one) != name(&entry));
            entries.push(entry);
        }
    }
}

/// Where blobs are made.
enum Place<'a> {
    /// They stay there, and the layout gets copies.
    Kept(&'a Path),
    /// They are moved into the layout.
    Moved(&'a Path),
}

impl Place<'_> {
    fn path(&self) -> &Path {
        match self {
            Self::Kept(path) | Self::Moved(path) => path,
        }
    }

    fn give(&self, blob: &Path, target: &Path) -> Result<()> {
        let failed = |error| OciError::io("write", target, error);
        match self {
            Self::Moved(_) => fs::rename(blob, target).map_err(failed),
            Self::Kept(_) => {
                let parent = target.parent().unwrap_or(Path::new("."));
                let file = NamedTempFile::with_prefix_in(COPYING, parent).map_err(failed)?;
                fs::copy(blob, file.path()).map_err(failed)?;
                file.persist(target).map_err(|error| failed(error.error)).map(drop)
            }
        }
    }
}

pub(crate) fn check_name(name: &str) -> Result<()> {
    let word = |byte: u8| byte.is_ascii_alphanumeric();
    let good = name.len() <= NAME_LEN_MAX
        && name.bytes().next().is_some_and(word)
        && name.bytes().all(|byte| word(byte) || NAME_SEPARATORS.as_bytes().contains(&byte));
    if good {
        return Ok(());
    }
    let what = format!("name {}", name.chars().take(80).collect::<String>());
    Err(OciError::refused(
        what,
        "a layout's names are letters and digits with `-._:@+/` between them",
    ))
}

/// Refuses a directory with something else in it.
pub(crate) fn check_directory(dir: &Path) -> Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(OciError::io("list", dir, error)),
    };
    // What exports that were killed left, and ours while it is in the making.
    let passing = |name: &OsStr| {
        let of = |prefix: &str| name.as_encoded_bytes().starts_with(prefix.as_bytes());
        name == INDEX_FILE || of(REPLACING) || of(MAKING)
    };
    let is_foreign =
        |entry: io::Result<fs::DirEntry>| entry.is_ok_and(|entry| !passing(&entry.file_name()));
    if !is_layout(dir) && entries.into_iter().any(is_foreign) {
        let reason = "it has files but no `oci-layout`; choose an empty directory";
        return Err(OciError::refused(dir.display().to_string(), reason));
    }
    Ok(())
}

fn read_index(dir: &Path) -> Result<Index> {
    let path = dir.join(INDEX_FILE);
    document::parse(&path.display().to_string(), &source::read_manifest_file(&path)?)
}

/// Whether a directory is an OCI layout.
pub(crate) fn is_layout(dir: &Path) -> bool {
    dir.join(LAYOUT_FILE).is_file()
}

/// Replaces a file in one step.
fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let failed = |error| OciError::io("write", path, error);
    let parent = path.parent().unwrap_or(Path::new("."));
    let mut file = NamedTempFile::with_prefix_in(REPLACING, parent).map_err(failed)?;
    file.write_all(bytes).map_err(failed)?;
    let mode = fs::Permissions::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error)).map(drop)
}

/// A layout to read from.
pub(crate) struct Layout {
    dir: PathBuf,
    name: Option<String>,
    moved: AtomicU64,
}

impl Layout {
    /// The image of this name, or the only one.
    pub(crate) fn new(dir: &Path, name: Option<&str>) -> Self {
        Self { dir: dir.to_owned(), name: name.map(str::to_owned), moved: AtomicU64::new(0) }
    }

    fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    fn chosen(&self) -> Result<Descriptor> {
        let index = read_index(&self.dir)?;
        let what = self.dir.display().to_string();
        source::named(&what, &index, self.name.as_deref()).cloned()
    }
}

impl Source for Layout {
    fn name(&self) -> String {
        format!("`{}`", self.dir.display())
    }

    fn top(&self) -> Result<Vec<u8>> {
        let digest = self.chosen()?.digest;
        let bytes = self.manifest(&digest)?;
        source::check(&format!("manifest of {}", self.name()), &digest, &bytes)?;
        Ok(bytes)
    }

    fn manifest(&self, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = source::read_manifest_file(&self.blob(digest))?;
        self.moved.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        Ok(bytes)
    }

    fn read(&self, blob: &Digest, start: u64, length: u64) -> Result<Vec<u8>> {
        let path = self.blob(blob);
        let failed = |error: io::Error| OciError::io("read", &path, error);
        let file = source::open_file(&path)?;
        let there = file.metadata().map_err(failed)?.len();
        if start.checked_add(length).is_none_or(|end| end > there) {
            return Err(OciError::refused(path.display().to_string(), "it ends early"));
        }
        let mut bytes = vec![0; length as usize];
        file.read_exact_at(&mut bytes, start).map_err(failed)?;
        self.moved.fetch_add(length, Ordering::Relaxed);
        Ok(bytes)
    }

    fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }
}
