//! Commands that enter instances: kept by a process that ends them, whoever else is gone or hangs.

mod support;

use std::{
    fs,
    time::{Duration, Instant},
};

use hornero_engine::LocalEngine;
use hornero_engine_port::{
    Engine as _, EngineError,
    guest::{Guest, GuestCommand, GuestTerminal, GuestWord},
};
use hornero_model::{ExitCause, InstanceId, Millis, Term};
use support::{TestHome, eventually, fresh_id, kill};

const PATIENCE: Duration = Duration::from_millis(50);

fn running(home: &TestHome) -> (LocalEngine, InstanceId) {
    let (engine, id) = (home.engine(), fresh_id(1));
    let spec = home.shell(id.clone(), "exec busybox sleep 1000");
    engine.start(Term(1), &spec).expect("start");
    (engine, id)
}

fn command(script: &str, time: Millis) -> GuestCommand {
    let command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
    GuestCommand { command, time, terminal: None }
}

/// What it wrote until it ended, and how that was.
fn heard(guest: &mut dyn Guest) -> (String, ExitCause, bool) {
    let mut written = Vec::new();
    loop {
        match guest.next(PATIENCE).expect("it is kept") {
            GuestWord::Wrote(bytes) => written.extend(bytes),
            GuestWord::Nothing => {}
            GuestWord::Ended { cause, time_is_up } => {
                return (String::from_utf8(written).expect("text"), cause, time_is_up);
            }
        }
    }
}

/// Waits until something was written.
fn first(guest: &mut dyn Guest) -> String {
    loop {
        match guest.next(PATIENCE).expect("it is kept") {
            GuestWord::Wrote(bytes) => return String::from_utf8(bytes).expect("text"),
            GuestWord::Nothing => {}
            GuestWord::Ended { cause, .. } => panic!("it ended: {cause}"),
        }
    }
}

/// How many processes an instance has.
fn processes(engine: &LocalEngine, id: &InstanceId) -> usize {
    let ids = std::slice::from_ref(id);
    engine.usage(ids).get(id).map_or(0, |usage| usage.processes as usize)
}

#[test]
fn a_command_runs_in_an_instance_and_says_how_it_ended() {
    let home = TestHome::new();
    let (engine, id) = running(&home);
    let script = "echo $HOSTNAME; busybox id -u; echo two >&2; exit 3";
    let mut guest = engine.enter(Term(1), &id, &command(script, Millis(60_000))).expect("enter");
    let (written, cause, time_is_up) = heard(&mut *guest);
    assert_eq!((written.as_str(), cause), ("kit\n33\ntwo\n", ExitCause::Code(3)));
    assert!(!time_is_up);
    // More than any pipe or socket holds, and none of it is lost.
    let script = "i=0; while [ $i -lt 20000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done";
    let mut guest = engine.enter(Term(1), &id, &command(script, Millis(60_000))).expect("enter");
    let (written, cause, _) = heard(&mut *guest);
    assert_eq!((written.len(), cause), (20_000 * 41, ExitCause::Code(0)));
    engine.remove(Term(1), &id).expect("remove");
}

#[test]
fn its_time_ends_it_though_nobody_listens() {
    let home = TestHome::new();
    let (engine, id) = running(&home);
    let before = processes(&engine, &id);
    let script = "trap '' TERM HUP INT; busybox setsid busybox sleep 1000 & echo up; while :; do busybox sleep 1; done";
    let guest = engine.enter(Term(1), &id, &command(script, Millis(5_000))).expect("enter");
    // Nobody takes what it says.
    eventually("its end", || processes(&engine, &id) == before);
    drop(guest);
    let floods = "while :; do echo 0123456789012345678901234567890123456789; done";
    let guest = engine.enter(Term(1), &id, &command(floods, Millis(5_000))).expect("enter");
    eventually("its end", || processes(&engine, &id) == before);
    drop(guest);
    let mut guest = engine.enter(Term(1), &id, &command(script, Millis(5_000))).expect("enter");
    let (written, cause, time_is_up) = heard(&mut *guest);
    assert_eq!((written.as_str(), cause), ("up\n", ExitCause::Signal(libc::SIGKILL)));
    assert!(time_is_up);
    engine.remove(Term(1), &id).expect("remove");
}

