//! How long services take to be healthy after control was started, told once.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use hornero_driver::Driver;
use hornero_model::ServiceName;
use hornero_rollout::RepairState;

/// After this long somebody should know which service is not healthy; it goes on being repaired.
const PATIENCE: Duration = Duration::from_secs(60);

/// The services that served when control was started, until all were seen whole.
#[derive(Debug)]
pub struct Restoration {
    begun: Instant,
    count: usize,
    waiting: BTreeSet<ServiceName>,
    complained: bool,
}

impl Restoration {
    /// Of a control process that was started at `begun`.
    pub fn new(begun: Instant, driver: &Driver) -> Self {
        let services = driver.world().services.values();
        let waiting: BTreeSet<ServiceName> = services
            .filter(|service| !service.removed && service.serving.is_some())
            .map(|service| service.name.clone())
            .collect();
        Self { begun, count: waiting.len(), waiting, complained: false }
    }

    /// Looks at what is not whole yet, and tells when that changes for good or takes too long.
    pub fn look(&mut self, driver: &Driver) {
        if self.waiting.is_empty() {
            return;
        }
        // One that was taken down meanwhile is nothing to wait for.
        self.waiting.retain(|service| {
            driver.repair_state(service).is_some_and(|state| state != RepairState::Whole)
        });
        let seconds = self.begun.elapsed().as_secs_f64();
        if self.waiting.is_empty() {
            match self.count {
                1 => tracing::info!(
                    services = 1,
                    "the service is healthy {seconds:.2} s after start"
                ),
                count => tracing::info!(
                    services = count,
                    "all {count} services are healthy {seconds:.2} s after start"
                ),
            }
        } else if !self.complained && self.begun.elapsed() >= PATIENCE {
            self.complained = true;
            let names: Vec<String> = self.waiting.iter().map(|name| format!("`{name}`")).collect();
            tracing::warn!(
                "{} of {} services are not healthy {seconds:.0} s after start: {}",
                names.len(),
                self.count,
                names.join(", ")
            );
        }
    }
}
