//! Letting a command into an instance that runs, and talking to what keeps it.

use std::{
    os::fd::OwnedFd,
    sync::Arc,
    time::{Duration, Instant},
};

use hornero_engine_port::{
    EngineError,
    guest::{Guest, GuestCommand, GuestTyping, GuestWord},
};
use hornero_model::InstanceId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::{
    LocalEngine,
    guest::{GuestInput, GuestReply, GuestRequest},
    wire,
};

/// How long what keeps a guest may take to say so beyond the time of the guest, by which it gives up itself.
const MARGIN: Duration = Duration::from_secs(15);

impl LocalEngine {
    /// Has a command enter an instance; returns once it was executed.
    pub(crate) fn let_in(
        &self,
        id: &InstanceId,
        command: &GuestCommand,
    ) -> Result<Box<dyn Guest>, EngineError> {
        if self.shared.running(id).is_none() {
            return Err(EngineError::NotFound { id: id.clone() });
        }
        let failed = |error| EngineError::failed(format!("enter instance `{id}`"), error);
        let GuestCommand { command, time, terminal } = command.clone();
        let (terminal, terminal_name) = match terminal {
            Some(of) => (Some((of.columns, of.rows)), Some(of.name)),
            None => (None, None),
        };
        let request = GuestRequest { command, time, terminal, terminal_name };
        let keeper = self.launcher.enter(id, request).map_err(failed)?;
        if !answers_within(&keeper, time.duration() + MARGIN) {
            return Err(failed(std::io::ErrorKind::TimedOut.into()));
        }
        match wire::receive::<GuestReply>(&keeper).map_err(failed)? {
            Some((GuestReply::Entered, _)) => Ok(Box::new(KeptGuest { keeper: Arc::new(keeper) })),
            Some((GuestReply::NotEntered(reason), _)) => {
                Err(EngineError::NotStarted { id: id.clone(), reason })
            }
            Some((GuestReply::Wrote(_) | GuestReply::Ended { .. }, _)) | None => {
                Err(failed(std::io::ErrorKind::ConnectionAborted.into()))
            }
        }
    }
}

/// Waits for what keeps a guest to say something, or to be gone; false where neither comes in time.
fn answers_within(keeper: &OwnedFd, patience: Duration) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let left = Timespec::try_from(left).ok();
        match poll(&mut [PollFd::new(keeper, PollFlags::IN)], left.as_ref()) {
            Err(rustix::io::Errno::INTR) => {}
            polled => return polled.is_ok_and(|ready| ready > 0),
        }
    }
}

/// A guest that another process keeps; it ends when this value and what types are dropped.
struct KeptGuest {
    keeper: Arc<OwnedFd>,
}

impl Guest for KeptGuest {
    fn next(&mut self, patience: Duration) -> Result<GuestWord, EngineError> {
        let failed = |error: std::io::Error| EngineError::failed("hear of a guest", error);
        let patience = Timespec::try_from(patience).ok();
        match poll(&mut [PollFd::new(&self.keeper, PollFlags::IN)], patience.as_ref()) {
            Ok(0) | Err(rustix::io::Errno::INTR) => return Ok(GuestWord::Nothing),
            Ok(_) => {}
            Err(error) => return Err(failed(error.into())),
        }
        match wire::receive::<GuestReply>(&*self.keeper).map_err(failed)? {
            Some((GuestReply::Wrote(bytes), _)) => Ok(GuestWord::Wrote(bytes)),
            Some((GuestReply::Ended { cause, time_is_up }, _)) => {
                Ok(GuestWord::Ended { cause, time_is_up })
            }
            Some((GuestReply::Entered | GuestReply::NotEntered(_), _)) => Ok(GuestWord::Nothing),
            // Its keeper was killed, and everything of it with that.
            None => Err(failed(std::io::ErrorKind::ConnectionAborted.into())),
        }
    }

    fn typing(&self) -> Box<dyn GuestTyping> {
        Box::new(KeptTyping { keeper: Arc::clone(&self.keeper) })
    }

    fn end(&mut self) {
        // Its keeper sees the end of the connection, whoever still has the other side of it.
        let _ = rustix::net::shutdown(&*self.keeper, rustix::net::Shutdown::Write);
    }
}

impl Drop for KeptGuest {
    fn drop(&mut self) {
        self.end();
    }
}

struct KeptTyping {
    keeper: Arc<OwnedFd>,
}

impl KeptTyping {
    fn say(&self, input: &GuestInput) -> Result<(), EngineError> {
        let sent = wire::send(&self.keeper, input, None);
        sent.map_err(|error| EngineError::failed("type for a guest", error))
    }
}

impl GuestTyping for KeptTyping {
    fn typed(&self, bytes: &[u8]) -> Result<(), EngineError> {
        self.say(&GuestInput::Typed(bytes.to_vec()))
    }

    fn resized(&self, columns: u16, rows: u16) -> Result<(), EngineError> {
        self.say(&GuestInput::Resized(columns, rows))
    }
}
