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
use hornero_engine_port::{Engine, InstanceStatus};
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
