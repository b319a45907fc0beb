//! The runs of this control process: begun, adopted from the one before it, cancelled.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hornero_model::{Actor, EventBody, InstanceId, Run, RunEnd, ServiceSpec, Timestamp};
use hornero_rollout::OpenRun;

use crate::{
    ports::Adapters,
    runs::{
        carry::{Carried, Carrier},
        record::{NotRecorded, Recorder},
        watched::Watched,
    },
};

/// Runs at once: each takes a thread here and a server; a person and a few scripts need a handful.
const RUNS_AT_ONCE: usize = 64;
/// Runs that have ended and can be asked about: a client that lost its connection is back within seconds.
const KEPT_ENDS: usize = 256;
/// How long runs that were cancelled are waited for beyond their own time to end.
const ENDING_MARGIN: Duration = Duration::from_secs(10);

/// What became of the wish for a run.
pub enum Begun {
    /// It is recorded, and its server is being started.
    Yes {
        /// When that was.
        since: Timestamp,
    },
    /// As many as may be are under way.
    TooMany(usize),
    /// It was not recorded, so nothing was begun.
    Not(NotRecorded),
}

/// Between two looks whether a run has ended that another thread carries out, which tells when it does.
const LOOK: Duration = Duration::from_secs(1);

/// Every run that this control process knows.
pub struct Runs {
    carrier: Arc<Carrier>,
    known: Mutex<BTreeMap<InstanceId, Known>>,
}

struct Known {
    run: Run,
    order: u64,
    watched: Arc<Watched>,
}

impl Runs {
    /// With none under way.
    pub fn new(adapters: Arc<Adapters>, recorder: Arc<Recorder>) -> Self {
        let carrier = Arc::new(Carrier { adapters, recorder });
        Self { carrier, known: Mutex::default() }
    }

    /// Begins a run: recorded first, then carried out whoever follows it.
    pub fn begin(&self, by: Actor, run: Run, server: ServiceSpec) -> Begun {
        let watched = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let open = known.values().filter(|known| known.watched.end().is_none()).count();
            if open >= RUNS_AT_ONCE {
                return Begun::TooMany(open);
            }
            insert(&mut known, &run)
        };
        let since = Timestamp::now();
        let body = EventBody::RunStarted { run: Box::new(run.clone()) };
        if let Err(error) = self.carrier.recorder.record(by, body) {
            self.known.lock().unwrap_or_else(PoisonError::into_inner).remove(&run.id);
            return Begun::Not(error);
        }
        self.carry_out(Carried { run, since, server: Some(server), watched });
        Begun::Yes { since }
    }

    /// Carries out a run that a rollout recorded, and waits for its end: what runs already is not started again. Without a
    /// server it is ended, and not begun where it was not begun yet.
    pub fn carry(&self, run: Run, since: Timestamp, server: Option<ServiceSpec>) -> RunEnd {
        let (watched, is_new) = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            match known.get(&run.id) {
                Some(known) => (Arc::clone(&known.watched), false),
                None => (insert(&mut known, &run), true),
            }
        };
        if server.is_none() {
            watched.cancel(Actor::hornero("what it was run for is over"));
        }
        if is_new {
            return self.carrier.carry_out(Carried { run, since, server, watched });
        }
        loop {
            if let Some(end) = watched.end() {
                return end;
            }
            watched.wait(LOOK);
        }
    }

    /// Goes on with what an earlier control process began: what runs still is watched to its end, and what does not is
    /// recorded as ended. Nothing is started.
    pub fn adopt(&self, open: impl Iterator<Item = OpenRun>) {
        for OpenRun { run, since, .. } in open {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            // The driver may have asked for it already.
            if known.contains_key(&run.id) {
                continue;
            }
            let watched = insert(&mut known, &run);
            drop(known);
            self.carry_out(Carried { run, since, server: None, watched });
        }
    }

    /// Those who follow a run; none for one that is not known here any more.
    pub fn watched(&self, id: &str) -> Option<Arc<Watched>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let found = known.iter().find(|(known, _)| known.as_str() == id)?;
        Some(Arc::clone(&found.1.watched))
    }

    /// Ends the runs that `which` says, and waits until they have ended.
    pub fn end(&self, by: &Actor, which: impl Fn(&Run) -> bool) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let open = known.values().filter(|known| known.watched.end().is_none());
        let ending: Vec<(Arc<Watched>, Duration)> = open
            .filter(|known| which(&known.run))
            .map(|known| (Arc::clone(&known.watched), known.run.stop_grace.duration()))
            .collect();
        drop(known);
        ending.iter().for_each(|(watched, _)| watched.cancel(by.clone()));
        let grace = ending.iter().map(|(_, grace)| *grace).max().unwrap_or_default();
        let deadline = Instant::now() + grace + ENDING_MARGIN;
        for (watched, _) in ending {
            while watched.end().is_none() && Instant::now() < deadline {
                watched.wait(Duration::from_millis(100));
            }
        }
    }

    fn carry_out(&self, carried: Carried) {
        let carrier = Arc::clone(&self.carrier);
        let id = carried.run.id.clone();
        let spawned = std::thread::Builder::new()
            .name("run".to_owned())
            .spawn(move || drop(carrier.carry_out(carried)));
        if let Err(error) = spawned {
            // It stays open in the ledger: the next control process records that it was not started.
            tracing::warn!("no thread for run `{id}`: {error}");
        }
    }
}

/// Notes a run, and forgets the oldest of those that have ended.
fn insert(known: &mut BTreeMap<InstanceId, Known>, run: &Run) -> Arc<Watched> {
    let watched = Arc::new(Watched::default());
    let order = known.values().map(|known| known.order).max().map_or(0, |last| last + 1);
    let one = Known { run: run.clone(), order, watched: Arc::clone(&watched) };
    known.insert(run.id.clone(), one);
    let ended = known.iter().filter(|(_, known)| known.watched.end().is_some());
    let mut ended: Vec<(u64, InstanceId)> =
        ended.map(|(id, known)| (known.order, id.clone())).collect();
    ended.sort();
    let over = ended.len().saturating_sub(KEPT_ENDS);
    for (_, id) in ended.into_iter().take(over) {
        known.remove(&id);
    }
    watched
}
