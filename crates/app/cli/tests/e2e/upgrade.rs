//! Another program takes over control and edge, back and forth, under load: no request fails.

use std::{
    fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    home::{Answer, Home, pid, signal, until},
    site::Site,
    traffic::Traffic,
};

/// Upgrades in a row: enough that each step of a hand-over meets requests at each of theirs.
const UPGRADES: usize = 20;

/// Two files with the program under test: to Hornero, two programs.
struct Programs {
    _directory: tempfile::TempDir,
    paths: [PathBuf; 2],
}

impl Programs {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let paths = ["one", "other"].map(|name| directory.path().join(name));
        for path in &paths {
            fs::copy(env!("CARGO_BIN_EXE_hornero"), path).unwrap();
        }
        Self { _directory: directory, paths }
    }

    /// Runs a command of one of them.
    fn run(&self, which: usize, home: &Home, arguments: &[&str]) -> Answer {
        let mut command = Command::new(&self.paths[which]);
        command.arg("--home").arg(home.path()).args(arguments).current_dir(home.project());
        Answer::of(&command.output().unwrap())
    }
}

/// Whether a process runs the program in a file.
fn runs(pid: i32, program: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino())).ok();
    file(Path::new(&format!("/proc/{pid}/exe"))) == file(program)
}

#[track_caller]
fn assert_both_run(home: &Home, program: &Path) -> Value {
    let status = home.status();
    assert!(runs(pid(&status["control"]["pid"]), program), "{status}");
    assert!(runs(pid(&status["edge"]["pid"]), program), "{status}");
    status
}

fn instances(status: &Value) -> Vec<Value> {
    let instances = status["services"][0]["instances"].as_array().unwrap();
    instances.iter().map(|instance| instance["pid"].clone()).collect()
}

