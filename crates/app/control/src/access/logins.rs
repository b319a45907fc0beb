//! How browsers get in: codes that are valid once, and what a browser has for one.
//!
//! What browsers have outlives the control process, so that nobody is thrown out by a restart; of each only the hash is kept.

use std::{
    io::{self, Read as _},
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use hornero_home::{Opening, open, put};
use hornero_model::{Digest, Role, Timestamp};
use serde::{Deserialize, Serialize};

use super::secret_text::{new_secret, same};

/// How long a code is valid: to open a link takes seconds.
const CODE_MS: u64 = 5 * 60 * 1000;
/// How long a browser may come back: a working day.
const BROWSER_MS: u64 = 12 * 60 * 60 * 1000;
/// Codes at once; the oldest goes where there are more.
const CODES: usize = 32;
/// Codes, and browsers, of one user at once.
const OF_ONE_USER: usize = 8;
/// Browsers at once, likewise.
const BROWSERS: usize = 64;
/// Bytes of the file: some hundred for each browser.
const FILE_BYTES: u64 = 1 << 20;

/// What a code or a browser may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pass {
    sha256: Digest,
    /// Whose it is, as the ledger says it.
    pub user: String,
    /// What they may.
    pub role: Role,
    /// Until when.
    pub until: Timestamp,
}

/// What is kept in the home.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Kept {
    format: u32,
    /// Where it listens though no settings say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listener: Option<SocketAddr>,
    browsers: Vec<Pass>,
}

#[derive(Debug, Default)]
struct State {
    codes: Vec<Pass>,
    kept: Kept,
}

/// Codes and browsers of a home.
#[derive(Debug)]
pub struct Logins {
    file: PathBuf,
    state: Mutex<State>,
}

fn later(now: Timestamp, ms: u64) -> Timestamp {
    Timestamp(now.0.saturating_add(ms))
}

/// Takes one more; the oldest of the same user goes where they have too many, so that nobody throws others out.
fn add(passes: &mut Vec<Pass>, pass: Pass, most: usize) {
    let own = passes.iter().filter(|of| of.user == pass.user).count();
    let gone = match own >= OF_ONE_USER {
        true => passes.iter().position(|of| of.user == pass.user),
        false => (passes.len() >= most).then_some(0),
    };
    if let Some(gone) = gone {
        passes.remove(gone);
    }
    passes.push(pass);
}

/// Where a secret is among some, each of which is looked at.
fn position(passes: &[Pass], secret: &str) -> Option<usize> {
    let digest = Digest::of(secret.as_bytes());
    passes.iter().enumerate().fold(None, |found, (at, pass)| match same(&pass.sha256, &digest) {
        true => Some(at),
        false => found,
    })
}

