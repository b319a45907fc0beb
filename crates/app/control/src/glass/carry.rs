//! Carries one session out: what its command writes is recorded, then shown; what is typed is recorded, then typed.

use std::{
    sync::{Arc, mpsc::Receiver},
    time::{Duration, Instant},
};

use hornero_api::message::GlassLine;
use hornero_engine_port::{
    EngineError,
    guest::{Guest, GuestCommand, GuestTerminal, GuestWord},
};
use hornero_forensics::RecordingWriter;
use hornero_model::{
    Actor, EventBody, ExitCause, GlassEnd, GlassEndReason, GlassSession, Timestamp, error_chain,
};

use super::{letters::Letters, shown::status};
use crate::{answer::LineSender, ports::Adapters, runs::Recorder};

/// Between two looks whether something was typed, or whoever follows has gone.
const PAUSE: Duration = Duration::from_millis(20);
/// How long whoever follows may take nothing of what they are shown: then they are gone.
const PATIENCE: Duration = Duration::from_secs(20);
/// How long the last word of a command may take that is ended.
const LAST_WORD: Duration = Duration::from_secs(15);

/// What a session is carried out with.
pub struct Carrier {
    /// Has its command enter the server.
    pub adapters: Arc<Adapters>,
    /// Takes its end.
    pub recorder: Arc<Recorder>,
}

/// A session that is recorded to begin.
pub struct GlassBegun {
    /// It.
    pub session: GlassSession,
    /// Who, and why.
    pub by: Actor,
    /// Its recording, of which the first line is on disk.
    pub recording: RecordingWriter,
    /// What its terminal is called, and its size.
    pub screen: Option<(String, u16, u16)>,
}

/// A session that is carried out.
pub struct Carried {
    /// As it is recorded to begin.
    pub begun: GlassBegun,
    /// What is typed in it.
    pub typing: Receiver<Typed>,
    /// Those who follow it.
    pub lines: LineSender,
}

/// Something typed, or another size of the terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Typed {
    /// What was typed.
    pub text: String,
    /// Columns and rows, where they changed.
    pub size: Option<(u16, u16)>,
}

/// How far a session came.
struct Outcome {
    reason: GlassEndReason,
    cause: Option<ExitCause>,
    detail: Option<String>,
}

impl Outcome {
    fn of(reason: GlassEndReason) -> Self {
        Self { reason, cause: None, detail: None }
    }

    fn because(self, detail: String) -> Self {
        Self { detail: Some(detail), ..self }
    }
}

impl Carrier {
    /// Carries it to its end, which is recorded, but where the control process ends.
    pub fn carry_out(&self, carried: Carried) {
        let Carried { begun, typing, lines } = carried;
        let GlassBegun { session, by, recording, screen } = begun;
        let first = GlassLine::Begun {
            session: Box::new(status(&session, &by, Timestamp::now(), None, true)),
        };
        let mut following = Following { recording, letters: Letters::default(), lines };
        let outcome = match following.show(&first) {
            true => self.enter(&session, screen, &typing, &mut following),
            false => Outcome::of(GlassEndReason::NotEntered),
        };
        let Following { recording, lines, .. } = following;
        let Outcome { reason, cause, detail } = outcome;
        let remark = match &detail {
            Some(detail) => format!("{}: {detail}", reason.as_str()),
            None => reason.as_str().to_owned(),
        };
        let (last, ended) = recording.end(&remark);
        if let Err(error) = ended {
            tracing::warn!("the recording of `{}` has no end: {error}", session.id);
        }
        let GlassSession { id, instance, service, .. } = session;
        let what = format!("session `{id}`");
        let end = GlassEnd { id, instance, service, reason, cause, recording: Some(last) };
        let body = EventBody::GlassMended { end: Box::new(end.clone()) };
        self.recorder.record_end(&by, &body, &what);
        // Whoever has gone misses nothing that the ledger does not have.
        lines.send_within(&GlassLine::Finished { end: Box::new(end), detail }, PATIENCE);
    }

