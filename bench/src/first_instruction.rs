//! The first instruction of a command, which tells the time, and a sandbox of ours that is started for it.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    os::fd::OwnedFd,
    process::ExitCode,
};

use anyhow::{Context, Result};
use hornero_model::{Resources, Scratch};
use hornero_sandbox::{CgroupSpec, IdMap, Network, Profile, Root, SandboxSpec, User};

use crate::roots::PROBE;

/// The argument that makes this program tell the time and end.
pub const FIRST_INSTRUCTION: &str = "first-instruction";

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

/// Milliseconds from before `start` to what its output tells.
pub fn told(start: impl FnOnce() -> Result<String>) -> Result<f64> {
    let begun = now_ns();
    let text = start()?;
    let told: i128 = text.trim().parse().with_context(|| format!("`{text}` is no time"))?;
    Ok((told - begun) as f64 / 1e6)
}

/// Milliseconds from starting a sandbox of ours to the first instruction in it.
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

/// The control group that the sandboxes of this process lie in.
pub fn cgroup_parent() -> String {
    format!("hornero-bench-{}", std::process::id())
}
