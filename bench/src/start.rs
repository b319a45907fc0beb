//! From creating an instance to the first instruction of its command.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    path::Path,
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context, Result};
use hornero_model::{Resources, Scratch};
use hornero_sandbox::{CgroupSpec, IdMap, Network, Profile, Root, SandboxSpec, User};
use serde_json::{Value, json};

use crate::{
    Setting,
    docker::Docker,
    peers, process,
    roots::{DebianRoot, PROBE},
    rungs::{self, Starter},
    table::{Better, HORNERO, Table},
};

/// The argument that makes this program tell the time and end.
pub const FIRST_INSTRUCTION: &str = "first-instruction";
/// Starts of each contestant in one run: single ones vary by more than what is measured.
const STARTS: usize = 20;

/// The nginx of the roots that are measured: it serves one page on port 8080.
pub const NGINX_CONF: &str = "\
worker_processes 1;
pid /run/nginx.pid;
error_log stderr;
events { worker_connections 256; }
http {
    access_log off;
    server { listen 8080; root /srv/site; }
}
";

/// Tells the monotonic clock, which every namespace of this host shares, in nanoseconds.
pub fn first_instruction() -> ExitCode {
    let text = format!("{}\n", now_ns());
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn now_ns() -> i128 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the pointer is valid for the call, and this clock is there on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    i128::from(now.tv_sec) * 1_000_000_000 + i128::from(now.tv_nsec)
}

pub fn measure(setting: &Setting) -> Result<Table> {
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
    let name = "create to first instruction";
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

/// Milliseconds from before `start` to what its output tells.
fn told(start: impl FnOnce() -> Result<String>) -> Result<f64> {
    let begun = now_ns();
    let text = start()?;
    let told: i128 = text.trim().parse().with_context(|| format!("`{text}` is no time"))?;
    Ok((told - begun) as f64 / 1e6)
}

pub fn ours(root: Root, number: usize) -> Result<f64> {
    let spec = SandboxSpec {
        root,
        command: vec![PROBE.to_owned(), FIRST_INSTRUCTION.to_owned()],
        env: BTreeMap::from([("PATH".to_owned(), "/usr/bin:/bin".to_owned())]),
        workdir: String::new(),
        // Debian's www-data.
        user: User { uid: 33, gid: 33, groups: Vec::new() },
        id_map: Some(IdMap { first: 1 << 20, count: 1 << 16 }),
        scratch: vec![Scratch { path: "/run".to_owned(), size_bytes: 16 << 20 }],
        tmp_bytes: 16 << 20,
        files: Vec::new(),
        hostname: "bench".to_owned(),
        cgroup: Some(CgroupSpec {
            parent: cgroup_parent(),
            name: format!("start-{number}"),
            resources: Resources { memory_bytes: 256 << 20, cpu_millis: 1000, pids: 64 },
        }),
        profile: Profile::Service,
    };
    let (mut reader, writer) = std::io::pipe()?;
    let streams = hornero_sandbox::Stdio {
        stdin: None,
        stdout: OwnedFd::from(writer.try_clone()?),
        stderr: OwnedFd::from(writer),
    };
    told(|| {
        let mut running = hornero_sandbox::start(&spec, streams, Network::Isolated)?;
        let mut text = String::new();
        // Ends when the command has: nobody else holds the other end any more.
        reader.read_to_string(&mut text)?;
        running.wait(None)?;
        running.remove()?;
        Ok(text)
    })
}

pub fn cgroup_parent() -> String {
    format!("hornero-bench-{}", std::process::id())
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
