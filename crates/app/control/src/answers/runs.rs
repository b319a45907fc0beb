//! One-off work.

use std::sync::Arc;

use hornero_api::message::{CancelRunRequest, Intent, Nothing, RunRequest, RunSource, RunStatus};
use hornero_driver::Driver;
use hornero_model::{Actor, InstanceId, ServiceName, error_chain};
use hornero_rollout::OpenRun;
use hyper::StatusCode;

use super::records::parameter;
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    request::Caller,
    runs::{self, Begun, Source},
    start::Starter,
    tail::new_tail,
};

/// Who asks, and why; `word` where no reason is given.
pub fn asked(caller: Caller, intent: Intent, word: &str) -> Actor {
    let why = if intent.why.is_empty() { word.to_owned() } else { intent.why };
    Actor { who: caller.user, why, commit: intent.commit }
}

/// As much one-off work as may be is under way.
pub fn too_many(open: usize) -> ApiRefusal {
    let text = format!("{open} runs are under way, as many as may be at once");
    let refusal = ApiRefusal::new(StatusCode::CONFLICT, "too_many_runs", text);
    refusal.hint("`hornero status` lists them, `hornero cancel RUN` ends one")
}

impl Api {
    /// Begins one-off work.
    pub async fn run(&self, caller: Caller, wanted: RunRequest) -> Answer {
        let RunRequest { source, command, timeout, intent } = wanted;
        if command.is_empty() {
            let text = "a run has a command";
            return Err(ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text));
        }
        // Held until the ledger says that it needs its image.
        let lease = self.lease().await?;
        let source = match source {
            RunSource::Server(server) => {
                self.accept(vec![(*server).clone()], Starter::accept).await?;
                Source { release: None, job: None, server: *server }
            }
            RunSource::Release { service, number } => {
                let name = service.clone();
                let look = move |driver: &Driver| runs::source(driver.world(), &name, number);
                let source = self.ask(look).await?.ok_or_else(|| match number {
                    Some(number) => not_found("release", &format!("{service}@{number}")),
                    None => not_found("service", service.as_str()),
                })?;
                self.accept(vec![source.server.clone()], Starter::accept_again).await?;
                source
            }
        };
        let by = asked(caller, intent, "run");
        let run = source.run(command, timeout, &new_tail()).map_err(ApiRefusal::internal)?;
        let (runs, server) = (Arc::clone(&self.runs), source.server);
        let (open, actor) = (run.clone(), by.clone());
        let begun = tokio::task::spawn_blocking(move || {
            let _lease = lease;
            runs.begin(actor, open, server)
        });
        match begun.await.map_err(ApiRefusal::internal)? {
            Begun::Yes { since } => {
                let status: RunStatus = runs::status(&OpenRun { run, by, since });
                json(&status)
            }
            Begun::TooMany(open) => Err(too_many(open)),
            Begun::Not(error) => Err(ApiRefusal::internal(error_chain(&error))),
        }
    }

    /// Ends one-off work of these services, or all of it; that of services in `going` ends once their guards let them go down.
    pub async fn end_runs(
        &self,
        by: Actor,
        services: Option<Vec<ServiceName>>,
        going: Vec<ServiceName>,
    ) -> Result<(), ApiRefusal> {
        let runs = Arc::clone(&self.runs);
        let which = move |run: &hornero_model::Run| {
            let is_meant = services.as_ref().is_none_or(|services| runs::by_name(run, services));
            is_meant && !runs::by_name(run, &going)
        };
        let ended = tokio::task::spawn_blocking(move || runs.end(&by, which));
        ended.await.map_err(ApiRefusal::internal)
    }

    /// What a run writes, from the cursor on that the query names, and its end.
    pub fn run_output(&self, run: &str, query: &str) -> Answer {
        let from = parameter(query, "from").unwrap_or("0").parse().map_err(|_| {
            let text = "`from` is no number";
            ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text)
        })?;
        let watched = self.runs.watched(run).ok_or_else(|| not_found("run", run))?;
        let id = InstanceId::new(run).map_err(|_| not_found("run", run))?;
        runs::output(Arc::clone(&self.engine), id, watched, from)
    }

    /// Ends a run.
    pub fn cancel_run(&self, caller: Caller, run: &str, wanted: CancelRunRequest) -> Answer {
        let watched = self.runs.watched(run).ok_or_else(|| not_found("run", run))?;
        watched.cancel(asked(caller, wanted.intent, "cancel"));
        json(&Nothing {})
    }
}
