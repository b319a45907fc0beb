//! `schedule`: schedules as they stand.

use std::path::Path;

use hornero_api::message::{ScheduleRunStatus, ScheduleStatus};
use hornero_model::{ScheduleResult, Timestamp};

use crate::{
    command::{absent, job::left_out},
    failure::Failure,
    harmless::harmless,
    output::{Table, Tone, age, print_list},
};

/// `hornero schedule ls`.
pub async fn list(home: &Path, json: bool) -> Result<(), Failure> {
    let schedules = absent::status(home).await?.schedules;
    print_list(
        json,
        &schedules,
        "no schedules; a `schedule` block of `hornero.hcl` declares one",
        table,
    )
}

/// Schedules for people.
pub fn table(schedules: &[ScheduleStatus], now: Timestamp, colour: bool) -> String {
    let head = ["SCHEDULE", "DOES", "DIRECTORY", "WHEN", "NEXT", "LAST", "ENDED"];
    let mut table = Table::with_head(&head);
    for schedule in schedules {
        let does = match schedule.services.is_empty() {
            true => schedule.action.to_string(),
            false => {
                let names: Vec<&str> = schedule.services.iter().map(|of| of.as_str()).collect();
                format!("{} {}", schedule.action, names.join(", "))
            }
        };
        let next = match (schedule.running, schedule.next) {
            (Some(_), _) => "runs now".to_owned(),
            (None, Some(next)) => format!("in {}", age(next, now)),
            (None, None) => "-".to_owned(),
        };
        let last = schedule.last.as_ref();
        let started =
            last.map_or_else(|| "-".to_owned(), |run| format!("{} ago", age(now, run.started)));
        table.row(vec![
            (schedule.name.to_string(), Tone::Plain),
            (does, Tone::Plain),
            (schedule.directory.to_string(), Tone::Plain),
            (format!("{} {}", schedule.when, schedule.timezone), Tone::Plain),
            (next, Tone::Plain),
            (started, Tone::Quiet),
            last.map_or_else(|| ("-".to_owned(), Tone::Quiet), ended),
        ]);
    }
    let mut text = table.render(colour);
    schedules.iter().for_each(|schedule| text.push_str(&notes(schedule)));
    text
}

/// How a time of a schedule ended.
fn ended(run: &ScheduleRunStatus) -> (String, Tone) {
    match run.result {
        None => ("-".to_owned(), Tone::Passing),
        Some(ScheduleResult::Done) => ("done".to_owned(), Tone::Good),
        Some(result) => (result.as_str().to_owned(), Tone::Bad),
    }
}

/// What went wrong with a schedule, and what it left out.
fn notes(schedule: &ScheduleStatus) -> String {
    let name = schedule.name.as_str();
    let detail = schedule.last.as_ref().and_then(|run| run.detail.as_ref());
    let log = schedule.log.as_ref().map(|log| format!("; see `{log}`")).unwrap_or_default();
    let failed = detail.map(|detail| format!("note: `{name}` {detail}{log}\n"));
    let mut text = failed.map_or_else(String::new, |text| harmless(&text).into_owned());
    if let Some(skipped) = &schedule.skipped {
        text.push_str(&left_out(name, skipped));
    }
    text
}
