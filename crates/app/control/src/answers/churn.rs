//! Going on where a limit of churn stopped.

use hornero_api::message::{ResumeReport, ResumeRequest};
use hornero_model::{Actor, ServiceName, error_chain};
use hyper::StatusCode;

use crate::{
    answer::{Answer, ApiRefusal, json},
    api::{Api, not_found},
    churn::{self, Resume},
    input::Input,
    request::Caller,
};

impl Api {
    /// Lets go on what a limit of churn stopped.
    pub async fn resume(&self, caller: Caller, wanted: ResumeRequest) -> Answer {
        let ResumeRequest { service, intent } = wanted;
        if let Some(name) = &service {
            self.check_stopped_by_itself(name).await?;
        }
        let (resumed, answer) = std::sync::mpsc::channel();
        let by = Actor { who: caller.user, why: intent.why, commit: intent.commit };
        self.inputs
            .send(Input::Resume(Resume { by, service, resumed }))
            .map_err(ApiRefusal::internal)?;
        let answer = tokio::task::spawn_blocking(move || answer.recv()).await;
        let stopped = match answer.map_err(ApiRefusal::internal)? {
            Ok(outcome) => outcome.map_err(|error| ApiRefusal::internal(error_chain(&error)))?,
            Err(_) => return Err(ApiRefusal::internal("the control process is ending")),
        };
        json(&ResumeReport { resumed: stopped.iter().map(churn::resumed).collect() })
    }

    /// Refuses to let a service go on that nobody knows, or that the whole home's limit stopped.
    async fn check_stopped_by_itself(&self, service: &ServiceName) -> Result<(), ApiRefusal> {
        let name = service.clone();
        let (known, by_home) = self
            .ask(move |driver| {
                let known = driver.world().services.contains_key(&name);
                let shared = driver.world().services.get(&name).and_then(|of| of.shared.as_ref());
                let own = shared.is_some() || driver.churn().stopped_by(Some(&name)).is_some();
                (known, !own && driver.churn().stopped_by(None).is_some())
            })
            .await?;
        if !known {
            return Err(not_found("service", service.as_str()));
        }
        if by_home {
            let text = "the limit of the whole home was reached, not one of this service";
            return Err(ApiRefusal::new(StatusCode::CONFLICT, "home_stopped", text)
                .hint("`hornero resume --reason …` without a service lets all go on"));
        }
        Ok(())
    }
}
