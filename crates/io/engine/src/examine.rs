//! Looking at an instance that is sick or has ended, within a time.

use std::time::{Duration, Instant};

use hornero_engine_port::{EngineError, evidence::Evidence};
use hornero_model::{GroupFigures, InstanceId, WrittenInstance};
use hornero_sandbox::Cgroup;

use crate::{
    LocalEngine,
    assemble::cgroup_parent,
    evidence::{
        kernel, processes,
        scratch::{self, HeldScratch},
        sockets, written,
    },
    record::InstanceFiles,
};

/// Everything stands still within a millisecond; what does not by then hangs in the kernel.
const FREEZE_PATIENCE: Duration = Duration::from_millis(50);

/// Ten thousand files are listed in far less.
const WRITTEN_PATIENCE: Duration = Duration::from_secs(5);

impl LocalEngine {
    /// What can be seen of an instance.
    pub(crate) fn look_at(
        &self,
        id: &InstanceId,
        budget: Duration,
    ) -> Result<Evidence, EngineError> {
        let until = Instant::now() + budget;
        let mut evidence = Evidence::default();
        let files = self.files_by_id(id)?;
        let pids = match self.shared.running(id) {
            Some((spec, process)) => {
                let held = scratch::hold(&spec, &process);
                self.look_at_living(id, process.pid, held.as_ref(), until, &mut evidence)
            }
            None => self.look_at_dead(id, &files, until, &mut evidence),
        };
        let made = files.record().ok().flatten().map(|record| record.created);
        kernel::observe(id, &pids, made, until, &mut evidence);
        Ok(evidence)
    }

    fn look_at_living(
        &self,
        id: &InstanceId,
        pid: u32,
        held: Option<&HeldScratch>,
        until: Instant,
        evidence: &mut Evidence,
    ) -> Vec<u32> {
        let group = Cgroup::at(&cgroup_parent(&self.home), id.as_str());
        let pids = group.processes();
        // Before they stand still: a thread that does shows nothing of what it did.
        processes::observe(&pids, until, evidence);
        let _thaw = Thaw(&group);
        match group.freeze(FREEZE_PATIENCE) {
            Ok(true) => evidence.frozen = true,
            Ok(false) => evidence.miss(
                "standing still",
                "this host has no freezer of control groups of version 2, or it did not get there",
            ),
            Err(error) => evidence.miss("standing still", error.to_string()),
        }
        sockets::observe(pid, evidence);
        evidence.group = Some(group.figures());
        match held {
            Some(held) => held.observe(until, evidence),
            None => evidence.miss("scratch", "it ended before it could be opened"),
        }
        pids
    }

    /// Of one that has ended: what its shim wrote down, and its writable directories as long as they are held.
    fn look_at_dead(
        &self,
        id: &InstanceId,
        files: &InstanceFiles,
        until: Instant,
        evidence: &mut Evidence,
    ) -> Vec<u32> {
        evidence.miss("processes and sockets", "it had ended when it was looked at");
        evidence.group = files.figures();
        if evidence.group.is_none() {
            evidence.miss("control group", "its shim left no figures");
        }
        let held = self.shared.take_remains(id);
        match &held {
            Some(held) => held.observe(until, evidence),
            None => evidence.miss("scratch", "nobody held it when it ended"),
        }
        let started = files.started().ok().flatten().map(|process| process.pid);
        started.into_iter().chain(held.map(|held| held.pid)).collect()
    }

    /// What an instance that runs has written to its writable directories.
    pub(crate) fn look_at_written(&self, id: &InstanceId) -> Option<WrittenInstance> {
        let (spec, process) = self.shared.running(id)?;
        let held = scratch::hold(&spec, &process)?;
        let pids = Cgroup::at(&cgroup_parent(&self.home), id.as_str()).processes();
        let (files, missed) = written::observe(&held, &pids, Instant::now() + WRITTEN_PATIENCE);
        Some(WrittenInstance { id: id.clone(), release: spec.release, files, missed })
    }

    /// Makes everything in an instance that runs stand still.
    pub(crate) fn stand_still(&self, id: &InstanceId) -> Result<bool, EngineError> {
        if self.shared.running(id).is_none() {
            return Ok(false);
        }
        let group = Cgroup::at(&cgroup_parent(&self.home), id.as_str());
        let failed = |error| EngineError::failed(format!("freeze instance `{id}`"), error);
        group.freeze(FREEZE_PATIENCE).map_err(failed)
    }

    /// What the control group of an instance has counted.
    pub(crate) fn counted(&self, id: &InstanceId) -> Option<GroupFigures> {
        if self.shared.running(id).is_some() {
            return Some(Cgroup::at(&cgroup_parent(&self.home), id.as_str()).figures());
        }
        self.files_by_id(id).ok()?.figures()
    }

    /// The files of an instance, removed or not.
    fn files_by_id(&self, id: &InstanceId) -> Result<InstanceFiles, EngineError> {
        let live = self.directory.live(id);
        let files = if live.exists() { live } else { self.directory.archived(id) };
        match files.exists() {
            true => Ok(files),
            false => Err(EngineError::NotFound { id: id.clone() }),
        }
    }
}

/// Lets everything go on, however looking ended.
struct Thaw<'a>(&'a Cgroup);

impl Drop for Thaw<'_> {
    fn drop(&mut self) {
        self.0.thaw();
    }
}
