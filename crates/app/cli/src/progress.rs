//! Tells a bake's progress on stderr: one line that changes on a terminal, whole lines elsewhere.

use std::{
    io::{IsTerminal as _, stderr},
    path::Path,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hornero_bake::progress::{ArchiveEvent, BakeEvent, BakeProgress};

use crate::{build_log::BuildLog, failure::Failure, harmless::harmless, output::write_stderr};

/// Between two repaints of the changing line: more often is only flicker.
const REPAINT: Duration = Duration::from_millis(80);
/// Between two lines about a long fetch where nothing can be repainted.
const REMIND: Duration = Duration::from_secs(5);

/// Letters of what a step prints that fit on the changing line.
const SHOWN: usize = 50;

#[derive(Default)]
struct State {
    packages: usize,
    bytes: u64,
    fetched_packages: usize,
    fetched_bytes: u64,
    unpack: usize,
    unpacked: usize,
    painted: Option<Instant>,
    line_open: bool,
}

/// The teller.
pub struct Teller {
    terminal: bool,
    verbose: bool,
    state: Mutex<State>,
    log: Mutex<BuildLog>,
}

impl Teller {
    /// A teller; a verbose one shows what steps print and which steps were cached. All that they print is kept in the home.
    pub fn new(home: &Path, verbose: bool) -> Self {
        let log = Mutex::new(BuildLog::new(home));
        Self { terminal: stderr().is_terminal(), verbose, state: Mutex::default(), log }
    }

    /// A bake's failure, with where everything stands that its steps printed.
    pub fn failure(&self, failure: impl Into<Failure>) -> Failure {
        let failure = failure.into();
        match self.log.lock().unwrap_or_else(PoisonError::into_inner).newest() {
            None => failure,
            Some(path) => failure
                .further_hint(format!("`{}` has all that its build steps printed", path.display())),
        }
    }
}

const MEBIBYTE: f64 = 1_048_576.0;

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MEBIBYTE)
}

impl State {
    /// Shows a line that the next one replaces.
    fn paint(&mut self, terminal: bool, force: bool, text: &str) {
        let pause = if terminal { REPAINT } else { REMIND };
        if !force && self.painted.is_some_and(|painted| painted.elapsed() < pause) {
            return;
        }
        self.painted = Some(Instant::now());
        let text = harmless(text);
        match terminal {
            true => write_stderr(&format!("\r\u{1b}[K{text}")),
            false => tell!("{text}"),
        }
        self.line_open = terminal;
    }

    fn line(&mut self, text: &str) {
        let clear = if self.line_open { "\r\u{1b}[K" } else { "" };
        // Build steps and archives write what they like.
        tell!("{clear}{}", harmless(text));
        self.line_open = false;
        self.painted = Some(Instant::now());
    }
}

impl Teller {
    fn archive_event(&self, state: &mut State, event: ArchiveEvent) {
        match event {
            ArchiveEvent::Reading { archive } => state.line(&format!("reading  {archive}")),
            ArchiveEvent::LeftOut { archive, reason } => {
                state.line(&format!("left out {archive}: {reason}"));
            }
            ArchiveEvent::FetchStarted { packages, bytes } => {
                (state.packages, state.bytes) = (packages, bytes);
                (state.fetched_packages, state.fetched_bytes) = (0, 0);
                state.line(&format!("fetching {packages} packages, {}", mebibytes(bytes)));
            }
            ArchiveEvent::Fetched { bytes } => {
                state.fetched_bytes += bytes;
                let text = fetch_text(state);
                state.paint(self.terminal, false, &text);
            }
            ArchiveEvent::PackageFetched { .. } => {
                state.fetched_packages += 1;
                let text = fetch_text(state);
                let done = state.fetched_packages == state.packages;
                state.paint(self.terminal, done, &text);
            }
            ArchiveEvent::Retrying { what, reason } => {
                state.line(&format!("retrying {what}: {reason}"))
            }
        }
    }
}

impl BakeProgress for Teller {
    fn event(&self, event: BakeEvent) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            BakeEvent::Archive(event) => self.archive_event(&mut state, event),
            BakeEvent::Resolved { image, packages } => {
                state.line(&format!("resolved image.{image}: {packages} packages"))
            }
            BakeEvent::UnpackStarted { packages } => {
                (state.unpack, state.unpacked) = (packages, 0);
                state.line(&format!("unpacking {packages} packages"));
            }
            BakeEvent::Unpacked { .. } => {
                state.unpacked += 1;
                let text = format!("unpacked {}/{}", state.unpacked, state.unpack);
                let done = state.unpacked == state.unpack;
                state.paint(self.terminal, done, &text);
            }
            BakeEvent::StepStarted { image, step } => {
                state.line(&format!("baking   image.{image}: {step}"))
            }
            BakeEvent::Output { image, line } => {
                self.log
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .line(image.as_str(), &line);
                if self.verbose {
                    state.line(&format!("         image.{image} | {line}"));
                } else {
                    let line: String = line.chars().take(SHOWN).collect();
                    state.paint(self.terminal, false, &format!("         image.{image} | {line}"));
                }
            }
            BakeEvent::Ran { image, what, milliseconds } => {
                if self.verbose {
                    state.line(&format!("         image.{image}: {what} took {milliseconds} ms"));
                } else {
                    let what: String = what.chars().take(SHOWN).collect();
                    state.paint(self.terminal, false, &format!("         image.{image}: {what}"));
                }
            }
            BakeEvent::SecretInImage { image, path } => state.line(&format!(
                "warning  image.{image}: `{path}` has a private key, a password or a token in it, and so has everyone \
                 who has the image"
            )),
            BakeEvent::StepFinished { image, step, cached, why, milliseconds } => {
                if !cached && self.verbose {
                    state.line(&format!(
                        "ran      image.{image}: {step} in {milliseconds} ms ({why})"
                    ));
                } else if !cached {
                    state.line(&format!("baked    image.{image}: {step} in {milliseconds} ms"));
                } else if self.verbose {
                    state.line(&format!("cached   image.{image}: {step}"));
                }
            }
        }
    }
}

fn fetch_text(state: &State) -> String {
    let State { packages, bytes, fetched_packages, fetched_bytes, .. } = state;
    format!(
        "fetched  {fetched_packages}/{packages} packages, {} of {}",
        mebibytes(*fetched_bytes),
        mebibytes(*bytes)
    )
}