    fn enter(
        &self,
        session: &GlassSession,
        screen: Option<(String, u16, u16)>,
        typing: &Receiver<Typed>,
        following: &mut Following,
    ) -> Outcome {
        let terminal = screen.map(|(name, columns, rows)| GuestTerminal { name, columns, rows });
        let time = session.until.since(Timestamp::now());
        let command = GuestCommand { command: session.command.clone(), time, terminal };
        let (engine, term) = (self.adapters.starter.engine(), self.adapters.tenure.term());
        let deadline = Instant::now() + time.duration();
        match engine.enter(term, &session.instance, &command) {
            Ok(mut guest) => following.follow(&mut *guest, typing, deadline),
            Err(EngineError::NotStarted { reason, .. }) => {
                Outcome::of(GlassEndReason::NotEntered).because(reason)
            }
            // Nobody knows how far that came.
            Err(error @ EngineError::Failed { .. }) => {
                Outcome::of(GlassEndReason::Lost).because(error_chain(&error))
            }
            Err(error) => Outcome::of(GlassEndReason::NotEntered).because(error_chain(&error)),
        }
    }
}

/// Whoever follows a session, and its recording, which has everything before they do.
struct Following {
    recording: RecordingWriter,
    letters: Letters,
    lines: LineSender,
}

impl Following {
    fn show(&self, line: &GlassLine) -> bool {
        self.lines.send_within(line, PATIENCE)
    }

    /// Follows a command to its end, and ends it where it can't be followed.
    fn follow(
        &mut self,
        guest: &mut dyn Guest,
        typing: &Receiver<Typed>,
        deadline: Instant,
    ) -> Outcome {
        let outcome = loop {
            if self.lines.is_closed() {
                break Outcome::of(GlassEndReason::Left);
            }
            // What keeps the command ends it by then; where even that hangs, this does not wait for it.
            if Instant::now() > deadline + LAST_WORD {
                break Outcome::of(GlassEndReason::Time);
            }
            if let Err(outcome) = self.type_on(guest, typing) {
                break outcome;
            }
            match guest.next(PAUSE) {
                Ok(GuestWord::Nothing) => {}
                Ok(GuestWord::Wrote(bytes)) => {
                    let text = self.letters.take(&bytes);
                    if let Err(outcome) = self.tell(text) {
                        break outcome;
                    }
                }
                Ok(GuestWord::Ended { cause, time_is_up }) => {
                    let rest = self.letters.rest();
                    if let Err(outcome) = self.tell(rest) {
                        break outcome;
                    }
                    let reason = match time_is_up {
                        true => GlassEndReason::Time,
                        false => GlassEndReason::Ended,
                    };
                    return Outcome { reason, cause: Some(cause), detail: None };
                }
                Err(error) => {
                    break Outcome::of(GlassEndReason::Lost).because(error_chain(&error));
                }
            }
        };
        guest.end();
        wait_for_last_word(guest);
        outcome
    }

    /// Records what was written, and shows it.
    fn tell(&mut self, text: String) -> Result<(), Outcome> {
        if text.is_empty() {
            return Ok(());
        }
        self.recording.wrote(&text).map_err(not_recorded)?;
        match self.show(&GlassLine::Wrote { text }) {
            true => Ok(()),
            false => Err(Outcome::of(GlassEndReason::Left)),
        }
    }

    /// Records what was typed, and types it: one piece, so that what is written is never kept waiting by it.
    fn type_on(&mut self, guest: &dyn Guest, typing: &Receiver<Typed>) -> Result<(), Outcome> {
        let lost =
            |error: EngineError| Outcome::of(GlassEndReason::Lost).because(error_chain(&error));
        let Ok(Typed { text, size }) = typing.try_recv() else { return Ok(()) };
        if let Some((columns, rows)) = size {
            self.recording.resized(columns, rows).map_err(not_recorded)?;
            guest.typing().resized(columns, rows).map_err(lost)?;
        }
        if !text.is_empty() {
            self.recording.typed(&text).map_err(not_recorded)?;
            guest.typing().typed(text.as_bytes()).map_err(lost)?;
        }
        Ok(())
    }
}

fn not_recorded(error: std::io::Error) -> Outcome {
    Outcome::of(GlassEndReason::NotRecorded).because(error.to_string())
}

/// Waits until nothing is left of a command that is ended.
fn wait_for_last_word(guest: &mut dyn Guest) {
    let deadline = Instant::now() + LAST_WORD;
    while Instant::now() < deadline {
        match guest.next(PAUSE) {
            Ok(GuestWord::Ended { .. }) | Err(_) => return,
            Ok(GuestWord::Wrote(_) | GuestWord::Nothing) => {}
        }
    }
}
