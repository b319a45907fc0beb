//! What the kit needs of an engine under test.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use hornero_engine_port::{
    Engine, EngineError, InstanceSpec, InstanceStatus,
    log::{LogFrom, LogQuery},
};
use hornero_model::{ExitCause, InstanceHandle, InstanceId, ReleaseNumber, ServiceName, Term};

/// Long enough for a loaded machine: what takes longer has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// The term that the kit asks by.
pub const TERM: Term = Term(1);

/// What an instance of the kit does. A subject turns each into a command of its own images.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Script {
    /// Runs until a signal ends it; SIGTERM with its default action.
    Sleep,
    /// Writes `ready`, ignores SIGTERM and runs until it is killed.
    IgnoreStop,
    /// Writes `first` to standard output and `second` to standard error, then exits with the code.
    WriteAndExit(i32),
    /// Ends itself by the signal.
    Raise(i32),
    /// Takes more memory than its limit allows.
    EatMemory,
    /// A command that is not in the image.
    Missing,
}

/// An engine under test, and a home that outlives it.
pub trait Subject {
    /// Opens the engine; called again after the former was dropped.
    fn open(&self) -> Box<dyn Engine>;

    /// A sound specification that runs `script`, with this id.
    fn spec(&self, id: InstanceId, script: &Script) -> InstanceSpec;

    /// SIGKILL for what runs under a handle, behind its engine's back.
    fn kill(&self, handle: &InstanceHandle);

    /// Panics when anything of the instance is left outside of its record and logs: processes, mounts, groups, links.
    fn assert_nothing_left(&self, id: &InstanceId);
}

/// An id that no other check uses.
pub(crate) fn fresh_id() -> InstanceId {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let service = ServiceName::new("kit").expect("a label");
    let tail = format!("x{}x{number}", std::process::id());
    InstanceId::compose(&service, ReleaseNumber(1), &tail).expect("a label")
}

/// Waits until an instance has ended by itself.
pub(crate) fn wait_for_exit(engine: &dyn Engine, id: &InstanceId) -> ExitCause {
    let status = || {
        let list = engine.list().expect("list");
        list.into_iter().find(|instance| instance.id == *id).expect("the instance is listed").status
    };
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let InstanceStatus::Exited { cause, .. } = status() {
            return cause;
        }
        assert!(Instant::now() < deadline, "`{id}` has not ended in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until an instance has written `line`.
pub(crate) fn wait_for_line(engine: &dyn Engine, id: &InstanceId, line: &str) {
    let deadline = Instant::now() + DEADLINE;
    let query = LogQuery::all(LogFrom::Start, 100);
    loop {
        let page = engine.logs(id, &query).expect("logs");
        if page.lines.iter().any(|known| known.text == line) {
            return;
        }
        assert!(Instant::now() < deadline, "`{id}` has not written `{line}` in time: {page:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether `engine` lists the instance.
pub(crate) fn is_listed(engine: &dyn Engine, id: &InstanceId) -> bool {
    engine.list().expect("list").iter().any(|instance| instance.id == *id)
}

/// The error of a start that must fail.
pub(crate) fn refusal(engine: &dyn Engine, spec: &InstanceSpec) -> EngineError {
    match engine.start(TERM, spec) {
        Err(error) => error,
        Ok(started) => panic!("`{}` should not have started: {started:?}", spec.id),
    }
}
