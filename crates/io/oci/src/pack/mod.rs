//! An image of the store as blobs, configuration and manifest of an OCI image.

pub(crate) mod budget;
mod frame;
mod group;
pub(crate) mod passport;
mod plan;
pub(crate) mod tail;
mod text;
mod write;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Mutex,
    time::SystemTime,
};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{ImageManifest, Layer, Metadata, Store};
use tempfile::TempDir;

use crate::{
    Compression, OciError, Result, TransferEvent, TransferProgress,
    document::{
        self, CONFIG, Configuration, Descriptor, HORNERO_IMAGE, LAYER, MANIFEST, Manifest, RootFs,
        Runtime,
    },
    parallel, tarball,
};
use budget::Budget;
use passport::{Attachment, MadeWith, Passport, PassportBlob};
use plan::Directories;
use tail::TailLayer;
use write::{Hidden, Job, Written};

/// What a layer's blob depends on beside its layers; raised when any byte of a blob changes.
const BLOB_FORMAT: u32 = 3;
/// Attachments of an image that travel with it, beside `provenance.KEY`.
const TRAVELLING: [&str; 2] = ["bake", "import"];
/// Signed statements begin so.
pub(crate) const PROVENANCE: &str = "provenance.";
/// Compressed blobs that are kept: about fifty images of 80 MiB that share nothing.
const KEPT_BYTES_MAX: u64 = 4 << 30;
/// The OCI image specification wants a time; images of ours have none.
const CREATED: &str = "1970-01-01T00:00:00Z";

/// An image that is ready to be written or pushed.
pub(crate) struct Packed {
    /// The manifest's bytes, whose digest names the OCI image.
    pub(crate) manifest: Vec<u8>,
    pub(crate) config: Vec<u8>,
    /// The layers in order.
    pub(crate) blobs: Vec<Written>,
    /// The directory with the blobs, each named by its digest in hex.
    pub(crate) dir: PathBuf,
    /// Holds the directory where it is not kept.
    _temporary: Option<TempDir>,
}

impl Packed {
    pub(crate) fn path(&self, blob: &Digest) -> PathBuf {
        self.dir.join(blob.hex())
    }
}

/// Whether an attachment of an image goes where the image goes.
pub(crate) fn travels(kind: &str) -> bool {
    TRAVELLING.contains(&kind) || kind.starts_with(PROVENANCE)
}

/// Whether an attachment of a layer goes where the image goes: what is known of an image on that layer, of
/// which the rest may be gone. `facts` of the layer itself do not: whoever proves a rebase by them reads them from the
/// contents, since nobody vouches for what another store says.
pub(crate) fn travels_with_layer(kind: &str) -> bool {
    let named = |one: &str| kind.strip_prefix(one).is_some_and(|rest| rest.starts_with('.'));
    TRAVELLING.into_iter().any(named)
}

/// Makes the OCI image of a stored image; its blobs are kept in `cache` if there is one.
pub(crate) fn pack(
    store: &Store,
    image: &Digest,
    compression: Compression,
    cache: Option<&Path>,
    progress: &dyn TransferProgress,
) -> Result<Packed> {
    let _lease = store.lease()?;
    let (dir, temporary) = match cache {
        Some(dir) => (dir.join("blobs"), None),
        None => {
            let made = TempDir::with_prefix("hornero-oci-");
            let made = made.map_err(|error| OciError::io("create", std::env::temp_dir(), error))?;
            (made.path().to_owned(), Some(made))
        }
    };
    fs::create_dir_all(&dir).map_err(|error| OciError::io("create", &dir, error))?;
    let manifest = store.image(image)?;
    let layers: Vec<(Digest, Layer)> = manifest
        .layers
        .iter()
        .map(|digest| Ok((*digest, store.layer(digest)?)))
        .collect::<Result<_>>()?;
    let keep = temporary.is_none();
    let mut blobs = pack_layers(store, image, &layers, compression, &dir, keep, progress)?;
    let plan = plan::empty(&root_metadata(&layers), &passport_text(image));
    let made_with = (compression != Compression::None).then(|| {
        let last = Digest::of(&plan.headers());
        MadeWith {
            configuration: Digest::of(&configuration(image, &manifest.config, &blobs, last)),
            architecture: document::architecture().into(),
        }
    });
    let passport = passport(store, image, &manifest, &blobs, made_with)?;
    let job = Job { plan, hidden: Hidden::Bytes(passport.encode()) };
    let last = write::write(store, vec![job], compression, &dir, &|_| ())?.remove(0);
    let config = configuration(image, &manifest.config, &blobs, last.diff_id);
    blobs.push(last);
    if keep {
        forget_oldest(&dir, &blobs)?;
    }
    let manifest = oci_manifest(image, &config, &blobs, compression);
    Ok(Packed { manifest, config, blobs, dir, _temporary: temporary })
}

