//! Why the local engine does not do what it is asked for.

use std::io;

use hornero_engine_port::{EngineError, InstanceSpec};
use hornero_home::TermError;
use hornero_model::InstanceId;

pub(crate) fn not_recorded(id: &InstanceId, error: io::Error) -> EngineError {
    EngineError::failed(format!("record instance `{id}`"), error)
}

pub(crate) fn invalid(spec: &InstanceSpec, reason: String) -> EngineError {
    EngineError::Invalid { id: spec.id.to_string(), reason }
}

pub(crate) fn term_error(error: TermError) -> EngineError {
    match error {
        TermError::Over { given, newest } => EngineError::TermOver { given, newest },
        TermError::File { .. } => EngineError::failed("tell which control is obeyed", error),
    }
}
