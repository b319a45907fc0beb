//! The driver's real ports: ledger, keys, engine, edge, network and clock.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc::Sender},
    time::Instant,
};

use hornero_driver::{EffectId, LedgerFailed, Observation, Ports, Progress};
use hornero_edge::{EdgeClient, EdgeClientError, RefusalCode};
use hornero_engine_port::{EngineError, InstanceSpec, Started};
use hornero_ledger::{Head, Keys, Ledger, LedgerError};
use hornero_model::{
    EdgeRef, Event, EventBody, ExitCause, InstanceId, LeasedMount, Location, Millis, NewEvent,
    Receipt, ReceiptBody, RegionName, Room, ServiceName, ServiceSpec, Term, Timestamp, error_chain,
};
use hornero_net::HomeNetwork;
use hornero_rollout::Effect;
use hornero_volume::Volumes;
use tokio::{runtime::Handle, sync::watch};

use crate::{
    beside::{AskGuards, CarryOut},
    clock::SteadyClock,
    forensics::Forensics,
    hands::Work,
    image_tests,
    input::Input,
    kept_edges::KeptEdges,
    operations::Operations,
    outcome,
    start::{Starter, log_tail},
    tail::new_tail,
    tenure::Tenure,
    turnstile::Turnstile,
    witness::Witness,
};

/// Instances that start at once: each takes a thread here and a shim's memory while it does, and more than that keep the
/// cores of large hosts no busier.
pub const STARTS_AT_ONCE: usize = 64;
/// What effects need; shared by the threads that perform them.
pub struct Adapters {
    /// Prepares and starts instances.
    pub starter: Starter,
    /// The network of the home.
    pub network: HomeNetwork,
    /// The volumes of the home.
    pub volumes: Volumes,
    /// The term of this control.
    pub tenure: Arc<Tenure>,
    /// The state directory of each edge.
    pub edge_dirs: BTreeMap<EdgeRef, PathBuf>,
    /// What is kept of edges between two effects.
    pub edges: KeptEdges,
    /// Runs the questions of image tests.
    pub runtime: Handle,
    /// Where results go.
    pub inputs: Sender<Input>,
    /// Instances that start at once.
    pub starts: Turnstile,
    /// What is kept of servers that fail.
    pub forensics: Arc<Forensics>,
}

/// The ports; owned by the thread of the driver.
pub struct ControlPorts {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The signing key.
    pub keys: Arc<Keys>,
    /// What effects need.
    pub adapters: Arc<Adapters>,
    /// Carries out what a rollout wants run, to its end.
    pub carry: CarryOut,
    /// Asks data guards.
    pub guards: AskGuards,
    /// What clients follow.
    pub operations: Arc<Operations>,
    /// Gets each head of the ledger, where one is declared.
    pub witness: Option<Arc<Witness>>,
    /// Every receipt, oldest first.
    pub receipts: Arc<RwLock<Vec<Receipt>>>,
    /// The time that is decided by, and whether nothing is timed by it at this moment.
    pub clock: Mutex<(SteadyClock, bool)>,
    /// Who follows events is told here of the newest.
    pub newest: watch::Sender<u64>,
    /// The fault hook.
    pub crash: CrashHook,
}

/// Ends the process at one journal write, for tests: point `2n - 1` is just before the nth append, `2n` just after
/// it, before anything is done that follows from it.
#[derive(Debug, Default)]
pub struct CrashHook {
    /// The point; none for no crash.
    pub at: Option<u64>,
    /// Points passed.
    pub passed: u64,
}

impl CrashHook {
    fn pass(&mut self) {
        self.passed += 1;
        if self.at == Some(self.passed) {
            let own = rustix::process::getpid();
            // Nothing must run after it: no destructor, no flush.
            let _ = rustix::process::kill_process(own, rustix::process::Signal::KILL);
            std::process::abort();
        }
    }
}

impl ControlPorts {
    /// Takes whether nothing is timed from now on.
    pub fn settled(&mut self, settled: bool) {
        self.clock.get_mut().unwrap_or_else(PoisonError::into_inner).1 = settled;
    }
}

impl Ports for ControlPorts {
    fn now(&self) -> Timestamp {
        let mut clock = self.clock.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = clock.1;
        clock.0.read(Timestamp::now(), Instant::now(), settled)
    }

