//! Who calls whom: what the edge counts by address, by the services that the addresses belong to.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc::Sender},
    time::{Duration, Instant},
};

use hornero_api::message::CallStatus;
use hornero_driver::Driver;
use hornero_edge::EdgeClient;
use hornero_model::{EdgeCalls, PoolName, ServiceName, ServiceSpec, Timestamp};
use hornero_rollout::World;
use tokio::sync::Semaphore;

use crate::input::Input;

/// How often the edge is asked while nobody looks: an instance that ended a moment ago is known by its address still.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// How long an answer waits for the edge to tell who calls whom; after that it says what was known before.
const LOOK_BOUND: Duration = Duration::from_millis(250);
/// How long an address is known to have been a service's: before that nobody else gets it.
const REMEMBERED: Duration = Duration::from_secs(600);
/// Pairs of services that are remembered; beyond that, those that were silent for longest go.
const PAIRS: usize = 10_000;

/// Whose word a count is: the edge's process and thread, who called what, and since when it counts.
type CountKey = (u32, u32, IpAddr, PoolName, Timestamp);

/// What is known of calls.
#[derive(Debug, Default)]
struct Known {
    pairs: BTreeMap<(ServiceName, ServiceName), Called>,
    /// What of each count was taken in.
    taken: BTreeMap<CountKey, u64>,
    /// Whose each address was when last seen, and when.
    callers: BTreeMap<IpAddr, (ServiceName, Instant)>,
    /// Calls that the edge had no room to count.
    uncounted: u64,
}

#[derive(Debug, Clone, Copy)]
struct Called {
    requests: u64,
    last: Timestamp,
}

/// The calls between services, as long as this process runs.
#[derive(Debug, Default)]
pub struct CallBook {
    known: Mutex<Known>,
    /// Held from asking an edge until its answer is on its way in, so that none overtakes another one.
    asking: Mutex<()>,
}

/// When the edge is asked next.
#[derive(Debug, Default)]
pub struct NextLook(Option<Instant>);

impl NextLook {
    /// Whether it is time; then the next one is later.
    pub fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|at| Instant::now() >= at);
        if due {
            self.0 = Some(Instant::now() + LOOK_INTERVAL);
        }
        due
    }
}

/// Who called, by address.
fn callers(driver: &Driver) -> BTreeMap<IpAddr, ServiceName> {
    let world = driver.world();
    let running = driver.facts().running.iter();
    let named = running.filter_map(|(id, running)| {
        Some((running.location.address, world.instances.get(id)?.service.clone()))
    });
    named.collect()
}

/// The service that a call counts for: a preview calls, and is called, for the one that it shows.
fn shown(service: &ServiceName) -> ServiceName {
    service.preview().map_or_else(|| service.clone(), |(_, shown)| shown)
}

impl CallBook {
    /// Asks an edge what it has counted by now, and has that taken in. Nothing is where it can't be asked.
    pub fn look(self: &Arc<Self>, client: &mut EdgeClient, inputs: &Sender<Input>) {
        let _asking = self.asking.lock().unwrap_or_else(PoisonError::into_inner);
        if let Ok(seen) = client.calls() {
            let book = Arc::clone(self);
            let look = Box::new(move |driver: &Driver| {
                book.count(&callers(driver), seen, Instant::now());
            });
            let _ = inputs.send(Input::Ask(look));
        }
    }

    fn count(&self, callers: &BTreeMap<IpAddr, ServiceName>, seen: EdgeCalls, now: Instant) {
        let mut known = self.lock();
        let known = &mut *known;
        let seen_now = callers.iter().map(|(from, service)| (*from, (service.clone(), now)));
        known.callers.extend(seen_now);
        known.callers.retain(|_, (_, at)| now.duration_since(*at) < REMEMBERED);
        if seen.uncounted > known.uncounted {
            let more = seen.uncounted - known.uncounted;
            tracing::warn!("{more} calls between services were not counted: too many pairs call");
        }
        known.uncounted = seen.uncounted;
        let mut still = BTreeSet::new();
        for call in seen.calls {
            // It may have ended since, or be nobody's yet.
            let Some((from, _)) = known.callers.get(&call.from) else { continue };
            let key = (seen.pid, call.lane, call.from, call.pool.clone(), call.since);
            still.insert(key.clone());
            let taken = known.taken.entry(key).or_default();
            let fresh = call.requests.saturating_sub(*taken);
            *taken = call.requests.max(*taken);
            let pair = (shown(from), shown(&call.pool.service));
            if pair.0 == pair.1 || fresh == 0 {
                continue;
            }
            let called = known.pairs.entry(pair).or_insert(Called { requests: 0, last: call.last });
            called.requests += fresh;
            called.last = called.last.max(call.last);
        }
        // An edge that took over counts from the beginning.
        known.taken.retain(|key, _| still.contains(key));
        while known.pairs.len() > PAIRS {
            let oldest = known.pairs.iter().min_by_key(|(_, called)| called.last);
            let Some(oldest) = oldest.map(|(pair, _)| pair.clone()) else { return };
            known.pairs.remove(&oldest);
        }
    }

