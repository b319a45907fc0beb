//! `doctor`: what this host can and can't do for Hornero; and the look at it that other commands take before they begin.

use std::{path::Path, time::Duration};

use hornero_api::{Client, ClientError, message::StatusReport};
use hornero_doctor::{ControlFacts, HostFacts, HostFinding, Need, WitnessFacts};
use hornero_host::Asked;

use crate::{
    daemon,
    failure::{Failure, exit},
    harmless::harmless,
    output::{print_json, print_text},
    version::VERSION,
};

/// A control process answers in milliseconds; a person waits for this one answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// `hornero doctor`.
pub async fn doctor(home: &Path, json: bool) -> Result<(), Failure> {
    let facts = hornero_host::collect(home, Asked { control: control(home).await, ..asked(home) });
    let report = hornero_doctor::examine(&facts, VERSION);
    if json {
        print_json(&report)?;
    } else {
        print_text(&harmless(&report.text()))?;
    }
    if report.servers_run { Ok(()) } else { Err(Failure::reported(exit::FAILED)) }
}

/// Refuses what this host can't do before anything is begun; says what is degraded and matters where `tell` is set.
pub fn before(home: &Path, need: Need, tell: bool) -> Result<(), Failure> {
    let facts = facts(home);
    if let Some(finding) = hornero_doctor::first_missing(&facts, need) {
        return Err(refusal(&finding, need));
    }
    if tell {
        for finding in hornero_doctor::told_before(&facts, need) {
            tell!("{}", note("host", &finding));
        }
    }
    Ok(())
}

/// What is missing or degraded, a line each, for one who goes on all the same: nothing is to be begun.
pub fn remarks(home: &Path) -> Vec<String> {
    let facts = facts(home);
    let refused = hornero_doctor::first_missing(&facts, Need::Run);
    let refused = refused.iter().map(|finding| note("`up` would refuse", finding));
    let told = hornero_doctor::told_before(&facts, Need::Run);
    refused.chain(told.iter().map(|finding| note("host", finding))).collect()
}

/// What is known without asking the control process: milliseconds.
fn facts(home: &Path) -> HostFacts {
    hornero_host::collect(home, asked(home))
}

fn asked(home: &Path) -> Asked {
    // A ledger that can't be read is told by whoever needs it.
    let newest_event = hornero_control::newest_event(home).unwrap_or_default();
    Asked { control: ControlFacts::Absent, newest_event }
}

/// What the home's control process answers.
async fn control(home: &Path) -> ControlFacts {
    let socket = daemon::socket(home);
    if socket.symlink_metadata().is_err() {
        return ControlFacts::Absent;
    }
    let client = Client::new(socket);
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, client.get::<StatusReport>("/v1/status"));
    match answer.await {
        Err(_) => ControlFacts::Silent,
        Ok(Ok(report)) => ControlFacts::Answers {
            version: report.control.version,
            pid: report.control.pid,
            own_version: VERSION.to_owned(),
            witness: report
                .control
                .witness
                .map(|witness| WitnessFacts { place: witness.place, fault: witness.fault }),
        },
        Ok(Err(ClientError::Unreachable { source, .. }))
            if source.kind() == std::io::ErrorKind::ConnectionRefused =>
        {
            ControlFacts::Stale
        }
        Ok(Err(ClientError::Unreachable { source, .. })) => {
            ControlFacts::Unreachable(source.to_string())
        }
        Ok(Err(error)) => ControlFacts::Unreachable(error.to_string()),
    }
}

fn refusal(finding: &HostFinding, need: Need) -> Failure {
    let what = match need {
        Need::Bake => "bake images",
        Need::Run => "run servers",
    };
    let cost = finding.cost.as_deref().map(|cost| format!(": {cost}")).unwrap_or_default();
    let text = format!("this host can't {what}: {}: {}{cost}", finding.id, finding.observed);
    let failure = Failure::new(exit::FAILED, text).word(format!("host.{}", finding.id));
    let failure = match &finding.hint {
        Some(hint) => failure.hint(hint),
        None => failure,
    };
    failure.further_hint("`hornero doctor` shows everything that this host can and can't do")
}

fn note(head: &str, finding: &HostFinding) -> String {
    let cost = finding.cost.as_deref().map(|cost| format!("; {cost}")).unwrap_or_default();
    let text = format!(
        "{head}: {}: {}{cost} (`hornero doctor` says what to do)",
        finding.id, finding.observed
    );
    harmless(&text.replace('\n', " ")).into_owned()
}
