//! Keeps an edge running and tells the driver what it sees.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::Sender,
    },
    time::{Duration, Instant},
};

use hornero_driver::Observation;
use hornero_edge::{EdgeClient, EdgeClientError, RefusalCode};
use hornero_model::{EdgeRef, EdgeStatus, Millis, error_chain};
use tokio::sync::Semaphore;

use crate::{
    calls::{CallBook, CallSource, NextLook},
    input::Input,
    program::OWN_PROGRAM,
    succession::{EdgeNews, Succession},
    tenure::Tenure,
};

/// How long the supervisor waits for a change before it looks again.
const EDGE_WAIT: Millis = Millis(1_000);
/// Pause before another try to reach or start the edge.
const EDGE_RETRY: Duration = Duration::from_millis(50);

/// How long an edge that lives may take to answer after its start: a slow machine under load has it read its table from
/// a slow disk, and one that died is noticed at once.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// How long an edge may take to end when nothing is left to serve.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// The supervisor of the edge.
#[derive(Clone)]
pub struct EdgeKeeper {
    /// Which one it is.
    edge: EdgeRef,
    home: PathBuf,
    stopping: Arc<AtomicBool>,
    /// How long an edge may serve what it has open once its successor has taken over; the edge's default where absent.
    handover_timeout: Option<Duration>,
    news: Arc<EdgeNews>,
    calls: Arc<CallBook>,
    tenure: Arc<Tenure>,
}

impl EdgeKeeper {
    /// Makes sure that an edge answers, then watches it on a thread of its own. An edge of another program serves until
    /// one of this program has taken over.
    pub fn start(
        home: &Path,
        handover_timeout: Option<Duration>,
        tenure: Arc<Tenure>,
        inputs: Sender<Input>,
    ) -> anyhow::Result<Self> {
        let keeper = Self { handover_timeout, tenure, ..Self::of(home) };
        let mut child = keeper.ensure()?;
        let watcher = keeper.clone();
        std::thread::Builder::new()
            .name("edge-keeper".to_owned())
            .spawn(move || watcher.watch(&mut child, &inputs))?;
        Ok(keeper)
    }

    /// What is known of the edge beyond what it counts.
    pub fn news(&self) -> Arc<EdgeNews> {
        Arc::clone(&self.news)
    }

    /// Who calls whom.
    pub fn calls(&self) -> CallSource {
        CallSource {
            book: Arc::clone(&self.calls),
            state_dir: self.state_dir(),
            turn: Arc::new(Semaphore::new(1)),
        }
    }

    fn state_dir(&self) -> PathBuf {
        state_dir(&self.home)
    }

