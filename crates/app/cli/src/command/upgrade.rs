//! `upgrade`: the program of this command becomes control and edge, while servers and traffic go on.

mod probe;
mod unit;

use std::{
    fs::File,
    os::fd::AsRawFd as _,
    path::{Path, PathBuf},
    process::Child,
    time::{Duration, Instant},
};

use hornero_api::{
    Client, ClientError,
    message::{ControlStatus, EdgeReport, Nothing, StatusReport},
};
use hornero_control::Program;
use schemars::JsonSchema;
use serde::Serialize;

use crate::{
    arguments::UpgradeArguments,
    command::process::MOOT,
    daemon,
    failure::{Failure, exit},
    output::{print_json, print_text},
};
use probe::Probe;

/// Between two looks at control.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);
/// How long the old control may take to be gone once it has begun to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);
/// How long another upgrade is waited for without a word.
const QUIET: Duration = Duration::from_secs(2);
/// How long is waited for connections without a request to leave the old edge, which ends them after 5 s, so that what
/// is told of them is what stays.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(6);
/// How long the program from before may take to serve again.
const BACK_TIMEOUT: Duration = Duration::from_secs(30);

/// What was done.
#[derive(Debug, Serialize, JsonSchema)]
pub struct UpgradeReport {
    /// `upgraded`, `same` or `started`.
    result: &'static str,
    /// The version that runs now.
    version: String,
    /// Control before; absent where none ran.
    control_before: Option<ProcessReport>,
    /// Control now.
    control: ProcessReport,
    /// The edge before; absent where none ran.
    edge_before: Option<ProcessReport>,
    /// The edge now; absent where none runs.
    edge: Option<ProcessReport>,
    /// From the command's start until both were of this program, in milliseconds.
    took_ms: f64,
    /// The longest that the edge left a request unanswered, in milliseconds; absent where it has no plain HTTP listener.
    longest_pause_ms: Option<f64>,
    /// Requests of this command that the edge did not answer.
    unanswered: Option<u64>,
    /// Client connections that were open at the old edge when it had handed over; absent where it can't tell.
    connections: Option<u64>,
    /// Those that have ended there by themselves.
    drained: Option<u64>,
}

/// A process and its version.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
struct ProcessReport {
    /// Its id.
    pid: u32,
    /// The version that it says it is; null where it says none.
    version: Option<String>,
}

impl ProcessReport {
    fn of_control(control: &ControlStatus) -> Self {
        Self { pid: control.pid, version: Some(control.version.clone()) }
    }

    fn of_edge(edge: &EdgeReport) -> Self {
        Self { pid: edge.pid, version: edge.version.clone() }
    }
}

/// `hornero upgrade`.
pub fn run(home: &Path, json: bool, arguments: &UpgradeArguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(upgrade(home, arguments.timeout))?;
    if json {
        return print_json(&report);
    }
    print_text(&text(&report))
}

async fn upgrade(home: &Path, timeout: Duration) -> Result<UpgradeReport, Failure> {
    let begun = Instant::now();
    let own = Program::own()?;
    let lock = lock(home, timeout).await?;
    hornero_control::readable(home).map_err(|error| {
        Failure::of(&*error).hint("nothing was changed: what runs goes on as it is")
    })?;
    let client = Client::new(daemon::socket(home));
    let found = status(&client).await?;
    let started = found.is_none();
    // Where no control ran, or one is just being replaced: one answers after this, of whichever program.
    let before = match found {
        Some(before) => before,
        None => daemon::ensure(home).await?.get("/v1/status").await?,
    };
    let runs = |pid: u32| Program::of(pid).is_ok_and(|program| program == own);
    let edge_runs = before.edge.as_ref().is_none_or(|edge| runs(edge.pid));
    let probe = Probe::start(&before.routes);
    let outcome = if started && runs(before.control.pid) { "started" } else { "upgraded" };
    if runs(before.control.pid) && edge_runs {
        let outcome = if started { outcome } else { "same" };
        return Ok(report(outcome, begun, (!started).then_some(&before), &before, probe));
    }
    if !runs(before.control.pid) {
        // Held from here on: it is what to go back to, whatever lies at its path by now.
        let old = Old::of(&before.control)?;
        replace(home, &client, &old, &lock, timeout).await?;
    }
    match settled(&client, own, timeout).await {
        Ok(after) => Ok(report(outcome, begun, Some(&before), &after, probe)),
        Err(reason) if runs(before.control.pid) => Err(Failure::new(exit::FAILED, reason)
            .hint("the edge from before serves on, and control tries again; see `hornero status`")),
        Err(reason) => Err(Failure::new(exit::FAILED, reason).hint(
            "control is of this version; the edge from before serves on, and control tries again",
        )),
    }
}

