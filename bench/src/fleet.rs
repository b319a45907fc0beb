//! What deciding costs, by the size of the fleet: the production driver, with an engine and an edge that answer at once.
//!
//! Nothing is started and nothing is written to disk. What is measured is the processor time of one thread.

use std::{
    collections::{BTreeMap, VecDeque},
    fs,
    net::{IpAddr, Ipv6Addr},
};

use anyhow::{Result, ensure};
use hornero_driver::{
    Churn, Driver, EffectId, LedgerFailed, Observation, Outside, Ports, Progress, Request,
    RequestId, RequestKind, Starting,
};
use hornero_model::{
    Actor, BackendStatus, BootId, Check, Digest, EdgeName, EdgeRef, EdgeStatus, Event, Health,
    HealthContract, ImageName, InstanceHandle, Location, Millis, NewEvent, Place, Port, PortName,
    Protocol, Receipt, ReceiptBody, RegionName, Resources, RouteTable, ServiceName, ServiceSpec,
    TcpCheck, Term, Timestamp,
};
use hornero_rollout::{Effect, TestRun, World};

use crate::table::{Better, HORNERO, Table};

/// Servers of each service.
const SERVERS: u32 = 10;
/// Ticks whose mean is taken.
const TICKS: u32 = 20;
/// Observations that one rollout of a service takes at most; more is one that does not end.
const OBSERVATIONS_MAX: usize = 100_000;

pub fn measure(fleets: &[u32]) -> Result<Table> {
    let mut table = Table::new("Deciding, by the size of the fleet");
    for servers in fleets {
        let services = servers.div_ceil(SERVERS).max(1);
        let mut fleet = Fleet::new()?;
        let begun = cpu_ms()?;
        fleet.roll_out(services, 1)?;
        let whole = cpu_ms()? - begun;
        let row = |what: &str| format!("{what}, {servers} servers");
        table.add(
            &row("every service rolled out"),
            "ms of processor",
            Better::Less,
            HORNERO,
            whole,
        );
        let ticks = fleet.ticks()?;
        table.add(
            &row("a tick with nothing to do"),
            "ms of processor",
            Better::Less,
            HORNERO,
            ticks,
        );
        for image in 2..5 {
            let begun = cpu_ms()?;
            fleet.roll_out(1, image)?;
            let one = cpu_ms()? - begun;
            table.add(&row("one service changed"), "ms of processor", Better::Less, HORNERO, one);
        }
    }
    table.remark(format!(
        "The production driver in one thread, with an engine and an edge in memory that answer at once; services of {SERVERS} \
         servers, each with a way in. Rolled out: each service after the other, from nothing. Changed: a new image of one \
         service, until its old servers are gone."
    ));
    Ok(table)
}

/// The processor time of this thread, in milliseconds (proc(5), schedstat).
fn cpu_ms() -> Result<f64> {
    let text = fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanoseconds: f64 = text.split(' ').next().unwrap_or_default().parse()?;
    Ok(nanoseconds / 1e6)
}

/// A driver and its outside.
struct Fleet {
    driver: Driver,
    outside: Instant,
    requests: u64,
}

/// An outside that does at once what it is asked for.
#[derive(Default)]
struct Instant {
    now: u64,
    events: u64,
    tails: u64,
    addresses: u32,
    answers: VecDeque<Observation>,
    status: EdgeStatus,
    failed: Vec<String>,
}

impl Fleet {
    fn new() -> Result<Self> {
        let mut outside = Instant::default();
        let edges = BTreeMap::from([(EdgeName::default(), Some(EdgeStatus::default()))]);
        let found = Outside { edges, ..Outside::default() };
        let regions = BTreeMap::from([(RegionName::default(), found)]);
        let boot = BootId::new("bench");
        let starting = Starting { version: "bench", boot: &boot };
        let (world, churn) = (World::default(), Churn::default());
        let driver = Driver::resume(world, churn, regions, starting, &mut outside)?;
        Ok(Self { driver, outside, requests: 0 })
    }

    /// Rolls out an image of the first so many services, and goes on until nothing is under way.
    fn roll_out(&mut self, services: u32, image: u32) -> Result<()> {
        for number in 0..services {
            self.requests += 1;
            let request = Request {
                id: RequestId(self.requests),
                by: Actor { who: "bench".to_owned(), why: "measured".to_owned(), commit: None },
                kind: RequestKind::Apply { services: vec![service(number, image)?] },
                retry_failed: false,
                overridden: Default::default(),
                rulings: BTreeMap::new(),
            };
            self.observe(Observation::Request(request))?;
            self.settle()?;
        }
        Ok(())
    }

