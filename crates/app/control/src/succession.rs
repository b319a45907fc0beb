//! Has the edge of another program succeeded by one of this program, and tries until it is done.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Child,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use hornero_api::message::{EdgePredecessor, EdgeReport};
use hornero_edge::{EdgeClient, EdgeIdentity, TakeoverReport};
use hornero_model::EdgeStatus;

use crate::program::Program;

/// How long a successor may take until it answers in the place of its predecessor.
const SUCCESSION_TIMEOUT: Duration = Duration::from_secs(10);
/// Before a succession that failed is tried again for the first time; doubled from try to try.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest of these pauses.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// Between two questions who the edge is, for whoever asks for the status.
const HELLO_INTERVAL: Duration = Duration::from_millis(200);
/// Between two looks whether the successor answers.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// What is known of the edge beyond what it counts.
#[derive(Debug, Clone, Default)]
struct EdgeFacts {
    identity: Option<EdgeIdentity>,
    other_program: bool,
    failure: Option<String>,
}

/// What is known of the edge, for the status.
#[derive(Debug, Default)]
pub struct EdgeNews(Mutex<EdgeFacts>);

impl EdgeNews {
    fn change(&self, change: impl FnOnce(&mut EdgeFacts)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Adds to a report what is known of the same edge.
    pub fn complete(&self, report: EdgeReport) -> EdgeReport {
        let facts = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let identity = facts.identity.filter(|identity| identity.pid == report.pid);
        EdgeReport {
            version: identity.as_ref().map(|identity| identity.greeting.version.clone()),
            other_program: facts.other_program,
            succession_failure: facts.failure,
            predecessor: identity.and_then(|identity| identity.succession).map(predecessor),
            ..report
        }
    }
}

fn predecessor(report: TakeoverReport) -> EdgePredecessor {
    EdgePredecessor {
        pid: report.predecessor,
        version: report.version,
        took_ms: report.took_ms,
        connections: report.connections,
        open: report.open,
        ended: report.ended,
    }
}

/// The succession of the edge that runs.
pub struct Succession<'a> {
    state_dir: PathBuf,
    own: Option<Program>,
    news: &'a EdgeNews,
    /// Whether the edge of this process id is of another program.
    judged: Option<(u32, bool)>,
    failures: u32,
    next_try: Instant,
    next_hello: Instant,
}

impl<'a> Succession<'a> {
    /// Of the edge in `state_dir`; what is found out goes to `news`.
    pub fn new(state_dir: PathBuf, news: &'a EdgeNews) -> Self {
        let now = Instant::now();
        // A program that can't be read is asked for nothing: the edge that runs stays.
        let own = Program::own().ok();
        Self { state_dir, own, news, judged: None, failures: 0, next_try: now, next_hello: now }
    }

    /// Looks at the edge that answers. Where it is of another program and it is time to, starts a successor with `start`
    /// and waits until it serves; gives its process. Statuses meanwhile go to `see`.
    pub fn look(
        &mut self,
        status: &EdgeStatus,
        start: impl Fn() -> anyhow::Result<Child>,
        see: impl FnMut(EdgeStatus),
    ) -> Option<Child> {
        let other = self.is_other(status.pid);
        self.news.change(|facts| facts.other_program = other);
        let mut successor = None;
        if other && Instant::now() >= self.next_try {
            successor = self.try_once(status.pid, start, see);
        }
        self.ask_who();
        successor
    }

    fn is_other(&mut self, pid: u32) -> bool {
        if let Some((_, other)) = self.judged.filter(|(judged, _)| *judged == pid) {
            return other;
        }
        let (Some(own), Ok(edge)) = (self.own, Program::of(pid)) else { return false };
        let other = edge != own;
        self.judged = Some((pid, other));
        (self.failures, self.next_try) = (0, Instant::now());
        other
    }

    fn try_once(
        &mut self,
        predecessor: u32,
        start: impl Fn() -> anyhow::Result<Child>,
        see: impl FnMut(EdgeStatus),
    ) -> Option<Child> {
        tracing::warn!(
            "the edge (process {predecessor}) runs another program; a successor is started"
        );
        match succeed(&self.state_dir, start, see) {
            Ok(successor) => {
                tracing::warn!(
                    "the edge (process {}) has taken over from process {predecessor}",
                    successor.id()
                );
                self.judged = Some((successor.id(), false));
                self.news.change(|facts| (facts.other_program, facts.failure) = (false, None));
                self.next_hello = Instant::now();
                Some(successor)
            }
            Err(reason) => {
                let pause = pause_after(self.failures);
                self.failures = self.failures.saturating_add(1);
                self.next_try = Instant::now() + pause;
                tracing::warn!(
                    "the edge (process {predecessor}) goes on serving: {reason}; trying again in {} s",
                    pause.as_secs()
                );
                self.news.change(|facts| facts.failure = Some(reason));
                None
            }
        }
    }

