//! Checks of starting, and of what is told when a command ends by itself.

use std::{collections::BTreeSet, thread};

use hornero_engine_port::{EngineError, InstanceStatus};
use hornero_model::{ExitCause, InstanceId};

use crate::subject::{DEADLINE, Script, Subject, TERM, fresh_id, refusal, wait_for_exit};

/// Starting what runs returns it as it is; another specification under the same id, and an id used up, are refused.
pub fn start_is_idempotent(subject: &dyn Subject) {
    let engine = subject.open();
    let id = fresh_id();
    let spec = subject.spec(id.clone(), &Script::Sleep);
    let first = engine.start(TERM, &spec).expect("start");
    assert_eq!(engine.start(TERM, &spec).expect("start again"), first);
    let listed = engine.list().expect("list");
    let instance = listed.iter().find(|instance| instance.id == id).expect("listed");
    assert_eq!(instance.status, InstanceStatus::Running(first));
    assert_eq!((&instance.service, instance.release), (&spec.service, spec.release));

    let mut other = spec.clone();
    other.command.push("more".to_owned());
    assert!(matches!(refusal(&*engine, &other), EngineError::Invalid { .. }));

    let cause = engine.stop(TERM, &id, DEADLINE).expect("stop");
    match refusal(&*engine, &spec) {
        EngineError::Ended { cause: told, .. } => assert_eq!(told, cause),
        error => panic!("{error}"),
    }
    engine.remove(TERM, &id).expect("remove");
    assert!(matches!(refusal(&*engine, &spec), EngineError::Ended { .. }));
}

/// Code, signal and want of memory are told apart.
pub fn every_cause_of_exit_is_told(subject: &dyn Subject) {
    let engine = subject.open();
    let cases = [
        (Script::WriteAndExit(0), ExitCause::Code(0)),
        (Script::WriteAndExit(7), ExitCause::Code(7)),
        (Script::Raise(6), ExitCause::Signal(6)),
        (Script::Raise(9), ExitCause::Signal(9)),
        (Script::EatMemory, ExitCause::OutOfMemory),
    ];
    for (script, expected) in cases {
        let id = fresh_id();
        engine.start(TERM, &subject.spec(id.clone(), &script)).expect("start");
        assert_eq!(wait_for_exit(&*engine, &id), expected, "{script:?}");
        engine.remove(TERM, &id).expect("remove");
        subject.assert_nothing_left(&id);
    }
}

/// Twenty starts from as many threads succeed, each with a process of its own; so do their removals.
pub fn many_start_at_once(subject: &dyn Subject) {
    let engine = subject.open();
    let engine = &*engine;
    let ids: Vec<InstanceId> = (0..20).map(|_| fresh_id()).collect();
    let specs: Vec<_> = ids.iter().map(|id| subject.spec(id.clone(), &Script::Sleep)).collect();
    let started: Vec<_> = thread::scope(|scope| {
        let threads: Vec<_> =
            specs.iter().map(|spec| scope.spawn(|| engine.start(TERM, spec))).collect();
        threads.into_iter().map(|thread| thread.join().expect("no panic").expect("start")).collect()
    });
    let handles: BTreeSet<_> = started.iter().map(|started| &started.handle).collect();
    assert_eq!(handles.len(), ids.len());
    let addresses: BTreeSet<_> = started.iter().filter_map(|started| started.address).collect();
    assert!(addresses.is_empty() || addresses.len() == ids.len(), "{addresses:?}");
    thread::scope(|scope| {
        for id in &ids {
            scope.spawn(|| engine.remove(TERM, id).expect("remove"));
        }
    });
    for id in &ids {
        subject.assert_nothing_left(id);
    }
}