/// Makes the archive of each image's passport another one: copies tell layers apart by what they unpack to.
fn passport_text(image: &Digest) -> String {
    format!("Hornero image {image}")
}

/// The root directory's, as the topmost layer that has it says.
fn root_metadata(layers: &[(Digest, Layer)]) -> Metadata {
    let root = layers.iter().rev().filter_map(|(_, layer)| layer.entries().first());
    let root = root.into_iter().find(|entry| entry.path.is_root());
    root.map_or_else(|| Metadata::root_owned(0o755, 0), |root| root.metadata.clone())
}

/// Bytes that the archive that hides an image's passport may have: at first it had a header about the whole
/// archive and no entry.
pub(crate) fn passport_archive_lengths(image: &Digest) -> [u64; 2] {
    let length = plan::empty(&Metadata::default(), &passport_text(image)).length();
    [length, length - tarball::BLOCK]
}

fn pack_layers(
    store: &Store,
    image: &Digest,
    layers: &[(Digest, Layer)],
    compression: Compression,
    dir: &Path,
    keep: bool,
    progress: &dyn TransferProgress,
) -> Result<Vec<Written>> {
    let not_carried = |reason: String| OciError::NotCarried { image: *image, reason };
    let groups = group::group(layers).ok_or_else(|| {
        let most = group::BLOBS_MAX;
        not_carried(format!("more than {most} of its layers hide parts of each other"))
    })?;
    let mut directories = Directories::default();
    let (mut jobs, mut keys) = (Vec::new(), Vec::new());
    for run in &groups {
        let run = &layers[run.clone()];
        run.iter().for_each(|(_, layer)| directories.add(layer));
        let sections = plan::merge(run, &directories);
        let plan = plan::plan(&sections).map_err(|path| {
            not_carried(format!("`{path}` would be taken for a whiteout by whoever reads it"))
        })?;
        let tails: Vec<TailLayer> = run
            .iter()
            .map(|(digest, layer)| TailLayer { digest: *digest, layer: layer.clone() })
            .collect();
        let shown = Layer::from_entries(sections.concat())
            .map_err(|error| not_carried(format!("its layers do not fit together: {error}")))?;
        keys.push(key(compression, &shown, &tails));
        jobs.push(Job { plan, hidden: Hidden::Layers(tails) });
    }
    let mut budget = Budget::default();
    for (job, run) in jobs.iter().zip(&groups) {
        budget.take(job.plan.members.len(), &layers[run.clone()]).map_err(|what| {
            not_carried(format!("it has more {what} than whoever pulls it takes"))
        })?;
    }
    let all = write_missing(store, jobs, &keys, compression, (dir, keep), progress)?;
    if all.iter().flat_map(|blob| &blob.parts).sum::<u64>() > tail::PACKED_BYTES_MAX {
        return Err(not_carried(
            "its lists of files are larger than whoever pulls it takes".into(),
        ));
    }
    Ok(all)
}

