//! Releases that failed: not tried again without a word, and compared with how the one that serves fails.

use hornero_model::{
    Actor, EventBody, ExitCause, InstanceState, Millis, ReleaseNumber, ServiceName, ServiceSpec,
};

use crate::{
    Facts, FailedRelease, Phase, Rollout, Service, World, failing::of_command, makes_same_servers,
    record::Record,
};

/// Two failures within this time may have one cause.
const TOGETHER: Millis = Millis(600_000);
/// Characters of a line that are compared: what comes after them is data.
const LINE_CHARS: usize = 200;

/// The release that failed from which `spec` would make the same servers; none where it may be tried.
pub fn failed_before<'a>(
    world: &'a World,
    spec: &ServiceSpec,
) -> Option<(ReleaseNumber, &'a FailedRelease)> {
    let service = world.services.get(&spec.name)?;
    let same = |number: &ReleaseNumber| {
        service.releases.get(number).is_some_and(|release| makes_same_servers(&release.spec, spec))
    };
    let mut failed = service.failed.iter().rev().filter(|(number, _)| same(number));
    failed.next().map(|(number, failed)| (*number, failed))
}

/// Notes what became of a release, once its rollout is over.
pub(crate) fn over(service: &mut Service, rollout: &Rollout) {
    let number = rollout.to_terms();
    match (rollout.phase, &rollout.failure) {
        (Phase::Finished, _) => {
            service.failed.remove(&number);
        }
        (Phase::Failed | Phase::RolledBack, Some(failure)) if failure.of_release => {
            let is_shared = service.shared.as_ref().is_some_and(|shared| shared.failed == number);
            if !is_shared {
                let (at, by, failure) = (rollout.since, rollout.by.clone(), failure.clone());
                service.failed.insert(number, FailedRelease { at, by, failure });
            }
        }
        _ => {}
    }
}

/// Records that what serves fails as another release did a short while ago.
pub(crate) fn shared(world: &World, facts: &Facts, name: &ServiceName) -> Option<Record> {
    let service = &world.services[name];
    let set = service.serving.as_ref().filter(|_| service.shared.is_none())?;
    let under_way = world.rollout_of(name).and_then(|rollout| {
        let failure = rollout.failure.as_ref().filter(|failure| failure.of_release)?;
        Some((rollout.to_terms(), rollout.since, failure))
    });
    let failed = service.failed.iter().map(|(number, of)| (*number, of.at, &of.failure));
    let others: Vec<_> = failed
        .chain(under_way)
        .filter(|(number, at, _)| *number != set.terms && facts.now.since(*at) < TOGETHER)
        .collect();
    let is_new =
        |id: &&_| world.instances.get(*id).is_some_and(|of| of.state != InstanceState::Failed);
    let ended = set.instances.iter().filter(is_new).filter_map(|id| facts.exited.get(id));
    for exit in ended {
        let same = others.iter().find(|(_, _, failure)| {
            failure.cause.as_ref().is_some_and(|cause| {
                is_same((cause, &failure.log_tail), (&exit.cause, &exit.log_tail))
            })
        });
        if let Some((failed, ..)) = same {
            let body = EventBody::FailureShared {
                service: name.clone(),
                release: set.terms,
                failed: *failed,
                failure: exit.cause.to_string(),
            };
            return Some(Record::Event(Actor::hornero("it fails as another release did"), body));
        }
    }
    None
}

/// Whether two servers ended alike: in the same way, and with the same last word, or none.
fn is_same(one: (&ExitCause, &[String]), other: (&ExitCause, &[String])) -> bool {
    let words = |(_, lines): (&ExitCause, &[String])| lines.last().map(|line| normalised(line));
    one.0 == other.0 && of_command(one.0) && words(one) == words(other)
}

/// A line without what differs from server to server: numbers, times, ids.
fn normalised(line: &str) -> String {
    let mut text = String::new();
    for word in line.split_whitespace() {
        let is_data = word.chars().any(|character| character.is_ascii_digit());
        text.push_str(if is_data { "#" } else { word });
        text.push(' ');
    }
    text.chars().take(LINE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_end_alike_by_cause_and_last_word() {
        let code = ExitCause::Code(7);
        let line = |text: &str| vec![text.to_owned()];
        for (other, first, second, expected) in [
            (ExitCause::Code(7), "12:01 queue 5 is gone", "12:07 queue 9 is gone", true),
            (ExitCause::Code(7), "the queue is gone", "no such table", false),
            (ExitCause::Code(8), "the queue is gone", "the queue is gone", false),
            (ExitCause::Signal(9), "", "", false),
        ] {
            let seen = is_same((&code, &line(first)), (&other, &line(second)));
            assert_eq!(seen, expected, "{first} / {second}");
        }
        assert!(is_same((&code, &[]), (&code, &[])), "both end without a word");
        assert!(!is_same((&code, &[]), (&code, &line("x"))));
        let lost = ExitCause::Unknown;
        assert!(!is_same((&lost, &[]), (&lost, &[])), "what ended with its shim says nothing");
    }
}
