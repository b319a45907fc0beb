//! A home with a local engine, and a root of busybox for its instances.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::{
    env,
    ffi::OsString,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use hornero_conformance::{Script, Subject};
use hornero_engine::{LauncherCommand, LocalEngine, LocalOptions, Support};
use hornero_engine_port::{Engine, InstanceSpec};
use hornero_model::{
    Digest, ImageConfig, InstanceHandle, InstanceId, ReleaseNumber, Resources, Scratch,
    ServiceName, StopSignal, User,
};
use hornero_sandbox::Cgroup;
use hornero_store::{CaptureOptions, DevicePolicy, ImageManifest, Store};

/// A home; what is left in it is removed when dropped.
pub struct TestHome {
    directory: tempfile::TempDir,
    /// The root as an image in a store.
    image: OnceLock<TestImage>,
}

/// An image in the store of a home.
struct TestImage {
    store: Arc<Store>,
    digest: Digest,
    /// The file that roots of it are mounted from.
    metadata: PathBuf,
}

impl TestHome {
    pub fn new() -> Self {
        let directory = tempfile::tempdir().expect("make a temporary directory");
        // Instances are nobody outside, and have to get at the root below.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        let home = Self { directory, image: OnceLock::new() };
        fs::create_dir_all(home.root().join("bin")).expect("make bin");
        fs::create_dir(home.home()).expect("make the home");
        fs::copy("/bin/busybox", home.root().join("bin/busybox"))
            .expect("busybox is needed: apt-get install busybox-static");
        fs::hard_link(home.root().join("bin/busybox"), home.root().join("bin/sh")).expect("link");
        home
    }

    /// The home itself, under its one true path.
    pub fn home(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    pub fn root(&self) -> PathBuf {
        self.directory.path().join("root")
    }

    /// Its store.
    pub fn store(&self) -> Store {
        Store::open(self.home().join("store")).expect("open the store")
    }

    /// The file that the roots of its instances are mounted from.
    pub fn metadata(&self) -> &Path {
        &self.image().metadata
    }

    /// The root as an image in the home's store, as a real instance's is.
    fn image(&self) -> &TestImage {
        self.image.get_or_init(|| {
            let store = self.store();
            let ingest = store.ingest().expect("begin");
            let options = CaptureOptions { max_mtime: u64::MAX, devices: DevicePolicy::Refuse };
            let layer = ingest.capture_directory(&self.root(), &options).expect("capture");
            let layer = ingest.put_layer(&layer).expect("put the layer");
            let _ = ingest.finish().expect("finish");
            let image = ImageManifest::new(vec![layer], ImageConfig::default());
            let image = store.put_image(&image).expect("put the image");
            let metadata = store.root(&image).expect("make metadata").metadata.clone();
            TestImage { store: Arc::new(store), digest: image, metadata }
        })
    }

    pub fn engine(&self) -> LocalEngine {
        self.engine_with(false)
    }

    pub fn engine_with(&self, networked: bool) -> LocalEngine {
        let home = self.home();
        let arguments = vec![OsString::from(&home)];
        let program = PathBuf::from(env!("CARGO_BIN_EXE_hornero-engine-launcher"));
        let launcher = LauncherCommand { program, arguments };
        let store = Some(Arc::clone(&self.image().store));
        LocalEngine::open(
            &home,
            LocalOptions { launcher, networked, log_limits: Default::default(), store },
        )
        .expect("open")
    }

    /// An instance that runs a script in busybox's shell.
    pub fn shell(&self, id: InstanceId, script: &str) -> InstanceSpec {
        InstanceSpec {
            id,
            service: ServiceName::new("kit").expect("a label"),
            release: ReleaseNumber(1),
            image: self.image().digest,
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            env: [("PATH".to_owned(), "/bin".to_owned())].into(),
            user: User { uid: 33, gid: 33, groups: vec![] },
            workdir: String::new(),
            scratch: vec![Scratch { path: "/run".to_owned(), size_bytes: 1 << 20 }],
            resources: Resources { memory_bytes: 32 << 20, cpu_millis: 1_000, pids: 32 },
            egress: false,
            hostname: "kit".to_owned(),
            hosts: vec![],
            stop_signal: Some(StopSignal::Terminate),
            files: vec![],
            mounts: vec![],
        }
    }

    /// The control group that this home's instances share.
    pub fn cgroup_parent(&self) -> String {
        let digest = Digest::of(self.home().as_os_str().as_encoded_bytes()).hex();
        format!("hornero-{}", &digest[..12])
    }
}

impl Drop for TestHome {
    fn drop(&mut self) {
        let engine = self.engine();
        let term = engine.term().unwrap_or_default();
        for instance in engine.list().unwrap_or_default() {
            let _ = engine.remove(term, &instance.id);
        }
        let clean = engine.clean_up(term);
        if !std::thread::panicking() {
            // The kernel clears them when the last mount of them is gone, a moment after the last process.
            let own = self.directory.path().display().to_string();
            eventually("the end of loop devices", || loop_devices_of(&own).is_empty());
            clean.expect("nothing that instances shared is left");
        }
    }
}

impl Subject for TestHome {
    fn open(&self) -> Box<dyn Engine> {
        Box::new(self.engine())
    }

