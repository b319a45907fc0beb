//! The edge as a whole: its start, by itself or as a successor, and its end.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    rc::Rc,
    sync::{Arc, mpsc as std_mpsc},
    thread::JoinHandle,
    time::Duration,
};

use rustix::{
    fs::{FlockOperation, flock},
    process::{Resource, Rlimit, getrlimit, setrlimit},
};
use tokio::{
    net::UnixListener,
    signal::unix::{SignalKind, signal},
    sync::{Notify, mpsc},
    task::{LocalSet, spawn_local},
};

use crate::{
    admin::{
        protocol::{admin_socket, restrict},
        server,
    },
    control::{Control, with_source},
    error::EdgeError,
    limits::Limits,
    persist, table,
    takeover::{self, Predecessor},
    worker::{self, Command, Common},
};

/// Files the edge needs beside two for each client connection: listeners, probes, idle backend connections.
const SPARE_FILES: usize = 1024;
/// After the last request a predecessor stays this long, so that its successor reads the final counters.
const LAST_WORDS: Duration = Duration::from_millis(400);
/// How long threads get to close what was cut off.
const CUT_TIMEOUT: Duration = Duration::from_secs(2);

/// How an edge runs.
#[derive(Debug, Clone)]
pub struct EdgeOptions {
    /// Where its state lies: `HOME/edge`. Made with mode 0700 if it is not there.
    pub state_dir: PathBuf,
    /// Threads that serve, each with sockets of its own; 0 for one a core.
    pub threads: usize,
    /// What clients and backends may do.
    pub limits: Limits,
}

impl EdgeOptions {
    /// Defaults for the edge whose state lies in `state_dir`.
    pub fn new(state_dir: impl Into<PathBuf>) -> Self {
        Self { state_dir: state_dir.into(), threads: 0, limits: Limits::default() }
    }
}

/// Runs the edge in this process until it is told to stop (admin socket, SIGTERM or SIGINT) or hands over.
///
/// Takes over from an edge that already runs on the same state; otherwise serves the last good table.
pub fn run(options: EdgeOptions) -> Result<(), EdgeError> {
    run_until_stopped(options, true, |_| {})
}

/// An edge on threads of the calling process.
#[derive(Debug)]
pub struct Edge {
    thread: Option<JoinHandle<Result<(), EdgeError>>>,
    stop: Arc<Notify>,
}

impl Edge {
    /// Starts an edge; returns once it serves its last good table and its admin socket answers.
    pub fn start(options: EdgeOptions) -> Result<Self, EdgeError> {
        let (ready, started) = std_mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("edge-control".to_owned())
            .spawn(move || {
                run_until_stopped(options, false, |stop| {
                    // Whoever started it is gone only if its thread was.
                    let _ = ready.send(stop);
                })
            })
            .map_err(EdgeError::Runtime)?;
        match started.recv() {
            Ok(stop) => Ok(Self { thread: Some(thread), stop }),
            Err(_) => match join(thread) {
                Ok(()) => Err(EdgeError::Takeover("it ended before it served".to_owned())),
                Err(error) => Err(error),
            },
        }
    }

    /// Waits until it has drained and ended, without telling it to.
    pub fn join(mut self) -> Result<(), EdgeError> {
        self.thread.take().map_or(Ok(()), join)
    }

    /// Drains and ends it.
    pub fn stop(self) -> Result<(), EdgeError> {
        self.stop.notify_one();
        self.join()
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        self.stop.notify_one();
    }
}

fn join(thread: JoinHandle<Result<(), EdgeError>>) -> Result<(), EdgeError> {
    thread.join().unwrap_or_else(|_| {
        Err(EdgeError::Runtime(io::Error::other("the control thread panicked")))
    })
}

fn run_until_stopped(
    mut options: EdgeOptions,
    signals: bool,
    ready: impl FnOnce(Arc<Notify>),
) -> Result<(), EdgeError> {
    make_state_dir(&options.state_dir)?;
    if options.threads == 0 {
        options.threads = std::thread::available_parallelism().map_or(1, usize::from);
    }
    options.limits.max_connections = options.limits.max_connections.min(connections_for_files());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EdgeError::Runtime)?;
    LocalSet::new().block_on(&runtime, live(options, signals, ready))
}

fn make_state_dir(state_dir: &Path) -> Result<(), EdgeError> {
    let make = || {
        fs::create_dir_all(state_dir)?;
        restrict(state_dir, 0o700)
    };
    make().map_err(|source| EdgeError::State { action: "make", path: state_dir.to_owned(), source })
}

/// Raises the soft limit of open files as far as allowed; the connections that it is enough for.
fn connections_for_files() -> usize {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        // Where it can't be raised the lower one holds.
        let _ = setrlimit(Resource::Nofile, raised);
    }
    match getrlimit(Resource::Nofile).current {
        Some(files) => {
            let files = usize::try_from(files).unwrap_or(usize::MAX);
            files.saturating_sub(SPARE_FILES.min(files / 2)) / 2
        }
        None => usize::MAX,
    }
}

