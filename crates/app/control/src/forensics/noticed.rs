//! Servers that failed, as the ledger tells of them, and what edges found them to be before.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use hornero_autopsy::SeenHealth;
use hornero_engine_port::{Engine, evidence::Evidence};
use hornero_model::{
    BundleBody, EdgeStatus, Event, EventBody, ExitCause, InstanceId, InstanceState, ReleaseNumber,
    ServiceName, Term, Timestamp,
};
use hornero_rollout::{Rollout, World};

use super::allowance::Allowance;

/// How long looking at a server may take that runs: it gets no requests any more, and whatever replaces it runs already, but
/// where it holds a volume the next one waits for its end.
const LIVING_BUDGET: Duration = Duration::from_millis(250);
/// Servers that wait to be looked at. More fail at once only where all do, and then one tells as much as the others.
const WAITING_MAX: usize = 64;
/// Changes of a server's health that are remembered.
const HEALTHS_MAX: usize = 16;
/// Servers of which that is remembered, beyond those that an edge has: as many as wait.
const HEALTHS_SPARE: usize = 2 * WAITING_MAX;
/// Failures that `status` tells of.
const RECENT_MAX: usize = 16;

/// A server that failed.
#[derive(Debug)]
pub struct Noticed {
    /// Which.
    pub instance: InstanceId,
    /// Its service.
    pub service: ServiceName,
    /// Its release.
    pub release: ReleaseNumber,
    /// What happened to it.
    pub why: String,
    /// How it ended; none where it ran.
    pub exit: Option<ExitCause>,
    /// What was seen of it while it ran; none where it had ended.
    pub living: Option<Evidence>,
}

/// A server that is to be looked at before it is ended.
#[derive(Debug, Clone)]
struct Sick {
    service: ServiceName,
    release: ReleaseNumber,
    why: String,
}

