//! Real machines: Debian with systemd and its own kernels under QEMU, on which Hornero is installed, used and removed.

mod agent;
mod archive;
mod cached;
mod catalogue;
mod image;
mod machine;
mod native;
mod newcomer;
mod payload;
mod session;
mod steps;
mod traces;
mod trial_kind;

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use catalogue::{MACHINES, MachineKind};
use session::Session;
use trial_kind::TrialKind;

use crate::{interrupt, package, run, setup};

const USAGE: &str = "\
usage: cargo xtask hosts [MACHINE]...

  boots the machines side by side and tries Hornero on each; without a name 6.1 and 6.12

  --quick       what CI has: without killing control, changing the site and upgrading; programs as tests build them
  --all         every machine, with the tests
  --tests       run the tests of sandbox and engine in the machines too, one after the other
  --newcomer    instead the first hour of somebody new, from the package to a reboot, each command with what it
                printed; on a machine that can reach Debian's mirror
  --prepare     only make the roots and disks, for a quick start later
  --list        say which machines there are
";

/// Boots machines and tries Hornero on them.
pub fn hosts(arguments: &[String]) -> Result<()> {
    let Some(chosen) = chosen(arguments)? else { return Ok(()) };
    setup::install(setup::PACKAGES)?;
    setup::install(package::PACKAGES)?;
    interrupt::watch();
    let work = run::target_directory().join("hosts");
    fs::create_dir_all(&work).with_context(|| format!("cannot create `{}`", work.display()))?;
    // One after the other: they share roots and lists.
    let mut prepared = Vec::new();
    for kind in chosen.kinds {
        prepared.push((kind, image::image(kind, &work)?));
    }
    let trial = chosen.trial;
    if trial == TrialKind::None {
        return Ok(());
    }
    let payload = payload::make(&work, trial)?;
    let trials: Vec<Trial> = std::thread::scope(|scope| {
        let threads: Vec<_> = prepared
            .into_iter()
            .map(|(kind, image)| {
                let (work, payload) = (&work, &payload);
                (kind, scope.spawn(move || try_on(kind, image, work, payload, trial)))
            })
            .collect();
        threads
            .into_iter()
            .map(|(kind, thread)| thread.join().unwrap_or_else(|_| Trial::panicked(kind)))
            .collect()
    });
    report(&trials, &work)
}

/// What the arguments ask for.
struct Chosen {
    kinds: Vec<&'static MachineKind>,
    trial: TrialKind,
}

/// What the arguments ask for; none where they only ask what there is.
fn chosen(arguments: &[String]) -> Result<Option<Chosen>> {
    let mut kinds: Vec<&'static MachineKind> = Vec::new();
    let mut trial = TrialKind::Operator;
    for argument in arguments {
        match argument.as_str() {
            "--all" => {
                kinds = MACHINES.iter().collect();
                trial = TrialKind::OperatorWithTests;
            }
            "--quick" => trial = TrialKind::OperatorQuickly,
            "--tests" => trial = TrialKind::OperatorWithTests,
            "--prepare" => trial = TrialKind::None,
            "--newcomer" => trial = TrialKind::Newcomer,
            "--list" => {
                for kind in MACHINES {
                    println!(
                        "{:<10} {} with {} of {}",
                        kind.name, kind.suite, kind.kernel, kind.kernel_suite
                    );
                }
                return Ok(None);
            }
            "--help" | "-h" => {
                print!("{USAGE}");
                return Ok(None);
            }
            name => match MACHINES.iter().find(|kind| kind.name == name) {
                Some(kind) => kinds.push(kind),
                None => bail!("there is no machine `{name}`\n\n{USAGE}"),
            },
        }
    }
    if kinds.is_empty() {
        kinds = MACHINES.iter().filter(|kind| kind.by_default).collect();
    }
    Ok(Some(Chosen { kinds, trial }))
}

/// What came of one machine.
struct Trial {
    name: &'static str,
    steps: Vec<Done>,
    failure: Option<String>,
    took: Duration,
}

impl Trial {
    fn panicked(kind: &MachineKind) -> Self {
        let failure = Some("the trial itself broke".to_owned());
        Self { name: kind.name, steps: Vec::new(), failure, took: Duration::ZERO }
    }
}

/// A step that succeeded.
struct Done {
    name: &'static str,
    took: Duration,
    processor: Duration,
    seen: String,
}