    fn random_tail(&mut self) -> String {
        new_tail()
    }

    fn append(&mut self, events: Vec<NewEvent>) -> Result<Vec<Event>, LedgerFailed> {
        self.crash.pass();
        let appended = self.ledger.append(events).map_err(|error| {
            let fault = error_chain(&error);
            if let LedgerError::TakenOver { .. } = error {
                self.adapters.over(fault.clone());
            }
            self.operations.set_journal_fault(Some(fault.clone()));
            LedgerFailed(fault)
        })?;
        self.operations.set_journal_fault(None);
        self.crash.pass();
        if let (Some(witness), Some(last)) = (&self.witness, appended.last()) {
            witness.tell(Head { sequence: last.sequence, hash: last.hash });
        }
        for event in &appended {
            self.adapters.forensics.saw(event);
            if let EventBody::ReleaseCreated { release } = &event.body {
                self.adapters.starter.learn(release);
            }
        }
        let new = appended.iter().filter_map(|event| match &event.body {
            EventBody::Switched { receipt } => Some((**receipt).clone()),
            _ => None,
        });
        self.receipts.write().unwrap_or_else(PoisonError::into_inner).extend(new);
        if let Some(last) = appended.last() {
            self.newest.send_replace(last.sequence);
        }
        Ok(appended)
    }

    fn begins(&mut self, term: Term) {
        let adapters = &self.adapters;
        adapters.tenure.begin(term);
        if let Err(error) = adapters.starter.engine().obey(term) {
            tracing::warn!("{}", adapters.engine_fault(&error));
        }
        // An edge that can't be reached hears of it when it is seen again.
        for dir in adapters.edge_dirs.values() {
            if let Err(error) = EdgeClient::of_term(dir, term).obey() {
                tracing::warn!("{}", adapters.edge_fault(&error));
            }
        }
    }

    fn sign(&self, body: ReceiptBody) -> Receipt {
        self.keys
            .sign_receipt(body)
            .expect("a receipt's numbers are finite and its keys are strings")
    }

    fn dispatch(&mut self, id: EffectId, effect: Effect) {
        let (adapters, carry) = (Arc::clone(&self.adapters), Arc::clone(&self.carry));
        let guards = Arc::clone(&self.guards);
        let tail = self.random_tail();
        let is_at_edge = effect.edge_of().is_some();
        let work = move || {
            let observation = match effect {
                Effect::ApplyRoutes { edge, table, prepared } => {
                    return adapters.apply(id, &edge, &table, prepared);
                }
                Effect::CarryOut { region, run, since, spec } if adapters.has_engine(&region) => {
                    Observation::RunEnded { end: carry(*run, since, Some(*spec)) }
                }
                Effect::EndRun { region, run, since } if adapters.has_engine(&region) => {
                    Observation::RunEnded { end: carry(*run, since, None) }
                }
                Effect::AskGuards { region, occasion, round, question }
                    if adapters.has_engine(&region) =>
                {
                    let answers = guards(&question);
                    Observation::GuardsAnswered { effect: id, occasion, round, answers }
                }
                effect => adapters.perform(id, effect, &tail),
            };
            // Control is ending when nobody takes it; the next one finds out for itself.
            let _ = adapters.inputs.send(Input::Observe(observation));
        };
        let mut work: Work = Box::new(work);
        if is_at_edge {
            work = match self.adapters.edges.at_once(work) {
                Ok(()) => return,
                Err(work) => work,
            };
        }
        let spawned = std::thread::Builder::new().name("effect".to_owned()).spawn(work);
        if let Err(error) = spawned {
            let reason = format!("no thread could be started: {error}");
            let failed = Observation::EffectFailed { effect: id, reason };
            let _ = self.adapters.inputs.send(Input::Observe(failed));
        }
    }

    fn room(&self, region: &RegionName) -> Option<Room> {
        self.adapters.has_engine(region).then(|| self.adapters.starter.engine().room())?
    }

    fn processor_use(&self, instances: &[InstanceId]) -> Option<BTreeMap<InstanceId, u64>> {
        self.adapters.starter.engine().processor_use(instances)
    }

