//! This command's own terminal as that of a session: keys go there, its size too, and it is as before afterwards.

use std::io::{IsTerminal as _, Read as _, Write as _, stdin, stdout};

use hornero_api::{
    Client,
    message::{GlassTyped, Nothing},
};
use hornero_model::GlassId;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc::{UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use crate::failure::Failure;

pub mod drawn;

/// What leaves a terminal as a person expects it: the main screen, a cursor, plain letters, no marks around what is pasted.
const PLAIN: &str =
    "\u{1b}[?1049l\u{1b}[?25h\u{1b}[?2004l\u{1b}[?1l\u{1b}>\u{1b}(B\u{f}\u{1b}[0m\r";
/// Typed at once: more is a paste, and goes in parts.
const KEYS_BYTES: usize = 4 << 10;

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
                let _ = client.post::<Nothing>(&path, &typed).await;
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
