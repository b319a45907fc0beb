//! The main job on `examples/site`, step by step, with a line on each that a person wants to read.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::{interrupt, run, setup, tree};

/// What the page says before and after the change.
const OLD_TEXT: &str = "Baked once, never repaired.";
const NEW_TEXT: &str = "Baked anew, moved in.";
/// How long a page may take to show what a finished command says it shows.
const PAGE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long processes may take to end after `down`.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Runs it.
pub fn demo() -> Result<()> {
    tree::require("examples/site/hornero.hcl")?;
    setup::install(setup::PACKAGES)?;
    eprintln!("demo: building `hornero`");
    run::check(run::cargo().args([
        "build",
        "--package",
        "hornero-cli",
        "--package",
        "hornero-load",
    ]))?;
    interrupt::watch();
    let demo = Demo::prepare()?;
    let told = demo.tell();
    let cleaned = demo.clean_up();
    told.and(cleaned)
}

struct Demo {
    bin: PathBuf,
    scratch: PathBuf,
    site: PathBuf,
    home: PathBuf,
    address: SocketAddr,
}

impl Demo {
    fn prepare() -> Result<Self> {
        let scratch = std::env::temp_dir().join(format!("hornero-demo-{}", std::process::id()));
        let site = scratch.join("site");
        copy_directory(Path::new("examples/site"), &site)?;
        // Free at this moment; the edge takes it a little later.
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let (home, bin) = (scratch.join("home"), scratch.join("bin"));
        // Copies: a build in the meantime must not change what runs here.
        fs::create_dir(&bin)?;
        for program in ["hornero", "hornero-load"] {
            let built = run::target_directory().join("debug").join(program);
            fs::copy(&built, bin.join(program))
                .with_context(|| format!("cannot copy `{}`", built.display()))?;
        }
        Ok(Self { bin, scratch, site, home, address })
    }

    fn tell(&self) -> Result<()> {
        let address = self.address;
        say("", "While this runs, its lines can be pasted into another shell after these two:");
        let (home, bin) = (self.home.display().to_string(), self.bin.display());
        println!("\n$ export HORNERO_HOME={} PATH={bin}:$PATH", in_shell(&home));
        println!("$ cd {}", in_shell(&self.scratch.display().to_string()));
        say(
            "1",
            "Bake a Debian base with nginx and a page on it, test it, start three servers of it",
        );
        let first = self.up("the first release")?;
        say(
            "",
            &format!(
                "{} answers at http://{address}/: \"{}\"",
                first.release,
                self.wait_for(OLD_TEXT)?
            ),
        );

        say("2", "Do the same again: nothing has changed, so nothing happens");
        let again = self.hornero_json(&["up", &self.site_argument(), "--var", &self.listen()])?;
        let changed = again["services"][0]["rollout"].as_u64();
        ensure!(changed.is_none(), "a second `up` without a change made rollout {changed:?}");
        interrupt::check()?;

        say("3", "Change the page, and roll it out while requests keep coming in");
        let load = self.start_load()?;
        self.change_page()?;
        let second = self.up("the page says something else")?;
        say("", &format!("{} answers now: \"{}\"", second.release, self.wait_for(NEW_TEXT)?));

        say(
            "4",
            "Regret it: back to the release before, in one command, with requests still coming in",
        );
        let receipt =
            self.hornero_json(&["rollback", "site", "--reason", "the old page was better"])?;
        say("", &format!("the page says again: \"{}\"", self.wait_for(OLD_TEXT)?));
        let report = stop_load(load)?;

        say("5", "What that cost, by the load generator and by the signed receipts");
        self.settle(&report, &[&second.receipt, &receipt])?;

        say("6", "What there was, and what runs");
        self.hornero(&["history", "site"])?;
        self.hornero(&["status"])?;
        self.hornero(&["audit", "verify"])?;
        interrupt::check()
    }

    /// Says what the switches cost, and fails where a request did.
    fn settle(&self, report: &Value, receipts: &[&Value]) -> Result<()> {
        for receipt in receipts {
            println!(
                "    receipt {}: site@{} -> site@{}, switched in {:.1} ms, {:.0} ms in all, {} drained, {} failed",
                receipt["id"],
                receipt["from"],
                receipt["to"],
                receipt["switch_ms"].as_f64().unwrap_or(f64::NAN),
                receipt["total_ms"].as_f64().unwrap_or(f64::NAN),
                receipt["drained"],
                receipt["requests_failed"],
            );
            ensure!(receipt["requests_failed"] == 0, "the receipt says that requests failed");
        }
        println!(
            "    load generator: {} requests on kept, new and slow connections, {} failed",
            report["started"], report["failed"]
        );
        ensure!(report["failed"] == 0, "requests failed: {:#}", report["failures"]);
        ensure!(report["started"].as_u64() > Some(0), "the load generator made no request");
        Ok(())
    }

    fn up(&self, reason: &str) -> Result<Up> {
        let (site, listen) = (self.site_argument(), self.listen());
        let answer = self.hornero_json(&["up", &site, "--var", &listen, "--reason", reason])?;
        interrupt::check()?;
        let service = &answer["services"][0];
        let receipt = match &service["receipt"] {
            receipt @ Value::Object(_) => receipt.clone(),
            Value::Null => Value::Null,
            id => self.hornero_json(&["receipt", &id.to_string()])?,
        };
        Ok(Up { release: format!("site@{}", service["release"]), receipt })
    }

    fn change_page(&self) -> Result<()> {
        let path = self.site.join("public/index.html");
        let page = fs::read_to_string(&path)?;
        ensure!(page.contains(OLD_TEXT), "`examples/site` no longer says \"{OLD_TEXT}\"");
        fs::write(&path, page.replace(OLD_TEXT, NEW_TEXT))?;
        Ok(())
    }

