//! Nothing is left behind, whoever is killed and whenever.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use hornero_conformance::{DEADLINE, Script, Subject, TERM};
use hornero_engine::LocalEngine;
use hornero_engine_port::{
    Engine, InstanceStatus,
    log::{LogFrom, LogQuery},
};
use hornero_model::ExitCause;
use support::{TestHome, eventually, fresh_id, kill, processes_of, shim_pid};

#[test]
fn a_killed_shim_takes_its_instance_along() {
    let home = TestHome::new();
    let engine = home.engine();
    let exits = engine.exits();
    let id = fresh_id(0);
    let spec = home.spec(id.clone(), &Script::IgnoreStop);
    engine.start(TERM, &spec).expect("start");
    let shim = shim_pid(&home.home(), &id).expect("the shim has left its id");
    kill(shim);
    let exit = exits.recv_timeout(DEADLINE).expect("an exit");
    assert_eq!((exit.id, exit.cause), (id.clone(), ExitCause::Unknown));
    eventually("the end of every process", || processes_of(&home).is_empty());
    assert!(matches!(
        engine.list().expect("list")[0].status,
        InstanceStatus::Exited { cause: ExitCause::Unknown, .. }
    ));
    engine.remove(TERM, &id).expect("remove");
    home.assert_nothing_left(&id);
}

#[test]
fn what_a_killed_shim_had_not_read_is_in_the_log() {
    for reopened in [false, true] {
        let home = TestHome::new();
        let mut engine = home.engine();
        let id = fresh_id(70 + usize::from(reopened));
        // As many lines as fit, so that it waits for a reader in the end.
        let script = "i=0; while true; do echo line $i; i=$((i+1)); done";
        let mut spec = home.spec(id.clone(), &Script::IgnoreStop);
        spec.command = ["/bin/sh", "-c", script].map(str::to_owned).to_vec();
        engine.start(TERM, &spec).expect("start");
        if reopened {
            drop(engine);
            engine = home.engine();
        }
        let exits = engine.exits();
        let last = || {
            let page = engine.logs(&id, &LogQuery::all(LogFrom::Tail, 1)).expect("logs");
            page.lines.last().and_then(|line| line.text.strip_prefix("line ")?.parse::<u64>().ok())
        };
        eventually("some lines", || last() > Some(1_000));
        let shim = shim_pid(&home.home(), &id).expect("the shim has left its id");
        let pid = rustix::process::Pid::from_raw(shim).expect("an id");
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("stop");
        eventually("the shim to stand still", || {
            let status = fs::read_to_string(format!("/proc/{shim}/stat")).unwrap_or_default();
            status.contains(") T ")
        });
        let read = last().expect("lines");
        // The pipe is full once the command writes no more, for a hundred looks.
        let seen = std::cell::Cell::new((0, 0));
        eventually("the pipe to be full", || {
            let written = processes_of(&home).iter().map(|pid| written_by(*pid)).sum::<u64>();
            let (before, looks) = seen.get();
            seen.set((written, if written == before { looks + 1 } else { 0 }));
            looks > 100
        });
        kill(shim);
        exits.recv_timeout(DEADLINE).expect("an exit");
        let rescued = last().expect("lines");
        assert!(rescued > read + 2_000, "{read} lines were read, {rescued} are there");
        let (mut from, mut expected) = (LogFrom::Start, None);
        loop {
            let page = engine.logs(&id, &LogQuery::all(from, 1_000)).expect("logs");
            for line in &page.lines {
                let number: u64 =
                    line.text.strip_prefix("line ").unwrap().parse().expect(&line.text);
                assert!(
                    expected.is_none_or(|expected| expected == number),
                    "{number} after {expected:?}"
                );
                expected = Some(number + 1);
            }
            if page.finished {
                break;
            }
            from = LogFrom::Cursor(page.next);
        }
        engine.remove(TERM, &id).expect("remove");
        home.assert_nothing_left(&id);
    }
}

/// Bytes that a process has written.
fn written_by(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
    let line = io.lines().find_map(|line| line.strip_prefix("wchar: "));
    line.and_then(|count| count.parse().ok()).unwrap_or(0)
}

