//! Pings to silent clients, which find those that vanished.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

/// Time between pings.
const INTERVAL: Duration = Duration::from_secs(30);
/// Time for the answer.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Asks a client from time to time whether it is there.
pub(super) struct Pinger {
    pings: Option<PingPong>,
    /// When the next one is due, or the answer to the last.
    due: Pin<Box<Sleep>>,
    waiting: bool,
}

impl Pinger {
    pub(super) fn new(pings: Option<PingPong>) -> Self {
        Self { pings, due: Box::pin(sleep(INTERVAL)), waiting: false }
    }

    /// Ready once a ping was not answered in time.
    pub(super) fn poll_lost(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        loop {
            if self.waiting {
                match pings.poll_pong(context) {
                    Poll::Ready(Ok(_)) => {
                        self.waiting = false;
                        self.due.as_mut().reset(Instant::now() + INTERVAL);
                    }
                    // The connection says so itself.
                    Poll::Ready(Err(_)) => return Poll::Pending,
                    Poll::Pending => {
                        ready!(self.due.as_mut().poll(context));
                        return Poll::Ready(());
                    }
                }
            }
            ready!(self.due.as_mut().poll(context));
            if pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            self.waiting = true;
            self.due.as_mut().reset(Instant::now() + TIMEOUT);
        }
    }
}
