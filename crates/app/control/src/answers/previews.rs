//! Previews: begun beside what serves, and removed.

use hornero_api::message::{Intent, PreviewRequest, PreviewSource, RemovePreviewRequest};
use hornero_driver::{Driver, RequestKind};
use hornero_model::{Millis, Preview, PreviewName, ServiceName, ServiceSpec, Timestamp};
use hyper::StatusCode;

use crate::{
    answer::{Answer, ApiRefusal},
    api::{Api, not_found},
    operations::Held,
    request::Caller,
    start::Starter,
};

/// The longest that a preview stays: what shall stay longer is a service.
const LONGEST: Millis = Millis(30 * 86_400_000);

fn refused(text: String) -> ApiRefusal {
    ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", text)
}

impl Api {
    /// Shows something beside what serves.
    pub async fn preview(&self, caller: Caller, wanted: PreviewRequest) -> Answer {
        let PreviewRequest { name, source, share, lasts, intent } = wanted;
        if lasts.0 == 0 || lasts > LONGEST {
            return Err(refused(format!("a preview stays for 30 days at most, not for {lasts}")));
        }
        let lease = self.lease().await?;
        let (release, services) = match source {
            PreviewSource::Services(services) => {
                self.accept(services.clone(), Starter::accept).await?;
                (None, services)
            }
            PreviewSource::Release { service, number } => {
                let shown = service.clone();
                let look = move |driver: &Driver| {
                    driver.world().release(&shown, number).map(|release| release.spec.clone())
                };
                let spec = self.ask(look).await?;
                let spec =
                    spec.ok_or_else(|| not_found("release", &format!("{service}@{number}")))?;
                self.accept(vec![spec.clone()], Starter::accept_again).await?;
                (Some(number), vec![spec])
            }
        };
        let until = Timestamp::now().after(lasts);
        let preview = |spec: ServiceSpec| {
            let (name, service) = (name.clone(), spec.name.clone());
            (Preview { name, service, release, share, until }, spec)
        };
        let previews: Vec<(Preview, ServiceSpec)> = services.into_iter().map(preview).collect();
        let runs_as = previews.iter().map(|(preview, _)| preview.runs_as());
        let runs_as: Vec<ServiceName> =
            runs_as.collect::<Result<_, _>>().map_err(|error| refused(error.to_string()))?;
        let held = Held::new(lease, runs_as.iter());
        self.begin(caller, intent, RequestKind::Preview { previews }, Some(held))
    }

    /// Removes a preview, whatever it shows.
    pub async fn remove_preview(
        &self,
        caller: Caller,
        name: &str,
        wanted: RemovePreviewRequest,
    ) -> Answer {
        let preview = PreviewName::new(name).map_err(|_| not_found("preview", name))?;
        let services = self.ask(move |driver| driver.world().previews_named(&preview)).await?;
        if services.is_empty() {
            return Err(not_found("preview", name));
        }
        let Intent { why, commit } = wanted.intent;
        let why = if why.is_empty() { "preview rm".to_owned() } else { why };
        self.begin(caller, Intent { why, commit }, RequestKind::Down { services }, None)
    }
}
