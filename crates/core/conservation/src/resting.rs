//! Services of which nothing has to run, as the ledger has it.

use std::collections::{BTreeMap, BTreeSet};

use hornero_model::{Event, EventBody, ReleaseNumber, ServiceName};

/// Which services may have no server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resting(BTreeMap<ServiceName, Service>);

#[derive(Debug, Clone, Default)]
struct Service {
    /// Releases whose file lets none of it run.
    lazy: BTreeSet<ReleaseNumber>,
    /// The release by whose terms what serves does.
    serves: Option<ReleaseNumber>,
    /// Whether by its load none is wanted.
    unwanted: bool,
}

impl Resting {
    /// Takes in the next event of the ledger.
    pub fn apply(&mut self, event: &Event) {
        match &event.body {
            EventBody::ReleaseCreated { release } if release.spec.to_zero().is_some() => {
                let service = self.0.entry(release.spec.name.clone()).or_default();
                service.lazy.insert(release.number);
            }
            EventBody::Scaled { service, to, .. } => {
                self.0.entry(service.clone()).or_default().unwanted = *to == 0;
            }
            EventBody::ServiceAdjusted { service, release } => {
                self.0.entry(service.clone()).or_default().serves = Some(*release);
            }
            // What serves from now on was made for it; going back to what has served all along changes nothing.
            EventBody::Switched { receipt } => {
                let service = self.0.entry(receipt.body.service.clone()).or_default();
                service.unwanted &= service.serves == Some(receipt.body.to);
                service.serves = Some(receipt.body.to);
            }
            _ => {}
        }
    }

    /// Whether no server of a service has to run, because its file lets that be and nobody asks for it.
    pub fn has(&self, service: &ServiceName) -> bool {
        let rests =
            |of: &Service| of.unwanted && of.serves.is_some_and(|of_it| of.lazy.contains(&of_it));
        self.0.get(service).is_some_and(rests)
    }
}
