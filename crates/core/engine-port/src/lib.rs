//! The `Engine` port: what makes, stops, lists, compares and removes instances, and the words it uses.
//!
//! It says nothing of how an engine does it: images are named by digest, what runs by an opaque handle, and where it runs
//! by a place. Whatever passes the conformance kit may stand behind it.

mod error;
pub mod evidence;
pub mod guest;
mod instance;
pub mod log;

use std::{collections::BTreeMap, sync::mpsc::Receiver, time::Duration};

use hornero_model::{
    Depth, ExitCause, GroupFigures, HostFeature, InstanceHandle, InstanceId, InstanceUsage, Room,
    Term, VerifiedInstance, WrittenInstance,
};

pub use error::EngineError;
pub use instance::{
    Exit, FileContent, HostEntry, Instance, InstanceFile, InstanceSpec, InstanceStatus, Started,
};

use crate::{
    evidence::Evidence,
    guest::{Guest, GuestCommand},
    log::{LogPage, LogQuery},
};

/// Makes instances. Every call may be repeated, and blocks until it is done or has failed.
///
/// A call that changes anything names the term of the control that asks. The engine remembers the highest one, also beyond
/// its own end, and answers an older one with [`EngineError::TermOver`], having changed nothing.
pub trait Engine: Send + Sync {
    /// Takes in that a control of this term has begun: what an older one asks is refused from now on.
    fn obey(&self, term: Term) -> Result<(), EngineError>;

    /// The highest term that it has heard of.
    fn term(&self) -> Result<Term, EngineError>;

    /// Starts an instance and returns once its command runs. One that runs already is returned as it is.
    fn start(&self, term: Term, spec: &InstanceSpec) -> Result<Started, EngineError>;

    /// Ends an instance: its stop signal, then, after `grace`, SIGKILL for everything in it. One that has ended
    /// already just says why.
    fn stop(&self, term: Term, id: &InstanceId, grace: Duration) -> Result<ExitCause, EngineError>;

    /// Ends an instance at once where it runs, and removes everything but its logs and its record. One that is
    /// removed already, or was never there, is no error.
    fn remove(&self, term: Term, id: &InstanceId) -> Result<(), EngineError>;

    /// Every instance that was not removed, sorted by id, those started by an earlier control process included.
    fn list(&self) -> Result<Vec<Instance>, EngineError>;

    /// A channel of exits. Over all channels of one engine value every exit is told once, also of instances that
    /// ended while no control process ran. A newer channel replaces the older.
    fn exits(&self) -> Receiver<Exit>;

    /// Lines that an instance wrote, also of one long removed.
    fn logs(&self, id: &InstanceId, query: &LogQuery) -> Result<LogPage, EngineError>;

    /// A number that is another one after an instance that was not removed has written something; none where it can't
    /// tell, or there is no log. Cheap: whoever follows a log asks many times a second.
    fn log_mark(&self, _: &InstanceId) -> Option<u64> {
        None
    }

    /// What memory there is for more instances; none where it can't tell.
    fn room(&self) -> Option<Room> {
        None
    }

    /// The processor time that each of `ids` has used since its start, in microseconds, those that run; none where it can't
    /// tell.
    fn processor_use(&self, ids: &[InstanceId]) -> Option<BTreeMap<InstanceId, u64>> {
        let _ = ids;
        None
    }

    /// What each of `ids` uses of its host now, those that run; nothing where it can't tell. Reads some files of the kernel for
    /// each, so it is for a look every few seconds.
    fn usage(&self, ids: &[InstanceId]) -> BTreeMap<InstanceId, InstanceUsage> {
        let _ = ids;
        BTreeMap::new()
    }

    /// Compares instances with their images, those of `ids` that run. One that ends meanwhile is left out; one that
    /// can't be compared is told of like one that differs, and keeps no other from being compared.
    fn verify(
        &self,
        ids: &[InstanceId],
        depth: Depth,
    ) -> Result<Vec<VerifiedInstance>, EngineError>;

    /// What an instance has written to memory that goes with it; none where it does not run, or nobody can tell. No content is
    /// read but the first bytes of files.
    fn written(&self, id: &InstanceId) -> Result<Option<WrittenInstance>, EngineError> {
        let _ = id;
        Ok(None)
    }

    /// What can be seen of an instance that is sick or has ended, within `budget`; what was missed is named. One that runs
    /// stands still meanwhile, where the host can make it. Of one that has ended some of it is told once only, and for a
    /// short time.
    fn examine(
        &self,
        term: Term,
        id: &InstanceId,
        budget: Duration,
    ) -> Result<Evidence, EngineError> {
        let _ = (term, id, budget);
        Ok(Evidence::default())
    }

    /// Makes everything in an instance stand still until it is stopped; false where the host can't, or it does not run.
    fn freeze(&self, term: Term, id: &InstanceId) -> Result<bool, EngineError> {
        let _ = (term, id);
        Ok(false)
    }

    /// Has a command enter an instance that runs, and returns once it was executed.
    ///
    /// # Errors
    /// [`EngineError::NotStarted`] where the command could not be executed, and then nothing is left of it.
    fn enter(
        &self,
        term: Term,
        id: &InstanceId,
        command: &GuestCommand,
    ) -> Result<Box<dyn Guest>, EngineError> {
        let _ = (term, id, command);
        Err(EngineError::Unsupported("nothing can enter an instance of this engine".to_owned()))
    }

    /// What the control group of an instance has counted: until now, or until its end; none where nobody can tell.
    fn figures(&self, id: &InstanceId) -> Option<GroupFigures> {
        let _ = id;
        None
    }

    /// Removes what instances share, once none is left.
    ///
    /// # Errors
    /// [`EngineError::Left`] where something of it stays.
    fn clean_up(&self, term: Term) -> Result<(), EngineError>;

    /// What the hosts of this engine can and can't do for instances.
    fn support(&self) -> Vec<HostFeature>;

    /// The process id of the first process of what runs under a handle, where that is a process of this host.
    fn host_process(&self, handle: &InstanceHandle) -> Option<u32> {
        let _ = handle;
        None
    }
}