impl Logins {
    /// Those of a home. What can't be read lets nobody in.
    pub fn of(home: &Path) -> Self {
        let file = home.join("api.logins.json");
        let kept = read(&file).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!("`{}` can't be read, browsers log in anew: {error}", file.display());
            }
            Kept::default()
        });
        Self { file, state: Mutex::new(State { codes: Vec::new(), kept }) }
    }

    /// A code for a browser of this user, and until when it is valid.
    pub fn new_code(&self, user: &str, role: Role, now: Timestamp) -> (String, Timestamp) {
        let (secret, until) = (new_secret(), later(now, CODE_MS));
        let (user, sha256) = (format!("dashboard:{user}"), Digest::of(secret.as_bytes()));
        let pass = Pass { sha256, user, role, until };
        let mut state = self.current(now);
        add(&mut state.codes, pass, CODES);
        (secret, until)
    }

    /// Takes a code for what a browser then has, and what that may; none where it is not valid, or not any more.
    pub fn take_code(&self, code: &str, now: Timestamp) -> Option<(String, Pass)> {
        let mut state = self.current(now);
        let at = position(&state.codes, code)?;
        let code = state.codes.remove(at);
        let secret = new_secret();
        let sha256 = Digest::of(secret.as_bytes());
        let pass = Pass { sha256, until: later(now, BROWSER_MS), ..code };
        add(&mut state.kept.browsers, pass.clone(), BROWSERS);
        self.keep(&mut state);
        Some((secret, pass))
    }

    /// What a browser may that has this.
    pub fn browser(&self, secret: &str, now: Timestamp) -> Option<Pass> {
        let state = self.current(now);
        position(&state.kept.browsers, secret).map(|at| state.kept.browsers[at].clone())
    }

    /// Ends what a browser has.
    pub fn leave(&self, secret: &str, now: Timestamp) {
        let mut state = self.current(now);
        if let Some(at) = position(&state.kept.browsers, secret) {
            state.kept.browsers.remove(at);
            self.keep(&mut state);
        }
    }

    /// Whether somebody is in, or may come in.
    pub fn are_open(&self, now: Timestamp) -> bool {
        let state = self.current(now);
        !state.codes.is_empty() || !state.kept.browsers.is_empty()
    }

    /// Where it listens though no settings say so.
    pub fn listener(&self) -> Option<SocketAddr> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).kept.listener
    }

    /// Notes where it listens though no settings say so.
    pub fn listens(&self, listener: Option<SocketAddr>) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.kept.listener != listener {
            state.kept.listener = listener;
            self.keep(&mut state);
        }
    }

    /// Without what is over.
    fn current(&self, now: Timestamp) -> MutexGuard<'_, State> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.codes.retain(|pass| pass.until > now);
        state.kept.browsers.retain(|pass| pass.until > now);
        state
    }

    fn keep(&self, state: &mut State) {
        state.kept.format = 1;
        let written = serde_json::to_vec(&state.kept).map_err(io::Error::other);
        if let Err(error) = written.and_then(|bytes| put(&self.file, &bytes)) {
            // The browser is in until control ends.
            tracing::warn!("`{}` can't be written: {error}", self.file.display());
        }
    }
}

fn read(file: &Path) -> io::Result<Kept> {
    let mut bytes = Vec::new();
    open(file, Opening::Read)?.take(FILE_BYTES).read_to_end(&mut bytes)?;
    let kept: Kept = serde_json::from_slice(&bytes).map_err(io::Error::other)?;
    match kept.format {
        1 => Ok(kept),
        format => Err(io::Error::other(format!("its format is {format}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000_000);

    #[test]
    fn a_code_lets_one_browser_in_which_a_restart_leaves_there() {
        let home = tempfile::tempdir().unwrap();
        let logins = Logins::of(home.path());
        let (code, until) = logins.new_code("root", Role::Operator, NOW);
        assert!(logins.take_code("guess", NOW).is_none());
        assert!(logins.browser(&code, NOW).is_none(), "a code is no cookie");
        let (secret, pass) = logins.take_code(&code, NOW).unwrap();
        assert_eq!((pass.user.as_str(), pass.role), ("dashboard:root", Role::Operator));
        assert!(logins.take_code(&code, NOW).is_none(), "it is valid once");
        let kept = std::fs::read_to_string(home.path().join("api.logins.json")).unwrap();
        assert!(!kept.contains(&secret) && !kept.contains(&code), "{kept}");
        let later = Logins::of(home.path());
        assert_eq!(later.browser(&secret, NOW), Some(pass.clone()));
        assert_eq!(later.browser(&secret, pass.until), None, "twelve hours are over");
        assert!(later.browser(&secret, NOW).is_none());
        let (code, _) = logins.new_code("root", Role::Viewer, NOW);
        assert!(logins.take_code(&code, until).is_none(), "five minutes are over");
        logins.leave(&secret, NOW);
        assert!(Logins::of(home.path()).browser(&secret, NOW).is_none());
    }

    #[test]
    fn there_is_a_bound_on_codes_and_browsers() {
        let home = tempfile::tempdir().unwrap();
        let logins = Logins::of(home.path());
        for _ in 0..200 {
            let (code, _) = logins.new_code("root", Role::Viewer, NOW);
            logins.take_code(&code, NOW).unwrap();
            logins.new_code("root", Role::Viewer, NOW);
        }
        let state = logins.state.lock().unwrap();
        assert!(state.codes.len() <= CODES && state.kept.browsers.len() <= BROWSERS);
    }
}
