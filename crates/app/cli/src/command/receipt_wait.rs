//! `receipt ID --wait`: the receipt of a rollout once it is over, also where control is started anew meanwhile.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use hornero_api::{
    Client, ClientError,
    message::{ServiceStatus, StatusReport},
};
use hornero_model::{Receipt, RolloutId};
use hyper::StatusCode;

use crate::{
    command::{absent, operation::client_of, receipt::receipt_text},
    failure::{Failure, exit},
    harmless::harmless,
    output::{print_json, print_text},
    remote,
};

/// Between two looks at a rollout that is waited for: nobody tells of its end, and nobody misses a quarter of a second of it.
const LOOK_INTERVAL: Duration = Duration::from_millis(250);
/// How long a control process that went away is waited for: one that is upgraded, or started again by systemd, is there
/// within seconds, and on a slow machine within a minute.
const COME_BACK_TIMEOUT: Duration = Duration::from_secs(60);
/// How long whoever looks after control has to start it, before this command does as every other one would.
const OTHERS_START: Duration = Duration::from_secs(3);

/// `hornero receipt ID --wait`.
pub async fn wait(home: &Path, json: bool, id: RolloutId) -> Result<(), Failure> {
    let client = client_of(home).await?;
    let (mut was_under_way, mut lost_since) = (false, None);
    let receipt = loop {
        let lost = match look(&client, id, &mut was_under_way).await {
            Ok(Some(receipt)) => break receipt,
            Ok(None) => {
                lost_since = None;
                tokio::time::sleep(LOOK_INTERVAL).await;
                continue;
            }
            Err(error) if is_lost(&error) => error,
            Err(ClientError::Refused(_, StatusCode::NOT_FOUND)) if was_under_way => {
                return Err(without_switch(id));
            }
            Err(error) => return Err(error.into()),
        };
        let since = *lost_since.get_or_insert_with(|| {
            tell_of_loss(id);
            Instant::now()
        });
        let back = come_back(home, &client, id, (lost, since), &mut was_under_way).await?;
        if let Some(files) = back {
            break files.ok_or_else(|| without_switch(id))?;
        }
    };
    tell(json, &receipt)
}

/// The receipt of a rollout; none while that is under way.
async fn look(
    client: &Client,
    id: RolloutId,
    was_under_way: &mut bool,
) -> Result<Option<Receipt>, ClientError> {
    let status: StatusReport = client.get("/v1/status").await?;
    if has(&status, id) {
        *was_under_way = true;
        return Ok(None);
    }
    client.get(&format!("/v1/receipts/{id}")).await.map(Some)
}

/// Whether a rollout is under way.
fn has(status: &StatusReport, id: RolloutId) -> bool {
    let is_it = |service: &ServiceStatus| service.rollout.as_ref().is_some_and(|of| of.id == id);
    status.services.iter().any(is_it)
}

/// Whether an answer did not come because nobody was there to give it.
fn is_lost(error: &ClientError) -> bool {
    match error {
        ClientError::Unreachable { source, .. } => source.kind() != io::ErrorKind::PermissionDenied,
        ClientError::Away { .. } | ClientError::Broken(_) => true,
        ClientError::Refused(..) | ClientError::OtherProtocol { .. } => false,
    }
}

/// Waits until control is there again, which goes on with what is under way, and starts one where nobody else does. Where the
/// rollout is over and nobody needs control any more, as after a `down`: its receipt, as the home's own files have it.
async fn come_back(
    home: &Path,
    client: &Client,
    id: RolloutId,
    (lost, since): (ClientError, Instant),
    was_under_way: &mut bool,
) -> Result<Option<Option<Receipt>>, Failure> {
    let mut was_started = false;
    while since.elapsed() < COME_BACK_TIMEOUT {
        tokio::time::sleep(LOOK_INTERVAL).await;
        match client.get::<StatusReport>("/v1/status").await {
            Ok(status) => {
                *was_under_way |= has(&status, id);
                return Ok(None);
            }
            Err(error) if is_lost(&error) => {}
            Err(error) => return Err(error.into()),
        }
        if was_started || remote::is_elsewhere() || since.elapsed() < OTHERS_START {
            continue;
        }
        let read = |error: anyhow::Error| Failure::of(&*error);
        if absent::is_readable(home)
            && !has(&hornero_control::status_offline(home).map_err(read)?, id)
        {
            absent::note(home, lost)?;
            let receipts = hornero_control::receipts_offline(home).map_err(read)?;
            return Ok(Some(receipts.into_iter().find(|receipt| receipt.body.id == id)));
        }
        was_started = true;
        client_of(home).await?;
    }
    Err(lost.into())
}

fn tell_of_loss(id: RolloutId) {
    let seconds = COME_BACK_TIMEOUT.as_secs();
    tell!(
        "note: the control process is gone; rollout {id} goes on with the next one, which is waited for, {seconds} s at most"
    );
}

fn without_switch(id: RolloutId) -> Failure {
    let text = format!("rollout {id} ended without a switch that stands");
    let hint = "`hornero status` shows what serves, `hornero audit` why";
    Failure::new(exit::FAILED, text).hint(hint)
}

fn tell(json: bool, receipt: &Receipt) -> Result<(), Failure> {
    if let Some(why) = &receipt.body.taken_back {
        let (service, to) = (&receipt.body.service, receipt.body.to);
        let text = format!("`{service}@{to}` serves again: {why}");
        return Err(Failure::new(exit::ROLLED_BACK, text).with_data(receipt));
    }
    match json {
        true => print_json(receipt),
        false => print_text(&harmless(&receipt_text(receipt))),
    }
}
