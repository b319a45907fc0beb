//! Build roots: writable overlays whose upper directory keeps the image's own ids.

mod support;

use std::{fs, os::unix::fs::MetadataExt, path::Path, process::Command};

use hornero_model::ExitCause;
use hornero_sandbox::{IdMap, Profile, Root, SandboxSpec};
use support::{TestRoot, on_every_rung, run, shell};

/// That of the support's sandboxes.
const MAP: IdMap = IdMap { first: 300_000_000, count: 65_536 };

/// A build step on a copy of the root of busybox.
fn step(root: &TestRoot, dir: &Path, script: &str) -> SandboxSpec {
    for name in ["upper", "work"] {
        fs::create_dir_all(dir.join(name)).expect("make a directory");
    }
    let status = Command::new("cp")
        .arg("-a")
        .arg(format!("{}/.", root.path().display()))
        .arg(dir.join("upper"))
        .status();
    assert!(status.expect("run cp").success());
    let mut spec = shell(root.root(false), script);
    spec.root = Root::Build { lower: None, dir: dir.to_owned() };
    spec.profile = Profile::Build;
    spec
}

#[test]
fn what_a_step_writes_lands_in_upper_with_the_images_ids() {
    let root = TestRoot::new();
    let dir = tempfile::tempdir().expect("make a directory");
    let script =
        "set -e; echo hello > /etc/new; busybox chown 33:34 /etc/new; busybox rm /etc/passwd
        busybox chmod 4755 /etc/new; busybox mkdir -p /var/lib/x; busybox ln -s /etc/new /var/link";
    let (cause, output) = run(&step(&root, dir.path(), script));
    assert_eq!(cause, ExitCause::Code(0), "{output}");
    hornero_sandbox::settle_owners(dir.path(), MAP).expect("settle");
    let upper = dir.path().join("upper");
    let new = fs::metadata(upper.join("etc/new")).expect("the file is there");
    assert_eq!((new.uid(), new.gid(), new.mode() & 0o7777), (33, 34, 0o4755));
    assert_eq!(fs::metadata(upper.join("var/lib/x")).expect("there").uid(), 0);
    assert!(!upper.join("etc/passwd").exists());
    for name in ["proc", "dev", "sys", "tmp"] {
        assert!(!upper.join(name).exists(), "`/{name}` is no part of the image");
    }
}

#[test]
fn steps_follow_each_other_in_one_directory() {
    let root = TestRoot::new();
    let dir = tempfile::tempdir().expect("make a directory");
    let mut spec = step(&root, dir.path(), "echo one > /etc/one");
    assert_eq!(run(&spec).0, ExitCause::Code(0));
    spec.command[2] = "busybox cat /etc/one".to_owned();
    assert_eq!(run(&spec), (ExitCause::Code(0), "one\n".to_owned()));
}

/// A terminal's first number shows that no other's terminals are in sight.
#[test]
fn a_step_makes_terminals_of_its_own_and_a_server_none() {
    let script = "exec 3<>/dev/ptmx || exit 9; busybox ls /dev/pts; busybox stat -c %a /dev/pts/0";
    let root = TestRoot::new();
    let dir = tempfile::tempdir().expect("make a directory");
    let (cause, output) = run(&step(&root, dir.path(), script));
    assert_eq!((cause, &*output), (ExitCause::Code(0), "0\nptmx\n620\n"));
    let (cause, output) = run(&shell(root.root(false), "busybox ls /dev/ptmx /dev/pts"));
    assert_eq!(cause, ExitCause::Code(1), "{output}");
}

#[test]
fn all_of_it_holds_on_every_rung() {
    on_every_rung();
}
