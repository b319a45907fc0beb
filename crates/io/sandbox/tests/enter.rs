//! Commands that enter a sandbox which runs: where they are, what they may, and what is left of them.

mod support;

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader, Read as _},
    os::{fd::OwnedFd, unix::fs::PermissionsExt as _},
    time::{Duration, Instant},
};

use hornero_model::ExitCause;
use hornero_sandbox::{
    EnteredCommand, EntrySpec, Running, SandboxSpec, StartError, Stdio, User, enter,
};
use support::{TestRoot, eventually, limits, shell, spawn};

/// How long a command may take until it is executed.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that waits, and how it is entered.
struct Server {
    _root: TestRoot,
    spec: SandboxSpec,
    running: Running,
    /// Kept open: a server whose output nobody reads would end.
    _output: BufReader<File>,
}

impl Server {
    fn as_user(user: User) -> Self {
        Self::with(TestRoot::new(), user)
    }

    fn with(root: TestRoot, user: User) -> Self {
        let mut spec = shell(root.root(false), "echo ready; exec busybox sleep 1000");
        (spec.cgroup, spec.user) = (Some(limits(64 << 20, 50)), user);
        let (running, output) = spawn(&spec).unwrap_or_else(|error| panic!("{}", error.one_line()));
        let mut output = BufReader::new(output);
        let mut line = String::new();
        output.read_line(&mut line).expect("read");
        assert_eq!(line, "ready\n");
        Self { _root: root, spec, running, _output: output }
    }

    fn entry(&self, command: &[&str]) -> EntrySpec {
        let cgroup = self.spec.cgroup.clone().expect("a group");
        EntrySpec {
            process: self.running.pid(),
            cgroup_parent: cgroup.parent,
            cgroup: cgroup.name,
            command: command.iter().map(|word| (*word).to_owned()).collect(),
            env: self.spec.env.clone(),
            workdir: String::new(),
            user: self.spec.user.clone(),
            is_terminal: false,
        }
    }

    fn enter(&self, command: &[&str]) -> Result<(EnteredCommand, File), StartError> {
        let (read, write) = std::io::pipe().expect("make a pipe");
        let copy = write.try_clone().expect("clone the pipe");
        let stdio = Stdio { stdin: None, stdout: copy.into(), stderr: write.into() };
        let entered = enter(&self.entry(command), stdio, Instant::now() + PATIENCE)?;
        Ok((entered, File::from(OwnedFd::from(read))))
    }

    fn say(&self, script: &str) -> (ExitCause, String) {
        let entered = self.enter(&["/bin/sh", "-c", script]);
        let (mut entered, mut output) =
            entered.unwrap_or_else(|error| panic!("{}", error.one_line()));
        let mut text = String::new();
        output.read_to_string(&mut text).expect("read");
        (entered.wait(), text)
    }

    fn processes(&self) -> u64 {
        self.running.usage().pids
    }
}

fn ordinary() -> User {
    User { uid: 33, gid: 33, groups: vec![4] }
}

/// What the kernel says of the rights of a process.
fn rights(status: &str) -> Vec<&str> {
    const OF: [&str; 10] = [
        "Uid:",
        "Gid:",
        "Groups:",
        "CapInh:",
        "CapPrm:",
        "CapEff:",
        "CapBnd:",
        "CapAmb:",
        "NoNewPrivs:",
        "Seccomp:",
    ];
    let mut lines: Vec<&str> =
        status.lines().filter(|line| OF.iter().any(|name| line.starts_with(name))).collect();
    lines.sort_unstable();
    assert_eq!(lines.len(), OF.len(), "{status}");
    lines
}

#[test]
fn a_command_that_enters_is_where_the_server_is_with_the_same_rights() {
    for user in [ordinary(), User::default()] {
        let server = Server::as_user(user);
        let (cause, text) = server.say(
            "cd /proc/self/ns; for n in cgroup ipc mnt net pid user uts; do busybox readlink $n; done; \
             busybox cat /proc/self/cgroup; echo; busybox cat /proc/self/status; exit 7",
        );
        assert_eq!(cause, ExitCause::Code(7), "{text}");
        let outside = |name: &str| format!("/proc/{}/{name}", server.running.pid());
        for name in ["cgroup", "ipc", "mnt", "net", "pid", "user", "uts"] {
            let link = fs::read_link(outside(&format!("ns/{name}"))).expect("a namespace");
            assert!(text.contains(link.to_str().expect("text")), "{name}: {text}");
        }
        let (groups, status) = text.split_once("\n\n").expect("two parts");
        for line in groups.lines().filter(|line| line.contains(":/")) {
            assert!(line.ends_with(":/"), "it is in the server's own groups: {groups}");
        }
        // The server's command is the second process inside; ids are shown as they are there.
        let (_, own) = server.say("busybox cat /proc/2/status");
        assert_eq!(rights(status), rights(&own));
        assert!(own.contains("NoNewPrivs:\t1") && own.contains("Seccomp:\t2"), "{own}");
    }
}

