//! The rehearsals of this control process: begun one a service, ended where their service goes.

use std::{sync::Arc, time::Duration};

use hornero_model::{
    Actor, EventBody, InstanceId, Rehearsal, RehearsalEnd, ReleaseRef, ServiceName, ServiceSpec,
    error_chain,
};

use crate::{
    ports::Adapters,
    rehearsals::carry::carry_out,
    runs::Recorder,
    tail::new_tail,
    underway::{Busy, Underway},
};

/// Rehearsals at once: each takes a thread here and a server.
const AT_ONCE: usize = 8;
/// How long those that are ended may take to end.
const ENDING: Duration = Duration::from_secs(20);

/// What is to be rehearsed.
pub struct Wanted {
    /// The release.
    pub release: ReleaseRef,
    /// What its servers are made from.
    pub server: ServiceSpec,
}

/// What became of the wish for a rehearsal.
pub enum RehearsalBegun {
    /// It was begun.
    Yes(InstanceId),
    /// One of the service goes on.
    Running,
    /// As many as may be go on.
    TooMany,
    /// Nothing was begun, for this reason.
    Not(String),
}

/// Every rehearsal of this control process.
pub struct Rehearsals {
    adapters: Arc<Adapters>,
    recorder: Arc<Recorder>,
    open: Arc<Underway<ServiceName>>,
}

impl Rehearsals {
    /// With none under way.
    pub fn new(adapters: Arc<Adapters>, recorder: Arc<Recorder>) -> Self {
        Self { adapters, recorder, open: Arc::default() }
    }

    /// Records that rehearsals of a control process before this one prove nothing: their servers were removed when this
    /// one started.
    pub fn give_up(self: &Arc<Self>, open: Vec<Rehearsal>) {
        if open.is_empty() {
            return;
        }
        let own = Arc::clone(self);
        // The ledger is written to by a thread that has not begun yet.
        let thread = std::thread::Builder::new().name("rehearsal".to_owned());
        let spawned = thread.spawn(move || {
            for rehearsal in open {
                let failure = "the control process ended while it went on".to_owned();
                own.record(&RehearsalEnd { id: rehearsal.id, healthy_after: None, failure });
            }
        });
        if let Err(error) = spawned {
            // They stay open for the next control process.
            tracing::warn!("no thread for the ends of rehearsals: {error}");
        }
    }

    /// Begins one: recorded first, then carried out whoever follows it.
    pub fn begin(self: &Arc<Self>, by: Actor, wanted: Wanted) -> RehearsalBegun {
        let Wanted { release, server } = wanted;
        let service = release.service.clone();
        let id = match InstanceId::new(format!("rehearse-{service}-{}", new_tail())) {
            Ok(id) => id,
            Err(error) => return RehearsalBegun::Not(error.to_string()),
        };
        let going = match self.open.begin(service.clone(), AT_ONCE) {
            Ok(going) => going,
            Err(Busy::Same) => return RehearsalBegun::Running,
            Err(Busy::Full) => return RehearsalBegun::TooMany,
        };
        let rehearsal = Rehearsal { id: id.clone(), release };
        let body = EventBody::RehearsalStarted { rehearsal };
        if let Err(error) = self.recorder.record(by, body) {
            return RehearsalBegun::Not(error_chain(&error));
        }
        let (own, of) = (Arc::clone(self), id.clone());
        let thread = std::thread::Builder::new().name("rehearsal".to_owned());
        let spawned = thread.spawn(move || {
            let end = carry_out(&own.adapters, of, &server, &going);
            if !end.failure.is_empty() {
                tracing::error!("`{service}` may not be able to go back: {}", end.failure);
            }
            own.record(&end);
        });
        if let Err(error) = spawned {
            let failure = format!("no thread for it: {error}");
            self.record(&RehearsalEnd { id: id.clone(), healthy_after: None, failure });
        }
        RehearsalBegun::Yes(id)
    }

    /// Ends those of these services, or all of them, and waits until they have ended.
    pub fn end(&self, services: Option<&[ServiceName]>) {
        self.open.end(|name| services.is_none_or(|only| only.contains(name)), ENDING);
    }

    /// Records an end, however long the ledger takes nothing.
    fn record(&self, end: &RehearsalEnd) {
        let by = Actor::hornero(match end.failure.is_empty() {
            true => "it became healthy".to_owned(),
            false => end.failure.clone(),
        });
        let body = EventBody::RehearsalEnded { end: end.clone() };
        // Where this control process ends first, the next one says that it proves nothing.
        self.recorder.record_end(&by, &body, &format!("rehearsal `{}`", end.id));
    }
}
