//! A pushed image as a source of good bytes for a damaged store.

use std::{collections::HashMap, error::Error, io, io::Read};

use hornero_model::Digest;
use hornero_store::{Finding, HealSource, Stored};

use crate::{
    Access, OciError, Quiet, Reference, Result, members,
    opened::{self, Opened},
    pack::tail::Tail,
    registry::Registry,
    source, tails,
};

/// Contents, layers and the manifest of an image in a registry, each fetched alone when it is asked for. Nobody is asked
/// before something is wanted, and a registry that cannot be reached only once.
pub struct RegistrySource {
    reference: Reference,
    access: Access,
    state: State,
}

enum State {
    Untouched,
    Open(Box<Open>),
    /// Why it cannot be used.
    Failed(String),
}

struct Open {
    registry: Registry<'static>,
    opened: Opened,
    /// The blobs' tails, read when something is first looked for in them.
    tails: Option<Tails>,
}

struct Tails {
    tails: Vec<(usize, Tail)>,
    /// Which of them has a content.
    contents: HashMap<Digest, usize>,
}

impl RegistrySource {
    /// An image that Hornero pushed; what another program made has nothing that is found by the store's digests, which
    /// is told when something is asked for.
    pub fn new(reference: &Reference, access: &Access) -> Self {
        Self { reference: reference.clone(), access: access.clone(), state: State::Untouched }
    }

    fn open(&mut self) -> Result<&mut Open, Failed> {
        if let State::Untouched = self.state {
            self.state = match Open::new(&self.reference, &self.access) {
                Ok(open) => State::Open(Box::new(open)),
                Err(error) => State::Failed(error.to_string()),
            };
        }
        match &mut self.state {
            State::Open(open) => Ok(open),
            State::Failed(reason) => Err(reason.clone().into()),
            State::Untouched => unreachable!("it was just tried"),
        }
    }
}

impl Open {
    fn new(reference: &Reference, access: &Access) -> Result<Self> {
        let registry = Registry::new(reference, access, &Quiet)?;
        let opened = opened::open(&registry, &source::find(&registry)?)?;
        let opened = opened.ok_or_else(|| {
            OciError::refused(reference.to_string(), "it is no image that Hornero pushed")
        })?;
        Ok(Self { registry, opened, tails: None })
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
        let open = self.open()?;
        open.load().map_err(Failed::from)?;
        let Some(tails) = &open.tails else { return Ok(None) };
        let Some(at) = tails.contents.get(&wanted.digest) else { return Ok(None) };
        let (blob, tail) = &tails.tails[*at];
        let (source, Stored { digest, size }) = (&open.registry, wanted);
        Ok(Some(Box::new(members::content(source, &open.opened, *blob, tail, digest, size)?)))
    }

    fn layer(&mut self, digest: &Digest) -> Answer<Vec<u8>> {
        let open = self.open()?;
        if !open.opened.manifest.layers.contains(digest) {
            return Ok(None);
        }
        open.load().map_err(Failed::from)?;
        let tails = open.tails.iter().flat_map(|tails| &tails.tails);
        let mut layers = tails.flat_map(|(_, tail)| &tail.layers);
        Ok(layers.find(|layer| layer.digest == *digest).map(|layer| layer.layer.encode()))
    }

    fn image(&mut self, digest: &Digest) -> Answer<Vec<u8>> {
        let open = self.open()?;
        Ok((open.opened.image == *digest).then(|| open.opened.manifest.encode()))
    }
}