#[test]
fn nothing_of_it_is_left_when_it_has_ended_or_its_caller_is_gone() {
    let server = Server::as_user(ordinary());
    let before = server.processes();
    let hides = "for i in 1 2 3; do busybox setsid busybox sleep 900 </dev/null >/dev/null 2>&1 & done; \
                 (busybox setsid /bin/sh -c 'busybox sleep 901 & busybox sleep 902' >/dev/null 2>&1 &) ";
    let (cause, text) = server.say(&format!("{hides}; echo done; exit 0"));
    assert_eq!((cause, text.as_str()), (ExitCause::Code(0), "done\n"));
    assert_eq!(server.processes(), before, "everything that it started has ended");
    let script = format!("{hides}; echo up; busybox sleep 1000");
    let (entered, output) = server.enter(&["/bin/sh", "-c", &script]).expect("enter");
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line).expect("read");
    assert!(server.processes() > before + 5, "{}", server.processes());
    drop(entered);
    assert_eq!(server.processes(), before);
    assert_eq!(server.say("echo the server runs on").0, ExitCause::Code(0));
}

#[test]
fn it_ends_with_the_server_and_can_not_enter_one_that_has_ended() {
    let mut server = Server::as_user(ordinary());
    let (mut entered, _output) = server.enter(&["/bin/busybox", "sleep", "1000"]).expect("enter");
    let inside = entered.pid();
    server.running.kill();
    server.running.wait(None).expect("wait");
    assert_eq!(entered.wait(), ExitCause::Signal(libc::SIGKILL));
    eventually("its end", || !fs::exists(format!("/proc/{inside}")).expect("look"));
    let error = server.enter(&["/bin/busybox", "true"]).expect_err("it has ended");
    assert!(matches!(error, StartError::Invalid(_)), "{error}");
}

#[test]
fn limits_of_the_server_hold_for_it() {
    let server = Server::as_user(ordinary());
    let (_, text) =
        server.say("i=0; while [ $i -lt 80 ]; do busybox sleep 900 & i=$((i+1)); done; echo all");
    assert!(!text.ends_with("all\n") || text.contains("fork"), "{text}");
    assert_eq!(server.say("echo fine").1, "fine\n", "the server is as before");
}

#[test]
fn what_is_no_command_is_said() {
    let server = Server::as_user(ordinary());
    let before = server.processes();
    let error = server.enter(&["/bin/nothing"]).expect_err("there is none");
    assert_eq!(error.one_line(), "execute `/bin/nothing`: No such file or directory (os error 2)");
    eventually("the end of it", || server.processes() == before);
}

/// What is inside waits for somebody to come (CVE-2019-5736 and its like).
#[test]
fn nobody_inside_gets_at_the_program_or_the_memory_of_whoever_enters() {
    let root = TestRoot::new();
    let own = std::env::current_exe().expect("this program");
    let before = fs::metadata(&own).expect("look");
    // A program in its place that makes whoever executes it execute itself.
    let trap = root.path().join("bin/trap");
    fs::write(&trap, "#!/proc/self/exe\n").expect("write");
    fs::set_permissions(&trap, fs::Permissions::from_mode(0o755)).expect("chmod");
    // Root inside has the most rights that a server can have.
    let server = Server::with(root, User::default());
    let look = "for what in exe root cwd fd/0 fd/3; do busybox readlink /proc/$PPID/$what && echo GOT $what; done; \
                for what in environ maps mem auxv; do busybox head -c 1 /proc/$PPID/$what && echo GOT $what; done; \
                (echo x >/proc/$PPID/exe) && echo GOT write; (echo x >/proc/$PPID/mem) && echo GOT memory; \
                busybox cat /proc/$PPID/comm /proc/$PPID/cmdline; busybox ls /proc/self/fd";
    let (_, text) = server.say(look);
    assert!(!text.contains("GOT"), "{text}");
    assert!(text.contains("hornero-guest"), "{text}");
    let name = own.file_name().and_then(|name| name.to_str()).expect("a name");
    assert!(!text.contains(name), "nothing tells of the host: {text}");
    // What it has open: its streams, and what lists them.
    let open = text.lines().filter(|line| line.parse::<u32>().is_ok()).count();
    assert!((3..=4).contains(&open), "{text}");
    if let Ok((mut entered, mut output)) = server.enter(&["/bin/trap"]) {
        let mut text = String::new();
        output.read_to_string(&mut text).expect("read");
        entered.wait();
    }
    let after = fs::metadata(&own).expect("look");
    assert_eq!(
        (before.len(), before.modified().expect("a time")),
        (after.len(), after.modified().expect("a time"))
    );
}

#[test]
fn another_user_inside_can_not_open_what_it_writes_to() {
    let server = Server::as_user(ordinary());
    let script = "echo begun; busybox sleep 1000";
    let (entered, mut output) = server.enter(&["/bin/sh", "-c", script]).expect("enter");
    let mut line = [0; 6];
    output.read_exact(&mut line).expect("read");
    // The same user as that of the command, as a server is that was taken over.
    let (_, text) = server.say(
        "for p in /proc/[0-9]*; do (echo FORGED >$p/fd/1) 2>/dev/null && echo \"$p got it\"; done; echo looked",
    );
    drop(entered);
    let mut rest = String::new();
    output.read_to_string(&mut rest).expect("read");
    assert_eq!(rest, "", "{text}");
    assert!(text.ends_with("looked\n"), "{text}");
}
