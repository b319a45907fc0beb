//! Runs an image's command once, for its tests.

use std::{fs::File, io::Read, os::fd::OwnedFd, path::Path, sync::mpsc, thread, time::Duration};

use hornero_engine_port::EngineError;
use hornero_model::ExitCause;
use hornero_sandbox::{IdMap, Network, StartError, Stdio, start_with};

use crate::{assemble::sandbox_spec, configuration, recorded::RecordedSpec};

/// What a test writes is shown when it fails; the rest is read and dropped.
const MAX_OUTPUT_BYTES: u64 = 64 << 10;

/// How a single run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Why the command ended; none when it ran out of time and was killed.
    pub cause: Option<ExitCause>,
    /// The first 64 KiB of what it wrote to both streams.
    pub output: String,
}

pub(crate) fn to_end(
    home: &Path,
    spec: &RecordedSpec,
    id_map: Option<IdMap>,
    timeout: Duration,
) -> Result<Outcome, EngineError> {
    let io = |error: std::io::Error| EngineError::failed(format!("run `{}`", spec.id), error);
    let (read, write) = std::io::pipe().map_err(io)?;
    let stdio = Stdio {
        stdin: None,
        stdout: OwnedFd::from(write.try_clone().map_err(io)?),
        stderr: OwnedFd::from(write),
    };
    let sandbox = sandbox_spec(home, spec, id_map, None)
        .map_err(|reason| EngineError::NotStarted { id: spec.id.clone(), reason })?;
    let secrets = configuration::secrets(home, spec)
        .map_err(|reason| EngineError::NotStarted { id: spec.id.clone(), reason })?;
    if !secrets.is_empty() {
        // They pass through the memory of this process, which is no shim.
        hornero_sandbox::leave_no_core().map_err(io)?;
    }
    let started = start_with(&sandbox, secrets, stdio, Network::Isolated);
    let mut running = started.map_err(|error| match error {
        StartError::Invalid(reason) => EngineError::Invalid { id: spec.id.to_string(), reason },
        StartError::Unsupported { .. } => EngineError::Unsupported(error.to_string()),
        StartError::Failed { .. } | StartError::Network(_) => {
            EngineError::NotStarted { id: spec.id.clone(), reason: error.one_line() }
        }
    })?;
    let (sender, output) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut file = File::from(OwnedFd::from(read));
        let mut bytes = Vec::new();
        // A pipe of a killed command ends like any other.
        let _ = file.by_ref().take(MAX_OUTPUT_BYTES).read_to_end(&mut bytes);
        let _ = std::io::copy(&mut file, &mut std::io::sink());
        let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
    });
    let cause = running.wait(Some(timeout)).map_err(io)?;
    running.remove().map_err(io)?;
    // Every writer is gone, so the reader ends.
    let _ = reader.join();
    Ok(Outcome { cause, output: output.recv().unwrap_or_default() })
}
