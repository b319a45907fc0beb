//! Having shims forked for instances, and watching over them.

use std::{os::fd::OwnedFd, sync::Arc};

use hornero_engine_port::{EngineError, InstanceStatus, Started};
use hornero_model::{ExitCause, InstanceId};

use crate::{
    LocalEngine, evidence::scratch::hold as hold_scratch, logs, recorded::RunningProcess,
    shim::Reply, state::State,
};

/// A shim forked for the engine before this one may take an instance just before ours and fail to start it: the next
/// one tells what became of it.
const LAUNCHES: usize = 3;

impl LocalEngine {
    /// Has a shim start an instance that is recorded.
    pub(crate) fn launch(&self, id: &InstanceId) -> Result<Started, EngineError> {
        for _ in 0..LAUNCHES {
            let (reply, shim) = self.launcher.start(id)?;
            match (reply, shim) {
                (Reply::Started(process), Some(shim)) => {
                    let started = process.started();
                    self.watch_shim(id, process, shim)?;
                    return Ok(started);
                }
                (Reply::Kept, _) | (Reply::Started(_), None) => {
                    if let Some(started) = self.find_shim(id)? {
                        return Ok(started);
                    }
                }
                (Reply::NotStarted(_) | Reply::Ended(_), _) => self.shared.ended(id),
                (Reply::Failed(reason), _) => self.shared.ended_without_record(id, &reason),
            }
            match self.shared.get(id) {
                Some((_, InstanceStatus::Exited { cause: ExitCause::NotStarted(reason), .. })) => {
                    return Err(EngineError::NotStarted { id: id.clone(), reason });
                }
                Some((_, InstanceStatus::Exited { cause, .. })) => {
                    return Err(EngineError::Ended { id: id.clone(), cause });
                }
                Some((_, InstanceStatus::Running(_) | InstanceStatus::Starting)) | None => {}
            }
        }
        let reason = "another shim held it, and was gone each time it was looked for".to_owned();
        self.shared.ended_without_record(id, &reason);
        Err(EngineError::NotStarted { id: id.clone(), reason })
    }

    fn watch_shim(
        &self,
        id: &InstanceId,
        process: RunningProcess,
        shim: OwnedFd,
    ) -> Result<(), EngineError> {
        let failed = |error| EngineError::failed(format!("watch instance `{id}`"), error);
        let copy = shim.try_clone().map_err(failed)?;
        let streams = logs::hold(&shim, process.streams);
        let scratch = self.shared.get(id).and_then(|(of, _)| hold_scratch(&of.spec, &process));
        self.shared.set(id, State::Running { process, shim: Arc::new(shim), streams, scratch });
        self.watch.add(id.clone(), copy).map_err(failed)
    }
}