#[test]
fn upgrades_back_and_forth_lose_no_request_and_touch_no_server() {
    let home = Home::new();
    let programs = Programs::new();
    Site::default().write(&home, "page");
    programs.run(0, &home, &["up"]).expect(0);
    let before = instances(&home.status());
    let traffic = Traffic::start(home.port);
    let mut pauses = Vec::new();
    for upgrade in 1..=UPGRADES {
        let which = upgrade % 2;
        let report = programs.run(which, &home, &["upgrade", "--json"]).expect(0).json();
        assert_eq!(report["result"], "upgraded", "{report}");
        assert_eq!(report["unanswered"], 0, "{report}");
        pauses.push(report["longest_pause_ms"].as_f64().unwrap());
        let status = assert_both_run(&home, &programs.paths[which]);
        assert_eq!(instances(&status), before, "servers were touched");
        let same = programs.run(which, &home, &["upgrade", "--json"]).expect(0).json();
        assert_eq!(same["result"], "same", "{same}");
        if upgrade % 7 == 0 {
            // Control dies, and what starts next is of the other program: its edge follows it.
            signal(pid(&status["control"]["pid"]), "KILL");
            programs.run(1 - which, &home, &["up"]).expect(0);
            until("the edge to be of the same program as control", || {
                runs(pid(&home.status()["edge"]["pid"]), &programs.paths[1 - which])
            });
            programs.run(which, &home, &["upgrade"]).expect(0);
        }
    }
    println!("longest pauses in ms: {pauses:.1?}");
    let report = traffic.stop_whole();
    assert!(report.started > 1000, "{report:#?}");
    home.write("public/index.html", "new page");
    home.up();
    assert_eq!(home.get("/"), (200, "new page".to_owned()));
    home.run(&["audit", "verify"]).expect(0);
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_program_that_does_not_start_leaves_the_one_that_runs() {
    let home = Home::new();
    let programs = Programs::new();
    Site::default().write(&home, "page");
    programs.run(0, &home, &["up"]).expect(0);
    let before = home.status();
    let traffic = Traffic::start(home.port);
    // Control of the new program dies at its first journal write, after the old one has ended.
    let mut command = Command::new(&programs.paths[1]);
    command.arg("--home").arg(home.path()).args(["upgrade", "--json"]);
    command.env("HORNERO_CRASH_AT_APPEND", "1").current_dir(home.project());
    let answer = Answer::of(&command.output().unwrap()).expect(4);
    let report = answer.json();
    assert_eq!(report["error"]["code"], "rolled_back", "{report}");
    until("control and edge to be of the old program", || {
        let status = home.run(&["status", "--json"]);
        status.code == 0
            && runs(pid(&status.json()["control"]["pid"]), &programs.paths[0])
            && runs(pid(&status.json()["edge"]["pid"]), &programs.paths[0])
    });
    assert_eq!(instances(&home.status()), instances(&before));
    traffic.stop_whole();
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

/// What a successor ends with that has nothing to take over.
const MOOT: i32 = 75;

#[test]
fn a_successor_that_comes_after_a_down_does_not_begin() {
    let home = Home::new();
    let programs = Programs::new();
    Site::default().write(&home, "page");
    programs.run(0, &home, &["up"]).expect(0);
    let lock = || fs::File::open(home.path().join("upgrade.lock")).unwrap();
    programs.run(1, &home, &["upgrade"]).expect(0);
    // With the lock as its standard input, as if the command that handed it on had died.
    let successor = || {
        let mut command = Command::new(&programs.paths[0]);
        command.arg("--home").arg(home.path()).args(["serve", "--succeed", "0"]).stdin(lock());
        command
    };
    // A predecessor that died and left its servers is followed.
    signal(pid(&home.status()["control"]["pid"]), "KILL");
    let mut follower = successor().spawn().unwrap();
    until("the follower to be control", || {
        let status = home.run(&["status", "--json"]);
        status.code == 0 && status.json()["control"]["pid"] == follower.id()
    });
    home.run(&["down"]).expect(0);
    assert!(follower.wait().unwrap().success(), "nothing is left to serve");
    // It has nothing to take over now.
    Answer::of(&successor().output().unwrap()).expect(MOOT);
    home.assert_clean();
}

#[test]
fn an_upgrade_may_be_killed_at_any_time() {
    let home = Home::new();
    let programs = Programs::new();
    Site::default().write(&home, "page");
    programs.run(0, &home, &["up"]).expect(0);
    let traffic = Traffic::start(home.port);
    for round in 1..=8_u64 {
        let which = usize::try_from(round % 2).unwrap();
        let mut command = Command::new(&programs.paths[which]);
        command.arg("--home").arg(home.path()).arg("upgrade").current_dir(home.project());
        let mut upgrade = command.spawn().unwrap();
        // Rounds end the command at different points of its work.
        std::thread::sleep(std::time::Duration::from_millis(30 * round));
        let _ = upgrade.kill();
        let _ = upgrade.wait();
        // One of both goes on without anybody's help, and the next upgrade finds its way, whichever that is.
        until("a control process", || home.run(&["status"]).code == 0);
        let next = usize::try_from(round / 2 % 2).unwrap();
        programs.run(next, &home, &["upgrade"]).expect(0);
        assert_both_run(&home, &programs.paths[next]);
    }
    traffic.stop_whole();
    home.run(&["down"]).expect(0);
    home.assert_clean();
}

#[test]
fn a_home_that_can_not_be_read_is_refused_before_anything_ends() {
    let home = Home::new();
    let programs = Programs::new();
    Site::default().write(&home, "page");
    programs.run(0, &home, &["up"]).expect(0);
    let before = home.status();
    let format = home.path().join("format");
    let kept = fs::read_to_string(&format).unwrap();
    fs::write(&format, "{\"kind\":\"hornero-home\",\"format\":999,\"written_by\":\"99.1.0\"}\n")
        .unwrap();
    fs::set_permissions(&format, fs::Permissions::from_mode(0o600)).unwrap();
    let answer = programs.run(1, &home, &["upgrade"]).expect(1);
    assert!(answer.stderr.contains("99.1.0"), "{}", answer.stderr);
    fs::write(&format, kept).unwrap();
    let after = home.status();
    assert_eq!(after["control"]["pid"], before["control"]["pid"]);
    assert_eq!(after["edge"]["pid"], before["edge"]["pid"]);
}
