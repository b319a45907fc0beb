//! Running a load: one thread, one single-threaded runtime, one task a worker.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use tokio::{sync::Notify, time::sleep_until};

use crate::{
    LoadPlan, LoadReport, Mode, Workers,
    client::Client,
    recorder::{Recorder, RequestOutcome},
    websocket,
};

/// Rests a worker after a failure so that a dead server is not asked without end; real clients do so too.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_millis(5);

/// Why a load could not be started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No thread or no runtime.
    #[error("cannot start the load generator")]
    Start(#[source] std::io::Error),
}

/// A load that runs.
pub struct Load {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    plan: LoadPlan,
    recorder: Recorder,
    started: AtomicU64,
    stopped: AtomicBool,
    stop: Notify,
}

impl Load {
    /// Starts to make requests.
    ///
    /// # Errors
    /// Where the system gives no thread.
    pub fn start(plan: LoadPlan) -> Result<Self, LoadError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(LoadError::Start)?;
        let shared = Arc::new(Shared {
            plan,
            recorder: Recorder::new(),
            started: AtomicU64::new(0),
            stopped: AtomicBool::new(false),
            stop: Notify::new(),
        });
        let thread = std::thread::Builder::new()
            .name("load".to_owned())
            .spawn({
                let shared = Arc::clone(&shared);
                move || runtime.block_on(run(shared))
            })
            .map_err(LoadError::Start)?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What came of it so far.
    pub fn report(&self) -> LoadReport {
        self.shared.recorder.report()
    }

    /// Whether it has reached the bounds of its plan.
    pub fn is_finished(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Starts no more requests, waits for those in flight and says what came of all.
    pub fn stop(mut self) -> LoadReport {
        self.end();
        self.report()
    }

    /// Waits until the bounds of the plan are reached and says what came of all.
    pub fn wait(mut self) -> LoadReport {
        self.join();
        self.report()
    }

    fn end(&mut self) {
        self.shared.stopped.store(true, Ordering::SeqCst);
        self.shared.stop.notify_waiters();
        self.join();
    }

    fn join(&mut self) {
        if let Some(thread) = self.thread.take()
            && let Err(panic) = thread.join()
            && !std::thread::panicking()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.end();
    }
}

async fn run(shared: Arc<Shared>) {
    let deadline = Instant::now() + shared.plan.duration;
    let mut tasks = tokio::task::JoinSet::new();
    for workers in &shared.plan.workers {
        for number in 0..workers.count {
            let (shared, workers) = (Arc::clone(&shared), workers.clone());
            tasks.spawn(async move {
                // Spread over the interval: workers of one kind must not all ask in the same moment.
                let interval = workers.interval.unwrap_or_default();
                let first = Instant::now() + interval * number / workers.count;
                Worker { shared: &shared, workers: &workers, deadline }.run(first).await;
            });
        }
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            std::panic::resume_unwind(panic);
        }
    }
}

struct Worker<'a> {
    shared: &'a Shared,
    workers: &'a Workers,
    deadline: Instant,
}

impl Worker<'_> {
    async fn run(&self, first: Instant) {
        match self.workers.mode {
            Mode::WebSocket => self.hold_websocket(first).await,
            _ => self.make_requests(first).await,
        }
    }

    async fn make_requests(&self, first: Instant) {
        let recorder = &self.shared.recorder;
        let mut client = Client::new(&self.shared.plan, self.workers, recorder);
        let mut due = first;
        while self.wait_and_begin(due).await {
            let begun = Instant::now();
            let due_now = self.workers.interval.map_or(begun, |_| due);
            let result = client.request().await;
            let failed = !matches!(&result, Ok(RequestOutcome { status: 200..400, .. }));
            recorder.ended(self.workers.mode, due_now, begun, result);
            due = self.next(due, failed);
        }
    }

    async fn hold_websocket(&self, first: Instant) {
        let Shared { plan, recorder, .. } = self.shared;
        let mut socket = None;
        let mut due = first;
        for number in 0_u64.. {
            if !self.wait_and_begin(due).await {
                return;
            }
            let begun = Instant::now();
            let result = async {
                let mut open = match socket.take() {
                    Some(open) => open,
                    None => {
                        recorder.connected(Mode::WebSocket);
                        websocket::open(plan, &self.workers.path).await?
                    }
                };
                websocket::echo(&mut open, &format!("message {number}"), plan.timeout).await?;
                if self
                    .workers
                    .session_messages
                    .is_some_and(|most| (number + 1).is_multiple_of(most))
                {
                    websocket::close(&mut open).await?;
                } else {
                    socket = Some(open);
                }
                Ok(RequestOutcome { status: 101, marker: None })
            }
            .await;
            // 101 says that the upgrade stands; a message that came back counts as answered.
            let result =
                result.map(|outcome: RequestOutcome| RequestOutcome { status: 200, ..outcome });
            let failed = result.is_err();
            recorder.ended(Mode::WebSocket, due, begun, result);
            due = self.next(due, failed);
        }
    }

    /// Waits until `due` and counts a request as started; false when no more may be started.
    async fn wait_and_begin(&self, due: Instant) -> bool {
        let stop = self.shared.stop.notified();
        tokio::pin!(stop);
        // Registered before the flag is read: a stop in between is not missed.
        stop.as_mut().enable();
        if self.shared.stopped.load(Ordering::SeqCst) || due >= self.deadline {
            return false;
        }
        tokio::select! {
            () = sleep_until(due.into()) => {}
            () = stop => return false,
        }
        if Instant::now() >= self.deadline {
            return false;
        }
        let number = self.shared.started.fetch_add(1, Ordering::SeqCst);
        if self.shared.plan.requests.is_some_and(|most| number >= most) {
            return false;
        }
        self.shared.recorder.started(self.workers.mode);
        true
    }

    fn next(&self, due: Instant, failed: bool) -> Instant {
        let now = Instant::now();
        match (self.workers.interval, failed) {
            (_, true) => {
                (due + self.workers.interval.unwrap_or_default()).max(now + PAUSE_AFTER_FAILURE)
            }
            (Some(interval), false) => due + interval,
            (None, false) => now,
        }
    }
}
