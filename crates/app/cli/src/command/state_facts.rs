//! What is known of the state of a directory's services before any server is looked at: from `hornero.hcl` and from images.

use std::path::Path;

use hornero_model::{Digest, ImageConfig, ImageName};
use hornero_oci::{IMPORT_ATTACHMENT, ImportRecord};
use hornero_spec::{ServiceDefinition, Spec};
use hornero_state_lint::{DataDirectory, StateFacts, installed};
use hornero_store::{Store, StoreError, Tree, TreePath};

use crate::{
    command::{named, stores},
    failure::Failure,
    project::Project,
};

/// Directories of the root in which programs have their data (Filesystem Hierarchy Standard 3.0, sections 5.8 and 5.14).
const DATA_ROOTS: &[&str] = &["var/lib", "var/spool"];
/// What dpkg knows of what is installed.
const STATUS_PATH: &str = "var/lib/dpkg/status";
/// Images of a file that are made on one another; a file has no use for more.
const ANCESTORS_MAX: usize = 64;

/// What is known of a service.
pub struct KnownService {
    /// It.
    pub facts: StateFacts,
    /// Whether its image was looked into.
    pub baked: bool,
}

/// What is known of each service, by name. Of images without a digest the declaration is all there is.
pub fn known(
    home: &Path,
    project: &Project,
    digest_of: impl Fn(&ImageName) -> Option<Digest>,
) -> Result<Vec<KnownService>, Failure> {
    let store = stores::store(home)?;
    // Nothing that is looked into is collected meanwhile.
    let _lease = store.lease_to_read()?;
    let services = project.spec.services.values();
    let one = |service: &ServiceDefinition| -> Result<KnownService, Failure> {
        let digest = digest_of(&service.image).filter(|digest| store.has_image(digest));
        let image = match &digest {
            Some(digest) => of_store(&store, digest)?,
            None => of_declaration(&project.spec, &service.image),
        };
        Ok(KnownService { baked: digest.is_some(), facts: facts(service, image) })
    };
    services.map(one).collect()
}

/// What an image says.
#[derive(Default)]
struct ImageFacts {
    config: ImageConfig,
    packages: Vec<String>,
    volumes: Vec<String>,
    data_directories: Vec<DataDirectory>,
}

fn facts(service: &ServiceDefinition, image: ImageFacts) -> StateFacts {
    let ImageFacts { config, packages, volumes, data_directories } = image;
    let mut env = config.env;
    env.extend(service.env.clone());
    StateFacts {
        service: service.name.clone(),
        image: service.image.to_string(),
        instances: service.instances,
        mounts: service.mounts.iter().map(|mount| mount.path.clone()).collect(),
        scratch: config.scratch.into_iter().map(|scratch| scratch.path).collect(),
        not_state: service.not_state.clone(),
        command: config.command,
        env,
        packages,
        image_volumes: volumes,
        data_directories,
    }
}

fn of_store(store: &Store, digest: &Digest) -> Result<ImageFacts, Failure> {
    let tree = store.tree(digest)?;
    let status = match store.read_tree_file(&tree, STATUS_PATH) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(StoreError::NoPath { .. }) => String::new(),
        Err(error) => return Err(error.into()),
    };
    Ok(ImageFacts {
        config: store.image(digest)?.config,
        packages: installed(&status),
        volumes: image_volumes(store, digest)?,
        data_directories: data_directories(&tree),
    })
}

/// What an imported image, or one that this one is made on, says should be volumes.
fn image_volumes(store: &Store, digest: &Digest) -> Result<Vec<String>, Failure> {
    let mut volumes = Vec::new();
    for image in std::iter::once(*digest).chain(named::parents(store, digest)?) {
        let Some(bytes) = store.attachment(&image, IMPORT_ATTACHMENT)? else { continue };
        // What a newer version recorded says nothing that is understood here.
        let Ok(record) = serde_json::from_slice::<ImportRecord>(&bytes) else { continue };
        volumes.extend(record.volumes);
    }
    volumes.sort();
    volumes.dedup();
    Ok(volumes)
}

fn data_directories(tree: &Tree) -> Vec<DataDirectory> {
    let mut directories = Vec::new();
    for root in DATA_ROOTS {
        let Ok(root) = TreePath::new(root.as_bytes()) else { continue };
        let own = tree.children(&root).filter(|entry| entry.kind.is_directory());
        let others = own.filter(|entry| entry.metadata.uid != 0);
        directories.extend(others.map(|entry| DataDirectory {
            path: format!("/{}", String::from_utf8_lossy(entry.path.as_bytes())),
            uid: entry.metadata.uid,
        }));
    }
    directories
}

/// What is declared of an image that is not baked yet, with what it is made on.
fn of_declaration(spec: &Spec, name: &ImageName) -> ImageFacts {
    let mut facts = ImageFacts::default();
    let mut next = spec.images.get(name);
    if let Some(image) = next {
        facts.config = image.config.clone();
    }
    for _ in 0..ANCESTORS_MAX {
        let Some(image) = next else { break };
        facts.packages.extend(image.packages.iter().cloned());
        next = image.base.image().and_then(|base| spec.images.get(base));
    }
    facts
}
