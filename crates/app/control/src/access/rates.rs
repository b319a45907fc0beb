//! How often a source may ask, and how often it may be wrong.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Mutex, PoisonError},
    time::Instant,
};

/// Requests of one source at once: a dashboard asks for some dozens when it is opened.
const REQUESTS: f64 = 300.0;
/// Requests of one source a second in the long run.
const REQUESTS_A_SECOND: f64 = 50.0;
/// Wrong tokens of one source at once.
const MISTAKES: f64 = 10.0;
/// The same in the long run: ten a minute.
const MISTAKES_A_SECOND: f64 = 10.0 / 60.0;
/// Sources that are remembered; what is over shares one allowance.
const SOURCES: usize = 4096;

/// Where requests come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// An address, or a network of 2^64 of them, which one host has by IPv6.
    Net(IpAddr),
    /// A user of this host, by number.
    User(u32),
}

impl From<IpAddr> for Source {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) if !address.is_loopback() => {
                let [a, b, c, d, ..] = address.segments();
                Self::Net(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into())
            }
            address => Self::Net(address),
        }
    }
}

#[derive(Debug, Clone, Copy)]
struct Allowance {
    requests: f64,
    mistakes: f64,
    at: Instant,
}

impl Allowance {
    fn new(at: Instant) -> Self {
        Self { requests: REQUESTS, mistakes: MISTAKES, at }
    }

    fn filled(self, now: Instant) -> Self {
        let seconds = now.saturating_duration_since(self.at).as_secs_f64();
        Self {
            requests: (self.requests + seconds * REQUESTS_A_SECOND).min(REQUESTS),
            mistakes: (self.mistakes + seconds * MISTAKES_A_SECOND).min(MISTAKES),
            at: now,
        }
    }

    fn is_full(self) -> bool {
        self.requests >= REQUESTS && self.mistakes >= MISTAKES
    }
}

/// What each source has left.
#[derive(Debug, Default)]
pub struct Rates(Mutex<BTreeMap<Source, Allowance>>);

impl Rates {
    /// Counts a request; false where there are too many.
    pub fn may_ask(&self, source: Source, now: Instant) -> bool {
        self.change(source, now, |left| {
            let may = left.requests >= 1.0;
            left.requests -= f64::from(u8::from(may));
            may
        })
    }

    /// Whether a source may try a token: not after too many wrong ones.
    pub fn may_try(&self, source: Source, now: Instant) -> bool {
        self.change(source, now, |left| left.mistakes >= 1.0)
    }

    /// Counts a wrong token.
    pub fn was_wrong(&self, source: Source, now: Instant) {
        self.change(source, now, |left| left.mistakes = (left.mistakes - 1.0).max(0.0));
    }

    fn change<T>(
        &self,
        source: Source,
        now: Instant,
        change: impl FnOnce(&mut Allowance) -> T,
    ) -> T {
        let mut sources = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = source;
        if !sources.contains_key(&key) && sources.len() >= SOURCES {
            sources.retain(|_, left| !left.filled(now).is_full());
            if sources.len() >= SOURCES {
                key = Source::Net(Ipv6Addr::UNSPECIFIED.into());
            }
        }
        let left = sources.entry(key).or_insert_with(|| Allowance::new(now));
        *left = left.filled(now);
        change(left)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn source(text: &str) -> Source {
        Source::from(text.parse::<IpAddr>().unwrap())
    }

    #[test]
    fn wrong_tokens_end_the_tries_of_their_source_alone() {
        let (rates, now) = (Rates::default(), Instant::now());
        let guesser = source("192.0.2.1");
        for _ in 0..10 {
            assert!(rates.may_try(guesser, now));
            rates.was_wrong(guesser, now);
        }
        assert!(!rates.may_try(guesser, now));
        assert!(rates.may_try(source("192.0.2.2"), now), "another source is not meant");
        assert!(rates.may_try(guesser, now + Duration::from_secs(7)), "ten a minute");
    }

    #[test]
    fn a_host_has_one_allowance_for_all_its_addresses() {
        assert_eq!(source("2001:db8::1"), source("2001:db8::ffff:2"));
        assert_ne!(source("2001:db8::1"), source("2001:db8:0:1::1"));
        assert_eq!(source("::ffff:192.0.2.1"), source("192.0.2.1"));
    }

    #[test]
    fn requests_and_sources_have_a_bound() {
        let (rates, now) = (Rates::default(), Instant::now());
        let asked = (0..1000).filter(|_| rates.may_ask(source("192.0.2.1"), now)).count();
        assert_eq!(asked, 300);
        assert!(rates.may_ask(source("192.0.2.1"), now + Duration::from_millis(50)));
        for number in 0..20_000_u32 {
            rates.may_ask(Source::Net(IpAddr::V4(number.into())), now);
        }
        assert!(rates.0.lock().unwrap().len() <= SOURCES + 1);
    }
}