    fn observe(&mut self, observation: Observation) -> Result<()> {
        self.driver.handle(observation, &mut self.outside)?;
        ensure!(self.outside.failed.is_empty(), "{}", self.outside.failed.join("; "));
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        for _ in 0..OBSERVATIONS_MAX {
            match self.outside.answers.pop_front() {
                Some(answer) => self.observe(answer)?,
                None if self.driver.is_idle() => return Ok(()),
                None => {
                    self.outside.now += self.driver.next_tick().0;
                    self.observe(Observation::Tick)?;
                }
            }
        }
        anyhow::bail!("a rollout does not end: {}", self.driver.under_way())
    }

    /// The mean of some ticks.
    fn ticks(&mut self) -> Result<f64> {
        let begun = cpu_ms()?;
        for _ in 0..TICKS {
            self.outside.now += 1;
            self.observe(Observation::Tick)?;
        }
        Ok((cpu_ms()? - begun) / f64::from(TICKS))
    }
}

/// A service whose servers are healthy where their port is open.
fn service(number: u32, image: u32) -> Result<ServiceSpec> {
    let port = PortName::new("http")?;
    let name = ServiceName::new(format!("service-{number}"))?;
    let digest = Digest::of(&image.to_le_bytes());
    let resources = Resources { memory_bytes: 1 << 20, cpu_millis: 1_000, pids: 100 };
    let health = HealthContract {
        check: Check::Tcp(TcpCheck { port: 80 }),
        interval: Millis(100),
        timeout: Millis(100),
        unhealthy_after: 2,
        healthy_after: 1,
        start_timeout: Millis(60_000),
    };
    Ok(ServiceSpec {
        instances: SERVERS,
        ports: vec![Port::new(port, 80, Protocol::Http)],
        health: Some(health),
        ..ServiceSpec::of_image(name, ImageName::new("app")?, digest, resources)
    })
}

impl Instant {
    fn address(&mut self) -> IpAddr {
        self.addresses += 1;
        let [high, low] = [self.addresses >> 16, self.addresses & 0xffff];
        let parts = [high, low].map(|part| u16::try_from(part).unwrap_or_default());
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, parts[0], parts[1]))
    }

    fn applied(&mut self, edge: EdgeRef, table: &RouteTable) {
        let backends = table.pools.iter().flat_map(|pool| {
            pool.backends.iter().map(|backend| BackendStatus {
                pool: pool.name.clone(),
                instance: backend.instance.clone(),
                release: backend.release,
                health: Health::Healthy,
                last_error: None,
            })
        });
        self.status.backends = backends.collect();
        self.status.generation = table.generation;
        self.status.version += 1;
        let (generation, status) = (table.generation, self.status.clone());
        let (of, counters) = (edge.clone(), Vec::new());
        let applied = Observation::RoutesApplied { edge, generation, switch_ms: 0.1, counters };
        self.answers.push_back(applied);
        self.answers.push_back(Observation::EdgeStatus { edge: of, status });
    }
}

impl Ports for Instant {
    fn now(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn random_tail(&mut self) -> String {
        self.tails += 1;
        format!("{:06}", self.tails)
    }

    fn append(&mut self, events: Vec<NewEvent>) -> Result<Vec<Event>, LedgerFailed> {
        let zero = Digest::from_bytes([0; 32]);
        let appended = events.into_iter().map(|event| {
            self.events += 1;
            let NewEvent { time, by, body } = event;
            Event { sequence: self.events, time, by, body, previous: zero, hash: zero }
        });
        Ok(appended.collect())
    }

    fn begins(&mut self, _: Term) {}

    fn sign(&self, body: ReceiptBody) -> Receipt {
        Receipt { body, signature: String::new(), key: String::new() }
    }

    fn dispatch(&mut self, effect: EffectId, asked: Effect) {
        let answer = match asked {
            Effect::StartInstance { instance, .. } => {
                let (address, handle) = (self.address(), InstanceHandle::new(""));
                let location = Location { address, place: Place::local(), handle };
                Observation::InstanceStarted { instance, location }
            }
            Effect::StopInstance { instance, .. } => Observation::InstanceStopped { instance },
            Effect::RemoveInstance { instance, .. } => Observation::InstanceRemoved { instance },
            Effect::RunTests { image, .. } => {
                let run = TestRun { results: Vec::new(), not_run: None, log_tail: Vec::new() };
                Observation::TestsFinished { effect, image, run }
            }
            Effect::GiveAddress { service, .. } => {
                let address = Some(self.address());
                Observation::ServiceAddressed { effect, service, address }
            }
            Effect::ApplyRoutes { edge, table, .. } => return self.applied(edge, &table),
            other => return self.failed.push(format!("nobody does `{other}`")),
        };
        self.answers.push_back(answer);
    }

    fn progress(&mut self, progress: Progress) {
        if let Progress::Finished { outcome, .. } = progress
            && let Some((service, failure)) = outcome.failure
        {
            self.failed.push(format!("`{service}`: {}", failure.reason));
        }
    }
}
