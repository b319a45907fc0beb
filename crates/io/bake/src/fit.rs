//! Whether the lock still fits what is declared of an image.

use std::path::Path;

use hornero_apt::{LockedImage, architecture, sources_list::ArchiveRequest};
use hornero_spec::{ImageDefinition, Spec};

use crate::{
    BakeError,
    declared::{archive_request, has_entry},
};

/// Why an image's lock entry would have to change; None where it fits or none is needed.
pub(crate) fn misfit_of(
    known: Option<&LockedImage>,
    spec: &Spec,
    image: &ImageDefinition,
    dir: &Path,
) -> Result<Option<String>, BakeError> {
    if !has_entry(image) {
        return Ok(None);
    }
    Ok(misfit(known, spec, image, dir, architecture()?))
}

/// Why a lock entry does not fit its image; None when it does.
pub(crate) fn misfit(
    known: Option<&LockedImage>,
    spec: &Spec,
    image: &ImageDefinition,
    dir: &Path,
    architecture: &str,
) -> Option<String> {
    let request = archive_request(spec, image, dir)?;
    let Some(known) = known else { return Some("it has no entry there".to_owned()) };
    if known.architecture != architecture {
        return Some(format!(
            "it is for architecture `{}`, this machine is `{architecture}`",
            known.architecture
        ));
    }
    if known.suite != request.suite {
        return Some(format!("its suite was `{}`, is now `{}`", known.suite, request.suite));
    }
    if known.from.as_ref() != image.base.image() {
        return Some("it is made from another image now".to_owned());
    }
    if !declares(known, &request) {
        return Some("the archives that are declared for it are others now".to_owned());
    }
    let wanted = sorted(&image.packages);
    if known.requested != wanted {
        return Some(format!(
            "its packages were [{}], are now [{}]",
            known.requested.join(", "),
            wanted.join(", ")
        ));
    }
    None
}

/// Whether a lock entry was made with the archives that a request declares.
pub(crate) fn declares(known: &LockedImage, request: &ArchiveRequest) -> bool {
    let mut locked: Vec<_> = known
        .archives
        .iter()
        .filter_map(|state| {
            Some((state.name.as_ref()?, &state.uri, &state.suite, &state.components))
        })
        .collect();
    locked.sort();
    let mut declared: Vec<_> = request
        .archives
        .iter()
        .map(|archive| (&archive.name, &archive.uri, &archive.suite, &archive.components))
        .collect();
    declared.sort();
    locked == declared
}

/// Names of packages as a lock has them.
pub(crate) fn sorted(packages: &[String]) -> Vec<String> {
    let mut packages = packages.to_vec();
    packages.sort();
    packages.dedup();
    packages
}
