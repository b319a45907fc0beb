//! Pulling an image: what it is, which contents the store lacks, and only those.

use std::path::Path;

use hornero_model::{Digest, ImageConfig};
use hornero_store::{ImageManifest, Store};

use crate::{
    Access, Compression, ImportOptions, OciError, Progress, Reference, Result, delta,
    document::{self, Configuration, Descriptor, HORNERO_IMAGE},
    import,
    layout::Layout,
    pack::{
        self,
        passport::{self, Passport},
    },
    registry::Registry,
    source::{self, Found, Source},
};

/// What a pull brought.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// The image, now in the store; no reference leads to it yet.
    pub image: Digest,
    /// Digest of the OCI manifest it came by; none from another store.
    pub manifest: Option<Digest>,
    /// Bytes of bodies that came in, manifests included.
    pub bytes_moved: u64,
    /// Contents that came in.
    pub contents_moved: u64,
    /// Contents of new layers that the store had already.
    pub contents_present: u64,
    /// Layers that came in.
    pub layers_moved: usize,
    /// Whether another program made it: its identity is new, and it travels by whole layers.
    pub foreign: bool,
}

/// Pulls an image from a registry. Contents that the store has do not move; what arrives is kept even when the pull
/// breaks off, so that the next one goes on from there. Hold a lease of the store from before until a reference
/// leads to the image.
///
/// # Errors
/// [`OciError::Digest`] when any byte is not what it should be: nothing of it is kept. [`OciError::Missing`],
/// [`OciError::Denied`], [`OciError::PlainHttp`], and [`OciError::Http`] when every attempt failed.
pub fn pull(
    store: &Store,
    reference: &Reference,
    access: &Access,
    progress: &dyn Progress,
) -> Result<Pulled> {
    pull_with(store, reference, access, &ImportOptions::default(), progress)
}

/// As [`pull`], within other limits.
///
/// # Errors
/// As there.
pub fn pull_with(
    store: &Store,
    reference: &Reference,
    access: &Access,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let registry = Registry::new(reference, access, progress)?;
    pull_from(store, &registry, &reference.to_string(), options, progress)
}

/// Pulls the image of this name, or the only one, from an OCI layout directory, as [`pull`] does from a registry.
pub fn pull_layout(
    store: &Store,
    dir: &Path,
    name: Option<&str>,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let from = dir.display().to_string();
    pull_from(store, &Layout::new(dir, name), &from, &ImportOptions::default(), progress)
}

pub(crate) fn pull_from(
    store: &Store,
    source: &dyn Source,
    from: &str,
    options: &ImportOptions,
    progress: &dyn Progress,
) -> Result<Pulled> {
    let _lease = store.lease()?;
    let found = source::find(source)?;
    match open(source, &found)? {
        Some(opened) => {
            let moved = delta::pull(store, source, &opened, options, progress)?;
            Ok(Pulled {
                image: opened.image,
                manifest: Some(found.digest),
                bytes_moved: source.moved(),
                contents_moved: moved.contents_moved,
                contents_present: moved.contents_present,
                layers_moved: moved.layers_moved,
                foreign: false,
            })
        }
        None => import::oci(store, source, &found, from, options, progress),
    }
}

/// A Hornero image as a source has it.
pub(crate) struct Opened {
    pub(crate) image: Digest,
    pub(crate) manifest: ImageManifest,
    pub(crate) passport: Passport,
    /// The blobs that stand for layers.
    pub(crate) blobs: Vec<(Descriptor, Compression)>,
}

/// What an OCI image says of the Hornero image that it is; none for one that another program made, or made anew.
pub(crate) fn open(source: &dyn Source, found: &Found) -> Result<Option<Opened>> {
    let Some((last, blobs)) = found.manifest.layers.split_last() else { return Ok(None) };
    let mut configuration = None;
    let Some(image) = claimed(source, found, &mut configuration)? else { return Ok(None) };
    let Some(codec) = Compression::of_media_type(&last.media_type) else { return Ok(None) };
    // Whoever compresses layers anew loses what is hidden in them: then it is an image like any other.
    if last.size > passport::PACKED_BYTES_MAX {
        return Ok(None);
    }
    let bytes = match source::read_document(source, last, passport::PACKED_BYTES_MAX) {
        // It is named by what it unpacks to: what was hidden in it may be lost.
        Err(OciError::Digest { .. }) if !source.checks_blobs() => return Ok(None),
        read => read?,
    };
    let decoded = pack::passport_archive_lengths(&image).into_iter().find_map(|length| {
        let hidden = codec.unhide(codec.after_first(&bytes, length)?)?;
        Passport::decode(&hidden).ok()
    });
    let Some((passport, manifest)) = decoded else { return Ok(None) };
    let codecs = blobs.iter().map(|blob| Compression::of_media_type(&blob.media_type));
    let Some(codecs) = codecs.collect::<Option<Vec<_>>>() else { return Ok(None) };
    let same = passport.blobs.len() == blobs.len()
        && passport.blobs_digest == passport::digest_of(blobs.iter().map(|blob| blob.digest));
    if !same {
        return Ok(None);
    }
    // A configuration has as many digests as the manifest: only one that is not as it was made is read.
    let is_as_made = passport.made_with.as_ref().is_some_and(|made| {
        made.configuration == found.manifest.config.digest
            && made.architecture == document::architecture()
    });
    let configuration = match configuration {
        None if !is_as_made => Some(source::configuration(source, &found.manifest)?),
        read => read,
    };
    // Whoever makes an image from this one without a layer more changes only what it runs.
    if let Some(configuration) = &configuration
        && !runs_the_same(configuration, &manifest.config)?
    {
        return Ok(None);
    }
    if manifest.digest() != image {
        let what = format!("manifest of {}", source.name());
        let reason = format!("it says it is `{image}`, and carries `{}`", manifest.digest());
        return Err(OciError::refused(what, reason));
    }
    if let Some(configuration) = &configuration {
        source::check_platform(source, configuration)?;
    }
    let blobs = blobs.iter().cloned().zip(codecs).collect();
    Ok(Some(Opened { image, manifest, passport, blobs }))
}

/// The digest of the Hornero image, by the manifest or, where a copy lost that, the configuration, which is read then.
fn claimed(
    source: &dyn Source,
    found: &Found,
    configuration: &mut Option<Configuration>,
) -> Result<Option<Digest>> {
    if let Some(text) = found.manifest.annotations.get(HORNERO_IMAGE) {
        return Ok(text.parse().ok());
    }
    let configuration = configuration.insert(source::configuration(source, &found.manifest)?);
    let labels = configuration.config.as_ref().and_then(|runtime| runtime.labels.as_ref());
    Ok(labels.and_then(|labels| labels.get(HORNERO_IMAGE)).and_then(|text| text.parse().ok()))
}

/// Whether a configuration says of user, command, environment and directory what an image says.
fn runs_the_same(configuration: &Configuration, config: &ImageConfig) -> Result<bool> {
    let said = import::config(&configuration.config.clone().unwrap_or_default())?;
    let parts = |config: &ImageConfig| {
        let workdir = if config.workdir.is_empty() { "/" } else { &config.workdir };
        (config.user.clone(), config.command.clone(), config.env.clone(), workdir.to_owned())
    };
    Ok(parts(&said) == parts(config))
}
