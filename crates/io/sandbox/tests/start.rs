//! Starting, ending and limiting sandboxes.

mod support;

use std::{
    fs,
    io::Read,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    time::{Duration, Instant},
};

use hornero_model::{ExitCause, Scratch};
use hornero_sandbox::{Cgroup, ComposedRoot, ProvidedFile, Root, SandboxSpec, User, remove_parent};
use support::{DEADLINE, TestRoot, host_mounts, limits, on_every_rung, run, shell, spawn};

#[test]
fn a_command_runs_and_its_code_is_told() {
    let root = TestRoot::new();
    let (cause, output) = run(&shell(root.root(false), "busybox id; exit 7"));
    assert_eq!(cause, ExitCause::Code(7));
    assert!(output.starts_with("uid=0(root) gid=0"), "{output}");
}

#[test]
fn nothing_tells_of_the_callers_command_or_the_hosts_disks() {
    let root = TestRoot::new();
    let script = "busybox tr '\\0' ' ' < /proc/1/cmdline; echo; for name in cmdline diskstats partitions swaps; do
        busybox wc -c < /proc/$name; done; busybox cat /proc/self/cmdline | busybox tr '\\0' ' '";
    let (cause, output) = run(&shell(root.root(false), script));
    assert_eq!(cause, ExitCause::Code(0), "{output}");
    let lines: Vec<&str> = output.lines().map(str::trim).collect();
    assert_eq!(lines[..5], ["hornero-init", "0", "0", "0", "0"], "{output}");
    assert_eq!(lines[5], "busybox cat /proc/self/cmdline", "{output}");
    let own = fs::read("/proc/self/cmdline").expect("read");
    let name = std::env::args().next().expect("a name");
    assert!(own.starts_with(name.as_bytes()), "the caller keeps its own");
}

#[test]
fn signals_end_a_command_by_their_default_action() {
    let root = TestRoot::new();
    let (mut running, _output) =
        spawn(&shell(root.root(false), "exec busybox sleep 1000")).expect("start");
    assert_eq!(running.wait(Some(Duration::from_millis(20))).expect("wait"), None);
    running.signal(libc::SIGTERM).expect("signal");
    let cause = running.wait(Some(DEADLINE)).expect("wait");
    assert_eq!(cause, Some(ExitCause::Signal(libc::SIGTERM)));
    assert_eq!(running.wait(None).expect("wait again"), cause);
    let (cause, _) = run(&shell(root.root(false), "kill -ABRT $$"));
    assert_eq!(cause, ExitCause::Signal(libc::SIGABRT));
}

#[test]
fn every_process_ends_with_the_command() {
    let root = TestRoot::new();
    let script = "busybox sleep 1000 & busybox setsid busybox sleep 1000 & exit 0";
    let begun = Instant::now();
    // Reads to the end of the pipe, which the sleeping processes would keep open.
    let (cause, _) = run(&shell(root.root(false), script));
    assert_eq!(cause, ExitCause::Code(0));
    assert!(begun.elapsed() < DEADLINE);
}

#[test]
fn want_of_memory_is_told_and_nothing_is_left() {
    let root = TestRoot::new();
    let mut spec = shell(root.root(false), "exec busybox tail /dev/zero");
    let cgroup = limits(16 << 20, 16);
    spec.cgroup = Some(cgroup.clone());
    let before = host_mounts();
    let (mut running, mut output) = spawn(&spec).expect("start");
    let cause = running.wait(Some(DEADLINE)).expect("wait");
    assert_eq!(cause, Some(ExitCause::OutOfMemory));
    running.remove().expect("remove");
    output.read_to_string(&mut String::new()).expect("read");
    assert!(!Cgroup::at(&cgroup.parent, &cgroup.name).exists());
    assert!(remove_parent(&cgroup.parent));
    assert_eq!(host_mounts(), before);
}

#[test]
fn processes_are_limited() {
    let root = TestRoot::new();
    let mut spec = shell(
        root.root(false),
        "i=0; while [ $i -lt 40 ]; do busybox sleep 1000 & i=$((i+1)); done; echo all",
    );
    let cgroup = limits(64 << 20, 10);
    spec.cgroup = Some(cgroup.clone());
    let (_, output) = run(&spec);
    assert!(!output.contains("all"), "{output}");
    assert!(remove_parent(&cgroup.parent));
}