    /// The calls of services that are up to others that are.
    pub fn shown(&self, world: &World) -> Vec<CallStatus> {
        let is_there = |name: &ServiceName| {
            world.services.get(name).is_some_and(|service| world.is_there(service))
        };
        self.told(is_there, |from, to| {
            let serving = world.services.get(from).and_then(|of| of.serving_release());
            let coming = world.rollout_of(from).and_then(|of| world.release(from, of.to));
            let mut releases = serving.into_iter().chain(coming).peekable();
            // Of one of which nothing is known nobody can say that it declares nothing.
            releases.peek().is_none() || releases.any(|of| of.spec.depends_on.contains(to))
        })
    }

    /// The calls of these services that they don't declare, to services that are up or among them.
    pub fn undeclared(&self, services: &[ServiceSpec], world: &World) -> Vec<CallStatus> {
        let spec_of = |name: &ServiceName| services.iter().find(|spec| spec.name == *name);
        let is_there = |name: &ServiceName| {
            spec_of(name).is_some()
                || world.services.get(name).is_some_and(|service| world.is_there(service))
        };
        let declared = |from: &ServiceName, to: &ServiceName| {
            spec_of(from).is_none_or(|spec| spec.depends_on.contains(to))
        };
        let mut calls = self.told(is_there, declared);
        calls.retain(|call| !call.declared);
        calls
    }

    fn told(
        &self,
        is_there: impl Fn(&ServiceName) -> bool,
        is_declared: impl Fn(&ServiceName, &ServiceName) -> bool,
    ) -> Vec<CallStatus> {
        let known = self.lock();
        let pairs = known.pairs.iter().filter(|((from, to), _)| is_there(from) && is_there(to));
        let told = pairs.map(|((from, to), called)| CallStatus {
            from: from.clone(),
            to: to.clone(),
            requests: called.requests,
            last: called.last,
            declared: is_declared(from, to),
        });
        told.collect()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The calls, and where the edge that counts them is found.
#[derive(Debug, Clone)]
pub struct CallSource {
    /// What is known.
    pub book: Arc<CallBook>,
    /// The edge's state directory.
    pub state_dir: PathBuf,
    /// One answer asks at a time: an edge that hangs holds up one thread, whoever wants to know.
    pub turn: Arc<Semaphore>,
}

impl CallSource {
    /// Has who calls whom be as new as the edge can tell within a moment.
    pub async fn look(&self, inputs: &Sender<Input>) {
        let Ok(turn) = Arc::clone(&self.turn).try_acquire_owned() else { return };
        let (book, inputs) = (Arc::clone(&self.book), inputs.clone());
        let state_dir = self.state_dir.clone();
        let look = tokio::task::spawn_blocking(move || {
            book.look(&mut EdgeClient::new(&state_dir), &inputs);
            drop(turn);
        });
        let _ = tokio::time::timeout(LOOK_BOUND, look).await;
    }
}

#[cfg(test)]
mod tests {
    use hornero_model::SeenCall;

    use super::*;

    fn name(text: &str) -> ServiceName {
        text.parse().unwrap()
    }

    fn seen(pid: u32, requests: u64, since: u64) -> EdgeCalls {
        let pool = PoolName { service: name("orders"), port: "http".parse().unwrap() };
        let (since, last) = (Timestamp(since), Timestamp(since + requests));
        let from = "10.64.16.1".parse().unwrap();
        let call = SeenCall { from, pool, lane: 0, requests, since, last };
        EdgeCalls { pid, calls: vec![call], uncounted: 0 }
    }

    fn requests(book: &CallBook) -> u64 {
        book.told(|_| true, |_, _| true).iter().map(|call| call.requests).sum()
    }

    #[test]
    fn each_call_is_counted_once_whoever_counts() {
        let (book, mut callers) = (CallBook::default(), BTreeMap::new());
        let (now, from) = (Instant::now(), "10.64.16.1".parse().unwrap());
        callers.insert(from, name("shop"));
        book.count(&callers, seen(1, 5, 100), now);
        book.count(&callers, seen(1, 5, 100), now);
        book.count(&callers, seen(1, 7, 100), now);
        assert_eq!(requests(&book), 7);
        // Counted anew, and by another edge.
        book.count(&callers, seen(1, 2, 900), now);
        book.count(&callers, seen(2, 3, 900), now);
        assert_eq!(requests(&book), 12);
        let told = book.told(|_| true, |from, to| (from, to) == (&name("shop"), &name("orders")));
        assert!(told[0].declared && told[0].last == Timestamp(903), "{told:?}");
        // One that has ended is known for a while; after that its address is nobody's.
        callers.clear();
        book.count(&callers, seen(3, 3, 900), now);
        assert_eq!(requests(&book), 15);
        let later = now + REMEMBERED;
        book.count(&callers, seen(3, 9, 900), later);
        assert_eq!((requests(&book), book.lock().taken.len()), (15, 0));
        // A service that calls itself.
        let now = later;
        callers.insert(from, name("pr-7.orders"));
        book.count(&callers, seen(4, 3, 900), now);
        assert_eq!((requests(&book), book.lock().taken.len()), (15, 1));
    }

    #[test]
    fn pairs_that_were_silent_for_longest_are_forgotten() {
        let (book, now) = (CallBook::default(), Instant::now());
        let from = "10.64.16.1".parse().unwrap();
        for caller in 0..PAIRS as u64 + 5 {
            let callers = BTreeMap::from([(from, name(&format!("s{caller}")))]);
            book.count(&callers, seen(1, 1, caller), now);
        }
        let told = book.told(|_| true, |_, _| true);
        assert_eq!(told.len(), PAIRS);
        assert!(!told.iter().any(|call| call.from == name("s0")));
    }
}
