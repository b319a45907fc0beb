//! Operations: handed to the driver, and followed by whoever reads.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hornero_api::message::{Intent, OperationLine};
use hornero_driver::{Observation, Request as Job, RequestId, RequestKind};
use hornero_model::{Actor, GuardName, Steer, StepName, StepRuling};

use crate::{
    answer::{Answer, ApiRefusal, stream},
    api::{Api, not_found},
    input::Input,
    operations::Held,
    request::Caller,
};

/// The command's word for what is done to a rollout.
pub const fn word(steer: Steer) -> &'static str {
    match steer {
        Steer::Pause => "pause",
        Steer::Resume => "resume",
        Steer::Promote | Steer::PromoteFully => "promote",
        Steer::Abort => "abort",
    }
}

/// How a request is carried out, beyond what it asks for.
#[derive(Debug, Default)]
pub struct BeginOptions {
    /// Whether releases that failed are tried again.
    pub retry_failed: bool,
    /// Data guards that are overridden.
    pub overridden: BTreeSet<GuardName>,
    /// What is decided about schema steps.
    pub rulings: BTreeMap<StepName, StepRuling>,
}

impl Api {
    /// Hands a request to the driver and follows it; what is held is held whoever follows.
    pub fn begin(
        &self,
        caller: Caller,
        intent: Intent,
        kind: RequestKind,
        held: Option<Held>,
    ) -> Answer {
        self.begin_again(caller, intent, kind, held, BeginOptions::default())
    }

    /// The same, where releases that failed may be tried again.
    pub fn begin_again(
        &self,
        caller: Caller,
        intent: Intent,
        kind: RequestKind,
        held: Option<Held>,
        how: BeginOptions,
    ) -> Answer {
        let why = match intent.why.is_empty() {
            false => intent.why,
            true => match &kind {
                RequestKind::Apply { .. } | RequestKind::Bring { .. } => "up".to_owned(),
                RequestKind::Preview { .. } => "preview".to_owned(),
                RequestKind::Rollback { .. } => "rollback".to_owned(),
                RequestKind::Down { .. } => "down".to_owned(),
                RequestKind::End { .. } => "down by force".to_owned(),
                RequestKind::Recycle { .. } => "recycle".to_owned(),
                RequestKind::Cancel { .. } => "cancel".to_owned(),
                RequestKind::Steer { steer, .. } => format!("rollout {}", word(*steer)),
            },
        };
        let number = self.operations.open(held);
        let by = Actor { who: caller.user, why, commit: intent.commit };
        let BeginOptions { retry_failed, overridden, rulings } = how;
        let id = RequestId(number);
        let request = Job { id, by, kind, retry_failed, overridden, rulings };
        self.inputs
            .send(Input::Observe(Observation::Request(request)))
            .map_err(ApiRefusal::internal)?;
        self.follow(number)
    }

    /// Follows an operation that was begun before.
    pub fn operation(&self, number: &str) -> Answer {
        let known = number.parse().ok();
        let known = known.filter(|number| self.operations.read(*number, 0).is_some());
        self.follow(known.ok_or_else(|| not_found("operation", number))?)
    }

    /// Streams an operation's lines to their end; the operation does not care who reads.
    fn follow(&self, number: u64) -> Answer {
        let operations = Arc::clone(&self.operations);
        let (lines, answer) = stream();
        tokio::spawn(async move {
            let mut sent = 0;
            while let Some((new, mut changed)) = operations.read(number, sent) {
                let count = new.len();
                for line in new {
                    let last = matches!(line, OperationLine::Finished { .. });
                    if !lines.send(&line).await || last {
                        return;
                    }
                }
                sent += count;
                // Lines that came since the read are seen here: the receiver compares, it does not count.
                if *changed.borrow_and_update() > sent {
                    continue;
                }
                tokio::select! {
                    changed = changed.changed() => if changed.is_err() { return },
                    () = lines.closed() => return,
                }
            }
        });
        answer
    }
}
