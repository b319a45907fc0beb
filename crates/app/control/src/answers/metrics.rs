//! What is measured: now, over time, for Prometheus, and where instances are scraped.

use std::sync::Arc;

use hornero_api::message::ScrapeTarget;
use hornero_model::{Millis, Timestamp};
use http_body_util::{BodyExt as _, Full};
use hyper::{Response, StatusCode, body::Bytes, header::HeaderValue};

use super::records::{parameter, time};
use crate::{
    answer::{Answer, ApiRefusal, json},
    api::Api,
    metrics::{Metrics, OwnFigures, exposition, history, report},
};

/// Points that one answer has at most.
const POINTS_MAX: u64 = 5_000;
/// Points that it has where nobody says how much time each stands for.
const POINTS: u64 = 100;
/// What a point stands for at least: as often is looked.
const LEAST_STEP: Millis = Millis(10_000);
/// What is asked for where nobody says since when.
const HOUR: Millis = Millis(3_600_000);
/// The text format's media type (Prometheus' documentation, "Exposition formats").
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

fn bad(message: String) -> ApiRefusal {
    ApiRefusal::new(StatusCode::BAD_REQUEST, "bad_request", message)
}

fn unanswered() -> ApiRefusal {
    ApiRefusal::internal("the control process is busy or ending, and did not answer in time")
}

impl Api {
    /// Does what may block.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Metrics) -> T + Send + 'static,
    ) -> Result<T, ApiRefusal> {
        let metrics = Arc::clone(&self.metrics);
        tokio::task::spawn_blocking(move || work(&metrics)).await.map_err(ApiRefusal::internal)
    }

    /// What runs uses and answers now.
    pub async fn figures(&self) -> Answer {
        let seen = self.blocking(Metrics::look).await?;
        let (seen, before) = seen.ok_or_else(unanswered)?;
        json(&report(&seen, before.as_deref()))
    }

    /// Figures of a service or an instance over time.
    pub async fn figure_history(&self, object: &str, query: &str) -> Answer {
        let now = Timestamp::now();
        let until = time(query, "until")?.unwrap_or(now);
        let since = time(query, "since")?.unwrap_or(Timestamp(until.0.saturating_sub(HOUR.0)));
        let span = until.since(since).0;
        let step = match parameter(query, "step") {
            None => Millis((span / POINTS).next_multiple_of(1_000).max(LEAST_STEP.0)),
            Some(text) => text
                .parse::<u64>()
                .ok()
                .and_then(|seconds| seconds.checked_mul(1_000))
                .filter(|step| *step >= LEAST_STEP.0 && span / step <= POINTS_MAX)
                .map(Millis)
                .ok_or_else(|| {
                    bad(format!(
                        "`{text}` is no number of seconds from 10 on that makes at most {POINTS_MAX} points"
                    ))
                })?,
        };
        let object = object.to_owned();
        let metrics = Arc::clone(&self.metrics);
        let read = move || history(metrics.directory(), &object, (since, until), step);
        json(&self.look_long(read).await?.map_err(ApiRefusal::internal)?)
    }

    /// Everything that is measured, in Prometheus' text format.
    pub async fn exposition(&self) -> Answer {
        let (started, journal_fault) = (self.started, self.operations.journal_fault().is_some());
        let text = self.blocking(move |metrics| {
            let (seen, _) = metrics.look()?;
            let home = metrics.directory().parent()?;
            let ledger = std::fs::metadata(home.join("ledger.db"));
            let own = OwnFigures {
                started,
                tally: &metrics.tally(&seen),
                journal_fault,
                ledger_bytes: ledger.map_or(0, |found| found.len()),
                figures_bytes: metrics.size_bytes(),
                disk: rustix::fs::statvfs(home).ok(),
            };
            Some(exposition(&seen, &own))
        });
        let text = text.await?.ok_or_else(unanswered)? + &self.alerts.exposition();
        let mut response = Response::new(Full::new(Bytes::from(text)).boxed_unsync());
        response.headers_mut().insert("content-type", TEXT);
        Ok(response)
    }

    /// Where instances are scraped; those of one service where the query names it.
    pub async fn scrape_targets(&self, query: &str) -> Answer {
        let service = parameter(query, "service").map(str::to_owned);
        let targets = self.blocking(Metrics::targets).await?.ok_or_else(unanswered)?;
        let own = targets
            .into_iter()
            .filter(|(name, _)| service.as_ref().is_none_or(|service| service == name.as_str()));
        json(&own.map(|(_, target)| target).collect::<Vec<ScrapeTarget>>())
    }
}