    fn spec(&self, id: InstanceId, script: &Script) -> InstanceSpec {
        let text = match script {
            Script::Sleep => {
                // Without the shell: it catches SIGINT, and loses one that comes while it is about to execute.
                let mut spec = self.shell(id, "");
                spec.command = ["/bin/busybox", "sleep", "1000"].map(str::to_owned).to_vec();
                return spec;
            }
            Script::IgnoreStop => {
                "trap '' TERM; echo ready; while :; do busybox sleep 1000; done".to_owned()
            }
            Script::WriteAndExit(code) => format!("echo first; echo second >&2; exit {code}"),
            Script::Raise(signal) => format!("kill -{signal} $$"),
            Script::EatMemory => "exec busybox tail /dev/zero".to_owned(),
            Script::Missing => {
                let mut spec = self.shell(id, "");
                spec.command = vec!["/bin/no-such-program".to_owned()];
                return spec;
            }
        };
        self.shell(id, &text)
    }

    fn kill(&self, handle: &InstanceHandle) {
        // As the local engine means it, without an engine that could take note of it.
        kill(handle.as_str().parse().expect("a process id"));
    }

    fn assert_nothing_left(&self, id: &InstanceId) {
        assert!(!Cgroup::at(&self.cgroup_parent(), id.as_str()).exists(), "control group left");
        assert!(!self.home().join("instances").join(id.as_str()).exists(), "directory left");
        let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read mountinfo");
        let own = self.directory.path().display().to_string();
        assert!(!mounts.contains(&own), "mount left: {mounts}");
        let shims = shims_of(&self.home(), id);
        assert!(shims.is_empty(), "shim left: {shims:?}");
    }
}

/// The process id that an instance's shim has left, once it is there.
pub fn shim_pid(home: &Path, id: &InstanceId) -> Option<i32> {
    let path = home.join("instances").join(id.as_str()).join("shim.pid");
    fs::read_to_string(path).ok()?.parse().ok()
}

/// SIGKILL for a process that this test started.
pub fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        // It may have ended already.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// An id of this test program's own.
pub fn fresh_id(number: usize) -> InstanceId {
    InstanceId::new(format!("leak-{}-{number}", std::process::id())).expect("a label")
}

/// The files behind loop devices that lie below a path.
pub fn loop_devices_of(place: &str) -> Vec<String> {
    let blocks = fs::read_dir("/sys/block").expect("list /sys/block").filter_map(Result::ok);
    blocks
        .filter_map(|block| fs::read_to_string(block.path().join("loop/backing_file")).ok())
        .filter(|file| file.contains(place))
        .collect()
}

/// Runs all tests of this program again for each way to make roots that this host can do.
pub fn on_every_rung() {
    let rungs = Support::possible_rungs();
    assert!(!rungs.is_empty(), "{:#?}", hornero_engine::support().features);
    for rung in rungs {
        let place = tempfile::tempdir().expect("make a directory");
        // Instances are nobody outside, and have to get at what is below.
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(place.path(), mode).expect("chmod");
        let output = Command::new(env::current_exe().expect("this program"))
            .args(["--skip", "on_every_rung"])
            .env(hornero_sandbox::ROOT_VARIABLE, rung.name())
            .env("TMPDIR", place.path())
            .output()
            .expect("run the tests");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "on `{rung}`: {text}");
        let place = place.path().display().to_string();
        eventually("the end of loop devices", || loop_devices_of(&place).is_empty());
    }
}

/// Processes that hold the instance's lock file open.
fn shims_of(home: &Path, id: &InstanceId) -> Vec<u32> {
    let lock = home.join("instances").join(id.as_str()).join("shim.pid");
    let archived = home.join("instances/.archived").join(id.as_str()).join("shim.pid");
    processes(|directory| {
        let Ok(fds) = fs::read_dir(directory.join("fd")) else { return false };
        fds.filter_map(Result::ok)
            .filter_map(|fd| fs::read_link(fd.path()).ok())
            .any(|target| target == lock || target == archived)
    })
}

/// Processes of any instance of a home: those in its control groups. Dead ones that the host's init has not reaped yet
/// do not count.
pub fn processes_of(home: &TestHome) -> Vec<u32> {
    let parent = format!("/{}/", home.cgroup_parent());
    processes(|directory| {
        let read = |name| fs::read_to_string(directory.join(name)).unwrap_or_default();
        read("cgroup").contains(&parent) && !read("stat").contains(") Z ")
    })
}

fn processes(wanted: impl Fn(&Path) -> bool) -> Vec<u32> {
    let entries = fs::read_dir("/proc").expect("read /proc");
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| Some((entry.file_name().to_str()?.parse().ok()?, entry.path())))
        .filter(|(_, path)| wanted(path))
        .map(|(pid, _)| pid)
        .collect()
}

/// Waits for something that must come true.
pub fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + hornero_conformance::DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what} did not come true in time");
        std::thread::sleep(Duration::from_millis(2));
    }
}
