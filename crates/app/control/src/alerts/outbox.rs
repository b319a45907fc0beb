//! What is to be sent to one destination: each until it is taken, behind the others where it is not, within bounds.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hornero_model::Timestamp;

use super::states::StandingAlert;

/// What waits at most; the oldest goes where there is more.
const WAITING: usize = 256;
/// How long something is tried.
const TRIED: Duration = Duration::from_secs(60 * 60);
/// Between two tries at first, and at most.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(120));
/// Bytes of a fault that are shown.
const FAULT_BYTES: usize = 300;

/// How it stands with a destination.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutboxStatus {
    /// How many wait.
    pub waiting: u64,
    /// How many were given up since control started.
    pub dropped: u64,
    /// When the last was taken.
    pub taken: Option<Timestamp>,
    /// Why the last try failed; none where it did not.
    pub fault: Option<String>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<(StandingAlert, Instant)>,
    /// The alerts that the destination was told of, and not yet that they are over.
    told: BTreeSet<(String, String)>,
    /// The alert that the destination is being told of.
    telling: Option<(String, String)>,
    status: OutboxStatus,
    ended: bool,
}

/// What waits for a destination.
#[derive(Debug, Default)]
pub struct Outbox {
    inner: Mutex<Inner>,
    changed: Condvar,
}

impl Outbox {
    /// With what waited before, and what was told of by then.
    pub fn of(waiting: Vec<StandingAlert>, told: impl Iterator<Item = (String, String)>) -> Self {
        let waiting = waiting.into_iter().map(|alert| (alert, Instant::now())).collect();
        let inner = Inner { waiting, told: told.collect(), ..Inner::default() };
        Self { inner: Mutex::new(inner), changed: Condvar::new() }
    }

    /// What waits.
    pub fn waiting(&self) -> Vec<StandingAlert> {
        self.inner().waiting.iter().map(|(alert, _)| alert.clone()).collect()
    }

