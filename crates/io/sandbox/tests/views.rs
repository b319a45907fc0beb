//! Roots that are empty but for parts of the host.

mod support;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::Path,
};

use hornero_model::ExitCause;
use hornero_sandbox::{ProvidedFile, Root, SandboxSpec, User, View, start};
use support::{TestRoot, host_mounts, on_every_rung, run, shell};

/// A sandbox that sees busybox, and what lies in `place`.
fn seeing(root: &TestRoot, place: &Path, script: &str) -> SandboxSpec {
    let mut spec = shell(root.root(false), script);
    spec.root = Root::Views(vec![
        View::new(root.path().join("bin"), "/usr/bin"),
        View::Link { target: "usr/bin".to_owned(), at: "/bin".to_owned() },
        View::new(place.join("seen"), "/deep/below/seen"),
        View::new(place.join("file"), "/etc/file"),
    ]);
    spec
}

fn place() -> tempfile::TempDir {
    let place = tempfile::tempdir().expect("make a directory");
    fs::create_dir(place.path().join("seen")).expect("make a directory");
    for (path, mode) in
        [("seen/open", 0o644), ("seen/private", 0o600), ("file", 0o644), ("unseen", 0o644)]
    {
        let path = place.path().join(path);
        fs::write(&path, format!("{mode:o}\n")).expect("write");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("chmod");
    }
    place
}

#[test]
fn nothing_is_there_but_what_is_named() {
    let (root, place) = (TestRoot::new(), place());
    let script =
        "busybox ls / /deep/below /deep/below/seen; busybox cat /etc/file /deep/below/seen/open \
        /etc/given /deep/below/seen/private
        echo x > /deep/below/seen/open; echo x > /etc/new; echo x > /tmp/new && echo written";
    let mut spec = seeing(&root, place.path(), script);
    spec.files = vec![ProvidedFile::new("/etc/given", "given\n")];
    let before = host_mounts();
    let (_, output) = run(&spec);
    assert_eq!(host_mounts(), before);
    for line in ["open", "644", "given", "written"] {
        assert!(output.lines().any(|found| found == line), "{line}: {output}");
    }
    let names = "/:\nbin\ndeep\ndev\netc\nproc\nsys\ntmp\nusr\n";
    assert!(output.starts_with(names), "{output}");
    assert!(
        output.contains("private: Permission denied") || output.contains("private': Permission"),
        "{output}"
    );
    assert_eq!(output.matches("Read-only file system").count(), 2, "{output}");
    assert!(!output.contains("unseen"), "{output}");
    assert_eq!(fs::read_to_string(place.path().join("seen/open")).expect("read"), "644\n");
}

#[test]
fn only_a_mapped_view_has_the_owners_of_the_sandbox() {
    let (root, place) = (TestRoot::new(), place());
    let private = place.path().join("seen/private");
    std::os::unix::fs::chown(&private, Some(33), Some(33)).expect("chown");
    for (mapped, owner) in [(false, "65534"), (true, "33")] {
        let script = "busybox stat -c %u /seen/private; busybox cat /seen/private";
        let mut spec = shell(root.root(false), script);
        spec.user = User { uid: 33, gid: 33, groups: Vec::new() };
        let seen = View::Host { path: place.path().join("seen"), at: "/seen".to_owned(), mapped };
        spec.root = Root::Views(vec![View::new(root.path().join("bin"), "/bin"), seen]);
        let (cause, output) = run(&spec);
        assert!(output.starts_with(&format!("{owner}\n")), "{output}");
        assert_eq!(cause == ExitCause::Code(0), mapped, "{output}");
    }
}

#[test]
fn a_socket_that_is_shown_is_the_only_one() {
    let (root, place) = (TestRoot::new(), place());
    let _listener = UnixListener::bind(place.path().join("socket")).expect("listen");
    fs::set_permissions(place.path().join("socket"), fs::Permissions::from_mode(0o666))
        .expect("chmod");
    let script = "busybox test -S /run/socket && echo there; busybox ls /run";
    let mut spec = seeing(&root, place.path(), script);
    let Root::Views(views) = &mut spec.root else { unreachable!() };
    views.push(View::new(place.path().join("socket"), "/run/socket"));
    assert_eq!(run(&spec), (ExitCause::Code(0), "there\nsocket\n".to_owned()));
}

#[test]
fn a_link_in_the_place_of_a_view_is_not_followed() {
    let (root, place) = (TestRoot::new(), place());
    std::os::unix::fs::symlink("/etc", place.path().join("link")).expect("link");
    let mut spec = seeing(&root, place.path(), "busybox cat /seen/shadow");
    let Root::Views(views) = &mut spec.root else { unreachable!() };
    views.push(View::new(place.path().join("link"), "/seen"));
    let shown = support::spawn(&spec).map(drop).map_err(|error| error.one_line());
    if shown.is_ok() {
        let (cause, output) = run(&spec);
        assert_ne!(cause, ExitCause::Code(0), "{output}");
    }
    let mut spec = seeing(&root, place.path(), "true");
    spec.root = Root::Views(vec![View::new("/", "/a/../b")]);
    let (_, writer) = std::io::pipe().expect("make a pipe");
    let stdio = hornero_sandbox::Stdio {
        stdin: None,
        stdout: writer.try_clone().expect("clone").into(),
        stderr: writer.into(),
    };
    assert!(start(&spec, stdio, hornero_sandbox::Network::Isolated).is_err());
}

#[test]
fn all_of_it_holds_on_every_rung() {
    on_every_rung();
}
