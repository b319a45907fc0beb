//! Constant traffic in the background, every request counted: half over kept connections, half over new ones.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use hornero_load::{Load, LoadPlan, LoadReport, Marker, Mode, Workers};

/// Workers of each kind: two of each keep two cores busy enough to meet every switch.
const WORKERS: u32 = 2;
/// How long patient clients wait: as long as any test.
const PATIENCE: Duration = Duration::from_secs(180);

/// Traffic that goes on until it is stopped or dropped.
pub struct Traffic(Load);

impl Traffic {
    /// Starts asking for `/` at the port.
    pub fn start(port: u16) -> Self {
        Self::start_at(port, "/")
    }

    /// Starts asking for a path at the port.
    pub fn start_at(port: u16, path: &str) -> Self {
        let kinds = [Mode::KeepAlive, Mode::NewConnection];
        let workers = kinds.map(|mode| Workers::new(mode, WORKERS, path).back_to_back());
        Self::of(port, workers.into())
    }

    /// Starts asking for `/` at the port, as clients do who wait for an answer as long as it takes.
    pub fn start_patient(port: u16) -> Self {
        let kinds = [Mode::KeepAlive, Mode::NewConnection];
        let workers = kinds.map(|mode| Workers::new(mode, WORKERS, "/").back_to_back());
        Self::with(port, workers.into(), Some(PATIENCE))
    }

    /// Starts the given workers on the port; pages are told apart by what stands in `<i>…</i>`.
    pub fn of(port: u16, workers: Vec<Workers>) -> Self {
        Self::with(port, workers, None)
    }

    fn with(port: u16, workers: Vec<Workers>, timeout: Option<Duration>) -> Self {
        let mut plan = LoadPlan::new(SocketAddr::from((Ipv4Addr::LOCALHOST, port)), workers);
        plan.marker = Some(Marker { before: "<i>".to_owned(), after: "</i>".to_owned() });
        plan.timeout = timeout.unwrap_or(plan.timeout);
        Self(Load::start(plan).unwrap())
    }

    /// Ends it and tells what came of it.
    pub fn stop(self) -> LoadReport {
        self.0.stop()
    }

    /// Ends it and insists that every request was answered.
    #[track_caller]
    pub fn stop_whole(self) -> LoadReport {
        let report = self.stop();
        assert!(report.started > 0);
        assert_eq!(report.failed, 0, "of {}: {:#?}", report.started, report.failures);
        report
    }
}
