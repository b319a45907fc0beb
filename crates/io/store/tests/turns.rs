//! Who waits to collect is let in, however many processes read in loops, and nobody waits for ever for the other.

mod support;

use std::{
    env,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use hornero_store::{CollectOptions, CollectProgress, Store, StoreError};
use support::{image, scratch};

/// Tells the test program, run again as a child, which store to work on.
const STORE: &str = "HORNERO_TEST_TURNS";
/// What the child does: `read`, `hold` or `collect`.
const WORK: &str = "HORNERO_TEST_TURNS_WORK";
/// Far beyond what any of this takes on a loaded machine.
const DEADLINE: Duration = Duration::from_secs(60);

/// A process at work on a store; killed when dropped.
struct Worker(Child);

impl Worker {
    fn start(dir: &Path, work: &str) -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "working", "--nocapture", "--test-threads=1"])
            .env(STORE, dir)
            .env(WORK, work)
            .stdout(Stdio::null())
            .spawn();
        Self(child.unwrap())
    }

    fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

/// Works as the child; there is nothing to do when tests are run.
#[test]
fn working() {
    let Some(dir) = env::var_os(STORE) else { return };
    let store = Store::open(dir).unwrap();
    match env::var(WORK).unwrap().as_str() {
        "read" => loop {
            let _lease = store.lease().unwrap();
            // As a command that reads for a while, so that the others come in between.
            thread::sleep(Duration::from_millis(100));
        },
        "hold" => {
            let _lease = store.lease().unwrap();
            loop {
                thread::park();
            }
        }
        "collect" => {
            store.collect(&CollectOptions::default(), || Ok(Vec::new()), &|_| {}).unwrap();
        }
        other => panic!("no such work: {other}"),
    }
}

/// Polls until it is so.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < DEADLINE, "{what}");
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_held(store: &Store) -> bool {
    matches!(store.exclusive(), Err(StoreError::Busy(_)))
}

/// Whether a collector waits for its turn.
fn is_turn_taken(store: &Store) -> bool {
    let Ok(file) = std::fs::File::open(store.dir().join("locks/turn")) else { return false };
    matches!(file.try_lock_shared(), Err(std::fs::TryLockError::WouldBlock))
}

#[test]
fn readers_in_loops_let_a_collector_in() {
    let own = scratch();
    let gone = image(&own.store, &[&[("a", "gone")]]);
    let _readers: Vec<_> = (0..4).map(|_| Worker::start(own.store.dir(), "read")).collect();
    until("the readers read", || is_held(&own.store));
    let options = CollectOptions { patience: Some(DEADLINE), ..CollectOptions::default() };
    for _ in 0..3 {
        own.store.collect(&options, || Ok(Vec::new()), &|_| {}).unwrap();
    }
    assert!(!own.store.has_image(&gone));
    until("they go on", || is_held(&own.store));
}

#[test]
fn a_lease_waits_for_a_collector_but_not_for_ever() {
    let own = scratch();
    // As a client that waits for the control process, which needs a lease as well.
    let client = Worker::start(own.store.dir(), "hold");
    until("the client holds a lease", || is_held(&own.store));
    let mut collector = Worker::start(own.store.dir(), "collect");
    until("the collector waits", || is_turn_taken(&own.store));
    let begun = Instant::now();
    let lease = own.store.lease().unwrap();
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert!(collector.is_running());
    // One more is no waiting: nobody is helped by that.
    let begun = Instant::now();
    drop(own.store.lease().unwrap());
    drop(lease);
    assert!(begun.elapsed() < Duration::from_millis(900), "{:?}", begun.elapsed());
    drop(collector);
    assert!(!is_turn_taken(&own.store), "one that is killed holds nobody up");
    drop(client);
    until("all is given back", || !is_held(&own.store));
}

#[test]
fn a_thread_of_a_process_that_holds_a_lease_waits_for_no_collector() {
    let own = scratch();
    let lease = own.store.lease().unwrap();
    let waiting = AtomicBool::new(false);
    thread::scope(|scope| {
        let collector = scope.spawn(|| {
            let tell = |progress| {
                if matches!(progress, CollectProgress::Waiting { .. }) {
                    waiting.store(true, Ordering::SeqCst);
                }
            };
            own.store.collect(&CollectOptions::default(), || Ok(Vec::new()), &tell).unwrap()
        });
        until("it waits", || waiting.load(Ordering::SeqCst) && is_turn_taken(&own.store));
        let begun = Instant::now();
        for _ in 0..20 {
            drop(own.store.lease().unwrap());
        }
        assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
        drop(lease);
        collector.join().unwrap();
    });
    assert!(!is_turn_taken(&own.store));
}

#[test]
fn whoever_is_refused_is_told_who_may_be_at_it() {
    let own = scratch();
    let _lease = own.store.lease().unwrap();
    let refused = own.store.exclusive().unwrap_err();
    assert!(refused.to_string().ends_with("a bake, a rollout or a command that reads"));
}
