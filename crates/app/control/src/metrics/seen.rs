//! What was seen of everything that runs at one moment.

use std::{collections::BTreeMap, time::Instant};

use hornero_driver::{Driver, InstanceView, Use};
use hornero_model::{
    EdgeConnections, InstanceId, InstanceUsage, PoolWaiting, ReleaseCounters, ReleaseNumber,
    Resources, ServiceName, ServiceSpec, Timestamp,
};
use hornero_rollout::RepairState;
use hornero_telemetry::figures::{Figure, FigureSubject};

/// A look at everything.
#[derive(Debug)]
pub struct Seen {
    pub at: Timestamp,
    /// The same by a clock that nobody sets.
    pub taken: Instant,
    pub services: Vec<SeenService>,
    pub instances: Vec<SeenInstance>,
    pub edge: Option<SeenEdge>,
    /// What of the home's budget is used.
    pub home_budget: Vec<Use>,
    pub rollouts: usize,
    pub last_sequence: u64,
    pub usage: BTreeMap<InstanceId, InstanceUsage>,
}

/// A service that is up, or on its way.
#[derive(Debug)]
pub struct SeenService {
    pub name: ServiceName,
    /// The release by whose terms it serves.
    pub release: Option<ReleaseNumber>,
    pub image: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub wanted: u32,
    pub gave_up: bool,
    /// Whether a limit of churn, or that releases fail alike, keeps it from being repaired.
    pub stopped: bool,
    pub rollout: bool,
    /// How old the last proof is that it could go back, in seconds.
    pub proof_age: Option<u64>,
    pub budget: Vec<Use>,
}

/// An instance that is not archived, with the terms by which it is scraped.
#[derive(Debug)]
pub struct SeenInstance {
    pub view: InstanceView,
    pub resources: Resources,
}

/// What the edge tells.
#[derive(Debug)]
pub struct SeenEdge {
    pub pid: u32,
    pub generation: u64,
    pub counters: Vec<ReleaseCounters>,
    pub connections: Option<EdgeConnections>,
    pub waiting: Vec<PoolWaiting>,
    pub faults: usize,
}

/// The terms by which an instance serves: those of what serves where it is of that set, else its own.
pub fn terms<'w>(driver: &'w Driver, view: &InstanceView) -> Option<&'w ServiceSpec> {
    let world = driver.world();
    let service = world.services.get(&view.service)?;
    let serving = service.serving.as_ref().filter(|set| set.release == view.release);
    match serving {
        Some(set) => service.releases.get(&set.terms).map(|release| &release.spec),
        None => world.spec_of(&view.id),
    }
}

impl Seen {
    /// What the driver knows; what instances use is added by whoever may read files.
    pub fn of(driver: &Driver) -> Self {
        let world = driver.world();
        let at = Timestamp::now();
        let there = world.services.values().filter(|service| world.is_there(service));
        let services = there.map(|service| {
            let serving = service.serving_release();
            let name = &service.name;
            SeenService {
                name: name.clone(),
                release: serving.map(|release| release.number),
                image: serving.map(|release| release.spec.image.to_string()),
                labels: serving.map(|release| release.spec.labels.clone()).unwrap_or_default(),
                wanted: world.serving_size(name),
                gave_up: matches!(driver.repair_state(name), Some(RepairState::GaveUp { .. })),
                stopped: driver.churn().stopped(name).is_some() || service.shared.is_some(),
                rollout: world.rollout_of(name).is_some(),
                proof_age: world.proof(name).map(|proof| at.since(proof.at).0 / 1_000),
                budget: driver.churn().uses(Some(name), at),
            }
        });
        let views = driver.instances().into_iter();
        let instances = views.map(|view| {
            let none = Resources { memory_bytes: 0, cpu_millis: 0, pids: 0 };
            let resources = terms(driver, &view).map_or(none, |spec| spec.resources.clone());
            SeenInstance { view, resources }
        });
        let edge = driver.edge().map(|edge| SeenEdge {
            pid: edge.pid,
            generation: edge.generation,
            counters: edge.counters.clone(),
            connections: edge.connections.clone(),
            waiting: edge.waiting.clone(),
            faults: edge.faults.len(),
        });
        Self {
            at,
            taken: Instant::now(),
            services: services.collect(),
            instances: instances.collect(),
            edge,
            home_budget: driver.churn().uses(None, at),
            rollouts: world.rollouts.len(),
            last_sequence: world.last_sequence,
            usage: BTreeMap::new(),
        }
    }

