//! What is known of an image's packages before it is baked: from the lock, else from the lists that were kept when an archive
//! was read last. Nothing is asked of any archive.

use std::{
    collections::{BTreeMap, HashMap},
    path::Path,
};

use hornero_apt::{
    AptError, Lock, architecture,
    resolve::{self, Unsatisfiable},
    sources_list::ArchiveRequest,
    universe::{self, Universe},
};
use hornero_model::ImageName;
use hornero_spec::{ImageDefinition, Spec};

use crate::{BakeContext, BakeError, declared, fit};

/// What is known of an image's packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PackagesForecast {
    /// They are there, all but these: each as the image asks for it, and why it can't be had.
    Known(Vec<(String, Unsatisfiable)>),
    /// Nothing here could tell, and why.
    Unknown(String),
}

/// Looks whether the packages of every image are there.
///
/// # Errors
/// Where the lock can't be read.
pub fn forecast_packages(
    context: &BakeContext<'_>,
    spec: &Spec,
    dir: &Path,
) -> Result<BTreeMap<ImageName, PackagesForecast>, BakeError> {
    let lock = Lock::read(dir)?.unwrap_or_default();
    let names: Vec<ImageName> = spec.images.keys().cloned().collect();
    let mut wanted: BTreeMap<ArchiveRequest, Vec<&ImageDefinition>> = BTreeMap::new();
    let mut known = BTreeMap::new();
    for image in declared::with_ancestors(spec, &names)? {
        let fits = fit::misfit_of(lock.images.get(&image.name), spec, image, dir)?.is_none();
        match declared::archive_request(spec, image, dir) {
            // What the lock has was in the lists when it was made.
            Some(request) if !fits && !image.packages.is_empty() => {
                wanted.entry(request).or_default().push(image);
            }
            Some(_) | None => {
                known.insert(image.name.clone(), PackagesForecast::Known(Vec::new()));
            }
        }
    }
    for (request, images) in &wanted {
        for image in images {
            known.insert(image.name.clone(), PackagesForecast::Known(Vec::new()));
        }
        if let Err(error) = look(context, request, images, &mut known) {
            for image in images {
                let why = PackagesForecast::Unknown(unknown(&error));
                known.insert(image.name.clone(), why);
            }
        }
    }
    Ok(known)
}

/// Looks into the kept lists of one request.
fn look(
    context: &BakeContext<'_>,
    request: &ArchiveRequest,
    images: &[&ImageDefinition],
    known: &mut BTreeMap<ImageName, PackagesForecast>,
) -> Result<(), BakeError> {
    let architecture = architecture()?;
    let access = context.access()?;
    let suites = access.load_kept(request, architecture)?;
    let listed = universe::listed(&suites, architecture)?;
    let policy = access.policy(request)?;
    for image in images {
        let versions = image.packages.iter().filter_map(|wanted| wanted.split_once('='));
        let pinned: HashMap<String, String> =
            versions.map(|(name, version)| (name.to_owned(), version.to_owned())).collect();
        let universe = Universe::new(listed.iter().copied(), &policy, &pinned, &[]);
        let missing = image.packages.iter().filter_map(|wanted| {
            let problem = resolve::find(&universe, wanted).err()?;
            Some((wanted.clone(), problem))
        });
        known.insert(image.name.clone(), PackagesForecast::Known(missing.collect()));
    }
    Ok(())
}

/// Why nothing could be told; that lists were never kept is the usual reason and no error.
fn unknown(error: &BakeError) -> String {
    if let BakeError::Apt(error) = error
        && let AptError::Archive { archive, .. } = &**error
    {
        return format!("the lists of `{archive}` were not read for this home so far");
    }
    error.to_string()
}
