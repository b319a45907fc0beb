//! How alerts get to those who hear of them: an Alertmanager, a webhook, a command.

use std::{
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use hornero_model::{Millis, Timestamp};
use serde_json::{Value, json};

use super::states::StandingAlert;
use crate::{child::ends_within, witness::web};

/// How long one may take to be taken.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an Alertmanager takes an alert to hold that it is not told of again.
const HOLDS: Millis = Millis(5 * 60_000);

/// An alert as a webhook and a command get it.
pub fn shown(home: &str, alert: &StandingAlert) -> Value {
    let rule = alert.rule();
    json!({
        "version": 1,
        "kind": "alert",
        "home": home,
        "state": if alert.resolved.is_some() { "resolved" } else { "firing" },
        "rule": alert.rule,
        "severity": rule.map(|rule| rule.urgency.as_str()),
        "object": alert.object,
        "summary": alert.summary,
        "meaning": rule.map(|rule| rule.meaning),
        "remedy": rule.map(|rule| rule.remedy),
        "since": alert.since,
        "fired": alert.fired,
        "resolved": alert.resolved,
    })
}

/// An alert as `POST /api/v2/alerts` of Alertmanager takes it.
pub fn for_alertmanager(home: &str, alert: &StandingAlert, now: Timestamp) -> Value {
    let rule = alert.rule();
    let end = alert.resolved.unwrap_or(Timestamp(now.0.saturating_add(HOLDS.0)));
    json!({
        "labels": {
            "alertname": rule.map_or(alert.rule.as_str(), |rule| rule.alert),
            "severity": rule.map(|rule| rule.urgency.as_str()),
            "rule": alert.rule,
            "object": alert.object,
            "home": home,
        },
        "annotations": {
            "summary": alert.summary,
            "meaning": rule.map(|rule| rule.meaning),
            "remedy": rule.map(|rule| rule.remedy),
        },
        "startsAt": alert.since,
        "endsAt": end,
    })
}

/// Posts JSON; an error says nothing of the URL, which may hold a secret.
pub fn post(url: &str, body: &Value) -> Result<(), String> {
    let agent = web::agent(url).map_err(|error| error.to_string())?;
    let sent = agent.post(url).content_type("application/json").send(body.to_string());
    match sent {
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("it answered {}", answer.status())),
        Err(error) => Err(error.to_string().replace(url, "URL")),
    }
}

/// Runs a program with an alert on its stdin.
pub fn run(program: &Path, body: &Value) -> Result<(), String> {
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    let mut child = command.spawn().map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // An alert fits into a pipe; one that does not read it says by its exit code what that means.
        let _ = stdin.write_all(body.to_string().as_bytes());
    }
    let ended = ends_within(&child, PATIENCE);
    if !matches!(ended, Ok(true)) {
        let _ = child.kill();
    }
    match (ended, child.wait()) {
        (Ok(true), Ok(status)) if status.success() => Ok(()),
        (Ok(true), Ok(status)) => Err(format!("it ended with {status}")),
        (Ok(false), _) => Err(format!("it did not end within {PATIENCE:?}")),
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    }
}
