//! Measures Hornero beside its peers, in one run, interleaved, and prints ratios.

mod bake;
mod cold;
mod density;
mod docker;
mod edge;
mod export;
mod first_instruction;
mod fleet;
mod gc;
mod hornero;
mod judge;
mod logs;
mod peers;
mod process;
mod rebase;
mod reboot;
mod roots;
mod rungs;
mod setting;
mod small;
mod soak;
mod start;
mod stateful;
mod swarm;
mod table;
mod tcp;
mod transfer;
mod upgrade;
mod verify;
mod wide;

use std::{path::PathBuf, process::ExitCode};

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};

use crate::{setting::Setting, table::Table};

/// Measures Hornero beside its peers and appends the tables to bench/RESULTS.md.
#[derive(Parser)]
#[command(
    name = "cargo xtask bench",
    after_help = "\
Needs root and, for what is not installed or cached yet, the Debian mirrors of this host's apt sources. Peers run with
data of their own under a temporary directory and are stopped again; listeners are on loopback."
)]
struct Arguments {
    /// What to measure; everything but the soak by default
    #[arg(value_enum)]
    what: Vec<What>,
    /// Runs of each contestant; the medians are compared
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Measure the peers only
    #[arg(long)]
    peers_only: bool,
    /// Measure no peers, but in turn the programs of an older build that lie in this directory: of start, bake and deploy
    #[arg(long, value_name = "DIRECTORY", conflicts_with = "peers_only")]
    before: Option<PathBuf>,
    /// Where the tables are appended
    #[arg(long, default_value = "bench/RESULTS.md")]
    results: PathBuf,
    /// Switches of the soak
    #[arg(long, default_value_t = 1000)]
    switches: u32,
    /// Replacements of the server with data
    #[arg(long, default_value_t = 50)]
    replacements: usize,
    /// Which example of a server with data is replaced
    #[arg(long, default_value = "postgres", value_parser = stateful::names())]
    server: String,
    /// What the moments follow from at which something is killed; random by default
    #[arg(long)]
    seed: Option<u64>,
    /// Objects in the store whose garbage is collected
    #[arg(long, default_value_t = 1_000_000)]
    objects: usize,
    /// Images that are moved onto a patched base
    #[arg(long, default_value_t = 1000)]
    images: usize,
    /// Small servers on one host
    #[arg(long, default_value_t = 500)]
    instances: usize,
    /// Simulated canaries of each kind
    #[arg(long, default_value_t = 10_000)]
    canaries: u32,
    /// Servers of the simulated fleets
    #[arg(long, value_delimiter = ',', default_value = "100,1000")]
    fleets: Vec<u32>,
    /// Patched states of the image whose storage and transfer are counted
    #[arg(long, default_value_t = 30)]
    states: usize,
    /// Megabytes of logs that are written and searched
    #[arg(long, default_value_t = 1_000)]
    log_megabytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Requests a second and p99 of the edge, beside nginx and HAProxy
    Edge,
    /// A stream and small messages through the edge's TCP listeners, beside HAProxy
    Tcp,
    /// From creating an instance to the first instruction of its command, beside runc and Docker
    Start,
    /// A changed page on every server, and back again, beside Docker in swarm mode
    Deploy,
    /// A Debian base with nginx, beside mmdebstrap and debootstrap
    Bake,
    /// A root of ten thousand files against what it should be, beside AIDE
    Verify,
    /// Deleting half of a million objects, beside unlink alone
    Gc,
    /// A thousand images onto a patched base, beside building them again with Docker
    Rebase,
    /// An image as EROFS and as OCI image, beside mkfs.erofs and `docker save`
    Export,
    /// Storage and transfer of an image's patched states, beside Docker's layers
    Transfer,
    /// Hundreds of small servers: starts a second, and what they cost while idle, beside Docker; not part of the default
    Density,
    /// False alarms of the judge of canaries, and how soon it finds bad ones, beside fixed thresholds; simulated
    Judge,
    /// What deciding costs, by the number of servers; simulated
    Fleet,
    /// A host that starts again after a power cut: until its servers are healthy
    Reboot,
    /// Another program takes over under load: the longest pause that a client sees
    Upgrade,
    /// The first answer of a service of which nothing runs, beside systemd's socket activation
    Cold,
    /// Warm rollbacks under load with a thousand routes in the table
    Wide,
    /// Logs written, kept and searched, beside grep and zstdgrep; not part of the default
    Logs,
    /// Many switches and rollbacks under load; not part of the default
    Soak,
    /// A server with data replaced under writes while things are killed: writes lost, time without service; not part of the default
    Stateful,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).is_some_and(|argument| argument == first_instruction::FIRST_INSTRUCTION) {
        return first_instruction::first_instruction();
    }
    if arguments.get(1).is_some_and(|argument| argument == rungs::STARTER) {
        return rungs::serve(&arguments[2..]);
    }
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What is measured where nothing is named.
const ALL: &[What] = &[
    What::Edge,
    What::Tcp,
    What::Start,
    What::Bake,
    What::Verify,
    What::Gc,
    What::Rebase,
    What::Export,
    What::Transfer,
    What::Deploy,
    What::Judge,
    What::Fleet,
    What::Reboot,
    What::Upgrade,
    What::Cold,
    What::Wide,
];
/// What the programs of an older build are measured in.
const COMPARABLE: &[What] = &[What::Start, What::Bake, What::Deploy];

