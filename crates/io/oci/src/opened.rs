//! A Hornero image as a source has it.

use hornero_model::{Digest, ImageConfig};
use hornero_store::ImageManifest;

use crate::{
    Compression, OciError, Result,
    document::{self, Configuration, Descriptor, HORNERO_IMAGE},
    foreign,
    pack::{
        self,
        passport::{self, Passport},
    },
    source::{self, Found, Source},
};

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
    let said = foreign::configuration::config(&configuration.config.clone().unwrap_or_default())?;
    let parts = |config: &ImageConfig| {
        let workdir = if config.workdir.is_empty() { "/" } else { &config.workdir };
        (config.user.clone(), config.command.clone(), config.env.clone(), workdir.to_owned())
    };
    Ok(parts(&said) == parts(config))
}
