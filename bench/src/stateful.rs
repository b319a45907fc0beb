//! PostgreSQL under writes through many replacements of its image, with parts of Hornero and the server itself killed meanwhile.

use std::{
    fs,
    path::Path,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Result, ensure};
use hornero_load::{Trial, TrialReport, TrialRound, Victim, writes::PostgresStore};

use crate::{
    Setting,
    hornero::{self, Home},
    process,
    table::{Better, HORNERO, Table},
};

/// The example that users find.
const SPEC: &str = include_str!("../../examples/postgres/hornero.hcl");
const ACCESS: &str = include_str!("../../examples/postgres/pg_hba.conf");
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

pub fn measure(setting: &Setting, replacements: usize, seed: Option<u64>) -> Result<Table> {
    let seed = match seed {
        Some(seed) => seed,
        None => u64::from(SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos()),
    };
    eprintln!("bench: seed {seed}");
    let directory = setting.scratch.join("stateful");
    fs::create_dir_all(&directory)?;
    fs::write(directory.join("pg_hba.conf"), ACCESS)?;
    let address = process::free_address()?;
    let home = Home::new(setting.scratch.join("stateful-home"))?;
    let release = |number: u32| {
        write_release(&directory, address.port(), number)
            .expect("the scratch directory takes files");
    };
    release(0);
    home.run(&["up", &directory.display().to_string()])?;
    let trial = Trial {
        program: &setting.scratch.join(hornero::PROGRAM),
        home: home.path(),
        project: &directory,
        volume: "orders",
        release: &release,
        store: Arc::new(PostgresStore { address }),
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
    Ok(table(&report, seed))
}

/// The example with a port of our own, and an image that differs by its number.
fn write_release(directory: &Path, port: u16, number: u32) -> Result<()> {
    let user = "  user = \"postgres\"\n";
    let listen = "listen   = 5432";
    ensure!(SPEC.contains(user) && SPEC.contains(listen), "the example is another one");
    let text = SPEC.replace(user, &format!("{user}  env  = {{ IMAGE = \"{number}\" }}\n"));
    let text = text.replace(listen, &format!("listen   = {port}"));
    Ok(fs::write(directory.join("hornero.hcl"), text)?)
}

fn table(report: &TrialReport, seed: u64) -> Table {
    let mut table = Table::new(
        "PostgreSQL replaced under writes, while control, edge, shim and server are killed",
    );
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
         acknowledged, {} of them lost or half there; {} broke off with their connection. At most {} file system was on the \
         volume's data at a time, looked at every millisecond.",
        report.rounds.len(),
        report.rounds.iter().filter(back).count(),
        checked.acknowledged,
        checked.wrong.len(),
        checked.broken,
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
