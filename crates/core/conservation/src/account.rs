//! What was made and removed of each service, why and because of whom, and what it took: read off the ledger's events.

use std::collections::BTreeMap;

use hornero_model::{
    Budget, Event, EventBody, ExitCause, InstanceId, InstanceState, Millis, ReleaseNumber,
    ServiceName, Timestamp,
};

use crate::Churn;

const HOUR_MS: u64 = 3_600_000;

/// The account of a home from some moment on. Begin it with [`Account::since`], show it every event of the ledger from
/// the first, and read it with [`Account::at`].
#[derive(Debug, Clone)]
pub struct Account {
    since: Timestamp,
    services: BTreeMap<ServiceName, ServiceAccount>,
    live: BTreeMap<InstanceId, Live>,
    memory_bytes: BTreeMap<(ServiceName, ReleaseNumber), u64>,
    churn: Churn,
}

/// What was made and removed of one service, and what it took.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceAccount {
    /// Servers that were made.
    pub made: u32,
    /// Servers that are gone.
    pub removed: u32,
    /// Those of them that failed.
    pub failed: u32,
    /// Servers that are there at the end.
    pub running: u32,
    /// Time that servers were there, added up.
    pub time: Millis,
    /// Their memory limits by the time that they were there, in bytes times seconds.
    pub memory_byte_seconds: u128,
    /// How many were made because of whom, and why.
    pub causes: BTreeMap<(String, String), u32>,
    /// By the beginning of each hour: how many were made, and how many were gone.
    pub hours: BTreeMap<Timestamp, (u32, u32)>,
}

#[derive(Debug, Clone)]
struct Live {
    service: ServiceName,
    created: Timestamp,
    memory_bytes: u64,
    cause: (String, String),
}

impl Account {
    /// An account that begins at this moment.
    pub fn since(since: Timestamp) -> Self {
        Self {
            since,
            services: BTreeMap::new(),
            live: BTreeMap::new(),
            memory_bytes: BTreeMap::new(),
            churn: Churn::default(),
        }
    }

    /// Takes in the next event of the ledger.
    pub fn apply(&mut self, event: &Event) {
        self.churn.apply(event);
        match &event.body {
            EventBody::ReleaseCreated { release } => {
                let spec = &release.spec;
                self.services.entry(spec.name.clone()).or_default();
                let key = (spec.name.clone(), release.number);
                self.memory_bytes.insert(key, spec.resources.memory_bytes);
            }
            EventBody::InstanceChanged { instance, service, release, state, cause, .. } => {
                match state {
                    InstanceState::Created => {
                        let memory_bytes = self.memory_bytes.get(&(service.clone(), *release));
                        let live = Live {
                            service: service.clone(),
                            created: event.time,
                            memory_bytes: memory_bytes.copied().unwrap_or_default(),
                            cause: (event.by.who.clone(), event.by.why.clone()),
                        };
                        self.live.insert(instance.clone(), live);
                    }
                    InstanceState::Failed | InstanceState::Stopped | InstanceState::Archived => {
                        let Some(live) = self.live.remove(instance) else { return };
                        // What was refused before its start is no server.
                        let refused = matches!(cause, Some(ExitCause::NotStarted(_)));
                        if *state == InstanceState::Stopped && refused {
                            return;
                        }
                        let failed = *state == InstanceState::Failed;
                        enter(&mut self.services, self.since, &live, Some((event.time, failed)));
                    }
                    InstanceState::Starting
                    | InstanceState::Probing
                    | InstanceState::Ready
                    | InstanceState::Serving
                    | InstanceState::Draining => {}
                }
            }
            _ => {}
        }
    }

    /// Says what may be made of all services together, as [`Churn::limit_home`] does.
    pub fn limit_home(&mut self, budget: Option<Budget>) {
        self.churn.limit_home(budget);
    }

    /// What is counted beside the limits.
    pub fn churn(&self) -> &Churn {
        &self.churn
    }

    /// Every service's account until this moment.
    pub fn at(&self, now: Timestamp) -> BTreeMap<ServiceName, ServiceAccount> {
        let mut services = self.services.clone();
        for live in self.live.values() {
            enter(&mut services, self.since, live, None);
            let account = services.entry(live.service.clone()).or_default();
            account.running += 1;
            spend(account, self.since, live, now);
        }
        services
    }
}

/// Counts one server, and how it ended where it did.
fn enter(
    services: &mut BTreeMap<ServiceName, ServiceAccount>,
    since: Timestamp,
    live: &Live,
    ended: Option<(Timestamp, bool)>,
) {
    let account = services.entry(live.service.clone()).or_default();
    if live.created >= since {
        account.made += 1;
        *account.causes.entry(live.cause.clone()).or_default() += 1;
        account.hours.entry(hour(live.created)).or_default().0 += 1;
    }
    let Some((at, failed)) = ended.filter(|(at, _)| *at >= since) else { return };
    account.removed += 1;
    account.failed += u32::from(failed);
    account.hours.entry(hour(at)).or_default().1 += 1;
    spend(account, since, live, at);
}

fn spend(account: &mut ServiceAccount, since: Timestamp, live: &Live, until: Timestamp) {
    let time = until.since(live.created.max(since));
    account.time = Millis(account.time.0.saturating_add(time.0));
    account.memory_byte_seconds += u128::from(live.memory_bytes) * u128::from(time.0) / 1_000;
}

const fn hour(time: Timestamp) -> Timestamp {
    Timestamp(time.0 - time.0 % HOUR_MS)
}