fn wanted(arguments: &Arguments) -> Result<&[What]> {
    let known = if arguments.before.is_some() { COMPARABLE } else { ALL };
    let named = &arguments.what[..];
    ensure!(
        arguments.before.is_none() || named.iter().all(|what| known.contains(what)),
        "`--before` measures start, bake and deploy"
    );
    Ok(if named.is_empty() { known } else { named })
}

fn run(arguments: &Arguments) -> Result<()> {
    let wanted = wanted(arguments)?;
    // Under /var/tmp: roots and images are large, and /tmp may be in memory.
    let directory = tempfile::Builder::new().prefix("hornero-bench-").tempdir_in("/var/tmp")?;
    let setting = Setting {
        runs: arguments.runs.max(1),
        peers_only: arguments.peers_only,
        before: arguments.before.as_ref().map(|_| directory.path().join("before")),
        objects: arguments.objects,
        images: arguments.images,
        states: arguments.states.max(1),
        scratch: directory.path().to_owned(),
    };
    if !setting.peers_only {
        hornero::keep_programs(&setting.scratch)?;
    }
    if let (Some(from), Some(to)) = (&arguments.before, &setting.before) {
        hornero::keep_older_programs(from, to)?;
    }
    let mut tables = Vec::new();
    for what in wanted {
        let measured = match what {
            What::Edge => edge::measure(&setting),
            What::Tcp => tcp::measure(&setting),
            What::Start => start::measure(&setting),
            What::Deploy => swarm::measure(&setting),
            What::Bake => bake::measure(&setting),
            What::Gc => gc::measure(&setting),
            What::Judge => judge::measure(arguments.canaries.max(1)),
            What::Fleet => fleet::measure(&arguments.fleets),
            What::Verify => verify::measure(&setting),
            What::Rebase => rebase::measure(&setting),
            What::Export => export::measure(&setting),
            What::Transfer => transfer::measure(&setting),
            What::Density => density::measure(&setting, arguments.instances),
            What::Reboot => reboot::measure(&setting),
            What::Upgrade => upgrade::measure(&setting),
            What::Cold => cold::measure(&setting),
            What::Wide => wide::measure(&setting),
            What::Logs => logs::measure(&setting, arguments.log_megabytes),
            What::Soak => soak::measure(&setting, arguments.switches),
            What::Stateful => {
                let Arguments { server, replacements, seed, .. } = arguments;
                stateful::measure(&setting, server, *replacements, *seed)
            }
        }?;
        print!("{}", measured.markdown());
        tables.push(measured);
    }
    append(&arguments.results, &tables)
        .with_context(|| format!("cannot append to `{}`", arguments.results.display()))
}

fn append(path: &std::path::Path, tables: &[Table]) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
    let commit = process::read("git", &["describe", "--always", "--dirty"]).unwrap_or_default();
    let cores = std::thread::available_parallelism()?;
    let kernel = rustix::system::uname();
    let heading = format!(
        "\n## {}, commit {}, {cores} cores, Linux {}\n",
        hornero_model::Timestamp::now(),
        commit.trim(),
        kernel.release().to_string_lossy()
    );
    file.write_all(heading.as_bytes())?;
    for table in tables {
        file.write_all(table.markdown().as_bytes())?;
    }
    Ok(())
}
