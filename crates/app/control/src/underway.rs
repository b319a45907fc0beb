//! What is being done beside the driver, one of each thing at a time: told to end where somebody wants that, and waited for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// What of one kind is under way, by what it is about.
#[derive(Debug)]
pub struct Underway<K> {
    /// Whether each is to end.
    going: Mutex<BTreeMap<K, bool>>,
    changed: Condvar,
}

/// One that is under way, for as long as this is kept.
#[derive(Debug)]
pub struct Going<K: Ord> {
    of: Arc<Underway<K>>,
    key: K,
}

/// Why one is not begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// One about the same goes on.
    Same,
    /// As many as may be go on.
    Full,
}

impl<K> Default for Underway<K> {
    fn default() -> Self {
        Self { going: Mutex::default(), changed: Condvar::new() }
    }
}

impl<K: Ord + Clone> Underway<K> {
    /// Begins one, where no other about the same goes on, and less than `most` in all.
    pub fn begin(self: &Arc<Self>, key: K, most: usize) -> Result<Going<K>, Busy> {
        let mut going = self.lock();
        if going.contains_key(&key) {
            return Err(Busy::Same);
        }
        if going.len() >= most {
            return Err(Busy::Full);
        }
        going.insert(key.clone(), false);
        Ok(Going { of: Arc::clone(self), key })
    }

    /// Those under way.
    pub fn keys(&self) -> BTreeSet<K> {
        self.lock().keys().cloned().collect()
    }

    /// Tells those that `which` says to end, and waits until they have, at most so long.
    pub fn end(&self, which: impl Fn(&K) -> bool, longest: Duration) {
        let mut going = self.lock();
        going.iter_mut().filter(|(key, _)| which(key)).for_each(|(_, ending)| *ending = true);
        self.changed.notify_all();
        let waited =
            self.changed.wait_timeout_while(going, longest, |going| going.keys().any(&which));
        drop(waited);
    }
}

impl<K> Underway<K> {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<K, bool>> {
        self.going.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Ord> Going<K> {
    /// Whether it is to end.
    pub fn is_to_end(&self) -> bool {
        self.of.lock().get(&self.key).is_some_and(|ending| *ending)
    }

    /// Waits for so long, or until it is to end; says whether it is.
    pub fn wait(&self, longest: Duration) -> bool {
        let deadline = Instant::now() + longest;
        let mut going = self.of.lock();
        loop {
            let is_to_end = going.get(&self.key).is_some_and(|ending| *ending);
            let left = deadline.saturating_duration_since(Instant::now());
            if is_to_end || left.is_zero() {
                return is_to_end;
            }
            let waited = self.of.changed.wait_timeout(going, left);
            going = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl<K: Ord> Drop for Going<K> {
    fn drop(&mut self) {
        self.of.lock().remove(&self.key);
        self.of.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn one_of_each_goes_on_and_not_more_than_may() {
        let underway = Arc::new(Underway::default());
        let first = underway.begin("a", 2).unwrap();
        assert_eq!(underway.begin("a", 2).unwrap_err(), Busy::Same);
        let second = underway.begin("b", 2).unwrap();
        assert_eq!(underway.begin("c", 2).unwrap_err(), Busy::Full);
        drop(first);
        assert_eq!(underway.keys(), BTreeSet::from(["b"]));
        let third = underway.begin("a", 2).unwrap();
        assert!(!second.is_to_end() && !third.is_to_end());
    }

    #[test]
    fn what_is_told_to_end_stops_waiting_and_is_waited_for() {
        let underway = Arc::new(Underway::default());
        let (told, other) = (underway.begin("a", 2).unwrap(), underway.begin("b", 2).unwrap());
        let begun = Instant::now();
        let waits = std::thread::spawn(move || told.wait(LONG));
        underway.end(|key| *key == "a", LONG);
        assert!(waits.join().unwrap());
        assert!(begun.elapsed() < LONG, "the end was not told");
        assert_eq!(underway.keys(), BTreeSet::from(["b"]));
        assert!(!other.is_to_end());
        assert!(!other.wait(Duration::from_millis(1)));
        // What does not end is not waited for without end.
        underway.end(|key| *key == "b", Duration::from_millis(1));
        assert!(other.is_to_end());
    }

    #[test]
    fn what_panics_is_over() {
        let underway = Arc::new(Underway::default());
        let going = underway.begin("a", 1).unwrap();
        let thread = std::thread::spawn(move || {
            let _going = going;
            panic!("as it is meant to");
        });
        assert!(thread.join().is_err());
        assert!(underway.begin("a", 1).is_ok());
    }
}
