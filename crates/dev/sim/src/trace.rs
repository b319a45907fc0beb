//! What happened in a history, a line each: readable by somebody who asks why a seed failed.

use hornero_driver::{EffectId, Observation};
use hornero_model::{EdgeRef, Event, EventBody};
use hornero_rollout::{Effect, Rollout};

/// Lines of a history; only the last ones, unless somebody wants all.
#[derive(Debug, Default)]
pub struct Trace {
    lines: Vec<String>,
    /// Whether everything is kept: what was observed, asked for, done and recorded. Else only what clients are told.
    pub whole: bool,
}

impl Trace {
    /// All lines so far.
    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// The last lines.
    pub(crate) fn last(&self, count: usize) -> &[String] {
        &self.lines[self.lines.len().saturating_sub(count)..]
    }

    /// What clients are told.
    pub(crate) fn told(&mut self, now: u64, line: &str) {
        self.lines.push(format!("{now} told      {line}"));
    }

    /// Something of `kind` that only whoever looks closely wants to know.
    pub(crate) fn note(&mut self, now: u64, kind: &str, line: impl FnOnce() -> String) {
        if self.whole {
            self.lines.push(format!("{now} {kind:<9} {}", line()));
        }
    }
}

/// An observation in a short line.
pub(crate) fn observed(observation: &Observation) -> String {
    match observation {
        Observation::Tick => "time has passed".to_owned(),
        Observation::Request(request) => {
            let kind = format!("{:?}", request.kind);
            let name = kind.split([' ', '{']).next().unwrap_or_default();
            format!("request {}: {name}", request.id.0)
        }
        Observation::InstanceStarted { instance, .. } => format!("`{instance}` runs"),
        Observation::StartsGoOn { image } => format!("starts of `{}` go on", image.short()),
        Observation::InstanceExited { instance, cause, .. } => format!("`{instance}` {cause}"),
        Observation::InstanceStopped { instance } => format!("`{instance}` was stopped"),
        Observation::InstanceFrozen { instance, stands_still: true } => {
            format!("`{instance}` stands still")
        }
        Observation::InstanceFrozen { instance, .. } => {
            format!("`{instance}` can't be made to stand still")
        }
        Observation::InstanceRemoved { instance } => format!("`{instance}` was removed"),
        Observation::TestsFinished { image, .. } => format!("tests of `{}` ran", image.short()),
        Observation::RunEnded { end } => format!("run `{}` {}", end.id, end.cause),
        Observation::SnapshotsTaken { rollout, .. } => format!("rollout {rollout} has snapshots"),
        Observation::SnapshotsRestored { rollout, .. } => format!("rollout {rollout} has its data"),
        Observation::RoutesPrepared { edge, generation } => {
            format!("table {generation} is ready{}", at(edge))
        }
        Observation::RoutesApplied { edge, generation, .. } => {
            format!("table {generation} is in force{}", at(edge))
        }
        Observation::InFlightCut { service, release, .. } => {
            format!("`{service}@{release}` was cut off")
        }
        Observation::ServiceAddressed { service, address, .. } => match address {
            Some(address) => format!("`{service}` has the address {address}"),
            None => format!("`{service}` has no address"),
        },
        Observation::EdgeStatus { edge, status } => {
            let backend = |of: &hornero_model::BackendStatus| {
                format!("{} {:?}", of.instance, of.health).to_lowercase()
            };
            let backends: Vec<String> = status.backends.iter().map(backend).collect();
            let (pid, table, version) = (status.pid, status.generation, status.version);
            let (edge, backends) = (at(edge), backends.join(", "));
            format!("edge {pid}{edge}, table {table}, version {version}: {backends}")
        }
        Observation::EdgeLost { edge } => format!("the edge{} is lost", at(edge)),
        Observation::GuardsAnswered { occasion, round, answers, .. } => {
            let says: Vec<String> =
                answers.iter().map(|of| format!("{} {:?}", of.guard, of.verdict)).collect();
            format!("guards for {occasion:?}, {round:?}: {}", says.join(", "))
        }
        Observation::EffectFailed { effect, reason } => format!("{} failed: {reason}", id(*effect)),
    }
}

/// At which edge something happens, where there are several.
fn at(edge: &EdgeRef) -> String {
    match *edge == EdgeRef::default() {
        true => String::new(),
        false => format!(" at `{}`", edge.edge),
    }
}

/// An effect in a short line.
pub(crate) fn effect(number: EffectId, effect: &Effect) -> String {
    let mut line = format!("{} {effect}", id(number));
    if let Effect::ApplyRoutes { table, .. } = effect {
        for pool in &table.pools {
            let shares: Vec<String> =
                pool.traffic.iter().map(|of| format!("{}:{}", of.release, of.weight)).collect();
            let backends: Vec<&str> = pool.backends.iter().map(|of| of.instance.as_str()).collect();
            line.push_str(&format!(
                "; {} to {} of {}",
                pool.name,
                shares.join(" "),
                backends.join(" ")
            ));
        }
    }
    line
}

fn id(number: EffectId) -> String {
    format!("effect {}.{}", number.term, number.number)
}

/// An event in a short line.
pub(crate) fn recorded(event: &Event) -> String {
    match &event.body {
        EventBody::RolloutStep { entry } => {
            let rollout = Rollout::from_journal(&entry.state);
            let failure = rollout.and_then(|rollout| rollout.failure);
            let why = failure.map(|failure| format!(": {}", failure.reason)).unwrap_or_default();
            format!("rollout {} of `{}` {}{why}", entry.rollout, entry.service, entry.phase)
        }
        EventBody::InstanceChanged { instance, state, .. } => {
            format!("`{instance}` {state}: {}", event.by.why)
        }
        body => {
            let text = format!("{body:?}");
            text.chars().take(160).collect()
        }
    }
}
