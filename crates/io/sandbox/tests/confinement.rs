//! What can't be done from inside a sandbox, whoever tries: the same list for servers and for build steps.

mod support;

use std::{
    fs,
    io::Read,
    net::TcpListener,
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixListener},
    },
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use hornero_model::ExitCause;
use hornero_sandbox::{Profile, Root, User};
use support::{TestRoot, host_mounts, on_every_rung, run, shell, spawn, unique};

/// What one run of the probe said.
struct Findings {
    allowed: Vec<String>,
    refused: usize,
    status: Vec<String>,
}

/// The probe, compiled once as a static program, which needs nothing in its root.
fn probe_program() -> &'static Path {
    // On machines without a compiler it is there already.
    static GIVEN: OnceLock<Option<PathBuf>> = OnceLock::new();
    let given = GIVEN.get_or_init(|| std::env::var_os("HORNERO_TEST_PROBE").map(PathBuf::from));
    if let Some(program) = given {
        return program;
    }
    static MADE: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let make = || {
        let directory = tempfile::tempdir().expect("make a directory");
        let program = directory.path().join("probe");
        compile_probe(&program);
        (directory, program)
    };
    &MADE.get_or_init(make).1
}

fn compile_probe(target: &Path) {
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/probe.rs");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(compiler)
        .args(["--edition", "2024", "-C", "target-feature=+crt-static", "-C", "debuginfo=0", "-o"])
        .args([target, Path::new(source)])
        .output()
        .expect("run rustc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn probe(profile: Profile, user: User, build: bool) -> Findings {
    let root = TestRoot::new();
    fs::copy(probe_program(), root.path().join("probe")).expect("copy the probe");
    // A short program for the attempt to run one from scratch.
    fs::copy("/bin/busybox", root.path().join("probe-empty")).expect("copy busybox");
    let listener = TcpListener::bind("127.0.0.1:0").expect("listen");
    let port = listener.local_addr().expect("address").port().to_string();
    let name = unique("hornero-probe");
    let address = SocketAddr::from_abstract_name(&name).expect("a name");
    let _socket = UnixListener::bind_addr(&address).expect("listen");
    let host_path = root.path().display().to_string();

    let mut spec = shell(root.root(false), "");
    spec.command = vec!["/probe".to_owned(), std::process::id().to_string(), port, name, host_path];
    (spec.profile, spec.user, spec.tmp_bytes) = (profile, user, 8 << 20);
    let steps = tempfile::tempdir().expect("make a directory");
    if build {
        for name in ["upper", "work"] {
            fs::create_dir(steps.path().join(name)).expect("make a directory");
        }
        copy_into(root.path(), &steps.path().join("upper"));
        spec.root = Root::Build { lower: None, dir: steps.path().to_owned() };
    }
    let before = host_mounts();
    let (mut running, mut output) =
        spawn(&spec).unwrap_or_else(|error| panic!("{}", error.one_line()));
    let outside = fs::read_to_string(format!("/proc/{}/status", running.pid()));
    assert_eq!(host_mounts(), before, "no mount of a sandbox is ever seen on the host");
    let mut text = String::new();
    output.read_to_string(&mut text).expect("read");
    let cause = running.wait(Some(support::DEADLINE)).expect("wait").expect("in time");
    assert_eq!(cause, ExitCause::Code(0), "{text}");
    assert!(text.ends_with("finished\n"), "{text}");
    if let Ok(outside) = outside {
        let uid = outside.lines().find(|line| line.starts_with("Uid:")).expect("a line");
        let expected = 300_000_000 + spec.user.uid;
        assert!(uid.contains(&expected.to_string()), "the host sees `{uid}`");
    }
    let lines = |prefix: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect()
    };
    Findings {
        allowed: lines("ALLOWED "),
        refused: lines("refused ").len(),
        status: lines("status "),
    }
}

fn copy_into(from: &Path, to: &Path) {
    let status = Command::new("cp").arg("-a").arg(format!("{}/.", from.display())).arg(to).status();
    assert!(status.expect("run cp").success());
}

fn names(findings: &Findings) -> Vec<&str> {
    findings.allowed.iter().filter_map(|line| line.split(": ").next()).collect()
}

/// Attempts that every run makes at least; a probe that ended early would have fewer.
const ATTEMPTS: usize = 100;

#[test]
fn a_server_as_an_ordinary_user_can_do_nothing_of_it() {
    let user = User { uid: 33, gid: 33, groups: vec![4] };
    let findings = probe(Profile::Service, user, false);
    assert_eq!(names(&findings), [""; 0]);
    assert!(findings.refused >= ATTEMPTS, "{}", findings.refused);
    for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert!(findings.status.contains(&format!("{set}: 0000000000000000")), "{set}");
    }
    for line in ["NoNewPrivs: 1", "Seccomp: 2", "Groups: 4", "Uid: 33 33 33 33"] {
        assert!(findings.status.contains(&line.to_owned()), "{line}: {:?}", findings.status);
    }
}

#[test]
fn a_server_as_root_can_do_nothing_of_it_either() {
    let findings = probe(Profile::Service, User::default(), false);
    assert_eq!(names(&findings), [""; 0]);
    assert!(findings.refused >= ATTEMPTS, "{}", findings.refused);
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, net_bind_service
    for line in ["CapEff: 00000000000004fb", "CapBnd: 00000000000004fb", "CapInh: 0000000000000000"]
    {
        assert!(findings.status.contains(&line.to_owned()), "{line}: {:?}", findings.status);
    }
}

#[test]
fn a_build_step_can_only_write_to_its_own_root() {
    let findings = probe(Profile::Build, User::default(), true);
    let own = [
        "create /new",
        "create /bin/new",
        "create /etc/new",
        "create /sys/new",
        "write /etc/passwd",
        "write /bin/busybox",
        "execute from scratch",
    ];
    assert_eq!(names(&findings), own);
    // chown, dac_override, fowner, fsetid, kill, setgid, setuid, sys_chroot, setfcap
    for line in ["CapEff: 00000000800400fb", "CapBnd: 00000000800400fb"] {
        assert!(findings.status.contains(&line.to_owned()), "{line}: {:?}", findings.status);
    }
}

#[test]
fn sandboxes_do_not_see_each_other() {
    let root = TestRoot::new();
    let (_other, _output) =
        spawn(&shell(root.root(false), "echo secret > /tmp/secret; exec busybox sleep 1000"))
            .expect("start");
    let script = "busybox ls /tmp /dev/shm; busybox ps -o comm";
    let (_, output) = run(&shell(root.root(false), script));
    assert!(!output.contains("secret"), "{output}");
    assert!(output.contains("hornero-init") && !output.contains("sleep"), "{output}");
}

#[test]
fn all_of_it_holds_on_every_rung() {
    on_every_rung();
}
