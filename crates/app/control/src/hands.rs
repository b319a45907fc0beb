//! A thread that waits for work which something else waits for: to make one takes as long as to do it.

use std::{
    sync::mpsc::{SyncSender, TrySendError, sync_channel},
    thread,
};

/// What is to be done.
pub type Work = Box<dyn FnOnce() + Send>;

/// The thread. It ends with this.
pub struct Hands(SyncSender<Work>);

impl Hands {
    /// Starts it. Where that fails nothing is ever taken.
    pub fn new(name: &str) -> Self {
        // Without room: what is sent is in the hands of the thread, or not sent.
        let (sender, works) = sync_channel::<Work>(0);
        let waiting = move || works.into_iter().for_each(|work| work());
        if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(waiting) {
            tracing::warn!("no thread could be started: {error}");
        }
        Self(sender)
    }

    /// Has it do something at once; what is to be done comes back where it is busy.
    pub fn take(&self, work: Work) -> Result<(), Work> {
        match self.0.try_send(work) {
            Ok(()) => Ok(()),
            Err(TrySendError::Full(work) | TrySendError::Disconnected(work)) => Err(work),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn what_it_has_no_time_for_comes_back() {
        let hands = Hands::new("hands");
        let ((begun, begins), (done, waits)) = (channel(), channel::<()>());
        let mut work: Work = Box::new(move || {
            begun.send(()).unwrap();
            // Until the test lets it go.
            let _ = waits.recv();
        });
        // It may not wait for work yet.
        while let Err(back) = hands.take(work) {
            work = back;
            thread::yield_now();
        }
        begins.recv().unwrap();
        assert!(hands.take(Box::new(|| ())).is_err(), "it is busy");
        drop(done);
        let (told, hears) = channel();
        let mut work: Work = Box::new(move || told.send(()).unwrap());
        while let Err(back) = hands.take(work) {
            work = back;
            thread::yield_now();
        }
        hears.recv().unwrap();
    }
}
