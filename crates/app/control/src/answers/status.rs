//! What runs.

use std::{net::IpAddr, sync::Arc};

use hornero_api::message::{ControlStatus, StatusReport, SupportReport};
use hornero_model::{HostState, Timestamp};

use crate::{
    answer::{Answer, ApiRefusal, json},
    api::Api,
    forensics::TOLD_FOR,
    glass, jobs, quarantines, report, runs, schedules,
};

impl Api {
    /// All that runs, and what this host can't do.
    pub async fn status(&self) -> Answer {
        let network = self.network.clone();
        let internal = tokio::task::spawn_blocking(move || network.service_addresses()).await;
        let internal = internal.map_err(ApiRefusal::internal)?.unwrap_or_default();
        let internal =
            internal.into_iter().map(|(name, address)| (name, IpAddr::from(address))).collect();
        let (engine, of_instances) = (Arc::clone(&self.engine), Arc::clone(&self.engine));
        let support = tokio::task::spawn_blocking(move || engine.support()).await;
        let support = support.map_err(ApiRefusal::internal)?.into_iter();
        let limits = support
            .filter(|feature| feature.state != HostState::Pass)
            .map(|feature| SupportReport {
                feature: feature.name,
                reason: feature.reason,
                cost: feature.cost,
                remedy: feature.remedy,
            })
            .collect();
        let (started, home) = (self.started, self.schedules.home().to_owned());
        let journal_fault = self.operations.journal_fault();
        let settings_fault = self.settings_fault.clone();
        let api = self.ways.status();
        let witness = self.witness.as_ref().map(|witness| witness.status());
        self.calls.look(&self.inputs).await;
        let (edge, calls) = (Arc::clone(&self.edge), Arc::clone(&self.calls.book));
        let now = Timestamp::now();
        let lately = self.adapters.forensics.recent().into_iter();
        let failures = lately.filter(|of| now.since(of.sealed) < TOLD_FOR).collect();
        let report = self
            .ask(move |driver| StatusReport {
                services: report::services(driver, &internal, &*of_instances),
                routes: report::routes(driver, &internal),
                control: ControlStatus {
                    pid: std::process::id(),
                    version: hornero_model::program_version().to_owned(),
                    started,
                    journal_fault,
                    settings_fault,
                    witness,
                    absent: false,
                    api,
                    sequence: driver.world().last_sequence,
                },
                edge: report::edge(driver).map(|report| edge.complete(report)),
                limits,
                runs: driver.world().runs.values().map(runs::status).collect(),
                jobs: jobs::shown(driver.world(), Timestamp::now()),
                freezes: jobs::freezes(driver.world(), Timestamp::now()),
                schedules: schedules::shown(driver.world(), &home, Timestamp::now()),
                previews: report::previews(driver, &internal, &*of_instances),
                calls: calls.shown(driver.world()),
                failures,
                quarantined: quarantines::shown(driver.world(), Some(driver.facts()), now),
                touched: glass::touched(driver.world()),
            })
            .await?;
        json(&report)
    }
}
