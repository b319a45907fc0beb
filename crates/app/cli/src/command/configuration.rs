//! What releases name besides images, and the home keeps: files of a configuration, in the store, and values of secrets.

use std::{collections::BTreeMap, path::Path};

use hornero_model::{Digest, ImageConfig, SecretFile, SecretLabel, ServiceSpec};
use hornero_secret::Vault;
use hornero_spec::{ConfigDefinition, SecretDefinition, ServiceDefinition, Spec};
use hornero_store::{Entry, EntryKind, ImageManifest, Layer, Metadata, Store, TreePath};

use crate::failure::{Failure, exit};

/// Where a home keeps what releases name.
#[derive(Clone, Copy)]
pub struct Kept<'h> {
    /// The home.
    pub home: &'h Path,
    /// Its store.
    pub store: &'h Store,
}

/// The spec of a service with what the home knows: the image that keeps its files, and the newest value of each of its
/// secrets. Where only names count, and nothing is given, it stays without.
pub fn complete(
    kept: Option<Kept<'_>>,
    service: &ServiceDefinition,
    spec: ServiceSpec,
) -> Result<ServiceSpec, Failure> {
    let Some(Kept { home, store }) = kept else { return Ok(spec) };
    let configuration = match service.config.is_empty() {
        true => None,
        false => Some(keep(store, &service.config)?),
    };
    let vault = Vault::of(home);
    let secrets = service.secrets.iter().map(|secret| {
        let SecretDefinition { name, path, mode, owner } = secret.clone();
        let version = vault.newest(&name)?.ok_or_else(|| missing(service, &name))?;
        Ok(SecretFile { name, version, path, mode, owner })
    });
    let secrets = secrets.collect::<Result<_, Failure>>()?;
    Ok(ServiceSpec { configuration, secrets, ..spec })
}

/// Refuses services whose secrets can't be given to their servers, before anything is done for them.
pub fn check_secrets(home: &Path, spec: &Spec) -> Result<(), Failure> {
    let vault = Vault::of(home);
    let of_jobs = spec.jobs.values().map(|job| &job.server);
    for service in spec.services.values().chain(of_jobs) {
        for secret in &service.secrets {
            let newest = vault.newest(&secret.name)?;
            let version = newest.ok_or_else(|| missing(service, &secret.name))?;
            // Whether the key is there as well; nothing is decrypted.
            drop(vault.sealed(&secret.name, &version)?);
        }
    }
    Ok(())
}

fn missing(service: &ServiceDefinition, name: &SecretLabel) -> Failure {
    let text = format!("service `{}` needs secret `{name}`, which is not set", service.name);
    Failure::new(exit::REFUSED, text)
        .word("secret_missing")
        .hint(format!("nothing was changed; `hornero secret set {name} < FILE` sets it"))
}

/// Puts files into the store, as an image of one layer with a file for each content: what collects, checks, mends and
/// backs up images then knows of them.
fn keep(store: &Store, files: &[ConfigDefinition]) -> Result<Digest, Failure> {
    let _lease = store.lease()?;
    let ingest = store.ingest()?;
    let mut entries = BTreeMap::new();
    for file in files {
        let stored = ingest.put_bytes(file.content.as_bytes())?;
        let path = TreePath::new(stored.digest.hex()).map_err(|error| Failure::of(&error))?;
        let kind = EntryKind::File { digest: stored.digest, size: stored.size };
        entries
            .insert(path.clone(), Entry { path, kind, metadata: Metadata::root_owned(0o644, 0) });
    }
    let layer = Layer::from_entries(entries.into_values().collect());
    let layer = ingest.put_layer(&layer.map_err(|error| Failure::of(&error))?)?;
    ingest.finish()?;
    Ok(store.put_image(&ImageManifest::new(vec![layer], ImageConfig::default()))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, content: &str) -> ConfigDefinition {
        let (path, content) = (path.to_owned(), content.to_owned());
        ConfigDefinition { path, content, mode: 0o644, owner: "root".to_owned() }
    }

    #[test]
    fn equal_contents_are_kept_once_and_under_one_name() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(directory.path().join("store")).unwrap();
        let files = [file("/etc/a", "same"), file("/etc/b", "same"), file("/etc/c", "")];
        let kept = keep(&store, &files).unwrap();
        assert_eq!(store.tree(&kept).unwrap().contents().count(), 2);
        let moved = [file("/srv/c", ""), file("/srv/a", "same")];
        assert_eq!(keep(&store, &moved).unwrap(), kept, "where they lie is the release's to say");
        assert_ne!(keep(&store, &files[..1]).unwrap(), kept);
        assert_eq!(store.read_object(&files[0].file().content).unwrap(), b"same");
        store.verify_image(&kept).unwrap();
    }
}