    /// Starts an edge where none answers; gives the process where it was started here.
    fn ensure(&self) -> anyhow::Result<Option<Child>> {
        if EdgeClient::new(&self.state_dir()).status().is_ok() {
            return Ok(None);
        }
        let mut child = self.spawn()?;
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if EdgeClient::new(&self.state_dir()).status().is_ok() {
                return Ok(Some(child));
            }
            if let Some(status) = child.try_wait()? {
                anyhow::bail!(
                    "the edge ended at its start ({status}); see `{}`",
                    log_path(&self.home).display()
                );
            }
            anyhow::ensure!(
                Instant::now() < deadline,
                "the edge lives, and has not answered for {} s; see `{}`",
                START_TIMEOUT.as_secs(),
                log_path(&self.home).display()
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    fn watch(&self, child: &mut Option<Child>, inputs: &Sender<Input>) {
        let mut client = EdgeClient::new(&self.state_dir());
        let mut succession = Succession::new(self.state_dir(), &self.news);
        let (mut known, mut next_look) = (0, NextLook::default());
        while !self.stopping.load(Ordering::Acquire) {
            match client.wait(known, EDGE_WAIT) {
                Ok(status) => {
                    known = status.version;
                    if let Some(why) = self.tenure.over_by(status.term) {
                        let _ = inputs.send(Input::TakenOver(why));
                        return;
                    }
                    if status.term < self.tenure.term() {
                        // It could not be reached when this control began.
                        let mut edge = EdgeClient::of_term(&self.state_dir(), self.tenure.term());
                        if let Err(error) = edge.obey() {
                            tracing::warn!("{}", error_chain(&error));
                        }
                    }
                    let observe = |status| {
                        let edge = self.edge.clone();
                        Input::Observe(Observation::EdgeStatus { edge, status })
                    };
                    if inputs.send(observe(status.clone())).is_err() {
                        return;
                    }
                    if next_look.is_due() {
                        self.calls.look(&mut client, inputs);
                    }
                    let see = |status| {
                        // Whoever is gone is found gone above.
                        let _ = inputs.send(observe(status));
                    };
                    if let Some(successor) = succession.look(&status, || self.spawn(), see) {
                        *child = Some(successor);
                    }
                }
                Err(error) => {
                    if self.stopping.load(Ordering::Acquire) {
                        return;
                    }
                    tracing::warn!("{}; starting it again", error_chain(&error));
                    known = 0;
                    let lost = Observation::EdgeLost { edge: self.edge.clone() };
                    let _ = inputs.send(Input::Observe(lost));
                    if let Some(mut dead) = child.take() {
                        // Only reaps: an edge that hangs is left to whoever looks at it.
                        let _ = dead.try_wait();
                    }
                    match self.ensure() {
                        Ok(started) => *child = started,
                        Err(error) => {
                            tracing::warn!("{error:#}");
                            std::thread::sleep(EDGE_RETRY);
                        }
                    }
                }
            }
        }
        if let Some(child) = child {
            let _ = child.wait();
        }
    }

    /// Ends the edge and waits until it is gone.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let mut client = EdgeClient::new(&self.state_dir());
        // One that can't be asked is not there: it answers until its last request has ended.
        let Ok(EdgeStatus { pid, term, .. }) = client.status() else { return };
        let mut client = EdgeClient::of_term(&self.state_dir(), self.tenure.or(term));
        if let Err(error) = client.stop() {
            tracing::warn!("{}", error_chain(&error));
            if let EdgeClientError::Refused { code: RefusalCode::TermOver, .. } = error {
                // It serves for another control.
                return;
            }
        }
        let deadline = Instant::now() + STOP_TIMEOUT;
        while alive(pid) && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(2));
        }
        if alive(pid) {
            tracing::warn!(
                "the edge (process {pid}) did not end in {} s; it is killed",
                STOP_TIMEOUT.as_secs()
            );
            let pid = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
            if let Some(pid) = pid {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }

    fn spawn(&self) -> anyhow::Result<Child> {
        let home = &self.home;
        hornero_home::directory(&state_dir(home))?;
        let log = crate::boot::edge_log(&log_path(home))?;
        let mut command = Command::new(OWN_PROGRAM);
        command.arg0("hornero").arg("--home").arg(home).arg("edge").env_clear().current_dir("/");
        command.envs(crate::boot::inherited());
        if let Some(timeout) = self.handover_timeout {
            command.arg("--handover-timeout").arg(format!("{}ms", timeout.as_millis()));
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).process_group(0);
        Ok(command.spawn()?)
    }

    /// For ending an edge that nobody watches.
    pub fn of(home: &Path) -> Self {
        Self {
            edge: EdgeRef::default(),
            home: home.to_owned(),
            stopping: Arc::default(),
            handover_timeout: None,
            news: Arc::default(),
            calls: Arc::default(),
            tenure: Arc::default(),
        }
    }

    /// Leaves the edge running and only ends the watch.
    pub fn leave(&self) {
        self.stopping.store(true, Ordering::Release);
    }
}

/// Whether a process runs; a zombie does not.
fn alive(pid: u32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| {
        !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with('Z')
    })
}

/// How the edge of a home is; none where it can't be reached.
pub fn seen(home: &Path) -> Option<EdgeStatus> {
    EdgeClient::new(&state_dir(home)).status().ok()
}

/// The edge's state directory in a home.
pub fn state_dir(home: &Path) -> PathBuf {
    home.join("edge")
}

fn log_path(home: &Path) -> PathBuf {
    state_dir(home).join("edge.log")
}
