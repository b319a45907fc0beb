//! Instances with volumes: what they write stays, and nobody has a volume beside them.

mod support;

use std::{fs, time::Duration};

use hornero_engine_port::{
    Engine, EngineError, InstanceSpec,
    log::{LogFrom, LogQuery},
};
use hornero_model::{InstanceId, LeaseToken, LeasedMount, Term, VolumeName};
use hornero_volume::Volumes;
use support::{TestHome, eventually};

const TERM: Term = Term(1);

fn orders() -> VolumeName {
    VolumeName::new("orders").unwrap()
}

fn with_volume(home: &TestHome, id: &str, lease: u64, script: &str) -> InstanceSpec {
    let (path, volume, lease) = ("/data".to_owned(), orders(), LeaseToken(lease));
    InstanceSpec {
        mounts: vec![LeasedMount { path, volume, lease }],
        ..home.shell(InstanceId::new(id).unwrap(), script)
    }
}

const WRITES: &str = "echo a line >> /data/kept && wc -l < /data/kept; exec sleep 600";

#[test]
fn a_volume_goes_from_one_instance_to_the_next_with_what_was_written() {
    let home = TestHome::new();
    let volumes = Volumes::of(&home.home());
    volumes.make(&orders(), hornero_volume::LEAST_BYTES).unwrap();
    let engine = home.engine();
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for lease in 1..=3 {
        let spec = with_volume(&home, &format!("kit-1-n{lease}"), lease, WRITES);
        engine.start(TERM, &spec).unwrap();
        assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), mounts);
        assert!(volumes.facts(&orders()).unwrap().attached);
        // Each has other ids of the host than the one before, and writes to its file all the same.
        eventually("a line", || lines(&engine, &spec.id) == [lease.to_string()]);
        if lease == 3 {
            // A server that nobody asks: its shim is killed, and everything of it with it.
            let shim = fs::read_to_string(
                home.home().join("instances").join(spec.id.as_str()).join("shim.pid"),
            );
            let pid =
                rustix::process::Pid::from_raw(shim.unwrap().trim().parse().unwrap()).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
        engine.stop(TERM, &spec.id, Duration::from_millis(100)).unwrap();
        engine.remove(TERM, &spec.id).unwrap();
    }
    eventually("the volume to be let go of", || !volumes.facts(&orders()).unwrap().attached);
}

fn lines(engine: &impl Engine, id: &InstanceId) -> Vec<String> {
    let query = LogQuery::all(LogFrom::Start, 10);
    let lines = engine.logs(id, &query).unwrap().lines;
    lines.into_iter().map(|line| line.text.trim().to_owned()).collect()
}

#[test]
fn a_second_writer_does_not_start_whatever_it_is_told() {
    let home = TestHome::new();
    let volumes = Volumes::of(&home.home());
    let engine = home.engine();
    let missing = with_volume(&home, "kit-1-missing", 1, WRITES);
    let refused = engine.start(TERM, &missing).unwrap_err();
    assert!(matches!(refused, EngineError::NotStarted { .. }), "{refused}");
    assert!(refused.to_string().contains("there is no volume `orders`"), "{refused}");
    volumes.make(&orders(), hornero_volume::LEAST_BYTES).unwrap();
    let first = with_volume(&home, "kit-1-first", 5, WRITES);
    engine.start(TERM, &first).unwrap();
    let older = with_volume(&home, "kit-1-older", 4, WRITES);
    let refused = engine.start(TERM, &older).unwrap_err().to_string();
    assert!(refused.contains("lease 4 of volume `orders` is over"), "{refused}");
    let newer = with_volume(&home, "kit-1-newer", 6, WRITES);
    let refused = engine.start(TERM, &newer).unwrap_err().to_string();
    assert!(refused.contains("volume `orders` is still attached"), "{refused}");
    assert!(engine.list().unwrap().iter().any(|one| one.id == first.id));
}
