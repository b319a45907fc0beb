//! Runs the control process from its start to its end.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    net::IpAddr,
    os::fd::{FromRawFd as _, RawFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock,
        mpsc::{self, Receiver, Sender},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hornero_driver::{Driver, Found, Observation, Outside, Regions, Starting};
use hornero_engine_port::Engine;
use hornero_forensics::ShelfLimits;
use hornero_ledger::{Keys, Ledger, SqliteLedger};
use hornero_model::{
    AlertSettings, ApiSettings, BootId, Budget, EdgeName, EdgeRef, ExitCause, PublicKey,
    RegionName, ServiceName, Term, Timestamp, error_chain,
};
use hornero_net::HomeNetwork;
use hornero_rollout::World;
use hornero_secret::Vault;
use hornero_store::Store;
use hornero_volume::Volumes;
use tokio::{
    runtime::{Handle, Runtime},
    sync::{Semaphore, watch},
};

use crate::{
    access::ways::Ways,
    alerts::{looking::look, watch::Alerts},
    answers::events::READERS,
    api::{Api, LONG_LOOKS},
    boot::{self, boot_id},
    clock::SteadyClock,
    edge::{self, EdgeKeeper},
    forensics::{Forensics, Noticed, keep_bundles},
    format,
    glass::{Glass, settle_glass},
    input::Input,
    instances::{find, follow_exits},
    kept_edges::KeptEdges,
    local::{self, LogLimits},
    lock,
    network::{NetworkKeeper, service_addresses},
    notify::Notifier,
    otlp::OtlpSettings,
    ports::{Adapters, ControlPorts, CrashHook, STARTS_AT_ONCE},
    predecessor::Succession,
    provenance::ProvenanceCheck,
    replay::{self, Told},
    restoration::Restoration,
    runs::Recorder,
    server, signals, socket,
    start::Starter,
    tenure::Tenure,
    turns,
    turnstile::Turnstile,
    up::{serves, summary},
    witness::{Witness, WitnessPlace},
    work::{OneOffWork, Work},
};

/// How the control process is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The home it owns.
    pub home: PathBuf,
    /// What logs of servers that are gone may take.
    pub log_limits: LogLimits,
    /// What bundles of servers that failed may take.
    pub bundle_limits: ShelfLimits,
    /// Fault hook: the journal write at which the process kills itself.
    pub crash_at_append: Option<u64>,
    /// What the edge gets as its environment: how it logs.
    pub edge_environment: Vec<(&'static str, OsString)>,
    /// How long an edge may serve what it has open once its successor has taken over; an hour where absent.
    pub handover_timeout: Option<Duration>,
    /// Where it takes the place of the control process that runs: the descriptor of the lock of upgrades, which is its own
    /// from now on.
    pub succeed: Option<RawFd>,
    /// Where each head of the ledger is kept beside the home.
    pub witness: Option<WitnessPlace>,
    /// Servers that may be made by itself of all services together; what follows from their budgets where absent.
    pub budget: Option<Budget>,
    /// Who gets figures, logs and traces.
    pub otlp: Option<OtlpSettings>,
    /// Why the home's settings are not those of its file.
    pub settings_fault: Option<String>,
    /// Where the API listens beside the home's socket, and who may what.
    pub api: ApiSettings,
    /// Who hears of alerts.
    pub alerts: AlertSettings,
}

/// How a control process ended that was told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was left to serve, and nothing of it is left on the host.
    Empty,
    /// Servers and edge go on; a control process should be started again.
    Serving,
    /// It never began: everything was taken down before it could take the place of the one from before.
    Moot,
}

/// The home's ledger, and the key that signs it.
struct Journal {
    keys: Arc<Keys>,
    ledger: Arc<dyn Ledger>,
}

impl Journal {
    fn open(home: &Path) -> anyhow::Result<Self> {
        let keys = Arc::new(Keys::of_home(home)?);
        let ledger = SqliteLedger::open(&home.join("ledger.db"), Arc::clone(&keys))?;
        Ok(Self { keys, ledger: Arc::new(ledger) })
    }
}

/// What the control process runs servers with.
struct Parts {
    store: Arc<Store>,
    network: HomeNetwork,
    /// The addresses that services have.
    addresses: BTreeMap<ServiceName, IpAddr>,
    boot: BootId,
    engine: Arc<dyn Engine>,
    /// The term of this control.
    tenure: Arc<Tenure>,
    keeper: EdgeKeeper,
    runtime: Runtime,
}

