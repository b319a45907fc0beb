//! Makes the fixture of a released version: homes as its binary wrote them, for the tests of every version after it.
//!
//! Four homes go into one archive. `finished` was taken down in good order; the others lost their power in the middle
//! of a rollout, each in the phase it is named by: every process was killed, so that records of instances and the
//! ledger's log are as they were left.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};

use crate::run;

/// Where the homes lie while they are made. Fixed, because records hold the paths of their home.
const PLACE: &str = "/tmp/hornero-fixture";
/// Where fixtures are kept, and what they are made from.
const KEPT: &str = "crates/app/cli/tests/fixtures/homes";
/// The port of the route while the homes are made.
const PORT: u16 = 8391;
/// Homes that lost their power in the middle of the third release's rollout, each named by the phase that its journal
/// ends in, and the append that control died at.
const CUTS: [(&str, u32); 3] = [("preparing", 5), ("switching", 6), ("watching", 8)];
/// How long processes that were killed may take to be gone.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// Makes the fixture with `binary`, or with what this tree builds.
pub fn make(binary: Option<&str>) -> Result<()> {
    let binary = match binary {
        Some(binary) => fs::canonicalize(binary).with_context(|| format!("`{binary}`"))?,
        None => {
            run::check(run::cargo().args(["build", "--package", "hornero-cli"]))?;
            run::target_directory().join("debug/hornero")
        }
    };
    let version = run::read(Command::new(&binary).arg("--version"))?;
    let version = version.trim().rsplit(' ').next().unwrap_or_default().to_owned();
    let place = Path::new(PLACE);
    ensure!(!place.exists(), "`{PLACE}` is there already; remove it first");
    prepare(place)?;
    let made = finished(place, &binary).and_then(|()| {
        CUTS.iter().try_for_each(|(phase, append)| cut(place, &binary, phase, *append))
    });
    let packed = made.and_then(|()| pack(place, &version));
    fs::remove_dir_all(place)?;
    packed
}

/// The program and the archive that both homes bake from.
fn prepare(place: &Path) -> Result<()> {
    fs::create_dir_all(place)?;
    let program = place.join("server");
    run::check(
        Command::new("gcc")
            .args(["-Os", "-Wall", "-static", "-nostdlib", "-ffreestanding", "-no-pie", "-s"])
            .args(["-fno-stack-protector", "-fno-asynchronous-unwind-tables"])
            .arg("-Wl,--build-id=none,-z,norelro,-z,noseparate-code")
            .arg("-o")
            .arg(&program)
            .arg(format!("{KEPT}/source/server.c")),
    )?;
    let mut archive = run::cargo();
    archive.args(["run", "-q", "-p", "hornero-archive", "--example", "small_archive", "--"]);
    run::check(archive.arg(place.join("archive")).arg(program))
}

/// One home with its project, and the binary that works on it.
struct Home<'a> {
    directory: PathBuf,
    binary: &'a Path,
}

impl<'a> Home<'a> {
    fn create(place: &Path, name: &str, binary: &'a Path) -> Result<Self> {
        let home = Self { directory: place.join(name), binary };
        fs::create_dir_all(home.project())?;
        fs::copy(format!("{KEPT}/source/project/hornero.hcl"), home.project().join("hornero.hcl"))?;
        Ok(home)
    }

    fn path(&self) -> PathBuf {
        self.directory.join("home")
    }

    fn project(&self) -> PathBuf {
        self.directory.join("project")
    }