    fn site_argument(&self) -> String {
        self.site.display().to_string()
    }

    fn listen(&self) -> String {
        format!("listen={}", self.address.port())
    }

    fn hornero(&self, arguments: &[&str]) -> Result<()> {
        println!("\n$ {}", typed(arguments));
        run::check(self.command().args(arguments))?;
        interrupt::check()
    }

    fn hornero_json(&self, arguments: &[&str]) -> Result<Value> {
        let shown: Vec<&str> = arguments.iter().map(|argument| self.shorten(argument)).collect();
        println!("\n$ {}", typed(&shown));
        let text = run::read(self.command().arg("--json").args(arguments))?;
        interrupt::check()?;
        serde_json::from_str(&text)
            .with_context(|| format!("`hornero {arguments:?}` wrote no JSON"))
    }

    fn command(&self) -> Command {
        let mut command = Command::new(self.bin.join("hornero"));
        command.env("HORNERO_HOME", &self.home);
        command
    }

    fn shorten<'a>(&self, argument: &'a str) -> &'a str {
        if Path::new(argument) == self.site { "site" } else { argument }
    }

    fn start_load(&self) -> Result<Child> {
        Command::new(self.bin.join("hornero-load"))
            .args(["run", &self.address.to_string(), "--json", "--until-stdin-ends"])
            .args(["--keep-alive", "4", "--new-connection", "4", "--interval-ms", "20"])
            .args(["--slow", "2", "--slow-path", "/field-notes.txt"])
            // Longer than any demo: it ends with its standard input, also when this process is killed.
            .args(["--seconds", "3600"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start `hornero-load`")
    }

    /// Asks for the page until it contains `text`.
    fn wait_for<'a>(&self, text: &'a str) -> Result<&'a str> {
        let deadline = Instant::now() + PAGE_TIMEOUT;
        loop {
            let page = get(self.address);
            match &page {
                Ok(page) if page.contains(text) => return Ok(text),
                _ if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(20)),
                Ok(page) => bail!("the page does not say \"{text}\" but:\n{page}"),
                Err(error) => bail!("the page can't be had: {error:#}"),
            }
            interrupt::check()?;
        }
    }

    /// Takes everything down; runs also after a failure or Ctrl-C.
    fn clean_up(&self) -> Result<()> {
        if self.home.exists() {
            say("7", "Take everything down");
            let words = ["down", "--all", "--reason", "the demo is over"];
            println!("\n$ {}", typed(&words));
            let by_hand = format!("HORNERO_HOME={} hornero down --all", self.home.display());
            run::check(self.command().args(words))
                .with_context(|| format!("not everything was taken down; by hand: {by_hand}"))?;
            // The control process answers `down` and then ends itself.
            let deadline = Instant::now() + END_TIMEOUT;
            let mut left = processes_of(&self.home);
            while !left.is_empty() && Instant::now() < deadline {
                std::thread::sleep(Duration::from_millis(20));
                left = processes_of(&self.home);
            }
            ensure!(
                left.is_empty(),
                "processes of the demo are left: {left:?}; by hand: {by_hand}"
            );
        }
        fs::remove_dir_all(&self.scratch)
            .with_context(|| format!("cannot remove `{}`", self.scratch.display()))?;
        say("", "nothing is left");
        Ok(())
    }
}

struct Up {
    release: String,
    receipt: Value,
}

/// A command of the demo as a shell takes it.
fn typed(arguments: &[&str]) -> String {
    let words: Vec<String> = arguments.iter().map(|word| in_shell(word)).collect();
    format!("hornero {}", words.join(" "))
}

/// A word as a shell takes it.
fn in_shell(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "/._-=:@".contains(letter);
    match !word.is_empty() && word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', "'\\''")),
    }
}

fn say(step: &str, text: &str) {
    if step.is_empty() {
        println!("    {text}");
    } else {
        println!("\n== {step}. {text}");
    }
}

fn stop_load(mut load: Child) -> Result<Value> {
    drop(load.stdin.take());
    // Exit 1 says that requests failed; the report says which.
    let output = load.wait_with_output().context("cannot wait for `hornero-load`")?;
    serde_json::from_slice(&output.stdout).context("`hornero-load` wrote no report")
}

fn get(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(1)))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut page = Vec::new();
    // The page has a few kilobytes; more is another page.
    stream.take(1 << 20).read_to_end(&mut page)?;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

fn copy_directory(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("cannot create `{}`", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("cannot read `{}`", from.display()))? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_directory(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), &target)
                .with_context(|| format!("cannot copy `{}`", entry.path().display()))?;
        }
    }
    Ok(())
}

/// Processes that name `home` on their command line or in their environment.
fn processes_of(home: &Path) -> Vec<String> {
    let needle = home.as_os_str().as_encoded_bytes();
    let named = |path: PathBuf| {
        fs::read(path).is_ok_and(|bytes| bytes.windows(needle.len()).any(|part| part == needle))
    };
    let own = std::process::id().to_string();
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|pid| pid.bytes().all(|byte| byte.is_ascii_digit()) && *pid != own)
        .filter(|pid| {
            let process = Path::new("/proc").join(pid);
            named(process.join("cmdline")) || named(process.join("environ"))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_can_be_pasted() {
        let shown = typed(&["up", "site", "--var", "listen=8080", "--reason", "it's the first"]);
        assert_eq!(shown, r"hornero up site --var listen=8080 --reason 'it'\''s the first'");
        let output = Command::new("sh").args(["-c", &format!("printf '%s|' {shown}")]).output();
        let printed = String::from_utf8(output.unwrap().stdout).unwrap();
        assert_eq!(printed, "hornero|up|site|--var|listen=8080|--reason|it's the first|");
    }
}
