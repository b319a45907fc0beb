//! One machine under trial: what it is asked, what must come of it, and what is said about each step.

use std::{
    io::{Read as _, Write as _},
    net::TcpStream,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};

use super::{agent::CommandOutcome, machine::Machine, traces::Traces};
use crate::interrupt;

/// How long one answer of the site may take: emulated machines are ten to twenty times slower.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
/// A page has a few kilobytes; more is another page.
const PAGE_BYTES: u64 = 1 << 20;
/// How often something is looked at again.
const POLL: Duration = Duration::from_millis(250);

/// A machine and what was seen of it.
pub struct Session {
    /// The machine.
    pub machine: Machine,
    /// Where logs of this machine are kept.
    pub logs: PathBuf,
    /// What the site's front page says now.
    pub text: &'static str,
    /// What was there before Hornero.
    pub before: Option<Traces>,
}

impl Session {
    /// Runs a command that must succeed, and returns what it wrote to stdout.
    pub fn succeed(&mut self, seconds: u64, command: &str) -> Result<String> {
        let outcome = self.machine.run(seconds, command)?;
        if outcome.code == 0 { Ok(outcome.stdout) } else { Err(unexpected(command, &outcome)) }
    }

    /// Runs a command that must end with `code`, and returns all that came of it.
    pub fn expect_code(
        &mut self,
        code: i32,
        seconds: u64,
        command: &str,
    ) -> Result<CommandOutcome> {
        let outcome = self.machine.run(seconds, command)?;
        if outcome.code == code { Ok(outcome) } else { Err(unexpected(command, &outcome)) }
    }

    /// Waits until a command succeeds, and returns what it wrote to stdout.
    pub fn eventually(&mut self, seconds: u64, command: &str) -> Result<String> {
        let deadline = Instant::now() + Duration::from_secs(seconds);
        loop {
            let outcome = self.machine.run(seconds, command)?;
            if outcome.code == 0 {
                return Ok(outcome.stdout);
            }
            if Instant::now() > deadline {
                return Err(
                    unexpected(command, &outcome).context(format!("not within {seconds} s"))
                );
            }
            std::thread::sleep(POLL);
        }
    }

    /// Asks the site from outside of the machine until it answers with `text`; returns how long that took.
    pub fn site_says(&self, text: &str, timeout: Duration) -> Result<Duration> {
        let begun = Instant::now();
        loop {
            let last = match self.page() {
                Ok(page) if page.contains(text) => return Ok(begun.elapsed()),
                Ok(page) => format!("it answers\n{page}"),
                Err(error) => format!("{error:#}"),
            };
            ensure!(
                begun.elapsed() < timeout,
                "the site does not say `{text}` within {} s: {last}",
                timeout.as_secs()
            );
            interrupt::check()?;
            std::thread::sleep(POLL);
        }
    }

    /// The site's front page, asked for from outside of the machine.
    pub fn page(&self) -> Result<String> {
        let address = self.machine.site;
        let mut stream = TcpStream::connect_timeout(&address, PAGE_TIMEOUT)?;
        stream.set_read_timeout(Some(PAGE_TIMEOUT))?;
        write!(stream, "GET / HTTP/1.1\r\nHost: site\r\nConnection: close\r\n\r\n")?;
        let mut page = Vec::new();
        stream.take(PAGE_BYTES).read_to_end(&mut page).context("the site does not answer")?;
        let page = String::from_utf8_lossy(&page).into_owned();
        ensure!(!page.is_empty(), "the site closes the connection without an answer");
        Ok(page)
    }

    /// Keeps what the machine's journal and Hornero say, for whoever looks into a failure.
    pub fn keep_logs(&mut self) -> Result<()> {
        if !self.machine.is_running() {
            return Ok(());
        }
        for (name, command) in [
            ("journal.log", "journalctl --no-pager -b -n 2000"),
            ("hornero.log", "tail -n 200 /var/lib/hornero/*.log /var/lib/hornero/log/* 2>&1"),
            (
                "processes.log",
                "ps -eo pid,ppid,etimes,stat,args --forest; ss -tlnp; free -m; df -h",
            ),
        ] {
            let outcome = self.machine.run(60, command)?;
            std::fs::write(self.logs.join(name), outcome.stdout + &outcome.stderr)?;
        }
        Ok(())
    }
}

fn unexpected(command: &str, outcome: &CommandOutcome) -> anyhow::Error {
    let mut text = match outcome.code {
        124 => format!("`{command}` did not end in time"),
        code => format!("`{command}` ended with {code}"),
    };
    for part in [&outcome.stdout, &outcome.stderr] {
        if !part.trim().is_empty() {
            text += "\n";
            text += part.trim_end();
        }
    }
    anyhow::Error::msg(text)
}

/// The number behind `key` in JSON that Hornero wrote, for checks that need one.
pub fn json(text: &str) -> Result<serde_json::Value> {
    match serde_json::from_str(text) {
        Ok(value) => Ok(value),
        Err(error) => bail!("no JSON: {error}\n{text}"),
    }
}
