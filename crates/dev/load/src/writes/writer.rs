//! The clients that write: some keep a connection for as long as it lasts, one opens another for every write.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use super::store::{ACCOUNTS, WriteFault, WriteRule, WriteSession, WriteStore};

/// Between two writes of a client.
const PAUSE: Duration = Duration::from_millis(2);
/// Before a client connects again after it was turned away.
const BACK_OFF: Duration = Duration::from_millis(5);
/// Two acknowledgements of whichever clients that are further apart than this make a gap.
const GAP: Duration = Duration::from_millis(20);
/// Numbers of one client are below this times its own number plus one.
pub(super) const NUMBERS: u64 = 1 << 32;

/// Clients that write until they are told to stop.
pub struct Writers {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<Acknowledged>>,
}

struct Shared {
    begun: Instant,
    ended: AtomicBool,
    /// When the last write was acknowledged, in microseconds since the beginning.
    last_us: AtomicU64,
    gaps: Mutex<Vec<(Duration, Duration)>>,
    refusals: Mutex<Vec<TurnedAway>>,
}

/// A connection that was turned away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TurnedAway {
    /// When, since the writers began.
    pub at: Duration,
    /// Why.
    pub fault: WriteFault,
}

/// What one client knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub client: u64,
    pub appended: Vec<u64>,
    /// No number from here on was asked for.
    pub end: u64,
    /// How often it counted, and how often that broke off.
    pub counted: u64,
    pub uncertain: u64,
    pub transfers: u64,
    /// Connections that ended in the middle of a write.
    pub broken: u64,
}

/// What the clients saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteReport {
    pub(super) clients: Vec<Acknowledged>,
    /// Spans without an acknowledgement, from the beginning on.
    pub gaps: Vec<(Duration, Duration)>,
    /// Connections that were turned away.
    pub refusals: Vec<TurnedAway>,
}

impl Writers {
    /// Makes everything ready and starts `count` clients.
    ///
    /// # Errors
    /// Where the server takes no first connection, or refuses what is made ready.
    pub fn start(store: Arc<dyn WriteStore>, count: u64) -> Result<Self, WriteFault> {
        store.connect()?.prepare()?;
        let shared = Arc::new(Shared {
            begun: Instant::now(),
            ended: AtomicBool::new(false),
            last_us: AtomicU64::new(0),
            gaps: Mutex::default(),
            refusals: Mutex::default(),
        });
        let start = |client| {
            let (store, shared) = (Arc::clone(&store), Arc::clone(&shared));
            std::thread::spawn(move || shared.write(&*store, client))
        };
        let threads = (0..count).map(start).collect();
        Ok(Self { shared, threads })
    }

    /// How long they write by now.
    pub fn elapsed(&self) -> Duration {
        self.shared.begun.elapsed()
    }

    /// The longest span without an acknowledgement that reaches into the time since then.
    pub fn longest_gap(&self, since: Duration) -> Duration {
        let gaps = self.shared.gaps.lock().unwrap_or_else(PoisonError::into_inner);
        let later = gaps.iter().filter(|(_, to)| *to >= since);
        later.map(|(from, to)| *to - *from).max().unwrap_or_default()
    }

    /// Waits until a write that began after this moment is acknowledged; false where none is within `patience`.
    pub fn until_served(&self, patience: Duration) -> bool {
        let since = self.elapsed();
        while self.elapsed() < since + patience {
            let last = Duration::from_micros(self.shared.last_us.load(Ordering::Acquire));
            // One that was under way before may be acknowledged first.
            if last > since + GAP {
                return true;
            }
            std::thread::sleep(PAUSE);
        }
        false
    }

    /// Ends them, and tells what they saw.
    pub fn stop(self) -> WriteReport {
        self.shared.ended.store(true, Ordering::Release);
        let clients =
            self.threads.into_iter().map(|thread| thread.join().expect("a client does not panic"));
        let clients = clients.collect();
        let take = |error: PoisonError<_>| error.into_inner();
        let gaps = self.shared.gaps.lock().unwrap_or_else(take).clone();
        let refusals = self.shared.refusals.lock().unwrap_or_else(PoisonError::into_inner).clone();
        WriteReport { clients, gaps, refusals }
    }
}

impl Shared {
    fn write(&self, store: &dyn WriteStore, client: u64) -> Acknowledged {
        let mut known = Acknowledged { client, end: client * NUMBERS, ..Acknowledged::default() };
        let mut session: Option<Box<dyn WriteSession>> = None;
        let (rule, mut number) = (store.rule(), client * NUMBERS);
        while !self.ended.load(Ordering::Acquire) {
            let open = match session.take() {
                Some(open) => Ok(open),
                None => store.connect(),
            };
            match open {
                Err(fault) => {
                    let refusal = TurnedAway { at: self.begun.elapsed(), fault };
                    self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(refusal);
                    std::thread::sleep(BACK_OFF);
                }
                Ok(mut open) => {
                    known.end = number + 1;
                    let written = known.one(rule, &mut *open, number);
                    // What is to be there for certain is sent again under its number.
                    if written.is_ok() || rule == WriteRule::Mixed {
                        number += 1;
                    }
                    match written {
                        Ok(()) => {
                            self.acknowledged();
                            // The first client opens a connection for each write.
                            session = (client != 0).then_some(open);
                        }
                        Err(_) => known.broken += 1,
                    }
                }
            }
            std::thread::sleep(PAUSE);
        }
        known
    }

    fn acknowledged(&self) {
        let now = self.begun.elapsed();
        let now_us = u64::try_from(now.as_micros()).unwrap_or(u64::MAX);
        let last = Duration::from_micros(self.last_us.fetch_max(now_us, Ordering::AcqRel));
        if now.saturating_sub(last) > GAP {
            self.gaps.lock().unwrap_or_else(PoisonError::into_inner).push((last, now));
        }
    }
}

impl Acknowledged {
    /// One write, of a kind that follows from its number where there are several.
    fn one(
        &mut self,
        rule: WriteRule,
        session: &mut dyn WriteSession,
        number: u64,
    ) -> Result<(), WriteFault> {
        match (rule, number % 3) {
            (WriteRule::Once | WriteRule::AtLeastOnce, _) | (WriteRule::Mixed, 0) => {
                session.append(number)?;
                self.appended.push(number);
            }
            (WriteRule::Mixed, 1) => {
                self.uncertain += 1;
                session.count(self.client)?;
                self.uncertain -= 1;
                self.counted += 1;
            }
            (WriteRule::Mixed, _) => {
                let from = number % ACCOUNTS;
                session.transfer(from, (from + 1 + number % (ACCOUNTS - 1)) % ACCOUNTS)?;
                self.transfers += 1;
            }
        }
        Ok(())
    }
}