/// Writes the blobs that were not kept from before, in order; where they are to be kept, a note of each lies beside it.
fn write_missing(
    store: &Store,
    jobs: Vec<Job>,
    keys: &[Digest],
    compression: Compression,
    (dir, keep): (&Path, bool),
    progress: &dyn TransferProgress,
) -> Result<Vec<Written>> {
    let kept: Mutex<BTreeMap<usize, Written>> = Mutex::default();
    if keep {
        parallel::each(parallel::processors(), keys, |index, key| {
            if let Some(written) = kept_blob(dir, key) {
                kept.lock().expect("no thread panics with it").insert(index, written);
            }
            Ok::<(), OciError>(())
        })?;
    }
    let mut all = kept.into_inner().expect("no thread panics with it");
    let jobs = jobs.into_iter().enumerate();
    let (missing, wanted): (Vec<usize>, Vec<Job>) =
        jobs.filter(|(index, _)| !all.contains_key(index)).unzip();
    let bytes = wanted.iter().map(|job| job.plan.length()).sum();
    progress.event(TransferEvent::PackStarted { blobs: wanted.len(), bytes });
    let written = write::write(store, wanted, compression, dir, progress)?;
    for (index, written) in missing.into_iter().zip(written) {
        if keep {
            let path = dir.join(format!("{}.json", keys[index].hex()));
            fs::write(&path, document::encode(&written))
                .map_err(|error| OciError::io("write", path, error))?;
        }
        all.insert(index, written);
    }
    Ok(all.into_values().collect())
}

/// What a blob of layers is made from.
fn key(compression: Compression, shown: &Layer, tails: &[TailLayer]) -> Digest {
    let tails = tails.iter().map(|tail| tail.digest);
    blob_key(compression, std::iter::once(shown.digest()).chain(tails))
}

/// The key of a blob by the digests that go into it. Its words never change; what does is [`BLOB_FORMAT`].
fn blob_key(compression: Compression, digests: impl Iterator<Item = Digest>) -> Digest {
    let compression = match compression {
        Compression::None => "None",
        Compression::Gzip => "Gzip",
        Compression::Zstd => "Zstd",
    };
    let mut bytes = format!("hornero-blob {BLOB_FORMAT} {compression}\n").into_bytes();
    digests.for_each(|digest| bytes.extend_from_slice(digest.as_bytes()));
    Digest::of(&bytes)
}

/// A blob that was made before and is undamaged.
fn kept_blob(dir: &Path, key: &Digest) -> Option<Written> {
    let note = fs::read(dir.join(format!("{}.json", key.hex()))).ok()?;
    let written: Written = serde_json::from_slice(&note).ok()?;
    let path = dir.join(written.digest.hex());
    let mut file = fs::File::open(&path).ok()?;
    let mut hasher = crate::digest::Hashing::new(std::io::sink());
    std::io::copy(&mut file, &mut hasher).ok()?;
    let whole = hasher.finish() == (written.digest, written.size);
    // What is used stays longest.
    whole.then(|| file.set_modified(SystemTime::now()).ok().map(|()| written)).flatten()
}

/// Keeps the directory bounded; what this image uses stays.
fn forget_oldest(dir: &Path, used: &[Written]) -> Result<()> {
    let failed = |error| OciError::io("list", dir, error);
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        // Gone meanwhile: another process tidies up as well.
        let Ok(metadata) = entry.metadata() else { continue };
        files.push((metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), entry));
    }
    let mut total: u64 = files.iter().map(|(_, size, _)| size).sum();
    files.sort_by_key(|(modified, ..)| *modified);
    for (_, size, entry) in files {
        let name = entry.file_name();
        let is_used = used.iter().any(|blob| name.to_str() == Some(&blob.digest.hex()));
        if total <= KEPT_BYTES_MAX {
            break;
        }
        if !is_used && fs::remove_file(entry.path()).is_ok() {
            total -= size;
        }
    }
    Ok(())
}

