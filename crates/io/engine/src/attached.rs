//! Attaches an instance's volumes, for its shim to hand to the sandbox.

use std::{os::fd::AsFd as _, path::Path};

use hornero_engine_port::EngineError;
use hornero_model::error_chain;
use hornero_sandbox::{Cgroup, IdMap, VolumeMount};
use hornero_volume::{DATA, PATIENCE, Populate, attach, populate};

use crate::{
    assemble::cgroup_parent,
    recorded::{RecordedMount, RecordedSpec},
};

/// The volumes of an instance, each under its lease. Nothing else has one of them while it is in the answer, or mounted.
pub(crate) fn volumes(
    home: &Path,
    spec: &RecordedSpec,
    id_map: Option<IdMap>,
) -> Result<Vec<VolumeMount>, String> {
    spec.mounts.iter().map(|mount| one(home, spec, id_map, mount)).collect()
}

fn one(
    home: &Path,
    spec: &RecordedSpec,
    id_map: Option<IdMap>,
    mount: &RecordedMount,
) -> Result<VolumeMount, String> {
    let RecordedMount { path, volume, lease } = mount;
    let filesystem = attach(home, volume, *lease, PATIENCE).map_err(|error| error_chain(&error))?;
    let copy =
        filesystem.try_clone().map_err(|error| format!("attach volume `{volume}`: {error}"))?;
    let first = id_map.map_or(0, |map| map.first);
    let (inside, name) = (path.clone(), volume.clone());
    let (uid, gid) = (spec.user.uid, spec.user.gid);
    let first_content = move |root: std::os::fd::BorrowedFd<'_>| {
        let wanted = Populate { path: &inside, first, uid, gid };
        populate(copy.as_fd(), root, wanted)
            .map_err(|error| format!("give volume `{name}` what the image has there: {error}"))
    };
    Ok(VolumeMount {
        path: path.clone(),
        filesystem,
        directory: DATA,
        first_content: Box::new(first_content),
    })
}

/// That nothing is left of an instance which wrote to volumes: the next one may have them once this says so.
pub(crate) fn fenced(home: &Path, spec: &RecordedSpec) -> Result<(), EngineError> {
    let id = &spec.id;
    let Some(mount) = spec.mounts.first() else { return Ok(()) };
    match Cgroup::at(&cgroup_parent(home), id.as_str()).exists() {
        false => Ok(()),
        true => {
            let why = "its processes can't be ended: they wait for something in the kernel";
            let what = format!("take volume `{}` from instance `{id}`", mount.volume);
            Err(EngineError::failed(what, std::io::Error::other(why)))
        }
    }
}
