//! `rehearse`: whether a service could go back.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use hornero_api::{
    ClientError,
    message::{Intent, RehearsalStatus, RehearseRequest},
};
use hornero_doctor::Need;
use hornero_model::ServiceName;

use crate::{
    command::{doctor, operation},
    failure::{Failure, exit},
    output::{print_json, print_text},
};

/// Between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(100);
/// How long it is followed: a start and the tests of an image take minutes at most.
const LONGEST: Duration = Duration::from_secs(3600);
/// How long a control process may be away, as when it is upgraded.
const AWAY: Duration = Duration::from_secs(60);

/// `hornero rehearse`.
pub async fn run(
    home: &Path,
    json: bool,
    service: ServiceName,
    why: String,
) -> Result<(), Failure> {
    doctor::before(home, Need::Run, true)?;
    let client = operation::client_of(home).await?;
    let request = RehearseRequest { service, intent: Intent { why, commit: None } };
    let mut status: RehearsalStatus = client.post("/v1/rehearsals", &request).await?;
    let path = format!("/v1/rehearsals/{}", status.id);
    let begun = Instant::now();
    let mut seen = begun;
    while status.ended.is_none() {
        if begun.elapsed() >= LONGEST {
            let text = format!("rehearsal `{}` goes on", status.id);
            return Err(Failure::new(exit::FAILED, text).with_data(&status));
        }
        tokio::time::sleep(LOOK).await;
        match client.get(&path).await {
            Ok(now) => (status, seen) = (now, Instant::now()),
            Err(ClientError::Unreachable { .. }) if seen.elapsed() < AWAY => {}
            Err(error) => return Err(error.into()),
        }
    }
    let RehearsalStatus { service, release, seconds, failure, .. } = &status;
    if let Some(failure) = failure {
        let text =
            format!("`{service}` may not be able to go back to {service}@{release}: {failure}");
        let hint =
            format!("what serves is as before; `hornero logs {}` has what it wrote", status.id);
        return Err(Failure::new(exit::FAILED, text)
            .word("rehearsal_failed")
            .hint(hint)
            .with_data(&status));
    }
    if json {
        return print_json(&status);
    }
    let seconds = seconds.unwrap_or_default();
    print_text(&format!(
        "{service} could go back to {service}@{release}: a server of it was healthy after {seconds:.3} s\n"
    ))
}
