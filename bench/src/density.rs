//! Many small servers on one host: how fast they start, and what keeping them costs while nothing happens.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    docker::Docker,
    hornero, peers,
    process::cpu_ms,
    roots::DebianRoot,
    setting::Setting,
    small::{Processes, Small, pids},
    table::{Better, HORNERO, Table},
};

/// How long idle processor time is counted.
const IDLE: Duration = Duration::from_secs(20);
/// Docker's containers: as many as it starts in about a minute; what one costs does not depend on how many there are.
const CONTAINERS: usize = 100;

pub fn measure(setting: &Setting, instances: usize) -> Result<Table> {
    let mut table = Table::new("Density: many small servers on one host, idle");
    if !setting.peers_only {
        for _ in 0..setting.runs {
            ours(setting, instances, &mut table)?;
        }
    }
    peers::install(peers::CONTAINERS)?;
    let root = DebianRoot::make(&setting.scratch)?;
    let docker = Docker::start(&setting.scratch)?;
    docker.import(&root.tar, "bench-root")?;
    containers(setting, &docker, &mut table)?;
    table.remark(format!(
        "Hornero: {instances} instances, each tested, probed twice a second and switched to; memory is the proportional \
         set size of everything but the servers themselves. Docker: {CONTAINERS} containers without a network and without \
         health checks; memory is that of their shims."
    ));
    Ok(table)
}

fn ours(setting: &Setting, instances: usize, table: &mut Table) -> Result<()> {
    let small = Small::new(setting, "density", instances)?;
    let receipt = small.up()?;
    let total_ms = receipt["total_ms"].as_f64().context("the receipt has no `total_ms`")?;
    let a_second = instances as f64 / (total_ms / 1e3);
    table.add("started, tested, probed, switched to", "/s", Better::More, HORNERO, a_second);

    let processes = Processes::of(small.home.path())?;
    let keeping = proportional_kb(&processes.keepers)? / instances as f64;
    table.add("memory to keep an instance", "KB", Better::Less, HORNERO, keeping);
    let control = proportional_kb(&[processes.control])? / 1024.0;
    table.add("memory of control", "MB", Better::Less, HORNERO, control);
    let edge = proportional_kb(&[processes.edge])? / 1024.0;
    table.add("memory of the edge", "MB", Better::Less, HORNERO, edge);
    let (before, begun) = ([cpu_ms(processes.control)?, cpu_ms(processes.edge)?], Instant::now());
    std::thread::sleep(IDLE);
    let passed_ms = begun.elapsed().as_secs_f64() * 1e3;
    let share = |after: f64, before: f64| 100.0 * (after - before) / passed_ms;
    let control = share(cpu_ms(processes.control)?, before[0]);
    table.add("control, idle", "% of a core", Better::Less, HORNERO, control);
    let edge = share(cpu_ms(processes.edge)?, before[1]);
    let probes = instances as f64 * 2.0 / 1000.0;
    table.add(
        "edge, for 1,000 probes a second",
        "% of a core",
        Better::Less,
        HORNERO,
        edge / probes,
    );
    Ok(())
}

fn containers(setting: &Setting, docker: &Docker, table: &mut Table) -> Result<()> {
    let begun = Instant::now();
    let load = setting.scratch.join(hornero::LOAD);
    let volume = format!("{}:/hornero-load:ro", load.display());
    let run = [
        "run",
        "--detach",
        "--network=none",
        "--memory=32m",
        "--volume",
        &volume,
        "bench-root",
        "/hornero-load",
        "serve",
        "--listen",
        "127.0.0.1:8080",
    ];
    for _ in 0..CONTAINERS {
        docker.run(&run)?;
    }
    let a_second = CONTAINERS as f64 / begun.elapsed().as_secs_f64();
    table.add("started, tested, probed, switched to", "/s", Better::More, "docker run", a_second);
    let own = setting.scratch.display().to_string();
    let shims = pids(|command| command.contains("containerd-shim") && command.contains(&own))?;
    ensure!(shims.len() >= CONTAINERS, "{} of {CONTAINERS} shims were found", shims.len());
    let each = proportional_kb(&shims)? / CONTAINERS as f64;
    table.add("memory to keep an instance", "KB", Better::Less, "docker run", each);
    Ok(())
}

/// Proportional set size (proc_pid_smaps_rollup): pages that several share count by their share.
fn proportional_kb(pids: &[u32]) -> Result<f64> {
    let mut sum = 0.0;
    for pid in pids {
        let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))
            .with_context(|| format!("read the memory of process {pid}"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        let digits = line.map(|rest| rest.trim().trim_end_matches(" kB"));
        let kb: f64 = digits.and_then(|digits| digits.parse().ok()).context("no `Pss`")?;
        sum += kb;
    }
    Ok(sum)
}
