//! The sessions of this control process: begun, typed in, and those that the one before it left open.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Sender, channel},
    },
};

use hornero_forensics::{RecordingHead, RecordingWriter, Recordings};
use hornero_model::{Actor, EventBody, GlassEnd, GlassEndReason, GlassId, GlassSession};
use hornero_rollout::{KnownSession, World};

use super::carry::{Carried, Carrier, GlassBegun, Typed};
use crate::{
    answer::LineSender,
    ports::Adapters,
    runs::{NotRecorded, Recorder},
};

/// Every session that this control process carries.
pub struct Glass {
    recordings: Recordings,
    adapters: Arc<Adapters>,
    recorder: Arc<Recorder>,
    typing: Arc<Mutex<BTreeMap<GlassId, Typing>>>,
    /// Two that are begun at once are begun one after the other, each by what the ledger has of the other.
    pub turn: tokio::sync::Mutex<()>,
}

/// The way into a session that has a terminal.
struct Typing {
    who: String,
    typed: Sender<Typed>,
}

impl Glass {
    /// With none under way.
    pub fn new(home: &Path, adapters: Arc<Adapters>, recorder: Arc<Recorder>) -> Self {
        let (typing, turn) = (Arc::default(), tokio::sync::Mutex::default());
        Self { recordings: Recordings::of(home), adapters, recorder, typing, turn }
    }

    /// Begins the recording of a session.
    ///
    /// # Errors
    /// Where it can't be written; then there must be no session.
    pub fn record(
        &self,
        session: &GlassSession,
        by: &Actor,
        size: Option<(u16, u16)>,
    ) -> std::io::Result<RecordingWriter> {
        let title = format!("{} in {}: {} ({})", session.id, session.instance, by.why, by.who);
        let head = RecordingHead::new(title, session.command.join(" "), size.unwrap_or((80, 24)));
        self.recordings.begin(&session.id, &head)
    }

    /// The ledger knows of a session that is about to begin.
    ///
    /// # Errors
    /// Where it does not take it; then there must be no session.
    pub fn tell_ledger(&self, session: &GlassSession, by: &Actor) -> Result<(), NotRecorded> {
        let body = EventBody::GlassBroken { session: Box::new(session.clone()) };
        self.recorder.record(by.clone(), body)
    }

    /// Carries a session out, to its end or that of whoever follows it.
    pub fn carry(&self, begun: GlassBegun, lines: LineSender) {
        let (typed, typing) = channel();
        let (id, who) = (begun.session.id.clone(), begun.by.who.clone());
        if begun.screen.is_some() {
            let mut all = self.typing.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(id.clone(), Typing { who, typed });
        }
        let carrier =
            Carrier { adapters: Arc::clone(&self.adapters), recorder: Arc::clone(&self.recorder) };
        let (open, own) = (Arc::clone(&self.typing), id.clone());
        let spawned = std::thread::Builder::new().name("glass".to_owned()).spawn(move || {
            carrier.carry_out(Carried { begun, typing, lines });
            open.lock().unwrap_or_else(PoisonError::into_inner).remove(&own);
        });
        if let Err(error) = spawned {
            // Its time is in the ledger, and the next control process records how it ended.
            tracing::warn!("no thread for session `{id}`: {error}");
        }
    }

    /// Types in a session; false where there is none with a terminal, or somebody else began it.
    pub fn typed(&self, id: &str, who: &str, typed: Typed) -> bool {
        let all = self.typing.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.iter().find(|(known, typing)| known.as_str() == id && typing.who == who);
        own.is_some_and(|(_, typing)| typing.typed.send(typed).is_ok())
    }
}

/// Records how the sessions ended that an earlier control process carried: what kept them has ended with it.
///
/// # Errors
/// Where there is no thread for it.
pub fn settle_glass(home: &Path, recorder: &Arc<Recorder>, world: &World) -> std::io::Result<()> {
    let open: Vec<KnownSession> = world.open_glass().cloned().collect();
    if open.is_empty() {
        return Ok(());
    }
    let (recordings, recorder) = (Recordings::of(home), Arc::clone(recorder));
    let settle = move || {
        for known in open {
            let recording = recordings.settle(&known.session.id);
            let GlassSession { id, instance, service, .. } = known.session;
            let (reason, cause) = (GlassEndReason::Lost, None);
            let what = format!("session `{id}`");
            let end = GlassEnd { id, instance, service, reason, cause, recording };
            let by = Actor::hornero("the control process that carried it has ended");
            let body = EventBody::GlassMended { end: Box::new(end) };
            if !recorder.record_end(&by, &body, &what) {
                return;
            }
        }
    };
    std::thread::Builder::new().name("glass".to_owned()).spawn(settle).map(drop)
}
