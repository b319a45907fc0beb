//! Checks of which control an engine obeys.

use hornero_engine_port::{Engine, EngineError, InstanceStatus};
use hornero_model::{InstanceId, Term};

use crate::subject::{DEADLINE, Script, Subject, TERM, fresh_id, is_listed};

/// Once a newer control has begun, what an older one asks is refused, and nothing of it happens; also by an engine that was
/// opened since, and by the one that the older control still has open.
pub fn an_older_control_changes_nothing(subject: &dyn Subject) {
    let newer = TERM.next();
    let engine = subject.open();
    let (served, stopped, unborn) = (fresh_id(), fresh_id(), fresh_id());
    for id in [&served, &stopped] {
        engine.start(TERM, &subject.spec(id.clone(), &Script::Sleep)).expect("start");
    }
    engine.stop(TERM, &stopped, DEADLINE).expect("stop");
    engine.obey(newer).expect("a newer control begins");
    engine.obey(newer).expect("which may be told again");
    refuses(&*engine, subject, [&served, &stopped, &unborn], newer);

    drop(engine);
    let engine = subject.open();
    assert_eq!(engine.term().expect("its term"), newer);
    refuses(&*engine, subject, [&served, &stopped, &unborn], newer);
    engine.stop(newer, &served, DEADLINE).expect("the newer one is obeyed");
    for id in [served, stopped] {
        engine.remove(newer, &id).expect("remove");
        subject.assert_nothing_left(&id);
    }
    subject.assert_nothing_left(&unborn);
}

fn refuses(
    engine: &dyn Engine,
    subject: &dyn Subject,
    [served, stopped, unborn]: [&InstanceId; 3],
    newest: Term,
) {
    let over = |error: Option<EngineError>| match error {
        Some(EngineError::TermOver { given, newest: told }) => {
            assert_eq!((given, told), (TERM, newest));
        }
        other => panic!("an older control is refused, not {other:?}"),
    };
    over(engine.obey(TERM).err());
    over(engine.start(TERM, &subject.spec(unborn.clone(), &Script::Sleep)).err());
    over(engine.stop(TERM, served, DEADLINE).err());
    over(engine.remove(TERM, served).err());
    over(engine.remove(TERM, stopped).err());
    over(engine.clean_up(TERM).err());
    let list = engine.list().expect("list");
    let runs = list.iter().find(|instance| instance.id == *served).expect("it is there");
    assert!(matches!(runs.status, InstanceStatus::Running(_)), "{:?}", runs.status);
    assert!(is_listed(engine, stopped) && !is_listed(engine, unborn));
}
