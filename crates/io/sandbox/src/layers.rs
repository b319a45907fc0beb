//! Assembles the root, `/dev` and the provided files as detached mounts, seen by no mount namespace of the host.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    mount::{OpenTreeFlags, open_tree},
};

use crate::{
    devices::devices,
    error::StartError,
    identity::FileIds,
    owners,
    provided::{MountedFile, provided_files},
    root::{RootWay, Stack, assemble, mount_by_loop, takes_no_files},
    skeleton::skeleton,
    spec::{ComposedRoot, IdMap, Root, SandboxSpec, SecretMount},
    stage::Hold,
    sys,
    views::{self, Opened},
    volumes::{self, VolumeMount},
};

/// The mounts of a sandbox before its user namespace is known.
pub(crate) struct Layers<'a> {
    root: &'a Root,
    way: &'a dyn RootWay,
    /// The host id of the sandbox's root.
    first: u32,
    hold: Hold<'a>,
    /// The metadata image, or the directory; none for an empty build root.
    lower: Option<OwnedFd>,
    /// The objects that the metadata refers to.
    objects: Option<OwnedFd>,
    /// Directories and files to mount on that the image may lack: the lowest layer, so that it changes nothing else.
    skeleton: OwnedFd,
    /// The directory with `upper` and `work`.
    upper: Option<OwnedFd>,
    /// The parts of the host that are seen.
    pub views: Vec<Opened<'a>>,
    /// `/dev`.
    pub dev: OwnedFd,
    /// The provided files and secrets.
    pub files: Vec<MountedFile>,
}

impl<'a> Layers<'a> {
    /// Makes every mount that does not depend on the user namespace. `hold` attaches mounts where the kernel can't
    /// use detached ones as layers (see [`crate::stage`]).
    pub fn prepare(
        spec: &'a SandboxSpec,
        secrets: Vec<SecretMount>,
        volumes: &[String],
        way: &'a dyn RootWay,
        hold: Hold<'a>,
    ) -> Result<Self, StartError> {
        let first = spec.id_map.map_or(0, |map| map.first);
        // Everything of the host is opened before a layer is attached, which may hide it.
        let composed = composed(&spec.root);
        let objects = composed.map(open_objects).transpose()?;
        let lower = match &spec.root {
            Root::Directory { path, .. } => Some(clone_directory(path)?),
            Root::Composed(_) | Root::Build { .. } => {
                composed.map(|composed| metadata_mount(way, composed, first)).transpose()?
            }
            Root::Views(_) => None,
        };
        let views = views::open(&spec.root)?;
        let upper = match &spec.root {
            Root::Build { dir, .. } => Some(upper_directory(way, dir, spec.id_map)?),
            Root::Composed(_) | Root::Directory { .. } | Root::Views(_) => None,
        };
        let files = spec.files.iter().map(|file| file.path.as_str());
        let paths: Vec<&str> =
            files.chain(secrets.iter().map(|secret| secret.path.as_str())).collect();
        let skeleton = skeleton(spec, &paths, volumes, first)?;
        views::make_places(&skeleton, first, &spec.root, &views)?;
        let files = provided_files(&spec.files, secrets, first, hold)?;
        let dev = devices(first, spec.profile.has_terminals())?;
        let root = &spec.root;
        Ok(Self { root, way, first, hold, lower, objects, skeleton, upper, views, dev, files })
    }

    /// The root, its layers' ids mapped through `user_namespace`.
    pub fn root(&self, user_namespace: Option<BorrowedFd<'_>>) -> Result<OwnedFd, StartError> {
        if let Root::Views(_) = self.root {
            views::map(&self.views, user_namespace)?;
            return self.bare();
        }
        let writable = matches!(self.root, Root::Directory { writable: true, .. });
        if user_namespace.is_some() && (self.way.maps_ids() || writable) {
            for mount in [&self.lower, &self.upper].into_iter().flatten() {
                sys::mount_setattr(mount.as_fd(), 0, user_namespace)
                    .map_err(|error| StartError::failed("map the ids of", self.object(), error))?;
            }
        }
        match &self.lower {
            Some(directory) if writable => {
                let flags = sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOSUID;
                sys::mount_setattr(directory.as_fd(), flags, None)
                    .map_err(|error| StartError::failed("prepare the root directory", "", error))?;
                directory
                    .try_clone()
                    .map_err(|error| StartError::failed("copy a descriptor", "", error))
            }
            _ if self.upper.is_some() => {
                let _creator = FileIds::assume(self.first).map_err(|error| {
                    StartError::failed("take the ids of the sandbox's root", "", error)
                })?;
                self.overlay()
            }
            _ => self.overlay(),
        }
    }

