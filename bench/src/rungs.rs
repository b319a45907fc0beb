//! Starts by each way to make a root that this host can do, in processes that run already, as control's launcher does.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, ExitCode, Stdio},
};

use anyhow::{Context, Result, ensure};
use hornero_sandbox::{ComposedRoot, ROOT_VARIABLE, Root, Rung, Support};
use hornero_store::{CaptureOptions, DevicePolicy, Store};

use crate::first_instruction::{cgroup_parent, ours};

/// The argument that makes this program start sandboxes when it is told to.
pub const STARTER: &str = "start-by-rung";

/// A root in a store.
pub fn composed(scratch: &Path, directory: &Path) -> Result<ComposedRoot> {
    let store = Store::open(scratch.join("start-store"))?;
    let ingest = store.ingest()?;
    let options = CaptureOptions { max_mtime: u64::MAX >> 1, devices: DevicePolicy::Skip };
    let layer = ingest.capture_directory(directory, &options)?;
    let layer = ingest.put_layer(&layer)?;
    ingest.finish()?;
    let root = store.root_of_layers(&[layer])?;
    Ok(ComposedRoot { metadata: root.metadata, objects: root.objects })
}

/// A process that starts sandboxes in one way.
pub struct Starter {
    pub rung: Rung,
    process: Child,
    ask: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Starter {
    /// One for each way that this host can do.
    pub fn all(root: &ComposedRoot) -> Result<Vec<Self>> {
        let program = std::env::current_exe()?;
        let rungs = Support::possible_rungs().into_iter();
        rungs.map(|rung| Self::new(&program, rung, root)).collect()
    }

    /// One for the best way, by this program or by an older one.
    pub fn best(program: &Path, root: &ComposedRoot) -> Result<Self> {
        let rung = Support::possible_rungs().into_iter().next();
        Self::new(program, rung.context("this host can make no root")?, root)
    }

    fn new(program: &Path, rung: Rung, root: &ComposedRoot) -> Result<Self> {
        let mut process = Command::new(program)
            .arg(STARTER)
            .args([&root.metadata, &root.objects])
            .env(ROOT_VARIABLE, rung.name())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let ask = process.stdin.take().context("no pipe")?;
        let answers = BufReader::new(process.stdout.take().context("no pipe")?);
        Ok(Self { rung, process, ask, answers })
    }

    /// Milliseconds of one start.
    pub fn start(&mut self) -> Result<f64> {
        self.ask.write_all(b"\n")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        line.trim().parse().with_context(|| format!("starting by `{}`: `{line}`", self.rung))
    }

    pub fn end(mut self) -> Result<()> {
        drop((self.ask, self.answers));
        ensure!(self.process.wait()?.success(), "starting by `{}` failed", self.rung);
        Ok(())
    }
}

/// The life of such a process: a start for each line that comes.
pub fn serve(arguments: &[String]) -> ExitCode {
    let served = || -> Result<()> {
        let [metadata, objects] = arguments else {
            anyhow::bail!("metadata and objects are needed")
        };
        let root = ComposedRoot { metadata: metadata.into(), objects: objects.into() };
        hornero_sandbox::warm_up();
        for (number, line) in std::io::stdin().lines().enumerate() {
            line?;
            let ms = ours(Root::Composed(root.clone()), number)?;
            println!("{ms}");
        }
        hornero_sandbox::remove_parent(&cgroup_parent());
        Ok(())
    };
    match served() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