    /// The alerts that the destination was told of, and not yet that they are over.
    pub fn told(&self) -> BTreeSet<(String, String)> {
        self.inner().told.clone()
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds one. One before it that is of the same alert and still waits goes: the newest is what is the case.
    pub fn add(&self, alert: StandingAlert) {
        let mut inner = self.inner();
        let same = |one: &StandingAlert| one.rule == alert.rule && one.object == alert.object;
        let before = inner.waiting.iter().position(|(one, _)| same(one));
        drop(before.and_then(|at| inner.waiting.remove(at)));
        let key = (alert.rule.clone(), alert.object.clone());
        let is_told = inner.told.contains(&key) || inner.telling.as_ref() == Some(&key);
        // What nobody was told of need not be called over.
        if is_told || alert.resolved.is_none() {
            if inner.waiting.len() >= WAITING {
                let oldest = inner.waiting.pop_front().map(|(alert, _)| alert);
                if let Some(over) = oldest.filter(|alert| alert.resolved.is_some()) {
                    inner.told.remove(&(over.rule, over.object));
                }
                inner.status.dropped += 1;
            }
            inner.waiting.push_back((alert, Instant::now()));
        }
        self.changed.notify_all();
    }

    /// How it stands.
    pub fn status(&self) -> OutboxStatus {
        let inner = self.inner();
        OutboxStatus { waiting: inner.waiting.len() as u64, ..inner.status.clone() }
    }

    /// No more is sent.
    pub fn end(&self) {
        self.inner().ended = true;
        self.changed.notify_all();
    }

    /// Sends what comes until it is ended, on the thread that calls this; `sent` is called when one waits no more.
    pub fn run(
        self: Arc<Self>,
        send: impl Fn(&StandingAlert) -> Result<(), String>,
        sent: impl Fn(),
    ) {
        let mut pause = PAUSES.0;
        loop {
            let mut inner = self.inner();
            while inner.waiting.is_empty() && !inner.ended {
                inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
            }
            if inner.ended {
                return;
            }
            let Some((alert, since)) = inner.waiting.front().cloned() else { continue };
            inner.telling = Some((alert.rule.clone(), alert.object.clone()));
            drop(inner);
            let taken = send(&alert);
            let mut inner = self.inner();
            inner.telling = None;
            let is_still_first = inner.waiting.front().is_some_and(|first| first.1 == since);
            match taken {
                Ok(()) => {
                    pause = PAUSES.0;
                    inner.status.taken = Some(Timestamp::now());
                    inner.status.fault = None;
                    let key = (alert.rule, alert.object);
                    match alert.resolved {
                        None => inner.told.insert(key),
                        Some(_) => inner.told.remove(&key),
                    };
                }
                Err(fault) => {
                    inner.status.fault = Some(fault.chars().take(FAULT_BYTES).collect());
                    if since.elapsed() < TRIED {
                        let until = Instant::now() + pause;
                        pause = (pause * 2).min(PAUSES.1);
                        // Another one may be taken all the same.
                        if is_still_first {
                            inner.waiting.rotate_left(1);
                        }
                        self.wait(inner, until);
                        continue;
                    }
                    inner.status.dropped += 1;
                    if alert.resolved.is_some() {
                        inner.told.remove(&(alert.rule, alert.object));
                    }
                }
            }
            if is_still_first {
                inner.waiting.pop_front();
            }
            drop(inner);
            sent();
        }
    }

    fn wait(&self, mut inner: MutexGuard<'_, Inner>, until: Instant) {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if inner.ended || left.is_zero() {
                return;
            }
            let waited = self.changed.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn alert(object: &str, resolved: bool) -> StandingAlert {
        StandingAlert {
            rule: "budget_near".to_owned(),
            object: object.to_owned(),
            summary: String::new(),
            since: Timestamp(1),
            fired: Some(Timestamp(1)),
            seen: Timestamp(1),
            resolved: resolved.then_some(Timestamp(2)),
        }
    }

    #[test]
    fn what_is_not_taken_is_tried_again_and_what_was_never_told_is_not_called_over() {
        let outbox = Arc::new(Outbox::default());
        outbox.add(alert("quiet", false));
        outbox.add(alert("quiet", true));
        outbox.add(alert("loud", false));
        assert_eq!(outbox.status().waiting, 1);
        let (told, heard) = mpsc::channel();
        let sender = Arc::clone(&outbox);
        let thread = std::thread::spawn(move || {
            let tries = std::cell::Cell::new(0);
            let send = |alert: &StandingAlert| {
                tries.set(tries.get() + 1);
                told.send((tries.get(), alert.object.clone())).unwrap();
                if tries.get() == 1 { Err("down".to_owned()) } else { Ok(()) }
            };
            sender.run(send, || {});
        });
        let next = || heard.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!(next(), (1, "loud".to_owned()));
        assert_eq!(next(), (2, "loud".to_owned()));
        outbox.add(alert("loud", true));
        assert_eq!(next(), (3, "loud".to_owned()));
        outbox.end();
        thread.join().unwrap();
    }

    #[test]
    fn what_is_not_taken_holds_nothing_up() {
        let outbox = Arc::new(Outbox::default());
        outbox.add(alert("strange", false));
        outbox.add(alert("plain", false));
        let (told, heard) = mpsc::channel();
        let sender = Arc::clone(&outbox);
        let thread = std::thread::spawn(move || {
            let send = |alert: &StandingAlert| {
                told.send(alert.object.clone()).unwrap();
                if alert.object == "strange" { Err("no".to_owned()) } else { Ok(()) }
            };
            sender.run(send, || {});
        });
        let next = || heard.recv_timeout(Duration::from_secs(60)).unwrap();
        assert_eq!([next(), next(), next()], ["strange", "plain", "strange"]);
        let told = [("budget_near".to_owned(), "plain".to_owned())];
        assert_eq!(outbox.told(), told.into());
        outbox.end();
        thread.join().unwrap();
    }

    #[test]
    fn what_was_told_is_called_over_though_it_waits_to_be_told_again() {
        let told = [("budget_near".to_owned(), "site".to_owned())];
        let outbox = Outbox::of(Vec::new(), told.into_iter());
        outbox.add(alert("site", false));
        outbox.add(alert("site", true));
        let waiting = outbox.waiting();
        assert!(waiting.len() == 1 && waiting[0].resolved.is_some());
    }

    #[test]
    fn what_waits_is_bounded() {
        let outbox = Outbox::default();
        (0..1000).for_each(|number| outbox.add(alert(&number.to_string(), false)));
        let status = outbox.status();
        assert_eq!((status.waiting, status.dropped), (256, 744));
    }
}
