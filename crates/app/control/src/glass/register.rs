//! The sessions of this control process: begun, typed in, and those that the one before it left open.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Sender, SyncSender, TrySendError, sync_channel},
    },
};

use hornero_driver::Observation;
use hornero_forensics::{RecordingHead, RecordingWriter, Recordings};
use hornero_model::{Actor, EventBody, GlassEnd, GlassEndReason, GlassId, GlassSession};
use hornero_rollout::{KnownSession, World};
use tokio::sync::{OwnedMutexGuard, oneshot};

use super::carry::{Carried, Carrier, GlassBegun, Typed};
use crate::{
    answer::LineSender,
    input::Input,
    ports::Adapters,
    runs::{NotRecorded, Recorder},
};

/// What may be typed before a session has taken it.
const TYPED_AHEAD: usize = 32;

/// Every session that this control process carries.
pub struct Glass {
    recordings: Recordings,
    adapters: Arc<Adapters>,
    recorder: Arc<Recorder>,
    typing: Mutex<BTreeMap<GlassId, Typing>>,
    /// Two that are begun at once are begun one after the other, each by what the ledger has of the other.
    pub turn: Arc<tokio::sync::Mutex<()>>,
}

/// The way into a session that has a terminal.
struct Typing {
    who: String,
    typed: SyncSender<Typed>,
}

/// A session that somebody may begin.
pub struct GlassWish {
    /// It.
    pub session: GlassSession,
    /// Who, and why.
    pub by: Actor,
    /// What its terminal is called, and its size.
    pub screen: Option<(String, u16, u16)>,
    /// Those who follow it.
    pub lines: LineSender,
    /// Kept until the ledger knows of it.
    pub turn: OwnedMutexGuard<()>,
    /// To the thread that owns the driver.
    pub inputs: Sender<Input>,
}

/// Why a session was not begun.
pub enum NotBegun {
    /// It can't be recorded.
    Recording(std::io::Error),
    /// The ledger did not take it.
    Ledger(NotRecorded),
}

/// Why nothing was typed.
pub enum NotTyped {
    /// There is no such session with a terminal, or somebody else's.
    Nobody,
    /// It has not taken what was typed before.
    Full,
}

impl Glass {
    /// With none under way.
    pub fn new(home: &Path, adapters: Arc<Adapters>, recorder: Arc<Recorder>) -> Self {
        let (typing, turn) = (Mutex::default(), Arc::default());
        Self { recordings: Recordings::of(home), adapters, recorder, typing, turn }
    }

    /// Begins a session in a thread of its own and carries it there to its end, so that nobody who goes away stops that half-way:
    /// what the ledger was told of ends there as well. What is given back tells whether it was begun.
    ///
    /// # Errors
    /// Where there is no thread for it; nothing was begun then.
    pub fn begin(
        self: &Arc<Self>,
        wish: GlassWish,
    ) -> std::io::Result<oneshot::Receiver<Result<(), NotBegun>>> {
        let (told, begun) = oneshot::channel();
        let glass = Arc::clone(self);
        let life = move || {
            let GlassWish { session, by, screen, lines, turn, inputs } = wish;
            let recording = match glass.recorded(&session, &by, screen.as_ref()) {
                Ok(recording) => recording,
                Err(error) => {
                    drop(turn);
                    // Whoever wished for it may be gone.
                    let _ = told.send(Err(error));
                    return;
                }
            };
            drop(turn);
            if session.leaves {
                // Where nobody hears it the control process is ending.
                let _ = inputs.send(Input::Observe(Observation::Tick));
            }
            let begun = GlassBegun { session, by, recording, screen };
            glass.carry(begun, lines, || drop(told.send(Ok(()))));
        };
        std::thread::Builder::new().name("glass".to_owned()).spawn(life)?;
        Ok(begun)
    }

    /// Begins the recording of a session, and then has the ledger know of it.
    fn recorded(
        &self,
        session: &GlassSession,
        by: &Actor,
        screen: Option<&(String, u16, u16)>,
    ) -> Result<RecordingWriter, NotBegun> {
        let title = format!("{} in {}: {} ({})", session.id, session.instance, by.why, by.who);
        let size = screen.map_or((80, 24), |(_, columns, rows)| (*columns, *rows));
        let head = RecordingHead::new(title, session.command.join(" "), size);
        let recording = self.recordings.begin(&session.id, &head).map_err(NotBegun::Recording)?;
        let body = EventBody::GlassBroken { session: Box::new(session.clone()) };
        self.recorder.record(by.clone(), body).map_err(NotBegun::Ledger)?;
        Ok(recording)
    }

    /// Carries a session out, to its end or that of whoever follows it. `ready` is called once it can be typed in.
    fn carry(&self, begun: GlassBegun, lines: LineSender, ready: impl FnOnce()) {
        let (typed, typing) = sync_channel(TYPED_AHEAD);
        let (id, who) = (begun.session.id.clone(), begun.by.who.clone());
        if begun.screen.is_some() {
            let mut all = self.typing.lock().unwrap_or_else(PoisonError::into_inner);
            all.insert(id.clone(), Typing { who, typed });
        }
        ready();
        let carrier =
            Carrier { adapters: Arc::clone(&self.adapters), recorder: Arc::clone(&self.recorder) };
        carrier.carry_out(Carried { begun, typing, lines });
        self.typing.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }

    /// Types in a session.
    ///
    /// # Errors
    /// Where there is none with a terminal, somebody else began it, or it has not taken what was typed before.
    pub fn typed(&self, id: &str, who: &str, typed: Typed) -> Result<(), NotTyped> {
        let all = self.typing.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.iter().find(|(known, typing)| known.as_str() == id && typing.who == who);
        let (_, typing) = own.ok_or(NotTyped::Nobody)?;
        typing.typed.try_send(typed).map_err(|error| match error {
            TrySendError::Full(_) => NotTyped::Full,
            TrySendError::Disconnected(_) => NotTyped::Nobody,
        })
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
