//! What every bake needs to know of its surroundings.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use hornero_apt::{access::Access, fetch::Patience};
use hornero_store::Store;

use crate::{
    BakeError,
    progress::{BakeEvent, BakeProgress},
    provision::Environment,
};

/// The surroundings of a bake.
pub struct BakeContext<'a> {
    /// The home directory; a bake uses `cache` and `tmp` below it.
    pub home: PathBuf,
    /// Is told what happens.
    pub progress: &'a dyn BakeProgress,
    /// Where the host's apt configuration is.
    pub apt_dir: PathBuf,
    /// Where the values of build secrets come from: the environment of this process.
    pub environment: Environment,
    /// How long mirrors are waited for.
    pub patience: Patience,
}

impl<'a> BakeContext<'a> {
    /// A context with the host's own apt configuration.
    pub fn new(home: &Path, progress: &'a dyn BakeProgress) -> Self {
        Self {
            home: home.to_owned(),
            progress,
            apt_dir: PathBuf::from("/etc/apt"),
            environment: Arc::new(|name| std::env::var_os(name)),
            patience: Patience::default(),
        }
    }

    /// The store of the home.
    pub(crate) fn store(&self) -> Result<Store, BakeError> {
        Store::open(self.home.join("store")).map_err(BakeError::store)
    }

    pub(crate) fn access(&self) -> Result<Access<'a>, BakeError> {
        let progress = self.progress;
        let heard = move |event| progress.event(BakeEvent::Archive(event));
        let cache = self.home.join("cache");
        Ok(Access::open(&cache, &self.apt_dir, self.patience, Box::new(heard))?)
    }
}
