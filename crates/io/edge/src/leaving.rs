//! An edge that leaves: to its end, beside a successor, and back again should the successor die.

use std::{collections::BTreeSet, future::pending, pin::pin, rc::Rc, sync::Arc, time::Duration};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Notify, mpsc, oneshot},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};

use crate::{
    admin::place::Place,
    control::Control,
    error::EdgeError,
    listening::spread,
    start_lock::try_lock_start,
    takeover::serving_pid,
    thread::{Command, HANDOVER_IDLE_MS, STOP_IDLE_MS},
};

/// After the last request a predecessor stays this long, so that its successor reads the final counters.
const LAST_WORDS: Duration = Duration::from_millis(400);
/// How long after the hand-over a predecessor stays at least, to come back should its successor die of its first
/// requests.
const PROBATION: Duration = Duration::from_secs(2);
/// How long threads get to close what was cut off.
const CUT_TIMEOUT: Duration = Duration::from_secs(2);
/// Between two looks whether the well-known name is this edge's: it is lost only where somebody died or meddled.
const NAME_INTERVAL: Duration = Duration::from_millis(250);
/// Looks in a row at which another edge answers by the well-known name before this one leaves to it: a hand-over under
/// way needs some, and tells by itself when it is done.
const FOREIGN_LOOKS: u32 = 20;

/// How an edge leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// A successor accepts from the same sockets, which are kept in case that it dies.
    HandedOver,
    /// Another edge serves, with sockets of its own.
    Superseded,
    /// For good.
    Stop,
}

impl Control {
    /// Stops accepting.
    pub(crate) async fn leave(&self, how: Leave) {
        self.leaving.send_replace(true);
        self.ask_releases();
        if how != Leave::HandedOver {
            self.listening.close();
        }
        let (take_queued, idle_ms) = match how {
            Leave::HandedOver | Leave::Superseded => (false, HANDOVER_IDLE_MS),
            Leave::Stop => (true, STOP_IDLE_MS),
        };
        self.tell_all(|_, done| Command::Drain { take_queued, idle_ms, done }).await;
    }

    /// Accepts again from the sockets that were kept.
    async fn resume(&self) {
        let sockets = self.listening.duplicates_for_threads();
        let mut shares = spread(sockets, self.workers.len());
        self.tell_all(|lane, done| {
            let sockets = std::mem::take(&mut shares[lane]);
            Command::Resume { sockets, done }
        })
        .await;
        self.leaving.send_replace(false);
        self.ask_releases();
    }

    /// Tells every thread something and waits until all have obeyed.
    async fn tell_all(&self, mut command: impl FnMut(usize, oneshot::Sender<()>) -> Command) {
        let mut waiting = Vec::new();
        for (lane, worker) in self.workers.iter().enumerate() {
            let (done, obeyed) = oneshot::channel();
            if worker.send(command(lane, done)).is_ok() {
                waiting.push(obeyed);
            }
        }
        for obeyed in waiting {
            // A thread that has ended has nothing to obey with.
            let _ = obeyed.await;
        }
    }

    /// Ends the threads, which have nothing open.
    pub(crate) fn end_threads(&self) {
        for worker in &self.workers {
            let _ = worker.send(Command::End);
        }
    }

    fn cut_all(&self) {
        for worker in &self.workers {
            let _ = worker.send(Command::CutAll);
        }
    }

    /// Returns once the predecessor has ended, if there is one.
    async fn without_predecessor(&self) {
        loop {
            let gone = self.predecessor_gone.notified();
            if self.predecessor.borrow().is_none() {
                return;
            }
            gone.await;
        }
    }
}

/// A successor that was told that this edge has let go; leaves it alone when dropped.
pub(crate) struct Successor(Rc<Control>);

impl Successor {
    pub(crate) fn new(control: &Rc<Control>) -> Self {
        control.successors.set(control.successors.get() + 1);
        Self(control.clone())
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        self.0.successors.set(self.0.successors.get() - 1);
        if self.0.successors.get() == 0 {
            self.0.orphaned.notify_one();
        }
    }
}

/// What tells an edge to end.
pub(crate) struct Ending {
    stop: Arc<Notify>,
    signals: Option<(Signal, Signal)>,
}

impl Ending {
    /// Listens to the admin socket's `stop`, and to signals where asked.
    pub(crate) fn new(stop: Arc<Notify>, signals: bool) -> Result<Self, EdgeError> {
        let handlers = || Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?));
        let signals = signals.then(handlers).transpose().map_err(EdgeError::Runtime)?;
        Ok(Self { stop, signals })
    }

    /// Returns when the edge shall end.
    pub(crate) async fn asked(&mut self) {
        let signalled = async {
            match &mut self.signals {
                Some((terminate, interrupt)) => tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                },
                None => pending().await,
            }
        };
        tokio::select! {
            () = self.stop.notified() => {}
            () = signalled => {}
        }
    }
}

/// Which threads have nothing open.
pub(crate) struct Drained {
    reports: mpsc::UnboundedReceiver<usize>,
    lanes: BTreeSet<usize>,
    count: usize,
}

