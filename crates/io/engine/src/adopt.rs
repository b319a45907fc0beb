//! Taking over what an engine before this one has left: instances that run, that ended meanwhile, or never began.

use std::{
    os::fd::OwnedFd,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use hornero_engine_port::{EngineError, InstanceStatus, Started};
use hornero_model::{ExitCause, InstanceId};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    LocalEngine,
    evidence::scratch::hold as hold_scratch,
    local::KILL_TIMEOUT,
    logs, shim,
    state::{Entry, State},
};

/// A shim found by a new engine in the middle of its start has this long to say how it went.
const ADOPT_TIMEOUT: Duration = Duration::from_secs(20);

impl LocalEngine {
    /// Takes over every instance that an engine before this one has left.
    pub(crate) fn adopt(&self, lost_by: &ExitCause) -> Result<(), EngineError> {
        let ids = self.directory.ids();
        for id in ids.map_err(|error| EngineError::failed("list instances", error))? {
            match self.adopt_instance(&id, lost_by) {
                Err(error) if is_damage(&error) => self.set_aside(&id, &error)?,
                adopted => adopted.map_err(|error| {
                    EngineError::failed(format!("adopt instance `{id}`"), error)
                })?,
            }
        }
        Ok(())
    }

    fn adopt_instance(&self, id: &InstanceId, lost_by: &ExitCause) -> std::io::Result<()> {
        let files = self.directory.live(id);
        let Some(record) = files.record()? else {
            // Its directory was made, and then control died: nothing of it ever ran, and its id is free.
            return self.directory.discard(id);
        };
        // Read before the lock is looked at: a shim forked for the last engine may be just about to start.
        let started = files.started()?.is_some();
        let shim = files.shim()?;
        let exit = files.exit()?;
        match (shim, exit) {
            (Some(shim), _) => {
                self.shared.insert(Entry { record, state: State::Starting });
                self.take_over(id, shim)?;
            }
            (None, Some(exit)) => {
                let state = State::Exited { cause: exit.cause, at: exit.at };
                self.shared.insert(Entry { record, state });
            }
            (None, None) if !started => {
                self.shared.insert(Entry { record, state: State::Created });
            }
            (None, None) => {
                self.shared.insert(Entry { record, state: State::Starting });
                self.shared.lost(id, lost_by.clone());
            }
        }
        Ok(())
    }

    /// Ends an instance of which nobody can tell any more what it is, and keeps its files out of the way: one damaged
    /// record must not keep all others from being taken over.
    fn set_aside(&self, id: &InstanceId, error: &std::io::Error) -> Result<(), EngineError> {
        tracing::warn!(
            "the record of instance `{id}` is damaged ({error}); it is ended, and its files are kept in \
             `instances/.archived/{id}`"
        );
        let failed = |error| EngineError::failed(format!("set instance `{id}` aside"), error);
        self.shared.forget(id);
        if let Some(shim) = self.directory.live(id).shim().map_err(failed)? {
            // One that has just ended needs no signal.
            let _ = rustix::process::pidfd_send_signal(&shim, shim::KILL);
            let mut ended = [PollFd::new(&shim, PollFlags::IN)];
            let timeout = Timespec { tv_sec: KILL_TIMEOUT.as_secs() as i64, tv_nsec: 0 };
            poll(&mut ended, Some(&timeout)).map_err(|error| failed(error.into()))?;
        }
        // Of an earlier instance with this id, which there should not be.
        let _ = self.directory.archived(id).discard();
        self.directory.archive_instance(id).map_err(failed)
    }

    /// Waits for a living shim to have started its command, and watches it from then on.
    fn take_over(&self, id: &InstanceId, shim: OwnedFd) -> std::io::Result<()> {
        let files = self.directory.live(id);
        let deadline = Instant::now() + ADOPT_TIMEOUT;
        loop {
            if let Some(process) = files.started()? {
                let streams = logs::hold(&shim, process.streams);
                let shim = Arc::new(shim.try_clone()?);
                let known = self.shared.get(id);
                let scratch = known.and_then(|(of, _)| hold_scratch(&of.spec, &process));
                self.shared.set(id, State::Running { process, shim, streams, scratch });
                break;
            }
            if files.exit()?.is_some() || Instant::now() > deadline {
                break;
            }
            // A shim tells by files, and its end by the descriptor, which says nothing of its start.
            thread::sleep(Duration::from_millis(2));
        }
        self.watch.add(id.clone(), shim)
    }

    /// Takes over an instance whose shim was forked for an engine before this one; none when there is no such shim.
    pub(crate) fn find_shim(&self, id: &InstanceId) -> Result<Option<Started>, EngineError> {
        let failed = |error| EngineError::failed(format!("adopt instance `{id}`"), error);
        let Some(shim) = self.directory.live(id).shim().map_err(failed)? else { return Ok(None) };
        self.take_over(id, shim).map_err(failed)?;
        match self.shared.get(id) {
            Some((_, InstanceStatus::Running(started))) => Ok(Some(started)),
            Some((_, InstanceStatus::Starting | InstanceStatus::Exited { .. })) | None => Ok(None),
        }
    }
}

/// Whether a file was read and held something else than what is written there.
fn is_damage(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
}