#[test]
fn it_ends_with_whoever_began_it_with_the_instance_and_with_its_keeper() {
    let home = TestHome::new();
    let (engine, id) = running(&home);
    let before = processes(&engine, &id);
    let script = "busybox setsid busybox sleep 1000 & echo up; busybox sleep 1000";
    let enter = || -> Box<dyn Guest> {
        let mut guest =
            engine.enter(Term(1), &id, &command(script, Millis(600_000))).expect("enter");
        assert_eq!(first(&mut *guest), "up\n");
        assert!(processes(&engine, &id) > before);
        guest
    };
    drop(enter());
    eventually("its end", || processes(&engine, &id) == before);
    // Its keeper is killed.
    let mut guest = enter();
    let keepers = keepers(&home);
    assert_eq!(keepers.len(), 1, "{keepers:?}");
    kill(keepers[0]);
    over(&mut *guest, || {});
    eventually("its end", || processes(&engine, &id) == before);
    let mut guest = enter();
    engine.remove(Term(1), &id).expect("remove");
    let (_, cause, _) = heard(&mut *guest);
    assert_eq!(cause, ExitCause::Signal(libc::SIGKILL));
    let gone = engine.enter(Term(1), &id, &command("true", Millis(1_000)));
    assert!(matches!(gone.map(drop), Err(EngineError::NotFound { .. })));
}

/// Waits for its end, and does something before each look.
fn over(guest: &mut dyn Guest, before: impl Fn()) {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        before();
        if matches!(guest.next(PATIENCE), Ok(GuestWord::Ended { .. }) | Err(_)) {
            return;
        }
        assert!(Instant::now() < deadline, "it did not end");
    }
}

/// Processes that keep guests of a home.
fn keepers(home: &TestHome) -> Vec<i32> {
    let own = home.home().display().to_string();
    let all = fs::read_dir("/proc").expect("list").filter_map(Result::ok);
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_keeper = |pid: &i32| {
        let read =
            |name: &str| fs::read_to_string(format!("/proc/{pid}/{name}")).unwrap_or_default();
        read("comm").trim() == "hornero-glass" && read("cmdline").contains(&own)
    };
    pids.filter(is_keeper).collect()
}

#[test]
fn what_can_not_be_executed_is_said_and_older_controls_are_refused() {
    let home = TestHome::new();
    let (engine, id) = running(&home);
    let none =
        GuestCommand { command: vec!["nothing".to_owned()], time: Millis(60_000), terminal: None };
    match engine.enter(Term(2), &id, &none).map(drop) {
        Err(EngineError::NotStarted { reason, .. }) => {
            assert!(reason.contains("nothing"), "{reason}")
        }
        other => panic!("{other:?}"),
    }
    let late = engine.enter(Term(1), &id, &command("true", Millis(1_000))).map(drop);
    assert!(matches!(late, Err(EngineError::TermOver { .. })), "{late:?}");
    engine.remove(Term(2), &id).expect("remove");
}

#[test]
fn a_terminal_is_its_own_and_no_path_inside_leads_to_it() {
    let home = TestHome::new();
    let (engine, id) = running(&home);
    let terminal = GuestTerminal { name: "vt100".to_owned(), columns: 100, rows: 30 };
    let command = GuestCommand {
        command: vec!["/bin/sh".to_owned()],
        time: Millis(60_000),
        terminal: Some(terminal),
    };
    let mut guest = engine.enter(Term(1), &id, &command).expect("enter");
    let typing = guest.typing();
    typing.typed(b"busybox stty size; echo $TERM; busybox ls /dev/pts /dev/ptmx; echo x >/proc/self/fd/0; echo y >$(busybox tty); exit 5\r").expect("type");
    let (written, cause, _) = heard(&mut *guest);
    assert_eq!(cause, ExitCause::Code(5), "{written}");
    assert!(written.contains("30 100\r\n") && written.contains("vt100\r\n"), "{written}");
    let lines: Vec<&str> = written.lines().map(str::trim_end).collect();
    assert!(!lines.contains(&"x") && !lines.contains(&"y"), "{written}");
    let mut guest = engine.enter(Term(1), &id, &command).expect("enter");
    let typing = guest.typing();
    typing.resized(40, 10).expect("resize");
    typing.typed(b"busybox stty size\r").expect("type");
    // Ctrl-C ends what runs in front, and Ctrl-D the shell.
    typing.typed(b"busybox sleep 1000\r").expect("type");
    let mut so_far = String::new();
    while !so_far.contains("10 40\r\n") {
        so_far.push_str(&first(&mut *guest));
    }
    while !so_far.contains("sleep 1000") {
        so_far.push_str(&first(&mut *guest));
    }
    over(&mut *guest, || drop(typing.typed(b"\x03\x04")));
    engine.remove(Term(1), &id).expect("remove");
}