#[test]
fn dropping_ends_everything() {
    let root = TestRoot::new();
    let mut spec = shell(root.root(false), "trap '' TERM; while :; do busybox sleep 1; done");
    let cgroup = limits(64 << 20, 10);
    spec.cgroup = Some(cgroup.clone());
    let (running, mut output) = spawn(&spec).expect("start");
    let pid = running.pid();
    assert!(running.usage().pids >= 2, "{:?}", running.usage());
    drop(running);
    output.read_to_string(&mut String::new()).expect("every writer is gone");
    assert!(!fs::exists(format!("/proc/{pid}")).expect("look"));
    assert!(remove_parent(&cgroup.parent));
}

#[test]
fn scratch_can_be_written_by_the_declared_user() {
    let root = TestRoot::new();
    for directory in ["run", "var/lib/own", "var/log/daemon"] {
        fs::create_dir_all(root.path().join(directory)).expect("make a directory");
    }
    std::os::unix::fs::chown(root.path().join("var/lib/own"), Some(7), Some(8)).expect("chown");
    let mode = fs::Permissions::from_mode(0o750);
    fs::set_permissions(root.path().join("var/lib/own"), mode).expect("chmod");
    let script = "echo x > /run/a && echo x > /run/deep/er/a && echo x > /var/log/daemon/a &&
        echo x > /srv/missing/a && echo x > /tmp/a && echo x > /dev/shm/a || exit 1
        busybox stat -c '%u %g %a' /run /var/lib/own /srv/missing /tmp
        busybox dd if=/dev/zero of=/run/big bs=64k count=32 2>&1 || echo full";
    let mut spec = shell(root.root(false), script);
    spec.user = User { uid: 33, gid: 34, groups: vec![] };
    let paths = ["/run", "/run/deep/er", "/var/lib/own", "/var/log/daemon/", "/srv/missing"];
    spec.scratch =
        paths.map(|path| Scratch { path: path.to_owned(), size_bytes: 1 << 20 }).to_vec();
    let (cause, output) = run(&spec);
    assert_eq!(cause, ExitCause::Code(0), "{output}");
    assert!(output.starts_with("33 34 755\n7 8 750\n33 34 755\n0 0 1777\n"), "{output}");
    assert!(output.ends_with("full\n"), "{output}");
    assert!(!root.path().join("srv").exists(), "the image's directory is as it was");
}

#[test]
fn provided_files_replace_the_images_read_only() {
    let root = TestRoot::new();
    fs::write(root.path().join("etc/hosts"), "of the image").expect("write");
    symlink("/run/nowhere/resolv.conf", root.path().join("etc/resolv.conf")).expect("link");
    let script = "busybox cat /etc/hosts /etc/resolv.conf /new/file; busybox stat -c %u /etc/hosts
        echo x > /etc/hosts || echo refused";
    let mut spec = shell(root.root(false), script);
    spec.files = ["/etc/hosts", "/etc/resolv.conf", "/new/file"]
        .map(|path| ProvidedFile::new(path, format!("{path}\n")))
        .to_vec();
    let (_, output) = run(&spec);
    let expected = "/etc/hosts\n/etc/resolv.conf\n/new/file\n0\n";
    assert!(output.starts_with(expected) && output.ends_with("refused\n"), "{output}");
}

#[test]
fn provided_files_lie_in_scratch_too_and_belong_to_whom_they_are_given() {
    let root = TestRoot::new();
    let script = "busybox cat /run/deep/er/file /tmp/file
        busybox stat -c '%a %u %g' /run/deep/er/file /run/deep/er /tmp/file
        (echo x > /run/deep/er/file) || echo refused; busybox rm -f /tmp/file; busybox cat /tmp/file
        echo free > /run/own && busybox cat /run/own";
    let mut spec = shell(root.root(false), script);
    spec.user = User { uid: 33, gid: 33, groups: vec![] };
    spec.scratch = vec![Scratch { path: "/run".to_owned(), size_bytes: 1 << 20 }];
    let given = |path: &str| ProvidedFile {
        mode: 0o640,
        uid: 33,
        gid: 34,
        ..ProvidedFile::new(path, format!("{path}\n"))
    };
    spec.files = vec![given("/run/deep/er/file"), given("/tmp/file")];
    let (_, output) = run(&spec);
    let expected = "/run/deep/er/file\n/tmp/file\n640 33 34\n755 0 0\n640 33 34\n";
    assert!(output.starts_with(expected), "{output}");
    assert!(output.contains("refused\n") && output.ends_with("/tmp/file\nfree\n"), "{output}");
}

