//! Speaking with the agent of a machine: one command at a time, its exit code and output back.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};

use crate::interrupt;

/// How long QEMU may take to make its socket.
const SOCKET_TIMEOUT: Duration = Duration::from_secs(20);
/// What the agent may need beyond the time of a command: it kills five seconds late, and emulation is slow.
const ANSWER_MARGIN: Duration = Duration::from_secs(60);
/// The agent's own limit for each stream is 4 MiB, in base64 a third more.
const ANSWER_BYTES: usize = 16 << 20;

/// What came of a command.
#[derive(Debug)]
pub struct CommandOutcome {
    /// Its exit code; 124 when its time was over.
    pub code: i32,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

/// The connection to the agent of a running machine.
pub struct Agent {
    stream: UnixStream,
    received: Vec<u8>,
    commands: u64,
}

impl Agent {
    /// Connects to the socket that QEMU makes.
    pub fn connect(socket: &Path) -> Result<Self> {
        let deadline = Instant::now() + SOCKET_TIMEOUT;
        let stream = loop {
            match UnixStream::connect(socket) {
                Ok(stream) => break stream,
                Err(error) if Instant::now() > deadline => {
                    let what = format!("QEMU made no socket `{}`", socket.display());
                    return Err(error).context(what);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        };
        // Short, so that Ctrl-C and the end of the machine are noticed.
        stream.set_read_timeout(Some(Duration::from_millis(500)))?;
        Ok(Self { stream, received: Vec::new(), commands: 0 })
    }

    /// Waits until the agent says that it runs. `alive` fails when the machine has ended.
    pub fn wait_ready(
        &mut self,
        timeout: Duration,
        alive: &mut dyn FnMut() -> Result<()>,
    ) -> Result<()> {
        let line = self.line(Instant::now() + timeout, alive)?;
        ensure!(line == "ready", "the agent begins with `{line}`");
        Ok(())
    }

    /// Runs a shell command in the machine for at most `seconds`.
    pub fn run(
        &mut self,
        seconds: u64,
        command: &str,
        alive: &mut dyn FnMut() -> Result<()>,
    ) -> Result<CommandOutcome> {
        self.commands += 1;
        let number = self.commands;
        let asked = format!("{number} {seconds} {}\n", STANDARD.encode(command));
        self.stream.write_all(asked.as_bytes()).context("the agent can't be reached")?;
        let deadline = Instant::now() + Duration::from_secs(seconds) + ANSWER_MARGIN;
        let line = self.line(deadline, alive)?;
        parse(&line, number)
    }

    fn line(&mut self, deadline: Instant, alive: &mut dyn FnMut() -> Result<()>) -> Result<String> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.received.drain(..=end).collect();
                return Ok(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            ensure!(self.received.len() < ANSWER_BYTES, "the agent's answer has no end");
            ensure!(Instant::now() < deadline, "the agent does not answer");
            interrupt::check()?;
            alive()?;
            let mut part = [0; 65_536];
            match self.stream.read(&mut part) {
                Ok(0) => bail!("the machine closed the agent's connection"),
                Ok(count) => self.received.extend_from_slice(&part[..count]),
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error).context("the agent can't be read"),
            }
        }
    }
}

fn parse(line: &str, number: u64) -> Result<CommandOutcome> {
    let words: Vec<&str> = line.split(' ').collect();
    let ["done", answered, code, stdout, stderr] = words.as_slice() else {
        bail!("the agent answers `{}`", line.chars().take(200).collect::<String>());
    };
    ensure!(*answered == number.to_string(), "the agent answers command {answered}, not {number}");
    let decoded = |text: &str| -> Result<String> {
        if text == "-" {
            return Ok(String::new());
        }
        let bytes = STANDARD.decode(text).context("the agent's answer is no base64")?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(CommandOutcome {
        code: code.parse().context("the agent's exit code is no number")?,
        stdout: decoded(stdout)?,
        stderr: decoded(stderr)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_taken_only_for_the_command_that_was_asked() {
        let outcome = parse("done 3 1 aGFsbG8K -", 3).unwrap();
        assert_eq!(
            (outcome.code, outcome.stdout.as_str(), outcome.stderr.as_str()),
            (1, "hallo\n", "")
        );
        assert!(parse("done 2 0 - -", 3).is_err());
        assert!(parse("ready", 3).is_err());
        assert!(parse("done 3 x - -", 3).is_err());
        assert!(parse("done 3 0 ! -", 3).is_err());
    }
}
