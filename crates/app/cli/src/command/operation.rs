//! `rollback`, `down`, `cancel` and what is done to rollouts under way: send, follow, tell the outcome.

use std::path::Path;

use hornero_api::{
    Client,
    message::{
        CancelRequest, DownRequest, Intent, Nothing, OperationOutcome, OutcomeKind,
        RollbackRequest, ServiceOutcome, StatusReport, SteerRequest, VolumeStatus,
    },
};
use hornero_model::{
    Directory, GuardName, Receipt, ReceiptBody, ReleaseNumber, ServiceName, Steer,
};
use hornero_net::HomeNetwork;
use serde::Serialize;

use crate::{
    arguments::{RolloutCommand, Steered},
    command::{declared_jobs, declared_volumes, following::follow, frozen, whole},
    daemon,
    failure::Failure,
    output::{print_json, print_text},
    remote,
    reports::{OperationReport, RollbackReport},
};

/// Tells why an operation did not end as asked; nothing to tell where it did.
pub fn checked(outcome: &OperationOutcome) -> Result<(), Failure> {
    if outcome.result == OutcomeKind::Done {
        return Ok(());
    }
    let code = outcome.result.exit_code();
    let Some(failure) = &outcome.failure else {
        return Err(Failure::new(code, "the operation failed"));
    };
    let mut message = failure.reason.clone();
    if !failure.log_tail.is_empty() {
        let instance =
            failure.instance.as_ref().map_or_else(String::new, |id| format!(" of `{id}`"));
        message.push_str(&format!("\nlast lines of the log{instance}:\n  "));
        message.push_str(&failure.log_tail.join("\n  "));
    }
    let told = Failure::new(code, message);
    Err(match &failure.hint {
        Some(hint) => told.hint(hint),
        None => told,
    })
}

/// Tells one service's outcome in a line or two.
pub fn tell(service: &ServiceOutcome) -> Result<(), Failure> {
    let Some(release) = service.release else {
        return print_text(&format!("{} is down\n", service.name));
    };
    let mut text = format!("{}@{release} serves", service.name);
    match &service.receipt {
        Some(receipt) => text.push_str(&format!("\n  {}\n", summary(receipt))),
        None if service.adjusted => text.push_str("; the servers that ran serve on\n"),
        None => text.push_str("; nothing to change\n"),
    }
    print_text(&text)
}

/// A receipt in one line.
pub fn summary(receipt: &Receipt) -> String {
    let body = &receipt.body;
    let from = body
        .from
        .map_or_else(|| "nothing".to_owned(), |number| format!("{}@{number}", body.service));
    let cut = if body.cut_off > 0 { format!(", {} cut off", body.cut_off) } else { String::new() };
    let replaced = without_service(body).map(|text| format!("; {text}")).unwrap_or_default();
    format!(
        "receipt {}: {from} -> {}@{}, switched in {:.2} ms, {:.0} ms in all, {} in flight drained{cut}, {} requests failed{replaced}",
        body.id,
        body.service,
        body.to,
        body.switch_ms,
        body.total_ms,
        body.drained,
        body.requests_failed
    )
}

/// What the replacement of servers that can't run twice cost; none where there was no such thing.
pub fn without_service(body: &ReceiptBody) -> Option<String> {
    let unavailable_ms = body.unavailable_ms?;
    let held = match body.held.unwrap_or_default() {
        0 => "nobody waited".to_owned(),
        1 => "1 waited at the edge".to_owned(),
        many => format!("{many} waited at the edge"),
    };
    let snapshot = body.snapshot.as_ref().map(|name| format!(", snapshot {name}"));
    let snapshot = snapshot.unwrap_or_default();
    Some(format!("without service for {unavailable_ms:.0} ms, {held}{snapshot}"))
}

