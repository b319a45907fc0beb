//! Replaces a server with data under writes, again and again, while parts of Hornero and the server are killed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::writes::{WriteFault, WriteReport, WriteStore, Writers, WritesChecked};

/// How long anything may take that is waited for: a database that was killed replays its log on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// A kill comes at a random moment of this span from the beginning of an `up`: about as long as one takes.
const KILL_WITHIN_MS: u64 = 3_000;
/// How often an `up` is asked for until it answers: one more than what is killed under it.
const ASKED: usize = 3;
/// Between two looks at who has the volume.
const LOOK: Duration = Duration::from_millis(1);

/// What is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Victim {
    /// The control process.
    Control,
    /// The shim of the server, and with it the server.
    Shim,
    /// The edge.
    Edge,
    /// The server's first process.
    Server,
}

/// A service with one volume that is replaced under writes.
pub struct Trial<'a> {
    /// The `hornero` command.
    pub program: &'a Path,
    /// Its home.
    pub home: &'a Path,
    /// The directory with `hornero.hcl`.
    pub project: &'a Path,
    /// The volume.
    pub volume: &'a str,
    /// Writes the next release into the project; each makes another image.
    pub release: &'a dyn Fn(u32),
    /// Where its clients write.
    pub store: Arc<dyn WriteStore>,
    /// How many clients do.
    pub clients: u64,
    /// What the moments of kills follow from.
    pub seed: u64,
}

/// One replacement.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialRound {
    /// What was killed in it, and when after its beginning.
    pub killed: Option<(Victim, Duration)>,
    /// The exit codes of `up`, of which the last counts.
    pub codes: Vec<i32>,
    /// The longest span without an acknowledged write.
    pub gap: Duration,
    /// The time without service that its receipt tells, in milliseconds; none where there is none.
    pub unavailable_ms: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct TrialReport {
    /// Each replacement.
    pub rounds: Vec<TrialRound>,
    /// What the clients saw.
    pub writes: WriteReport,
    /// What became of their writes.
    pub checked: WritesChecked,
    /// The most file systems on the volume's data that were seen at one moment.
    pub most_writers: usize,
    /// Connections that were refused in rounds in which the edge was not killed.
    pub refused: usize,
    /// The same in rounds in which it was: nobody listens until another one does.
    pub refused_without_edge: usize,
}

