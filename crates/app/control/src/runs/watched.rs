//! One run as those see it who follow it: whether somebody wants it ended, and how it ended.

use std::{
    sync::{Condvar, Mutex, PoisonError},
    time::Duration,
};

use hornero_model::{Actor, RunEnd};

/// One run, shared by the thread that carries it out and by those who follow it.
#[derive(Debug, Default)]
pub struct Watched {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    cancelled: Option<Actor>,
    end: Option<RunEnd>,
}

impl Watched {
    /// Wants it ended; the first who does is remembered.
    pub fn cancel(&self, by: Actor) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.cancelled.get_or_insert(by);
        drop(state);
        self.changed.notify_all();
    }

    /// Who wants it ended, and why.
    pub fn cancelled(&self) -> Option<Actor> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).cancelled.clone()
    }

    /// It has ended, which is recorded.
    pub fn ended(&self, end: RunEnd) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end = Some(end);
        self.changed.notify_all();
    }

    /// How it ended; none while it goes on.
    pub fn end(&self) -> Option<RunEnd> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).end.clone()
    }

    /// Waits until something of it changes, at most this long.
    pub fn wait(&self, longest: Duration) {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let as_before = (state.cancelled.is_some(), state.end.is_some());
        let waited = self.changed.wait_timeout_while(state, longest, |state| {
            (state.cancelled.is_some(), state.end.is_some()) == as_before
        });
        drop(waited);
    }
}
