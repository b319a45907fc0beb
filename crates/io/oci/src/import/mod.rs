//! Foreign images, archives and directories become images of the store, each with an identity of its own.

mod archive;
mod directories;
mod stream;
mod whiteout;

use std::{
    fs::{self, File},
    io::{self, BufReader, Read},
    path::{Path, PathBuf},
};

use hornero_model::{Digest, ImageConfig, Timestamp};
use hornero_store::{
    ArchiveLimits, CaptureOptions, DevicePolicy, ENTRY_COUNT_MAX, ImageManifest, Layer, MTIME_MAX,
    Store, Tree,
};
use serde::{Deserialize, Serialize};

use crate::{
    Access, Event, OciError, Progress, Pulled, Result,
    digest::Hashing,
    document::{Configuration, Runtime},
    erofs_layer, layout,
    pull::{self, pull_from},
    source::{self, BlobReader, Found, Source},
};

/// The attachment that says where an image came from.
pub const IMPORT_ATTACHMENT: &str = "import";
/// Contents of all layers together: images with a whole toolchain for machine learning have some 30 GiB.
const CONTENT_BYTES_MAX: u64 = 64 << 30;

/// How something foreign comes in.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// Which image of a layout directory or an archive with several.
    pub name: Option<String>,
    /// What becomes of device files; instances get theirs from the sandbox.
    pub devices: DevicePolicy,
    /// The run configuration; without it the image's own, or an empty one for a bare root.
    pub config: Option<ImageConfig>,
    /// Most bytes of all contents together.
    pub content_bytes_max: u64,
    /// Whether it may unpack to any number of times its size: repeated bytes are meant.
    pub any_ratio: bool,
}

impl Default for ImportOptions {
    fn default() -> Self {
        Self {
            name: None,
            devices: DevicePolicy::Skip,
            config: None,
            content_bytes_max: CONTENT_BYTES_MAX,
            any_ratio: false,
        }
    }
}

impl ImportOptions {
    /// Fails when contents of so many bytes are more than may come in.
    pub(crate) fn check_size(&self, what: String, bytes: u64) -> Result<()> {
        match self.content_bytes_max {
            limit_bytes if bytes > limit_bytes => Err(OciError::TooLarge { what, limit_bytes }),
            _ => Ok(()),
        }
    }
}

/// What came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// The image, now in the store; no reference leads to it yet.
    pub image: Digest,
    /// Its layers.
    pub layers: usize,
    /// Whether another program made it; an image of ours keeps its digest.
    pub foreign: bool,
}

/// Where an imported image came from, as its attachment [`IMPORT_ATTACHMENT`] says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportRecord {
    /// The path or reference.
    pub from: String,
    /// Digest of the OCI manifest, the archive's bytes, or the layer that a directory became.
    pub digest: Digest,
    /// When.
    pub time: Timestamp,
    /// Ports that the image says it listens on, such as `80/tcp`.
    #[serde(default)]
    pub exposed_ports: Vec<String>,
    /// Directories that the image expects to be volumes.
    #[serde(default)]
    pub volumes: Vec<String>,
}

/// Imports what `from` names: an OCI layout directory, an archive by `docker save` or of a layout, an archive of a root
/// (uncompressed, gzip, xz or zstd), a directory with a root, or a reference to a registry.
///
/// Hold a lease of the store from before until a reference leads to the image.
///
/// # Errors
/// [`OciError::Refused`] and the store's errors name the entry that breaks a rule; [`OciError::Digest`] when bytes are
/// not what their digest says. Nothing of a refused layer is kept.
pub fn import(
    store: &Store,
    from: &str,
    access: &Access,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Imported> {
    let _lease = store.lease()?;
    let path = Path::new(from);
    let metadata = match fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            // No host begins so: it was meant as a path, and leads nowhere.
            let is_path = from.starts_with(['.', '/']);
            let Some(reference) = from.parse().ok().filter(|_| !is_path) else {
                return Err(OciError::Missing(from.to_owned()));
            };
            let pulled = pull::pull_with(store, &reference, access, options, progress)?;
            return imported(store, pulled);
        }
        Err(error) => return Err(OciError::io("open", path, error)),
    };
    if metadata.is_dir() && layout::is_layout(path) {
        let layout = layout::Layout::new(path, options.name.as_deref());
        return imported(store, pull_from(store, &layout, from, options, progress)?);
    }
    if metadata.is_dir() {
        return directory(store, path, options);
    }
    if !metadata.is_file() {
        return Err(OciError::refused(from, "it is neither a directory nor a file"));
    }
    match archive::open(path, options)? {
        Some(source) => imported(store, pull_from(store, &source, from, options, progress)?),
        None => root_archive(store, path, options),
    }
}

