//! The files that secrets are read from: whatever an image copies or keeps of its directory, they are no part of it.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use hornero_spec::{SecretName, SecretSource, Spec};

/// The files of the secrets of every image of a directory.
#[derive(Debug, Default)]
pub(crate) struct SecretFiles {
    all: Vec<SecretFile>,
}

#[derive(Debug)]
struct SecretFile {
    name: SecretName,
    /// Where it is, without symlinks on the way; of one that is a symlink itself also where that is.
    places: BTreeSet<PathBuf>,
    /// Device and inode: a hard link has another place.
    identity: Option<(u64, u64)>,
}

/// What is done where the file of a secret lies among others.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Guard<'g> {
    /// It is an error.
    Refused(&'g SecretFiles),
    /// It is passed over.
    LeftOut(&'g SecretFiles),
}

impl SecretFiles {
    /// Those of every image that is declared: what one keeps secret must not get into another either.
    pub(crate) fn of(spec: &Spec, dir: &Path) -> Self {
        let declared = spec.images.values().flat_map(|image| &image.secrets);
        let files = declared.filter_map(|(name, source)| match source {
            SecretSource::File(path) => Some(SecretFile::of(name, &dir.join(path))),
            SecretSource::Environment(_) => None,
        });
        Self { all: files.collect() }
    }

    /// The file of one secret.
    #[cfg(test)]
    pub(crate) fn of_one(name: &str, path: &Path) -> Self {
        let name = SecretName::new(name).expect("a test names a secret");
        Self { all: vec![SecretFile::of(&name, path)] }
    }

    /// The secret that is read from a file; `host` has no symlinks above it.
    pub(crate) fn at(&self, host: &Path) -> Option<&SecretName> {
        if self.all.is_empty() {
            return None;
        }
        let found = fs::symlink_metadata(host).ok();
        let identity = found.map(|found| (found.dev(), found.ino()));
        let is = |file: &&SecretFile| {
            file.places.contains(host) || (identity.is_some() && file.identity == identity)
        };
        self.all.iter().find(is).map(|file| &file.name)
    }
}

impl SecretFile {
    /// One that is not there has no places: nothing can be copied from it.
    fn of(name: &SecretName, path: &Path) -> Self {
        let beside = path.parent().zip(path.file_name());
        let beside = beside.and_then(|(dir, name)| Some(fs::canonicalize(dir).ok()?.join(name)));
        let places = beside.into_iter().chain(fs::canonicalize(path)).collect();
        let identity = fs::metadata(path).ok().map(|found| (found.dev(), found.ino()));
        Self { name: name.clone(), places, identity }
    }
}

impl Guard<'_> {
    /// Whether a file is passed over; the error says which secret it holds.
    pub(crate) fn passes_over(self, host: &Path) -> Result<bool, String> {
        match self {
            Self::LeftOut(files) => Ok(files.at(host).is_some()),
            Self::Refused(files) => match files.at(host) {
                None => Ok(false),
                Some(name) => {
                    Err(format!("secret `{name}` lies inside what is copied: move it out"))
                }
            },
        }
    }
}