/// Held while an edge starts, so that of two only one takes over from a third.
fn lock_start(state_dir: &Path) -> Result<File, EdgeError> {
    let path = state_dir.join("start.lock");
    let lock = || {
        let file = File::create(&path)?;
        flock(&file, FlockOperation::LockExclusive)?;
        Ok(file)
    };
    lock().map_err(|source| EdgeError::State { action: "lock", path: path.clone(), source })
}

async fn live(
    options: EdgeOptions,
    signals: bool,
    ready: impl FnOnce(Arc<Notify>),
) -> Result<(), EdgeError> {
    let state_dir = options.state_dir.clone();
    let lock = tokio::task::spawn_blocking({
        let state_dir = state_dir.clone();
        move || lock_start(&state_dir)
    })
    .await
    .map_err(|error| EdgeError::Runtime(io::Error::other(error)))??;

    let handover = takeover::ask(&state_dir).await?;
    let version = handover.as_ref().map_or(0, |handover| handover.version);
    let common = Arc::new(Common::default());
    let (workers, mut finished) = start_workers(&options, &common)?;
    let control = Control::new(options, common, workers, version);
    match handover {
        Some(handover) => {
            let predecessor = Predecessor::new(handover.stream);
            control.sets.inherit(&handover.counters);
            control.start(handover.table, &handover.backends, handover.sockets).await?;
            *control.predecessor.borrow_mut() = Some(predecessor.clone());
            // Until the predecessor has let go it would open the listeners of a new table itself.
            let _no_new_table = control.applying.lock().await;
            listen_admin(&control)?;
            // Should it be gone by now, the sockets are here all the same.
            if let Err(error) = predecessor.release().await {
                eprintln!("edge: {error}");
            }
            spawn_local(takeover::follow(control.clone(), predecessor));
        }
        None => {
            let source = persist::load(&state_dir);
            let started = control.start(source, &[], Default::default()).await;
            if let Err(error) = started {
                eprintln!("edge: {}; starting without routes", with_source(&error));
                control.start(Default::default(), &[], Default::default()).await?;
            }
            listen_admin(&control)?;
        }
    }
    drop(lock);
    ready(control.stop.clone());
    wait_for_end(&control, signals).await?;
    drain(&control, &mut finished).await;
    Ok(())
}

fn start_workers(
    options: &EdgeOptions,
    common: &Arc<Common>,
) -> Result<(Vec<mpsc::UnboundedSender<Command>>, mpsc::UnboundedReceiver<usize>), EdgeError> {
    let (finish, finished) = mpsc::unbounded_channel();
    let limits = Arc::new(options.limits.clone());
    let mut workers = Vec::new();
    for lane in 0..options.threads {
        let (send, commands) = mpsc::unbounded_channel();
        let (limits, common, finish) = (limits.clone(), common.clone(), finish.clone());
        std::thread::Builder::new()
            .name(format!("edge-{lane}"))
            .spawn(move || {
                if let Err(error) = worker::run(lane, limits, common, table::empty(), commands) {
                    eprintln!("edge: thread {lane} could not start: {error}");
                }
                let _ = finish.send(lane);
            })
            .map_err(EdgeError::Runtime)?;
        workers.push(send);
    }
    Ok((workers, finished))
}

/// Listens on a new admin socket and puts it in the place of a predecessor's in one step.
fn listen_admin(control: &Rc<Control>) -> Result<(), EdgeError> {
    let path = admin_socket(&control.options.state_dir);
    let fresh = path.with_extension("sock.new");
    let listen = || {
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&fresh)?;
        restrict(&fresh, 0o600)?;
        fs::rename(&fresh, &path)?;
        Ok(listener)
    };
    let listener =
        listen().map_err(|source| EdgeError::State { action: "listen on", path, source })?;
    spawn_local(server::serve(control.clone(), listener));
    Ok(())
}

async fn wait_for_end(control: &Rc<Control>, signals: bool) -> Result<(), EdgeError> {
    if !signals {
        tokio::select! {
            () = control.stop.notified() => {}
            () = control.left() => {}
        }
        return Ok(());
    }
    let mut terminate = signal(SignalKind::terminate()).map_err(EdgeError::Runtime)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(EdgeError::Runtime)?;
    tokio::select! {
        () = control.stop.notified() => {}
        () = control.left() => {}
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

/// Lets what is in flight end, then cuts off what is left.
async fn drain(control: &Rc<Control>, finished: &mut mpsc::UnboundedReceiver<usize>) {
    let handed_over = control.is_leaving();
    if !handed_over {
        control.leave(true).await;
        // Not before: a successor that starts meanwhile finds nobody to ask and opens its own.
        let _ = fs::remove_file(admin_socket(&control.options.state_dir));
    }
    let all_finished = async {
        for _ in &control.workers {
            finished.recv().await;
        }
    };
    tokio::pin!(all_finished);
    let timeout = control.options.limits.drain_timeout;
    if tokio::time::timeout(timeout, all_finished.as_mut()).await.is_err() {
        for worker in &control.workers {
            let _ = worker.send(Command::CutAll);
        }
        let _ = tokio::time::timeout(CUT_TIMEOUT, all_finished).await;
    }
    if handed_over {
        tokio::time::sleep(LAST_WORDS).await;
    }
}