/// Why a trial did not get to its end.
#[derive(Debug, thiserror::Error)]
pub enum TrialError {
    /// A client could not begin, or the server could not be asked in the end.
    #[error("the server can't be asked")]
    Store(#[from] WriteFault),
    /// A command could not be run.
    #[error("`hornero` could not be run")]
    Command(#[from] std::io::Error),
    /// Something did not come to be in time, or is not as it has to be.
    #[error("{0}")]
    Stuck(String),
}

impl Trial<'_> {
    /// Replaces the server once for each element, which says what is killed meanwhile. It has to serve already.
    ///
    /// # Errors
    /// See [`TrialError`].
    pub fn run(&self, victims: &[Option<Victim>]) -> Result<TrialReport, TrialError> {
        let mut random = Moments(self.seed);
        let watch = WriterWatch::start(self.home, self.volume);
        let writers = Writers::start(Arc::clone(&self.store), self.clients)?;
        let (mut rounds, mut spans) = (Vec::new(), Vec::new());
        for (number, victim) in (1..).zip(victims) {
            let begun = writers.elapsed();
            let round = self.round(number, *victim, &mut random, &writers)?;
            spans.push((*victim, begun, writers.elapsed()));
            rounds.push(round);
        }
        let writes = writers.stop();
        let refused = |of_edge: bool| {
            let in_span = |at: Duration| {
                let mut spans = spans.iter().filter(|(_, from, to)| (*from..=*to).contains(&at));
                spans.any(|(victim, ..)| (*victim == Some(Victim::Edge)) == of_edge)
            };
            let refusals = writes.refusals.iter();
            let refused = refusals.filter(|of| matches!(of.fault, WriteFault::Refused(_)));
            refused.filter(|of| in_span(of.at)).count()
        };
        let (refused, refused_without_edge) = (refused(false), refused(true));
        let checked = writes.check(&*self.store)?;
        let most_writers = watch.stop();
        Ok(TrialReport { rounds, writes, checked, most_writers, refused, refused_without_edge })
    }

    fn round(
        &self,
        number: u32,
        victim: Option<Victim>,
        random: &mut Moments,
        writers: &Writers,
    ) -> Result<TrialRound, TrialError> {
        (self.release)(number);
        let begun = writers.elapsed();
        let mut up = self.command(&["up"]).spawn()?;
        let killed = match victim {
            Some(victim) => {
                let after = Duration::from_millis(random.number() % KILL_WITHIN_MS);
                // The moment is what is tried.
                std::thread::sleep(after);
                self.kill(victim)?;
                Some((victim, after))
            }
            None => None,
        };
        let mut codes = vec![code(ended(&mut up)?)];
        // With control killed nobody answers; the next one goes on with what it finds.
        while codes.last() == Some(&6) && codes.len() < ASKED {
            codes.push(code(ended(&mut self.command(&["up"]).spawn()?)?));
        }
        if !writers.until_served(PATIENCE) {
            return Err(TrialError::Stuck(format!(
                "no write was acknowledged for {PATIENCE:?} after round {number} ({killed:?}, {codes:?})"
            )));
        }
        let receipts = self.answer(&["receipt", "--json"])?;
        let unavailable_ms = match codes.last() {
            Some(0) => receipts[0]["unavailable_ms"].as_f64(),
            _ => None,
        };
        Ok(TrialRound { killed, codes, gap: writers.longest_gap(begun), unavailable_ms })
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.program);
        command.arg("--home").arg(self.home).args(arguments).current_dir(self.project);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn answer(&self, arguments: &[&str]) -> Result<Value, TrialError> {
        let output = self.command(arguments).stdout(Stdio::piped()).output()?;
        serde_json::from_slice(&output.stdout)
            .map_err(|error| TrialError::Stuck(format!("{arguments:?} wrote no JSON: {error}")))
    }

    fn kill(&self, victim: Victim) -> Result<(), TrialError> {
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            let status = self.answer(&["status", "--json"])?;
            let instances = status["services"][0]["instances"].as_array();
            // Between two servers there is none to kill.
            let server = instances.and_then(|all| all.iter().find_map(|of| of["pid"].as_i64()));
            let pid = match victim {
                Victim::Control => status["control"]["pid"].as_i64(),
                Victim::Edge => status["edge"]["pid"].as_i64(),
                Victim::Server => server,
                Victim::Shim => server.and_then(parent_of),
            };
            let pid = pid.and_then(|pid| i32::try_from(pid).ok()).filter(|pid| *pid > 1);
            if let Some(pid) = pid
                && Command::new("kill").arg("-KILL").arg(pid.to_string()).status()?.success()
            {
                return Ok(());
            }
            std::thread::sleep(LOOK);
        }
        Err(TrialError::Stuck(format!("there was no {victim:?} to kill")))
    }
}

fn parent_of(pid: i64) -> Option<i64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix("PPid:"))?.trim().parse().ok()
}

fn code(status: ExitStatus) -> i32 {
    status.code().unwrap_or(-1)
}

/// Waits for a command, and kills it when it takes too long.
fn ended(child: &mut Child) -> Result<ExitStatus, TrialError> {
    let deadline = Instant::now() + PATIENCE * 2;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            child.kill()?;
            child.wait()?;
            return Err(TrialError::Stuck(format!("`up` did not end within {:?}", PATIENCE * 2)));
        }
        // The standard library waits for a child without a bound, or not at all.
        std::thread::sleep(LOOK * 5);
    }
}

/// Counts the file systems on a volume's data for as long as it is there: each is a loop device of its file.
struct WriterWatch {
    ended: Arc<AtomicBool>,
    most: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl WriterWatch {
    fn start(home: &Path, volume: &str) -> Self {
        let data = home.join("volumes").join(volume).join("data.img");
        let (ended, most) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (told, count) = (Arc::clone(&ended), Arc::clone(&most));
        let thread = std::thread::spawn(move || {
            while !told.load(Ordering::Acquire) {
                count.fetch_max(loop_devices_of(&data), Ordering::AcqRel);
                std::thread::sleep(LOOK);
            }
        });
        Self { ended, most, thread }
    }

    fn stop(self) -> usize {
        self.ended.store(true, Ordering::Release);
        self.thread.join().expect("looking does not panic");
        self.most.load(Ordering::Acquire)
    }
}

fn loop_devices_of(data: &Path) -> usize {
    let devices = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let backing = devices.filter_map(|device| {
        let file = device.path().join("loop/backing_file");
        Some(PathBuf::from(fs::read_to_string(file).ok()?.trim_end()))
    });
    backing.filter(|file| file == data).count()
}

/// Random numbers that follow from a seed and are the same everywhere: SplitMix64 (Steele, Lea, Flood, OOPSLA 2014).
#[derive(Debug, Clone)]
pub struct Moments(pub u64);

impl Moments {
    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}
