//! The control process: joins the ledger, planner, rollout driver, engine and edge.
//!
//! One thread owns the driver and takes one [`Input`] at a time; effects run on threads of their own and send their
//! results back to it; the API asks it. Everything else in here is an adapter of a port.

mod absent;
mod against;
mod belonging;
mod boot;
mod cancel;
mod check;
mod churn;
mod clock;
mod edge;
pub mod format;
mod handler;
mod image_tests;
mod local;
mod logs;
mod metadata;
mod notify;
mod offline;
mod operations;
mod outcome;
mod ports;
mod predecessor;
mod provenance;
mod report;
mod restoration;
mod runs;
mod server;
mod signals;
mod socket;
mod start;
mod succession;
mod turnstile;
mod verify;
mod witness;

pub use boot::boot_id;
pub use provenance::{Denied, Provenance};

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::{self, File},
    net::IpAddr,
    os::fd::{FromRawFd as _, RawFd},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, RwLock,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use hornero_driver::{Churn, Driver, DriverError, Found, Observation, Starting};
use hornero_edge::EdgeClient;
use hornero_engine_port::{Engine, InstanceStatus, Started};
use hornero_home::Opening;
use hornero_ledger::{Keys, Ledger, LedgerError, SqliteLedger};
use hornero_model::{
    Actor, BootId, Digest, Event, EventBody, ExitCause, Location, PublicKey, Receipt, ServiceName,
    Timestamp,
};
use hornero_net::HomeNetwork;
use hornero_rollout::{TestOutcome, World};
use hornero_secret::Vault;
use hornero_store::Store;

pub use absent::{events_offline, history_offline, receipts_offline, status_offline};
pub use against::{WITNESS_BYTES_MAX, ledger_holds, ledger_holds_all};
pub use hornero_driver::{Account, ServiceAccount, Use};
pub use hornero_rollout::{Hold, KeepOverride, Retained};
pub use local::{LogLimits, abandon, trim_logs};
pub use logs::{LAST_LINES_MAX, LogWish, logs_offline};
pub use notify::status_file;
pub use offline::{
    ImageHistory, KeptImages, history_of, image_of, newest_event, plan_offline, retained_images,
    secrets_in_use, verify_ledger,
};
use predecessor::Succession;
pub use predecessor::readable;
pub use succession::Program;
pub use witness::WitnessPlace;

use crate::{
    churn::Resume,
    clock::SteadyClock,
    edge::EdgeKeeper,
    handler::Api,
    metadata::MetadataKeeper,
    notify::Notifier,
    operations::Operations,
    ports::{Adapters, ControlPorts, CrashHook, STARTS_AT_ONCE, chain},
    restoration::Restoration,
    runs::{Recorder, Runs, ToRecord},
    start::Starter,
    turnstile::Turnstile,
    witness::Witness,
};

/// How the control process is started.
#[derive(Debug, Clone)]
pub struct Options {
    /// The home it owns.
    pub home: PathBuf,
    /// What logs of servers that are gone may take.
    pub log_limits: LogLimits,
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
}

/// A question to the thread that owns the driver.
type Question = Box<dyn FnOnce(&Driver) + Send>;

/// A run of an image's tests outside of any rollout.
pub struct Tested {
    /// Who asked for it.
    pub by: Actor,
    /// The image.
    pub image: Digest,
    /// How each test went.
    pub results: Vec<TestOutcome>,
    /// Told whether it was recorded.
    pub recorded: Sender<Result<(), DriverError>>,
}

/// What the thread that owns the driver takes.
pub enum Input {
    /// Something was observed.
    Observe(Observation),
    /// Somebody wants to look.
    Ask(Question),
    /// An image's tests were run because somebody asked for it.
    Tested(Tested),
    /// Somebody lets go on what a limit of churn stopped.
    Resume(Resume),
    /// Something that is no rollout's is to be recorded.
    Record(ToRecord),
    /// The process shall end; servers and edge go on where services are up.
    Shutdown,
}

/// This very program, also after an upgrade has put another file in its place: control, edge and shims then still speak
/// the same words.
pub const OWN_PROGRAM: &str = "/proc/self/exe";

