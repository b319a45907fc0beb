//! A small root of busybox, and a way to run a shell script in it.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    env,
    fs::{self, File},
    io::Read,
    os::{fd::OwnedFd, unix::fs::PermissionsExt},
    path::Path,
    process::Command,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use hornero_model::{ExitCause, Resources};
use hornero_sandbox::{
    CgroupSpec, ComposedRoot, IdMap, Network, Profile, ROOT_VARIABLE, Root, Running, SandboxSpec,
    StartError, Stdio, Support, User, start, support,
};

/// Long enough for a loaded machine; a test that waits this long has failed.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// A root directory with busybox as `/bin/busybox` and `/bin/sh`, removed when dropped.
pub struct TestRoot {
    directory: tempfile::TempDir,
    /// Images of it.
    made: tempfile::TempDir,
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
        Self { directory, made: tempfile::tempdir().expect("make a temporary directory") }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The directory itself; where a way to make roots is tried, what is in it by now as a store has it.
    pub fn root(&self, writable: bool) -> Root {
        if !writable && env::var_os(ROOT_VARIABLE).is_some() {
            return self.composed();
        }
        Root::Directory { path: self.path().to_owned(), writable }
    }

    /// What is in the directory by now: an image whose files' data lie in a directory of objects.
    pub fn composed(&self) -> Root {
        let made = self.made.path().join(unique("composed"));
        let (objects, tree) = (made.join("objects"), made.join("tree"));
        fs::create_dir_all(&objects).expect("make a directory");
        let copied = Command::new("cp")
            .args(["-a", "--no-preserve=links"])
            .args([self.path(), &tree])
            .status();
        assert!(copied.expect("run cp").success());
        let mut number = 0;
        take_out(&tree, &objects, &mut number);
        let metadata = made.join("metadata.erofs");
        // As our store writes: long inodes, attributes with each of them.
        let output = Command::new("mkfs.erofs")
            .args(["-x1000000", "-Eforce-inode-extended"])
            .args([&metadata, &tree])
            .output()
            .expect("mkfs.erofs is needed: apt-get install erofs-utils");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Root::Composed(ComposedRoot { metadata, objects })
    }
}

/// Moves the data of all files below `tree` to objects, and leaves where they are.
fn take_out(tree: &Path, objects: &Path, number: &mut u32) {
    for entry in fs::read_dir(tree).expect("list") {
        let path = entry.expect("an entry").path();
        let found = fs::symlink_metadata(&path).expect("stat");
        if found.is_dir() {
            take_out(&path, objects, number);
        }
        if !found.is_file() || found.len() == 0 {
            continue;
        }
        *number += 1;
        let shard = format!("{:02x}", *number % 256);
        let object = format!("{shard}/{number}");
        fs::create_dir_all(objects.join(shard)).expect("make objects");
        fs::copy(&path, objects.join(&object)).expect("copy");
        let file = fs::OpenOptions::new().write(true).truncate(true).open(&path).expect("open");
        file.set_len(found.len()).expect("extend");
        let redirect = format!("/{object}");
        for (name, value) in
            [("trusted.overlay.metacopy", ""), ("trusted.overlay.redirect", redirect.as_str())]
        {
            let flags = rustix::fs::XattrFlags::empty();
            rustix::fs::setxattr(&path, name, value.as_bytes(), flags).expect("setxattr");
        }
    }
}

/// Runs all tests of this program again for each way to make roots that this host can do, and looks for loop devices
/// that are left.
pub fn on_every_rung() {
    let rungs = Support::possible_rungs();
    assert!(!rungs.is_empty(), "{:#?}", support().features);
    for rung in rungs {
        let place = tempfile::tempdir().expect("make a directory");
        // The test that calls this is the only one with such a name.
        let output = Command::new(env::current_exe().expect("this program"))
            .args(["--skip", "on_every_rung"])
            .env(ROOT_VARIABLE, rung.name())
            .env("TMPDIR", place.path())
            .output()
            .expect("run the tests");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "on `{rung}`: {text}");
        eventually("the end of loop devices", || loop_devices_of(place.path()).is_empty());
    }
}

/// The files behind loop devices that lie below a path.
pub fn loop_devices_of(place: &Path) -> Vec<String> {
    let place = place.display().to_string();
    let blocks = fs::read_dir("/sys/block").expect("list /sys/block").filter_map(Result::ok);
    blocks
        .filter_map(|block| fs::read_to_string(block.path().join("loop/backing_file")).ok())
        .filter(|file| file.contains(&place))
        .collect()
}

/// Waits for something that must come true.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true in time");
        std::thread::sleep(Duration::from_millis(2));
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
