//! The edge as a whole: its start, by itself or as a successor, and its life until its end.

use std::{
    fs, io,
    path::Path,
    rc::Rc,
    sync::{Arc, mpsc as std_mpsc},
    thread::JoinHandle,
    time::Instant,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    net::UnixListener,
    sync::{Notify, mpsc},
    task::{LocalSet, spawn_local},
};

use crate::{
    admin::{
        place::{self, Place},
        protocol::{TakeoverReport, admin_socket},
        server,
    },
    control::Control,
    error::{EdgeError, with_source},
    fault::{HandoverStep, pass},
    leaving::{self, Beside, Drained, Ending},
    options::EdgeOptions,
    persist,
    room::Rooms,
    start_lock::lock_start,
    table,
    takeover::{self, Received},
    thread::{self, Command},
    upkeep,
    worker::Common,
};

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
    let files = raise_open_files(options.limits.files());
    options.limits.fit(files);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(EdgeError::Runtime)?;
    LocalSet::new().block_on(&runtime, live(options, signals, ready))
}

fn make_state_dir(state_dir: &Path) -> Result<(), EdgeError> {
    let make = || {
        if let Some(parent) = state_dir.parent() {
            fs::create_dir_all(parent)?;
        }
        hornero_home::directory(state_dir).map_err(io::Error::from)
    };
    make().map(drop).map_err(|source| EdgeError::State {
        action: "make",
        path: state_dir.to_owned(),
        source,
    })
}

/// Raises the limit of open files to `wanted`, the hard one too where that is allowed; what it is then.
fn raise_open_files(wanted: usize) -> usize {
    let wanted = u64::try_from(wanted).ok();
    let limit = getrlimit(Resource::Nofile);
    let is_less =
        |limit: Option<u64>| limit.is_some_and(|limit| wanted.is_none_or(|wanted| limit < wanted));
    if is_less(limit.maximum) {
        // Only root with all its rights may, and only up to `fs.nr_open`.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: wanted, maximum: wanted });
    }
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // Where it can't be raised the lower one holds.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
    let files = getrlimit(Resource::Nofile).current;
    files.map_or(usize::MAX, |files| usize::try_from(files).unwrap_or(usize::MAX))
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

    let begun = Instant::now();
    let handover = takeover::ask(&options).await?;
    let version = handover.as_ref().map_or(0, |handover| handover.version);
    let rooms = Rooms::new(&options.limits, options.threads, options.internal_addresses);
    let common = Arc::new(Common::new(rooms, options.threads));
    let (workers, drained) = start_workers(&options, &common)?;
    let mut drained = Drained::new(drained, workers.len());
    let control = Control::new(options, common, workers, version);
    let (place, listener) = bind_admin(&state_dir)?;
    let place = Rc::new(place);
    match handover {
        Some(handover) => succeed(&control, handover, &place, listener, begun).await?,
        None => {
            let source = persist::load(&state_dir, control.options.boot.as_ref());
            let started = control.start(source, &[], Default::default()).await;
            if let Err(error) = started {
                tracing::warn!("{}; starting without routes", with_source(&error));
                control.start(Default::default(), &[], Default::default()).await?;
            }
            publish(&control, &place, listener)?;
        }
    }
    place::sweep(&state_dir).await;
    drop(lock);
    upkeep::begin(&control);
    spawn_local(leaving::keep_name(control.clone(), place.clone()));
    ready(control.stop.clone());
    let mut ending = Ending::new(control.stop.clone(), signals)?;
    loop {
        tokio::select! {
            () = ending.asked() => break leaving::stop(&control, &place, &mut drained).await,
            () = control.left() => {}
        }
        match leaving::beside_successor(&control, &place, &mut drained, &mut ending).await {
            Beside::Over => break,
            Beside::Stopped => break leaving::stop(&control, &place, &mut drained).await,
            Beside::Resumed => {}
        }
    }
    place.withdraw();
    control.end_threads();
    Ok(())
}

/// Serves in the place of a predecessor. Until it accepts connections anything may fail, and the predecessor goes on.
async fn succeed(
    control: &Rc<Control>,
    handover: Received,
    place: &Rc<Place>,
    listener: UnixListener,
    begun: Instant,
) -> Result<(), EdgeError> {
    let predecessor = handover.predecessor;
    control.sets.inherit(&handover.counters);
    control.start(handover.table, &handover.backends, handover.sockets).await?;
    let accepting = Instant::now();
    pass(control.options.die_at, HandoverStep::Accepting);
    *control.predecessor.borrow_mut() = Some(predecessor.clone());
    // Until the predecessor has let go it would open the listeners of a new table itself.
    let _no_new_table = control.applying.lock().await;
    publish(control, place, listener)?;
    pass(control.options.die_at, HandoverStep::Published);
    let connections = match predecessor.release().await {
        Ok(connections) => connections,
        Err(error) => {
            // Should it be gone by now, the sockets are here all the same.
            tracing::warn!("{error}");
            None
        }
    };
    let milliseconds = |since: Instant| since.elapsed().as_secs_f64() * 1000.0;
    *control.takeover.borrow_mut() = Some(TakeoverReport {
        predecessor: handover.identity.as_ref().map_or(0, |identity| identity.pid),
        version: handover.identity.map(|identity| identity.greeting.version),
        took_ms: milliseconds(begun),
        shared_ms: milliseconds(accepting),
        connections,
        open: connections,
        ended: false,
    });
    pass(control.options.die_at, HandoverStep::Released);
    spawn_local(takeover::follow(control.clone(), predecessor));
    Ok(())
}

fn start_workers(
    options: &EdgeOptions,
    common: &Arc<Common>,
) -> Result<(Vec<mpsc::UnboundedSender<Command>>, mpsc::UnboundedReceiver<usize>), EdgeError> {
    let (tell, drained) = mpsc::unbounded_channel();
    let limits = Arc::new(options.limits.clone());
    let mut workers = Vec::new();
    for lane in 0..options.threads {
        let (send, commands) = mpsc::unbounded_channel();
        let (limits, common, tell) = (limits.clone(), common.clone(), tell.clone());
        std::thread::Builder::new()
            .name(format!("edge-{lane}"))
            .spawn(move || {
                let ran = thread::run(lane, limits, common, table::empty(), commands, &tell);
                if let Err(error) = ran {
                    tracing::warn!("thread {lane} could not start: {error}");
                    let _ = tell.send(lane);
                }
            })
            .map_err(EdgeError::Runtime)?;
        workers.push(send);
    }
    Ok((workers, drained))
}

/// Listens on an admin socket of this edge's own.
fn bind_admin(state_dir: &Path) -> Result<(Place, UnixListener), EdgeError> {
    let path = admin_socket(state_dir);
    Place::bind(state_dir).map_err(|source| EdgeError::State {
        action: "listen beside",
        path,
        source,
    })
}

/// Has the admin socket answer by the well-known name, in the place of a predecessor's.
fn publish(
    control: &Rc<Control>,
    place: &Rc<Place>,
    listener: UnixListener,
) -> Result<(), EdgeError> {
    let path = admin_socket(&control.options.state_dir);
    place.publish().map_err(|source| EdgeError::State { action: "listen on", path, source })?;
    spawn_local(server::serve(control.clone(), listener));
    Ok(())
}
