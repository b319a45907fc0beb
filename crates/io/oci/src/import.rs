//! Foreign images, archives and directories become images of the store, each with an identity of its own.

use std::{fs, io, path::Path};

use hornero_model::{Digest, ImageConfig};
use hornero_store::{CaptureOptions, MTIME_MAX, Store, Tree};

use crate::{
    Access, ImportOptions, OciError, Pulled, Result, TransferProgress,
    digest::Hashing,
    foreign::{
        archive,
        reading::{drain, limits, named},
        record::{ImportRecord, finish, record},
        stream,
    },
    layout,
    pull::{self, pull_from},
    source,
};

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
    progress: &dyn TransferProgress,
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

fn finished(
    store: &Store,
    layer: Digest,
    tree: Tree,
    config: ImageConfig,
    record: ImportRecord,
) -> Result<Imported> {
    let (image, layers) = finish(store, vec![layer], tree, config, record)?;
    Ok(Imported { image, layers, foreign: true })
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
    finished(store, digest, Tree::merge([layer]), config, record(&from, digest, None))
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
    finished(store, digest, Tree::merge([layer]), config, record)
}
