//! Lets so many through at once and no more, and those for one instance one after the other.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hornero_model::InstanceId;

/// How often who waits looks whether others have left.
const LOOK: Duration = Duration::from_secs(5);

/// Counts who is inside.
#[derive(Debug)]
pub struct Turnstile {
    most: usize,
    look: Duration,
    counts: Mutex<Counts>,
    left: Condvar,
    /// Whose turn it is, for each instance that somebody wants to start.
    turns: Mutex<BTreeMap<InstanceId, Arc<StartTurn>>>,
}

/// What is held by whoever starts an instance.
#[derive(Debug, Default)]
pub struct StartTurn {
    held: Mutex<()>,
    given_up: AtomicBool,
}

impl StartTurn {
    /// Waits until nobody else starts the instance; none where it was given up meanwhile, so that what waited starts nothing that
    /// nobody knows any more.
    pub fn take(&self) -> Option<MutexGuard<'_, ()>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        (!self.given_up.load(Ordering::Acquire)).then_some(held)
    }
}

#[derive(Debug)]
struct Counts {
    inside: usize,
    /// How many have left so far.
    left: u64,
}

/// Somebody inside; out when dropped.
#[derive(Debug)]
pub struct Inside<'a>(&'a Turnstile);

impl Turnstile {
    /// One that lets `most` in.
    pub const fn new(most: usize) -> Self {
        let counts = Mutex::new(Counts { inside: 0, left: 0 });
        let turns = Mutex::new(BTreeMap::new());
        Self { most, look: LOOK, counts, left: Condvar::new(), turns }
    }

    /// What is held by whoever starts an instance: a second one waits for it without a word, so that nobody takes a start that
    /// hangs for one that goes on.
    pub fn turn_of(&self, instance: &InstanceId) -> Arc<StartTurn> {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.retain(|_, turn| Arc::strong_count(turn) > 1);
        Arc::clone(turns.entry(instance.clone()).or_default())
    }

    /// Who waits to start an instance starts it no more: it is stopped or removed.
    pub fn give_up(&self, instance: &InstanceId) {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(instance) {
            turn.given_up.store(true, Ordering::Release);
        }
    }

    /// Waits for a place. Who waits long is told every few seconds whether others left meanwhile.
    pub fn enter(&self, looked: impl Fn(bool)) -> Inside<'_> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = counts.left;
        while counts.inside >= self.most {
            let full = |counts: &mut Counts| counts.inside >= self.most;
            let waited = self.left.wait_timeout_while(counts, self.look, full);
            counts = waited.unwrap_or_else(PoisonError::into_inner).0;
            looked(counts.left != seen);
            seen = counts.left;
        }
        counts.inside += 1;
        Inside(self)
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        let mut counts = self.0.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.inside -= 1;
        counts.left += 1;
        drop(counts);
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;

    use super::*;

    #[test]
    fn starts_of_one_instance_wait_for_each_other_and_those_of_others_do_not() {
        let turnstile = Turnstile::new(3);
        let id = |name: &str| InstanceId::new(name).unwrap();
        let first = turnstile.turn_of(&id("site-1-a"));
        let _mine = first.take().unwrap();
        assert!(turnstile.turn_of(&id("site-1-a")).held.try_lock().is_err());
        assert!(turnstile.turn_of(&id("site-1-b")).held.try_lock().is_ok());
        assert_eq!(
            turnstile.turns.lock().unwrap().len(),
            2,
            "one that ended, and one that goes on"
        );
        turnstile.turn_of(&id("site-1-c"));
        assert_eq!(turnstile.turns.lock().unwrap().len(), 2, "nothing is kept of what ended");
    }

    #[test]
    fn who_waits_to_start_what_was_given_up_meanwhile_starts_nothing() {
        let turnstile = Turnstile::new(3);
        let id = |name: &str| InstanceId::new(name).unwrap();
        let first = turnstile.turn_of(&id("site-1-a"));
        let mine = first.take().unwrap();
        let second = turnstile.turn_of(&id("site-1-a"));
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| second.take().is_some());
            turnstile.give_up(&id("site-1-a"));
            drop(mine);
            assert!(!waits.join().unwrap());
        });
        turnstile.give_up(&id("site-1-b"));
        assert!(turnstile.turn_of(&id("site-1-b")).take().is_some(), "nobody waited for it");
    }

    #[test]
    fn no_more_than_so_many_are_inside_at_once() {
        let (turnstile, inside, most) =
            (Turnstile::new(3), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..20 {
                scope.spawn(|| {
                    let _place = turnstile.enter(|_| ());
                    let now = inside.fetch_add(1, Ordering::SeqCst) + 1;
                    most.fetch_max(now, Ordering::SeqCst);
                    std::thread::yield_now();
                    inside.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        assert!((1..=3).contains(&most.into_inner()));
        assert_eq!(turnstile.counts.lock().unwrap().inside, 0);
    }

    #[test]
    fn who_waits_is_told_that_others_left_and_not_while_nobody_does() {
        let mut turnstile = Turnstile::new(1);
        turnstile.look = Duration::from_millis(5);
        drop(turnstile.enter(|_| panic!("there is a place")));
        let (looks, seen) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let first = turnstile.enter(|_| panic!("there is a place"));
            let turnstile = &turnstile;
            let second =
                scope.spawn(move || drop(turnstile.enter(|left| looks.send(left).unwrap())));
            let quiet: Vec<bool> = seen.iter().take(3).collect();
            assert_eq!(quiet, [false; 3]);
            drop(first);
            second.join().unwrap();
            let others_left: Vec<bool> = seen.iter().collect();
            assert_eq!(others_left.last(), Some(&true));
        });
    }
}