/// How long a shim may be starting its command when control comes back.
const STARTING_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a control process that was killed may take to be gone.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// How long effects under way may take when the process ends with nothing left to serve.
const ENDING_TIMEOUT: Duration = Duration::from_secs(20);
/// How long one that owns the home has to answer to count as one that stays: one that ends may answer until it has.
const ANSWERED: Duration = Duration::from_secs(1);
/// Between two looks whether they are done.
const ENDING_LOOK: Duration = Duration::from_millis(5);
/// Between two looks after the network; how long a flushed packet filter may go unnoticed.
const NETWORK_INTERVAL: Duration = Duration::from_secs(30);
/// How long to wait before the ledger is tried again after it failed.
const LEDGER_RETRY: Duration = Duration::from_secs(1);

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

/// Runs the control process until it is told to end: by its API, SIGTERM or SIGINT.
pub fn serve(options: &Options) -> anyhow::Result<Ended> {
    let begun = Instant::now();
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
    let refused = options.witness.as_ref().and_then(|witness| witness.refused_by(home));
    if let Some(refused) = refused {
        anyhow::bail!(refused);
    }
    let succession = match options.succeed {
        None => None,
        Some(lock) => {
            notifier.starting("ending the control process that runs");
            Some(Succession::begin(home, inherited(lock)?)?)
        }
    };
    let _lock = own(home)?;
    notifier.starting("opening the ledger");
    let keys = Arc::new(Keys::of_home(home)?);
    let ledger: Arc<dyn Ledger> =
        Arc::new(SqliteLedger::open(&home.join("ledger.db"), Arc::clone(&keys))?);
    let (world, churn, receipts) = load(&*ledger, &notifier)?;
    if succession.as_ref().is_some_and(|succession| succession.is_moot(&world)) {
        notifier.stopping("everything was taken down before this version began");
        return Ok(Ended::Moot);
    }
    notifier.starting("taking over what runs");
    let store = Arc::new(Store::open(home.join("store"))?);
    let mut network = HomeNetwork::open(home)?;
    network.up()?;
    // Where nothing tells it, nothing is of another start of the host.
    let boot = boot_id().or_else(|| world.boot.clone()).unwrap_or_else(|| BootId::new("unknown"));
    let lost_by = match &world.boot {
        Some(last) if *last != boot => ExitCause::HostRestarted,
        _ => ExitCause::Unknown,
    };
    let engine = local::open(home, options.log_limits, Arc::clone(&store), lost_by)?;
    let (inputs, taken) = mpsc::channel();
    let addresses = service_addresses(&network, &world);
    notifier.starting("starting the edge");
    let keeper = match EdgeKeeper::start(home, options.handover_timeout, inputs.clone()) {
        Ok(keeper) => keeper,
        Err(error) => {
            // Nothing serves, and a `down` would fail here as well: nobody else takes the bridge away.
            if !serves(&world)
                && let Err(left) = network.down()
            {
                tracing::warn!("{}", chain(&left));
            }
            return Err(error);
        }
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;

    let operations = Arc::new(Operations::default());
    let receipts = Arc::new(RwLock::new(receipts));
    let own = PublicKey::from_bytes(*keys.public().as_bytes());
    let provenance = Provenance::new(Arc::clone(&store), own);
    let news = inputs.clone();
    // Control is ending when nobody takes it.
    let went_on = move |image| drop(news.send(Input::Observe(Observation::StartsGoOn { image })));
    let adapters = Arc::new(Adapters {
        starter: Starter::new(
            store,
            Arc::clone(&engine),
            provenance,
            Vault::of(home),
            Box::new(went_on),
        ),
        edge_dir: edge::state_dir(home),
        runtime: runtime.handle().clone(),
        inputs: inputs.clone(),
        starts: Turnstile::new(STARTS_AT_ONCE),
    });
    let newest = world.services.values().filter_map(|service| service.newest());
    newest.for_each(|release| adapters.starter.learn(release));
    let head = ledger.head()?;
    let witness = options.witness.clone();
    let witness = witness.map(|place| Witness::start(place, Arc::clone(&keys), head));
    let witness = witness.transpose()?.map(Arc::new);
    let newest = ledger.read(world.last_sequence, 1)?;
    let last = newest.last().map_or(Timestamp(0), |event| event.time);
    let mut ports = ControlPorts {
        ledger: Arc::clone(&ledger),
        keys,
        network: network.clone(),
        addresses: addresses.clone(),
        adapters,
        operations: Arc::clone(&operations),
        witness: witness.clone(),
        receipts: Arc::clone(&receipts),
        clock: Mutex::new((SteadyClock::new(Timestamp::now(), last, Instant::now()), false)),
        crash: CrashHook { at: options.crash_at_append, passed: 0 },
    };
    notifier.starting("looking at the instances");
    let version = hornero_model::program_version();
    let found = find(&*engine, &world)?;
    let status = EdgeClient::new(&edge::state_dir(home)).status().ok();
    // Everything was read, and nothing was written yet that an older version would not know.
    format::claim(home)?;
    let driver =
        Driver::resume(world, churn, found, status, Starting { version, boot: &boot }, &mut ports)?;
    follow_exits(Arc::clone(&engine), inputs.clone())?;
    let ended = Arc::new(AtomicBool::new(false));
    let network_keeper = keep_network(network.clone(), Arc::clone(&ended))?;

    let (recorder, adapters) = (inputs.clone(), Arc::clone(&ports.adapters));
    let recorder = Recorder::new(move |record| recorder.send(Input::Record(record)).is_ok());
    let runs = Arc::new(Runs::new(adapters, recorder));
    runs.adopt(driver.world().runs.values().cloned());
    signals::end_on_signals(&runtime, inputs.clone());
    let api = Api {
        inputs,
        operations,
        receipts,
        ledger: Arc::clone(&ledger),
        engine: Arc::clone(&engine),
        adapters: Arc::clone(&ports.adapters),
        runs,
        network: network.clone(),
        edge: keeper.news(),
        started: Timestamp::now(),
        witness: witness.clone(),
    };
    let socket = home.join("control.sock");
    let listener = server::bind(&socket).with_context(|| format!("`{}`", socket.display()))?;
    runtime.spawn(socket::serve(socket.clone(), listener, Arc::new(api)));
    tracing::info!("ready: {}", summary(driver.world()));
    notifier.ready(&summary(driver.world()));
    // The next upgrade may begin.
    drop(succession);
    let restoration = Restoration::new(begun, &driver);
    let driver = run(driver, &mut ports, &taken, &notifier, restoration)?;
    ended.store(true, Ordering::Release);
    network_keeper.thread().unpark();
    let _ = network_keeper.join();
    runtime.shutdown_timeout(Duration::from_millis(200));
    if let Some(witness) = witness {
        witness.end();
    }
    let left = match !serves(driver.world()) && driver.is_idle() {
        true => Ended::Empty,
        false => Ended::Serving,
    };
    let last_words = match left {
        Ended::Empty => "nothing is left to serve",
        Ended::Serving | Ended::Moot => "servers and edge go on",
    };
    tracing::info!("control ends: {last_words}");
    notifier.stopping(last_words);
    if left == Ended::Empty {
        keeper.stop();
        if let Err(error) = engine.clean_up() {
            tracing::warn!("{}", chain(&error));
        }
        network.down()?;
    } else {
        keeper.leave();
    }
    match fs::remove_file(&socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(left),
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

/// What runs, in a line for the service manager.
fn summary(world: &World) -> String {
    let services = world.services.values().filter(|service| world.is_there(service)).count();
    match services {
        0 => "nothing to serve".to_owned(),
        1 => "1 service is up".to_owned(),
        many => format!("{many} services are up"),
    }
}

/// Makes the home where it is missing, and locks it.
fn own(home: &Path) -> anyhow::Result<File> {
    format::check(home)?;
    let show = || format!("home `{}`", home.display());
    let home = hornero_home::prepare(home).with_context(show)?;
    let lock =
        hornero_home::open(&home.join("control.lock"), Opening::Create).with_context(show)?;
    // One that was just killed still holds its lock while the kernel tidies up after it.
    let deadline = Instant::now() + LOCK_TIMEOUT;
    let mut answered: Option<Instant> = None;
    loop {
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(rustix::io::Errno::WOULDBLOCK) if Instant::now() < deadline => {
                answered = match answers(&home) {
                    true => answered.or_else(|| Some(Instant::now())),
                    false => None,
                };
                anyhow::ensure!(
                    answered.is_none_or(|since| since.elapsed() < ANSWERED),
                    "another control process serves `{}` already",
                    home.display()
                );
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("another control process owns `{}`", home.display()));
            }
        }
    }
}

/// Whether somebody listens on a home's control socket: of one that was killed, nobody does.
fn answers(home: &Path) -> bool {
    std::os::unix::net::UnixStream::connect(home.join("control.sock")).is_ok()
}

/// Folds the whole ledger; gives its receipts too.
fn load(ledger: &dyn Ledger, notifier: &Notifier) -> anyhow::Result<(World, Churn, Vec<Receipt>)> {
    let (mut world, mut churn, mut receipts) = (World::default(), Churn::default(), Vec::new());
    let last = ledger.head()?.sequence;
    fold(
        &mut world,
        |next| ledger.read(next, hornero_ledger::MAX_READ_EVENTS),
        |event| {
            notifier.still_starting(|| format!("reading event {} of {last}", event.sequence));
            churn.apply(event);
            if let EventBody::Switched { receipt } = &event.body {
                receipts.push((**receipt).clone());
            }
        },
    )?;
    Ok((world, churn, receipts))
}

/// Folds page by page until there is none, and shows each event.
fn fold(
    world: &mut World,
    read: impl Fn(u64) -> Result<Vec<Event>, LedgerError>,
    mut see: impl FnMut(&Event),
) -> anyhow::Result<()> {
    let mut next = 1;
    loop {
        let events = read(next)?;
        let Some(last) = events.last() else { return Ok(()) };
        next = last.sequence + 1;
        for event in &events {
            world.apply(event)?;
            see(event);
        }
    }
}

/// The addresses of the services that are up, put on the bridge before the edge listens on them.
fn service_addresses(network: &HomeNetwork, world: &World) -> BTreeMap<ServiceName, IpAddr> {
    let up = world.services.values().filter(|service| !service.removed);
    up.filter_map(|service| match network.service_address(&service.name) {
        Ok(address) => Some((service.name.clone(), address.into())),
        Err(error) => {
            tracing::warn!("`{}` gets no address of its own: {}", service.name, chain(&error));
            None
        }
    })
    .collect()
}

/// What the engine has of the driver's; servers of tests that an earlier process left are removed, and so are those of
/// one-off work that has ended.
fn find(engine: &dyn Engine, world: &World) -> anyhow::Result<Vec<Found>> {
    let deadline = Instant::now() + STARTING_TIMEOUT;
    let instances = loop {
        let instances = engine.list()?;
        let starting = instances.iter().any(|instance| instance.status == InstanceStatus::Starting);
        if !starting || Instant::now() >= deadline {
            break instances;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    let mut found = Vec::new();
    for instance in instances {
        if world.runs.contains_key(&instance.id) {
            continue;
        }
        if instance.release == image_tests::TEST_RELEASE {
            engine.remove(&instance.id)?;
            continue;
        }
        let (running, cause) = match instance.status {
            InstanceStatus::Starting => (None, None),
            InstanceStatus::Running(Started { address, place, handle }) => {
                (address.map(|address| Location { address, place, handle }), None)
            }
            InstanceStatus::Exited { cause, .. } => (None, Some(cause)),
        };
        let log_tail = match running {
            Some(_) => Vec::new(),
            None => start::log_tail(engine, &instance.id),
        };
        found.push(Found { instance: instance.id, running, cause, log_tail });
    }
    Ok(found)
}

/// Looks after the network now and then: somebody may have flushed the host's packet filter.
fn keep_network(
    mut network: HomeNetwork,
    ended: Arc<AtomicBool>,
) -> anyhow::Result<JoinHandle<()>> {
    let keeper = std::thread::Builder::new().name("network-keeper".to_owned());
    Ok(keeper.spawn(move || {
        while !ended.load(Ordering::Acquire) {
            std::thread::park_timeout(NETWORK_INTERVAL);
            if !ended.load(Ordering::Acquire)
                && let Err(error) = network.up()
            {
                tracing::warn!("looking after the network failed: {}", chain(&error));
            }
        }
    })?)
}

/// Tells the driver of every instance that ends.
fn follow_exits(engine: Arc<dyn Engine>, inputs: Sender<Input>) -> anyhow::Result<()> {
    let exits = engine.exits();
    let engine = Arc::downgrade(&engine);
    std::thread::Builder::new().name("exits".to_owned()).spawn(move || {
        for exit in exits {
            if exit.release == image_tests::TEST_RELEASE {
                continue;
            }
            let Some(engine) = engine.upgrade() else { return };
            let log_tail = start::log_tail(&*engine, &exit.id);
            let observation =
                Observation::InstanceExited { instance: exit.id, cause: exit.cause, log_tail };
            if inputs.send(Input::Observe(observation)).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}

/// Whether nothing is timed: no rollout, no effect, and no set that is kept warm.
fn is_settled(driver: &Driver) -> bool {
    driver.is_idle() && driver.world().services.values().all(|service| service.warm.is_none())
}

/// Whether any service is up, or one-off work under way.
fn serves(world: &World) -> bool {
    !world.runs.is_empty() || world.services.values().any(|service| world.is_there(service))
}

/// Whether a process that was told to end may do so. With nothing left to serve it takes everything away with it, so
/// effects that are still under way come to their end first; but for those that never do.
fn may_end(serves: bool, idle: bool, waited: Duration) -> bool {
    serves || idle || waited >= ENDING_TIMEOUT
}

/// The loop that owns the driver.
fn run(
    mut driver: Driver,
    ports: &mut ControlPorts,
    taken: &Receiver<Input>,
    notifier: &Notifier,
    mut restoration: Restoration,
) -> anyhow::Result<Driver> {
    let mut retry = None;
    let mut ending: Option<Instant> = None;
    let mut metadata = MetadataKeeper::default();
    let watchdog = notifier.watchdog_interval();
    let mut told = summary(driver.world());
    loop {
        let now = summary(driver.world());
        if told != now {
            notifier.status(&now);
            told = now;
        }
        restoration.look(&driver);
        metadata.look(driver.world(), ports.adapters.starter.store());
        if watchdog.is_some() {
            notifier.alive();
        }
        let mut wait = retry.take().unwrap_or_else(|| driver.next_tick().duration());
        if let Some(since) = ending {
            if may_end(serves(driver.world()), driver.is_idle(), since.elapsed()) {
                return Ok(driver);
            }
            wait = wait.min(ENDING_LOOK);
        }
        // Ticks in between do no harm: the driver looks at its clock, not at how often it is asked.
        wait = wait.min(watchdog.unwrap_or(wait));
        ports.settled(is_settled(&driver));
        let observation = match taken.recv_timeout(wait) {
            Ok(Input::Observe(observation)) => observation,
            Ok(Input::Ask(question)) => {
                question(&driver);
                continue;
            }
            Ok(Input::Tested(tested)) => {
                metadata.tested();
                let Tested { by, image, results, recorded } = tested;
                let outcome = driver.record_tests(&by, image, &results, ports);
                // A ledger that took nothing is tried again by whoever asked; with a world of its own nobody goes on.
                if let Err(error @ (DriverError::World(_) | DriverError::Restless)) = outcome {
                    return Err(error.into());
                }
                let _ = recorded.send(outcome);
                continue;
            }
            Ok(Input::Resume(Resume { by, service, resumed })) => {
                let outcome = driver.resume_churn(&by, service.as_ref(), ports);
                if let Err(error @ (DriverError::World(_) | DriverError::Restless)) = outcome {
                    return Err(error.into());
                }
                let _ = resumed.send(outcome);
                continue;
            }
            Ok(Input::Record(ToRecord { by, body, recorded })) => {
                let outcome = driver.record(&by, body, ports);
                if let Err(error @ (DriverError::World(_) | DriverError::Restless)) = outcome {
                    return Err(error.into());
                }
                let _ = recorded.send(outcome);
                continue;
            }
            Ok(Input::Shutdown) => {
                ending.get_or_insert_with(Instant::now);
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return Ok(driver),
            Err(RecvTimeoutError::Timeout) => Observation::Tick,
        };
        match driver.handle(observation, ports) {
            Ok(()) => {}
            Err(error @ DriverError::Ledger(_)) => {
                tracing::warn!("{}; trying again", chain(&error));
                retry = Some(LEDGER_RETRY);
            }
            // A broken invariant: stop before anything follows from it. Edge and servers go on as they are.
            Err(error @ (DriverError::World(_) | DriverError::Restless)) => {
                return Err(error.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clean_down_waits_for_effects_under_way_but_not_for_ever() {
        let moment = Duration::from_millis(1);
        assert!(!may_end(false, false, moment), "the edge and the bridge would be left behind");
        assert!(may_end(false, true, moment));
        assert!(may_end(true, false, moment), "servers go on by themselves, the journal tells how");
        assert!(may_end(false, false, ENDING_TIMEOUT));
    }
}
