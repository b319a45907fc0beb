//! Edges in processes of their own: the test binary starts itself, and its test `child_process` becomes the edge.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use hornero_edge::{EdgeClient, EdgeOptions, HandoverStep};

use super::{options, until};

/// Names the state directory of the edge that the test binary becomes.
const DIRECTORY: &str = "HORNERO_TEST_EDGE_DIR";
/// The step of a hand-over at which it kills itself.
const DIE_AT: &str = "HORNERO_TEST_EDGE_DIE_AT";
/// How long its predecessor may serve what it has open, in milliseconds.
const HANDOVER_MS: &str = "HORNERO_TEST_EDGE_HANDOVER_MS";
/// The address of listeners for the home's own servers.
pub const INTERNAL: &str = "HORNERO_TEST_EDGE_INTERNAL";
/// How long a head may take, in milliseconds.
pub const HEAD_MS: &str = "HORNERO_TEST_EDGE_HEAD_MS";

/// Runs an edge where this process was started for it: what the test `child_process` of a binary does.
pub fn become_edge() {
    let Some(dir) = std::env::var_os(DIRECTORY) else { return };
    let mut options = EdgeOptions { version: "7.8.9".to_owned(), ..options(Path::new(&dir)) };
    options.die_at = std::env::var(DIE_AT).ok().map(|step| step.parse().unwrap());
    if let Ok(timeout) = std::env::var(HANDOVER_MS) {
        options.limits.handover_timeout = Duration::from_millis(timeout.parse().unwrap());
    }
    if let Ok(address) = std::env::var(INTERNAL) {
        let address = address.parse().unwrap();
        options.internal_addresses = Some((address, address));
    }
    if let Ok(timeout) = std::env::var(HEAD_MS) {
        options.limits.head_timeout = Duration::from_millis(timeout.parse().unwrap());
    }
    hornero_edge::run(options).unwrap();
}

/// An edge in a process of its own.
pub struct EdgeProcess(Child);

impl EdgeProcess {
    /// Starts one and waits until it answers by the well-known name.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, &[])
    }

    /// The same, whose predecessor may serve what it has open for so long.
    pub fn start_with_handover(dir: &Path, handover_ms: u32) -> Self {
        Self::start_with(dir, &[(HANDOVER_MS, handover_ms.to_string())])
    }

    /// The same, which kills itself at a step of its own hand-over.
    pub fn start_dying(dir: &Path, step: HandoverStep) -> Self {
        Self::start_with(dir, &[(DIE_AT, step.as_str().to_owned())])
    }

    /// The same, with these of its settings.
    pub fn start_with(dir: &Path, variables: &[(&str, String)]) -> Self {
        let process = Self::spawn(dir, variables);
        let pid = process.id();
        until("the edge answers", || {
            EdgeClient::new(dir).status().is_ok_and(|status| status.pid == pid)
        });
        process
    }

    /// Starts one that kills itself while it takes over.
    pub fn spawn_dying(dir: &Path, step: HandoverStep) -> Self {
        Self::spawn(dir, &[(DIE_AT, step.as_str().to_owned())])
    }

    fn spawn(dir: &Path, variables: &[(&str, String)]) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "child_process", "--nocapture"])
            .env(DIRECTORY, dir)
            .envs(variables.iter().cloned())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_raw(self.id().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub fn has_ended(&mut self) -> bool {
        self.0.try_wait().unwrap().is_some()
    }
}

impl Drop for EdgeProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
