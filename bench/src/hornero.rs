//! The `hornero` command as a user runs it, with a home of its own that is taken down at the end.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::process;

/// The command that is measured.
pub const PROGRAM: &str = "hornero";
/// The load generator, which is a server too.
pub const LOAD: &str = "hornero-load";
/// What measures.
pub const BENCH: &str = "hornero-bench";

/// Copies the programs built beside this one to `scratch`: a build in the meantime must not change what is measured.
pub fn keep_programs(scratch: &Path) -> Result<()> {
    let own = std::env::current_exe()?;
    let built = own.parent().context("this program lies nowhere")?;
    copy(built, scratch, &[PROGRAM, LOAD]).context("run `cargo xtask bench`")
}

/// Copies the programs of an older build, this one among them, to a directory: homes there are the older program's.
pub fn keep_older_programs(built: &Path, directory: &Path) -> Result<()> {
    std::fs::create_dir_all(directory)?;
    copy(built, directory, &[PROGRAM, LOAD, BENCH]).context("`--before` names no build with them")
}

fn copy(from: &Path, to: &Path, names: &[&str]) -> Result<()> {
    names.iter().try_for_each(|name| {
        let built = from.join(name);
        let copied = std::fs::copy(&built, to.join(name));
        copied.map(drop).with_context(|| format!("cannot copy `{}`", built.display()))
    })
}

/// `hornero --home HOME` of the programs that lie next above: those of the scratch directory or of an older build.
pub fn command(home: &Path) -> Result<Command> {
    let program = home.ancestors().map(|above| above.join(PROGRAM)).find(|path| path.is_file());
    let mut command = Command::new(program.context("`hornero` was not copied")?);
    command.arg("--home").arg(home);
    Ok(command)
}

/// A home; dropping it takes down what runs in it.
pub struct Home {
    path: PathBuf,
}

impl Home {
    pub fn new(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path)?;
        Ok(Self { path })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Runs `hornero up ARGUMENTS` for a directory with one service; gives the receipt.
    pub fn up(&self, arguments: &[&str]) -> Result<Value> {
        let (_, answer) = self.run(&[&["up"], arguments].concat())?;
        let receipt = &answer["services"][0]["receipt"];
        if receipt.is_object() {
            return Ok(receipt.clone());
        }
        Ok(self.run(&["receipt", &receipt.to_string()])?.1)
    }

    /// Runs `hornero ARGUMENTS --json` and returns how many milliseconds it took and what it said.
    pub fn run(&self, arguments: &[&str]) -> Result<(f64, Value)> {
        let mut command = command(&self.path)?;
        command.arg("--json").args(arguments);
        let (ms, text) = process::timed(|| process::run(&mut command))?;
        let value = if text.trim().is_empty() {
            Value::Null
        } else {
            serde_json::from_str(&text).with_context(|| format!("{arguments:?} wrote no JSON"))?
        };
        Ok((ms, value))
    }
}

impl Home {
    /// Runs `hornero ARGUMENTS` and returns how many milliseconds it took and what it told on stderr.
    pub fn run_told(&self, arguments: &[&str]) -> Result<(f64, String)> {
        let mut command = command(&self.path)?;
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null());
        let (ms, output) = process::timed(|| Ok(command.output()?))?;
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.success(), "{arguments:?} failed: {told}");
        Ok((ms, told))
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let down = command(&self.path).and_then(|mut command| process::run(command.arg("down")));
        if let Err(error) = down {
            eprintln!("bench: `{}` could not be taken down: {error:#}", self.path.display());
        }
    }
}

/// The whole answer to `GET /`.
pub fn get(address: SocketAddr) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(2)))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    // The pages that are measured have a few kilobytes.
    stream.take(1 << 20).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
