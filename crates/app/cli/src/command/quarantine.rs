//! `quarantine`: servers that are taken out of traffic and kept for somebody to look at.

use std::{path::Path, time::Duration};

use hornero_api::{
    Client,
    message::{Intent, QuarantineRequest, QuarantineState, QuarantineStatus, ReleaseRequest},
};
use hornero_model::{InstanceId, Millis, Timestamp};

use crate::{
    arguments::{QuarantineArguments, QuarantineCommand},
    command::{
        absent::{asked_or_read, client},
        operation::client_of,
    },
    failure::{Failure, exit},
    harmless::harmless,
    output::{Table, Tone, age, print_json, print_text},
};

/// Between two looks how far it is.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// `hornero quarantine`.
pub async fn run(home: &Path, json: bool, words: QuarantineArguments) -> Result<(), Failure> {
    match words.command {
        Some(QuarantineCommand::Ls) => list(home, json).await,
        Some(QuarantineCommand::Release { instance, reason }) => {
            release(home, json, &instance, reason).await
        }
        None => {
            let (Some(instance), Some(keep)) = (words.instance, words.keep) else {
                return Err(Failure::new(exit::USAGE, "which server, and for how long?"));
            };
            let why = words.reason.unwrap_or_default();
            begin(home, json, instance, keep, why).await
        }
    }
}

/// Takes a server out, and waits until it stands still.
async fn begin(
    home: &Path,
    json: bool,
    instance: InstanceId,
    keep: Duration,
    why: String,
) -> Result<(), Failure> {
    let client = client_of(home).await?;
    let keep = Millis(u64::try_from(keep.as_millis()).unwrap_or(u64::MAX));
    let intent = Intent { why, commit: None };
    let request = QuarantineRequest { instance: instance.clone(), keep, intent };
    let mut status: QuarantineStatus = client.post("/v1/quarantines", &request).await?;
    let mut told = None;
    while matches!(status.state, QuarantineState::Replacing | QuarantineState::Draining) {
        if told != Some(status.state) {
            let doing = match status.state {
                QuarantineState::Replacing => "serves until another one does",
                _ => "gets no new requests; those in flight end",
            };
            tell!("{instance} {doing}");
            told = Some(status.state);
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
        status = found(&client, &instance).await?;
    }
    if json {
        return print_json(&status);
    }
    let pid = status.pid.map_or_else(String::new, |pid| {
        format!("; its files are in /proc/{pid}/root, its network by `nsenter -n -t {pid}`")
    });
    let how = match status.state {
        QuarantineState::Running => {
            "is kept, and runs on since its host can't make it stand still,"
        }
        _ => "is kept as it is",
    };
    print_text(&format!("{instance} {how} until {}{pid}\n", status.until))
}

async fn found(client: &Client, instance: &InstanceId) -> Result<QuarantineStatus, Failure> {
    let all: Vec<QuarantineStatus> = client.get("/v1/quarantines").await?;
    all.into_iter().find(|of| of.instance == *instance).ok_or_else(|| {
        let text = format!("`{instance}` is not kept any more: it ended, or somebody released it");
        Failure::new(exit::FAILED, text).word("quarantine_over")
    })
}

async fn list(home: &Path, json: bool) -> Result<(), Failure> {
    let control = client(home);
    let read = || hornero_control::quarantines_offline(home);
    let all: Vec<QuarantineStatus> =
        asked_or_read(home, control.get("/v1/quarantines"), read).await?;
    if json {
        return print_json(&all);
    }
    if all.is_empty() {
        return print_text("no server is quarantined\n");
    }
    let now = Timestamp::now();
    let mut table = Table::with_head(&["SERVER", "RELEASE", "STATE", "LEFT", "WHO", "WHY"]);
    for of in &all {
        let state = match of.state {
            QuarantineState::Replacing => ("replacing", Tone::Passing),
            QuarantineState::Draining => ("draining", Tone::Passing),
            QuarantineState::Frozen => ("frozen", Tone::Good),
            QuarantineState::Running => ("running", Tone::Passing),
            QuarantineState::Kept => ("kept", Tone::Passing),
            QuarantineState::Ending => ("ending", Tone::Quiet),
        };
        table.row(vec![
            (of.instance.to_string(), Tone::Plain),
            (format!("{}@{}", of.service, of.release), Tone::Quiet),
            (state.0.to_owned(), state.1),
            (age(of.until, now), Tone::Plain),
            (of.who.clone(), Tone::Quiet),
            (harmless(&of.why).into_owned(), Tone::Plain),
        ]);
    }
    table.print()
}

async fn release(home: &Path, json: bool, id: &InstanceId, why: String) -> Result<(), Failure> {
    let client = client_of(home).await?;
    let request = ReleaseRequest { intent: Intent { why, commit: None } };
    let path = format!("/v1/quarantines/{id}/release");
    let status: QuarantineStatus = client.post(&path, &request).await?;
    if json {
        return print_json(&status);
    }
    print_text(&match status.state {
        QuarantineState::Replacing => format!("{id} serves on\n"),
        _ => format!("{id} is removed\n"),
    })
}
