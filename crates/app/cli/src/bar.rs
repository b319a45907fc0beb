//! How far a transfer is, on stderr.

use std::{
    io::{IsTerminal as _, stderr},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hornero_oci::TransferEvent;

use crate::{
    harmless::harmless,
    output::{size, write_stderr},
};

/// Between two lines about a long transfer.
const REMIND: Duration = Duration::from_secs(5);
/// Between two repaints on a terminal.
const REPAINT: Duration = Duration::from_millis(80);

/// How far something is: a line that changes on a terminal, a line now and then elsewhere.
pub struct Bar {
    word: &'static str,
    terminal: bool,
    state: Mutex<(u64, u64, Instant, bool)>,
}

impl Bar {
    /// One that says `word` before its numbers.
    pub fn new(word: &'static str) -> Self {
        let terminal = stderr().is_terminal();
        Self { word, terminal, state: Mutex::new((0, 0, Instant::now(), false)) }
    }

    /// So many bytes are to come.
    pub fn begin(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        (state.0, state.1) = (0, bytes);
    }

    /// So many more have come.
    pub fn advance(&self, bytes: u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.0 += bytes;
        let pause = if self.terminal { REPAINT } else { REMIND };
        if state.2.elapsed() < pause {
            return;
        }
        state.2 = Instant::now();
        state.3 = true;
        let text = format!("{:<9} {} of {}", self.word, size(state.0), size(state.1));
        match self.terminal {
            true => write_stderr(&format!("\r\u{1b}[K{text}")),
            false => tell!("{text}"),
        }
    }

    fn say(&self, text: &str) {
        let start = if self.terminal { "\r\u{1b}[K" } else { "" };
        tell!("{start}{}", harmless(text));
    }

    /// Nothing more comes.
    pub fn end(&self) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if self.terminal && state.3 {
            write_stderr("\r\u{1b}[K");
        }
    }

    /// Shows an event of a transfer.
    pub fn transfer(&self, event: TransferEvent) {
        match event {
            TransferEvent::PackStarted { bytes, .. } | TransferEvent::TransferStarted { bytes } => {
                self.begin(bytes)
            }
            TransferEvent::Packed { bytes } | TransferEvent::Transferred { bytes } => {
                self.advance(bytes)
            }
            TransferEvent::Retrying { what, reason } => {
                self.say(&format!("again    {what}: {reason}"));
            }
            _ => {}
        }
    }
}