impl Drained {
    /// Of `count` threads that tell their lane.
    pub(crate) fn new(reports: mpsc::UnboundedReceiver<usize>, count: usize) -> Self {
        Self { reports, lanes: BTreeSet::new(), count }
    }

    /// Returns once all have nothing open.
    async fn all(&mut self) {
        while self.lanes.len() < self.count {
            match self.reports.recv().await {
                Some(lane) => {
                    self.lanes.insert(lane);
                }
                None => return,
            }
        }
    }

    /// They accept again.
    fn forget(&mut self) {
        self.lanes.clear();
        while self.reports.try_recv().is_ok() {}
    }
}

/// How the time beside a successor ended.
pub(crate) enum Beside {
    /// Nothing is open any more.
    Over,
    /// The edge was told to stop.
    Stopped,
    /// The successor died: this edge accepts again.
    Resumed,
}

/// Serves what is open while a successor has the listeners.
pub(crate) async fn beside_successor(
    control: &Rc<Control>,
    place: &Place,
    drained: &mut Drained,
    ending: &mut Ending,
) -> Beside {
    let begun = Instant::now();
    let deadline = begun + control.handover_timeout.get();
    {
        let mut end = pin!(end_of(control, drained, begun, deadline));
        loop {
            tokio::select! {
                biased;
                () = control.orphaned.notified() => {
                    if is_alone(control).await {
                        break;
                    }
                }
                () = ending.asked() => return Beside::Stopped,
                () = &mut end => return Beside::Over,
            }
        }
    }
    resume(control, place).await;
    drained.forget();
    Beside::Resumed
}

/// Returns once this edge may end: nothing is open, what ran before it is gone, and its successor has stood its first
/// moments.
async fn end_of(control: &Rc<Control>, drained: &mut Drained, begun: Instant, deadline: Instant) {
    if timeout_at(deadline, drained.all()).await.is_err() {
        let open = control.connections();
        tracing::warn!("{open} connections are still open after the hand-over; they are cut off");
        control.cut_all();
        let _ = timeout(CUT_TIMEOUT, drained.all()).await;
    }
    // What still runs before this one is told of through it.
    let _ = timeout_at(deadline, control.without_predecessor()).await;
    sleep(LAST_WORDS).await;
    sleep_until(begun + PROBATION).await;
}

/// Whether no edge serves in the place of this one.
async fn is_alone(control: &Rc<Control>) -> bool {
    let serving = serving_pid(&control.options.state_dir).await;
    serving.is_none_or(|pid| pid == std::process::id()) && control.successors.get() == 0
}

/// Accepts again.
async fn resume(control: &Rc<Control>, place: &Place) {
    control.resume().await;
    let own = std::process::id();
    tracing::warn!("the successor died; process {own} accepts connections again");
    // Whoever starts at this moment finds this edge by its own socket, and publishes itself.
    if let Ok(Some(_lock)) = try_lock_start(&control.options.state_dir)
        && let Err(error) = place.publish()
    {
        tracing::warn!("can't take the name of the admin socket back: {error}");
    }
}

/// Lets what is in flight end, then cuts off what is left; a predecessor as well.
pub(crate) async fn stop(control: &Rc<Control>, place: &Place, drained: &mut Drained) {
    let deadline = Instant::now() + control.options.limits.drain_timeout;
    let predecessor = control.predecessor.borrow().clone();
    if let Some(predecessor) = predecessor {
        predecessor.stop().await;
    }
    control.leave(Leave::Stop).await;
    // Not before: a successor that starts meanwhile finds nobody to ask and opens its own.
    place.withdraw();
    if timeout_at(deadline, drained.all()).await.is_err() {
        control.cut_all();
        let _ = timeout(CUT_TIMEOUT, drained.all()).await;
    }
    let _ = timeout_at(deadline, control.without_predecessor()).await;
}

/// Keeps the well-known name: takes it back where whoever took it died, and leaves to an edge that serves by it.
pub(crate) async fn keep_name(control: Rc<Control>, place: Rc<Place>) {
    let own = std::process::id();
    let mut foreign = 0;
    loop {
        sleep(NAME_INTERVAL).await;
        if control.is_leaving() || place.is_published() {
            foreign = 0;
            continue;
        }
        let state_dir = &control.options.state_dir;
        match serving_pid(state_dir).await {
            Some(pid) if pid != own => {
                foreign += 1;
                if foreign >= FOREIGN_LOOKS && !control.is_leaving() {
                    tracing::warn!("process {pid} serves in the place of this one, {own}");
                    control.leave(Leave::Superseded).await;
                }
            }
            Some(_) | None => {
                foreign = 0;
                if let Ok(Some(_lock)) = try_lock_start(state_dir)
                    && !control.is_leaving()
                {
                    match place.publish() {
                        Ok(()) => tracing::warn!("took the name of the admin socket back"),
                        Err(error) => tracing::warn!("can't take the name back: {error}"),
                    }
                }
            }
        }
    }
}