    fn log_tail(&mut self, instance: &InstanceId) -> Vec<String> {
        log_tail(&**self.adapters.starter.engine(), instance)
    }

    fn progress(&mut self, progress: Progress) {
        if let Some((request, line)) = outcome::line(progress) {
            self.operations.push(request.0, line);
        }
    }
}

impl Adapters {
    fn perform(&self, id: EffectId, effect: Effect, tail: &str) -> Observation {
        let failed = |reason: String| Observation::EffectFailed { effect: id, reason };
        let engine_failed = |error: EngineError| failed(self.engine_fault(&error));
        let engine = self.starter.engine();
        if let Some(region) = effect.engine_of().filter(|region| !self.has_engine(region)) {
            return failed(format!("there is no engine in region `{region}`"));
        }
        match effect {
            Effect::StartInstance { instance, release, spec, mounts, .. } => {
                self.start(id, instance, release, &spec, mounts)
            }
            Effect::StopInstance { instance, grace, .. } => self.stop(id, instance, grace),
            Effect::FreezeInstance { instance, .. } => match engine.freeze(id.term, &instance) {
                Ok(stands_still) => Observation::InstanceFrozen { instance, stands_still },
                Err(error) => engine_failed(error),
            },
            Effect::RemoveInstance { instance, .. } => {
                self.starts.give_up(&instance);
                match engine.remove(id.term, &instance) {
                    Ok(()) => Observation::InstanceRemoved { instance },
                    Err(error) => engine_failed(error),
                }
            }
            Effect::RunTests { image, spec, .. } => match engine.obey(id.term) {
                Ok(()) => {
                    let name = (id.term, tail);
                    let run = image_tests::run(&self.starter, &self.runtime, image, &spec, name);
                    Observation::TestsFinished { effect: id, image, run }
                }
                Err(error) => engine_failed(error),
            },
            Effect::TakeSnapshots { .. } | Effect::RestoreSnapshots { .. } => {
                self.copy_volumes(id, effect)
            }
            // The driver's ports carry these out beside all other one-off work, or tell of them more than once.
            Effect::AskGuards { .. }
            | Effect::CarryOut { .. }
            | Effect::EndRun { .. }
            | Effect::ApplyRoutes { .. } => failed("it is carried out elsewhere".to_owned()),
            Effect::PrepareRoutes { edge, table } => self.at_edge(id, &edge, |client| {
                let generation = client.prepare(&table)?;
                Ok(Observation::RoutesPrepared { edge: edge.clone(), generation })
            }),
            Effect::CutInFlight { edge, service, release, generation } => {
                self.at_edge(id, &edge, |client| {
                    client.cut_under(&service, release, generation)?;
                    let (edge, service) = (edge.clone(), service.clone());
                    Ok(Observation::InFlightCut { effect: id, edge, service, release })
                })
            }
            Effect::GiveAddress { service, .. } => self.address(id, service, |network, service| {
                network.give_service_address(service).map(|address| Some(address.into()))
            }),
            Effect::TakeAddress { service, .. } => self.address(id, service, |network, service| {
                network.release_service_address(service).map(|()| None)
            }),
        }
    }

    /// Stops a server, after a look at one that is sick.
    fn stop(&self, id: EffectId, instance: InstanceId, grace: Millis) -> Observation {
        self.starts.give_up(&instance);
        self.forensics.look_before_end(id.term, &instance);
        match self.starter.engine().stop(id.term, &instance, grace.duration()) {
            Ok(_) | Err(EngineError::NotFound { .. }) => Observation::InstanceStopped { instance },
            Err(error) => {
                let reason = self.engine_fault(&error);
                Observation::EffectFailed { effect: id, reason }
            }
        }
    }

    /// Gives a service an address or takes it back. The network belongs to the engine's instances, and with them to
    /// whoever the engine obeys.
    fn address(
        &self,
        id: EffectId,
        service: ServiceName,
        change: impl FnOnce(&HomeNetwork, &ServiceName) -> hornero_net::Result<Option<IpAddr>>,
    ) -> Observation {
        if let Err(error) = self.starter.engine().obey(id.term) {
            return Observation::EffectFailed { effect: id, reason: self.engine_fault(&error) };
        }
        match change(&self.network, &service) {
            Ok(address) => Observation::ServiceAddressed { effect: id, service, address },
            Err(error) => {
                tracing::warn!("the address of `{service}`: {}", error_chain(&error));
                Observation::EffectFailed { effect: id, reason: error_chain(&error) }
            }
        }
    }

