//! The witness: gets each head of the ledger, and never stops what control does.
//!
//! A thread of its own sends the newest head. Heads that come while it sends are joined: the newest covers every event
//! before it. One that can't be sent is tried again, ever more slowly, and whoever asks is told.

mod limits;
mod place;
pub mod web;

pub use place::WitnessPlace;

use std::{
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use hornero_api::message::WitnessStatus;
use hornero_ledger::{Head, Keys, head_line};
use hornero_model::Timestamp;

/// The first pause before a witness that is down is tried again; doubled by every further failure.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause: who brings it back does not wait longer for it to be found.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long the last head may take when control ends.
const LAST_WORD: Duration = Duration::from_secs(2);

/// Sends heads to a witness.
pub struct Witness {
    shared: Arc<Shared>,
}

struct Shared {
    place: WitnessPlace,
    keys: Arc<Keys>,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    newest: Head,
    /// The event whose head it has; 0 for none that is known.
    taken: u64,
    taken_at: Option<Timestamp>,
    fault: Option<(String, Timestamp)>,
    ending: bool,
    ended: bool,
}

impl Witness {
    /// Begins to send; the first head is the one that the ledger has now, which a witness that was down lacks.
    pub fn start(place: WitnessPlace, keys: Arc<Keys>, newest: Head) -> std::io::Result<Self> {
        let state =
            State { newest, taken: 0, taken_at: None, fault: None, ending: false, ended: false };
        let changed = Condvar::new();
        let shared = Arc::new(Shared { place, keys, state: Mutex::new(state), changed });
        let sender = Arc::clone(&shared);
        std::thread::Builder::new().name("witness".to_owned()).spawn(move || sender.run())?;
        Ok(Self { shared })
    }

    /// Takes the head after an append.
    pub fn tell(&self, head: Head) {
        self.shared.lock().newest = head;
        self.shared.changed.notify_all();
    }

    /// How it stands with the witness.
    pub fn status(&self) -> WitnessStatus {
        let state = self.shared.lock();
        WitnessStatus {
            place: self.shared.place.to_string(),
            event: state.taken,
            taken: state.taken_at,
            fault: state.fault.as_ref().map(|(reason, _)| reason.clone()),
            fault_since: state.fault.as_ref().map(|(_, since)| *since),
        }
    }

    /// Lets it send what is left, within bounds.
    pub fn end(&self) {
        let mut state = self.shared.lock();
        state.ending = true;
        self.shared.changed.notify_all();
        let waited = self.shared.changed.wait_timeout_while(state, LAST_WORD, |state| !state.ended);
        state = waited.unwrap_or_else(PoisonError::into_inner).0;
        if state.taken < state.newest.sequence {
            tracing::warn!("the witness `{}` lacks the last head", self.shared.place);
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut pause = FIRST_RETRY;
        while let Some(head) = self.next() {
            match self.place.put(&head_line(head, &self.keys)) {
                Ok(()) => {
                    pause = FIRST_RETRY;
                    self.took(head);
                }
                Err(error) => {
                    self.failed(&error);
                    if !self.pause(pause) {
                        break;
                    }
                    pause = (pause * 2).min(LAST_RETRY);
                }
            }
        }
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// The next head to send; none at the end.
    fn next(&self) -> Option<Head> {
        let waits = |state: &mut State| !state.ending && state.taken >= state.newest.sequence;
        let state = self.changed.wait_while(self.lock(), waits);
        let state = state.unwrap_or_else(PoisonError::into_inner);
        (state.taken < state.newest.sequence).then_some(state.newest)
    }

    fn took(&self, head: Head) {
        let mut state = self.lock();
        state.taken = head.sequence;
        state.taken_at = Some(Timestamp::now());
        if state.fault.take().is_some() {
            tracing::info!("the witness `{}` is back and has event {}", self.place, head.sequence);
        }
    }

    fn failed(&self, error: &std::io::Error) {
        let mut state = self.lock();
        let since = state.fault.as_ref().map(|(_, since)| *since);
        if since.is_none() {
            tracing::warn!("the witness `{}` does not take the ledger's head: {error}", self.place);
        }
        state.fault = Some((error.to_string(), since.unwrap_or_else(Timestamp::now)));
    }

    /// Waits before the next try; false where control ends.
    fn pause(&self, pause: Duration) -> bool {
        let deadline = Instant::now() + pause;
        let mut state = self.lock();
        while !state.ending {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return true;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_witness_that_is_down_is_told_of_and_gets_the_newest_head_when_it_is_back() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Arc::new(Keys::open_or_create(directory.path()).unwrap());
        let place = directory.path().join("mount/heads");
        let head = |sequence| Head { sequence, ..Head::genesis() };
        let started = WitnessPlace::File(place.clone());
        let witness = Witness::start(started, Arc::clone(&keys), head(3)).unwrap();
        let until = |what: fn(&WitnessStatus) -> bool| {
            let deadline = Instant::now() + Duration::from_secs(20);
            while !what(&witness.status()) {
                assert!(Instant::now() < deadline, "{:?}", witness.status());
                std::thread::sleep(Duration::from_millis(5));
            }
        };
        until(|status| status.fault.is_some() && status.fault_since.is_some() && status.event == 0);
        witness.tell(head(4));
        witness.tell(head(5));
        std::fs::create_dir(directory.path().join("mount")).unwrap();
        until(|status| status.fault.is_none() && status.event == 5);
        witness.tell(head(6));
        witness.end();
        let kept = std::fs::read_to_string(place).unwrap();
        let kept: Vec<u64> = kept
            .split_inclusive('\n')
            .map(|line| hornero_ledger::parse_head(line, &keys.public()).unwrap().sequence)
            .collect();
        assert_eq!(kept, [5, 6]);
    }
}
