//! Where instances are scraped: for Prometheus' discovery by HTTP, and by a file that it watches.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use hornero_api::message::ScrapeTarget;
use hornero_driver::Driver;
use hornero_home::Opening;
use hornero_model::{ServiceName, error_chain};

use super::seen::terms;

/// Every instance that runs and whose service declares where it is scraped, by service and id.
pub fn targets(driver: &Driver) -> Vec<(ServiceName, ScrapeTarget)> {
    let views = driver.instances().into_iter();
    let found = views.filter_map(|view| {
        let spec = terms(driver, &view)?;
        let (endpoint, location) = (spec.metrics.as_ref()?, view.location.as_ref()?);
        let mut labels = BTreeMap::from([
            ("__metrics_path__".to_owned(), endpoint.path.clone()),
            ("service".to_owned(), view.service.to_string()),
            ("release".to_owned(), view.release.to_string()),
            ("instance".to_owned(), view.id.to_string()),
            ("__meta_hornero_state".to_owned(), view.state.to_string()),
            ("__meta_hornero_image".to_owned(), spec.image.to_string()),
        ]);
        let said = spec.labels.iter();
        labels.extend(
            said.map(|(name, value)| (format!("__meta_hornero_label_{name}"), value.clone())),
        );
        let address = SocketAddr::new(location.address, endpoint.port).to_string();
        Some((view.service.clone(), ScrapeTarget { targets: vec![address], labels }))
    });
    found.collect()
}

/// The file that Prometheus watches.
#[derive(Debug)]
pub struct TargetsFile {
    path: PathBuf,
    /// What it holds.
    written: Option<Vec<u8>>,
}

impl TargetsFile {
    /// The one in a directory of the home.
    pub fn of(directory: &Path) -> Self {
        Self { path: directory.join("targets.json"), written: None }
    }

    /// Has it hold these targets: whoever reads it has the old or the new ones, whole.
    pub fn hold(&mut self, targets: &[ScrapeTarget]) {
        let Ok(mut bytes) = serde_json::to_vec_pretty(targets) else { return };
        bytes.push(b'\n');
        if self.written.as_ref() == Some(&bytes) || self.holds(&bytes) {
            self.written = Some(bytes);
            return;
        }
        match hornero_home::put(&self.path, &bytes) {
            Ok(()) => self.written = Some(bytes),
            Err(error) => {
                tracing::warn!(
                    "`{}` can't be written: {}",
                    self.path.display(),
                    error_chain(&error)
                );
            }
        }
    }

    /// Whether a control process before this one wrote the same, so that nobody who watches it is woken.
    fn holds(&self, bytes: &[u8]) -> bool {
        use std::io::Read as _;
        let Ok(file) = hornero_home::open(&self.path, Opening::Read) else { return false };
        let mut found = Vec::new();
        let read = file.take(bytes.len() as u64 + 1).read_to_end(&mut found);
        self.written.is_none() && read.is_ok() && found == bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn target(address: &str) -> ScrapeTarget {
        let labels = BTreeMap::from([("instance".to_owned(), "site-1-ab".to_owned())]);
        ScrapeTarget { targets: vec![address.to_owned()], labels }
    }

    #[test]
    fn the_file_is_written_when_targets_change_and_only_then() {
        let home = tempfile::tempdir().unwrap();
        let identity = || {
            use std::os::unix::fs::MetadataExt as _;
            std::fs::metadata(home.path().join("targets.json")).unwrap().ino()
        };
        let mut file = TargetsFile::of(home.path());
        file.hold(&[target("10.0.0.1:80")]);
        let first = identity();
        file.hold(&[target("10.0.0.1:80")]);
        TargetsFile::of(home.path()).hold(&[target("10.0.0.1:80")]);
        assert_eq!(identity(), first);
        file.hold(&[]);
        let text = std::fs::read_to_string(home.path().join("targets.json")).unwrap();
        assert_eq!(text, "[]\n");
        assert_ne!(identity(), first);
        assert!(!home.path().join(".targets.json.new").exists());
    }
}
