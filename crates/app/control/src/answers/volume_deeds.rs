//! What people do with volumes: whatever would lose data is refused.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    sync::Arc,
};

use hornero_api::message::{VolumeDeed, VolumeReport, VolumeRequest};
use hornero_driver::Driver;
use hornero_model::{Actor, EventBody, Role, ServiceName, VolumeChange, VolumeName};
use hornero_rollout::KnownVolume;
use hornero_volume::{SnapshotNumber, Volumes};
use hyper::StatusCode;
use rustix::fs::{Mode, OFlags, ResolveFlags};

use super::{
    recording::record,
    runs::asked,
    volumes::{missing, refusal},
};
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    request::Caller,
    runs::Recorder,
    volumes,
};

/// A volume as the ledger knows it, and what could get in the way.
struct Looked {
    known: KnownVolume,
    users: Vec<ServiceName>,
    /// The process of who has it, and where it is mounted there.
    holder: Option<(u32, String)>,
}

/// What somebody has to be to do this to a volume.
const fn needed(deed: &VolumeDeed) -> (Role, &'static str) {
    match deed {
        VolumeDeed::Snapshot => (Role::Operator, "to take a snapshot of a volume"),
        VolumeDeed::Clone { .. } => (Role::Releaser, "to clone a volume"),
        VolumeDeed::Grow { .. } => (Role::Releaser, "to make a volume larger"),
        VolumeDeed::Restore { .. } => (Role::Breaker, "to put a volume back"),
        VolumeDeed::Remove => (Role::Breaker, "to remove a volume"),
        // It reads any directory of the host.
        VolumeDeed::Adopt { .. } => (Role::Admin, "to make a volume of a directory"),
    }
}

impl Api {
    /// Does something with a volume.
    pub async fn change_volume(&self, caller: Caller, name: &str, wanted: VolumeRequest) -> Answer {
        let VolumeRequest { deed, intent } = wanted;
        let (role, what) = needed(&deed);
        caller.needs(role, what)?;
        let name: VolumeName = name.parse().map_err(|_| not_found("volume", name))?;
        let volume = name.clone();
        let engine = Arc::clone(&self.engine);
        let looked = self.ask(move |driver| {
            let (mut looked, handle, path) = look(driver, &volume);
            let process = handle.and_then(|handle| engine.host_process(&handle));
            looked.holder = process.zip(path);
            looked
        });
        let looked = looked.await?;
        let by = asked(caller, intent, "volume");
        let doing = Doing {
            name,
            by,
            there: self.volumes.clone(),
            recorder: Arc::clone(&self.recorder),
            looked,
        };
        let done = tokio::task::spawn_blocking(move || doing.act(deed));
        json(&done.await.map_err(ApiRefusal::internal)??)
    }
}

fn look(
    driver: &Driver,
    volume: &VolumeName,
) -> (Looked, Option<hornero_model::InstanceHandle>, Option<String>) {
    let world = driver.world();
    let known = world.volumes.get(volume).cloned().unwrap_or_default();
    let users = world.users_of(volume).into_iter().cloned().collect();
    let holder = known.lease.as_ref().map(|lease| &lease.instance);
    let handle = holder.and_then(|id| driver.facts().running.get(id));
    let handle = handle.map(|running| running.location.handle.clone());
    let spec = holder.and_then(|id| world.spec_of(id));
    let path = spec.and_then(|spec| spec.mounts.iter().find(|mount| mount.volume == *volume));
    let path = path.map(|mount| mount.path.clone());
    (Looked { known, users, holder: None }, handle, path)
}

/// The directory of a server where a volume is mounted, as the server itself finds it.
fn mounted(process: u32, path: &str) -> std::io::Result<OwnedFd> {
    /// The kernel's number for loop devices (Documentation/admin-guide/devices.txt).
    const LOOP: u32 = 7;
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open(format!("/proc/{process}/root"), flags, Mode::empty())?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let inside = path.trim_start_matches('/');
    let directory = rustix::fs::openat2(root, inside, flags, Mode::empty(), resolve)?;
    // Nothing but a volume may be kept from being written to.
    let device = rustix::fs::fstat(&directory)?.st_dev;
    match rustix::fs::major(device) == LOOP {
        true => Ok(directory),
        false => Err(std::io::Error::other(format!("no volume is mounted at `{path}`"))),
    }
}

/// Something that is done with a volume.
struct Doing {
    name: VolumeName,
    by: Actor,
    there: Volumes,
    recorder: Arc<Recorder>,
    looked: Looked,
}