/// `hornero rollback`.
pub async fn rollback(
    home: &Path,
    json: bool,
    service: ServiceName,
    to: Option<ReleaseNumber>,
    (override_guards, why): (Vec<GuardName>, String),
) -> Result<(), Failure> {
    frozen::check_reason(!override_guards.is_empty(), &why)?;
    let client = client_of(home).await?;
    let intent = Intent { why, commit: None };
    let request = RollbackRequest { service, to, override_guards, intent };
    let outcome = follow(&client, "/v1/rollback", &request, || ()).await?;
    checked(&outcome)?;
    for service in &outcome.services {
        match (&service.receipt, json) {
            (Some(receipt), true) => print_json(&RollbackReport::Switched(receipt))?,
            (None, true) => print_json(&RollbackReport::Unchanged {
                service: &service.name,
                to: service.release,
            })?,
            (_, false) => tell(service)?,
        }
    }
    Ok(())
}

/// `hornero cancel`: ends what is under way.
pub async fn cancel(
    home: &Path,
    json: bool,
    service: Option<ServiceName>,
    why: String,
) -> Result<(), Failure> {
    let request = CancelRequest { service, intent: Intent { why, commit: None } };
    let hint = "`hornero status` shows what is under way; `hornero rollback SERVICE` goes back from what serves";
    act_on_rollouts(home, json, ("/v1/cancel", &request), hint, |service| {
        let now = serving(service)
            .unwrap_or_else(|| format!("nothing of {} serves, as before", service.name));
        format!("cancelled; {now}\n")
    })
    .await
}

/// `hornero rollout`: keeps, sends on or ends what is under way.
pub async fn steer(home: &Path, json: bool, command: RolloutCommand) -> Result<(), Failure> {
    let (steer, Steered { service, reason: why }) = match command {
        RolloutCommand::Pause(steered) => (Steer::Pause, steered),
        RolloutCommand::Resume(steered) => (Steer::Resume, steered),
        RolloutCommand::Promote { steered, full: false } => (Steer::Promote, steered),
        RolloutCommand::Promote { steered, full: true } => (Steer::PromoteFully, steered),
        RolloutCommand::Abort(steered) => (Steer::Abort, steered),
    };
    let request = SteerRequest { service, steer, intent: Intent { why, commit: None } };
    let hint = "`hornero status` shows which rollouts are under way, and how far";
    act_on_rollouts(home, json, ("/v1/steer", &request), hint, |service| {
        let now =
            serving(service).unwrap_or_else(|| format!("nothing of {} serves yet", service.name));
        let rollout = service.rollout.map_or_else(String::new, |id| format!("rollout {id} "));
        format!("{rollout}{steer}; {now}\n")
    })
    .await
}

/// Has control act on what is under way, and tells of each service what came of it.
async fn act_on_rollouts(
    home: &Path,
    json: bool,
    (path, request): (&str, &impl Serialize),
    hint: &'static str,
    told: impl Fn(&ServiceOutcome) -> String,
) -> Result<(), Failure> {
    let client = client_of(home).await?;
    let outcome = follow(&client, path, request, || ()).await?;
    checked(&outcome).map_err(|failure| {
        let services = outcome.services.clone();
        failure.with_data(OperationReport::of(services)).further_hint(hint)
    })?;
    if json {
        return print_json(&OperationReport::of(outcome.services));
    }
    outcome.services.iter().try_for_each(|service| print_text(&told(service)))
}

/// Which release of a service serves.
fn serving(service: &ServiceOutcome) -> Option<String> {
    service.release.map(|release| format!("{}@{release} serves", service.name))
}

/// A client of the home's control process: one that died is started again, since what it had begun goes on with the next.
pub async fn client_of(home: &Path) -> Result<Client, Failure> {
    match remote::has_ledger(home) {
        true => daemon::ensure(home).await,
        false => Ok(remote::client_or(|| daemon::socket(home))),
    }
}