#[test]
fn a_shim_killed_while_no_engine_is_open_is_noticed_by_the_next() {
    let home = TestHome::new();
    let engine = home.engine();
    let id = fresh_id(1);
    engine.start(TERM, &home.spec(id.clone(), &Script::Sleep)).expect("start");
    drop(engine);
    kill(shim_pid(&home.home(), &id).expect("the shim has left its id"));
    eventually("the instance's end", || processes_of(&home).is_empty());
    let engine = home.engine();
    let exit = engine.exits().recv_timeout(DEADLINE).expect("an exit");
    assert_eq!((exit.id, exit.cause), (id.clone(), ExitCause::Unknown));
    engine.remove(TERM, &id).expect("remove");
    home.assert_nothing_left(&id);
}

/// Kills the shim of an instance after `delay` from when it can first be found.
fn start_and_kill(home: &TestHome, engine: &LocalEngine, number: usize, delay: Duration) {
    let id = fresh_id(number);
    let spec = home.spec(id.clone(), &Script::Sleep);
    thread::scope(|scope| {
        let start = scope.spawn(|| engine.start(TERM, &spec));
        let deadline = Instant::now() + DEADLINE;
        let shim = loop {
            if let Some(pid) = shim_pid(&home.home(), &id) {
                break pid;
            }
            assert!(Instant::now() < deadline, "no shim appeared");
            std::hint::spin_loop();
        };
        thread::sleep(delay);
        kill(shim);
        // Either way is right: what counts is what is left.
        let _ = start.join().expect("no panic");
    });
    engine.stop(TERM, &id, Duration::ZERO).expect("stop");
    engine.remove(TERM, &id).expect("remove");
    home.assert_nothing_left(&id);
}

#[test]
fn a_shim_may_be_killed_at_any_moment_of_a_start() {
    let home = TestHome::new();
    let engine = home.engine();
    for number in 0..40 {
        let delay = Duration::from_micros(100 * number as u64);
        start_and_kill(&home, &engine, 100 + number, delay);
    }
    eventually("the end of every process", || processes_of(&home).is_empty());
}

#[test]
fn control_may_be_killed_at_any_moment_of_a_start() {
    let home = TestHome::new();
    let mut number = 1_000;
    for round in 0..8 {
        let mut control = Command::new(env!("CARGO_BIN_EXE_hornero-engine-launcher"))
            .arg(home.home())
            .arg("control")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start a control process");
        let mut input = control.stdin.take().expect("a pipe");
        let mut output = BufReader::new(control.stdout.take().expect("a pipe")).lines();
        let specs: Vec<_> = (0..6)
            .map(|_| {
                number += 1;
                home.spec(fresh_id(number), &Script::Sleep)
            })
            .collect();
        for spec in &specs {
            let line = serde_json::to_string(spec).expect("JSON");
            writeln!(input, "{line}").expect("write");
        }
        let first = output.next().expect("a line").expect("text");
        assert_eq!(first, specs[0].id.as_str());
        thread::sleep(Duration::from_micros(700 * round));
        control.kill().expect("kill");
        control.wait().expect("reap");

        let engine = home.engine();
        for spec in &specs {
            // Whatever had become of it, asking again gives a running instance.
            let started = engine.start(TERM, spec).expect("start");
            let pid = engine.host_process(&started.handle).expect("a process of this host");
            assert!(fs::exists(format!("/proc/{pid}")).expect("look"));
        }
        // The command and its init.
        assert_eq!(processes_of(&home).len(), 2 * specs.len());
        for spec in &specs {
            engine.remove(TERM, &spec.id).expect("remove");
            home.assert_nothing_left(&spec.id);
        }
    }
    eventually("the end of every process", || processes_of(&home).is_empty());
}

#[test]
fn a_killed_launcher_is_replaced() {
    let home = TestHome::new();
    let engine = home.engine();
    let first = fresh_id(2);
    engine.start(TERM, &home.spec(first.clone(), &Script::Sleep)).expect("start");
    let parent = |pid: i32| -> Option<i32> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
    };
    let shim = shim_pid(&home.home(), &first).expect("a shim");
    let launcher = parent(shim).expect("a parent");
    kill(launcher);
    eventually("the launcher's end", || parent(shim).is_some_and(|parent| parent != launcher));
    let second = fresh_id(3);
    engine.start(TERM, &home.spec(second.clone(), &Script::Sleep)).expect("start");
    for id in [first, second] {
        assert_eq!(engine.stop(TERM, &id, DEADLINE).expect("stop"), ExitCause::Signal(15));
    }
}

#[test]
fn all_of_it_holds_on_every_rung() {
    support::on_every_rung();
}