#[test]
fn a_private_file_is_for_root_alone() {
    let root = TestRoot::new();
    let script = "busybox stat -c '%a %u' /run/secrets/token; busybox cat /run/secrets/token || echo refused";
    let mut spec = shell(root.root(false), script);
    let token = ProvidedFile::new("/run/secrets/token", "hidden\n");
    spec.files = vec![ProvidedFile { mode: 0o400, ..token }];
    let (_, output) = run(&spec);
    assert_eq!(output, "400 0\nhidden\n");
    spec.user = User { uid: 33, gid: 33, groups: vec![] };
    let (_, output) = run(&spec);
    assert!(output.starts_with("400 0\n") && output.ends_with("refused\n"), "{output}");
    assert!(!output.contains("hidden"), "{output}");
}

#[test]
fn streams_can_be_opened_again_and_ports_need_no_root() {
    let root = TestRoot::new();
    let script = "echo again > /dev/stdout; echo more > /dev/stderr; busybox cat /dev/stdin
        busybox cat /proc/sys/net/ipv4/ip_unprivileged_port_start; busybox hostname; umask; pwd";
    let mut spec = shell(root.root(false), script);
    spec.user = User { uid: 33, gid: 33, groups: vec![] };
    spec.workdir = "/etc".to_owned();
    let (_, output) = run(&spec);
    assert_eq!(output, "again\nmore\n0\ntest\n0022\n/etc\n");
}

#[test]
fn a_writable_directory_is_written_with_the_images_ids() {
    let root = TestRoot::new();
    let (cause, output) = run(&shell(root.root(true), "echo x > /file && busybox chown 5:6 /file"));
    assert_eq!(cause, ExitCause::Code(0), "{output}");
    let file = fs::metadata(root.path().join("file")).expect("there");
    assert_eq!((file.uid(), file.gid()), (5, 6));
}

#[test]
fn a_composed_root_reads_its_objects_and_can_not_be_written() {
    let root = TestRoot::new();
    let before = host_mounts();
    let script = "busybox stat -c '%u %a' /bin/busybox; echo x > /file || echo refused";
    let (cause, output) = run(&shell(root.composed(), script));
    assert_eq!(cause, ExitCause::Code(0), "{output}");
    assert!(output.starts_with("0 755\n") && output.ends_with("refused\n"), "{output}");
    assert_eq!(host_mounts(), before);
}

#[test]
fn failures_name_their_step_and_object() {
    let root = TestRoot::new();
    let image = root.path().join("no-image");
    fs::write(&image, [0; 8192]).expect("write");
    type Spoil<'a> = &'a dyn Fn(&mut SandboxSpec);
    let spoil: [(&str, Spoil<'_>); 5] = [
        ("execute `/bin/none`: No such file", &|spec| spec.command = vec!["/bin/none".to_owned()]),
        ("execute `none`: No such file", &|spec| spec.command = vec!["none".to_owned()]),
        ("execute `/etc/passwd`: Permission denied", &|spec| {
            spec.command = vec!["/etc/passwd".to_owned()];
        }),
        ("enter the working directory `/none`: No such file", &|spec| {
            spec.workdir = "/none".to_owned();
        }),
        ("no-image`: ", &|spec| {
            let objects = root.path().to_owned();
            spec.root = Root::Composed(ComposedRoot { metadata: image.clone(), objects });
        }),
    ];
    for (expected, spoil) in spoil {
        let mut spec = shell(root.root(false), "");
        let cgroup = limits(64 << 20, 10);
        spec.cgroup = Some(cgroup.clone());
        spoil(&mut spec);
        let error = spawn(&spec).map(drop).expect_err(expected).one_line();
        assert!(error.contains(expected), "{error}");
        assert!(!Cgroup::at(&cgroup.parent, &cgroup.name).exists(), "{expected}");
        assert!(remove_parent(&cgroup.parent), "{expected}");
    }
}

#[test]
fn threads_may_start_sandboxes_while_others_allocate() {
    let root = TestRoot::new();
    let spec = shell(root.root(false), "exit 3");
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy = scope.spawn(|| {
            let mut total = 0_usize;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                total = total.wrapping_add(vec![1_u8; 100_000].len());
            }
            total
        });
        let starts: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| (0..5).map(|_| run(&spec).0).collect::<Vec<_>>()))
            .collect();
        let ended: Vec<_> = starts.into_iter().map(|start| start.join()).collect();
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for causes in ended {
            assert_eq!(causes.expect("no panic"), vec![ExitCause::Code(3); 5]);
        }
        assert!(busy.join().expect("no panic") > 0);
    });
}

#[test]
fn all_of_it_holds_on_every_rung() {
    on_every_rung();
}
