//! A home of its own for each test: runs the real binary, and leaves nothing behind even when the test fails.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Once,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::{schema, site::BASE};

/// How long anything a test waits for may take on a loaded machine.
pub const PATIENCE: Duration = Duration::from_secs(90);

/// A home, a directory with a `hornero.hcl`, and a free port.
pub struct Home {
    directory: tempfile::TempDir,
    /// The port that the service's route listens on.
    pub port: u16,
}

/// What a command answered.
pub struct Answer {
    /// Its exit code.
    pub code: i32,
    /// Its stdout.
    pub stdout: String,
    /// Its stderr.
    pub stderr: String,
}

impl Answer {
    /// What a finished command gave.
    pub fn of(output: &Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Insists on an exit code.
    #[track_caller]
    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }

    /// Its stdout as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| {
            panic!("{error}\nstdout:\n{}\nstderr:\n{}", self.stdout, self.stderr)
        })
    }
}

/// Images and packages that all tests of this checkout share: contents are immutable and addressed by digest.
fn shared() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("e2e")
}

impl Home {
    /// A fresh home whose store and package cache are those of all tests. It collects no garbage: what other tests run
    /// and go back to would go.
    ///
    /// The base of all sites is in the store before the first test goes on: to bake it takes as long as the mirror likes,
    /// and no test that waits for what comes after a bake is about that.
    pub fn new() -> Self {
        static BASE_BAKED: Once = Once::new();
        BASE_BAKED.call_once(|| {
            let home = Self::with_shared_store();
            home.write("hornero.hcl", BASE);
            // Where it can't be baked, the test that needs it says why.
            home.run(&["build"]);
        });
        Self::with_shared_store()
    }

    fn with_shared_store() -> Self {
        let home = Self::with_shared_packages();
        home.share("store");
        home
    }

    /// A fresh home with a store of its own, whose package cache is that of all tests.
    pub fn with_shared_packages() -> Self {
        let home = Self::with_own_store();
        home.share("cache");
        home
    }

    fn share(&self, part: &str) {
        let target = shared().join(part);
        fs::create_dir_all(&target).unwrap();
        std::os::unix::fs::symlink(target, self.path().join(part)).unwrap();
    }

    /// A fresh home with nothing in it.
    pub fn with_own_store() -> Self {
        let directory = tempfile::Builder::new().prefix("hornero-e2e-").tempdir().unwrap();
        fs::create_dir(directory.path().join("home")).unwrap();
        fs::create_dir(directory.path().join("project")).unwrap();
        Self { directory, port: free_port() }
    }

    /// The home itself.
    pub fn path(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    /// The directory with `hornero.hcl`.
    pub fn project(&self) -> PathBuf {
        self.directory.path().join("project")
    }

    /// A new directory beside the project.
    pub fn directory_beside(&self, name: &str) -> PathBuf {
        let path = self.directory.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    }

    /// Writes a file of the project.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.project().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A command of the binary under test, for this home.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let collects = arguments.starts_with(&["image", "gc"]) && !arguments.contains(&"--dry-run");
        assert!(!collects || !self.path().join("store").is_symlink(), "all tests share this store");
        let mut command = Command::new(env!("CARGO_BIN_EXE_hornero"));
        command.arg("--home").arg(self.path()).args(arguments).current_dir(self.project());
        command.env_remove("HORNERO_CRASH_AT_APPEND").stdin(Stdio::null());
        command
    }

