//! A host that was cut off from power and starts again: what Hornero itself takes until every server is healthy.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};

use crate::{
    hornero, process,
    setting::Setting,
    small::{Small, pids},
    table::{Better, HORNERO, Table},
};

/// Servers on the host.
const INSTANCES: usize = 20;
/// How long control may take until it says that all are healthy.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn measure(setting: &Setting) -> Result<Table> {
    let mut table = Table::new("Reboot: a power cut with 20 servers, until all are healthy");
    let small = Small::new(setting, "reboot", INSTANCES)?;
    small.up()?;
    for run in 0..setting.runs {
        cut_the_power(small.home.path())?;
        let begun = Instant::now();
        let log = setting.scratch.join("reboot.log");
        let file = fs::File::create(&log)?;
        // Left to the home, whose `down` ends it: the next run cuts it off like the rest.
        let mut control = hornero::command(small.home.path())?
            .arg("serve")
            .env("HORNERO_BOOT_ID", format!("start-{run}"))
            .stdin(std::process::Stdio::null())
            .stdout(std::process::Stdio::null())
            .stderr(file)
            .spawn()?;
        std::thread::spawn(move || control.wait());
        let said = until(|| healthy_after(&log)).context("control says of no healthy service")?;
        let seen = begun.elapsed().as_secs_f64() * 1e3;
        let status = small.home.run(&["status"])?.1;
        let instances = status["services"][0]["instances"].as_array().context("no instances")?;
        let serving = instances.iter().filter(|instance| instance["state"] == "serving").count();
        ensure!(serving == INSTANCES, "{serving} of {INSTANCES} serve: {status}");
        table.add("until all are healthy, by the log", "ms", Better::Less, HORNERO, said);
        table.add("until all are healthy, seen from outside", "ms", Better::Less, HORNERO, seen);
    }
    table.remark(
        "From the start of `hornero serve`, as its unit starts it: ledger, network, roots, servers and their first health \
         checks, after every process of the home was killed at once and the host's boot id is another. The kernel's and \
         systemd's own start come before it.",
    );
    Ok(table)
}

/// Ends everything of a home at once: control, edge, launcher, shims, and with these the servers.
fn cut_the_power(home: &Path) -> Result<()> {
    let of_home = format!("--home {} ", home.display());
    let found = pids(|command| command.contains(&of_home))?;
    // Stopped first: what is left must not record how the others ended.
    for signal in ["-STOP", "-KILL"] {
        let ids: Vec<String> = found.iter().map(u32::to_string).collect();
        let mut arguments = vec![signal];
        arguments.extend(ids.iter().map(String::as_str));
        process::read("kill", &arguments)?;
    }
    until(|| pids(|command| command.contains(&of_home)).ok()?.is_empty().then_some(()))
        .context("processes stay")
}

/// The milliseconds that control's log tells, once it tells of a healthy service.
fn healthy_after(log: &Path) -> Option<f64> {
    let text = fs::read_to_string(log).ok()?;
    let rest = text.split_once("the service is healthy ")?.1;
    let (seconds, _) = rest.split_once(" s after start")?;
    seconds.parse::<f64>().ok().map(|seconds| seconds * 1e3)
}

fn until<T>(mut ready: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let value = ready();
        if value.is_some() || Instant::now() > deadline {
            return value;
        }
        // Finer than what is told; a file and `/proc` have nothing to wait on.
        std::thread::sleep(Duration::from_millis(1));
    }
}