    fn ask_who(&mut self) {
        if Instant::now() < self.next_hello {
            return;
        }
        self.next_hello = Instant::now() + HELLO_INTERVAL;
        let identity = EdgeClient::new(&self.state_dir).hello(hornero_model::program_version());
        // One that can't be asked now is asked again; one of the first can't tell.
        if let Ok(identity) = identity {
            self.news.change(|facts| facts.identity = identity);
        }
    }
}

/// The pause after so many failures before.
fn pause_after(failures: u32) -> Duration {
    FIRST_PAUSE.saturating_mul(1_u32.checked_shl(failures).unwrap_or(u32::MAX)).min(LONGEST_PAUSE)
}

/// Starts a successor and waits until it answers. Where it does not, it is ended, and its predecessor serves.
fn succeed(
    state_dir: &Path,
    start: impl Fn() -> anyhow::Result<Child>,
    mut see: impl FnMut(EdgeStatus),
) -> Result<Child, String> {
    let mut successor = start().map_err(|error| format!("no successor starts: {error:#}"))?;
    let deadline = Instant::now() + SUCCESSION_TIMEOUT;
    let mut client = EdgeClient::new(state_dir);
    let mut known = None;
    loop {
        if let Ok(status) = client.status() {
            if status.pid == successor.id() {
                return Ok(successor);
            }
            if known != Some(status.version) {
                known = Some(status.version);
                see(status);
            }
        }
        let log = state_dir.join("edge.log");
        match successor.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => {
                let last = last_line(&log);
                return Err(format!("its successor ended ({status}): {last}"));
            }
            Err(error) => return Err(format!("its successor can't be watched: {error}")),
        }
        if Instant::now() >= deadline {
            // It may have got far: its predecessor comes back once it is gone.
            let _ = successor.kill();
            let _ = successor.wait();
            return Err(format!(
                "its successor did not take over in {} s; see `{}`",
                SUCCESSION_TIMEOUT.as_secs(),
                log.display()
            ));
        }
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// The last line of a log.
fn last_line(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text[text.len().saturating_sub(4096)..]).into_owned();
    text.lines().next_back().unwrap_or("it wrote nothing").to_owned()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use hornero_edge::{Edge, EdgeOptions};

    use super::*;
    use crate::program::OWN_PROGRAM;

    fn ending_at_once() -> anyhow::Result<Child> {
        Ok(Command::new("false").spawn()?)
    }

    #[test]
    fn programs_are_told_apart_by_their_file() {
        assert_eq!(Program::own().unwrap(), Program::of(std::process::id()).unwrap());
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("copy");
        fs::copy(OWN_PROGRAM, &copy).unwrap();
        assert_ne!(Program::own().unwrap(), Program::at(&copy).unwrap());
    }

    #[test]
    fn pauses_grow_to_a_bound() {
        assert_eq!(pause_after(0), FIRST_PAUSE);
        assert_eq!(pause_after(3), FIRST_PAUSE * 8);
        assert_eq!(pause_after(6), LONGEST_PAUSE);
        assert_eq!(pause_after(u32::MAX), LONGEST_PAUSE);
    }

    #[test]
    fn an_edge_of_this_program_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let edge = Edge::start(EdgeOptions::new(directory.path())).unwrap();
        let news = EdgeNews::default();
        let mut succession = Succession::new(directory.path().to_owned(), &news);
        let status = EdgeClient::new(directory.path()).status().unwrap();
        let started = succession.look(&status, || panic!("nothing is to be started"), |_| {});
        assert!(started.is_none());
        let report = news.complete(EdgeReport { pid: status.pid, ..EdgeReport::default() });
        assert!(!report.other_program);
        assert_eq!(report.version.as_deref(), Some(hornero_model::program_version()));
        edge.stop().unwrap();
    }

    #[test]
    fn a_successor_that_fails_is_told_and_tried_again_later() {
        let directory = tempfile::tempdir().unwrap();
        let edge = Edge::start(EdgeOptions::new(directory.path())).unwrap();
        fs::write(directory.path().join("edge.log"), "before\nerror: no such luck\n").unwrap();
        let news = EdgeNews::default();
        let mut succession = Succession::new(directory.path().to_owned(), &news);
        // The edge runs in this process: to the succession, this program is now another.
        succession.own = Some(Program::at(Path::new("/")).unwrap());
        let status = EdgeClient::new(directory.path()).status().unwrap();
        assert!(succession.look(&status, ending_at_once, |_| {}).is_none());
        let report = news.complete(EdgeReport { pid: status.pid, ..EdgeReport::default() });
        assert!(report.other_program);
        let failure = report.succession_failure.unwrap();
        assert!(
            failure.contains("exit status: 1") && failure.ends_with("no such luck"),
            "{failure}"
        );
        let started = succession.look(&status, || panic!("not before its time"), |_| {});
        assert!(started.is_none());
        assert_eq!(EdgeClient::new(directory.path()).status().unwrap().pid, status.pid);
        succession.next_try = Instant::now();
        assert!(succession.look(&status, ending_at_once, |_| {}).is_none());
        assert_eq!(succession.failures, 2);
        edge.stop().unwrap();
    }
}