fn imported(store: &Store, pulled: Pulled) -> Result<Imported> {
    let layers = store.image(&pulled.image)?.layers.len();
    Ok(Imported { image: pulled.image, layers, foreign: pulled.foreign })
}

/// A directory with a root, such as debootstrap makes.
fn directory(store: &Store, path: &Path, options: &ImportOptions) -> Result<Imported> {
    let ingest = store.ingest()?;
    let capture = CaptureOptions { max_mtime: MTIME_MAX, devices: options.devices };
    let layer = ingest.capture_directory(path, &capture)?;
    let digest = ingest.put_layer(&layer)?;
    ingest.finish()?;
    let config = options.config.clone().unwrap_or_default();
    let from = path.display().to_string();
    finish(store, vec![digest], Tree::merge([layer]), config, record(&from, digest, None))
}

/// An archive of a root.
fn root_archive(store: &Store, path: &Path, options: &ImportOptions) -> Result<Imported> {
    let from = path.display().to_string();
    let file = source::open_file(path)?;
    let ingest = store.ingest()?;
    // Unpacked it is no smaller.
    ingest
        .expect_bytes(file.metadata().map_err(|error| OciError::io("read", path, error))?.len())?;
    let mut file = Hashing::new(file);
    let layer = {
        let mut plain = stream::decompress(&from, &mut file, options.any_ratio)?;
        let layer = ingest.layer_from_tar(&from, &mut plain, &limits(options, 0));
        let layer = layer.map_err(|error| named(error, options))?;
        drain(&mut plain, &from)?;
        layer
    };
    drain(&mut file, &from)?;
    let digest = ingest.put_layer(&layer)?;
    ingest.finish()?;
    let config = options.config.clone().unwrap_or_default();
    let record = record(&from, file.finish().0, None);
    finish(store, vec![digest], Tree::merge([layer]), config, record)
}

fn limits(options: &ImportOptions, taken: u64) -> ArchiveLimits {
    ArchiveLimits {
        entries: ENTRY_COUNT_MAX,
        content_bytes: options.content_bytes_max.saturating_sub(taken),
        max_mtime: MTIME_MAX,
        devices: options.devices,
    }
}

fn record(from: &str, digest: Digest, runtime: Option<&Runtime>) -> ImportRecord {
    let keys = |map: &Option<std::collections::BTreeMap<String, serde_json::Value>>| {
        map.iter().flat_map(|map| map.keys().cloned()).collect()
    };
    ImportRecord {
        from: from.to_owned(),
        digest,
        time: Timestamp::now(),
        exposed_ports: runtime.map(|runtime| keys(&runtime.exposed_ports)).unwrap_or_default(),
        volumes: runtime.map(|runtime| keys(&runtime.volumes)).unwrap_or_default(),
    }
}

fn finish(
    store: &Store,
    mut layers: Vec<Digest>,
    tree: Tree,
    config: ImageConfig,
    record: ImportRecord,
) -> Result<Imported> {
    let directories = std::iter::once(&config.workdir).chain(&record.volumes);
    if let Some(layer) = directories::missing(&tree, directories) {
        let ingest = store.ingest()?;
        layers.push(ingest.put_layer(&layer)?);
        ingest.finish()?;
    }
    let count = layers.len();
    let user = config.user.clone();
    let image = store.put_image(&ImageManifest::new(layers, config))?;
    // Now, not when the first server of it starts.
    store.resolve_user(&image, &user)?;
    let record = serde_json::to_vec(&record).expect("it has only string keys");
    store.attach(&image, IMPORT_ATTACHMENT, &record)?;
    Ok(Imported { image, layers: count, foreign: true })
}