    /// Instances that run.
    pub fn running(&self) -> Vec<InstanceId> {
        let running = self.instances.iter().filter(|one| one.view.location.is_some());
        running.map(|one| one.view.id.clone()).collect()
    }

    /// The counters of all releases.
    pub fn counters(&self) -> &[ReleaseCounters] {
        self.edge.as_ref().map(|edge| edge.counters.as_slice()).unwrap_or_default()
    }

    /// What is kept of it.
    pub fn figures(&self) -> Vec<(FigureSubject, Figure, u64)> {
        let mut figures = Vec::new();
        for one in &self.instances {
            let Some(usage) = self.usage.get(&one.view.id) else { continue };
            let subject = FigureSubject::Instance {
                service: one.view.service.clone(),
                release: one.view.release,
                instance: one.view.id.clone(),
            };
            of_instance(usage, |figure, value| figures.push((subject.clone(), figure, value)));
        }
        for counters in self.counters() {
            let subject =
                FigureSubject::Pool { pool: counters.pool.clone(), release: counters.release };
            of_release(counters, |figure, value| figures.push((subject.clone(), figure, value)));
        }
        figures
    }
}

fn of_instance(usage: &InstanceUsage, mut tell: impl FnMut(Figure, u64)) {
    tell(Figure::Memory, usage.memory_bytes);
    tell(Figure::Processor, usage.cpu_us);
    tell(Figure::Processes, usage.processes);
    tell(Figure::OutOfMemoryKills, usage.out_of_memory_kills);
    let some = [
        (Figure::MemoryPeak, usage.memory_peak_bytes),
        (Figure::Throttled, usage.throttled_us),
        (Figure::Descriptors, usage.descriptors),
        (Figure::ProcessorPressure, usage.pressure.map(|pressure| pressure.cpu_us)),
        (Figure::MemoryPressure, usage.pressure.map(|pressure| pressure.memory_us)),
        (Figure::DiskPressure, usage.pressure.map(|pressure| pressure.io_us)),
    ];
    for (figure, value) in some {
        value.into_iter().for_each(|value| tell(figure, value));
    }
}

fn of_release(counters: &ReleaseCounters, mut tell: impl FnMut(Figure, u64)) {
    tell(Figure::Requests, counters.requests);
    tell(Figure::InFlight, counters.in_flight);
    // What never was is not kept: most releases have none of it.
    let answers = &counters.answers;
    let rare = [
        (Figure::Failed, counters.failed),
        (Figure::ServerErrors, counters.server_errors),
        (Figure::ClientErrors, answers.client_error),
        (Figure::Redirects, answers.redirect),
        (Figure::Successes, answers.success),
        (Figure::Upgrades, answers.upgraded),
        (Figure::Held, counters.held),
        (Figure::Retries, counters.retries),
        (Figure::BytesIn, counters.bytes_in.unwrap_or(0)),
        (Figure::BytesOut, counters.bytes_out.unwrap_or(0)),
        (Figure::LatencySum, counters.latency_sum_us),
    ];
    rare.into_iter()
        .filter(|(_, value)| *value > 0)
        .for_each(|(figure, value)| tell(figure, value));
    for (bucket, count) in counters.latency.counts() {
        tell(Figure::Latency(bucket), count);
    }
}