/// Runs the control process until it is told to end: by its API, SIGTERM or SIGINT.
pub fn serve(options: &Options) -> anyhow::Result<Ended> {
    let begun = Instant::now();
    let home = &options.home;
    let notifier = begin(options)?;
    let succession = succeed(options, &notifier)?;
    let _lock = lock::own(home)?;
    notifier.starting("opening the ledger");
    let journal = Journal::open(home)?;
    let Told { world, mut churn, receipts } = replay::load(&*journal.ledger, &notifier)?;
    churn.limit_home(options.budget);
    if succession.as_ref().is_some_and(|succession| succession.is_moot(&world)) {
        notifier.stopping("everything was taken down before this version began");
        return Ok(Ended::Moot);
    }
    let (inputs, taken) = mpsc::channel();
    let parts = Parts::take_over(options, &world, &inputs, &notifier)?;
    let witness = witness(options, &journal)?;
    let (adapters, noticed) = parts.adapters(options, &journal.keys, &world, &inputs);
    let beside = OneOffWork::new(&adapters, &inputs);
    let mut ports = ControlPorts {
        ledger: Arc::clone(&journal.ledger),
        keys: Arc::clone(&journal.keys),
        carry: beside.carry(),
        guards: beside.guards(&adapters),
        adapters,
        operations: Arc::default(),
        witness: witness.clone(),
        receipts: Arc::new(RwLock::new(receipts)),
        clock: Mutex::new((clock(&*journal.ledger, &world)?, false)),
        newest: watch::Sender::new(world.last_sequence),
        crash: CrashHook { at: options.crash_at_append, passed: 0 },
    };
    notifier.starting("looking at the instances");
    let (instances, over) = find(&*parts.engine, &world)?;
    let outside = parts.outside(home, instances)?;
    // Everything was read, and nothing was written yet that an older version would not know.
    format::claim(home)?;
    let starting = Starting { version: hornero_model::program_version(), boot: &parts.boot };
    let driver = Driver::resume(world, churn, outside, starting, &mut ports)?;
    over.iter().try_for_each(|id| parts.engine.remove(driver.term(), id))?;
    follow_exits(Arc::clone(&parts.engine), inputs.clone())?;
    let network_keeper = keep_network(&parts, &ports)?;
    let work = Work::of(home, &ports, driver.world(), beside, &inputs);
    let time_keeper = work.keep_time(options.otlp.as_ref())?;
    keep_of_servers(options, &ports, &work.recorder, driver.world(), noticed)?;
    signals::end_on_signals(&parts.runtime, inputs.clone());
    let socket = home.join("control.sock");
    let alerts = parts.answer(&socket, api(options, &parts, &ports, work, inputs))?;
    tell_ready(&driver, &notifier);
    // The next upgrade may begin.
    drop(succession);
    let restoration = Restoration::new(begun, &driver);
    let driver = turns::run(driver, &mut ports, &taken, &notifier, restoration)?;
    network_keeper.end();
    alerts.end();
    time_keeper.end();
    let left =
        if serves(driver.world()) || !driver.is_idle() { Ended::Serving } else { Ended::Empty };
    parts.end(left, driver.term(), witness.as_deref(), &notifier)?;
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(left),
    }
}

/// Keeps bundles of servers that fail, and records how sessions in servers ended that went on before this start.
fn keep_of_servers(
    options: &Options,
    ports: &ControlPorts,
    recorder: &Arc<Recorder>,
    world: &World,
    noticed: Receiver<Noticed>,
) -> anyhow::Result<()> {
    keep_bundles((&options.home, options.bundle_limits), ports, recorder, world, noticed)?;
    Ok(settle_glass(&options.home, recorder, world)?)
}

/// Has the network looked after, as long as this control is the one that is obeyed.
fn keep_network(parts: &Parts, ports: &ControlPorts) -> anyhow::Result<NetworkKeeper> {
    let adapters = Arc::clone(&ports.adapters);
    Ok(NetworkKeeper::start(parts.network.clone(), move || adapters.is_over())?)
}

/// Tells the log and whoever started it that it answers from now on.
fn tell_ready(driver: &Driver, notifier: &Notifier) {
    let summary = summary(driver.world());
    tracing::info!("ready: {summary}");
    notifier.ready(&summary);
}

