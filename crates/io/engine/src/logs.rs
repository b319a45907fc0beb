//! Logs of instances from the home's files alone, where no engine is open.

use std::path::Path;

use hornero_engine_port::{
    EngineError,
    log::{LogPage, LogQuery},
};
use hornero_model::InstanceId;

use crate::record::{InstanceDirectory, InstanceFiles};

/// A page of an instance's log.
///
/// # Errors
/// [`EngineError::NotFound`] where there is no such log, and where it can't be read.
pub fn read_log(home: &Path, id: &InstanceId, query: &LogQuery) -> Result<LogPage, EngineError> {
    let failed = |error| EngineError::failed(format!("read the log of instance `{id}`"), error);
    let directory = InstanceDirectory::of(home);
    let live = directory.live(id);
    let ended = !live.exists() || live.exit().map_err(failed)?.is_some();
    let files = if live.exists() { live } else { directory.archived(id) };
    if !files.exists() {
        return Err(EngineError::NotFound { id: id.clone() });
    }
    hornero_telemetry::read(&files.logs(), query, ended).map_err(failed)
}

/// A number that is another one after an instance has written something; none where it has no log.
pub fn log_mark(home: &Path, id: &InstanceId) -> Option<u64> {
    let directory = InstanceDirectory::of(home);
    let mark = |files: InstanceFiles| hornero_telemetry::written_mark(&files.logs());
    mark(directory.live(id)).or_else(|| mark(directory.archived(id)))
}
