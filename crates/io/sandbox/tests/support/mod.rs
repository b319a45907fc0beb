//! A small root of busybox, and a way to run a shell script in it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    fs::{self, File},
    io::Read,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use hornero_model::{ExitCause, Resources};
use hornero_sandbox::{
    CgroupSpec, IdMap, Network, Profile, Root, Running, SandboxSpec, StartError, Stdio, User, start,
};

/// Long enough for a loaded machine; a test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A root directory with busybox as `/bin/busybox` and `/bin/sh`, removed when dropped.
pub struct TestRoot {
    directory: tempfile::TempDir,
}

impl TestRoot {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("make a temporary directory");
        // Instances are nobody outside, and have to get at the files below.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let bin = directory.path().join("bin");
        fs::create_dir(&bin).expect("make bin");
        fs::copy("/bin/busybox", bin.join("busybox"))
            .expect("busybox is needed: apt-get install busybox-static");
        fs::hard_link(bin.join("busybox"), bin.join("sh")).expect("link sh");
        fs::create_dir(directory.path().join("etc")).expect("make etc");
        fs::write(directory.path().join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").expect("write");
        Self { directory }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn root(&self, writable: bool) -> Root {
        Root::Directory { path: self.path().to_owned(), writable }
    }
}

/// A name that no other test of any process uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A sandbox that runs `script` in busybox's shell.
pub fn shell(root: Root, script: &str) -> SandboxSpec {
    SandboxSpec {
        root,
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        env: [("PATH".to_owned(), "/bin".to_owned())].into(),
        workdir: String::new(),
        user: User::default(),
        id_map: Some(IdMap { first: 300_000_000, count: 65_536 }),
        scratch: vec![],
        tmp_bytes: 1 << 20,
        files: vec![],
        hostname: "test".to_owned(),
        cgroup: None,
        profile: Profile::Service,
    }
}

/// A control group of its own with these limits.
pub fn limits(memory_bytes: u64, pids: u32) -> CgroupSpec {
    CgroupSpec {
        parent: unique("hornero-test"),
        name: unique("box"),
        resources: Resources { memory_bytes, cpu_millis: 1_000, pids },
    }
}

/// Starts a sandbox, and gives back what both its streams will carry.
pub fn spawn(spec: &SandboxSpec) -> Result<(Running, File), StartError> {
    let (read, write) = std::io::pipe().expect("make a pipe");
    let stdio = Stdio {
        stdin: None,
        stdout: write.try_clone().expect("clone the pipe").into(),
        stderr: write.into(),
    };
    let running = start(spec, stdio, Network::Isolated)?;
    Ok((running, File::from(OwnedFd::from(read))))
}

/// Runs a sandbox to its end: why it ended, and what it wrote.
pub fn run(spec: &SandboxSpec) -> (ExitCause, String) {
    let (mut running, mut output) =
        spawn(spec).unwrap_or_else(|error| panic!("{}", error.one_line()));
    let mut text = String::new();
    output.read_to_string(&mut text).expect("read the output");
    let cause = running.wait(Some(DEADLINE)).expect("wait").expect("end within the deadline");
    (cause, text)
}

/// Paths of this process's mounts.
pub fn host_mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo")
}
