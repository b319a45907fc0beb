//! `hornero-sim`: runs histories by seed, and tells which broke what.

use std::{
    panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook},
    process::ExitCode,
};

use hornero_sim::history;

const USAGE: &str = "\
usage: hornero-sim --seeds N [--from SEED] [--trace]

  --seeds N    how many seeds to run, one history each
  --from SEED  the first of them; 0 where it is not given
  --trace      show every line of each history, and not only the last ones of one that breaks an invariant
";

/// Lines of a broken history that are shown: a rollout with its faults takes about as many.
const LINES: usize = 120;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(run) = Run::parse(&arguments) else {
        eprint!("{USAGE}");
        return ExitCode::from(2);
    };
    // What panics is caught and told by seed, with its trace.
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let (broken, events) = run.all();
    set_hook(hook);
    println!("{} seeds run, {events} events, {broken} broken invariants", run.seeds);
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Run {
    from: u64,
    seeds: u64,
    trace: bool,
}

impl Run {
    fn parse(arguments: &[String]) -> Option<Self> {
        let mut run = Self { from: 0, seeds: 0, trace: false };
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "--seeds" => run.seeds = rest.next()?.parse().ok()?,
                "--from" => run.from = rest.next()?.parse().ok()?,
                "--trace" => run.trace = true,
                _ => return None,
            }
        }
        (run.seeds > 0 && run.from.checked_add(run.seeds).is_some()).then_some(run)
    }

    /// Runs every seed; gives how many broke an invariant, and how much happened in the others.
    fn all(&self) -> (u64, u64) {
        let (mut broken, mut events) = (0, 0);
        for seed in self.from..self.from + self.seeds {
            match run(seed, self.trace) {
                Ok((happened, lines)) => {
                    events += happened;
                    lines.iter().for_each(|line| println!("{line}"));
                }
                Err(_) => {
                    broken += 1;
                    // The same seed is the same history: once more, with everything told.
                    let what = run(seed, true).err().unwrap_or_default();
                    let lines: Vec<&str> = what.lines().collect();
                    let shown = if self.trace { lines.len() } else { LINES.min(lines.len()) };
                    println!("{}", lines[lines.len() - shown..].join("\n"));
                    println!(
                        "seed {seed} again: cargo xtask sim --seeds 1 --from {seed} --trace\n"
                    );
                }
            }
        }
        (broken, events)
    }
}

/// How much happened in a history, and its lines; or what it broke.
fn run(seed: u64, traced: bool) -> Result<(u64, Vec<String>), String> {
    let ended = catch_unwind(AssertUnwindSafe(|| history(seed, traced)));
    let simulation = ended.map_err(|payload| {
        let text = payload.downcast_ref::<String>().cloned();
        let text = text.or_else(|| payload.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        text.unwrap_or_else(|| "it panicked".to_owned())
    })?;
    let lines = if traced { simulation.host.trace.lines().to_vec() } else { Vec::new() };
    Ok((simulation.happened(), lines))
}