/// Only one upgrade of a home at a time. One that was killed may have left a control process that is taking over: it holds
/// the lock until it answers.
async fn lock(home: &Path, timeout: Duration) -> Result<File, Failure> {
    hornero_home::prepare(home)?;
    let lock = hornero_home::open(&home.join("upgrade.lock"), hornero_home::Opening::Append)?;
    let begun = Instant::now();
    let mut told = false;
    loop {
        match rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(lock),
            Err(rustix::io::Errno::WOULDBLOCK) if begun.elapsed() < timeout => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let text = "another `hornero upgrade` of this home is under way";
                return Err(Failure::new(exit::REFUSED, text));
            }
            Err(error) => return Err(std::io::Error::from(error).into()),
        }
        if !told && begun.elapsed() >= QUIET {
            tell!("waiting  for another `hornero upgrade` of this home");
            told = true;
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// What control says; nothing where none answers.
async fn status(client: &Client) -> Result<Option<StatusReport>, Failure> {
    match client.get("/v1/status").await {
        Ok(status) => Ok(Some(status)),
        Err(ClientError::Unreachable { .. } | ClientError::Broken(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The program that control ran before.
struct Old {
    control: ControlStatus,
    program: File,
    unit: Option<unit::Unit>,
}

impl Old {
    fn of(control: &ControlStatus) -> Result<Self, Failure> {
        let path = format!("/proc/{}/exe", control.pid);
        let program = File::open(&path).map_err(|error| {
            Failure::new(exit::FAILED, format!("`{path}` can't be read: {error}"))
        })?;
        Ok(Self { control: control.clone(), program, unit: unit::Unit::of(control.pid)? })
    }

    /// A path at which it can be started, whether or not its file has been replaced.
    fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.program.as_raw_fd()).into()
    }

    fn lives(&self) -> bool {
        Path::new(&format!("/proc/{}/exe", self.control.pid)).exists()
            && std::fs::read_link(format!("/proc/{}/exe", self.control.pid)).is_ok()
    }
}

/// Has control run this program; where it does not start, the one from before is started again.
async fn replace(
    home: &Path,
    client: &Client,
    old: &Old,
    lock: &File,
    timeout: Duration,
) -> Result<(), Failure> {
    let why = match &old.unit {
        Some(unit) => match unit.restart() {
            Ok(()) => return Ok(()),
            Err(why) => why,
        },
        None => {
            // It ends the one that runs by itself, once it can read what that one leaves: whatever becomes of this
            // command, one of both goes on.
            let mut child = daemon::spawn_successor(home, lock)?;
            match answers(client, old, &mut child, timeout).await {
                Ok(()) => return Ok(()),
                Err(why) => {
                    let _ = child.kill();
                    let _ = child.wait();
                    why
                }
            }
        }
    };
    let tail = daemon::last_lines(&daemon::log_path(home));
    if goes_on(client, old).await {
        return Err(
            Failure::new(exit::FAILED, format!("{why}; the one from before serves on")).hint(tail)
        );
    }
    back(home, client, old).await.map_err(|failure| failure.further_hint(&tail))?;
    let text = format!("{why}; hornero {} serves again", old.control.version);
    Err(Failure::new(exit::ROLLED_BACK, text).word("rolled_back").hint(tail))
}

/// Whether the old control goes on: one that has begun to end may still be there for a moment, and decides nothing any more.
async fn goes_on(client: &Client, old: &Old) -> bool {
    let deadline = Instant::now() + END_TIMEOUT;
    while old.lives() {
        match client.get::<Nothing>("/v1/health").await {
            Ok(_) => return true,
            // One of before there was this question answers too.
            Err(ClientError::Refused(problem, _)) if problem.code == "no_such_endpoint" => {
                return true;
            }
            Err(_) if Instant::now() >= deadline => return true,
            Err(_) => tokio::time::sleep(LOOK_INTERVAL).await,
        }
    }
    false
}

/// Waits until another control than the old one answers.
async fn answers(
    client: &Client,
    old: &Old,
    child: &mut Child,
    timeout: Duration,
) -> Result<(), String> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Ok(status) = client.get::<StatusReport>("/v1/status").await
            && status.control.pid != old.control.pid
        {
            return Ok(());
        }
        if let Ok(Some(status)) = child.try_wait() {
            if status.code() == Some(MOOT) {
                return Err("everything was taken down meanwhile".to_owned());
            }
            return Err(format!("the new control process ended at its start ({status})"));
        }
        if Instant::now() >= deadline {
            return Err(format!("the new control process does not answer after {timeout:?}"));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

/// Starts the program from before again.
async fn back(home: &Path, client: &Client, old: &Old) -> Result<(), Failure> {
    if let Some(unit) = &old.unit {
        unit.stop();
    }
    let mut child = daemon::spawn(home, &old.path())?;
    answers(client, old, &mut child, BACK_TIMEOUT).await.map_err(|why| {
        Failure::new(
            exit::FAILED,
            format!("this version did not start, and neither did {}: {why}", old.control.version),
        )
        .hint("servers and edge go on; `hornero up` starts control again once what is in its way is gone")
    })
}

/// Waits until control and edge are of this program, and what left the old edge at once has left.
async fn settled(client: &Client, own: Program, timeout: Duration) -> Result<StatusReport, String> {
    let deadline = Instant::now() + timeout;
    let mut both: Option<Instant> = None;
    let mut last = "control does not answer".to_owned();
    loop {
        if let Ok(status) = client.get::<StatusReport>("/v1/status").await {
            let runs = |pid: u32| Program::of(pid).is_ok_and(|program| program == own);
            let edge = status.edge.as_ref();
            if runs(status.control.pid) && edge.is_some_and(|edge| runs(edge.pid)) {
                let since = *both.get_or_insert_with(Instant::now);
                let predecessor = edge.and_then(|edge| edge.predecessor.as_ref());
                let left = edge.is_some_and(|edge| edge.version.is_some())
                    && predecessor.is_none_or(|before| before.ended || before.open == Some(0));
                if left || since.elapsed() >= LEAVE_TIMEOUT {
                    return Ok(status);
                }
            }
            if let Some(why) = edge.and_then(|edge| edge.succession_failure.clone()) {
                last = why;
            }
        }
        if Instant::now() >= deadline && both.is_none() {
            return Err(format!("the edge is not of this program after {timeout:?}: {last}"));
        }
        tokio::time::sleep(LOOK_INTERVAL).await;
    }
}

fn report(
    result: &'static str,
    begun: Instant,
    before: Option<&StatusReport>,
    after: &StatusReport,
    probe: Option<Probe>,
) -> UpgradeReport {
    let took_ms = begun.elapsed().as_secs_f64() * 1000.0;
    let seen = probe.map(Probe::end);
    let edge_before = before.and_then(|status| status.edge.as_ref());
    let edge = after.edge.as_ref();
    let handed_over = edge.map(|edge| edge.pid) != edge_before.map(|edge| edge.pid);
    let predecessor = edge.and_then(|edge| edge.predecessor.as_ref()).filter(|_| handed_over);
    let connections = predecessor.and_then(|predecessor| predecessor.connections);
    let open = predecessor.and_then(|predecessor| predecessor.open);
    UpgradeReport {
        result,
        version: after.control.version.clone(),
        control_before: before.map(|status| ProcessReport::of_control(&status.control)),
        control: ProcessReport::of_control(&after.control),
        edge_before: edge_before.map(ProcessReport::of_edge),
        edge: edge.map(ProcessReport::of_edge),
        took_ms,
        longest_pause_ms: seen.map(|seen| seen.longest.as_secs_f64() * 1000.0),
        unanswered: seen.map(|seen| seen.unanswered),
        connections,
        drained: connections.map(|connections| connections.saturating_sub(open.unwrap_or(0))),
    }
}

fn text(report: &UpgradeReport) -> String {
    let version = &report.version;
    match report.result {
        "same" => return format!("control and edge run this program already, hornero {version}\n"),
        "started" => return format!("no control process ran; hornero {version} has started\n"),
        _ => {}
    }
    let from = report.control_before.as_ref().and_then(|before| before.version.clone());
    let from = from.unwrap_or_else(|| "another version".to_owned());
    let mut text =
        format!("hornero {from} -> {version} in {:.0} ms; no server was touched\n", report.took_ms);
    if let Some(pause) = report.longest_pause_ms {
        text.push_str(&format!("  longest pause of the edge: {pause:.1} ms\n"));
    }
    match (report.connections, report.drained) {
        (Some(connections), Some(drained)) if drained < connections => text.push_str(&format!(
            "  {drained} of {connections} connections have left the old edge; the others go on there\n"
        )),
        (Some(connections), _) => {
            text.push_str(&format!("  {connections} connections have left the old edge\n"));
        }
        (None, _) => {}
    }
    text
}
