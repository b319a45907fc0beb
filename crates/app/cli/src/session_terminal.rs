//! This command's own terminal as that of a session: keys go there, its size too, and it is as before afterwards.

use std::{
    io::{IsTerminal as _, Read as _, Write as _, stdin, stdout},
    time::Duration,
};

use hornero_api::{
    Client, ClientError,
    message::{GlassTyped, Nothing},
};
use hornero_model::GlassId;
use hyper::StatusCode;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use crate::failure::Failure;

pub mod drawn;

/// What leaves a terminal as a person expects it: the main screen, a cursor, plain letters, no marks around what is pasted.
const PLAIN: &str =
    "\u{1b}[?1049l\u{1b}[?25h\u{1b}[?2004l\u{1b}[?1l\u{1b}>\u{1b}(B\u{f}\u{1b}[0m\r";
/// Typed at once: more is a paste, and goes in parts. A session takes 4 KiB at once, and what is no UTF-8 is told in three bytes for
/// each.
const KEYS_BYTES: usize = 1 << 10;
/// Before a session is asked again that has not taken yet what was typed before.
const FULL_PAUSE: Duration = Duration::from_millis(50);

/// The terminal while it is that of a session; dropped, it is as it was.
pub struct SessionTerminal {
    before: Termios,
    sending: JoinHandle<()>,
    sizes: JoinHandle<()>,
}

impl SessionTerminal {
    /// Columns and rows; none where this command has no terminal to type in and to look at.
    pub fn size() -> Option<(u16, u16)> {
        if !stdin().is_terminal() || !stdout().is_terminal() {
            return None;
        }
        let size = tcgetwinsize(stdout()).ok()?;
        Some((size.ws_col.max(1), size.ws_row.max(1)))
    }

    /// From now on keys go to a session.
    ///
    /// # Errors
    /// Where the terminal can't be set.
    pub fn begin(client: &Client, session: &GlassId) -> Result<Self, Failure> {
        let before = tcgetattr(stdin()).map_err(std::io::Error::from)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(stdin(), OptionalActions::Flush, &raw).map_err(std::io::Error::from)?;
        let (typed, mut all) = unbounded_channel::<GlassTyped>();
        let (client, path) = (client.clone(), format!("/v1/glass/{session}/input"));
        let sending = tokio::spawn(async move {
            while let Some(typed) = all.recv().await {
                // A session that has ended takes no more; what follows it says so.
                while let Err(ClientError::Refused(_, StatusCode::TOO_MANY_REQUESTS)) =
                    client.post::<Nothing>(&path, &typed).await
                {
                    tokio::time::sleep(FULL_PAUSE).await;
                }
            }
        });
        let sizes = tokio::spawn(tell_sizes(typed.clone()));
        read_keys(typed);
        Ok(Self { before, sending, sizes })
    }
}

impl Drop for SessionTerminal {
    fn drop(&mut self) {
        self.sending.abort();
        self.sizes.abort();
        let mut stdout = stdout().lock();
        let _ = stdout.write_all(PLAIN.as_bytes()).and_then(|()| stdout.flush());
        // Where even this fails nothing helps but `reset`.
        let _ = tcsetattr(stdin(), OptionalActions::Flush, &self.before);
    }
}

/// The signals that end this command, and would leave its terminal as that of a session.
pub struct EndSignals {
    asked: Signal,
    hung_up: Signal,
}

impl EndSignals {
    /// From now on they are heard, and end nothing by themselves.
    ///
    /// # Errors
    /// Where they can't be heard.
    pub fn heard() -> std::io::Result<Self> {
        let (asked, hung_up) = (SignalKind::terminate(), SignalKind::hangup());
        Ok(Self { asked: signal(asked)?, hung_up: signal(hung_up)? })
    }

    /// Waits for one; the exit code of a command that it ends.
    pub async fn next(&mut self) -> u8 {
        tokio::select! {
            _ = self.asked.recv() => 128 + 15,
            _ = self.hung_up.recv() => 128 + 1,
        }
    }
}

/// Reads keys in a thread, which ends with this command.
fn read_keys(typed: UnboundedSender<GlassTyped>) {
    std::thread::spawn(move || {
        let mut bytes = [0; KEYS_BYTES];
        let mut part: Vec<u8> = Vec::new();
        while let Ok(length @ 1..) = stdin().lock().read(&mut bytes) {
            part.extend_from_slice(&bytes[..length]);
            let whole = match std::str::from_utf8(&part) {
                Ok(_) => part.len(),
                Err(error) if error.error_len().is_none() => error.valid_up_to(),
                Err(_) => part.len(),
            };
            let rest = part.split_off(whole);
            let text = String::from_utf8_lossy(&std::mem::replace(&mut part, rest)).into_owned();
            if !text.is_empty() && typed.send(GlassTyped { text, size: None }).is_err() {
                return;
            }
        }
    });
}

async fn tell_sizes(typed: UnboundedSender<GlassTyped>) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    while changes.recv().await.is_some() {
        let size = SessionTerminal::size();
        if typed.send(GlassTyped { text: String::new(), size }).is_err() {
            return;
        }
    }
}
