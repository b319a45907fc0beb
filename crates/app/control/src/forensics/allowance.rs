//! How many servers that still run may be looked at: looking makes one stand still, and what was seen waits in memory.

use std::collections::{BTreeMap, VecDeque};

use hornero_model::{InstanceId, Millis, ServiceName, Timestamp};

/// Bundles of a service are counted within this time.
const HOUR: Millis = Millis(3_600_000);
/// Servers whose contents wait for a bundle to be made of them: some mebibytes each.
const SEEN_MAX: usize = 8;

/// Counts them.
#[derive(Debug)]
pub struct Allowance {
    per_hour: u32,
    /// When bundles were made, by service, the oldest first.
    made: BTreeMap<ServiceName, VecDeque<Timestamp>>,
    /// Those that were seen and wait.
    seen: BTreeMap<InstanceId, ServiceName>,
}

impl Allowance {
    /// With so many bundles of one service in an hour.
    pub fn new(per_hour: u32) -> Self {
        Self { per_hour, made: BTreeMap::new(), seen: BTreeMap::new() }
    }

    /// Whether a server may be looked at; it counts until [`Self::over`]. The error says why it may not.
    pub fn look(
        &mut self,
        instance: &InstanceId,
        service: &ServiceName,
        now: Timestamp,
    ) -> Result<(), String> {
        let made = self.made.get(service).into_iter().flatten();
        let lately = made.filter(|at| now.since(**at) < HOUR).count();
        let waiting = self.seen.values().filter(|of| *of == service).count();
        if lately + waiting >= self.per_hour as usize {
            let most = self.per_hour;
            return Err(format!("its service may have {most} in an hour, and has them"));
        }
        if self.seen.len() >= SEEN_MAX {
            return Err(format!("{SEEN_MAX} servers wait for theirs"));
        }
        self.seen.insert(instance.clone(), service.clone());
        Ok(())
    }

    /// A bundle was made.
    pub fn made(&mut self, service: &ServiceName, at: Timestamp) {
        self.made.retain(|_, made| {
            made.retain(|made| at.since(*made) < HOUR);
            !made.is_empty()
        });
        self.made.entry(service.clone()).or_default().push_back(at);
    }

    /// What was seen of a server is in a bundle, or forgotten.
    pub fn over(&mut self, instance: &InstanceId) {
        self.seen.remove(instance);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(number: usize) -> InstanceId {
        InstanceId::new(format!("site-1-a{number}")).unwrap()
    }

    fn service(name: &str) -> ServiceName {
        ServiceName::new(name).unwrap()
    }

    #[test]
    fn no_more_of_a_service_are_looked_at_than_bundles_are_made() {
        let (site, now) = (service("site"), Timestamp(10 * HOUR.0));
        let mut allowance = Allowance::new(2);
        allowance.made(&site, now);
        allowance.look(&server(1), &site, now).unwrap();
        let refused = allowance.look(&server(2), &site, now).unwrap_err();
        assert!(refused.contains("2 in an hour"), "one was made, and one is being made: {refused}");
        allowance.look(&server(3), &service("other"), now).unwrap();
        allowance.over(&server(1));
        allowance.made(&site, now);
        allowance.look(&server(2), &site, now).unwrap_err();
        allowance.look(&server(2), &site, now.after(HOUR)).unwrap();
        let mut none = Allowance::new(0);
        none.look(&server(1), &site, now).unwrap_err();
    }

    #[test]
    fn what_was_seen_of_few_waits() {
        let mut allowance = Allowance::new(u32::MAX);
        for number in 0..SEEN_MAX {
            allowance.look(&server(number), &service("site"), Timestamp(0)).unwrap();
        }
        let refused = allowance.look(&server(99), &service("site"), Timestamp(0)).unwrap_err();
        assert!(refused.contains("8 servers wait"), "{refused}");
        allowance.over(&server(0));
        allowance.look(&server(99), &service("site"), Timestamp(0)).unwrap();
    }
}
