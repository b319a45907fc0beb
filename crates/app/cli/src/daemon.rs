//! Starting the control process where none runs, and waiting until it answers.

use std::{
    fs::{self, File},
    io::Read as _,
    os::{fd::AsRawFd, unix::process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use hornero_api::{Client, ClientError, message::Nothing};
use hornero_home::Opening;

use crate::{
    failure::{Failure, exit},
    remote,
    supervision::{Unit, unit_of},
};

/// How long a control process that lives may say nothing new before it answers: a step such as starting the edge takes
/// a minute on a slow machine under load.
const NEWS_TIMEOUT: Duration = Duration::from_secs(120);
/// How long it may take in all, whatever it says.
const START_TIMEOUT: Duration = Duration::from_secs(600);
/// Between two looks at the socket; short, since a user waits.
const POLL_INTERVAL: Duration = Duration::from_millis(5);
/// Between two looks at what it says it is doing.
const NEWS_INTERVAL: Duration = Duration::from_millis(100);
/// A start that takes longer is told step by step.
const QUIET: Duration = Duration::from_secs(2);
/// How long a unit that was started without an answer is given before it is started once more: one that was just
/// ending counts as started until it has ended.
const UNIT_AGAIN: Duration = Duration::from_millis(500);
/// Most of a status file or of systemctl's complaint that is read: a line is expected.
const LINE_BYTES: u64 = 4096;

/// The control process's socket of a home.
pub fn socket(home: &Path) -> PathBuf {
    home.join("control.sock")
}

/// A client for the control process of `home`, which is started where none answers: by systemd where its unit is that of
/// this home, so that it is watched and started again, else as a child that outlives this command.
pub async fn ensure(home: &Path) -> Result<Client, Failure> {
    if let Some(client) = remote::client() {
        return Ok(client);
    }
    let client = Client::new(socket(home));
    if answers(&client).await? {
        return Ok(client);
    }
    let mut starter = match unit_of(home) {
        Some(unit) => Starter::Unit { process: unit.start()?, unit },
        None => {
            let process = spawn(home, Path::new(hornero_control::OWN_PROGRAM))?;
            Starter::Child { process, log: log_path(home) }
        }
    };
    let mut news = News::new(home);
    loop {
        if answers(&client).await? {
            return Ok(client);
        }
        if let Some(status) = starter.process().try_wait()? {
            // Another `up` may have started one at the same time; then that one answers.
            if answers(&client).await? {
                return Ok(client);
            }
            starter.ended(status, news.begun).await?;
        }
        if let Some(silence) = news.look() {
            return Err(starter.failure(&silence));
        }
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// What starts control.
enum Starter {
    /// `systemctl start`, which ends when control answers or failed.
    Unit { process: Child, unit: Unit },
    /// Control itself.
    Child { process: Child, log: PathBuf },
}

impl Starter {
    const fn process(&mut self) -> &mut Child {
        match self {
            Self::Unit { process, .. } | Self::Child { process, .. } => process,
        }
    }

    /// The process ended and nobody answers: systemd may be asked again, which a control process of ours may not.
    async fn ended(&mut self, status: ExitStatus, begun: Instant) -> Result<(), Failure> {
        match self {
            Self::Unit { process, unit } if status.success() && begun.elapsed() < NEWS_TIMEOUT => {
                tokio::time::sleep(UNIT_AGAIN).await;
                *process = unit.start()?;
                Ok(())
            }
            Self::Unit { process, .. } => {
                let mut complaint = String::new();
                if let Some(stderr) = process.stderr.take() {
                    // Without it the journal's own words have to do.
                    let _ = stderr.take(LINE_BYTES).read_to_string(&mut complaint);
                }
                let first = complaint.lines().next().unwrap_or("systemd did not start it");
                Err(self.failure(&format!("the control process did not start: {first}")))
            }
            Self::Child { .. } => {
                Err(self.failure(&format!("the control process ended at its start ({status})")))
            }
        }
    }

    fn failure(&self, text: &str) -> Failure {
        let failure = Failure::new(exit::UNREACHABLE, text);
        match self {
            Self::Unit { unit, .. } => {
                failure.hint(format!("`journalctl -u {} -n 20` says why", unit.name()))
            }
            Self::Child { log, .. } => failure.hint(last_lines(log)),
        }
    }
}

/// What a starting control process says it is doing, shown to whoever waits.
struct News {
    file: PathBuf,
    begun: Instant,
    looked: Instant,
    newest: Instant,
    text: String,
}

impl News {
    fn new(home: &Path) -> Self {
        let now = Instant::now();
        let file = hornero_control::status_file(home);
        Self { file, begun: now, looked: now, newest: now, text: String::new() }
    }

    /// Why it is not worth waiting any longer; none while it is.
    fn look(&mut self) -> Option<String> {
        if self.looked.elapsed() >= NEWS_INTERVAL {
            self.looked = Instant::now();
            if let Some(text) = self.read().filter(|text| *text != self.text) {
                self.newest = self.looked;
                self.text = text;
                if self.begun.elapsed() >= QUIET {
                    tell!("waiting  for the control process: {}", self.text);
                }
            }
        }
        let limit = self.newest.elapsed() >= NEWS_TIMEOUT || self.begun.elapsed() >= START_TIMEOUT;
        limit.then(|| {
            let seconds = self.begun.elapsed().as_secs();
            let last = match self.text.as_str() {
                "" => String::new(),
                text => format!("; the last it said was: {text}"),
            };
            format!("the control process lives and does not answer after {seconds} s{last}")
        })
    }

    /// The text of a process that lives; what an earlier one left says nothing.
    fn read(&self) -> Option<String> {
        let mut text = String::new();
        let file = hornero_home::open(&self.file, Opening::Read).ok()?;
        file.take(LINE_BYTES).read_to_string(&mut text).ok()?;
        let (process, text) = text.trim_end().split_once(' ')?;
        let lives = Path::new("/proc").join(process.parse::<u32>().ok()?.to_string()).exists();
        // The home belongs to root, and still: what is shown on a terminal is text.
        lives.then(|| text.chars().filter(|letter| !letter.is_control()).collect())
    }
}

async fn answers(client: &Client) -> Result<bool, Failure> {
    match client.get::<Nothing>("/v1/health").await {
        Ok(_) => Ok(true),
        Err(ClientError::Unreachable { .. } | ClientError::Broken(_)) => Ok(false),
        // One of before there was this question answers too.
        Err(ClientError::Refused(problem, _)) if problem.code == "no_such_endpoint" => Ok(true),
        Err(
            error @ (ClientError::Refused(..)
            | ClientError::OtherProtocol { .. }
            | ClientError::Away { .. }),
        ) => Err(error.into()),
    }
}

/// What control writes when no service manager keeps it.
pub fn log_path(home: &Path) -> PathBuf {
    home.join("control.log")
}

/// The descriptor of a lock that is handed to a control process: the first after its streams.
const HANDED_LOCK: i32 = 3;

/// Starts `program` as the control process of `home`.
pub fn spawn(home: &Path, program: &Path) -> Result<Child, Failure> {
    spawn_with(home, program, None)
}

/// Starts this program as the control process of `home` that takes the place of the one that runs. It shares the lock of
/// upgrades: nobody else gets it before both have let go, however this command ends.
pub fn spawn_successor(home: &Path, lock: &File) -> Result<Child, Failure> {
    spawn_with(home, Path::new(hornero_control::OWN_PROGRAM), Some(lock))
}

fn spawn_with(home: &Path, program: &Path, lock: Option<&File>) -> Result<Child, Failure> {
    hornero_home::prepare(home)?;
    let log = hornero_home::open(&log_path(home), Opening::Append)?;
    let mut command = Command::new(program);
    command.arg0("hornero").arg("--home").arg(home).arg("serve");
    if lock.is_some() {
        command.arg("--succeed").arg(HANDED_LOCK.to_string());
    }
    if program != Path::new(hornero_control::OWN_PROGRAM) {
        // A fault that is tried on this program is not meant for the one from before.
        command.env_remove("HORNERO_CRASH_AT_APPEND");
    }
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).current_dir("/");
    let lock = lock.map(AsRawFd::as_raw_fd);
    // What this command was started with, such as a lock that a script holds, is not control's to keep open.
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            let checked = |result| match result {
                -1 => Err(std::io::Error::last_os_error()),
                _ => Ok(()),
            };
            let all = libc::CLOSE_RANGE_CLOEXEC;
            checked(libc::syscall(libc::SYS_close_range, HANDED_LOCK, u32::MAX, all))?;
            let Some(lock) = lock else { return Ok(()) };
            // Where it is there already, dup2 would leave it to be closed.
            if lock == HANDED_LOCK {
                return checked(libc::fcntl(lock, libc::F_SETFD, 0).into());
            }
            checked(libc::dup2(lock, HANDED_LOCK).into())
        });
    }
    // Its own process group: Ctrl-C at the client's terminal is not meant for it.
    command.process_group(0);
    Ok(command.spawn()?)
}

/// The end of a log, for a hint.
pub fn last_lines(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().rev().take(5).collect();
    let tail: Vec<&str> = lines.into_iter().rev().collect();
    format!("`{}` ends with:\n  {}", log.display(), tail.join("\n  "))
}
