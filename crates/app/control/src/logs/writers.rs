//! Who wrote what is asked for: the instances of a service, of one of its releases, or one alone, by the ledger.

use hornero_ledger::LedgerError;
use hornero_model::{
    Event, EventBody, InstanceId, ReleaseNumber, ReleaseRef, ServiceName, Timestamp,
};

/// An instance that wrote a log.
#[derive(Debug, Clone)]
pub struct LogOwner {
    pub id: InstanceId,
    pub service: Option<ServiceName>,
    pub release: Option<ReleaseNumber>,
    /// When it was decided: it wrote nothing before.
    pub since: Timestamp,
}

/// What a name means: a service or an instance, or with `@N` a release.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selector<'n> {
    name: &'n str,
    release: Option<ReleaseNumber>,
}

impl<'n> Selector<'n> {
    /// Reads a name; none where it can be neither.
    pub fn of(text: &'n str) -> Option<Self> {
        let (name, release) = match text.split_once('@') {
            Some((name, number)) => (name, Some(ReleaseNumber(number.parse().ok()?))),
            None => (text, None),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
        (!name.is_empty() && name.bytes().all(plain)).then_some(Self { name, release })
    }

    fn means(&self, id: &InstanceId, of: Option<&ReleaseRef>) -> bool {
        match self.release {
            Some(release) => {
                of.is_some_and(|of| of.service.as_str() == self.name && of.number == release)
            }
            None => {
                id.as_str() == self.name || of.is_some_and(|of| of.service.as_str() == self.name)
            }
        }
    }
}

/// Every instance made that a selector means, by the ledger's events from `next` on, and the number of the event after
/// them.
pub fn writers(
    events: &dyn Fn(u64) -> Result<Vec<Event>, LedgerError>,
    selector: &Selector<'_>,
    mut next: u64,
) -> Result<(Vec<LogOwner>, u64), LedgerError> {
    let mut found: Vec<LogOwner> = Vec::new();
    loop {
        let events = events(next)?;
        let Some(last) = events.last() else { return Ok((found, next)) };
        next = last.sequence + 1;
        for event in events {
            // Runs and rehearsals are asked for by their own ids alone: they are no servers of their service.
            let (id, of, is_apart) = match event.body {
                EventBody::RunStarted { run } => (run.id, run.release, true),
                EventBody::RehearsalStarted { rehearsal } => {
                    (rehearsal.id, Some(rehearsal.release), true)
                }
                EventBody::InstanceChanged { instance, service, release, .. } => {
                    (instance, Some(ReleaseRef { service, number: release }), false)
                }
                _ => continue,
            };
            let means = match is_apart {
                true => selector.release.is_none() && id.as_str() == selector.name,
                false => selector.means(&id, of.as_ref()),
            };
            if means && !found.iter().any(|known| known.id == id) {
                let (service, release) = of.map(|of| (of.service, of.number)).unzip();
                found.push(LogOwner { id, service, release, since: event.time });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_may_be_asked_for() {
        let check = |text, ok| assert_eq!(Selector::of(text).is_some(), ok, "{text}");
        check("site", true);
        check("site@17", true);
        check("try.site-1-ab12", true);
        check("site@x", false);
        check("a/b", false);
        check("", false);
    }
}