    /// Volumes as they appear in `root`, in the order given.
    pub fn volumes(
        &self,
        volumes: Vec<VolumeMount>,
        root: &OwnedFd,
        user_namespace: Option<BorrowedFd<'_>>,
    ) -> Result<Vec<OwnedFd>, StartError> {
        volumes::bind(volumes, root.as_fd(), user_namespace, self.hold)
    }

    /// The skeleton alone: views are attached to it.
    fn bare(&self) -> Result<OwnedFd, StartError> {
        let flags = sys::MOUNT_ATTR_RDONLY | sys::MOUNT_ATTR_NODEV | sys::MOUNT_ATTR_NOSUID;
        sys::mount_setattr(self.skeleton.as_fd(), flags, None)
            .map_err(|error| StartError::failed("prepare the empty root", "", error))?;
        self.skeleton
            .try_clone()
            .map_err(|error| StartError::failed("copy a descriptor", "", error))
    }

    fn overlay(&self) -> Result<OwnedFd, StartError> {
        let layers = [&self.lower, &self.upper].into_iter().flatten();
        // Once attached, a mount's ids can't be mapped any more.
        for mount in layers.chain([&self.skeleton]) {
            (self.hold)(mount).map_err(|error| StartError::failed("hold a layer", "", error))?;
        }
        let stack = Stack {
            lower: self.lower.as_ref(),
            skeleton: &self.skeleton,
            objects: self.objects.as_ref(),
            upper: self.upper.as_ref(),
        };
        assemble(self.way, &stack).map_err(|error| {
            StartError::failed("assemble the root's overlay", self.object(), error)
        })
    }

    fn object(&self) -> String {
        match self.root {
            Root::Composed(composed) => composed.metadata.display().to_string(),
            Root::Directory { path, .. } => path.display().to_string(),
            Root::Build { dir, .. } => dir.display().to_string(),
            Root::Views(_) => String::new(),
        }
    }
}

fn composed(root: &Root) -> Option<&ComposedRoot> {
    match root {
        Root::Composed(composed) | Root::Build { lower: Some(composed), .. } => Some(composed),
        Root::Directory { .. } | Root::Build { lower: None, .. } | Root::Views(_) => None,
    }
}

/// The metadata by the host's way; through a loop device where only this file can't be mounted itself, as those of file
/// systems in memory can't.
fn metadata_mount(
    way: &dyn RootWay,
    composed: &ComposedRoot,
    first: u32,
) -> Result<OwnedFd, StartError> {
    match way.metadata(&composed.metadata, first) {
        Err(error) if takes_no_files(&error) => mount_by_loop(&composed.metadata),
        other => other,
    }
}

/// The directory with `upper` and `work`, fit for a step.
fn upper_directory(
    way: &dyn RootWay,
    dir: &Path,
    id_map: Option<IdMap>,
) -> Result<OwnedFd, StartError> {
    // Left by the step before, with the mark that keeps a volatile overlay from being mounted again.
    let _ = std::fs::remove_dir_all(dir.join("work/work"));
    if let Some(map) = id_map.filter(|_| !way.maps_ids()) {
        owners::to_host(dir, map)
            .map_err(|error| StartError::failed("change the owners in", dir.display(), error))?;
    }
    clone_directory(dir)
}

fn open_objects(composed: &ComposedRoot) -> Result<OwnedFd, StartError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(&composed.objects, flags, Mode::empty())
        .map_err(|error| StartError::failed("open the objects", composed.objects.display(), error))
}

fn clone_directory(path: &Path) -> Result<OwnedFd, StartError> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    open_tree(CWD, path, flags)
        .map_err(|error| StartError::failed("open the directory", path.display(), error))
}