/// What comes before anything of the home is touched.
fn begin(options: &Options) -> anyhow::Result<Notifier> {
    let home = &options.home;
    tracing::info!(
        version = hornero_model::program_version(),
        process = std::process::id(),
        home = %home.display(),
        "control starts"
    );
    boot::hand_on(&options.edge_environment);
    raise_file_limit();
    let notifier = Notifier::from_environment(home);
    match options.witness.as_ref().and_then(|witness| witness.refused_by(home)) {
        Some(refused) => anyhow::bail!(refused),
        None => Ok(notifier),
    }
}

/// Ends the control process that runs, where this one takes its place.
fn succeed(options: &Options, notifier: &Notifier) -> anyhow::Result<Option<Succession>> {
    let Some(lock) = options.succeed else { return Ok(None) };
    notifier.starting("ending the control process that runs");
    Succession::begin(&options.home, inherited(lock)?).map(Some)
}

/// The clock that goes on where the ledger's last event left off.
fn clock(ledger: &dyn Ledger, world: &World) -> anyhow::Result<SteadyClock> {
    let newest = ledger.read(world.last_sequence, 1)?;
    let last = newest.last().map_or(Timestamp(0), |event| event.time);
    Ok(SteadyClock::new(Timestamp::now(), last, Instant::now()))
}

/// What gets the ledger's heads, where one is declared.
fn witness(options: &Options, journal: &Journal) -> anyhow::Result<Option<Arc<Witness>>> {
    let head = journal.ledger.head()?;
    let Some(place) = options.witness.clone() else { return Ok(None) };
    Ok(Some(Arc::new(Witness::start(place, Arc::clone(&journal.keys), head)?)))
}

/// What requests are answered from.
fn api(
    options: &Options,
    parts: &Parts,
    ports: &ControlPorts,
    Work { recorder, runs, jobs, schedules, rehearsals, volumes, metrics, .. }: Work,
    inputs: Sender<Input>,
) -> Api {
    let (own, recording) = (Arc::clone(&ports.adapters), Arc::clone(&recorder));
    Api {
        glass: Arc::new(Glass::new(&options.home, own, recording)),
        inputs,
        operations: Arc::clone(&ports.operations),
        receipts: Arc::clone(&ports.receipts),
        ledger: Arc::clone(&ports.ledger),
        engine: Arc::clone(&parts.engine),
        adapters: Arc::clone(&ports.adapters),
        guards: Arc::clone(&ports.guards),
        runs,
        jobs,
        recorder,
        schedules,
        volumes,
        rehearsals,
        network: parts.network.clone(),
        edge: parts.keeper.news(),
        calls: parts.keeper.calls(),
        started: Timestamp::now(),
        metrics,
        settings_fault: options.settings_fault.clone(),
        witness: ports.witness.clone(),
        alerts: Arc::new(Alerts::of(&options.home, options.alerts.clone())),
        ways: Arc::new(Ways::of(&options.home, options.api.clone())),
        long_looks: Arc::new(Semaphore::new(LONG_LOOKS)),
        newest: ports.newest.subscribe(),
        readers: Arc::new(Semaphore::new(READERS)),
    }
}

impl Parts {
    /// Opens what runs servers, and starts an edge where none answers.
    fn take_over(
        options: &Options,
        world: &World,
        inputs: &Sender<Input>,
        notifier: &Notifier,
    ) -> anyhow::Result<Self> {
        let home = &options.home;
        notifier.starting("taking over what runs");
        let store = Arc::new(Store::open(home.join("store"))?);
        let mut network = HomeNetwork::open(home)?;
        network.up()?;
        // Where nothing tells it, nothing is of another start of the host.
        let boot =
            boot_id().or_else(|| world.boot.clone()).unwrap_or_else(|| BootId::new("unknown"));
        let lost_by = match &world.boot {
            Some(last) if *last != boot => ExitCause::HostRestarted,
            _ => ExitCause::Unknown,
        };
        let engine = local::open(home, options.log_limits, Arc::clone(&store), lost_by)?;
        let addresses = service_addresses(&network)?;
        notifier.starting("starting the edge");
        let tenure = Arc::new(Tenure::default());
        let (timeout, own) = (options.handover_timeout, Arc::clone(&tenure));
        let keeper = EdgeKeeper::start(home, timeout, own, inputs.clone());
        let keeper = keeper.inspect_err(|_| {
            // Nothing serves, and a `down` would fail here as well: nobody else takes the bridge away.
            if !serves(world)
                && let Err(left) = network.down()
            {
                tracing::warn!("{}", error_chain(&left));
            }
        })?;
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        Ok(Self { store, network, addresses, boot, engine, tenure, keeper, runtime })
    }

