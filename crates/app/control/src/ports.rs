//! The driver's real ports: ledger, keys, engine, edge, network and clock.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, RwLock, mpsc::Sender},
    time::Instant,
};

use hornero_api::message::OperationLine;
use hornero_driver::{EffectId, LedgerFailed, Observation, Ports, Progress};
use hornero_edge::EdgeClient;
use hornero_engine_port::{EngineError, Started};
use hornero_ledger::{Head, Keys, Ledger};
use hornero_model::{
    Event, EventBody, ExitCause, InstanceId, Location, NewEvent, Receipt, ReceiptBody, ServiceSpec,
    Timestamp, error_chain,
};
use hornero_net::HomeNetwork;
use hornero_rollout::Effect;
use ring::rand::{SecureRandom as _, SystemRandom};
use tokio::runtime::Handle;

use crate::{
    clock::SteadyClock,
    image_tests,
    input::Input,
    operations::Operations,
    outcome,
    start::{Starter, log_tail},
    turnstile::Turnstile,
    witness::Witness,
};

/// Instances that start at once: each takes a thread here and a shim's memory while it does, and more than that keep the
/// cores of large hosts no busier.
pub const STARTS_AT_ONCE: usize = 64;
/// Letters and digits of an instance id's tail; 8 of them make a repeat within a home's life unlikely enough.
const TAIL_LETTERS: usize = 8;

/// A new tail for an instance's id.
pub fn new_tail() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut bytes = [0_u8; TAIL_LETTERS];
    SystemRandom::new().fill(&mut bytes).expect("the system has randomness");
    bytes.iter().map(|byte| char::from(LETTERS[usize::from(byte % 32)])).collect()
}

/// What effects need; shared by the threads that perform them.
pub struct Adapters {
    /// Prepares and starts instances.
    pub starter: Starter,
    /// The network of the home.
    pub network: HomeNetwork,
    /// The edge's state directory.
    pub edge_dir: PathBuf,
    /// Runs the questions of image tests.
    pub runtime: Handle,
    /// Where results go.
    pub inputs: Sender<Input>,
    /// Instances that start at once.
    pub starts: Turnstile,
}

/// The ports; owned by the thread of the driver.
pub struct ControlPorts {
    /// The ledger.
    pub ledger: Arc<dyn Ledger>,
    /// The signing key.
    pub keys: Arc<Keys>,
    /// What effects need.
    pub adapters: Arc<Adapters>,
    /// What clients follow.
    pub operations: Arc<Operations>,
    /// Gets each head of the ledger, where one is declared.
    pub witness: Option<Arc<Witness>>,
    /// Every receipt, oldest first.
    pub receipts: Arc<RwLock<Vec<Receipt>>>,
    /// The time that is decided by, and whether nothing is timed by it at this moment.
    pub clock: Mutex<(SteadyClock, bool)>,
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
            self.operations.set_journal_fault(Some(fault.clone()));
            LedgerFailed(fault)
        })?;
        self.operations.set_journal_fault(None);
        self.crash.pass();
        if let (Some(witness), Some(last)) = (&self.witness, appended.last()) {
            witness.tell(Head { sequence: last.sequence, hash: last.hash });
        }
        for event in &appended {
            if let EventBody::ReleaseCreated { release } = &event.body {
                self.adapters.starter.learn(release);
            }
        }
        let new = appended.iter().filter_map(|event| match &event.body {
            EventBody::Switched { receipt } => Some((**receipt).clone()),
            _ => None,
        });
        self.receipts.write().unwrap_or_else(PoisonError::into_inner).extend(new);
        Ok(appended)
    }

    fn sign(&self, body: ReceiptBody) -> Receipt {
        self.keys
            .sign_receipt(body)
            .expect("a receipt's numbers are finite and its keys are strings")
    }

    fn dispatch(&mut self, id: EffectId, effect: Effect) {
        let adapters = Arc::clone(&self.adapters);
        let tail = self.random_tail();
        let work = move || {
            let observation = adapters.perform(id, effect, &tail);
            // Control is ending when nobody takes it; the next one finds out for itself.
            let _ = adapters.inputs.send(Input::Observe(observation));
        };
        let spawned = std::thread::Builder::new().name("effect".to_owned()).spawn(work);
        if let Err(error) = spawned {
            let reason = format!("no thread could be started: {error}");
            let _ = self
                .adapters
                .inputs
                .send(Input::Observe(Observation::EffectFailed { effect: id, reason }));
        }
    }

    fn log_tail(&mut self, instance: &InstanceId) -> Vec<String> {
        log_tail(&**self.adapters.starter.engine(), instance)
    }

    fn progress(&mut self, progress: Progress) {
        match progress {
            Progress::Step { request, service, rollout, phase, message, instance: _ } => {
                match request {
                    Some(request) => {
                        let (service, phase) = (Some(service), phase.to_owned());
                        self.operations.push(
                            request.0,
                            OperationLine::Progress { service, rollout, phase, message },
                        );
                    }
                    None => tracing::info!(%service, phase, "{message}"),
                }
            }
            Progress::Finished { request, outcome } => {
                let outcome = outcome::told(outcome);
                self.operations.push(request.0, OperationLine::Finished { outcome });
            }
        }
    }
}

