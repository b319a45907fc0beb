//! From creating an instance to the first instruction of its command.

use std::{
    fs::{self, File},
    path::Path,
    process::{Command, Stdio},
};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{
    docker::Docker,
    first_instruction::{FIRST_INSTRUCTION, told},
    hornero, peers, process,
    roots::{DebianRoot, PROBE},
    rungs::{self, Starter},
    setting::Setting,
    table::{BEFORE, Better, HORNERO, Table, in_turn},
};

/// Starts of each contestant in one run: single ones vary by more than what is measured.
const STARTS: usize = 20;

/// What is measured.
const START: &str = "create to first instruction";

pub fn measure(setting: &Setting) -> Result<Table> {
    if let Some(before) = &setting.before {
        return measure_beside(before, setting);
    }
    peers::install(peers::CONTAINERS)?;
    let root = DebianRoot::make(&setting.scratch)?;
    let bundle = runc_bundle(&setting.scratch, &root)?;
    let docker = Docker::start(&setting.scratch)?;
    docker.import(&root.tar, "bench-root")?;
    let starters = match setting.peers_only {
        true => Vec::new(),
        false => Starter::all(&rungs::composed(&setting.scratch, &root.directory)?)?,
    };
    let mut starters = starters.into_iter().enumerate().collect::<Vec<_>>();
    let mut table = Table::new("Start: create to first instruction, same root, no network");
    let name = START;
    for _ in 0..setting.runs {
        for number in 0..STARTS {
            let runc = runc(&setting.scratch, &bundle, number)?;
            for (place, starter) in &mut starters {
                let ms = starter.start()?;
                if *place == 0 {
                    table.add(name, "ms", Better::Less, HORNERO, ms);
                }
                let by_rung = format!("{name}, by `{}`", starter.rung);
                table.add(&by_rung, "ms", Better::Less, HORNERO, ms);
                table.add(&by_rung, "ms", Better::Less, "runc run", runc);
            }
            table.add(name, "ms", Better::Less, "runc run", runc);
            // A tenth as often: each takes as long as everything else together.
            if number % 10 == 0 {
                let command =
                    ["run", "--rm", "--network=none", "bench-root", PROBE, FIRST_INSTRUCTION];
                let ms = told(|| docker.run(&command))?;
                table.add(name, "ms", Better::Less, "docker run", ms);
            }
        }
    }
    for (_, starter) in starters {
        starter.end()?;
    }
    table.remark(
        "Hornero: user, mount, pid, net, ipc, uts and cgroup namespaces, id-mapped read-only root, seccomp, no \
         capability, control group with limits, from an image in the store, started from a process that runs already, as control does; the first figure is of the best way that this kernel can do. runc and \
         docker: their commands with the default hardening, without a user namespace.",
    );
    Ok(table)
}

/// The best way that this kernel can do, by the programs of an older build as well.
fn measure_beside(before: &Path, setting: &Setting) -> Result<Table> {
    peers::install(peers::ROOTS)?;
    let root = DebianRoot::make(&setting.scratch)?;
    let composed = rungs::composed(&setting.scratch, &root.directory)?;
    let programs = [(HORNERO, std::env::current_exe()?), (BEFORE, before.join(hornero::BENCH))];
    let mut starters = Vec::new();
    for (who, program) in programs {
        starters.push((who, Starter::best(&program, &composed)?));
    }
    let mut table = Table::new("Start: create to first instruction, same root, no network");
    for number in 0..setting.runs * STARTS {
        for (who, starter) in in_turn(&mut starters, number) {
            table.add(START, "ms", Better::Less, who, starter.start()?);
        }
    }
    for (_, starter) in starters {
        starter.end()?;
    }
    Ok(table)
}

fn runc_bundle(scratch: &Path, root: &DebianRoot) -> Result<std::path::PathBuf> {
    let bundle = scratch.join("bundle");
    fs::create_dir_all(&bundle)?;
    process::run(Command::new("runc").arg("spec").arg("--bundle").arg(&bundle))?;
    let path = bundle.join("config.json");
    let mut config: Value = serde_json::from_reader(File::open(&path)?)?;
    config["root"] = json!({"path": root.directory, "readonly": true});
    config["process"]["args"] = json!([PROBE, FIRST_INSTRUCTION]);
    config["process"]["terminal"] = json!(false);
    // The limits that the other two have as well.
    config["linux"]["resources"] = json!({"memory": {"limit": 256 << 20}, "pids": {"limit": 64}});
    fs::write(&path, serde_json::to_vec(&config)?)?;
    Ok(bundle)
}

fn runc(scratch: &Path, bundle: &Path, number: usize) -> Result<f64> {
    let mut command = Command::new("runc");
    command.arg("--root").arg(scratch.join("runc")).args(["run", "--bundle"]).arg(bundle);
    command.arg(format!("hornero-bench-{}-{number}", std::process::id())).stdin(Stdio::null());
    told(|| process::run(&mut command))
}