    /// Runs a command to its end; what it prints with `--json` has to be of its schema.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Answer {
        self.run_in(&self.project(), arguments)
    }

    /// Runs a command in another directory than the project's.
    #[track_caller]
    pub fn run_in(&self, directory: &Path, arguments: &[&str]) -> Answer {
        let output = self.command(arguments).current_dir(directory).output().unwrap();
        let answer = Answer::of(&output);
        schema::check(arguments, &answer);
        answer
    }

    /// Starts a command; it is killed when the value is dropped.
    pub fn spawn(&self, arguments: &[&str]) -> Running {
        let child =
            self.command(arguments).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Running(child)
    }

    /// `hornero up`, which must succeed; the answer of `--json`.
    #[track_caller]
    pub fn up(&self) -> Value {
        self.run(&["up", "--json"]).expect(0).json()
    }

    /// What runs.
    #[track_caller]
    pub fn status(&self) -> Value {
        self.run(&["status", "--json"]).expect(0).json()
    }

    /// The process id of control.
    #[track_caller]
    pub fn control_pid(&self) -> i32 {
        pid(&self.status()["control"]["pid"])
    }

    /// A GET of the service's route.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.port, path)
    }

    /// Takes this home's signatures out of the store that all tests share: one a test would be too many in the end.
    fn take_signatures(&self) {
        let Ok(key) = hornero_ledger::VerifyingKey::load(&self.path().join("keys")) else { return };
        let key = hornero_model::PublicKey::from_bytes(*key.as_bytes());
        let kind = hornero_provenance::KeyId::of(&key).attachment();
        let subjects = fs::read_dir(self.path().join("store/attachments")).into_iter().flatten();
        for subject in subjects.flatten() {
            let _ = fs::remove_file(subject.path().join(&kind));
        }
    }

    /// The directories of this home's control groups that are still there.
    pub fn control_groups(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        let hash = network(self)
            .and_then(|network| Some(network["bridge"].as_str()?.strip_prefix("hrn")?.to_owned()));
        let Some(hash) = hash else { return found };
        let mut pending = vec![(PathBuf::from("/sys/fs/cgroup"), 0)];
        while let Some((directory, depth)) = pending.pop() {
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                let name = entry.file_name();
                if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                if name.to_string_lossy().starts_with("hornero")
                    && name.to_string_lossy().contains(&hash)
                {
                    found.push(entry.path());
                } else if depth < 2 {
                    pending.push((entry.path(), depth + 1));
                }
            }
        }
        found
    }

    /// Everything of this home that is left on the host: processes, bridge, mounts, control groups.
    pub fn leftovers(&self) -> Vec<String> {
        let home = self.path().display().to_string();
        let mut left = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok())
            else {
                continue;
            };
            let command = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains(&home) {
                left.push(format!("process {pid}: {command}"));
            }
        }
        if let Some(bridge) =
            network(self).and_then(|network| network["bridge"].as_str().map(str::to_owned))
            && Path::new("/sys/class/net").join(&bridge).exists()
        {
            left.push(format!("bridge {bridge}"));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        left.extend(
            mounts.lines().filter(|line| line.contains(&home)).map(|line| format!("mount {line}")),
        );
        left.extend(
            self.control_groups().iter().map(|path| format!("control group {}", path.display())),
        );
        left
    }

    /// Insists that nothing of this home is left on the host; the kernel may take a moment to end network devices.
    #[track_caller]
    pub fn assert_clean(&self) {
        let deadline = Instant::now() + Duration::from_secs(10);
        while !self.leftovers().is_empty() {
            assert!(Instant::now() < deadline, "left behind: {:#?}", self.leftovers());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for log in ["control.log", "edge/edge.log", "edge.log"] {
                let text = fs::read_to_string(self.path().join(log)).unwrap_or_default();
                let tail: Vec<&str> = text.lines().rev().take(30).collect();
                eprintln!(
                    "--- {log} ---\n{}",
                    tail.into_iter().rev().collect::<Vec<_>>().join("\n")
                );
            }
        }
        if std::thread::panicking() {
            // What the network looked like tells most when a server could not be reached.
            for arguments in [["-brief", "address"], ["route", "show"], ["neigh", "show"]] {
                let output = Command::new("ip").args(arguments).output();
                let text =
                    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
                eprintln!("--- ip {} ---\n{}", arguments.join(" "), text.unwrap_or_default());
            }
        }
        self.take_signatures();
        let answer = self.run(&["down", "--all"]);
        if answer.code == 0 {
            return;
        }
        eprintln!("down failed ({}): {}{}", answer.code, answer.stdout, answer.stderr);
        // Whatever `down` could not end is ended here: only processes whose command line names this home.
        for line in self.leftovers() {
            if let Some(pid) = line.strip_prefix("process ").and_then(|rest| rest.split(':').next())
            {
                signal(pid.parse().unwrap(), "KILL");
            }
        }
        let answer = self.run(&["down", "--force"]);
        if answer.code != 0 {
            eprintln!("down --force failed ({}): {}{}", answer.code, answer.stdout, answer.stderr);
        }
    }
}

/// A running command.
pub struct Running(pub Child);

impl Running {
    /// Its process id.
    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn network(home: &Home) -> Option<Value> {
    serde_json::from_str(&fs::read_to_string(home.path().join("network.json")).ok()?).ok()
}

/// A process id out of JSON.
#[track_caller]
pub fn pid(value: &Value) -> i32 {
    i32::try_from(value.as_i64().unwrap_or_else(|| panic!("no process id: {value}"))).unwrap()
}

/// Sends a signal to one process that the test knows by its id.
pub fn signal(pid: i32, name: &str) {
    let signal = match name {
        "KILL" => libc::SIGKILL,
        "TERM" => libc::SIGTERM,
        "INT" => libc::SIGINT,
        "STOP" => libc::SIGSTOP,
        "CONT" => libc::SIGCONT,
        other => panic!("unknown signal {other}"),
    };
    // SAFETY: kill(2) takes plain numbers.
    unsafe { libc::kill(pid, signal) };
}

/// A port that nothing listens on, and that nothing gets by chance: the kernel gives those from 32768 on to whoever connects
/// to something or listens anywhere. None is given twice by this process, and others begin elsewhere.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    const FIRST: u32 = 10_000;
    const PORTS: u32 = 22_000;
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::UNSPECIFIED, *port)).is_ok();
    let begin = std::process::id().wrapping_mul(131);
    let ports = (0..PORTS).map(|_| begin.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)));
    let mut ports = ports.filter_map(|number| u16::try_from(FIRST + number % PORTS).ok());
    ports.find(is_free).expect("a port is free")
}

/// A GET over a new connection; status 0 where there was no answer.
pub fn get(port: u16, path: &str) -> (u16, String) {
    let asked = || -> std::io::Result<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        let status = text.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0);
        let body = text.split_once("\r\n\r\n").map_or(String::new(), |(_, body)| body.to_owned());
        Ok((status, body))
    };
    asked().unwrap_or_else(|error| (0, error.to_string()))
}

/// Waits until a condition holds.
#[track_caller]
pub fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(PATIENCE, what, condition);
}

/// Waits until a condition holds that takes as long as the machine's load makes it take.
#[track_caller]
pub fn until_within(patience: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !condition() {
        assert!(Instant::now() < deadline, "waited too long for {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
