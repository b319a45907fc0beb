//! A server with data under writes through many replacements of its image, with parts of Hornero and the server itself killed
//! meanwhile.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use clap::builder::PossibleValuesParser;
use hornero_load::{STATEFUL_EXAMPLES, StatefulExample, Trial, TrialReport, TrialRound, Victim};

use crate::{
    Setting,
    hornero::{self, Home},
    process,
    table::{Better, HORNERO, Table},
};

/// Clients that write.
const CLIENTS: u64 = 6;
/// What is killed in one round after the other; every second one is left alone.
const VICTIMS: [Option<Victim>; 8] = [
    None,
    Some(Victim::Control),
    None,
    Some(Victim::Edge),
    None,
    Some(Victim::Server),
    None,
    Some(Victim::Shim),
];

/// The names of the servers that can be tried.
pub fn names() -> PossibleValuesParser {
    PossibleValuesParser::new(STATEFUL_EXAMPLES.map(|example| example.name))
}

pub fn measure(
    setting: &Setting,
    server: &str,
    replacements: usize,
    seed: Option<u64>,
) -> Result<Table> {
    let seed = match seed {
        Some(seed) => seed,
        None => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    eprintln!("bench: seed {seed}");
    let example = StatefulExample::named(server).context("there is no such example")?;
    let directory = setting.scratch.join("stateful");
    fs::create_dir_all(&directory)?;
    for (name, text) in example.files {
        fs::write(directory.join(name), text)?;
    }
    let address = process::free_address()?;
    let home = Home::new(setting.scratch.join("stateful-home"))?;
    let release = |number: u32| {
        write_release(&directory, &example, address.port(), number)
            .expect("the scratch directory takes files");
    };
    release(0);
    home.run(&["up", &directory.display().to_string()])?;
    let trial = Trial {
        program: &setting.scratch.join(hornero::PROGRAM),
        home: home.path(),
        project: &directory,
        volume: example.volume,
        release: &release,
        store: example.store(address),
        clients: CLIENTS,
        seed,
    };
    let victims: Vec<Option<Victim>> = VICTIMS.into_iter().cycle().take(replacements).collect();
    let report = trial.run(&victims)?;
    for (number, round) in (1..).zip(&report.rounds) {
        eprintln!("bench: replacement {number}: {round:?}");
    }
    ensure!(report.checked.wrong.is_empty(), "{:#?}", report.checked.wrong);
    ensure!(report.most_writers <= 1, "{} writers at once", report.most_writers);
    Ok(table(&report, server, seed))
}

/// The example with a port of our own, and an image that differs by its number.
fn write_release(
    directory: &Path,
    example: &StatefulExample,
    port: u16,
    number: u32,
) -> Result<()> {
    Ok(fs::write(directory.join("hornero.hcl"), example.text(port, number, ""))?)
}

fn table(report: &TrialReport, server: &str, seed: u64) -> Table {
    let mut table = Table::new(format!(
        "`examples/{server}` replaced under writes, while control, edge, shim and server are killed",
    ));
    let mut add = |name: &str, unit, value| table.add(name, unit, Better::Less, HORNERO, value);
    for round in &report.rounds {
        let killed = round.killed.map_or_else(
            || "nothing killed".to_owned(),
            |(victim, _)| format!("{victim:?} killed").to_lowercase(),
        );
        let gap_ms = round.gap.as_secs_f64() * 1000.0;
        add(&format!("longest time without an acknowledged write, {killed}"), "ms", gap_ms);
        if let (None, Some(ms)) = (round.killed, round.unavailable_ms) {
            add("time without service by the receipt, nothing killed", "ms", ms);
        }
    }
    let checked = &report.checked;
    let back = |round: &&TrialRound| round.codes.last() != Some(&0);
    table.remark(format!(
        "Seed {seed}; {} replacements, {} of which ended on the old image because the new server was killed. {} writes were \
         acknowledged, {} of them lost or half there; {} broke off with their connection; {} are there more than once, where \
         that may be. At most {} file system was on the \
         volume's data at a time, looked at every millisecond.",
        report.rounds.len(),
        report.rounds.iter().filter(back).count(),
        checked.acknowledged,
        checked.wrong.len(),
        checked.broken,
        checked.again,
        report.most_writers,
    ));
    table.remark(format!(
        "New connections refused: {} while an edge lived, {} between the death of one and the next one's start; turned away \
         otherwise: {}.",
        report.refused,
        report.refused_without_edge,
        report.writes.refusals.len() - report.writes.refused(),
    ));
    table
}
