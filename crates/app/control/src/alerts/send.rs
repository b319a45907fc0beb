//! How alerts get to those who hear of them: an Alertmanager, a webhook, a command.

use std::{
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use hornero_model::{Millis, Timestamp};
use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};

use super::states::StandingAlert;
use crate::{child::ends_within, witness::web};

/// How long one may take to be taken.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long an Alertmanager takes an alert to hold that it is not told of again.
const HOLDS: Millis = Millis(5 * 60_000);
/// Where a command finds programs.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Characters of what was seen that are told: an alert fits into a pipe.
const SUMMARY_MAX: usize = 2_000;

fn summary(alert: &StandingAlert) -> String {
    alert.summary.chars().take(SUMMARY_MAX).collect()
}

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
        "summary": summary(alert),
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
            "summary": summary(alert),
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

/// A program in a group of its own, and without the variables of control, which may hold secrets.
fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).current_dir("/");
    command.env_clear().env("PATH", PATH).process_group(0);
    command
}

/// Runs a program with an alert on its stdin. Where it does not end in time, it and all that it started are ended.
pub fn run(program: &Path, body: &Value) -> Result<(), String> {
    let mut child = command(program).spawn().map_err(|error| error.to_string())?;
    if let Some(mut stdin) = child.stdin.take() {
        // An alert fits into a pipe; one that does not read it says by its exit code what that means.
        let _ = stdin.write_all(body.to_string().as_bytes());
    }
    let ended = ends_within(&child, PATIENCE);
    if !matches!(ended, Ok(true)) {
        let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = child.kill();
    }
    match (ended, child.wait()) {
        (Ok(true), Ok(status)) if status.success() => Ok(()),
        (Ok(true), Ok(status)) => Err(format!("it ended with {status}")),
        (Ok(false), _) => Err(format!("it did not end within {PATIENCE:?}")),
        (Err(error), _) | (_, Err(error)) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_gets_no_variables_of_control_and_has_a_group_of_its_own() {
        let output = |program: &str, words: &[&str]| {
            let mut command = command(Path::new(program));
            let output = command.args(words).stdin(Stdio::null()).stdout(Stdio::piped()).output();
            String::from_utf8(output.unwrap().stdout).unwrap()
        };
        assert_eq!(output("/usr/bin/env", &[]), format!("PATH={PATH}\n"));
        let told = output("/bin/sh", &["-c", "echo $$; cut -d' ' -f5 /proc/$$/stat"]);
        let (process, group) = told.trim().split_once('\n').unwrap();
        assert_eq!(process, group);
    }

    #[test]
    fn an_alert_fits_into_a_pipe() {
        let text = "\u{1}".repeat(1 << 20);
        let alert = StandingAlert {
            rule: "budget_near".to_owned(),
            object: "site".to_owned(),
            summary: text,
            since: Timestamp(1),
            fired: Some(Timestamp(1)),
            seen: Timestamp(1),
            resolved: None,
        };
        assert!(shown("/var/lib/hornero", &alert).to_string().len() < 32 << 10);
    }
}
