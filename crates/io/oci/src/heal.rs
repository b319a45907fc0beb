//! A pushed image as a source of good bytes for a damaged store.

use std::{collections::HashMap, error::Error, io, io::Read};

use hornero_model::Digest;
use hornero_store::{Finding, HealSource, Stored};

use crate::{
    Access, OciError, Quiet, Reference, Result, delta,
    pack::tail::Tail,
    pull::{self, Opened},
    registry::Registry,
    source, tails,
};

/// Contents, layers and the manifest of an image in a registry, each fetched alone when it is asked for.
pub struct RegistrySource {
    registry: Registry<'static>,
    opened: Opened,
    /// The blobs' tails, read when something is first asked for.
    tails: Option<Tails>,
}

struct Tails {
    tails: Vec<(usize, Tail)>,
    /// Which of them has a content.
    contents: HashMap<Digest, usize>,
}

impl RegistrySource {
    /// Opens an image that Hornero pushed.
    ///
    /// # Errors
    /// [`OciError::Refused`] for an image that another program made: what is stored of it cannot be found there by
    /// its digest; and those of [`crate::pull`].
    pub fn open(reference: &Reference, access: &Access) -> Result<Self> {
        let registry = Registry::new(reference, access, &Quiet)?;
        let opened = pull::open(&registry, &source::find(&registry)?)?;
        let opened = opened.ok_or_else(|| {
            OciError::refused(reference.to_string(), "it is no image that Hornero pushed")
        })?;
        Ok(Self { registry, opened, tails: None })
    }

    /// The Hornero image that it is.
    pub fn image_digest(&self) -> &Digest {
        &self.opened.image
    }

    fn load(&mut self) -> Result<()> {
        if self.tails.is_none() {
            let tails = tails::all(&self.registry, &self.opened)?;
            let indexed = tails.iter().enumerate();
            let contents = indexed
                .flat_map(|(at, (_, tail))| tail.contents.keys().map(move |digest| (*digest, at)));
            self.tails = Some(Tails { contents: contents.collect(), tails });
        }
        Ok(())
    }
}

type Failed = Box<dyn Error + Send + Sync>;
/// What the store's sources give.
type Answer<T> = Result<Option<T>, Failed>;

impl HealSource for RegistrySource {
    fn content<'a>(&'a mut self, wanted: Stored, _: &Finding) -> Answer<Box<dyn Read + 'a>> {
        if wanted.size == 0 {
            return Ok(Some(Box::new(io::empty())));
        }
        self.load().map_err(Failed::from)?;
        let Some(tails) = &self.tails else { return Ok(None) };
        let Some(at) = tails.contents.get(&wanted.digest) else { return Ok(None) };
        let (blob, tail) = &tails.tails[*at];
        let (source, Stored { digest, size }) = (&self.registry, wanted);
        Ok(Some(Box::new(delta::content(source, &self.opened, *blob, tail, digest, size)?)))
    }

    fn layer(&mut self, digest: &Digest) -> Answer<Vec<u8>> {
        if !self.opened.manifest.layers.contains(digest) {
            return Ok(None);
        }
        self.load().map_err(Failed::from)?;
        let tails = self.tails.iter().flat_map(|tails| &tails.tails);
        let mut layers = tails.flat_map(|(_, tail)| &tail.layers);
        Ok(layers.find(|layer| layer.digest == *digest).map(|layer| layer.layer.encode()))
    }

    fn image(&mut self, digest: &Digest) -> Answer<Vec<u8>> {
        Ok((self.opened.image == *digest).then(|| self.opened.manifest.encode()))
    }
}
