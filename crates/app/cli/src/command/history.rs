//! `history`: a service's releases, and what happened to them.

use std::path::Path;

use hornero_api::message::{HistoryEntry, ListenerFaultEntry};
use hornero_model::{ServiceName, Timestamp};

use crate::{
    command::{
        absent::{asked_or_read, client},
        canary,
    },
    failure::{Failure, exit},
    harmless::harmless,
    output::{Table, Tone, age, print_json, print_text},
};

/// `hornero history`.
pub async fn history(home: &Path, json: bool, service: &ServiceName) -> Result<(), Failure> {
    let client = client(home);
    let path = format!("/v1/services/{service}/history");
    let read = || hornero_control::history_offline(home, service);
    let asked = async { client.get::<Vec<HistoryEntry>>(&path).await.map(Some) };
    let entries = asked_or_read(home, asked, read).await?;
    let entries = entries.ok_or_else(|| {
        Failure::new(exit::NO_SUCH_OBJECT, format!("no service `{service}`"))
            .word("no_such_service")
    })?;
    if json {
        return print_json(&entries);
    }
    let now = Timestamp::now();
    let mut table = Table::with_head(&["RELEASE", "IMAGE", "BASE", "PROVEN", "AGE", "WHO", "WHY"]);
    let happened: String = entries.iter().map(|entry| happened(service, entry, now)).collect();
    for entry in entries {
        let marked = if entry.serving { " *" } else { "" };
        let proven = match (entry.proven, &entry.failed) {
            (_, Some(_)) => ("failed".to_owned(), Tone::Bad),
            (true, None) => ("yes".to_owned(), Tone::Good),
            (false, None) => ("no".to_owned(), Tone::Quiet),
        };
        table.row(vec![
            (format!("{service}@{}{marked}", entry.release), Tone::Plain),
            (entry.image.short(), Tone::Quiet),
            (entry.base.map_or_else(|| "-".to_owned(), |base| base.short()), Tone::Quiet),
            proven,
            (age(now, entry.created), Tone::Plain),
            (entry.who, Tone::Plain),
            (entry.why, Tone::Plain),
        ]);
    }
    table.print()?;
    print_text(&format!("\n* serves now\n{happened}"))
}

/// What happened to a release, a line each.
fn happened(service: &ServiceName, entry: &HistoryEntry, now: Timestamp) -> String {
    let mut text = String::new();
    let release = format!("{service}@{}", entry.release);
    for time in entry.host_started.iter().rev() {
        let ago = age(now, *time);
        text.push_str(&format!("host started again {ago} ago ({time}), and {release} with it\n"));
    }
    for fault in entry.listener_faults.iter().rev() {
        text.push_str(&listener_fault(fault, &release));
    }
    for step in &entry.canary {
        text.push_str(&format!("canary {release}: {}\n", harmless(&canary::judged(step))));
    }
    for deed in &entry.interventions {
        text.push_str(&format!("rollout of {release} {}\n", harmless(&deed.to_string())));
    }
    if let Some(failed) = &entry.failed {
        let reason = harmless(&failed.reason);
        text.push_str(&format!(
            "{release} failed at {} ({}: {}): {reason}\n",
            failed.at, failed.who, failed.why
        ));
    }
    text
}

/// When a way in was down, and for how long, in a line.
fn listener_fault(fault: &ListenerFaultEntry, release: &str) -> String {
    let ListenerFaultEntry { listen, reason, serves, from, until } = fault;
    let state = if *serves { "was not as it should be" } else { "was down" };
    let until = match until {
        Some(until) => format!("until {until}, for {}", age(*until, *from)),
        None => "and is so still".to_owned(),
    };
    format!("`{listen}` of {release} {state} from {from} {until}: {}\n", harmless(reason))
}
