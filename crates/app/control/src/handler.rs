//! Which answer a request of the API gets.

use std::sync::Arc;

use hornero_api::{EndpointId, message::Nothing};
use hyper::{Request, StatusCode, body::Incoming};

use crate::{
    access::{gate::Admitted, pages::guard},
    answer::{Answer, ApiRefusal, json, told},
    api::Api,
    input::Input,
    request::{Caller, HangUp, body, whole},
    server::{ForNobody, Handler, Peer, same_protocol},
};

impl Handler for Api {
    async fn handle(self: Arc<Self>, peer: Peer, request: Request<Incoming>) -> Answer {
        let (remote, gate) = match peer {
            Peer::Local(caller) => return self.answer(caller, request).await,
            Peer::Remote(remote, gate) => (remote, gate),
        };
        let found = hornero_api::matched(request.method().as_str(), request.uri().path());
        let leaves = found.as_ref().is_some_and(|found| found.0.id == EndpointId::Logout);
        let headers = leaves.then(|| request.headers().clone());
        let answer = match gate.admit(&remote, &request, found.is_some()) {
            Ok(Admitted::Caller(caller)) => {
                if let Some(ends) = request.extensions().get::<HangUp>()
                    && caller.until.is_some()
                {
                    gate.hang_up_with(&remote, request.headers(), ends);
                }
                self.answer(caller, request).await
            }
            Ok(Admitted::Answer(mut answer)) => {
                answer.extensions_mut().insert(ForNobody);
                Ok(answer)
            }
            Err(refusal) => Err(refusal),
        };
        let mut answer = told(answer);
        if let Some(headers) = headers
            && answer.status().is_success()
        {
            gate.log_out(&remote, &headers, &mut answer);
        }
        guard(&mut answer);
        Ok(answer)
    }
}

impl Api {
    /// Answers somebody who is known by now.
    #[allow(clippy::too_many_lines, reason = "one arm for each endpoint")]
    async fn answer(self: Arc<Self>, caller: Caller, request: Request<Incoming>) -> Answer {
        same_protocol(request.headers())?;
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let query = request.uri().query().unwrap_or_default().to_owned();
        let Some((endpoint, values)) = hornero_api::matched(method.as_str(), &path) else {
            return Err(ApiRefusal::new(
                StatusCode::NOT_FOUND,
                "no_such_endpoint",
                format!("no endpoint `{method} {path}`"),
            )
            .hint("GET /v1/openapi.json lists all"));
        };
        caller.needs(endpoint.role, &format!("`{method} {}`", endpoint.path))?;
        let caller = self.named(caller);
        match endpoint.id {
            EndpointId::Health => self.health().await,
            EndpointId::Status => self.status().await,
            EndpointId::Apply => self.apply(caller, body(request).await?).await,
            EndpointId::Plan => self.plan(body(request).await?).await,
            EndpointId::Test => self.test(caller, body(request).await?).await,
            EndpointId::Rollback => self.rollback(caller, body(request).await?).await,
            EndpointId::Down => self.take_down(caller, body(request).await?).await,
            EndpointId::Recycle => self.recycle(caller, body(request).await?).await,
            EndpointId::Cancel => self.cancel(caller, body(request).await?).await,
            EndpointId::Resume => self.resume(caller, body(request).await?).await,
            EndpointId::Steer => self.steer(caller, body(request).await?).await,
            EndpointId::Run => self.run(caller, body(request).await?).await,
            EndpointId::RunOutput => self.run_output(values[0], &query),
            EndpointId::RunCancel => self.cancel_run(caller, values[0], body(request).await?),
            EndpointId::Rehearse => self.rehearse(caller, body(request).await?).await,
            EndpointId::Rehearsal => self.rehearsal(values[0]).await,
            EndpointId::DeclareJobs => self.declare_jobs(caller, body(request).await?).await,
            EndpointId::RunJob => self.run_job(caller, values[0], body(request).await?).await,
            EndpointId::Volumes => self.volumes().await,
            EndpointId::DeclareVolumes => self.declare_volumes(caller, body(request).await?).await,
            EndpointId::ChangeVolume => {
                self.change_volume(caller, values[0], body(request).await?).await
            }
            EndpointId::CheckGuards => self.check_guards(values[0], request).await,
            EndpointId::Preview => self.preview(caller, body(request).await?).await,
            EndpointId::RemovePreview => {
                self.remove_preview(caller, values[0], body(request).await?).await
            }
            EndpointId::Quarantine => self.quarantine(caller, body(request).await?).await,
            EndpointId::Quarantines => self.quarantines().await,
            EndpointId::ReleaseQuarantine => {
                self.release_quarantine(caller, values[0], body(request).await?).await
            }
            EndpointId::BreakGlass => self.break_glass(caller, body(request).await?).await,
            EndpointId::GlassInput => self.glass_input(&caller, values[0], body(request).await?),
            EndpointId::GlassSessions => self.glass_sessions().await,
            EndpointId::Operation => self.operation(values[0]),
            EndpointId::History => self.history(values[0]).await,
            EndpointId::Receipts => self.receipts(&query),
            EndpointId::Receipt => self.receipt(values[0]),
            EndpointId::Audit => self.audit(&query),
            EndpointId::AuditVerify => {
                whole(request).await?;
                self.audit_verify().await
            }
            EndpointId::Verify => self.verify(body(request).await?).await,
            EndpointId::Logs => self.logs(values[0], &query).await,
            EndpointId::Metrics => self.exposition().await,
            EndpointId::Figures => self.figures().await,
            EndpointId::FigureHistory => self.figure_history(values[0], &query).await,
            EndpointId::ScrapeTargets => self.scrape_targets(&query).await,
            EndpointId::OpenApi => json(&hornero_api::document()),
            EndpointId::Shutdown => {
                whole(request).await?;
                self.inputs.send(Input::Shutdown).map_err(ApiRefusal::internal)?;
                json(&Nothing {})
            }
            EndpointId::Events => {
                let hang_up = request.extensions().get::<HangUp>().cloned().unwrap_or_default();
                self.events(&query, request.headers(), hang_up)
            }
            EndpointId::Session => self.session(caller),
            EndpointId::Login => self.login(&caller, body(request).await?),
            EndpointId::Alerts => json(&self.alerts.report()),
            EndpointId::Logout => {
                whole(request).await?;
                json(&Nothing {})
            }
            EndpointId::Traffic => self.traffic().await,
            EndpointId::Written => self.written(&query).await,
            EndpointId::Churn => self.churn(&query).await,
            EndpointId::ImageDifference => self.image_difference(values[0], values[1]).await,
        }
    }
}

impl Api {
    /// That control answers: the thread that decides says it.
    async fn health(&self) -> Answer {
        self.ask(|_| ()).await?;
        json(&Nothing {})
    }

    /// The same caller, as a command of a schedule where it is one.
    fn named(&self, caller: Caller) -> Caller {
        match caller.process.and_then(|of| self.schedules.children.schedule_of(of)) {
            Some(schedule) => caller.of_schedule(schedule),
            None => caller,
        }
    }
}