impl Adapters {
    fn perform(&self, id: EffectId, effect: Effect, tail: &str) -> Observation {
        let failed = |reason: String| Observation::EffectFailed { effect: id, reason };
        let engine = self.starter.engine();
        match effect {
            Effect::StartInstance { instance, release, spec } => {
                self.start(id, instance, release, &spec)
            }
            Effect::StopInstance { instance, grace } => {
                match engine.stop(&instance, grace.duration()) {
                    Ok(_) | Err(EngineError::NotFound { .. }) => {
                        Observation::InstanceStopped { instance }
                    }
                    Err(error) => failed(error_chain(&error)),
                }
            }
            Effect::RemoveInstance { instance } => match engine.remove(&instance) {
                Ok(()) => Observation::InstanceRemoved { instance },
                Err(error) => failed(error_chain(&error)),
            },
            Effect::RunTests { image, spec } => {
                let run = image_tests::run(&self.starter, &self.runtime, image, &spec, tail);
                Observation::TestsFinished { effect: id, image, run }
            }
            Effect::ApplyRoutes { table } => match EdgeClient::new(&self.edge_dir).apply(&table) {
                Ok(applied) => {
                    // The status that reads it back follows at once instead of with the supervisor's next look.
                    self.read_back();
                    Observation::RoutesApplied {
                        generation: applied.generation,
                        switch_ms: applied.switch_ms,
                        counters: applied.counters,
                    }
                }
                Err(error) => failed(error_chain(&error)),
            },
            Effect::CutInFlight { service, release, generation } => {
                match EdgeClient::new(&self.edge_dir).cut_under(&service, release, generation) {
                    Ok(_) => Observation::InFlightCut { effect: id, service, release },
                    Err(error) => failed(error_chain(&error)),
                }
            }
            Effect::GiveAddress { service } => match self.network.give_service_address(&service) {
                Ok(address) => {
                    let address = Some(address.into());
                    Observation::ServiceAddressed { effect: id, service, address }
                }
                Err(error) => {
                    tracing::warn!(
                        "`{service}` gets no address of its own: {}",
                        error_chain(&error)
                    );
                    failed(error_chain(&error))
                }
            },
            Effect::TakeAddress { service } => {
                match self.network.release_service_address(&service) {
                    Ok(()) => Observation::ServiceAddressed { effect: id, service, address: None },
                    Err(error) => failed(error_chain(&error)),
                }
            }
        }
    }

    fn read_back(&self) {
        if let Ok(status) = EdgeClient::new(&self.edge_dir).status() {
            let _ = self.inputs.send(Input::Observe(Observation::EdgeStatus(status)));
        }
    }

    fn start(
        &self,
        id: EffectId,
        instance: InstanceId,
        release: hornero_model::ReleaseNumber,
        spec: &ServiceSpec,
    ) -> Observation {
        let engine = self.starter.engine();
        let exited = |cause: ExitCause| {
            let log_tail = log_tail(&**engine, &instance);
            Observation::InstanceExited { instance: instance.clone(), cause, log_tail }
        };
        let _place = self.starts.enter(|others_left| {
            if others_left {
                self.starter.went_on(&spec.image);
            }
        });
        let instance_spec = match self.starter.instance_spec(&instance, release, spec) {
            Ok(instance_spec) => instance_spec,
            Err(error) => return exited(ExitCause::NotStarted(format!("{error:#}"))),
        };
        match engine.start(&instance_spec) {
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
                | EngineError::NotFound { .. }),
            ) => Observation::EffectFailed { effect: id, reason: error_chain(&error) },
        }
    }
}