    fn page(&self, text: &str) -> Result<()> {
        Ok(fs::write(self.project().join("page"), format!("{text}\n"))?)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.binary);
        command.arg("--home").arg(self.path()).args(arguments).current_dir(self.project());
        let archive = Path::new(PLACE).join("archive");
        command.env("HORNERO_VAR_archive", &archive);
        command.env("HORNERO_VAR_keyring", archive.join("keyring.asc"));
        command.env("HORNERO_VAR_listen", PORT.to_string());
        command.stdin(Stdio::null());
        command
    }

    fn ask(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments).output().with_context(|| run::line(&self.command(arguments)))
    }

    /// Runs a command that must end with `code`; gives its stdout.
    fn expect(&self, code: i32, arguments: &[&str]) -> Result<String> {
        let output = self.ask(arguments)?;
        ensure!(
            output.status.code() == Some(code),
            "`{}` ended with {}:\n{}",
            run::line(&self.command(arguments)),
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What the version itself says of the home, for later ones to compare with.
    fn describe(&self) -> Result<()> {
        let value = |arguments: &[&str]| -> Result<Value> {
            Ok(serde_json::from_str(&self.expect(0, arguments)?)?)
        };
        let events = self.expect(0, &["audit", "--json"])?;
        let said = json!({
            "history": value(&["history", "site", "--json"])?,
            "receipts": value(&["receipt", "--json"])?,
            "images": value(&["image", "ls", "--json"])?,
            "events": events.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?,
        });
        let text = serde_json::to_string_pretty(&said)?;
        Ok(fs::write(self.directory.join("said.json"), text)?)
    }

    /// Kills every process that works on the home, as a power cut does.
    fn kill(&self) -> Result<()> {
        let deadline = Instant::now() + END_TIMEOUT;
        loop {
            let left = self.processes()?;
            if left.is_empty() {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "processes {left:?} do not end");
            for process in left {
                // SAFETY: kill(2) takes plain numbers; the process was found by the path of this home.
                unsafe { libc::kill(process, libc::SIGKILL) };
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn processes(&self) -> Result<Vec<i32>> {
        let home = self.path().display().to_string();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(process) = entry.file_name().to_str().and_then(|name| name.parse().ok())
            else {
                continue;
            };
            // A process that has just ended has no command line any more.
            let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
            let mut words = line.split(|byte| *byte == 0);
            if words.any(|word| word == home.as_bytes()) {
                found.push(process);
            }
        }
        Ok(found)
    }
}

/// Releases that are proven and one that failed, a rollback, an import and a pin; then all is taken down.
fn finished(place: &Path, binary: &Path) -> Result<()> {
    let home = Home::create(place, "finished", binary)?;
    let made = (|| {
        releases(&home)?;
        home.page("three")?;
        home.expect(0, &["up", "--reason", "the third page"])?;
        home.expect(0, &["rollback", "site", "--to", "1", "--reason", "the first was better"])?;
        home.expect(0, &["audit", "verify"])?;
        home.describe()
    })();
    home.expect(0, &["down"])?;
    made
}

/// The same beginning; then control dies while it switches to the third release, and everything else with it.
fn cut(place: &Path, binary: &Path, phase: &str, append: u32) -> Result<()> {
    let home = Home::create(place, phase, binary)?;
    let aside = place.join(format!("{phase}-cut"));
    let made = (|| {
        releases(&home)?;
        home.describe()?;
        let status: Value = serde_json::from_str(&home.expect(0, &["status", "--json"])?)?;
        let control = status["control"]["pid"].as_i64().context("control's process id")?;
        // SAFETY: kill(2) takes plain numbers.
        unsafe { libc::kill(i32::try_from(control)?, libc::SIGKILL) };
        let gone = Path::new("/proc").join(control.to_string()).join("exe");
        let deadline = Instant::now() + END_TIMEOUT;
        while gone.exists() {
            ensure!(Instant::now() < deadline, "control does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
        home.page("three")?;
        let mut up = home.command(&["up", "--reason", "the third page"]);
        up.env("HORNERO_CRASH_AT_APPEND", append.to_string());
        ensure!(!up.output()?.status.success(), "control did not die at append {append}");
        home.kill()?;
        // What is below goes on to tidy the host, so the home is put aside as the cut left it.
        run::check(Command::new("cp").arg("-a").arg(home.path()).arg(&aside))
    })();
    home.kill()?;
    home.expect(0, &["down", "--force"])?;
    made?;
    fs::remove_dir_all(home.path())?;
    Ok(fs::rename(aside, home.path())?)
}

/// Two proven releases, one that failed, an image taken in, and a pin.
fn releases(home: &Home<'_>) -> Result<()> {
    home.page("one")?;
    home.expect(0, &["up", "--reason", "the first page"])?;
    home.page("two")?;
    home.expect(0, &["up", "--reason", "the second page"])?;
    home.expect(0, &["image", "pin", "site"])?;
    home.expect(1, &["up", "--var", "command=fail", "--reason", "one that fails"])?;
    let legacy = home.directory.join("legacy");
    fs::create_dir_all(legacy.join("etc"))?;
    fs::write(legacy.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n")?;
    let path = legacy.to_str().context("a path in UTF-8")?;
    home.expect(0, &["image", "import", path, "--name", "legacy"])?;
    Ok(())
}

/// Packs both homes; the same tree gives the same bytes but for what the homes hold of time and chance.
fn pack(place: &Path, version: &str) -> Result<()> {
    let kept = Path::new(KEPT).join(version);
    fs::create_dir_all(&kept)?;
    let archive = kept.join("homes.tar.zst");
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--sparse", "--numeric-owner", "--warning=no-file-ignored"]);
    tar.args(["--use-compress-program", "zstd -19 --long=24"]).arg("-C").arg(place);
    // Sockets are no part of an archive: after a boot they lead nowhere.
    run::check(
        tar.arg("--exclude=*.sock")
            .arg("-cf")
            .arg(&archive)
            .arg("finished")
            .args(CUTS.map(|(phase, _)| phase)),
    )?;
    let bytes = fs::metadata(&archive)?.len();
    if bytes > 1 << 20 {
        bail!("`{}` has {bytes} bytes; a fixture stays below 1 MiB", archive.display());
    }
    eprintln!("fixture: `{}`, {bytes} bytes", archive.display());
    Ok(())
}