/// What is noticed on the way of decisions; nothing here waits for anything.
pub struct Forensics {
    engine: Arc<dyn Engine>,
    waiting: SyncSender<Noticed>,
    sick: Mutex<BTreeMap<InstanceId, Sick>>,
    healths: Mutex<BTreeMap<InstanceId, VecDeque<SeenHealth>>>,
    recent: Mutex<VecDeque<BundleBody>>,
    allowance: Mutex<Allowance>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Forensics {
    /// With nothing noticed yet, for so many bundles of one service in an hour; what is noticed comes out of the other value.
    pub fn new(engine: Arc<dyn Engine>, per_hour: u32) -> (Self, Receiver<Noticed>) {
        let (waiting, noticed) = sync_channel(WAITING_MAX);
        let (sick, healths, recent) = Default::default();
        let allowance = Mutex::new(Allowance::new(per_hour));
        (Self { engine, waiting, sick, healths, recent, allowance }, noticed)
    }

    /// Servers that failed before this process began and were not removed yet; `has` says of which there is a bundle.
    pub fn take_up(&self, world: &World, has: impl Fn(&InstanceId) -> bool) {
        let failed = world.instances.values().filter(|of| of.state == InstanceState::Failed);
        for of in failed.filter(|of| !has(&of.id)) {
            let why = "it failed while no control process looked".to_owned();
            self.failed(&of.id, (&of.service, of.release), of.cause.as_ref(), why);
        }
    }

    /// Takes in what was recorded.
    pub fn saw(&self, event: &Event) {
        match &event.body {
            EventBody::InstanceChanged { instance, service, release, state, cause, .. } => {
                if *state == InstanceState::Failed {
                    let of = (service, *release);
                    self.failed(instance, of, cause.as_ref(), event.by.why.clone());
                } else if *state == InstanceState::Archived {
                    locked(&self.sick).remove(instance);
                }
            }
            EventBody::RolloutStep { entry } => {
                // Most have none, and each is recorded by the thread that decides.
                if entry.state.get("failure").is_none_or(serde_json::Value::is_null) {
                    return;
                }
                let Some(rollout) = Rollout::from_journal(&entry.state) else { return };
                let Some(failure) = rollout.failure else { return };
                // What ended by itself is recorded as an instance that failed.
                if let (Some(instance), None) = (failure.instance, failure.cause)
                    && rollout.set.contains(&instance)
                {
                    let of = (&rollout.service, rollout.to);
                    self.failed(&instance, of, None, failure.reason);
                }
            }
            _ => {}
        }
    }

    fn failed(
        &self,
        instance: &InstanceId,
        (service, release): (&ServiceName, ReleaseNumber),
        exit: Option<&ExitCause>,
        why: String,
    ) {
        let (instance, service) = (instance.clone(), service.clone());
        match exit {
            // Nobody looked, and nothing is left to look at.
            Some(ExitCause::HostRestarted) => {}
            None => {
                locked(&self.sick).insert(instance, Sick { service, release, why });
            }
            Some(_) => {
                let (exit, living) = (exit.cloned(), None);
                self.wait(Noticed { instance, service, release, why, exit, living });
            }
        }
    }

    /// Looks at a server that is about to be ended, where it is sick: out of traffic it is, and it still runs.
    pub fn look_before_end(&self, term: Term, instance: &InstanceId) {
        let Some(Sick { service, release, why }) = locked(&self.sick).remove(instance) else {
            return;
        };
        // Asked first: one of which no bundle will be made is not made to stand still.
        let may = locked(&self.allowance).look(instance, &service, Timestamp::now());
        if let Err(why) = may {
            tracing::info!("no bundle of `{instance}` is made: {why}");
            return;
        }
        let living = self.engine.examine(term, instance, LIVING_BUDGET);
        let living = living.unwrap_or_else(|error| {
            let mut nothing = Evidence::default();
            nothing.miss("the server itself", error.to_string());
            nothing
        });
        let (instance, exit, living) = (instance.clone(), None, Some(living));
        self.wait(Noticed { instance, service, release, why, exit, living });
    }

    fn wait(&self, noticed: Noticed) {
        let instance = noticed.instance.clone();
        if self.waiting.try_send(noticed).is_err() {
            self.done_with(&instance);
            tracing::warn!(
                "no bundle of `{instance}` is made: {WAITING_MAX} servers wait for theirs"
            );
        }
    }

    /// Takes in what an edge says.
    pub fn heard(&self, status: &EdgeStatus, now: Timestamp) {
        let mut healths = locked(&self.healths);
        for of in &status.backends {
            let seen = healths.entry(of.instance.clone()).or_default();
            let same =
                |last: &SeenHealth| (last.health, &last.error) == (of.health, &of.last_error);
            if seen.back().is_some_and(same) {
                continue;
            }
            if seen.len() == HEALTHS_MAX {
                seen.pop_front();
            }
            let (health, error) = (of.health, of.last_error.clone());
            seen.push_back(SeenHealth { at: now, health, error });
        }
        if healths.len() > status.backends.len() + HEALTHS_SPARE {
            healths.retain(|id, _| status.backends.iter().any(|of| of.instance == *id));
        }
    }

    /// What edges found a server to be, the newest last.
    pub fn healths(&self, instance: &InstanceId) -> Vec<SeenHealth> {
        locked(&self.healths).get(instance).into_iter().flatten().cloned().collect()
    }

    /// What was seen of a server is in a bundle, or forgotten.
    pub fn done_with(&self, instance: &InstanceId) {
        locked(&self.allowance).over(instance);
    }

    /// A bundle was sealed.
    pub fn sealed(&self, body: BundleBody) {
        locked(&self.allowance).made(&body.service, body.sealed);
        let mut recent = locked(&self.recent);
        if recent.len() == RECENT_MAX {
            recent.pop_front();
        }
        recent.push_back(body);
    }

    /// The last bundles that were sealed, the newest first.
    pub fn recent(&self) -> Vec<BundleBody> {
        locked(&self.recent).iter().rev().cloned().collect()
    }
}