/// Reads the rest of a stream, which its digest covers as well.
fn drain(reader: &mut impl Read, what: &str) -> Result<()> {
    let rest = io::copy(reader, &mut io::sink());
    rest.map(drop).map_err(|error| unreadable(what, error))
}

/// An error of a source stays what it is.
fn unreadable(what: &str, error: io::Error) -> OciError {
    match error.downcast::<OciError>() {
        Ok(error) => error,
        Err(error) => OciError::refused(what, error),
    }
}

/// Takes a foreign OCI image in, layer by layer; layers that came in before are found again.
pub(crate) fn oci(
    store: &Store,
    source: &dyn Source,
    found: &Found,
    from: &str,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Pulled> {
    erofs_layer::refuse(&source.name(), &found.manifest)?;
    let configuration = source::configuration(source, &found.manifest)?;
    let (blobs, diff_ids) = (&found.manifest.layers, &configuration.rootfs.diff_ids);
    if blobs.len() != diff_ids.len() {
        let reason = "its manifest and its configuration have different numbers of layers";
        return Err(OciError::refused(source.name(), reason));
    }
    source::check_platform(source, &configuration)?;
    let runtime = configuration.config.clone().unwrap_or_default();
    let config = options.config.clone().map_or_else(|| config(&runtime), Ok)?;
    let total = blobs.iter().try_fold(0_u64, |sum, blob| sum.checked_add(blob.size));
    let total = total.ok_or_else(|| {
        OciError::refused(source.name(), "its layers have more bytes than can be counted")
    })?;
    progress.event(Event::TransferStarted { bytes: total });
    let mut taking = Taking { store, source, options, below: Tree::merge([]), bytes: 0, new: 0 };
    let mut layers = Vec::with_capacity(blobs.len());
    // What a layer means depends on those below it, and so does where it is remembered.
    let mut chain = chain_start(options.devices);
    for (index, (blob, diff_id)) in blobs.iter().zip(diff_ids).enumerate() {
        progress.event(Event::LayerStarted { number: index + 1, count: blobs.len() });
        chain = Digest::of(format!("{chain} {diff_id}").as_bytes());
        let (digest, layer) = match taking.known(&chain)? {
            Some(known) => known,
            None => taking.take(blob, diff_id, &chain)?,
        };
        progress.event(Event::Transferred { bytes: blob.size });
        let sizes = layer.contents().map(|(_, size)| size);
        taking.bytes = sizes.fold(taking.bytes, u64::saturating_add);
        taking.below = taking.below.with(layer);
        layers.push(digest);
    }
    let layers_moved = taking.new;
    let record = record(from, found.digest, Some(&runtime));
    let imported = finish(store, layers, taking.below, config, record)?;
    Ok(Pulled {
        image: imported.image,
        manifest: Some(found.digest),
        bytes_moved: source.moved(),
        contents_moved: 0,
        contents_present: 0,
        layers_moved,
        foreign: true,
    })
}

/// Where the chain of keys begins that imported layers are remembered by. Its words never change.
fn chain_start(devices: DevicePolicy) -> Digest {
    let devices = match devices {
        DevicePolicy::Refuse => "Refuse",
        DevicePolicy::Skip => "Skip",
        DevicePolicy::Keep => "Keep",
    };
    Digest::of(format!("hornero-import 1 {devices}\n").as_bytes())
}

/// Layers on their way in.
struct Taking<'a> {
    store: &'a Store,
    source: &'a dyn Source,
    options: &'a ImportOptions,
    below: Tree,
    bytes: u64,
    new: usize,
}

