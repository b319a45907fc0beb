//! The package cache as a source of good bytes for a damaged store.

use std::{
    collections::{BTreeMap, BTreeSet},
    error::Error,
    fs::{File, OpenOptions},
    io::{self, Read, Seek as _, Write as _},
    path::{Path, PathBuf},
};

use hornero_apt::cache::PackageCache;
use hornero_dpkg::deb::unpack::{self, UnpackError};
use hornero_model::Digest;
use hornero_store::{Finding, HealSource, Store, Stored};
use sha2::{Digest as _, Sha256};

use crate::{
    BakeError, lineage,
    source::{LayerSource, PackageSource},
    workdir::WorkDir,
};

/// Contents of packages, unpacked again from the files in a home's package cache.
///
/// It has what the records of bakes say to come from a package, and nothing of other layers. Nothing is fetched.
pub struct PackageCacheSource<'s> {
    home: PathBuf,
    store: &'s Store,
    /// The layers of each image asked about that are packages, with the package files' digests.
    packages: BTreeMap<Digest, Vec<(Digest, Digest)>>,
}

impl<'s> PackageCacheSource<'s> {
    /// The package cache of `home`, for images of `store`; nothing is read yet.
    pub fn new(home: &Path, store: &'s Store) -> Self {
        Self { home: home.to_owned(), store, packages: BTreeMap::new() }
    }

    /// The package files of the layers that a finding names. Gives also why images could not tell.
    fn candidates(&mut self, finding: &Finding) -> (BTreeSet<Digest>, Option<BakeError>) {
        let mut found = BTreeSet::new();
        let mut failure = None;
        for (image, _) in &finding.uses {
            if !self.packages.contains_key(image) {
                match packages_of(self.store, image) {
                    Ok(packages) => drop(self.packages.insert(*image, packages)),
                    Err(error) => drop(failure.get_or_insert(error)),
                }
            }
            let packages = self.packages.get(image).into_iter().flatten();
            let wanted = packages.filter(|(layer, _)| finding.layers.contains(layer));
            found.extend(wanted.map(|(_, package)| *package));
        }
        (found, failure)
    }

    /// A content of a package file; None where the package has no such content.
    fn unpacked(
        &self,
        package: &Digest,
        deb: &[u8],
        wanted: Stored,
    ) -> Result<Option<File>, Failed> {
        let work = WorkDir::create(&self.home.join("tmp"))?;
        let path = work.path().join("content");
        // Its name goes with the directory; the bytes stay as long as it is open.
        let mut kept = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        let (mut found, mut failure) = (false, None);
        let mut put = |reader: &mut dyn Read| {
            // What the unpacked tree has no use for here need not be read.
            if !found && failure.is_none() {
                match keep(reader, &mut kept, wanted.size) {
                    Ok(digest) => found = digest == Some(wanted.digest),
                    Err(error) => failure = Some(error),
                }
            }
            Ok((wanted.digest, wanted.size))
        };
        let unpacked = unpack::unpack(deb, u64::MAX, &mut put);
        if found {
            kept.rewind()?;
            return Ok(Some(kept));
        }
        let reason = match (failure, unpacked) {
            (Some(error), _) => error.to_string(),
            (None, Err(UnpackError::Package(error))) => error.to_string(),
            (None, Err(UnpackError::Store(error))) => return Err(error.into()),
            (None, Ok(_)) => return Ok(None),
        };
        Err(BakeError::Unpack { package: package.to_string(), reason }.into())
    }
}

type Failed = Box<dyn Error + Send + Sync>;

impl HealSource for PackageCacheSource<'_> {
    fn content<'a>(
        &'a mut self,
        wanted: Stored,
        finding: &Finding,
    ) -> Result<Option<Box<dyn Read + 'a>>, Failed> {
        let (packages, failure) = self.candidates(finding);
        let mut failure = failure.map(Failed::from);
        let cache = PackageCache::open(&self.home.join("cache/packages"))?;
        for package in &packages {
            // A damaged package file is as good as none: the cache drops it.
            let unpacked = match cache.verified(package) {
                Ok(Some(deb)) => self.unpacked(package, &deb, wanted),
                Ok(None) => continue,
                Err(error) => Err(error.into()),
            };
            match unpacked {
                Ok(Some(content)) => return Ok(Some(Box::new(content))),
                Ok(None) => {}
                // Another package may have it.
                Err(error) => drop(failure.get_or_insert(error)),
            }
        }
        failure.map_or(Ok(None), Err)
    }
}

/// The layers of an image that are packages, with the package files' digests; those of the images below included.
fn packages_of(store: &Store, image: &Digest) -> Result<Vec<(Digest, Digest)>, BakeError> {
    let layers = store.image(image).map_err(BakeError::store)?.layers;
    let mut packages = Vec::new();
    for stage in lineage::of(store, image, &layers)? {
        let known = layers[stage.layers.clone()].iter().zip(stage.sources());
        packages.extend(known.filter_map(|(layer, source)| match source {
            Some(LayerSource::Package(PackageSource { sha256: Some(digest), .. })) => {
                Some((*layer, digest))
            }
            _ => None,
        }));
    }
    Ok(packages)
}

/// Writes a content of `size` bytes over whatever is in `kept`, and gives its digest; None for one of another size.
fn keep(reader: &mut dyn Read, kept: &mut File, size: u64) -> io::Result<Option<Digest>> {
    kept.set_len(0)?;
    kept.rewind()?;
    let mut hasher = Sha256::new();
    let mut buffer = vec![0_u8; 256 << 10];
    let mut read = 0;
    loop {
        let count = reader.read(&mut buffer)?;
        if count == 0 {
            let digest = Digest::from_bytes(hasher.finalize().into());
            return Ok((read == size).then_some(digest));
        }
        read += count as u64;
        if read > size {
            return Ok(None);
        }
        hasher.update(&buffer[..count]);
        kept.write_all(&buffer[..count])?;
    }
}
