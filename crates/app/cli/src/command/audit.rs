//! `audit` and `audit verify`: the ledger's events, and whether anything in it was touched.

use std::{io::Read as _, path::Path};

use hornero_api::{
    ClientError,
    message::{AuditReport, Nothing, StatusReport},
};
use hornero_control::WitnessPlace;
use hornero_model::Event;
use hyper::Method;

use crate::{
    arguments::WITNESS_VARIABLE,
    command::absent,
    failure::{Failure, exit},
    harmless::harmless,
    home_settings,
    output::{print_json, print_text},
};

/// `hornero audit`.
pub async fn audit(home: &Path, json: bool, from: u64) -> Result<(), Failure> {
    let path = format!("/v1/audit?from={from}");
    let asked = absent::client(home).stream::<Event>(Method::GET, &path, None::<&Nothing>).await;
    let mut events = match asked {
        Ok(events) => events,
        Err(error @ ClientError::Unreachable { .. }) => {
            absent::note(home, error)?;
            let mut told = Ok(());
            let see = &mut |event: Event| {
                told = tell(json, &event);
                told.is_ok()
            };
            let read = hornero_control::events_offline(home, from, see);
            read.map_err(|error| Failure::of(&*error))?;
            return told;
        }
        Err(error) => return Err(error.into()),
    };
    while let Some(event) = events.next().await? {
        tell(json, &event)?;
    }
    Ok(())
}

fn tell(json: bool, event: &Event) -> Result<(), Failure> {
    if json {
        return print_json(event);
    }
    let body = serde_json::to_value(&event.body).map_err(|error| Failure::of(&error))?;
    let kind = body["kind"].as_str().unwrap_or("event").to_owned();
    let detail: String = body.to_string().chars().take(160).collect();
    let line = format!(
        "{:>6} {} {:<16} {:<10} {detail}\n",
        event.sequence, event.time, kind, event.by.who
    );
    print_text(&harmless(&line))
}

/// `hornero audit verify`; reads the ledger through the control process where one runs, else from disk.
pub async fn audit_verify(
    home: &Path,
    json: bool,
    against: Option<&Path>,
    witness: Option<Option<WitnessPlace>>,
) -> Result<(), Failure> {
    // Read first: what can't be read is a mistake of whoever asks, and no word on the ledger.
    let kept = against.map(kept).transpose()?;
    let heads = match witness {
        Some(named) => Some(heads_of(&place(home, named).await?)?),
        None => None,
    };
    let asked: Result<AuditReport, ClientError> =
        absent::client(home).post("/v1/audit/verify", &serde_json::json!({})).await;
    let mut report = match asked {
        Ok(report) => report,
        // A home where nothing ever ran has no ledger; one that lost only a part of it has been touched.
        Err(error @ ClientError::Unreachable { .. }) if is_absent(home) => return Err(error.into()),
        Err(ClientError::Unreachable { .. }) => {
            hornero_control::verify_ledger(home).map_err(|error| Failure::of(&*error))?
        }
        Err(error) => return Err(error.into()),
    };
    if let (true, Some(kept)) = (report.intact, &kept) {
        let held = hornero_control::ledger_holds(home, kept);
        if let Err(why) = held.map_err(|error| Failure::of(&*error))? {
            report = AuditReport { intact: false, why: Some(why), ..report };
        }
    }
    if let (true, Some(heads)) = (report.intact, &heads) {
        let held = hornero_control::ledger_holds_all(home, heads);
        match held.map_err(|error| Failure::of(&*error))? {
            Ok(heads) => report.witness_heads = Some(heads),
            Err(why) => report = AuditReport { intact: false, why: Some(why), ..report },
        }
    }
    if report.intact {
        return match json {
            true => print_json(&report),
            false => {
                let heads = report.witness_heads;
                let heads = heads.map(|heads| format!(", as {heads} heads of the witness say"));
                let heads = heads.unwrap_or_default();
                print_text(&format!("intact: {} events{heads}\n", report.events))
            }
        };
    }
    let event = report.touched.map_or_else(String::new, |event| format!(" from event {event} on"));
    let why = report.why.as_deref().unwrap_or_default();
    let failure = Failure::new(exit::FAILED, format!("the ledger was touched{event}: {why}"));
    Err(failure.with_data(&report))
}

/// Where the witness is: where that is said, as control was told, or as control says.
async fn place(home: &Path, named: Option<WitnessPlace>) -> Result<WitnessPlace, Failure> {
    let none = || {
        Failure::new(exit::USAGE, "no witness is declared")
            .hint("say where it is: `hornero audit verify --witness file:/PATH`, `command:/PROGRAM` or a URL")
    };
    let parsed =
        |text: &str| text.parse::<WitnessPlace>().map_err(|error| Failure::new(exit::USAGE, error));
    if let Some(place) = named {
        return Ok(place);
    }
    if let Some(text) = std::env::var_os(WITNESS_VARIABLE) {
        return parsed(&text.to_string_lossy());
    }
    let status: Result<StatusReport, ClientError> = absent::client(home).get("/v1/status").await;
    match status {
        Ok(status) if !status.control.absent => {
            parsed(&status.control.witness.ok_or_else(none)?.place)
        }
        _ => home_settings::of(home).witness.ok_or_else(none),
    }
}

/// What the witness has; one that has nothing can vouch for nothing.
fn heads_of(place: &WitnessPlace) -> Result<String, Failure> {
    let heads = place.get().map_err(|error| {
        Failure::new(exit::FAILED, format!("the witness `{place}` can't be asked: {error}"))
            .word("witness_absent")
    })?;
    if heads.trim().is_empty() {
        let text = format!("the witness `{place}` has no head");
        return Err(Failure::new(exit::FAILED, text).word("witness_empty"));
    }
    Ok(heads)
}

/// What the ledger is compared with.
fn kept(path: &Path) -> Result<String, Failure> {
    let mut text = String::new();
    let limit = hornero_control::WITNESS_BYTES_MAX;
    let read =
        std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text));
    read.map_err(|error| {
        Failure::new(exit::USAGE, format!("`{}` can't be read: {error}", path.display()))
            .hint("name a file with a receipt as JSON, or a copy of a home's `ledger.head`")
    })?;
    Ok(text)
}

/// Whether a home surely has nothing of a ledger; one that may not be looked into might.
fn is_absent(home: &Path) -> bool {
    ["ledger.db", "ledger.head"]
        .iter()
        .all(|part| matches!(home.join(part).try_exists(), Ok(false)))
}