fn try_on(
    kind: &'static MachineKind,
    image: image::Image,
    work: &Path,
    payload: &Path,
    trial: TrialKind,
) -> Trial {
    let begun = Instant::now();
    let mut steps = Vec::new();
    let wanted = match trial {
        TrialKind::None => Vec::new(),
        TrialKind::Newcomer => newcomer::steps(),
        TrialKind::OperatorQuickly | TrialKind::Operator | TrialKind::OperatorWithTests => {
            steps::steps(kind.expected, trial)
        }
    };
    let logs = work.join("machines").join(kind.name);
    let machine = mirror(kind, work, trial)
        .and_then(|mirror| machine::Machine::new(&logs, image, payload, mirror));
    let failure = match machine {
        Ok(machine) => {
            let session = Session { machine, logs, text: steps::TEXT, before: None };
            run_steps(kind, session, &wanted, &mut steps).err()
        }
        Err(error) => Some(error),
    };
    let failure = failure.map(|error| format!("{error:#}"));
    Trial { name: kind.name, steps, failure, took: begun.elapsed() }
}

/// The way out of a machine, for who bakes in it what was not baked before.
fn mirror(kind: &MachineKind, work: &Path, trial: TrialKind) -> Result<Option<archive::Mirror>> {
    if trial != TrialKind::Newcomer {
        return Ok(None);
    }
    let archive = archive::Archive::open(&work.join("apt").join(kind.suite), kind.suite)?;
    archive.mirror().map(Some)
}

fn run_steps(
    kind: &'static MachineKind,
    mut session: Session,
    steps: &[steps::Step],
    done: &mut Vec<Done>,
) -> Result<()> {
    for (number, step) in steps.iter().enumerate() {
        let (begun, used) = (Instant::now(), session.machine.processor_time());
        let place = format!("{}/{}", number + 1, steps.len());
        match (step.run)(&mut session) {
            Ok(seen) => {
                let took = begun.elapsed();
                let processor = session.machine.processor_time().saturating_sub(used);
                say(kind, &place, step.name, took, processor, &seen);
                done.push(Done { name: step.name, took, processor, seen });
            }
            Err(error) => {
                let processor = session.machine.processor_time().saturating_sub(used);
                let failure = format!("FAILED: {error:#}");
                say(kind, &place, step.name, begun.elapsed(), processor, &failure);
                if let Err(error) = session.keep_logs() {
                    eprintln!("hosts: {}: no logs of it: {error:#}", kind.name);
                }
                let logs = session.logs.display();
                return Err(error.context(format!("`{}` failed; logs are in {logs}", step.name)));
            }
        }
        interrupt::check()?;
    }
    Ok(())
}

fn say(
    kind: &MachineKind,
    place: &str,
    step: &str,
    took: Duration,
    processor: Duration,
    text: &str,
) {
    let (took, processor) = (took.as_secs_f64(), processor.as_secs());
    eprintln!(
        "hosts: {:<9} {place:>5} {step:<14} {took:>6.1} s (processor {processor} s)  {text}",
        kind.name
    );
}

fn report(trials: &[Trial], work: &Path) -> Result<()> {
    let machines: Vec<_> = trials
        .iter()
        .map(|trial| {
            let steps: Vec<_> = trial
                .steps
                .iter()
                .map(|step| {
                    json!({
                        "name": step.name, "seen": step.seen, "seconds": step.took.as_secs_f64(),
                        "processor_seconds": step.processor.as_secs_f64(),
                    })
                })
                .collect();
            json!({
                "machine": trial.name, "ok": trial.failure.is_none(), "failure": trial.failure,
                "seconds": trial.took.as_secs_f64(), "steps": steps,
            })
        })
        .collect();
    fs::write(
        work.join("summary.json"),
        serde_json::to_vec_pretty(&json!({ "machines": machines }))?,
    )?;
    let mut failed = Vec::new();
    for trial in trials {
        let (steps, seconds) = (trial.steps.len(), trial.took.as_secs());
        match &trial.failure {
            None => println!("hosts: {} ok {steps} steps in {seconds} s", trial.name),
            Some(failure) => {
                println!("hosts: {} FAILED after {steps} steps in {seconds} s", trial.name);
                failed.push(format!("{}: {failure}", trial.name));
            }
        }
    }
    if failed.is_empty() { Ok(()) } else { bail!("{}", failed.join("\n")) }
}