/// `hornero down`: takes services down and, when none is left, ends control and edge.
pub async fn down(
    home: &Path,
    json: bool,
    declared: Option<(Directory, Vec<ServiceName>)>,
    (override_guards, why): (Vec<GuardName>, String),
) -> Result<(), Failure> {
    if home.exists() {
        hornero_bake::clean(home)?;
    }
    if !home.join("ledger.db").exists() {
        // A build step with a network needs the bridge even where nothing ever ran.
        if home.join("network.json").exists() {
            HomeNetwork::open(home)
                .and_then(|network| network.down())
                .map_err(|error| Failure::of(&error))?;
        }
        return if json {
            print_json(&OperationReport::of(Vec::new()))
        } else {
            print_text("nothing runs\n")
        };
    }
    // A control process that died left servers behind: only one that knows the ledger can end them well.
    let client = daemon::ensure(home).await.map_err(|failure| {
        failure.further_hint(
            "where the ledger can't be read, `hornero down --force` ends what runs without it",
        )
    })?;
    let directory = declared.as_ref().map(|(directory, _)| directory.clone());
    let services = match declared {
        None => None,
        Some((directory, declared)) => {
            let status: StatusReport = client.get("/v1/status").await?;
            Some(whole::own(&status, &directory, declared))
        }
    };
    declared_jobs::remove(&client, directory.as_ref(), &why).await?;
    let intent = Intent { why, commit: None };
    let request = DownRequest { services, force: false, override_guards, intent };
    let outcome = follow(&client, "/v1/down", &request, || ()).await?;
    checked(&outcome)?;
    let is_of_it = |volume: &VolumeStatus| directory.is_none() || volume.directory == directory;
    declared_volumes::tell_kept(&client, is_of_it).await?;
    let left = end_idle(&client).await?;
    if json {
        return print_json(&OperationReport::of(outcome.services));
    }
    if outcome.services.is_empty() {
        // Services of other directories are not what was asked about.
        print_text(if left.services.is_empty() {
            "nothing runs\n"
        } else {
            "nothing of it runs\n"
        })?;
    }
    outcome.services.iter().try_for_each(tell)
}

/// `hornero down --force SERVICE`: one service, before everything else that waits.
pub async fn end(home: &Path, json: bool, service: &str, why: String) -> Result<(), Failure> {
    let service: ServiceName = service.parse().map_err(|error| {
        Failure::of(&error)
            .hint("`hornero status` names the services; a directory needs no `--force`")
    })?;
    let client = daemon::ensure(home).await?;
    let intent = Intent { why, commit: None };
    let (services, override_guards) = (Some(vec![service]), Vec::new());
    let request = DownRequest { services, force: true, override_guards, intent };
    let outcome = follow(&client, "/v1/down", &request, || ()).await?;
    checked(&outcome)?;
    end_idle(&client).await?;
    if json {
        return print_json(&OperationReport::of(outcome.services));
    }
    outcome.services.iter().try_for_each(tell)
}

/// Ends the control process where it has nothing to run; gives what it runs.
pub async fn end_idle(client: &Client) -> Result<StatusReport, Failure> {
    let left: StatusReport = client.get("/v1/status").await?;
    let idle = left.services.is_empty() && left.runs.is_empty() && left.jobs.is_empty();
    if idle && left.previews.is_empty() {
        let _: Nothing = client.post("/v1/shutdown", &Nothing {}).await?;
        gone(client).await;
    }
    Ok(left)
}

/// `hornero down --force`: ends what runs whatever the ledger says, or can't say.
pub fn abandon(home: &Path, json: bool) -> Result<(), Failure> {
    let ended = hornero_control::abandon(home).map_err(|error| {
        Failure::of(&*error).hint(
            "where a control process still answers, `hornero down` without `--force` is the way",
        )
    })?;
    if json {
        let ended = Some(ended);
        return print_json(&OperationReport { ended, ..OperationReport::of(Vec::new()) });
    }
    print_text(&format!(
        "{} instances ended; `hornero audit verify` says what is wrong with the ledger\n",
        ended.len()
    ))
}

/// Waits, within bounds, until the control process has closed its socket: `down` is done when nothing is left.
async fn gone(client: &Client) {
    // Longer than control gives effects under way when it ends.
    for _ in 0..6_000 {
        if !client.socket().is_some_and(Path::exists) {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
