//! Reading without a control process: the ledger and the log files of a home tell what happened in it.

use std::path::Path;

use hornero_api::{Client, ClientError, message::StatusReport};

use crate::{daemon, failure::Failure, remote};

/// A client of the home's control process.
pub fn client(home: &Path) -> Client {
    remote::client_or(|| daemon::socket(home))
}

/// Whether a home has a ledger that whoever asks may read.
pub fn is_readable(home: &Path) -> bool {
    !remote::is_elsewhere() && std::fs::File::open(home.join("ledger.db")).is_ok()
}

/// Says that no control process runs and that the home itself is read; the error where there is nothing to read, or
/// whoever asks may not.
pub fn note(home: &Path, error: ClientError) -> Result<(), Failure> {
    if remote::is_elsewhere() || !is_readable(home) {
        return Err(error.into());
    }
    tell!("note: no control process runs; this is what the home's own files say");
    Ok(())
}

/// What runs, as control or the home's own files say.
pub async fn status(home: &Path) -> Result<StatusReport, Failure> {
    let control = client(home);
    let asked = control.get("/v1/status");
    asked_or_read(home, asked, || hornero_control::status_offline(home)).await
}

/// What control answers; where none runs, what `read` finds in the home.
pub async fn asked_or_read<T>(
    home: &Path,
    asked: impl Future<Output = Result<T, ClientError>>,
    read: impl FnOnce() -> anyhow::Result<T>,
) -> Result<T, Failure> {
    match asked.await {
        Ok(answer) => Ok(answer),
        Err(error @ ClientError::Unreachable { .. }) => {
            note(home, error)?;
            read().map_err(|error| Failure::of(&*error))
        }
        Err(error) => Err(error.into()),
    }
}
