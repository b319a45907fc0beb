//! How a registry is reached, and how long it is tried.

use std::{path::PathBuf, time::Duration};

use super::credentials::{self, Credentials};

/// A registry that does not take a connection by then is down.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Eight MiB, the largest body, in two minutes are 70 KiB a second.
const SEND_TIMEOUT: Duration = Duration::from_secs(120);
/// A registry may hash a whole upload before it answers.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(120);
/// One answer's whole body; a slow one is taken up again where it broke off.
const BODY_TIMEOUT: Duration = Duration::from_secs(60);
/// Attempts in a row that brought nothing.
const ATTEMPTS: u32 = 5;
/// Doubled after each of them.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// How a registry is reached.
#[derive(Debug, Clone)]
pub struct Access {
    /// Whether other hosts may be reached without encryption; this machine always may.
    pub plain_http: bool,
    /// Who asks one registry; for any other, and without it, the files are looked through.
    pub credentials: Option<Credentials>,
    /// Files of credentials as Docker and Podman write them, the first that knows the registry counts.
    pub credential_files: Vec<PathBuf>,
    /// How long and how often to try.
    pub patience: Patience,
}

impl Access {
    /// Credentials from `HORNERO_REGISTRY_USER` and `HORNERO_REGISTRY_PASSWORD` for the registry `HORNERO_REGISTRY`,
    /// or from where Podman and Docker keep them.
    pub fn from_environment() -> Self {
        Self {
            plain_http: false,
            credentials: credentials::from_environment(),
            credential_files: credentials::files(),
            patience: Patience::default(),
        }
    }

    /// Nobody in particular asks.
    pub fn anonymous() -> Self {
        Self {
            plain_http: false,
            credentials: None,
            credential_files: Vec::new(),
            patience: Patience::default(),
        }
    }
}

/// How long and how often a client tries; tests shorten it.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until a connection stands.
    pub connect: Duration,
    /// Until a request's body is sent.
    pub send: Duration,
    /// Until an answer begins.
    pub answer: Duration,
    /// Until an answer's body is complete.
    pub body: Duration,
    /// Attempts in a row that brought nothing.
    pub attempts: u32,
    /// First pause between attempts.
    pub pause: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            connect: CONNECT_TIMEOUT,
            send: SEND_TIMEOUT,
            answer: ANSWER_TIMEOUT,
            body: BODY_TIMEOUT,
            attempts: ATTEMPTS,
            pause: FIRST_PAUSE,
        }
    }
}