    /// Whether this control has an engine in a region.
    fn has_engine(&self, region: &RegionName) -> bool {
        self.edge_dirs.keys().any(|edge| edge.region == *region)
    }

    /// Asks an edge by the term of an effect.
    pub(crate) fn at_edge(
        &self,
        id: EffectId,
        edge: &EdgeRef,
        ask: impl FnOnce(&mut EdgeClient) -> Result<Observation, EdgeClientError>,
    ) -> Observation {
        let failed = |reason| Observation::EffectFailed { effect: id, reason };
        let Some(dir) = self.edge_dirs.get(edge) else {
            return failed(format!("there is no edge `{edge}`"));
        };
        let asked = self.edges.ask(edge, (dir, id.term), ask);
        asked.unwrap_or_else(|error| failed(self.edge_fault(&error)))
    }

    /// Another control process has taken over: this one ends, and changes nothing before.
    pub fn over(&self, why: String) {
        // One that has ended already needs no word of it.
        let _ = self.inputs.send(Input::TakenOver(why));
    }

    /// Whether another control process has taken over, by what the engine has heard of; then this one ends.
    pub fn is_over(&self) -> bool {
        let newest = self.starter.engine().term().unwrap_or_default();
        let over = self.tenure.over_by(newest);
        over.map(|why| self.over(why)).is_some()
    }

    /// What the engine's error says; where it obeys another control, this one ends.
    pub fn engine_fault(&self, error: &EngineError) -> String {
        let fault = error_chain(error);
        if let EngineError::TermOver { .. } = error {
            self.over(fault.clone());
        }
        fault
    }

    /// The same of the edge.
    fn edge_fault(&self, error: &EdgeClientError) -> String {
        let fault = error_chain(error);
        if let EdgeClientError::Refused { code: RefusalCode::TermOver, .. } = error {
            self.over(fault.clone());
        }
        fault
    }

    fn start(
        &self,
        id: EffectId,
        instance: InstanceId,
        release: hornero_model::ReleaseNumber,
        spec: &ServiceSpec,
        mounts: Vec<LeasedMount>,
    ) -> Observation {
        let engine = self.starter.engine();
        let exited = |cause: ExitCause| {
            let log_tail = log_tail(&**engine, &instance);
            Observation::InstanceExited { instance: instance.clone(), cause, log_tail }
        };
        let turn = self.starts.turn_of(&instance);
        let Some(_mine) = turn.take() else {
            return exited(ExitCause::NotStarted("it was given up before its turn".to_owned()));
        };
        let _place = self.starts.enter(|others_left| {
            if others_left {
                self.starter.went_on(&spec.image);
            }
        });
        let instance_spec = match self.starter.instance_spec(&instance, release, spec) {
            Ok(instance_spec) => InstanceSpec { mounts, ..instance_spec },
            Err(error) => return exited(ExitCause::NotStarted(format!("{error:#}"))),
        };
        match engine.start(id.term, &instance_spec) {
            Ok(started) => match started.address {
                Some(address) => {
                    let Started { place, handle, .. } = started;
                    let location = Location { address, place, handle };
                    Observation::InstanceStarted { instance, location }
                }
                None => exited(ExitCause::NotStarted("it has no address".to_owned())),
            },
            Err(EngineError::Ended { cause, .. }) => exited(cause),
            Err(EngineError::NotStarted { reason, .. }) => exited(ExitCause::NotStarted(reason)),
            Err(error @ (EngineError::Invalid { .. } | EngineError::Unsupported(_))) => {
                exited(ExitCause::NotStarted(error_chain(&error)))
            }
            Err(
                error @ (EngineError::Failed { .. }
                | EngineError::Left(_)
                | EngineError::TermOver { .. }
                | EngineError::NotFound { .. }),
            ) => Observation::EffectFailed { effect: id, reason: self.engine_fault(&error) },
        }
    }
}