    /// What there is beside the ledger, by region: this host is one.
    fn outside(&self, home: &Path, instances: Vec<Found>) -> anyhow::Result<Regions> {
        let (addresses, term) = (self.addresses.clone(), self.engine.term()?);
        let edges = BTreeMap::from([(EdgeName::default(), edge::seen(home))]);
        let found = Outside { instances, addresses, edges, term };
        Ok(BTreeMap::from([(RegionName::default(), found)]))
    }

    /// What effects need.
    fn adapters(
        &self,
        options: &Options,
        keys: &Keys,
        world: &World,
        inputs: &Sender<Input>,
    ) -> (Arc<Adapters>, Receiver<Noticed>) {
        let (home, per_hour) = (&options.home, options.bundle_limits.per_hour);
        let (forensics, noticed) = Forensics::new(Arc::clone(&self.engine), per_hour);
        let own = PublicKey::from_bytes(*keys.public().as_bytes());
        let provenance = ProvenanceCheck::new(Arc::clone(&self.store), own);
        let news = inputs.clone();
        // Control is ending when nobody takes it.
        let went_on =
            move |image| drop(news.send(Input::Observe(Observation::StartsGoOn { image })));
        let (store, engine) = (Arc::clone(&self.store), Arc::clone(&self.engine));
        let starter = Starter::new(store, engine, provenance, Vault::of(home), Box::new(went_on));
        let newest = world.services.values().filter_map(|service| service.newest());
        newest.for_each(|release| starter.learn(release));
        let adapters = Adapters {
            starter,
            network: self.network.clone(),
            volumes: Volumes::of(home),
            tenure: Arc::clone(&self.tenure),
            edge_dirs: BTreeMap::from([(EdgeRef::default(), edge::state_dir(home))]),
            edges: KeptEdges::new(),
            runtime: Handle::clone(self.runtime.handle()),
            inputs: inputs.clone(),
            starts: Turnstile::new(STARTS_AT_ONCE),
            forensics: Arc::new(forensics),
        };
        (Arc::new(adapters), noticed)
    }

    /// Answers requests from now on, and looks for what needs somebody.
    fn answer(&self, socket: &Path, api: Api) -> anyhow::Result<Arc<Alerts>> {
        let listener = server::bind(socket).with_context(|| format!("`{}`", socket.display()))?;
        let (api, _runtime) = (Arc::new(api), self.runtime.enter());
        api.ways.open(&api);
        let (alerts, newest) = (Arc::clone(&api.alerts), api.newest.clone());
        alerts.begin(look(&api), Arc::clone(&api.ledger), move || *newest.borrow())?;
        self.runtime.spawn(socket::serve(socket.to_owned(), listener, api));
        Ok(alerts)
    }

    /// Ends, and takes everything away where nothing is left to serve.
    fn end(
        self,
        left: Ended,
        term: Term,
        witness: Option<&Witness>,
        notifier: &Notifier,
    ) -> anyhow::Result<()> {
        self.runtime.shutdown_timeout(Duration::from_millis(200));
        witness.into_iter().for_each(Witness::end);
        let last_words = match left {
            Ended::Empty => "nothing is left to serve",
            Ended::Serving | Ended::Moot => "servers and edge go on",
        };
        tracing::info!("control ends: {last_words}");
        notifier.stopping(last_words);
        if left != Ended::Empty {
            self.keeper.leave();
            return Ok(());
        }
        // What another control has begun to use by now stays.
        self.engine.obey(term)?;
        self.keeper.stop();
        if let Err(error) = self.engine.clean_up(term) {
            tracing::warn!("{}", error_chain(&error));
        }
        Ok(self.network.down()?)
    }
}

/// Every instance takes two descriptors here; the limit that programs are given is often 1024.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let maximum = getrlimit(Resource::Nofile).maximum;
    // Where it can't be raised the lower one holds.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// A descriptor that the command left open for this process alone.
fn inherited(descriptor: RawFd) -> anyhow::Result<File> {
    // SAFETY: nothing else in this process knows of it; that it is open is seen by the next call.
    let file = unsafe { File::from_raw_fd(descriptor) };
    // What this process starts does not get it.
    rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC)
        .with_context(|| format!("descriptor {descriptor} of the command"))?;
    Ok(file)
}
