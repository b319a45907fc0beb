//! Hosts that lack something, made of this one by hiding it in a mount or user namespace: doctor names it, and `up`
//! refuses before it bakes.

use std::{
    fs,
    os::unix::{fs::chown, net::UnixListener},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::Value;

use crate::home::{Answer, Home};

const PROJECT: &str = "image \"base\" {\n  debian = \"bookworm\"\n}\n";

/// Runs `hornero` for a home after `preparation`, in namespaces of its own that `unshare` makes with `flags`.
fn apart(home: &Home, flags: &str, preparation: &str, command: &str) -> Answer {
    let program = env!("CARGO_BIN_EXE_hornero");
    let path = home.path();
    let script = format!(
        "set -e; HOME_DIR={0}; {preparation}; exec {program} --home {0} {command}",
        path.display()
    );
    let mut unshare = Command::new("unshare");
    unshare.args(flags.split(' ')).args(["sh", "-c", &script]).current_dir(home.project());
    Answer::of(&unshare.stdin(Stdio::null()).output().unwrap())
}

/// What doctor says of one thing, and whether servers can run.
#[track_caller]
fn finding(answer: &Answer, id: &str) -> Value {
    let report = answer.json();
    let missing =
        report["checks"].as_array().unwrap().iter().any(|check| check["state"] == "missing");
    assert_eq!(answer.code, i32::from(missing), "{}", answer.stderr);
    assert_eq!(report["servers_run"], !missing);
    let checks = report["checks"].as_array().unwrap();
    checks
        .iter()
        .find(|check| check["id"] == id)
        .unwrap_or_else(|| panic!("no `{id}`: {report}"))
        .clone()
}

#[test]
fn up_refuses_before_it_bakes_where_something_is_missing() {
    let home = Home::with_own_store();
    home.write("hornero.hcl", PROJECT);
    let hide = "mount -t tmpfs none /sys/fs/cgroup";
    for command in ["up", "build"] {
        let began = Instant::now();
        let answer = apart(&home, "--mount", hide, command).expect(1);
        // Half a minute of baking is what this is instead of; a machine under load takes a while to start a program.
        assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
        let lines: Vec<&str> = answer.stderr.lines().collect();
        assert!(lines[0].starts_with("error: this host can't "), "{lines:#?}");
        assert!(lines[0].contains(": control_groups: no control groups"), "{lines:#?}");
        assert_eq!(lines[1], "hint: mount -t cgroup2 cgroup2 /sys/fs/cgroup");
        assert!(
            fs::read_dir(home.path()).unwrap().next().is_none(),
            "something was made in the home"
        );
        assert!(!home.project().join("hornero.lock").exists());
    }
    let plan = apart(&home, "--mount", hide, "plan");
    assert!(plan.stderr.contains("note: `up` would refuse: control_groups: "), "{}", plan.stderr);
    let json = apart(&home, "--mount", hide, "up --json").expect(1).json();
    assert_eq!(json["error"]["code"], "host.control_groups");
    assert_eq!(json["error"]["exit"], 1);
}

#[test]
fn homes_on_mounts_that_are_not_fit_are_named() {
    let home = Home::with_own_store();
    let check = |options: &str, id: &str, state: &str| {
        let mount = format!("mount -t tmpfs -o {options} none $HOME_DIR");
        let finding = finding(&apart(&home, "--mount", &mount, "doctor --json"), id);
        assert_eq!(finding["state"], state, "{options}: {finding}");
        finding["observed"].as_str().unwrap().to_owned()
    };
    assert_eq!(check("size=1m,mode=700", "home_space", "missing").split(' ').next(), Some("1"));
    check("size=1g,mode=700", "home_space", "degraded");
    check("size=9g,mode=700", "home_file_system", "degraded");
    assert!(
        check("ro,size=9g,mode=700", "home_mount", "missing").ends_with("is mounted read-only")
    );
    let told = check("noexec,nosuid,nodev,size=9g,mode=700", "home_mount", "pass");
    assert!(told.contains("noexec and nodev and nosuid"), "{told}");
    assert!(check("size=9g,mode=777", "home_owner", "missing").starts_with("others than root"));
}

#[test]
fn homes_of_others_and_sockets_of_nobody_are_named() {
    let home = Home::with_own_store();
    let socket = home.path().join("control.sock");
    drop(UnixListener::bind(&socket).unwrap());
    let stale = finding(&home.run(&["doctor", "--json"]), "control_process");
    assert_eq!(stale["state"], "degraded");
    assert!(stale["observed"].as_str().unwrap().contains("nobody listens"), "{stale}");
    fs::remove_file(socket).unwrap();
    chown(home.path(), Some(1234), None).unwrap();
    let owner = finding(&home.run(&["doctor", "--json"]), "home_owner");
    assert_eq!(owner["state"], "missing");
    assert_eq!(owner["hint"], format!("chown root: {}", home.path().display()));
    chown(home.path(), Some(0), None).unwrap();
    assert_eq!(finding(&home.run(&["doctor", "--json"]), "home_owner")["state"], "pass");
}

#[test]
fn root_of_a_user_namespace_is_told_apart_from_root() {
    let home = Home::with_own_store();
    let flags = "--user --map-root-user";
    let root = finding(&apart(&home, flags, "true", "doctor --json"), "root");
    assert_eq!(
        (&root["state"], &root["observed"]),
        (&"missing".into(), &"root of a user namespace".into())
    );
    home.write("hornero.hcl", PROJECT);
    let answer = apart(&home, flags, "true", "up").expect(1);
    assert!(
        answer.stderr.starts_with("error: this host can't run servers: root: "),
        "{}",
        answer.stderr
    );
}

#[test]
fn a_host_that_shows_nothing_of_itself_is_still_told_something() {
    let home = Home::with_own_store();
    let hide = "mount -t tmpfs none /sys; mount -t tmpfs none /proc";
    let answer = apart(&home, "--mount", hide, "doctor").expect(1);
    assert!(answer.stdout.starts_with("servers can't run here: "), "{}", answer.stdout);
    assert_eq!(answer.stderr, "");
}