impl Doing {
    fn act(&self, deed: VolumeDeed) -> Result<VolumeReport, ApiRefusal> {
        let name = &self.name;
        match deed {
            VolumeDeed::Snapshot => self.snapshot(),
            VolumeDeed::Clone { to, snapshot } => {
                let number = snapshot.map(SnapshotNumber);
                self.there.clone_to(name, number, &to).map_err(refusal)?;
                let change = VolumeChange::Cloned { from: name.clone(), snapshot };
                self.record(&to, change)?;
                self.report(&to, format!("volume `{to}` was made of `{name}`"))
            }
            VolumeDeed::Restore { snapshot } => {
                self.unleased("restored")?;
                let kept = self.there.restore(name, SnapshotNumber(snapshot)).map_err(refusal)?;
                let kept = kept.number.0;
                self.record(name, VolumeChange::Restored { snapshot, kept })?;
                let told = format!(
                    "volume `{name}` has what it had at snapshot {snapshot}; what it had until now is snapshot {kept}"
                );
                self.report(name, told)
            }
            VolumeDeed::Grow { size_bytes } => {
                let usable = self.there.grow(name, size_bytes).map_err(refusal)?;
                self.record(name, VolumeChange::Grown { size_bytes })?;
                let told = match usable {
                    true => format!("volume `{name}` is larger"),
                    false => format!(
                        "volume `{name}` is larger; its server can use that once it is replaced"
                    ),
                };
                self.report(name, told)
            }
            VolumeDeed::Remove => self.remove(),
            VolumeDeed::Adopt { path, size_bytes } => {
                if let Some(made) = self.looked.known.made
                    && self.there.facts(name).is_err()
                {
                    return Err(missing(name, made));
                }
                self.there.adopt(name, Path::new(&path), size_bytes).map_err(refusal)?;
                let told = format!("volume `{name}` is a copy of `{path}`, which stayed as it is");
                self.record(name, VolumeChange::Adopted { path, size_bytes })?;
                self.report(name, told)
            }
        }
    }

    /// A snapshot; while a server has the volume, by way of that server's own mount.
    fn snapshot(&self) -> Result<VolumeReport, ApiRefusal> {
        let name = &self.name;
        let directory = self
            .looked
            .holder
            .as_ref()
            .map(|(process, path)| mounted(*process, path).map_err(ApiRefusal::internal));
        let directory = directory.transpose()?;
        let attached = directory.as_ref().map(|directory| directory.as_fd());
        let taken = self.there.snapshot(name, &self.by.why, attached).map_err(refusal)?;
        let snapshot = taken.number.0;
        self.record(name, VolumeChange::Snapshot { snapshot })?;
        self.report(name, format!("snapshot {snapshot} of volume `{name}` was taken"))
    }

    fn remove(&self) -> Result<VolumeReport, ApiRefusal> {
        let name = &self.name;
        self.unleased("removed")?;
        let known = &self.looked.known;
        let refused = |code: &str, text: String, hint: String| {
            Err(ApiRefusal::new(StatusCode::CONFLICT, code, text).hint(hint))
        };
        if let Some(service) = self.looked.users.first() {
            let text = format!("volume `{name}` is mounted by service `{service}`");
            return refused(
                "volume_used",
                text,
                "take the service down, or its `mount` block out, first".to_owned(),
            );
        }
        if known.is_protected() {
            let text = format!("volume `{name}` is protected by `prevent_destroy`");
            return refused(
                "volume_protected",
                text,
                format!(
                    "write `prevent_destroy = false` into `volume \"{name}\"` of its hornero.hcl, and `hornero up`"
                ),
            );
        }
        match self.there.remove(name) {
            // What is missing is let go of in the ledger.
            Err(hornero_volume::VolumeError::Missing { .. }) if known.made.is_some() => {}
            removed => removed.map_err(refusal)?,
        }
        self.record(name, VolumeChange::Removed)?;
        Ok(VolumeReport { done: format!("volume `{name}` was removed"), volume: None })
    }

    /// Nobody has the volume by the ledger.
    fn unleased(&self, done: &str) -> Result<(), ApiRefusal> {
        let Some(lease) = &self.looked.known.lease else { return Ok(()) };
        let (name, instance) = (&self.name, &lease.instance);
        let text = format!("volume `{name}` can't be {done}: `{instance}` has it");
        Err(ApiRefusal::new(StatusCode::CONFLICT, "volume_leased", text)
            .hint(format!("take `{}` down first", lease.service)))
    }

    fn report(&self, name: &VolumeName, done: String) -> Result<VolumeReport, ApiRefusal> {
        let facts = self.there.facts(name).map_err(refusal)?;
        let known = if *name == self.name { self.looked.known.clone() } else { Default::default() };
        Ok(VolumeReport { done, volume: Some(volumes::one(&facts, &known)) })
    }

    fn record(&self, volume: &VolumeName, change: VolumeChange) -> Result<(), ApiRefusal> {
        record(
            &self.recorder,
            &self.by,
            EventBody::VolumeChanged { volume: volume.clone(), change },
        )
    }
}