impl Taking<'_> {
    /// A layer that came in before, here or with another image.
    fn known(&self, chain: &Digest) -> Result<Option<(Digest, Layer)>> {
        let Some(value) = self.store.cache_get(chain)? else { return Ok(None) };
        let Some(digest) = std::str::from_utf8(&value).ok().and_then(|text| text.parse().ok())
        else {
            return Ok(None);
        };
        if !self.store.is_layer_whole(&digest)? {
            return Ok(None);
        }
        Ok(Some((digest, self.store.layer(&digest)?)))
    }

    fn take(
        &mut self,
        blob: &crate::document::Descriptor,
        diff_id: &Digest,
        chain: &Digest,
    ) -> Result<(Digest, Layer)> {
        let what = format!("layer {} of {}", blob.digest, self.source.name());
        let ingest = self.store.ingest()?;
        // Unpacked it is no smaller.
        ingest.expect_bytes(blob.size)?;
        let mut packed = BlobReader::new(self.source, blob);
        let raw = {
            let any_ratio = self.options.any_ratio;
            let mut plain = Hashing::new(stream::decompress(&what, &mut packed, any_ratio)?);
            let limits = limits(self.options, self.bytes);
            let raw = ingest.entries_from_tar(&what, &mut plain, &limits, &self.below);
            let raw = raw.map_err(|error| named(error, self.options))?;
            drain(&mut plain, &what)?;
            if plain.finish().0 != *diff_id {
                return Err(OciError::Digest { what, expected: *diff_id });
            }
            raw
        };
        drain(&mut packed, &what)?;
        if self.source.checks_blobs() && packed.finish().0 != blob.digest {
            return Err(OciError::Digest { what, expected: blob.digest });
        }
        let layer = whiteout::apply(&what, raw, &self.below)?;
        let digest = ingest.put_layer(&layer)?;
        ingest.finish()?;
        self.store.cache_put(chain, digest.to_string().as_bytes())?;
        self.new += 1;
        Ok((digest, layer))
    }
}

/// What the source said when reading for the store failed, rather than that the store could not read.
fn named(error: hornero_store::StoreError, options: &ImportOptions) -> OciError {
    match error {
        // Of all contents together, of which some came before.
        hornero_store::StoreError::TooLarge { name, .. } => {
            OciError::TooLarge { what: name, limit_bytes: options.content_bytes_max }
        }
        hornero_store::StoreError::Source { name, source } => unreadable(&name, source),
        error => error.into(),
    }
}

/// What a foreign configuration means here.
pub(crate) fn config(runtime: &Runtime) -> Result<ImageConfig> {
    // It is named in what is said of it.
    if runtime.user.contains(char::is_control) {
        let reason = "the name of its user has letters that no name has";
        return Err(OciError::refused("configuration of the image", reason));
    }
    let parts = [&runtime.entrypoint, &runtime.cmd].into_iter().flatten();
    // Podman's and Docker's images have such without a value, which is then empty; one without a name is none.
    let env = runtime.env.iter().flatten().map(|line| line.split_once('=').unwrap_or((line, "")));
    let env = env.filter(|(name, _)| !name.is_empty());
    Ok(ImageConfig {
        user: runtime.user.clone(),
        command: parts.flatten().cloned().collect(),
        env: env.map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        workdir: match runtime.working_dir.as_str() {
            "" => String::new(),
            absolute if absolute.starts_with('/') => absolute.to_owned(),
            relative => format!("/{relative}"),
        },
        ..ImageConfig::default()
    })
}

/// A file to read whose beginning was looked at.
fn buffered(path: &Path) -> Result<BufReader<File>> {
    Ok(BufReader::with_capacity(1 << 20, source::open_file(path)?))
}

/// A document of an archive, for those who look only at it.
pub(crate) fn parse_configuration(what: &str, bytes: &[u8]) -> Result<Configuration> {
    crate::document::parse(what, bytes)
}

/// Where large temporary files go.
fn temporary() -> Result<File> {
    let dir: PathBuf = std::env::temp_dir();
    tempfile::tempfile_in(&dir).map_err(|error| OciError::io("create a file in", dir, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn imported_layers_are_found_by_what_they_ever_were() {
        let starts = [DevicePolicy::Refuse, DevicePolicy::Skip, DevicePolicy::Keep];
        assert_eq!(
            starts.map(|devices| chain_start(devices).hex()),
            [
                "b9778a28e7cb01405d1ac352da27205085a5ae989e34cdd16a33b01faa453187",
                "c90a5881f58e88bc9faf8795821f8c3b0f9d5d805f6757be3f50d7ec0688f78b",
                "73a7586db074537711cdad8bf8bcc420507634ba614ab0cc53b501111dc0a2ca",
            ]
        );
    }
}