fn passport(
    store: &Store,
    image: &Digest,
    manifest: &ImageManifest,
    blobs: &[Written],
    made_with: Option<MadeWith>,
) -> Result<Passport> {
    let of = |subject: &Digest, travels: fn(&str) -> bool| -> Result<BTreeMap<_, _>> {
        let mut found = BTreeMap::new();
        for kind in store.attachments(subject)?.into_iter().filter(|kind| travels(kind)) {
            if let Some(bytes) = store.attachment(subject, &kind)? {
                found.insert(kind, Attachment::new(bytes));
            }
        }
        Ok(found)
    };
    let mut layers = BTreeMap::new();
    for (number, layer) in manifest.layers.iter().enumerate() {
        let found = of(layer, travels_with_layer)?;
        if !found.is_empty() {
            layers.insert(number, found);
        }
    }
    Ok(Passport {
        format: passport::FORMAT,
        image: String::from_utf8(manifest.encode()).expect("JSON is UTF-8"),
        blobs: blobs
            .iter()
            .map(|blob| PassportBlob { parts: blob.parts.clone(), ..PassportBlob::default() })
            .collect(),
        blobs_digest: passport::digest_of(blobs.iter().map(|blob| blob.digest)),
        made_with,
        attachments: of(image, travels)?,
        layers,
    })
}

/// The configuration of an image of these blobs and the one that `last` unpacks to.
fn configuration(image: &Digest, config: &ImageConfig, blobs: &[Written], last: Digest) -> Vec<u8> {
    let labels = BTreeMap::from([(HORNERO_IMAGE.into(), image.to_string())]);
    let diff_ids = blobs.iter().map(|blob| blob.diff_id).chain([last]).collect();
    document::encode(&Configuration {
        config: Some(Runtime { labels: Some(labels), ..runtime(config) }),
        ..bare_configuration(diff_ids)
    })
}

/// A configuration for this machine that says nothing of what runs.
pub(crate) fn bare_configuration(diff_ids: Vec<Digest>) -> Configuration {
    Configuration {
        created: Some(CREATED.into()),
        architecture: document::architecture().into(),
        os: "linux".into(),
        os_features: None,
        config: None,
        rootfs: RootFs { kind: "layers".into(), diff_ids },
    }
}

/// What an image runs, in OCI's words.
pub(crate) fn runtime(config: &ImageConfig) -> Runtime {
    let some = |list: Vec<String>| (!list.is_empty()).then_some(list);
    Runtime {
        user: config.user.clone(),
        env: some(config.env.iter().map(|(name, value)| format!("{name}={value}")).collect()),
        cmd: some(config.command.clone()),
        working_dir: config.workdir.clone(),
        ..Runtime::default()
    }
}

fn oci_manifest(
    image: &Digest,
    config: &[u8],
    blobs: &[Written],
    compression: Compression,
) -> Vec<u8> {
    let descriptor = |media_type: String, digest, size| Descriptor {
        media_type,
        digest,
        size,
        annotations: None,
        platform: None,
    };
    let layer = format!("{LAYER}{}", compression.suffix());
    document::encode(&Manifest {
        schema_version: 2,
        media_type: MANIFEST.into(),
        config: descriptor(CONFIG.into(), Digest::of(config), config.len() as u64),
        layers: blobs
            .iter()
            .map(|blob| descriptor(layer.clone(), blob.digest, blob.size))
            .collect(),
        annotations: BTreeMap::from([(HORNERO_IMAGE.into(), image.to_string())]),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_blobs_are_what_they_ever_were() {
        // Another key packs everything anew that was pushed before: raise `BLOB_FORMAT` where that is meant.
        let digests = || [Digest::of(b"shown"), Digest::of(b"tail")].into_iter();
        let written: Vec<String> = [Compression::None, Compression::Gzip, Compression::Zstd]
            .map(|compression| blob_key(compression, digests()).hex())
            .into();
        assert_eq!(
            written,
            [
                "8e61fad2993e64e93ad5d061ab3f48ec70e242b3776ba82edb500397961bd6d8",
                "e56d8a7627e388179ab49a3489386050941860cd60ced6229eb812c202cb8f54",
                "61c5089bb086fbb90559a193b6a6b1b9e082276df27b42ef3fdc773b1b212dbb",
            ]
        );
    }
}
