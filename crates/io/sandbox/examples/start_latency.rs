//! Measures from the call of `start` to the first instruction of the command: `start_latency [ROUNDS]`.
//!
//! The root is a directory with this program's own static twin in it: `--now`, which writes the clock's time.
//! Everything is on: all namespaces, mapped ids, limits, scratch, provided files, capabilities and filter.

use std::{
    fs::{self, File},
    io::Read,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    process::Command,
    time::{Duration, Instant},
};

use hornero_model::{Resources, Scratch};
use hornero_sandbox::{
    CgroupSpec, IdMap, Network, Profile, ProvidedFile, Root, SandboxSpec, Stdio, User,
    remove_parent, start, warm_up,
};

/// A static program that writes the monotonic clock in nanoseconds, first thing.
const TWIN: &str = r#"
fn main() {
    #[repr(C)] struct Time { s: i64, n: i64 }
    unsafe extern "C" { fn clock_gettime(clock: i32, time: *mut Time) -> i32; }
    let mut time = Time { s: 0, n: 0 };
    unsafe { clock_gettime(1, &mut time) };
    println!("{}", time.s * 1_000_000_000 + time.n);
}
"#;

fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the structure lives across the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let rounds = std::env::args().nth(1).map_or(Ok(200), |text| text.parse::<usize>())?;
    let directory = tempfile::tempdir()?;
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755))?;
    fs::create_dir(directory.path().join("run"))?;
    fs::write(directory.path().join("twin.rs"), TWIN)?;
    let built = Command::new("rustc")
        .args(["--edition", "2024", "-O", "-C", "target-feature=+crt-static", "-o"])
        .args([directory.path().join("now"), directory.path().join("twin.rs")])
        .status()?;
    assert!(built.success(), "the twin compiles");

    warm_up();
    let parent = format!("hornero-latency-{}", std::process::id());
    let mut spec = SandboxSpec {
        root: Root::Directory { path: directory.path().to_owned(), writable: false },
        command: vec!["/now".to_owned()],
        env: [("PATH".to_owned(), "/bin".to_owned())].into(),
        workdir: String::new(),
        user: User { uid: 33, gid: 33, groups: vec![] },
        id_map: Some(IdMap { first: 320_000_000, count: 65_536 }),
        scratch: vec![Scratch { path: "/run".to_owned(), size_bytes: 1 << 20 }],
        tmp_bytes: 1 << 20,
        files: ["/etc/hosts", "/etc/hostname", "/etc/resolv.conf"]
            .map(|path| ProvidedFile::new(path, "x\n"))
            .to_vec(),
        hostname: "latency".to_owned(),
        cgroup: None,
        profile: Profile::Service,
    };
    let (mut to_first, mut to_return, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..rounds {
        let resources = Resources { memory_bytes: 64 << 20, cpu_millis: 1_000, pids: 16 };
        let name = format!("r{round}");
        spec.cgroup = Some(CgroupSpec { parent: parent.clone(), name, resources });
        let (read, write) = std::io::pipe()?;
        let stdio =
            Stdio { stdin: None, stdout: write.try_clone()?.into(), stderr: OwnedFd::from(write) };
        let (begun, begun_ns) = (Instant::now(), now_ns());
        let mut running = start(&spec, stdio, Network::Isolated).map_err(|e| e.one_line())?;
        to_return.push(begun.elapsed());
        let mut text = String::new();
        File::from(OwnedFd::from(read)).read_to_string(&mut text)?;
        to_first.push(Duration::from_nanos(text.trim().parse::<u64>()?.saturating_sub(begun_ns)));
        running.wait(None)?;
        running.remove()?;
        whole.push(begun.elapsed());
    }
    remove_parent(&parent);
    for (name, mut times) in [
        ("to the command's first instruction", to_first),
        ("to the return of start", to_return),
        ("whole life, removal included", whole),
    ] {
        times.sort();
        let at = |share: usize| times[(times.len() - 1) * share / 100].as_secs_f64() * 1e3;
        println!("{name}: median {:.2} ms, p90 {:.2} ms, best {:.2} ms", at(50), at(90), at(0));
    }
    Ok(())
}
