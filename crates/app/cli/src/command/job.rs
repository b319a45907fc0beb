//! `job`: jobs as they stand, and a run of one now.

use std::path::Path;

use hornero_api::message::{
    Intent, JobRunStatus, JobStatus, RunJobRequest, RunStatus, SkippedStatus,
};
use hornero_doctor::Need;
use hornero_model::{JobName, Timestamp};

use crate::{
    arguments::JobCommand,
    command::{absent, doctor, operation, run},
    failure::Failure,
    harmless::harmless,
    output::{Table, Tone, age, print_list},
};

/// `hornero job`.
pub async fn run(home: &Path, json: bool, command: JobCommand) -> Result<(), Failure> {
    match command {
        JobCommand::Ls => list(home, json).await,
        JobCommand::Run { name, reason } => now(home, json, name, reason).await,
    }
}

async fn list(home: &Path, json: bool) -> Result<(), Failure> {
    let jobs = absent::status(home).await?.jobs;
    print_list(json, &jobs, "no jobs; a `job` block of `hornero.hcl` declares one", table)
}

/// Jobs for people.
pub fn table(jobs: &[JobStatus], now: Timestamp, colour: bool) -> String {
    let mut table = Table::with_head(&["JOB", "SCHEDULE", "NEXT", "LAST", "ENDED"]);
    for job in jobs {
        let next = match (&job.running, job.next) {
            (Some(_), _) => "runs now".to_owned(),
            (None, Some(next)) => format!("in {}", age(next, now)),
            (None, None) => "-".to_owned(),
        };
        let schedule = job.schedule.as_ref().map_or_else(
            || "-".to_owned(),
            |line| format!("{line} {}", job.timezone.as_deref().unwrap_or("UTC")),
        );
        let last = job.last.as_ref();
        let started =
            last.map_or_else(|| "-".to_owned(), |run| format!("{} ago", age(now, run.started)));
        table.row(vec![
            (job.name.to_string(), Tone::Plain),
            (schedule, Tone::Plain),
            (next, Tone::Plain),
            (started, Tone::Quiet),
            last.map_or_else(|| ("-".to_owned(), Tone::Quiet), ended),
        ]);
    }
    let mut text = table.render(colour);
    for job in jobs {
        if let Some(skipped) = &job.skipped {
            text.push_str(&left_out(job.name.as_str(), skipped));
        }
    }
    text
}

/// That times were left out, and why.
pub fn left_out(name: &str, skipped: &SkippedStatus) -> String {
    let SkippedStatus { planned, missed, at, why } = skipped;
    let why = if why.is_empty() { "" } else { &format!(": {}", harmless(why)) };
    let before = match missed {
        0 => String::new(),
        times => format!(" and {times} times before that"),
    };
    format!("note: `{name}` was left out for {planned}{before}, seen at {at}{why}\n")
}

/// How a run of a job ended.
fn ended(run: &JobRunStatus) -> (String, Tone) {
    let Some(exit) = run.exit else { return ("-".to_owned(), Tone::Passing) };
    let mut text = format!("exit {exit}");
    if run.attempt > 1 {
        text.push_str(&format!(", try {}", run.attempt));
    }
    if run.missed > 0 {
        text.push_str(&format!(", {} missed before", run.missed));
    }
    (text, if exit == 0 { Tone::Good } else { Tone::Bad })
}

async fn now(home: &Path, json: bool, name: JobName, why: String) -> Result<(), Failure> {
    doctor::before(home, Need::Run, true)?;
    let client = operation::client_of(home).await?;
    let request = RunJobRequest { intent: Intent { why, commit: None } };
    let status: RunStatus = client.post(&format!("/v1/jobs/{name}/runs"), &request).await?;
    let shown = if json { run::Shown::OnStderr } else { run::Shown::Streams };
    let end = run::follow(home, client, &status, shown).await?;
    run::tell(json, &status, &end)
}
