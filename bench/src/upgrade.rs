//! Another program takes control and edge over while requests come in.

use std::{fs, process::Command, time::Duration};

use anyhow::{Context, Result, ensure};
use hornero_load::{Load, LoadPlan, Mode, Workers};

use crate::{
    hornero, process,
    setting::Setting,
    small::Small,
    table::{Better, HORNERO, Table},
};

pub fn measure(setting: &Setting) -> Result<Table> {
    let mut table = Table::new("Upgrade: another program takes control and edge over, under load");
    let small = Small::new(setting, "upgrade", 3)?;
    small.up()?;
    // To Hornero, another file is another program.
    let program = setting.scratch.join(hornero::PROGRAM);
    let other = setting.scratch.join("hornero-other");
    fs::copy(&program, &other)?;
    let mut started = 0;
    for run in 0..setting.runs * 2 {
        let load = Load::start(LoadPlan {
            duration: Duration::from_secs(600),
            timeout: Duration::from_secs(30),
            ..LoadPlan::new(
                small.address,
                vec![
                    Workers::new(Mode::KeepAlive, 4, "/health"),
                    Workers::new(Mode::NewConnection, 4, "/health"),
                ],
            )
        })?;
        let program = if run % 2 == 0 { &other } else { &program };
        let mut command = Command::new(program);
        command.arg("--home").arg(small.home.path()).args(["upgrade", "--json"]);
        let (ms, text) = process::timed(|| process::run(&mut command))?;
        let report: serde_json::Value = serde_json::from_str(&text)?;
        let load = load.stop();
        ensure!(load.failed == 0, "{:?}", load.failures);
        started += load.started;
        let longest = load.modes.values().map(|mode| mode.latency.max_ms).fold(0.0, f64::max);
        let pause = report["longest_pause_ms"].as_f64().context("no `longest_pause_ms`")?;
        table.add("longest request of a client", "ms", Better::Less, HORNERO, longest);
        table.add("longest pause by the command's own count", "ms", Better::Less, HORNERO, pause);
        table.add("the whole command", "ms", Better::Less, HORNERO, ms);
    }
    table.remark(format!(
        "{} upgrades, {started} requests over eight kept and ever new connections, none failed. The longest request is the \
         longest of all during an upgrade, from when it was due.",
        setting.runs * 2
    ));
    Ok(table)
}
